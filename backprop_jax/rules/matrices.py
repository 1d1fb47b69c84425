"""The words that the rules of linear algebra are written in. Axes before the last two are batches.

Transposes and conjugates. A cotangent g is paired with a change of the value by Re(g · dz), so for
a matrix by Re tr(gᵀ dz). Textbooks pair by Re tr(ḡᴴ dz): their ḡ is conj(g). A rule for a function
that is holomorphic needs transposes alone; any other takes conj(g), follows the textbook, and gives
the conjugate of what it finds. For real matrices there is no difference, and no equation is spent.
"""

from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.cotangents import convert
from backprop_jax.rules.elementary import is_complex


def transposed(x: Any) -> Any:
    """Returns xᵀ."""
    return lax.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def conjugate(x: Any) -> Any:
    """Returns the complex conjugate, of a real array the array itself."""
    return lax.conj(x) if is_complex(x) else x


def adjoint(x: Any) -> Any:
    """Returns xᴴ."""
    return conjugate(transposed(x))


def product(x: Any, y: Any) -> Any:
    """Returns x y, in full precision: the errors of a short one would be divided by small gaps."""
    return lax.batch_matmul(x, y, precision=lax.Precision.HIGHEST)


def below(x: Any, k: int = 0) -> Any:
    """Returns where x has its k-th diagonal and what is below it."""
    rows = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 2)
    columns = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 1)
    return columns <= (rows + k if k else rows)


def on_diagonal(x: Any) -> Any:
    """Returns where x has its diagonal."""
    rows = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 2)
    return rows == lax.broadcasted_iota(np.int32, x.shape, x.ndim - 1)


def identity(x: Any) -> Any:
    """Returns ones on the diagonal and zeros elsewhere, in the shape of x."""
    return lax.select(on_diagonal(x), lax.full_like(x, 1), lax.full_like(x, 0))


def lower(x: Any, k: int = 0) -> Any:
    """Returns x with zeros above the k-th diagonal."""
    return lax.select(below(x, k), x, lax.full_like(x, 0))


def upper(x: Any, k: int = 0) -> Any:
    """Returns x with zeros below the k-th diagonal."""
    return lax.select(below(x, k - 1), lax.full_like(x, 0), x)


def half_lower(x: Any) -> Any:
    """Returns Φ(x): x below the diagonal, half of x on it, zeros above."""
    return (lower(x) + lower(x, -1)) / 2


def triangle(x: Any, is_lower: bool) -> Any:
    """Returns the cotangent of the one triangle a primitive reads of a Hermitian matrix.

    For ḡ = x/2 of the whole, x Hermitian: an element off the diagonal stands for two, so it gets x;
    one on the diagonal, of which only the real part is read, gets x/2.
    """
    half = half_lower(x)
    return half if is_lower else adjoint(half)


def hermitian(x: Any, is_lower: bool) -> Any:
    """Returns the Hermitian matrix of one triangle of x."""
    return lower(x) + adjoint(lower(x, -1)) if is_lower else upper(x) + adjoint(upper(x, 1))


def diagonal(x: Any) -> Any:
    """Returns the diagonal of a square matrix, as a vector."""
    return lax.reduce_sum(lax.select(on_diagonal(x), x, lax.full_like(x, 0)), (x.ndim - 1,))


def row(d: Any) -> Any:
    """Returns a vector as a matrix of one row; times it, a matrix has its columns scaled."""
    return lax.expand_dims(d, (d.ndim - 1,))


def column(d: Any) -> Any:
    """Returns a vector as a matrix of one column; times it, a matrix has its rows scaled."""
    return lax.expand_dims(d, (d.ndim,))


def diagonal_matrix(d: Any, dtype: Any) -> Any:
    """Returns the matrix of this diagonal."""
    full = lax.broadcast_in_dim(convert(d, dtype), (*d.shape, d.shape[-1]), tuple(range(d.ndim)))
    return lax.select(on_diagonal(full), full, lax.full_like(full, 0))


def rows(x: Any, start: int, end: int) -> Any:
    """Returns these rows of x."""
    return lax.slice_in_dim(x, start, end, axis=x.ndim - 2)


def columns(x: Any, start: int, end: int) -> Any:
    """Returns these columns of x."""
    return lax.slice_in_dim(x, start, end, axis=x.ndim - 1)


def beside(x: Any, y: Any) -> Any:
    """Returns x and y, side by side."""
    return lax.concatenate((x, y), x.ndim - 1)


def above(x: Any, y: Any) -> Any:
    """Returns x and y, one above the other."""
    return lax.concatenate((x, y), x.ndim - 2)


def grown(x: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """Returns x with this many rows of zeros above and below, and columns on either side."""
    config = [(0, 0, 0)] * (x.ndim - 2) + [(*rows, 0), (*columns, 0)]
    return lax.pad(x, lax.full((), 0, x.dtype), config) if any(rows + columns) else x


def inverse_permutation(order: Any) -> Any:
    """Returns where each number stands in a permutation of 0, 1, ..."""
    places = lax.broadcasted_iota(order.dtype, order.shape, order.ndim - 1)
    return lax.sort((order, places), num_keys=1)[1]


def permuted_rows(x: Any, order: Any) -> Any:
    """Returns the rows of x in the given order."""
    batch = tuple(range(x.ndim - 2))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(x.ndim - 1,),
        collapsed_slice_dims=(x.ndim - 2,),
        start_index_map=(x.ndim - 2,),
        operand_batching_dims=batch,
        start_indices_batching_dims=batch,
    )
    sizes = (*(1 for _ in batch), 1, x.shape[-1])
    return lax.gather(
        x, column(order), numbers, sizes, unique_indices=True, mode="promise_in_bounds"
    )


def solve_with(a: Any, x: Any, left_side: bool = True, **options: bool) -> Any:
    """Returns a⁻¹ x for a triangular a; x a⁻¹ if not `left_side`."""
    return lax.linalg.triangular_solve(a, x, left_side=left_side, **options)


def solve(a: Any, x: Any) -> Any:
    """Returns a⁻¹ x, by the LU decomposition of a."""
    factors, _, order = lax.linalg.lu(a)
    inner = solve_with(factors, permuted_rows(x, order), lower=True, unit_diagonal=True)
    return solve_with(factors, inner)
