"""Functions that read and write parts of an array: the way back of one is the other."""

from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import (
    Row,
    dear_to_recompute,
    linear,
    pullback,
    read,
    register,
    structured,
)
from backprop_jax.engine.units import Unit
from backprop_jax.meshes import placed
from backprop_jax.rules import parts
from backprop_jax.rules.models import reverse_of
from backprop_jax.rules.parts import zeros_of


def write_back(g: Any, x: Any, i: tuple) -> Any:
    """Returns g where the slice was. A user's rule may have made it of a wider dtype than x."""
    zeros = x.update(dtype=g.dtype)
    return parts.of_window(g, x, i, lambda: put(zeros_of(zeros), g, i))


def put(x: Any, y: Any, i: tuple) -> Any:
    """Returns x with y at i, which the primitive clamps: to count from the end is done before."""
    return lax.dynamic_update_slice(x, y, i, allow_negative_indices=False)


linear(lax.dynamic_slice_p, write_back)
linear(
    lax.dynamic_update_slice_p,
    lambda g, y, i: put(g, zeros_of(y), i),
    lambda g, y, i: lax.dynamic_slice(g, i, y.shape, allow_negative_indices=False),
)


def add_where_read(
    g: Any,
    x: Any,
    i: tuple,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Any:
    """Every element read adds its cotangent to the place it was read from."""
    places = lax.ScatterDimensionNumbers(
        update_window_dims=dimension_numbers.offset_dims,
        inserted_window_dims=dimension_numbers.collapsed_slice_dims,
        scatter_dims_to_operand_dims=dimension_numbers.start_index_map,
        operand_batching_dims=dimension_numbers.operand_batching_dims,
        scatter_indices_batching_dims=dimension_numbers.start_indices_batching_dims,
    )
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}

    def alone() -> Any:
        zeros = zeros_of(x.update(dtype=g.dtype))
        return lax.scatter_add(zeros, i[0], g, places, mode=mode, **options)

    return parts.of_indices(g, x, i[0], places, mode, alone)


linear(lax.gather_p, add_where_read, None)


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


def zeros_placed(x: Any) -> Any:
    """Returns zeros of a type that may say where they live."""
    where = placed(x)
    return lax.full(x.shape, 0, x.dtype, sharding=where) if where else zeros_of(x)


@structured(lax.scatter_p)
def scatter(
    active: tuple[bool, ...],
    *,
    dimension_numbers: Any,
    update_jaxpr: Any,
    update_consts: tuple,
    **options: Any,
) -> Unit:
    """What was written over gets nothing; of several updates of one place, the last gets all.

    XLA leaves open which of them comes last, but takes the same one every time: each update writes
    its number, and those that find it again were last.
    """
    numbers = dimension_numbers
    if update_jaxpr is not None:
        return scatter_apply(active, ClosedJaxpr(update_jaxpr, update_consts), numbers, options)

    def forward(x: Any, i: Any, u: Any) -> tuple[list, list]:
        where = placed(jax.typeof(u))
        where = where and where.update(spec=jax.P(None, *where.spec.partitions))
        type_of_u = lax.full((0, *u.shape), 0, u.dtype, sharding=where)  # nothing to keep
        return [lax.scatter(x, i, u, numbers, **options)], [type_of_u]

    def backward(operands: list, kept: list, cotangents: list) -> list:
        (i,), (g,) = operands, cotangents
        kind, (_, *spec) = jax.typeof(kept[0]), jax.typeof(kept[0]).sharding.spec.partitions
        u = kind.update(shape=kind.shape[1:], sharding=kind.sharding.update(spec=jax.P(*spec)))
        of_x = lax.scatter(g, i, zeros_placed(u), numbers, **options) if active[0] else None
        if not active[2]:
            return [of_x, None, None]
        of_u = read_where_written(g, i, u, numbers, **options)
        if not options["unique_indices"]:
            ours = lax.reshape(lax.iota(np.dtype("int32"), u.size), u.shape)
            blank = lax.full(g.shape, -1, ours.dtype)
            theirs = lax.scatter(blank, i, ours, numbers, **options)
            found = read_where_written(theirs, i, u, numbers, **options)
            of_u = lax.select(found == ours, of_u, lax.full_like(of_u, 0))
        return [of_x, None, of_u]

    return Unit(forward, backward, (1,), (True,))


