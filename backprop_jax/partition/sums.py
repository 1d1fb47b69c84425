"""Sums that are put off until after a loop.

A number that every trip of a loop reads, as a step or a rate, gets in every trip a sum over all
places that it was multiplied with. The trips' places can be added to each other instead, and summed
once: a sum over all places is slow, and it takes what is summed out of the loop it is computed in.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Literal, primitives

from backprop_jax.dtypes import size_in_bytes
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import bound, evaluate
from backprop_jax.meshes import full

#: No sum of more bytes is put off: the places are carried from trip to trip.
LARGEST = 2**18


def is_in_parts(g: Any) -> bool:
    """Returns whether a cotangent is made of parts of an array, some of them or all."""
    return type(g) is ct.Part or (type(g) is ct.Sum and bool(g.parts))


def put_off(joint: Any, places: Iterable[int]) -> Any:
    """Returns a joint jaxpr with some of its outputs, numbers, as arrays they are the sums of.

    Args:
      joint: a closed jaxpr.
      places: which of its outputs may be sums to be made later. Others stay, and those that are
        not sums of all places of arrays that are alike.
    """
    made = {v: e for e in joint.eqns for v in e.outvars}
    outputs = list(joint.jaxpr.outvars)
    found = {i: terms for i in places if (terms := summed(outputs[i], made))}
    if not found:
        return joint

    def run(*operands: Any) -> list:
        at_hand = bound(joint, operands)
        values = evaluate(joint.eqns, at_hand, outputs)
        for i, terms in found.items():
            values[i] = ct.Sum(*(at_hand[v] for v in terms)).total()
        return values

    return jax.make_jaxpr(run)(*joint.in_avals)


def summed(atom: Any, made: dict) -> list:
    """Returns arrays, all alike, the sum of whose places is this number; none if it is no sum."""
    terms, rest = [], [atom]
    while rest:
        v = rest.pop()
        equation = made.get(v) if not isinstance(v, Literal) and v.aval.shape == () else None
        if equation is None:
            return []
        if equation.primitive is lax.reduce_sum_p:
            terms.append(equation.invars[0])
        elif equation.primitive in (lax.reshape_p, primitives.add_jaxvals_p):
            rest.extend(equation.invars)
        else:
            return []
    kinds = {(v.aval.shape, v.aval.dtype) for v in terms if not isinstance(v, Literal)}
    aval = terms[0].aval
    alike = len(kinds) == 1 and not any(isinstance(v, Literal) for v in terms)
    plain = aval.dtype == atom.aval.dtype and aval.sharding.mesh.empty
    return terms if alike and plain and size_in_bytes(aval) <= LARGEST else []


def before_first(variable: Any, gradient: Any) -> Any:
    """Returns the zero that the gradients of a variable are added to, trip by trip."""
    if gradient.aval.shape == variable.aval.shape:
        return ct.zeros(variable.aval)
    return full(gradient.aval.shape, 0, gradient.aval.dtype)


def after_last(totals: Sequence, variables: Sequence) -> list:
    """Returns the totals, those summed over all places whose sum was put off; None stays None."""
    return [
        lax.reduce_sum(t, tuple(range(t.ndim))) if t is not None and t.shape != v.aval.shape else t
        for t, v in zip(totals, variables, strict=True)
    ]
