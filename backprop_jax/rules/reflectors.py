"""Householder reflectors: their product, and the decompositions that are left as reflectors.

Reflector i is 1 - y_i v_i v_iᴴ, where v_i is column i of x below the diagonal, 1 on it and 0 above.
The product of k of them in one formula, U keeping what is above the diagonal:

    q = 1 - v t vᴴ,   t = diag(y) b⁻¹,   b = 1 + U(vᴴ v) diag(y).

The other way, the first columns of q tell the reflectors: with v' the square on top of v they are
1 + v u, u = -t v'ᴴ, and v and u are LU factors, as u is upper triangular with the diagonal -y. So a
decomposition that leaves reflectors is pulled back in two steps: from the reflectors to q, from q
and the other factor to x. Where y is zero a reflector is 1, and next to it another: NaN.

Written for the textbook's pairing, ḡ = conj(g). jax.grad has none of these.

Source: Schreiber, Van Loan 1989, SIAM J. Sci. Stat. Comput. 10, 53, for the formula; Ballard et al.
2014, "Reconstructing Householder vectors from tall-skinny QR", section IV, for the way back.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.scipy.linalg as sla
import numpy as np
from jax import lax

from backprop_jax.engine.registry import dear_to_recompute, pullback
from backprop_jax.rules import matrices as m
from backprop_jax.rules.decompositions import of_orthogonal_triangular, unpermuted_columns
from backprop_jax.rules.elementary import is_complex
from backprop_jax.rules.gauge import nan_unless
from backprop_jax.rules.linalg import of_product
from backprop_jax.rules.matrices import adjoint, conjugate, product, solve_with


def primitive_of_qr(name: str, pivoting: bool) -> Any:
    """Returns a primitive that has no public name."""
    qr = functools.partial(sla.qr_multiply, pivoting=pivoting)
    equations = jax.make_jaxpr(qr)(*np.zeros((2, 1, 1), np.float32)).eqns
    return next(e.primitive for e in equations if str(e.primitive) == name)


geqrf_p, geqp3_p = primitive_of_qr("geqrf", False), primitive_of_qr("geqp3", True)


class Compact(NamedTuple):
    """The matrices of the formula above; `gram` is U(vᴴ v)."""

    v: Any
    gram: Any
    b: Any
    t: Any


def compact(x: Any, y: Any) -> Compact:
    """Returns the product of reflectors, in one formula."""
    v = m.lower(m.columns(x, 0, y.shape[-1]), -1)
    v = with_ones(v)
    gram = m.upper(product(adjoint(v), v), 1)
    b = with_ones(gram * m.row(y))
    t = solve_with(b, m.diagonal_matrix(y, x.dtype), False)
    return Compact(v, gram, b, t)


def with_ones(x: Any) -> Any:
    """Returns x with ones on its diagonal."""
    return lax.select(m.on_diagonal(x), lax.full_like(x, 1), x)


def of_reflectors(of_q: Any, x: Any, y: Any, needed: tuple) -> tuple:
    """Returns the cotangents of x and y from that of the first columns of their product.

    With c = -q̄, v and v' get c v' tᴴ and cᴴ v t, and t gets vᴴ c v'. Then h = t̄ b⁻ᴴ is what diag(y)
    gets from t, and b gets -tᴴ h.
    """
    (height, width), k = of_q.shape[-2:], y.shape[-1]
    v, gram, b, t = compact(x, y)
    top, c = m.rows(v, 0, width), -of_q
    of_t = product(product(adjoint(v), c), top)
    h = solve_with(b, of_t, False, transpose_a=True, conjugate_a=True)
    of_b = -product(adjoint(t), h)
    of_y = None
    if needed[1]:
        of_y = conjugate(m.diagonal(h + product(adjoint(gram), of_b)))
    if not needed[0]:
        return None, of_y
    of_gram = m.upper(of_b * m.row(conjugate(y)), 1)
    of_v = product(c, product(top, adjoint(t))) + product(v, of_gram + adjoint(of_gram))
    of_v = of_v + m.grown(product(adjoint(c), product(v, t)), (0, height - width), (0, 0))
    of_x = m.grown(conjugate(m.lower(of_v, -1)), (0, 0), (0, x.shape[-1] - k))
    return of_x, of_y


@pullback(lax.linalg.householder_product_p)
def householder_product(g: Any, x: Any, y: Any, needed: tuple) -> tuple:
    """The first columns of the product of reflectors, as many as x has."""
    return of_reflectors(conjugate(g), x, y, needed)


@pullback(lax.linalg.ormqr_p)
def ormqr(g: Any, x: Any, y: Any, w: Any, needed: tuple, *, left: bool, transpose: bool) -> tuple:
    """For z = q w, w gets qᴴ ḡ, and q gets ḡ wᴴ; so, too, on the other side and with qᴴ for q."""
    g = conjugate(g)
    of_w = None
    if needed[2]:
        of_w = conjugate(lax.linalg.ormqr(x, y, g, left=left, transpose=not transpose))
    if not any(needed[:2]):
        return None, None, of_w
    of_q = product(g, adjoint(w)) if left else product(adjoint(w), g)
    return *of_reflectors(adjoint(of_q) if transpose else of_q, x, y, needed), of_w


def of_first_columns(g: Any, g_y: Any, x: Any, y: Any) -> Any:
    """Returns the cotangent of the first columns of a product of reflectors from those of x and y.

    There are as many columns as reflectors. The last reflector of a real square matrix is 1, and
    so its column is not asked.
    """
    height, k = x.shape[-2], y.shape[-1]
    told = k - 1 if height == k and not is_complex(x) else k
    if not told:
        return lax.full((*x.shape[:-1], k), 0, x.dtype)
    g, x = m.columns(g, 0, told), m.columns(x, 0, told)
    g_y, y = (lax.slice_in_dim(each, 0, told, axis=-1) for each in (g_y, y))
    v, _, _, t = compact(x, y)
    u = -product(t, adjoint(m.rows(v, 0, told)))
    none = m.on_diagonal(u) & (u == 0)
    u = lax.select(none, lax.full_like(u, 1), u)
    g = m.lower(g, -1) - m.grown(m.diagonal_matrix(g_y, x.dtype), (0, height - told), (0, 0))
    factors = m.lower(v, -1) + m.grown(m.upper(u), (0, height - told), (0, 0))
    of_q = conjugate(of_product(g, factors)) + poison(none, g)
    return m.grown(of_q, (0, 0), (0, k - told))


def poison(ill: Any, g: Any) -> Any:
    """Returns NaN for each matrix that is ill in a place, if anything is asked of it; else 0."""
    axes = (g.ndim - 2, g.ndim - 1)
    idle = lax.reduce_and(lax.stop_gradient(g) == 0, axes)
    idle = lax.broadcast_in_dim(idle, ill.shape, tuple(range(idle.ndim)))
    return nan_unless(~ill | idle, g)


def of_qr(g: Any, g_y: Any, a: Any, y: Any) -> Any:
    """Returns the cotangent of a matrix from those of its QR decomposition, left as reflectors."""
    k = y.shape[-1]
    q = lax.linalg.householder_product(m.columns(a, 0, k), y)
    of_q = of_first_columns(m.columns(g, 0, k), g_y, m.columns(a, 0, k), y)
    of_r = conjugate(m.upper(m.rows(g, 0, k)))
    return conjugate(of_orthogonal_triangular(of_q, of_r, q, m.rows(a, 0, k)))


@pullback(geqrf_p)
def geqrf(g: tuple, z: tuple) -> Any:
    """Factors: x = q r; r is left on and above the diagonal, reflectors of q below and in z[1]."""
    return of_qr(*g, *z)


@pullback(geqp3_p)
def geqp3(g: tuple, z: tuple) -> tuple:
    """Factors: x p = q r, left as in `geqrf`; besides, the order of the columns, counted from 1."""
    return unpermuted_columns(of_qr(g[0], g[2], z[0], z[2]), z[1] - 1), None


@pullback(lax.linalg.hessenberg_p)
def hessenberg(g: tuple, z: tuple) -> Any:
    """Factors: x = q h qᴴ; h is left on and above its subdiagonal, reflectors of q below it."""
    (g, g_y), (a, y) = g, z
    h = m.upper(a, -1)
    return conjugate(of_similar(conjugate(m.upper(g, -1)), h, g, g_y, a, y))


def of_similar(of_h: Any, h: Any, g: Any, g_y: Any, a: Any, y: Any) -> Any:
    """Returns the cotangent of x = q h qᴴ, where reflectors of q are left below the subdiagonal.

    The first row and column of q are those of 1, the others a product of n - 1 reflectors.
    """
    n = a.shape[-1]
    if n == 1:
        return of_h
    g, a = (m.columns(m.rows(each, 1, n), 0, n - 1) for each in (g, a))
    q = lax.linalg.householder_product(a, y)
    b = m.grown(product(adjoint(q), of_first_columns(g, g_y, a, y)), (1, 0), (1, 0))
    q = m.grown(q, (1, 0), (1, 0))
    q = lax.select(m.on_diagonal(q), q + first(q), q)
    return product(product(q, of_hessenberg(of_h, h, b)), adjoint(q))


def first(x: Any) -> Any:
    """Returns 1 in the upper left corner, 0 elsewhere."""
    rows = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 2)
    return lax.convert_element_type(m.on_diagonal(x) & (rows == 0), x.dtype)


def of_hessenberg(of_h: Any, h: Any, b: Any) -> Any:
    """Returns what p = qᴴ dx q gets, if h gets h̄ and the skew o = qᴴ dq gets b.

    From x q = q h, dh = p + h o - o h. That is zero below the subdiagonal and real on it, and the
    first column of o is zero: so p determines o. Let h̄ hold multipliers in the places where dh is
    zero; what o gets then, s = hᴴ h̄ - h̄ hᴴ + b, has no skew part:

        h̄_i,j-1 = (s_ij - conj(s_ji)) / h_j,j-1     for i > j, s without that term,

    and half of it, the imaginary part of h̄ on the subdiagonal, for i = j: from the last column to
    the first. Where h has a zero on its subdiagonal, q is an arbitrary choice from there on.
    """
    n = h.shape[-1]
    ah = adjoint(h)
    if is_complex(h):
        under = m.below(h, -1) & ~m.below(h, -2)
        real = lax.complex(lax.real(of_h), lax.full_like(lax.real(of_h), 0))
        of_h = lax.select(under, real, of_h)

    def column(x: Any, j: Any) -> Any:
        return lax.dynamic_slice_in_dim(x, j, 1, axis=x.ndim - 1)

    def trip(of_h: Any, j: Any) -> tuple[Any, None]:
        down = product(ah, column(of_h, j)) - product(of_h, column(ah, j)) + column(b, j)
        aof_h = adjoint(of_h)
        across = product(aof_h, column(h, j)) - product(h, column(aof_h, j)) + column(adjoint(b), j)
        pivot = lax.dynamic_slice_in_dim(column(h, j - 1), j, 1, axis=h.ndim - 2)
        found = (down - across) / pivot
        rows = lax.broadcasted_iota(np.int32, found.shape, found.ndim - 2)
        kept = lax.select(rows == j, found / 2, lax.full_like(found, 0))
        kept = lax.select(rows > j, found, kept)
        place = lax.broadcasted_iota(np.int32, h.shape, h.ndim - 1) == j - 1
        spread = lax.broadcast_in_dim(kept, h.shape, tuple(range(h.ndim)))
        return of_h + lax.select(place, spread, lax.full_like(of_h, 0)), None

    return lax.scan(trip, of_h, np.arange(1, n, dtype=np.int32), reverse=True)[0]


@pullback(lax.linalg.tridiagonal_p)
def tridiagonal(g: tuple, z: tuple, *, lower: bool) -> Any:
    """Factors: x = q h qᴴ, x Hermitian, h real and tridiagonal: z[1] and z[2], and in z[0], too.

    Of x one triangle is read, and the other is that of z[0]. The upper one is reduced from the last
    column to the first: turned by half a turn it is a lower one, reduced from the first.
    """
    if lower:
        return of_lower_tridiagonal(*g, *z)
    return lax.rev(of_lower_tridiagonal(*map(turned, (*g, *z), "mvvv" * 2)), matrix_axes(z[0]))


def matrix_axes(x: Any) -> tuple[int, int]:
    """Returns the last two axes."""
    return x.ndim - 2, x.ndim - 1


def turned(x: Any, kind: str) -> Any:
    """Returns a matrix or a vector with its last element first."""
    return lax.rev(x, matrix_axes(x) if kind == "m" else (x.ndim - 1,))


def of_lower_tridiagonal(
    g: Any, g_d: Any, g_e: Any, g_y: Any, a: Any, d: Any, e: Any, y: Any
) -> Any:
    """Returns the cotangent of x, a Hermitian matrix of which the lower triangle is read."""
    under = m.grown(m.diagonal_matrix(e, a.dtype), (1, 0), (0, 1))
    h = m.diagonal_matrix(d, a.dtype) + under + m.transposed(under)
    of_h = m.diagonal_matrix(g_d, a.dtype) + m.grown(
        m.diagonal_matrix(g_e, a.dtype), (1, 0), (0, 1)
    )
    of_h = of_h + conjugate(m.upper(m.lower(g), -1))
    s = of_similar(of_h, h, g, g_y, a, y)
    return conjugate(m.triangle(s + adjoint(s), is_lower=True)) + m.upper(g, 1)


dear_to_recompute(
    lax.linalg.householder_product_p,
    lax.linalg.ormqr_p,
    lax.linalg.hessenberg_p,
    lax.linalg.tridiagonal_p,
    geqrf_p,
    geqp3_p,
)
