"""A test's own primitive, its derivative in a table of JAX's: our engine is told of it.

A user of ours tells it with `backprop_jax.extend`. A test of JAX's cannot, it writes a forward rule
into `ad.primitive_jvps` or `ad.primitive_linearizations`. The plugin hands that rule to the engine
as one of `jax.custom_jvp`: its reverse is our own reverse pass over it. What JAX itself has in its
tables, or a library puts there, is not handed over.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.interpreters.ad as public
from jax._src.interpreters import ad
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive

from backprop_jax.engine.registry import doors


class Table(dict):
    """A table of JAX's that hands over what tests put into it."""

    def __init__(self, entries: dict, forward: Callable) -> None:
        super().__init__(entries)
        self.forward = forward  # (entry, primals, tangents, params) → results and their tangents

    def __setitem__(self, primitive: Primitive, entry: Callable) -> None:
        super().__setitem__(primitive, entry)
        if put_by_test(sys._getframe(1)):
            doors[primitive] = Door(primitive, entry, self.forward)


def put_by_test(frame: Any) -> bool:
    """Returns whether a test module of JAX's makes an entry, by the functions that do so or not."""
    while frame.f_globals["__name__"] == ad.__name__:
        frame = frame.f_back
    return frame.f_globals["__name__"].endswith("_test")


class Door(NamedTuple):
    """Runs a test's primitive with the forward rule that the test gave to JAX."""

    primitive: Primitive
    entry: Callable
    forward: Callable

    def __call__(self, tape: Any, tracers: Sequence, params: dict) -> Any:
        """Runs the primitive and writes it down, as `backprop_jax.engine.tape` asks of a door."""
        rule = Rule(self, params)
        results = tape.add_jvp(self.primitive, rule, tape.unwrap(tracers), symbolic_zeros=True)
        return results if self.primitive.multiple_results else results[0]


class Rule(NamedTuple):
    """A forward rule, to be called as one of `jax.custom_jvp`."""

    door: Door
    params: dict

    def call_wrapped(self, *flat: Any) -> list:
        """Returns the results and their tangents, given operands and theirs."""
        count = len(flat) // 2
        tangents = [ad.Zero(t.aval) if type(t) is SymbolicZero else t for t in flat[count:]]
        found = self.door.forward(self.door.entry, flat[:count], tangents, self.params)
        if not self.door.primitive.multiple_results:
            found = [[each] for each in found]
        results, moved = found
        pairs = zip(results, moved, strict=True)
        return [*results, *(SymbolicZero(jax.typeof(x)) if zero(t) else t for x, t in pairs)]


def zero(tangent: Any) -> bool:
    """Returns whether a tangent is one of JAX's zeros."""
    return type(tangent) is ad.Zero


def by_jvp(jvp: Callable, primals: Sequence, tangents: Sequence, params: dict) -> tuple:
    """Returns the results and their tangents, as a rule of `ad.primitive_jvps` says."""
    return jvp(primals, tangents, **params)


def by_linearization(
    linearize: Callable, primals: Sequence, tangents: Sequence, params: dict
) -> tuple:
    """Returns the same, as a rule of `ad.primitive_linearizations` says."""
    moving = [not zero(t) for t in tangents]
    result, _, *residuals, linear = linearize(True, moving, *primals, **params)
    return result, linear(*residuals, *tangents)


def hand_over() -> None:
    """Puts tables that hand over in the place of JAX's."""
    for name, forward in FORWARD.items():
        table = Table(getattr(ad, name), forward)
        for module in (ad, public):
            if hasattr(module, name):
                setattr(module, name, table)


FORWARD = {"primitive_jvps": by_jvp, "primitive_linearizations": by_linearization}
