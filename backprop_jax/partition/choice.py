"""Which values of a joint jaxpr are kept for the way back: the question that the cut answers.

`residuals` makes the joint jaxpr, and runs its two halves.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.ref as refs
from jax.experimental import io_callback

from backprop_jax.dtypes import size_in_bytes
from backprop_jax.engine.jaxprs import depending_on, has_effects, held, needed_for, variables
from backprop_jax.engine.registry import dear
from backprop_jax.errors import lost
from backprop_jax.partition.cut import INFINITE, minimum_cut
from backprop_jax.partition.keeping import Keeping


def calls_back(jaxpr: Any, g: Sequence, turn: int) -> list:
    """Returns the equations with effects that run on the way back: from a `turn` on, or of a g."""
    found = [(i, e) for i, e in enumerate(jaxpr.eqns) if has_effects(e)]
    if not found:
        return []
    moving = depending_on([v for v in g if v is not None], jaxpr.eqns)
    return [e for i, e in found if i > turn or not moving.isdisjoint(variables(e.invars))]


def of_back(g: Sequence, called: Sequence) -> list:
    """Returns the variables that the way back starts from: cotangents, and what it has read."""
    return [*(v for v in g if v is not None), *(v for e in called for v in e.outvars)]


def unchanging(jaxpr: Any, fixed: Sequence) -> list:
    """Returns the computed values that depend on the fixed operands alone and that others read.

    What is made of literals alone, as zeros are, is not worth to be kept, if it is not dear.
    """
    if not fixed:
        return []
    told = [v for e in jaxpr.eqns if has_effects(e) for v in e.outvars]
    moving = set(jaxpr.invars) - set(fixed)
    changing = depending_on([*told, *moving], jaxpr.eqns)
    dear_ones = [v for e in jaxpr.eqns if is_dear(e) for v in e.outvars]
    worth = depending_on([*fixed, *jaxpr.constvars, *dear_ones], jaxpr.eqns)
    still = [
        e
        for e in jaxpr.eqns
        if changing.isdisjoint(e.outvars) and worth.issuperset(e.outvars) and not has_effects(e)
    ]
    made = {v for e in still for v in e.outvars}
    others = (e for e in jaxpr.eqns if made.isdisjoint(e.outvars))
    read = {v for e in others for v in variables(e.invars)} | set(variables(jaxpr.outvars))
    return [v for e in still for v in e.outvars if v in read]


def as_made(jaxpr: Any, results: list, gradients: list, operands: list, called: Sequence) -> list:
    """Returns what the way back reads of all that the results are made of."""
    ahead = needed_for(results, jaxpr.eqns)
    made = [v for e in ahead for v in e.outvars]
    worth = depending_on(operands, ahead)
    at_hand = [v for v in [*operands, *made] if v in worth]
    back = needed_for(gradients, jaxpr.eqns, {*at_hand, *jaxpr.constvars}, called)
    read = {v for e in back for v in variables(e.invars)} | set(variables(gradients))
    return [v for v in at_hand if v in read]


def choose(
    jaxpr: Any,
    gradients: list,
    start: list,
    operands: list,
    at_hand: set,
    keeping: Keeping,
    repeated: bool,
    called: Sequence,
) -> list:
    """Returns the variables to keep, in the order of their making; of those at hand, any read."""
    gradients = variables(gradients)
    live = needed_for(gradients, jaxpr.eqns, also=called)
    moving = depending_on(start, live)
    back = [e for e in live if not moving.isdisjoint(e.outvars)]
    ahead = [e for e in live if moving.isdisjoint(e.outvars)]
    made = [v for e in ahead for v in e.outvars]
    crossing = {v for e in back for v in variables(e.invars)} | set(gradients)
    cost = {v: size_in_bytes(v.aval) for v in [*operands, *made]}
    if keeping.cheapest:
        once = [v for e in ahead if is_dear(e, repeated) for v in e.outvars]
    else:
        once = [
            v
            for e in ahead
            for v in (e.outvars if reads(e) or calls_out(e) else keeping.allowed(e))
        ]
        cost.update({v: INFINITE for e in ahead for v in e.outvars})
        cost.update({v: 0 for v in once})
    candidates = [v for v in [*operands, *made] if v not in at_hand]
    only_forward = {*operands, *once}
    kept = minimum_cut(
        {v: cost[v] for v in candidates},
        {v: variables(e.invars) for e in ahead for v in e.outvars},
        [v for v in candidates if v in only_forward],
        [v for v in candidates if v in crossing],
    )
    again = needed_for(gradients, jaxpr.eqns, {*kept, *at_hand, *jaxpr.constvars}, called)
    read = {v for e in again for v in variables(e.invars)} | set(gradients)
    chosen = (kept | at_hand) & read
    return [v for v in [*operands, *made] if v in chosen]


def is_dear(equation: Any, repeated: bool = False) -> bool:
    """Returns whether an equation, or one within it, is better not run twice."""
    if has_effects(equation):
        return True
    if equation.primitive in dear:
        avals = [atom.aval for atom in equation.invars]
        return not repeated or dear[equation.primitive](*avals, **equation.params)
    inner = (e for closed in held(equation.params) for e in closed.eqns)
    return any(is_dear(e, repeated) for e in inner)


def effects_of(ordered: bool) -> frozenset:
    """Returns what an `io_callback` is said to do besides returning a value."""
    return frozenset(jax.make_jaxpr(lambda: io_callback(int, None, ordered=ordered))().effects)


OUTSIDE = effects_of(False) | effects_of(True)


def calls_out(equation: Any) -> bool:
    """Returns whether an equation, or one within it, may have another value when it is run again.

    Of an `io_callback` that is so. Its value is kept, whatever else may be.
    """
    return not OUTSIDE.isdisjoint(equation.effects)


def reads(equation: Any) -> bool:
    """Returns whether an equation reads a reference, which may hold something else later."""
    return any(is_reference(v.aval) for v in variables(equation.invars))


def is_reference(aval: Any) -> bool:
    """Returns whether a type is of mutable references."""
    return isinstance(aval, refs.AbstractRef)


def refuse_references(jaxpr: Any) -> None:
    """Raises EscapedReference if the body of a loop of unknown length is given a reference."""
    if any(map(is_reference, jaxpr.in_avals)):
        what = "a reference in a while_loop, whose trips are run again,"
        raise lost(what, "make it within the function, or tell the loop its number of trips.")
