"""Primitives that hold a jaxpr: made ready once, as units, for each choice of active operands."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from backprop_jax.engine.logs import log, paired
from backprop_jax.meshes import surroundings
from backprop_jax.programs import IN_PLACE
from backprop_jax.twins import first_of_all


class Unit(NamedTuple):
    """A structured primitive made ready for one choice of active operands.

    Attributes:
      forward: operands → (results, kept).
      backward: (operands kept, kept, cotangents of the results) → cotangents of the operands.
        Absent cotangents are None on both sides.
      keeps: which operands `backward` wants back. They are kept by reference and never copied.
      moving: for every result, whether it depends on an active operand.
    """

    forward: Callable
    backward: Callable
    keeps: tuple[int, ...]
    moving: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Structured:
    """The rule of a primitive that holds a jaxpr.

    Attributes:
      build: (active, **params) → Unit.
      inline: params → a function of the operands that may be run in the primitive's place while a
        program is being staged, or None where the primitive must stay whole.
      remember: (active, params, reading, whether it may be called) → a Unit to be staged, or None.
    """

    build: Callable[..., Unit]
    inline: Callable[[dict], Callable | None]
    remember: Callable[..., Unit | None] = lambda *_: None

    kind = "structured"

    def unit(self, active: tuple[bool, ...], params: dict, reading: Any) -> tuple[Unit, Unit]:
        """Returns the unit to be staged and the same compiled, for eager calls; both are cached."""
        params = first_of_all(params)
        return build_unit(self.build, active, tuple(params.items()), surroundings(), reading)

    def pull(self, node: Any, cotangents: list) -> list:
        """Returns the cotangents of the operands, None where there is none."""
        gradients, entries = node.kept(cotangents)
        log(entries)
        return gradients


@functools.lru_cache(maxsize=2048)
def build_unit(
    build: Callable, active: tuple, params: tuple, around: tuple, reading: Any
) -> tuple[Unit, Unit]:
    """Returns a unit, plain and compiled; `around`, the surroundings, is part of the key.

    `reading` says how rules are read within the unit, too.
    """
    del around
    with reading.in_force():
        unit = build(active, **dict(params))
    halves = reading.within(unit.forward), reading.within(paired(unit.backward))
    compiled = jax.jit(halves[0]), jax.jit(halves[1], inline=IN_PLACE)
    return Unit(*map(reading.staged, halves), *unit[2:]), Unit(*compiled, *unit[2:])