def scatter_apply(active: tuple[bool, ...], applied: Any, numbers: Any, options: dict) -> Unit:
    """A function applied to the places that are hit, once for each hit. jax.grad has no rule.

    Reversed as a loop: in trip t it is applied where there are more than t hits.
    """
    params = {"update_jaxpr": applied.jaxpr, "update_consts": tuple(applied.consts)}
    run = as_function(applied)

    def bind(*operands: Any) -> list:
        return [lax.scatter_p.bind(*operands, dimension_numbers=numbers, **params, **options)]

    def model(x: Any, i: Any, u: Any) -> list:
        blank = lax.full(x.shape, 0, np.dtype("int32"))
        hits = lax.scatter_add(blank, i, lax.full(u.shape, 1, blank.dtype), numbers, **options)
        at_once = jax.vmap(lambda v: run(v, v)[0])

        def again(carry: tuple) -> tuple:
            t, x = carry
            flat = at_once(lax.reshape(x, (x.size,)))
            return t + 1, lax.select(hits > t, lax.reshape(flat, x.shape), x)

        most = lax.reduce_max(hits, tuple(range(x.ndim)))
        return [lax.while_loop(lambda carry: carry[0] < most, again, (most * 0, x))[1]]

    return reverse_of(bind, model, active, 1)


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


def multiply_again(
    g: Any,
    i: tuple,
    w: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Any:
    """Returns g, multiplied as x was."""
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    return lax.scatter_mul(g, i[0], w, dimension_numbers, mode=mode, **options)


def times_the_others(
    g: Any,
    x: Any,
    i: tuple,
    w: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Any:
    """Returns for an update g times the place and all other updates of it.

    jax.grad wants unique_indices=True, where there is no other.
    """
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    numbers = dimension_numbers
    of_w = read_where_written(g * x, i[0], w, numbers, mode=mode, **options)
    if not unique_indices:
        number = lax.reshape(lax.iota(np.dtype("int32"), x.size) + 1, x.shape)  # 0: dropped
        places = read_where_written(number, i[0], w, numbers, mode=mode, **options)
        of_w = of_w * product_of_others(w, places)
    return of_w


# In x it is linear and reads no x: a user's forward rule may multiply a tangent so.
register(lax.scatter_mul_p, Row("bilinear", (read(multiply_again), None, read(times_the_others))))


def product_of_others(x: Any, places: Any) -> Any:
    """Returns for every x the product of all others of the same place; zeros need no care.

    In the order of the places it is that of those before times that of those after.
    """
    rows = (lax.reshape(v, (x.size,)) for v in (places, x, lax.iota(np.dtype("int32"), x.size)))
    places, factors, home = lax.sort(tuple(rows), num_keys=1)
    others = product_before(factors, places, 1) * product_before(factors, places, -1)
    return lax.reshape(lax.sort((home, others), num_keys=1)[1], x.shape)


def product_before(x: Any, places: Any, step: int) -> Any:
    """Returns for every x the product of those before it of the same place; after, if step is -1.

    After t rounds x holds the product of 2^t of them, or of all there are.
    """

    def moved(x: Any, fill: int, by: int) -> Any:
        return lax.pad(x, lax.full((), fill, x.dtype), [(by, -by, 0)])

    def multiplied(x: Any, by: int) -> Any:
        return lax.select(places == moved(places, -1, by), moved(x, 1, by), lax.full_like(x, 1))

    distance = 1
    while distance < x.size:
        x = x * multiplied(x, step * distance)
        distance *= 2
    return multiplied(x, step)


def scatter_extremum(
    g: Any,
    x: Any,
    i: tuple,
    w: Any,
    z: Any,
    needed: tuple,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> tuple:
    """Returns equal shares of g for what was there and the updates, wherever they are the result.

    jax.grad reads with indices it was told to drop.
    """
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices}
    numbers = dimension_numbers
    result = read_where_written(z, i[0], w, numbers, mode=mode, **options)
    stayed, came = (lax.convert_element_type(v, x.dtype) for v in (x == z, w == result))
    count = lax.scatter_add(stayed, i[0], came, numbers, mode=mode, **options)
    share = g / lax.max(count, lax.full_like(count, 1))
    of_x = stayed * share if needed[0] else None
    if not needed[2]:
        return of_x, None, None
    return of_x, None, came * read_where_written(share, i[0], w, numbers, mode=mode, **options)


pullback(lax.scatter_max_p)(scatter_extremum)
pullback(lax.scatter_min_p)(scatter_extremum)

dear_to_recompute(
    *(lax.scatter_p, lax.scatter_add_p, lax.scatter_sub_p),
    *(lax.scatter_mul_p, lax.scatter_max_p, lax.scatter_min_p),
)
