"""Decompositions of a matrix into factors with orthogonal columns: QR, eigenvectors, SVD.

Written for the textbook's pairing, ḡ = conj(g); see `matrices`. Eigenvectors of equal eigenvalues
are an arbitrary choice, and so are singular vectors: see `gauge`.
"""

import functools
from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import set_current_trace

from backprop_jax.engine.cotangents import convert
from backprop_jax.engine.registry import dear_to_recompute, detours, pullback
from backprop_jax.rules import matrices as m
from backprop_jax.rules.elementary import is_complex
from backprop_jax.rules.gauge import (
    is_asked,
    is_small,
    nan_unless,
    of_spectrum,
    of_values,
    poison,
    quotient,
    spread,
    still,
)
from backprop_jax.rules.matrices import adjoint, conjugate, product, transposed


def is_partial(subset_by_index: tuple | None, size: int) -> bool:
    """Returns whether only some of the eigenvalues or singular values were asked for."""
    return subset_by_index is not None and tuple(subset_by_index) != (0, size)


def with_the_rest(part: Any, whole: Any, subset: Any, axis: int) -> Any:
    """Returns the whole of something of which a part is given."""
    start, end = subset
    before = lax.slice_in_dim(whole, 0, start, axis=axis)
    after = lax.slice_in_dim(whole, end, whole.shape[axis], axis=axis)
    return lax.concatenate((before, part, after), axis % whole.ndim)


def all_of_it(
    g: Any, part: Any, whole: Any, subset: Any, axes: tuple = (-1, -1, -2)
) -> tuple[tuple, tuple]:
    """Returns cotangents and factors of a whole spectrum from those of a part of it.

    What was asked for stays as it is; the rest is computed, and has a cotangent of zero.
    """

    def filled(parts: Any, rest: Any) -> tuple:
        groups = zip(parts, rest, axes, strict=False)
        return tuple(with_the_rest(a, b, subset, axis) for a, b, axis in groups)

    return filled(g, [lax.full_like(b, 0) for b in whole]), filled(part, whole)


@pullback(lax.linalg.eigh_p)
def eigh(
    g: tuple, x: Any, z: tuple, asked: tuple, *, lower: bool, subset_by_index: tuple | None
) -> Any:
    """Factors: x v = v diag(w), v unitary, w real; of x only one triangle is read.

    With p = vᴴ dx v, dw is the diagonal of p, and dv = v (f ∘ p) for f_ij = 1 / (w_j - w_i), 0 for
    i = j. As p is Hermitian, only the skew part of vᴴ v̄ counts:

        s = v [diag(w̄) + f ∘ (vᴴ v̄ - (vᴴ v̄)ᴴ) / 2] vᴴ

    A part of the spectrum, of which jax.grad has none, moves with the rest of it.

    Source: Giles 2008, Oxford NA-08/01, section 3.1.
    """
    if is_partial(subset_by_index, x.shape[-1]):
        whole = lax.linalg.eigh(x, lower=lower, symmetrize_input=False)
        g, z = all_of_it(g, z, whole, subset_by_index)
    (of_v, of_w), (v, w) = g, z
    a = product(adjoint(v), conjugate(of_v))
    others = functools.partial(of_others, m.hermitian(x, lower), v, w)
    asks = is_asked(g[:1], asked[:1])
    inner = of_spectrum(a, of_w, w, lax.full_like(w, np.inf), a, asks, others)
    s = product(product(v, inner), adjoint(v))
    return conjugate(m.triangle(2 * s, lower))


