"""Functions that move numbers about without changing them: all linear, so no rule reads a value."""

from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.registry import linear, pullback
from backprop_jax.meshes import place_of
from backprop_jax.rules import parts


def sum_broadcast(g: Any, x: Any, *, shape: tuple, broadcast_dimensions: tuple) -> Any:
    """Returns the sum of g over the places that each element was copied to."""
    size = dict(zip(broadcast_dimensions, x.shape, strict=True))
    axes = tuple(i for i, n in enumerate(shape) if n != 1 and size.get(i, 1) == 1)
    total = lax.reduce_sum(g, axes) if axes else g
    return total if total.shape == x.shape else lax.reshape(total, x.shape)


def undo_reshape(g: Any, x: Any, *, dimensions: tuple | None = None) -> Any:
    """Returns g in the operand's shape; `dimensions` is the order its axes were read in."""
    order = range(x.ndim) if dimensions is None else dimensions
    shaped = lax.reshape(g, [x.shape[i] for i in order], out_sharding=place_of(x, order))
    return shaped if dimensions is None else lax.transpose(shaped, np.argsort(dimensions))


def of_padded(g: Any, x: Any, *, padding_config: tuple) -> Any:
    """Returns the part of g that the operand went to, zero where it was cut away."""
    zero = lax.full((), 0, g.dtype)
    outer = lax.pad(g, zero, [(-low, -high, 0) for low, high, _ in padding_config])
    steps = [inner + 1 for *_, inner in padding_config]
    return lax.slice(outer, [0] * outer.ndim, outer.shape, steps)


def of_padding(g: Any, avals: list, *, padding_config: tuple) -> Any:
    """Returns the sum of g over the places that were filled."""
    filled = lax.pad(lax.full(avals[0].shape, False), True, padding_config)
    return lax.reduce_sum(lax.select(filled, g, lax.full_like(g, 0)), tuple(range(g.ndim)))


def undo_slice(g: Any, x: Any, *, start_indices: tuple, strides: tuple | None) -> Any:
    """Returns g where it was taken from, among zeros."""
    steps = strides or (1,) * g.ndim
    config = []
    for start, count, step, size in zip(start_indices, g.shape, steps, x.shape, strict=True):
        end = start + (count - 1) * step + 1 if count else start
        config.append((start, size - end, step - 1))
    return lax.pad(g, np.zeros((), g.dtype), config)


def of_slice(g: Any, x: Any, *, start_indices: tuple, strides: tuple | None) -> Any:
    """Returns g where the slice was."""
    return parts.of_slice(
        g,
        x,
        start_indices,
        strides,
        lambda: undo_slice(g, x, start_indices=start_indices, strides=strides),
    )


def sum_tiles(g: Any, x: Any, *, reps: tuple) -> Any:
    """Returns the sum of g over the tiles."""
    shape = [n for pair in zip(reps, x.shape, strict=True) for n in pair]
    return lax.reduce_sum(lax.reshape(g, shape), tuple(range(0, len(shape), 2)))


# fmt: off
linear(lax.broadcast_in_dim_p,  sum_broadcast)
linear(lax.reshape_p,           undo_reshape)
linear(lax.squeeze_p,           lambda g, x: lax.reshape(g, x.shape))
linear(lax.transpose_p,         lambda g, *, permutation: lax.transpose(g, np.argsort(permutation)))
linear(lax.rev_p,               lambda g, *, dimensions: lax.rev(g, dimensions))
linear(lax.slice_p,             of_slice)
linear(lax.tile_p,              sum_tiles)
linear(lax.pad_p,               of_padded,          of_padding)
# fmt: on


@pullback(lax.concatenate_p)
def concatenate(g: Any, avals: list, needed: tuple, *, dimension: int) -> list:
    """Each operand gets its piece of g."""
    ends = np.cumsum([aval.shape[dimension] for aval in avals]).tolist()
    starts = [0, *ends[:-1]]
    return [
        lax.slice_in_dim(g, start, end, axis=dimension) if wanted else None
        for start, end, wanted in zip(starts, ends, needed, strict=True)
    ]


@pullback(lax.split_p)
def split(g: tuple, *, axis: int) -> Any:
    """The pieces, put together again."""
    return lax.concatenate(g, axis)


@pullback(lax.stack_p)
def stack(g: Any, needed: tuple, *, axis: int) -> list:
    """Each operand gets its slice of g."""
    return [
        lax.index_in_dim(g, i, axis, keepdims=False) if wanted else None
        for i, wanted in enumerate(needed)
    ]


@pullback(lax.unstack_p)
def unstack(g: tuple, *, axis: int) -> Any:
    """The slices, stacked again."""
    return lax.stack(g, axis)


@pullback(lax.optimization_barrier_p)
def optimization_barrier(g: tuple | Any) -> tuple | Any:
    """The barrier is the identity. Its cotangents pass one, too: the way back is fenced as well."""
    return lax.optimization_barrier(g)
