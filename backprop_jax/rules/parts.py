"""Cotangents of arrays that are read part by part: n reads write into one array, not into n.

A read alone is reversed as before: what it read, among zeros. Reads of one array wait for each
other. Slices that do not overlap are put side by side; all others become one scatter for all reads
of one kind, on top of what else there is.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.engine import cotangents as ct
from backprop_jax.meshes import full

INDEX = np.dtype("int32")

#: Few slices that overlap, or large ones, are written out one by one: a compiler adds them up
#: place by place. They may take as much more than what they read and an array as this.
GENEROUS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """A part of an array that was read, as one scatter of its cotangent.

    Attributes:
      x: shape and dtype of the array.
      g: the cotangent, in the layout of the scatter's updates.
      indices: one array, or one number for each axis.
      shape: shape of the scatter's indices.
      numbers, mode: where they belong, as in `lax.scatter_add`.
      alone: returns the whole cotangent, if this is all.
      span: for a slice of one axis: that axis, start and end.
      fixed: whether the place is known.
    """

    x: Any
    g: Any
    indices: Sequence
    shape: tuple[int, ...]
    numbers: lax.ScatterDimensionNumbers
    mode: lax.GatherScatterMode
    alone: Callable[[], Any]
    span: tuple[int, int, int] | None = None
    fixed: bool = False

    def kind(self) -> tuple:
        """Returns what reads have in common that one scatter can serve."""
        dtype = jax.typeof(self.indices[0]).dtype
        return self.numbers, self.mode, self.shape, dtype, self.g.shape, self.g.dtype


def zeros_of(x: Any) -> Any:
    """Returns zeros of a shape and dtype."""
    return full(x.shape, 0, x.dtype)


def part(read: Read) -> Any:
    """Returns the cotangent of an array of which this was read, to be joined with others."""
    if not read.x.sharding.mesh.empty or not read.g.size or read.g.dtype != read.x.dtype:
        return read.alone()  # where it lives, or varies, is more than a scatter says
    return ct.Part(read, read.alone, together)


def of_window(g: Any, x: Any, starts: tuple, alone: Callable[[], Any]) -> Any:
    """Returns the cotangent of an array of which a window was read, with g where it was."""
    if len({jax.typeof(i).dtype for i in starts}) != 1:
        return alone()
    numbers = windows(x, 0, range(len(x.shape)))
    return part(Read(x, g, starts, (len(starts),), numbers, lax.GatherScatterMode.CLIP, alone))


def of_indices(g: Any, x: Any, i: Any, numbers: Any, mode: Any, alone: Callable[[], Any]) -> Any:
    """Returns the cotangent of an array that was read at indices."""
    return part(Read(x, g, (i,), i.shape, numbers, mode, alone))


def of_slice(
    g: Any, x: Any, starts: Sequence[int], strides: Sequence[int] | None, alone: Callable[[], Any]
) -> Any:
    """Returns the cotangent of an array of which a slice was read, with g where it was.

    Along an axis with a stride every place is a window of its own.
    """
    if max(x.shape, default=0) > np.iinfo(INDEX).max:
        return alone()
    steps = strides or (1,) * len(starts)
    narrow = [axis for axis, n in enumerate(x.shape) if g.shape[axis] != n]
    apart = [axis for axis in narrow if steps[axis] != 1]
    rest = [axis for axis in range(len(starts)) if axis not in apart]
    span = None
    if len(narrow) == 1 and not apart:
        (axis,) = narrow
        span = axis, starts[axis], starts[axis] + g.shape[axis]
    along = [
        start + steps[axis] * np.arange(g.shape[axis]) if axis in apart else np.array(start)
        for axis, start in enumerate(starts)
    ]
    grid = np.ix_(*(along[axis] for axis in apart))
    along = [
        grid[apart.index(axis)] if axis in apart else along[axis] for axis in range(len(along))
    ]
    indices = np.stack(np.broadcast_arrays(*along), -1).astype(INDEX)
    updates = lax.transpose(g, [*apart, *rest]) if apart else g
    mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    numbers = windows(x, len(apart), rest)
    return part(Read(x, updates, (indices,), indices.shape, numbers, mode, alone, span, True))


def windows(x: Any, before: int, axes: Sequence[int]) -> lax.ScatterDimensionNumbers:
    """Returns the numbers of a scatter of windows along the axes, one place wide along others."""
    every = range(len(x.shape))
    return lax.ScatterDimensionNumbers(
        update_window_dims=tuple(before + i for i in range(len(axes))),
        inserted_window_dims=tuple(axis for axis in every if axis not in axes),
        scatter_dims_to_operand_dims=tuple(every),
    )


def together(reads: Sequence[Read], rest: Any) -> Any:
    """Returns the cotangent of an array of which all this was read; `rest` is the others' sum."""
    joined = side_by_side(reads)
    if joined is None and all(read.fixed for read in reads):
        size = math.prod(reads[0].x.shape)
        if len(reads) * size <= GENEROUS * (size + sum(read.g.size for read in reads)):
            joined = ct.Sum(*(read.alone() for read in reads)).total()
    if joined is not None:
        return joined if rest is None else ct.add(rest, joined)
    total = zeros_of(reads[0].x) if rest is None else rest
    kinds: dict[tuple, list[Read]] = {}
    for read in reads:
        kinds.setdefault(read.kind(), []).append(read)
    for alike in kinds.values():
        total = added(total, alike)
    return total


def side_by_side(reads: Sequence[Read]) -> Any:
    """Returns the slices joined along their axis, or None if it is not one, or they overlap."""
    spans = sorted({read.span for read in reads if read.span})
    if any(read.span is None for read in reads) or len({axis for axis, *_ in spans}) > 1:
        return None
    if any(stop > start for (*_, stop), (_, start, _) in itertools.pairwise(spans)):
        return None
    sums = {span: ct.Sum() for span in spans}
    for read in reads:
        if read.span is not None:
            sums[read.span].add(read.g)
    x, axis, end, pieces = reads[0].x, spans[0][0], 0, []

    def fill(start: int, end: int) -> None:
        if start > end:
            shape = (*x.shape[:axis], start - end, *x.shape[axis + 1 :])
            pieces.append(full(shape, 0, x.dtype))

    for span in spans:
        fill(span[1], end)
        pieces.append(sums[span].total())
        end = span[2]
    fill(x.shape[axis], end)
    return lax.concatenate(pieces, axis) if len(pieces) > 1 else pieces[0]


def added(total: Any, reads: Sequence[Read]) -> Any:
    """Returns a cotangent with those of reads of one kind added, in one scatter."""
    first, count = reads[0], len(reads)
    every = [i for read in reads for i in read.indices]
    known = all(isinstance(i, np.ndarray) for i in every)
    indices = np.stack(every) if known else lax.stack(every)
    numbers = first.numbers
    placed = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(axis + 1 for axis in numbers.update_window_dims),
        inserted_window_dims=numbers.inserted_window_dims,
        scatter_dims_to_operand_dims=numbers.scatter_dims_to_operand_dims,
        operand_batching_dims=numbers.operand_batching_dims,
        scatter_indices_batching_dims=tuple(
            axis + 1 for axis in numbers.scatter_indices_batching_dims
        ),
    )
    updates = lax.stack([read.g for read in reads])
    indices = lax.reshape(indices, (count, *first.shape))
    return lax.scatter_add(total, indices, updates, placed, mode=first.mode)
