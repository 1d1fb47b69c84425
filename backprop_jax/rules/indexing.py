"""Functions that read and write parts of an array: the way back of one is the other."""

from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.registry import dear_to_recompute, linear, missing, pullback


def zeros_of(x: Any) -> Any:
    """Returns zeros of a shape and dtype."""
    return lax.full(x.shape, 0, x.dtype)


def write_back(g: Any, x: Any, i: tuple) -> Any:
    """Returns g where the slice was, among zeros."""
    return lax.dynamic_update_slice(zeros_of(x), g, i)


linear(lax.dynamic_slice_p, write_back)
linear(
    lax.dynamic_update_slice_p,
    lambda g, y, i: lax.dynamic_update_slice(g, zeros_of(y), i),
    lambda g, y, i: lax.dynamic_slice(g, i, y.shape),
)


@pullback(lax.gather_p)
def gather(
    g: Any,
    avals: list,
    i: tuple,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> tuple:
    """Every element read adds its cotangent to the place it was read from."""
    places = lax.ScatterDimensionNumbers(
        update_window_dims=dimension_numbers.offset_dims,
        inserted_window_dims=dimension_numbers.collapsed_slice_dims,
        scatter_dims_to_operand_dims=dimension_numbers.start_index_map,
        operand_batching_dims=dimension_numbers.operand_batching_dims,
        scatter_indices_batching_dims=dimension_numbers.start_indices_batching_dims,
    )
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    return lax.scatter_add(zeros_of(avals[0]), i[0], g, places, mode=mode, **options), None


def read_where_written(x: Any, i: Any, u: Any, numbers: Any, **options: Any) -> Any:
    """Returns what x holds where a scatter would write the updates u; 0 for one it would drop."""
    inserted = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    window = iter(numbers.update_window_dims)
    sizes = [1 if axis in inserted else u.shape[next(window)] for axis in range(len(x.shape))]
    places = lax.GatherDimensionNumbers(
        offset_dims=numbers.update_window_dims,
        collapsed_slice_dims=numbers.inserted_window_dims,
        start_index_map=numbers.scatter_dims_to_operand_dims,
        operand_batching_dims=numbers.operand_batching_dims,
        start_indices_batching_dims=numbers.scatter_indices_batching_dims,
    )
    return lax.gather(x, i, places, tuple(sizes), fill_value=0, **options)


@pullback(lax.scatter_p)
def scatter(
    g: Any,
    i: tuple,
    avals: list,
    needed: tuple,
    *,
    dimension_numbers: Any,
    update_jaxpr: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> tuple:
    """What was written over gets nothing; of several updates of one place, the last gets all.

    XLA leaves open which of them comes last, but takes the same one every time: each update writes
    its number, and those that find it again were last.
    """
    if update_jaxpr is not None:
        return (missing("lax.scatter_apply changes numbers by a function of its own"),) * 3
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    numbers, u = dimension_numbers, avals[2]
    of_x = None
    if needed[0]:
        of_x = lax.scatter(g, i[0], zeros_of(u), numbers, mode=mode, **options)
    if not needed[2]:
        return of_x, None, None
    of_u = read_where_written(g, i[0], u, numbers, mode=mode, **options)
    if not unique_indices:
        ours = lax.reshape(lax.iota(np.dtype("int32"), u.size), u.shape)
        blank = lax.full(avals[0].shape, -1, ours.dtype)
        theirs = lax.scatter(blank, i[0], ours, numbers, mode=mode, **options)
        found = read_where_written(theirs, i[0], u, numbers, mode=mode, **options)
        of_u = lax.select(found == ours, of_u, lax.full_like(of_u, 0))
    return of_x, None, of_u


def add_updates(
    g: Any,
    i: tuple,
    w: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Any:
    """Returns what g holds where each update was added."""
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    return read_where_written(g, i[0], w, dimension_numbers, mode=mode, **options)


def subtract_updates(
    g: Any,
    i: tuple,
    w: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Any:
    """Returns minus what g holds where each update was subtracted."""
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    return -read_where_written(g, i[0], w, dimension_numbers, mode=mode, **options)


linear(lax.scatter_add_p, lambda g: g, None, add_updates)
linear(lax.scatter_sub_p, lambda g: g, None, subtract_updates)


@pullback(lax.scatter_mul_p)
def scatter_mul(
    g: Any,
    x: Any,
    i: tuple,
    w: Any,
    needed: tuple,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> tuple:
    """A place is multiplied by its updates, and so is its cotangent; an update by the place."""
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    of_x = lax.scatter_mul(g, i[0], w, dimension_numbers, mode=mode, **options)
    if not needed[2]:
        return of_x, None, None
    if not unique_indices:
        return of_x, None, missing("updates of one place may meet unless unique_indices=True")
    return of_x, None, read_where_written(g * x, i[0], w, dimension_numbers, mode=mode, **options)


dear_to_recompute(lax.scatter_p, lax.scatter_add_p, lax.scatter_sub_p, lax.scatter_mul_p)
