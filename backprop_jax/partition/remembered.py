"""Functions met before: their way forward and their way back, remembered as programs.

JAX hands out the same jaxpr for a compiled function each time it is traced. So what becomes of it
is found once, and later put into the program that is being staged in one piece, twice: forward, and
back. All that the way back reads of what is made on the way forward is kept, as on a tape; if both
are part of one program, its compiler chooses.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import primitives

from backprop_jax.engine.reading import cutting
from backprop_jax.engine.reverse import missing_p
from backprop_jax.engine.units import Unit
from backprop_jax.meshes import explicit, of_cotangents, surroundings
from backprop_jax.partition.keeping import AS_MADE
from backprop_jax.partition.residuals import Split, split
from backprop_jax.programs import Program

#: For a jaxpr, which holds no more than it did, what else its unit depends on, and the unit; None:
#: there is none. It goes when the jaxpr does. What it depends on is compared, not hashed: mostly
#: these are the same objects.
units: weakref.WeakKeyDictionary[Any, list[tuple[tuple, Unit | None]]] = weakref.WeakKeyDictionary()


def remembered(
    closed: Any, active: tuple[bool, ...], key: Any, reading: Any, options: Callable
) -> Unit | None:
    """Returns the unit of a compiled function, or None if it is better run step by step.

    Args:
      closed: the function, a closed jaxpr.
      active: for every operand, whether it is recorded.
      key: what the options depend on besides the function.
      reading: how rules are read.
      options: () → the parameters of a `jit` that holds the programs, or None: do not.
    """
    known = units.get(closed)
    if known is None:
        known = units.setdefault(closed, [])
    wanted = active, key, surroundings(), cutting.get(), reading
    for what, unit in known:
        if what == wanted:
            return unit
    params = options()
    with reading.in_force():
        unit = None if params is None else unit_of(closed, active, params)
    known.append((wanted, unit))
    return unit


def unit_of(closed: Any, active: tuple[bool, ...], params: dict) -> Unit | None:
    """Returns the unit of a function, None where more than its values matters."""
    avals = [*closed.in_avals, *closed.out_avals]
    if closed.effects or any(aval.is_high or explicit(aval) for aval in avals):
        return None
    if any(isinstance(x, Tracer) for x in closed.consts):
        return None
    cut = split(closed, active, keeping=AS_MADE)
    calls = [e for e in cut.joint.eqns if e.effects or e.primitive is missing_p]
    if calls or cut.logs or cut.in_parts:
        return None
    return Programs(cut, params).unit()


class Programs:
    """The way forward of a function, and ways back for the cotangents that there are.

    Args:
      cut: the function, cut in two.
      params: of a `jit`.
    """

    def __init__(self, cut: Split, params: dict) -> None:
        self.plain = cut.unit()
        self.params = {name: x for name, x in params.items() if name != "jaxpr"}
        self.count = len(cut.results)
        self.held = [cut.operands[i].aval for i in self.plain.keeps]
        self.given = [None if v is None else v.aval for v in cut.cotangents]

        def forward(*operands: Any) -> list:
            values, kept = self.plain.forward(*operands)
            return [*values, *kept]

        closed = jax.make_jaxpr(forward)(*(v.aval for v in cut.operands))
        self.kept = closed.out_avals[self.count :]
        self.ahead = self.called(closed)
        self.back: dict[tuple[bool, ...], tuple[Program, list[bool]]] = {}

    def called(self, closed: Any) -> Program:
        """Returns the program that calls a closed jaxpr, or is what is in it."""
        params = self.holding(closed)
        call = functools.partial(primitives.jit_p.bind, **params)
        return Program(jax.make_jaxpr(call)(*closed.in_avals), params)

    def holding(self, closed: Any) -> dict:
        """Returns the parameters of a `jit` that holds a closed jaxpr."""
        operands, results = len(closed.in_avals), len(closed.out_avals)
        unspecified = self.params["in_shardings"][0]
        return {
            **self.params,
            "jaxpr": closed,
            "in_shardings": (unspecified,) * operands,
            "out_shardings": (unspecified,) * results,
            "in_layouts": (None,) * operands,
            "out_layouts": (None,) * results,
            "donated_invars": (False,) * operands,
        }

    def forward(self, *operands: Any) -> tuple[list, list]:
        """Returns the results and what to keep."""
        values = self.ahead(*operands)
        return values[: self.count], values[self.count :]

    def backward(self, operands: Any, kept: Any, cotangents: Any) -> tuple[list, dict]:
        """Returns the cotangents of the operands, and what was logged: nothing."""
        there = tuple([g is not None for g in cotangents])
        if there not in self.back:
            self.back[there] = self.way_back(there)
        program, present = self.back[there]
        found = iter(program(*operands, *kept, *[g for g in cotangents if g is not None]))
        return [next(found) if p else None for p in present], {}

    def way_back(self, there: tuple[bool, ...]) -> tuple[Program, list[bool]]:
        """Returns the way back from some of the results, and which operands get a gradient."""
        present: list[bool] = []

        def back(held: list, kept: list, cotangents: list) -> list:
            given = iter(cotangents)
            g = [next(given) if t else None for t in there]
            gradients = self.plain.backward(held, kept, g)
            present[:] = [gradient is not None for gradient in gradients]
            return [gradient for gradient in gradients if gradient is not None]

        pairs = zip(self.given, there, strict=True)
        cotangents = [of_cotangents(aval) for aval, t in pairs if t]
        return self.called(jax.make_jaxpr(back)(self.held, self.kept, cotangents)), present

    def unit(self) -> Unit:
        """Returns both as a unit."""
        return Unit(self.forward, self.backward, self.plain.keeps, self.plain.moving)
