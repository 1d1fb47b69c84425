"""The Schur decomposition, x = q t qᴴ: q unitary, t upper triangular.

Of a real x, t has a block of two rows on its diagonal for each pair of complex eigenvalues, which
LAPACK turns until its diagonal elements are equal. Written for the textbook's pairing, ḡ = conj(g).
"""

from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.registry import dear_to_recompute, pullback
from backprop_jax.rules import matrices as m
from backprop_jax.rules.elementary import is_complex
from backprop_jax.rules.gauge import bound, is_small, largest, nan_unless
from backprop_jax.rules.matrices import adjoint, conjugate, product


@pullback(lax.linalg.schur_p)
def schur(g: tuple, x: Any, z: tuple, *, compute_schur_vectors: bool) -> Any:
    """With o = qᴴ dq, skew, and p = qᴴ dx q, dt = p + t o - o t is zero below the diagonal.

    That says what o is below the diagonal, and so above. Let t̄ hold multipliers in the places where
    dt is zero; then x gets q t̄ qᴴ if what o gets,

        s = tᴴ t̄ - t̄ tᴴ + qᴴ q̄,

    has no skew part: below the diagonal a Sylvester equation for the multipliers. On the diagonal,
    the imaginary part of s is what the loss says of the phases of q, which are an arbitrary choice,
    rounding's even: if it is not zero there is no derivative. Where eigenvalues are equal there may
    be one, but the cotangent does not tell it: NaN. jax.grad has none.

    Source: as for eigenvectors in Giles 2008, Oxford NA-08/01, section 3.1, with a triangular t.
    """
    t, q = z if compute_schur_vectors else lax.linalg.schur(x)
    of_t = conjugate(g[0])
    of_q = conjugate(g[1]) if compute_schur_vectors else None
    b = lax.full_like(t, 0) if of_q is None else product(adjoint(q), of_q)
    of_t, ill = of_complex(of_t, b, t) if is_complex(t) else of_real(of_t, b, t)
    asked = largest(lax.abs(of_t) + lax.abs(b), 2) > 0
    ill &= lax.broadcast_in_dim(asked, ill.shape, tuple(range(ill.ndim)))
    return conjugate(product(product(q, of_t), adjoint(q)) + nan_unless(~ill, t))


def skew(of_t: Any, b: Any, t: Any) -> Any:
    """Returns s - sᴴ."""
    s = product(adjoint(t), of_t) - product(of_t, adjoint(t)) + b
    return s - adjoint(s)


def of_complex(of_t: Any, b: Any, t: Any) -> tuple[Any, Any]:
    """Returns t̄ with its multipliers, and where there is no derivative; for a triangular t."""
    of_t = m.upper(of_t)
    s = skew(of_t, b, t)
    phases = lax.abs(s) > tolerance(s) * (largest(lax.abs(of_t), 2) * largest(t, 2) + largest(b, 2))
    ill = equal_eigenvalues(m.diagonal(t)) | (m.on_diagonal(s) & phases)
    return of_t + multipliers(-s, t), ill


def tolerance(x: Any) -> float:
    """Returns the square root of eps: what depends on phases does so by more than that."""
    return float(np.finfo(x.dtype).eps) ** 0.5


def equal_eigenvalues(w: Any) -> Any:
    """Returns which pairs of eigenvalues are equal but for rounding."""
    gap = m.row(w) - m.column(w)
    return is_small(gap, w, axes=1) & ~m.on_diagonal(gap)


def multipliers(s: Any, t: Any) -> Any:
    """Returns the strictly lower y for which tᴴ y - y tᴴ is s below the diagonal.

    Column by column, from the last: with a = tᴴ, what is below the diagonal of column j has

        (a - a_jj) y_j = s_j + Σ_k>j y_k a_kj.

    Source: Bartels and Stewart 1972, Comm. ACM 15, 820.
    """
    a = adjoint(t)
    n = t.shape[-1]
    rows = lax.broadcasted_iota(np.int32, t.shape, t.ndim - 2)
    columns = lax.broadcasted_iota(np.int32, t.shape, t.ndim - 1)
    here = m.on_diagonal(t)
    zero = lax.full_like(t, 0)
    identity = lax.select(here, lax.full_like(t, 1), zero)

    def trip(y: Any, j: Any) -> tuple[Any, None]:
        of_j = lax.dynamic_slice_in_dim(a, j, 1, axis=a.ndim - 1)
        a_jj = lax.dynamic_slice_in_dim(of_j, j, 1, axis=a.ndim - 2)
        right = lax.dynamic_slice_in_dim(s, j, 1, axis=a.ndim - 1) + product(y, of_j)
        right = lax.select(m.columns(rows, 0, 1) > j, right, lax.full_like(right, 0))
        shift = lax.select(here, lax.broadcast_in_dim(a_jj, a.shape, tuple(range(a.ndim))), zero)
        inner = (rows > j) & (columns > j)
        system = lax.select(inner, a - shift, identity)
        system = lax.select(here & (system == 0), identity, system)  # said elsewhere: equal ones
        solved = m.solve_with(system, right, lower=True)
        spread = lax.broadcast_in_dim(solved, a.shape, tuple(range(a.ndim)))
        return y + lax.select(columns == j, spread, zero), None

    return lax.scan(trip, zero, np.arange(n - 1, dtype=np.int32), reverse=True)[0]


