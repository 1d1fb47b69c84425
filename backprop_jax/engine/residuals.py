"""What is kept between a jaxpr's forward run and its way back: one place decides.

The *joint* jaxpr maps operands and cotangents to results and gradients. What depends on a cotangent is
the way back; the rest is forward. The values that cross are kept or computed again, whichever costs
less memory, but nothing dear is computed twice: a minimum cut (see `cut`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.cut import minimum_cut
from backprop_jax.engine.jaxprs import (
    as_function,
    depending_on,
    evaluate,
    is_dear,
    needed_for,
    size_in_bytes,
    variables,
)
from backprop_jax.engine.sweep import sweep


@dataclasses.dataclass(frozen=True)
class Split:
    """A jaxpr cut in two: what runs forward, and what runs on the way back.

    Attributes:
      joint: the closed jaxpr of operands and cotangents to results and gradients.
      results: how many of its outputs are results; the rest are gradients of the active operands.
      operands: variables, one for each operand.
      cotangents: variables, one for each differentiable result; None for the others.
      active: for every operand, whether there is a gradient for it.
      keeps: which operands the way back reads.
      kept: the computed values that are kept.
    """

    joint: Any
    results: int
    operands: list
    cotangents: list
    active: tuple[bool, ...]
    keeps: tuple[int, ...]
    kept: list

    def run(self, at_hand: dict, targets: Sequence) -> list:
        """Returns the target variables' values, computed from the values at hand."""
        jaxpr = self.joint.jaxpr
        at_hand = {**dict(zip(jaxpr.constvars, self.joint.consts, strict=True)), **at_hand}
        return evaluate(needed_for(targets, jaxpr.eqns, at_hand), at_hand, targets)

    def forward(self, *operands: Any) -> tuple[list, list]:
        """Returns the results and the kept values."""
        results = self.joint.jaxpr.outvars[: self.results]
        at_hand = dict(zip(self.operands, operands, strict=True))
        values = self.run(at_hand, [*results, *self.kept])
        return values[: self.results], values[self.results :]

    def backward(self, operands: Sequence, kept: Sequence, cotangents: Sequence) -> list:
        """Returns the operands' gradients: None for one that is not active."""
        at_hand = dict(zip(self.kept, kept, strict=True))
        at_hand.update(zip([self.operands[i] for i in self.keeps], operands, strict=True))
        for variable, g in zip(self.cotangents, cotangents, strict=True):
            if variable is not None:
                at_hand[variable] = ct.zeros(variable.aval) if g is None else g
        gradients = iter(self.run(at_hand, self.joint.jaxpr.outvars[self.results :]))
        return [next(gradients) if a else None for a in self.active]


def split(jaxpr: Any, active: tuple[bool, ...], free: Sequence[bool] = ()) -> Split:
    """Returns the jaxpr cut in two where keeping costs the least memory.

    Args:
      jaxpr: a closed jaxpr.
      active: for every operand, whether its gradient is wanted.
      free: for every operand, whether it is at hand on the way back for nothing. Default: none is.
    """
    joint, results = trace_joint(jaxpr, active)
    count = len(jaxpr.in_avals)
    operands, rest = joint.jaxpr.invars[:count], iter(joint.jaxpr.invars[count:])
    g = [next(rest) if ct.is_differentiable(aval) else None for aval in jaxpr.out_avals]
    free_operands = {v for v, is_free in zip(operands, free, strict=False) if is_free}
    kept = choose(joint.jaxpr, results, operands, g, free_operands)
    keeps = tuple(i for i, v in enumerate(operands) if v in kept)
    computed = [v for v in kept if v not in set(operands)]
    return Split(joint, results, operands, g, active, keeps, computed)


def trace_joint(jaxpr: Any, active: tuple[bool, ...]) -> tuple[Any, int]:
    """Returns the joint jaxpr, and how many of its outputs are results.

    It takes the operands and a cotangent for each differentiable result, and returns the results and
    the gradients of the active operands.
    """

    def joint(operands: list, cotangents: list) -> tuple[list, list]:
        results, pullback = sweep(as_function(jaxpr), operands, active)
        given = iter(cotangents)
        g = [next(given) if ct.is_differentiable(aval) else None for aval in jaxpr.out_avals]
        gradients = zip(pullback(g), jaxpr.in_avals, active, strict=True)
        return results, [ct.zeros(aval) if g is None else g for g, aval, a in gradients if a]

    cotangents = [
        jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        for aval in jaxpr.out_avals
        if ct.is_differentiable(aval)
    ]
    return jax.make_jaxpr(joint)(list(jaxpr.in_avals), cotangents), len(jaxpr.out_avals)


def choose(jaxpr: Any, results: int, operands: list, g: list, free: set) -> list:
    """Returns the variables to keep, operands among them, in the order of their making."""
    gradients = variables(jaxpr.outvars[results:])
    live = needed_for(gradients, jaxpr.eqns)
    moving = depending_on([v for v in g if v is not None], live)
    back = [e for e in live if not moving.isdisjoint(e.outvars)]
    ahead = [e for e in live if moving.isdisjoint(e.outvars)]
    at_hand = {*free, *jaxpr.constvars}
    made = [v for e in ahead for v in e.outvars]
    candidates = [v for v in [*operands, *made] if v not in at_hand]
    crossing = {v for e in back for v in variables(e.invars)} | set(gradients)
    made_from = {v: variables(e.invars) for e in ahead for v in e.outvars}
    once = [v for e in ahead if is_dear(e) for v in e.outvars]
    kept = minimum_cut(
        {v: size_in_bytes(v.aval) for v in candidates},
        made_from,
        [*(v for v in operands if v not in at_hand), *once],
        [v for v in candidates if v in crossing],
    )
    kept |= {v for v in operands if v in free and v in read_again(live, kept, at_hand, gradients)}
    return [v for v in [*operands, *made] if v in kept]


def read_again(equations: list, kept: set, at_hand: set, gradients: list) -> set:
    """Returns the variables read on the way back, when it starts from what is kept and at hand."""
    again = needed_for(gradients, equations, {*kept, *at_hand})
    return {v for e in again for v in variables(e.invars)} | set(gradients)