def of_others(x: Any, v: Any, w: Any, a: Any, inner: Any, tied: Any, rho: Any) -> Any:
    """Returns zeros that move as the rule at equal eigenvalues must, for loss(x) = tr hᴴ φ(x).

    There `inner`, s, is h' ∘ φ[w_i, w_j] with h' = vᴴ h v. Let it have a cotangent k. Then vᴴ dx v,
    p, within a subspace of eigenvalue w_i gets

        Σ_l (k_il h'_lj + h'_il k_lj) φ[w_i, w_l, w_j].

    Of other subspaces, the divided differences are (φ'(w_i) - φ[w_i, w_l]) / (w_i - w_l), and what
    they say is known: c holds h'_il φ[w_i, w_l, w_i]. But through v and w it would come as the sum
    of (k_il s_lj + s_il k_lj) and the diagonal of what is right, with another ratio for every l. So
    it is taken from there, by the zeros vᴴ v - 1 and diag(w), and given to x.

    Source: Bhatia 1997, Matrix Analysis, section V.3, for the derivatives of φ.
    """
    still_a, s, w_i = map(lax.stop_gradient, (a, inner, m.column(w)))
    gap = w_i - lax.stop_gradient(m.row(w))
    none = lax.full_like(s, 0)
    some = spread(m.column(lax.reduce_or(tied, (tied.ndim - 1,))), tied)
    same = tied | (m.on_diagonal(tied) & some)
    beyond = some & ~same
    gap = convert(lax.select(beyond, gap, lax.full_like(gap, np.inf)), s.dtype)
    c = lax.select(beyond, (convert(rho, s.dtype) * adjoint(still_a) - s) / gap, none)
    d = lax.select(beyond, -s - convert(w_i, s.dtype) * c, none)
    p = product(product(adjoint(v), x), v) - m.diagonal_matrix(w, s.dtype)
    p, q = (lax.select(same, still(each), none) for each in (p, product(adjoint(v), v)))
    z = product(p, c) + product(q, d)
    return z + adjoint(z)


@pullback(lax.linalg.svd_p)
def svd(
    g: tuple,
    x: Any,
    z: Any,
    asked: tuple,
    *,
    full_matrices: bool,
    subset_by_index: tuple | None,
    algorithm: Any = None,
) -> Any:
    """Factors: x = u diag(s) vᴴ, u and v with orthonormal columns.

    With p = uᴴ dx v, ds is the real diagonal of p; a = uᴴ ū and b = vᴴ v̄ act by their skew parts,
    their sum over differences of singular values, their difference over sums:

        x̄ = u [diag(s̄) + (a + b)_skew / (s_j - s_i) + (a - b)_skew / (s_j + s_i)] vᴴ
            + (1 - u uᴴ) ū s⁻¹ vᴴ + u s⁻¹ v̄ᴴ (1 - v vᴴ)

    skew meaning half of a - aᴴ. Phases may go from u to v; u is given them, as in JAX: on the
    diagonal, a + b is over 2 s_i. Where s_i = 0, a vector of a rectangular x is an arbitrary choice
    that s̄_i knows nothing of: NaN if the vectors count and s̄_i is not 0. The columns n that
    `full_matrices` adds to u are a basis of what is left, moved by dn = -u duᴴ n alone; so ū takes
    -n n̄ᴴ u from them.

    Source: Townsend 2016, "Differentiating the singular value decomposition"; Wan and Zhang 2019,
    arXiv:1909.02659, for complex matrices.
    """
    height, width = x.shape[-2:]
    k = min(height, width)
    if is_partial(subset_by_index, k):
        whole = lax.linalg.svd(x, full_matrices=False, algorithm=algorithm)
        g, z = all_of_it(g, z, (whole[1], whole[0], whole[2]), subset_by_index)
    (of_s, of_u, of_vh), (s, u, vh) = g, z
    asks = is_asked(g[1:], asked[1:])
    if asks is None:
        inner = of_values(of_s, s, u.dtype)
        return conjugate(product(product(m.columns(u, 0, k), inner), m.rows(vh, 0, k)))
    of_u, of_v, v = conjugate(of_u), transposed(of_vh), adjoint(vh)
    if full_matrices and height > k:
        u, of_u = without_rest(u, of_u, k)
    if full_matrices and width > k:
        v, of_v = without_rest(v, of_v, k)
    a, b = product(adjoint(u), of_u), product(adjoint(v), of_v)
    unit = lax.abs(a) + lax.abs(b)
    others = functools.partial(unless_all, asks, height == width)
    inner = of_spectrum(a + b, of_s, s, 2 * s, unit, asks, others)
    skew = (a - b - adjoint(a - b)) / 2
    inner = inner + quotient(skew, m.row(s) + m.column(s), s, unit)
    of_x = product(u, inner)
    if height > k:
        of_x = of_x + quotient(of_u - product(u, a), m.row(s), s, of_u)
    of_x = product(of_x, adjoint(v))
    if width > k:
        rest = quotient(of_v - product(v, b), m.row(s), s, of_v)
        of_x = of_x + product(u, adjoint(rest))
    if height != width:
        of_zero = is_small(m.row(s), s, axes=1) & ~is_small(m.row(of_s), of_s, axes=1)
        of_x = of_x + nan_unless(~(of_zero & asks), of_x)
    return conjugate(of_x)