def of_real(of_t: Any, b: Any, t: Any) -> tuple[Any, Any]:
    """Returns t̄ with its multipliers, and where there is no derivative; for a real t.

    A block is (α β; γ α), βγ < 0. In it, γ moves, and what is zero is the change of the difference
    of the diagonal elements; with the multiplier μ on one and -μ on the other,

        s_21 - s_12 = 2 (β + γ) μ + what it is without.

    Where β = -γ the block looks the same from all sides, and q is an arbitrary choice. The other
    multipliers are those of the complex decomposition, whose t is wᴴ t w for a w that triangulates
    the blocks; within a block they are zero.
    """
    if t.shape[-1] == 1:
        return of_t, lax.full(t.shape, False)
    gamma, beta = beside_diagonal(t), beside_diagonal(m.transposed(t))
    paired = gamma != 0
    none, one = lax.full_like(beta, 0), lax.full_like(beta, 1)
    of_gamma = lax.select(paired, beside_diagonal(of_t), none)
    of_t = m.upper(of_t) + under_diagonal(of_gamma)
    total = lax.select(paired, beta + gamma, one)
    mu = lax.select(paired, beside_diagonal(skew(of_t, b, t)) / (-2 * total), none)
    of_t = of_t + m.diagonal_matrix(lengthened(mu, 0) - lengthened(mu, 1), t.dtype)
    w = triangulating(beta, gamma, paired)
    triangular = product(product(adjoint(w), as_complex(t)), w)
    right = product(product(adjoint(w), as_complex(-skew(of_t, b, t))), w)
    found = product(product(w, multipliers(right, m.upper(triangular))), adjoint(w))
    ill = paired & (lax.abs(total) <= bound(t) * lax.squeeze(largest(t, 2), (t.ndim - 1,)))
    ill = m.diagonal_matrix(lax.convert_element_type(lengthened(ill, 0), t.dtype), t.dtype) != 0
    return of_t + lax.real(found), ill | equal_eigenvalues(m.diagonal(triangular))


def triangulating(beta: Any, gamma: Any, paired: Any) -> Any:
    """Returns the unitary w that makes blocks triangular: an eigenvector of each, and beside it.

    The eigenvalue α + i √(-βγ) has the eigenvector (√|β|, i sign(β) √|γ|).
    """
    none, one = lax.full_like(beta, 0), lax.full_like(beta, 1)
    size = lax.abs(beta) + lax.abs(gamma)
    cosine = lax.sqrt(lax.select(paired, lax.abs(beta) / lax.select(paired, size, one), one))
    square = lax.select(paired, lax.abs(gamma) / lax.select(paired, size, one), one)
    sine = lax.select(paired, lax.sign(beta) * lax.sqrt(square), none)
    lost = cosine - 1
    ones = lax.full_like(lengthened(lost, 0), 1)
    real = m.diagonal_matrix(ones + lengthened(lost, 0) + lengthened(lost, 1), beta.dtype)
    imaginary = under_diagonal(sine)
    return lax.complex(real, imaginary + m.transposed(imaginary))


def as_complex(x: Any) -> Any:
    """Returns a real array as a complex one."""
    return lax.complex(x, lax.full_like(x, 0))


def beside_diagonal(x: Any) -> Any:
    """Returns the subdiagonal of a square matrix, as a vector."""
    n = x.shape[-1]
    return m.diagonal(m.columns(m.rows(x, 1, n), 0, n - 1))


def under_diagonal(d: Any) -> Any:
    """Returns the matrix of this subdiagonal."""
    return m.grown(m.diagonal_matrix(d, d.dtype), (1, 0), (0, 1))


def lengthened(d: Any, before: int) -> Any:
    """Returns a vector with a zero before or after it."""
    config = [(0, 0, 0)] * (d.ndim - 1) + [(before, 1 - before, 0)]
    return lax.pad(d, lax.full((), 0, d.dtype), config)


dear_to_recompute(lax.linalg.schur_p)
