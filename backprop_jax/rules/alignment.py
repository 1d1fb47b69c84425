"""Which axes go together in a function applied place by place, after `vmap` along any of them.

Under `vmap` the operands of such a function have their axes in any order, and two may be of a size.
Which axis of the result one has become is read from the steps between them.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Literal

from backprop_jax.engine.cotangents import convert
from backprop_jax.engine.jaxprs import held

#: Of one operand: which axis of the result each of its axes is that is not of size 1.
Along = tuple[int, ...]


class Axis:
    """An axis of a value, which turns out to be the same as those of others."""

    def __init__(self, size: int) -> None:
        self.size, self._same = size, self

    def first(self) -> "Axis":
        """Returns the axis that stands for all that are the same."""
        while self._same is not self._same._same:
            self._same = self._same._same
        return self._same

    def join(self, other: "Axis") -> None:
        """Says that this and another one are the same, if they are of one size."""
        if self.size == other.size:
            self.first()._same = other.first()


def alignment(closed: Any) -> list[Along] | None:
    """Returns which axes go together in a jaxpr, for every operand; None if that is not seen."""
    operands = [axes_of(aval) for aval in closed.in_avals]
    found = [among(operands, axes) for axes in follow(closed.jaxpr, operands)]
    return found[0] if all(along == found[0] for along in found) else None


def among(operands: Sequence[list[Axis]], result: list[Axis]) -> list[Along] | None:
    """Returns which axes of the result those of the operands are; None where one is none of it."""
    place = {axis.first(): i for i, axis in enumerate(result) if axis.size != 1}
    along = [tuple(place.get(axis.first(), -1) for axis in wide(axes)) for axes in operands]
    each_once = all(len({*axes}) == len(axes) and -1 not in axes for axes in along)
    return along if each_once and len(place) == len(wide(result)) else None


def wide(axes: list[Axis]) -> list[Axis]:
    """Returns those that are not of size 1."""
    return [axis for axis in axes if axis.size != 1]


def axes_of(aval: Any) -> list[Axis]:
    """Returns new axes of the sizes that values of this type have."""
    return [Axis(size) for size in aval.shape]


def follow(jaxpr: Any, operands: Sequence[list[Axis]]) -> list[list[Axis]]:
    """Returns the axes of the results, some of which are the same as those of the operands."""
    known = dict(zip(jaxpr.invars, operands, strict=True))

    def of(v: Any) -> list[Axis]:
        return axes_of(v.aval) if isinstance(v, Literal) or v not in known else known[v]

    for equation in jaxpr.eqns:
        results = [axes_of(v.aval) for v in equation.outvars]
        known.update(zip(equation.outvars, results, strict=True))
        pass_on(equation, list(map(of, equation.invars)), results)
    return list(map(of, jaxpr.outvars))


def pass_on(equation: Any, operands: list[list[Axis]], results: list[list[Axis]]) -> None:
    """Joins the axes of results with those of the operands, as far as a step tells."""
    primitive, params = equation.primitive, equation.params
    if primitive is lax.broadcast_in_dim_p:
        (x, *_), (z,) = operands, results
        join(x, [z[i] for i in params["broadcast_dimensions"]])
    elif primitive is lax.transpose_p:
        join([operands[0][i] for i in params["permutation"]], results[0])
    elif primitive in (lax.reshape_p, lax.squeeze_p):
        join(wide(operands[0]), wide(results[0]))
    elif primitive is lax.while_p:
        consts = params["cond_nconsts"], params["body_nconsts"]
        carries = operands[sum(consts) :]
        after = follow(params["body_jaxpr"].jaxpr, operands[consts[0] :])
        for carry, again, z in zip(carries, after, results, strict=True):
            join(carry, again)
            join(carry, z)
    elif inner := held(params):
        shapes = [[axis.size for axis in axes] for axes in operands]
        if len(inner) == 1 and shapes == [list(aval.shape) for aval in inner[0].in_avals]:
            for axes, z in zip(follow(inner[0].jaxpr, operands), results, strict=True):
                join(axes, z)
    else:
        for x in operands:
            for z in results:
                join(x, z)


def join(axes: Sequence[Axis], others: Sequence[Axis]) -> None:
    """Says of each axis that it is the one in its place, if there are as many."""
    if len(axes) == len(others):
        for axis, other in zip(axes, others, strict=True):
            axis.join(other)


def spread(x: Any, along: Along, shape: tuple[int, ...]) -> Any:
    """Returns an operand in the shape of the result."""
    x = lax.convert_element_type(x, jax.typeof(x).dtype)  # a Python number has no shape
    x = lax.reshape(x, [n for n in x.shape if n != 1])
    order = sorted(range(len(along)), key=along.__getitem__)
    return lax.broadcast_in_dim(lax.transpose(x, order), shape, sorted(along))


def gathered(g: Any, along: Along, aval: Any) -> Any:
    """Returns the gradient of an operand from that of what it was spread to."""
    g = lax.reduce_sum(g, [axis for axis in range(g.ndim) if axis not in along])
    ranks = [sorted(along).index(axis) for axis in along]
    return convert(lax.reshape(lax.transpose(g, ranks), aval.shape), aval.dtype)