def unless_all(asked: Any, square: bool, a: Any, inner: Any, tied: Any, rho: Any) -> Any:
    """Returns zeros whose derivative is NaN where singular values are equal, with two exceptions.

    These are a loss that asks for no vectors, and one of the polar factor u vᴴ of a square x, all
    of whose singular values are equal. The second derivatives of others have divided differences
    over sums besides those of `of_others`, and what comes through u, s, v does not tell their part.
    """
    del inner
    every = lax.reduce_and(tied | m.on_diagonal(tied), (tied.ndim - 2, tied.ndim - 1))
    every = lax.expand_dims(every, (every.ndim, every.ndim + 1))
    return poison(
        lax.full_like(a, 0) * a, tied & spread(asked, tied) & ~(every & (rho == 0) & square)
    )


def with_vectors(tape: Any, operands: Any, params: dict) -> list | None:
    """Runs a decomposition that returns singular values alone as one that returns all factors.

    The way back reads u and v. Were they of another decomposition, its second derivative would be
    told of them there and of s here, and of neither what `gauge` needs both for.
    """
    if params["compute_uv"]:
        return None
    whole = {**params, "full_matrices": False, "compute_uv": True}
    with set_current_trace(tape):
        return lax.linalg.svd_p.bind(*operands, **whole)[:1]


detours[lax.linalg.svd_p] = with_vectors


def without_rest(u: Any, of_u: Any, k: int) -> tuple[Any, Any]:
    """Returns the first k columns of u with the cotangent they get from all of them.

    The others, n, are any orthonormal basis of what is left: what n̄ says of turning them must
    vanish, or there is no derivative.
    """
    first, of_first, turns = of_rest(u, of_u, k)
    return first, of_first + nan_unless(~turns, first)


def of_rest(u: Any, of_u: Any, k: int) -> tuple[Any, Any, Any]:
    """Returns `without_rest`, and which matrices' other columns are told to turn."""
    n, of_n = (m.columns(each, k, each.shape[-1]) for each in (u, of_u))
    u, of_u = m.columns(u, 0, k), m.columns(of_u, 0, k)
    turned = product(adjoint(n), of_n)
    of_u = of_u - product(n, product(adjoint(of_n), u))
    still = is_small(turned - adjoint(turned), turned)
    turns = ~lax.reduce_and(still, (still.ndim - 2, still.ndim - 1))
    return u, of_u, lax.expand_dims(turns, (turns.ndim, turns.ndim + 1))


@pullback(lax.linalg.qr_p)
def qr(g: tuple, z: tuple, *, pivoting: bool, full_matrices: bool) -> Any:
    """Factors: x p = q r, q with orthonormal columns, r upper triangular with a real diagonal.

    With x = q r, dx = dq r + q dr. What is known of a = r r̄ᴴ - q̄ᴴ q is its skew part, and

        x̄ = q r̄ + [(1 - q qᴴ) q̄ + q Φ(a - aᴴ)] r⁻ᴴ,

    Φ keeping the lower triangle and halving the diagonal. A wide r has a square and columns beside
    it, which q r̄ alone is for. The columns that `full_matrices` adds to q are any basis of the
    rest, as in `svd`, or what LAPACK makes of it: see `of_reflected`. Rows of zeros end r if the
    last columns of x depend on the others, and then the columns of q there are arbitrary: a
    quotient of zeros is 0. If there are two such rows, their
    part of r̄ does not tell all of what they ask: NaN.

    Source: Roberts and Roberts 2020, arXiv:2009.10071, rearranged; the same for complex matrices.
    """
    (of_q, of_r), (q, r) = map(conjugate, g[:2]), z[:2]
    height, width = q.shape[-2], r.shape[-1]
    if full_matrices and height > width:
        q, of_q = of_reflected(q, of_q, width)
        r, of_r = m.rows(r, 0, width), m.rows(of_r, 0, width)
    of_x = conjugate(of_orthogonal_triangular(of_q, of_r, q, r))
    return unpermuted_columns(of_x, z[2]) if pivoting else of_x


