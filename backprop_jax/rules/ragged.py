"""The ragged product: the rows of x come in groups, and each group has a matrix of its own in y.

There are two kinds, and each is the other's way back. With groups along an axis that stays,

    z[m, n] = sum over k of x[m, k] y[group of m, k, n],

with groups along an axis that is summed over, a sum for each group:

    z[group, m, n] = sum over the k of the group of x[k, m] y[k, n].

Where the groups are of batches there is nothing ragged: it is a product, batch by batch. There and
for sums of groups jax.grad has no rule.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.engine.registry import bilinear, dear_to_recompute
from backprop_jax.rules.contractions import dot_of_x, dot_of_y, rearrange, remaining

# It has no public name.
ragged_dot_general_p = (
    jax.make_jaxpr(lax.ragged_dot)(np.zeros((1, 1)), np.zeros((1, 1, 1)), np.ones(1, np.int32))
    .eqns[0]
    .primitive
)


class Axes:
    """The axes of a ragged product, by what becomes of them."""

    def __init__(self, x: Any, y: Any, g: Any, numbers: Any) -> None:
        self.dims = numbers.dot_dimension_numbers
        (self.x_contract, self.y_contract), (self.x_batch, self.y_batch) = self.dims
        (self.row,) = numbers.lhs_ragged_dimensions
        self.group = list(numbers.rhs_group_dimensions)
        self.x_kept = remaining(len(x.shape), self.x_contract, self.x_batch)
        self.y_kept = remaining(len(y.shape), self.y_contract, self.y_batch, self.group)
        self.summed = self.row in self.x_contract
        first = 1 if self.summed else 0
        self.g_group = [0] if self.summed else []
        self.g_batch = list(range(first, first + len(self.x_batch)))
        middle = first + len(self.x_batch)
        self.g_x = list(range(middle, middle + len(self.x_kept)))
        self.g_y = list(range(middle + len(self.x_kept), len(g.shape)))
        pairs = list(zip(self.x_contract, self.y_contract, strict=True))
        self.x_by_y = [a for a, _ in sorted(pairs, key=lambda pair: pair[1])]
        self.y_by_x = [b for _, b in sorted(pairs)]


def product(
    x: Any, y: Any, sizes: Any, dims: Sequence, row: int, group: Sequence, precision: Any
) -> Any:
    """Returns a ragged product."""
    numbers = lax.RaggedDotDimensionNumbers(dims, [row], group)
    return lax.ragged_dot_general(x, y, sizes, numbers, precision=precision)


def of_x(
    g: Any, x: Any, y: Any, i: tuple, *, ragged_dot_dimension_numbers: Any, precision: Any
) -> Any:
    """Returns the cotangent of x: what remains of y summed with g, which has it last."""
    axes = Axes(x, y, g, ragged_dot_dimension_numbers)
    if axes.row in axes.x_batch:
        return dot_of_x(g, x, y, dimension_numbers=axes.dims, precision=precision)
    if axes.summed:
        row = axes.y_contract[axes.x_contract.index(axes.row)]
        dims = ((axes.y_kept, axes.g_y), (axes.y_batch, axes.g_batch))
        rows = product(y, g, i[0], dims, row, axes.g_group, precision)
        return rearrange(rows, [*axes.x_batch, *axes.x_by_y, *axes.x_kept], x.dtype)
    row = axes.g_x[axes.x_kept.index(axes.row)]
    dims = ((axes.g_y, axes.y_kept), (axes.g_batch, axes.y_batch))
    rows = product(g, y, i[0], dims, row, axes.group, precision)
    return rearrange(rows, [*axes.x_batch, *axes.x_kept, *axes.x_by_y], x.dtype)


def of_y(
    g: Any, x: Any, y: Any, i: tuple, *, ragged_dot_dimension_numbers: Any, precision: Any
) -> Any:
    """Returns the cotangent of y: x summed with g over what remains of x."""
    axes = Axes(x, y, g, ragged_dot_dimension_numbers)
    if axes.row in axes.x_batch:
        return dot_of_y(g, x, y, dimension_numbers=axes.dims, precision=precision)
    dims = ((axes.x_kept, axes.g_x), (axes.x_batch, axes.g_batch))
    rows = product(x, g, i[0], dims, axes.row, axes.g_group, precision)
    return rearrange(rows, [*axes.group, *axes.y_batch, *axes.y_by_x, *axes.y_kept], y.dtype)


bilinear(ragged_dot_general_p, of_x, of_y)
dear_to_recompute(ragged_dot_general_p)
