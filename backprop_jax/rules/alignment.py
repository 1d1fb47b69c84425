"""Which axes go together in a function applied place by place, after `vmap` along any of them.

Under `vmap` the operands of such a function have their axes in any order. Nothing tells which axis
of the result one has become, if two are of a size; but where an operand is changed in one place,
the result is changed in another.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.engine.cotangents import convert, is_differentiable
from backprop_jax.engine.jaxprs import as_function

#: Of one operand: which axis of the result each of its axes is that is not of size 1.
Along = tuple[int, ...]

by_text: dict[str, list[Along] | None] = {}


def as_numpy_does(shapes: Sequence[tuple[int, ...]], ndim: int) -> list[Along]:
    """Returns which axes go together where operands are broadcast as NumPy does."""
    return [tuple(ndim - len(shape) + i for i, n in enumerate(shape) if n != 1) for shape in shapes]


def alignment(closed: Any) -> list[Along] | None:
    """Returns which axes go together in a jaxpr, for every operand; None if that is not seen."""
    text = str(closed)
    if text not in by_text:
        with jax.ensure_compile_time_eval():
            by_text[text] = tried(closed)
    return by_text[text]


def tried(closed: Any) -> list[Along] | None:
    """Returns what `alignment` does, from runs with one operand changed in one slice."""
    if any(0 in aval.shape for aval in closed.in_avals):
        return None
    run, rng = jax.jit(as_function(closed)), np.random.default_rng(0)
    start = [
        rng.uniform(0.5, 1.5, aval.shape).astype(aval.dtype)
        if is_differentiable(aval)
        else np.ones(aval.shape, aval.dtype)
        for aval in closed.in_avals
    ]
    before = run(*start)

    def places(k: int) -> Iterator[list[int]]:
        x = start[k]
        for axis in (axis for axis, n in enumerate(x.shape) if n > 1):
            moved = x.copy()
            moved[(slice(None),) * axis + (0,)] += 1
            after = run(*start[:k], moved, *start[k + 1 :])
            for old, new in zip(before, after, strict=True):
                yield axes_of_first(np.asarray(old) != np.asarray(new))

    axes = [list(places(k)) for k in range(len(start))]
    if any(len(found) != 1 for of_operand in axes for found in of_operand):
        return None
    count = len(before)
    alike = [[of[i::count] for i in range(count)] for of in axes]
    if any(one != of[0] for of in alike for one in of):
        return None
    return [tuple(b for (b,) in of[0]) for of in alike]


def axes_of_first(changed: np.ndarray) -> list[int]:
    """Returns along which axes that which has changed is the first slice, and no more."""
    return [
        axis
        for axis in range(changed.ndim)
        if np.moveaxis(changed, axis, 0)[0].all() and not np.moveaxis(changed, axis, 0)[1:].any()
    ]


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