def of_reflected(q: Any, of_q: Any, k: int) -> tuple[Any, Any]:
    """Returns the first k columns of q with the cotangent they get from all of them.

    As a product of k reflectors, q is given by these columns. Less those of 1 they are w, a square
    w' above w''; less those of 1, the other columns are w y with y = w'⁻ᴴ w''ᴴ. If these get n̄,
    then w gets n̄ yᴴ, and with s = w'⁻¹ wᴴ n̄ besides -y sᴴ above and sᴴ below. If the loss is the
    same for all bases of the rest, `without_rest` says the same, even if w' has no inverse.

    Source: Schreiber, Van Loan 1989, SIAM J. Sci. Stat. Comput. 10, 53; as used in
    arXiv:2409.13374, eq. 32.
    """
    first, plain, turns = of_rest(q, of_q, k)
    of_n = m.columns(of_q, k, of_q.shape[-1])
    w = first - m.identity(first)
    top, under = m.rows(w, 0, k), m.rows(w, k, w.shape[-2])
    y = m.solve(adjoint(top), adjoint(under))
    s = adjoint(m.solve(top, product(adjoint(w), of_n)))
    rest = product(of_n, adjoint(y)) + m.above(-product(y, s), s)
    turns = lax.broadcast_in_dim(turns, rest.shape, tuple(range(rest.ndim)))
    return first, lax.select(turns, m.columns(of_q, 0, k) + rest, plain)


def unpermuted_columns(x: Any, order: Any) -> Any:
    """Returns the columns of x where they stood before they were put in this order."""
    return transposed(m.permuted_rows(transposed(x), m.inverse_permutation(order)))


def of_orthogonal_triangular(of_q: Any, of_r: Any, q: Any, r: Any) -> Any:
    """Returns the cotangent of x = q r, in the textbook's pairing; see `qr`."""
    k = q.shape[-1]
    height, width = q.shape[-2], r.shape[-1]
    r, asked, of_r = m.upper(r), of_r, m.upper(of_r)
    qq = product(adjoint(q), of_q)
    a = product(r, adjoint(of_r)) - adjoint(qq)
    inner = product(q, m.half_lower(a - adjoint(a)))
    if height > k:
        inner = inner + (of_q - product(q, qq))
    square = r if width == k else m.columns(r, 0, k)
    inner, square = without_zero_rows(inner, r, square, of_q, asked)
    of_square = m.solve_with(square, inner, False, transpose_a=True, conjugate_a=True)
    of_x = product(q, of_r)
    if width == k:
        return of_x + of_square
    return m.beside(m.columns(of_x, 0, k) + of_square, m.columns(of_x, k, width))


def without_zero_rows(inner: Any, r: Any, square: Any, unit: Any, of_r: Any) -> tuple[Any, Any]:
    """Returns what to divide by what, the rows of zeros of r taken out where nothing asks for them.

    There the divisor gets 1 on its diagonal, and the dividend is 0; NaN if there are several and
    they have a cotangent.
    """
    size = lax.reduce_max(lax.stop_gradient(lax.abs(r)), (r.ndim - 1,))
    asked = lax.reduce_max(lax.stop_gradient(lax.abs(inner)), (inner.ndim - 2,))
    neither = is_small(m.row(size), r) & is_small(m.row(asked), unit)
    keep = lax.select(
        neither, lax.full(neither.shape, 0, r.dtype), lax.full(neither.shape, 1, r.dtype)
    )
    several = lax.reduce_sum(1 - keep, (keep.ndim - 2, keep.ndim - 1)) > 1.5
    rows = m.row(lax.reduce_max(lax.stop_gradient(lax.abs(of_r)), (r.ndim - 1,)))
    several = lax.broadcast_in_dim(several, neither.shape, tuple(range(several.ndim)))
    unknown = nan_unless(~(neither & several) | is_small(rows, of_r), inner)
    neither = lax.broadcast_in_dim(neither, inner.shape, tuple(range(inner.ndim)))
    inner = lax.select(neither, lax.full_like(inner, 0), inner / keep) + unknown
    return inner, square + m.diagonal_matrix(lax.reshape(1 - keep, size.shape), r.dtype)


