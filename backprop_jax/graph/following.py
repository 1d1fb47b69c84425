"""What holds a jaxpr, run step by step: loops trip by trip, and of a choice the branch taken."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, primitives
from jax.extend.source_info_util import current

from backprop_jax.dependence import arities
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.errors import here
from backprop_jax.graph.frames import Frame
from backprop_jax.programs import runs_in_place
from backprop_jax.rules.calls import composed_of, composite_p
from backprop_jax.rules.functions import own_rule
from backprop_jax.rules.trips import in_lockstep


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """What a step is within.

    Attributes:
      kind: `jit`, `checkpoint`, `call`, `scan`, `while` or `cond`.
      name: of the function, if it has one.
      written_at: the user's line.
      trip: of a loop which trip, as it is counted along the stacked operands; of a choice which
        branch.
      trips: of a loop how many; None where nobody knows before the last.
      loop: of a loop an object that all its trips share.
      frames: the calls it is in, within what it is within.
      names: the `jax.named_scope`s around it.
    """

    kind: str
    name: str = ""
    written_at: str = ""
    trip: int | None = None
    trips: int | None = None
    loop: Any = dataclasses.field(default=None, compare=False, repr=False)
    frames: tuple[Frame, ...] = dataclasses.field(default=(), compare=False, repr=False)
    names: tuple = dataclasses.field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        """`jit layer`, `scan trip 3 of 12`, `cond branch 1`."""
        if self.trip is None:
            return f"{self.kind} {self.name}".strip()
        if self.kind == "cond":
            return f"cond branch {self.trip}"
        return f"{self.kind} trip {self.trip}" + (f" of {self.trips}" if self.trips else "")


def step_by_step(primitive: Primitive, params: dict) -> Callable[[Any, Sequence], list] | None:
    """Returns what runs a primitive that holds a jaxpr step by step, or None: it is one step.

    That takes the recorder, on which it is run, and the operands.
    """
    build = FOLLOWED.get(primitive)
    return None if build is None else build(params)


def once(kind: str, name: str, run: Callable) -> Callable[[Any, Sequence], list]:
    """Returns what runs a function that is called once."""

    def follow(recorder: Any, operands: Sequence) -> list:
        with recorder.within(Scope(kind, name, here())):
            return run(*operands)

    return follow


def jit(params: dict) -> Callable | None:
    """A compiled function. What JAX itself runs in place belongs to the line that calls it."""
    if own_rule(params["name"], params["jaxpr"]):
        return None
    if runs_in_place(params):
        return lambda recorder, operands: as_function(params["jaxpr"], current())(*operands)
    return once("jit", params["name"], as_function(params["jaxpr"]))


def composite(params: dict) -> Callable:
    """A function with a name for the compiler."""
    return once("call", params["name"], as_function(composed_of(params)))


def checkpoint(params: dict) -> Callable:
    """A function whose values are not kept; here they are."""
    return once("checkpoint", "", as_function(ClosedJaxpr(params["jaxpr"], ())))


def scan(params: dict) -> Callable:
    """A loop with a known number of trips. Reading a trip's part of an operand is a step, too."""
    body, (consts, carry) = as_function(params["jaxpr"]), arities(params)
    length, start = params["length"], consts + carry
    order = reversed(range(length)) if params["reverse"] else range(length)

    def follow(recorder: Any, operands: Sequence) -> list:
        fixed, state, xs = operands[:consts], operands[consts:start], operands[start:]
        stacked: dict[int, Sequence] = {}
        loop = object()
        for trip in order:
            with recorder.within(Scope("scan", "", here(), trip, length, loop)):
                results = body(*fixed, *state, *(part(x, trip) for x in xs))
            state, stacked[trip] = results[:carry], results[carry:]
        with recorder.within(Scope("scan", "", here(), loop=loop)):
            rows = [stacked[trip] for trip in range(length)]
            avals = params["jaxpr"].out_avals[carry:]
            return [*state, *(stack([row[i] for row in rows], v) for i, v in enumerate(avals))]

    return follow


def part(x: Any, place: int) -> Any:
    """Returns what a stacked operand holds at a place; the place is no part of what is compiled."""
    return lax.squeeze(lax.dynamic_slice_in_dim(x, place, 1), (0,))


def stack(rows: Sequence, aval: Any) -> Any:
    """Returns values, all of this type, stacked."""
    if not rows:
        return lax.full((0, *aval.shape), 0, aval.dtype)
    return lax.concatenate([lax.expand_dims(row, (0,)) for row in rows], 0)


def cond(params: dict) -> Callable:
    """A choice: of the branches the one taken."""
    branches, platforms = params["branches"], params.get("branches_platforms")

    def follow(recorder: Any, operands: Sequence) -> list:
        number = int(np.clip(int(operands[0]), 0, len(branches) - 1))
        if platforms is not None:
            number = for_platform(platforms, jax.default_backend())
        with recorder.within(Scope("cond", "", here(), number)):
            return as_function(branches[number])(*operands[1:])

    return follow


def for_platform(platforms: Sequence, name: str) -> int:
    """Returns which branch is for a platform: one that names it, or the one that names none."""
    named = [i for i, names in enumerate(platforms) if names is not None and name in names]
    return [*named, *(i for i, names in enumerate(platforms) if names is None)][0]


def while_loop(params: dict) -> Callable:
    """A loop that ends when it pleases."""
    of_cond, of_body = params["cond_nconsts"], params["body_nconsts"]
    condition, jaxpr = params["cond_jaxpr"], params["body_jaxpr"]
    together = bool(condition.out_avals[0].shape)
    going_on = as_function(condition)
    body = as_function(in_lockstep(condition, of_cond, jaxpr) if together else jaxpr)

    def follow(recorder: Any, operands: Sequence) -> list:
        start = of_cond + of_body
        fixed, state = list(operands[0 if together else of_cond : start]), list(operands[start:])
        trip, loop = 0, object()
        while np.any(going_on(*operands[:of_cond], *state)[0]):
            with recorder.within(Scope("while", "", here(), trip, loop=loop)):
                state = body(*fixed, *state)
            trip += 1
        return state

    return follow


FOLLOWED: dict[Primitive, Callable[[dict], Callable | None]] = {
    primitives.jit_p: jit,
    primitives.closed_call_p: lambda params: once("call", "", as_function(params["call_jaxpr"])),
    composite_p: composite,
    primitives.remat_p: checkpoint,
    lax.scan_p: scan,
    lax.cond_p: cond,
    lax.while_p: while_loop,
}
