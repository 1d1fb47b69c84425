"""Products that sum over axes: the dot product in general, and convolution. All are bilinear."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.cotangents import convert, zeros
from backprop_jax.engine.registry import bilinear, dear_to_recompute
from backprop_jax.meshes import place_of


def remaining(count: int, *used: Sequence[int]) -> list[int]:
    """Returns the axes that are not used, in order."""
    return [axis for axis in range(count) if axis not in itertools.chain(*used)]


def dot_of_x(g: Any, x: Any, y: Any, *, dimension_numbers: tuple, precision: Any) -> Any:
    """Returns the cotangent of x in the product z of x and y.

    The axes of z, and of g, are the batch axes, what remains of x, what remains of y. Summed with y
    over the last of these, g has the batch axes, what remains of x, and y's contracted axes in y's
    order.
    """
    (x_contract, y_contract), (x_batch, y_batch) = dimension_numbers
    x_kept = remaining(len(x.shape), x_contract, x_batch)
    y_kept = remaining(y.ndim, y_contract, y_batch)
    batch = tuple(range(len(x_batch)))
    dims = ((tuple(range(g.ndim - len(y_kept), g.ndim)), tuple(y_kept)), (batch, tuple(y_batch)))
    x_contracted = [axis for _, axis in sorted(zip(y_contract, x_contract, strict=True))]
    order = [*x_batch, *x_kept, *x_contracted]
    options = {"precision": precision, "preferred_element_type": g.dtype}
    product = lax.dot_general(g, y, dims, **options, out_sharding=place_of(x, order))
    return rearrange(product, order, x.dtype)


def dot_of_y(g: Any, x: Any, y: Any, *, dimension_numbers: tuple, precision: Any) -> Any:
    """Returns the cotangent of y: x summed with g over what remains of x. See `dot_of_x`.

    Where nothing remains of y, the axes of the product are y's contracted ones, whichever factor is
    first. Then g is: an axis that `vmap` gives it stays in front, and nothing is transposed.
    """
    (x_contract, y_contract), (x_batch, y_batch) = dimension_numbers
    x_kept = remaining(x.ndim, x_contract, x_batch)
    y_kept = remaining(len(y.shape), y_contract, y_batch)
    batch = tuple(range(len(x_batch)))
    g_axes = tuple(range(len(batch), len(batch) + len(x_kept)))
    factors, dims = (x, g), ((tuple(x_kept), g_axes), (tuple(x_batch), batch))
    if not y_kept:
        factors, dims = (g, x), ((g_axes, tuple(x_kept)), (batch, tuple(x_batch)))
    y_contracted = [axis for _, axis in sorted(zip(x_contract, y_contract, strict=True))]
    order = [*y_batch, *y_contracted, *y_kept]
    options = {"precision": precision, "preferred_element_type": g.dtype}
    product = lax.dot_general(*factors, dims, **options, out_sharding=place_of(y, order))
    return rearrange(product, order, y.dtype)


def rearrange(product: Any, order: Sequence[int], dtype: Any) -> Any:
    """Returns the product with axis i moved to `order[i]`, in the operand's dtype."""
    if list(order) != sorted(order):
        product = lax.transpose(product, np.argsort(order))
    return product if product.dtype == dtype else convert(product, dtype)


# A convolution slides the kernel y over x. In every dimension, with dilations and strides,
#
#     z[n] = sum over k of x[n s - a + k d] y[k]        (x is 0 between and outside its elements)
#
# s the stride, d the kernel's dilation, a the padding before, e the dilation of x. Linear in x and
# in y, and what each of them gets is again a convolution:
#
#     x gets  sum over k of g[(m + a - k d) / s] y[k]:  g dilated by s, kernel reversed, stride e
#     y gets  sum over n of x[n s - a + k d] g[n]:      the kernel is g dilated by s, the stride d
#
# where axes trade places: what is summed over is called "feature", what is not "batch".


def flipped(spec: Sequence[int]) -> tuple[int, ...]:
    """Returns the axes with the first two, batch and feature, in each other's place."""
    return (spec[1], spec[0], *spec[2:])