@pullback(lax.linalg.eig_p)
def eig(
    g: tuple,
    x: Any,
    z: Any,
    *,
    compute_left_eigenvectors: bool,
    compute_right_eigenvectors: bool,
    implementation: Any = None,
) -> Any:
    """Eigenvalues w, and vectors of length 1 whose largest element is real: x v = v diag(w).

    The left ones are the right ones of xᴴ, whose eigenvalues are conj(w).
    """
    if not (compute_left_eigenvectors or compute_right_eigenvectors):
        w, v = lax.linalg.eig(
            x,
            compute_left_eigenvectors=False,
            enable_eigvec_derivs=True,
            implementation=implementation,
        )
        return real_if(of_eigen(g[0], None, w, v), x)
    parts = []
    of_w, w = g[0], z[0]
    if compute_right_eigenvectors:
        parts.append(of_eigen(of_w, g[-1], w, z[-1]))
    if compute_left_eigenvectors:
        of_w = None if compute_right_eigenvectors else lax.conj(of_w)
        parts.append(adjoint(of_eigen(of_w, g[1], lax.conj(w), z[1])))
    return real_if(sum(parts[1:], parts[0]), x)


def of_eigen(of_w: Any, of_v: Any, w: Any, v: Any) -> Any:
    """Returns the cotangent of x, x v = v diag(w), from those of w and of v; either may be None.

    With p = v⁻¹ dx v, dw is the diagonal of p, and dv = u + v diag(c), where u = v (f ∘ p),
    f_ij = 1 / (w_j - w_i), 0 for i = j. The length and the real element k of v_j fix

        c_j = -Re(v_jᴴ u_j) - i Im(u_kj) / v_kj.

    So with t_j = Σ_i g_ij v_ij, u gets g_ij - Re(t_j) conj(v_ij) - [i = k] i Im(t_j) / v_kj.

    Source: Giles 2008, Oxford NA-08/01, section 3.1, for p; JAX, issue 2748, for c.
    """
    inner = None if of_w is None else m.diagonal_matrix(of_w, v.dtype)
    if of_v is not None:
        axis = v.ndim - 2
        size = lax.abs(v)
        place = lax.argmax(size, axis, np.int32)
        is_k = lax.broadcasted_iota(np.int32, v.shape, axis) == m.row(place)
        t = m.row(lax.reduce_sum(of_v * v, (axis,)))
        turn = lax.complex(lax.full_like(lax.real(t), 0), lax.imag(t)) / v
        length = lax.complex(lax.real(t), lax.full_like(lax.real(t), 0))
        of_u = of_v - length * lax.conj(v) - lax.select(is_k, turn, lax.full_like(v, 0))
        a = product(transposed(v), of_u)
        gap = m.row(w) - m.column(w)
        gap = lax.select(m.on_diagonal(gap), lax.full_like(gap, np.inf), gap)
        of_p = quotient(a, gap, w, of_u)
        inner = of_p if inner is None else inner + of_p
    return m.solve(transposed(v), product(inner, transposed(v)))


def real_if(of_x: Any, x: Any) -> Any:
    """Returns the part of a cotangent that x, if real, can get."""
    return of_x if is_complex(x) else lax.real(of_x)


dear_to_recompute(
    lax.linalg.eigh_p,
    lax.linalg.svd_p,
    lax.linalg.qr_p,
    lax.linalg.eig_p,
)