def move_groups(x: Any, count: int, source: int, target: int) -> Any:
    """Returns x with `count` groups moved from the outer part of one axis to that of another."""
    if count == 1:
        return x
    shape = list(x.shape)
    shape[source : source + 1] = [count, shape[source] // count]
    split = lax.reshape(x, shape)
    target = target if target < source else target + 1
    order = remaining(split.ndim, [source])
    order.insert(order.index(target), source)
    moved = lax.transpose(split, order)
    shape = list(x.shape)
    shape[source] //= count
    shape[target if target < source else target - 1] *= count
    return lax.reshape(moved, shape)


def dilated(size: int, step: int) -> int:
    """Returns the extent of `size` elements that lie `step` apart."""
    return 0 if size == 0 else (size - 1) * step + 1


def spatial(shape: Sequence[int], spec: Sequence[int]) -> list[int]:
    """Returns the sizes of the axes the kernel slides along."""
    return [shape[axis] for axis in spec[2:]]


def conv_of_x(
    g: Any,
    x: Any,
    y: Any,
    *,
    window_strides: tuple,
    padding: tuple,
    lhs_dilation: tuple,
    rhs_dilation: tuple,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
) -> Any:
    """Returns the cotangent of x: g, a stride apart, convolved with the reversed kernel."""
    if not g.size:
        return zeros(x)
    lhs, rhs, out = dimension_numbers
    kernel = lax.rev(convert(y, g.dtype), rhs[2:])
    if feature_group_count > 1:
        kernel = move_groups(kernel, feature_group_count, rhs[0], rhs[1])
    elif batch_group_count > 1:
        kernel = move_groups(kernel, batch_group_count, rhs[0], rhs[1])
    pads = []
    sizes = zip(spatial(x.shape, lhs), spatial(y.shape, rhs), spatial(g.shape, out), strict=True)
    for (x_size, y_size, g_size), (before, _), s, e, d in zip(
        sizes, padding, window_strides, lhs_dilation, rhs_dilation, strict=True
    ):
        start = dilated(y_size, d) - 1 - before
        end = dilated(x_size, e) + dilated(y_size, d) - 1 - dilated(g_size, s) - start
        pads.append((start, end))
    of_x = lax.conv_general_dilated(
        g,
        kernel,
        window_strides=lhs_dilation,
        padding=pads,
        lhs_dilation=window_strides,
        rhs_dilation=rhs_dilation,
        dimension_numbers=lax.ConvDimensionNumbers(out, flipped(rhs), lhs),
        feature_group_count=max(feature_group_count, batch_group_count),
        precision=precision,
        preferred_element_type=g.dtype,
    )
    return convert(move_groups(of_x, batch_group_count, lhs[1], lhs[0]), x.dtype)


def conv_of_y(
    g: Any,
    x: Any,
    y: Any,
    *,
    window_strides: tuple,
    padding: tuple,
    lhs_dilation: tuple,
    rhs_dilation: tuple,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
) -> Any:
    """Returns the cotangent of y: x convolved with g, a stride apart; batches are summed."""
    if not g.size:  # XLA has no windows without elements
        return zeros(y)
    lhs, rhs, out = dimension_numbers
    pads = []
    sizes = zip(spatial(x.shape, lhs), spatial(y.shape, rhs), spatial(g.shape, out), strict=True)
    for (x_size, y_size, g_size), (before, _), s, e, d in zip(
        sizes, padding, window_strides, lhs_dilation, rhs_dilation, strict=True
    ):
        end = dilated(y_size, d) + dilated(g_size, s) - 1 - dilated(x_size, e) - before
        pads.append((before, end))
    of_y = lax.conv_general_dilated(
        convert(x, g.dtype),
        g,
        window_strides=rhs_dilation,
        padding=pads,
        lhs_dilation=lhs_dilation,
        rhs_dilation=window_strides,
        dimension_numbers=lax.ConvDimensionNumbers(flipped(lhs), flipped(out), flipped(rhs)),
        feature_group_count=batch_group_count,
        batch_group_count=feature_group_count,
        precision=precision,
        preferred_element_type=g.dtype,
    )
    return convert(of_y, y.dtype)


bilinear(lax.dot_general_p, dot_of_x, dot_of_y)
bilinear(lax.conv_general_dilated_p, conv_of_x, conv_of_y)
#: Operations for each byte of a result, below which a processor computes a product again in less
#: time than it takes to write it down and read it: measured with recurrent networks, see docs.
OPERATIONS = 128


def is_long(x: Any, y: Any, *, dimension_numbers: Any, **params: Any) -> bool:
    """Returns whether a product adds up so many terms that a loop had better keep its result."""
    del y, params
    (contracted, _), _ = dimension_numbers
    return 2 * math.prod(x.shape[i] for i in contracted) >= OPERATIONS * x.dtype.itemsize


dear_to_recompute(lax.conv_general_dilated_p)
dear_to_recompute(lax.dot_general_p, in_loops=is_long)
