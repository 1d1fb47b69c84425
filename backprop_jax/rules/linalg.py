"""Solving linear systems, and the factors of elimination: Cholesky, LU, Householder reflectors."""

import itertools
from typing import Any

from jax import lax

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.registry import (
    Unit,
    dear_to_recompute,
    piecewise_constant,
    pullback,
    structured,
)
from backprop_jax.engine.residuals import split
from backprop_jax.errors import MissingRule, message
from backprop_jax.rules import matrices as m
from backprop_jax.rules.matrices import product, solve_with
from backprop_jax.rules.reductions import neighbour


@pullback(lax.linalg.triangular_solve_p)
def triangular_solve(
    g: Any,
    x: Any,
    z: Any,
    needed: tuple,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> tuple:
    """Solves: z = a⁻¹ y, where a is x, its transpose or its conjugate; or z = y a⁻¹.

    dz = a⁻¹ dy, so y gets h = a⁻ᵀ g; and dz = -a⁻¹ da z, so a gets -h zᵀ. Of x only one triangle is
    read. On the other side, h = g a⁻ᵀ and -zᵀ h.
    """
    h = solve_with(
        x,
        g,
        left_side,
        lower=lower,
        transpose_a=not transpose_a,
        conjugate_a=conjugate_a,
        unit_diagonal=unit_diagonal,
    )
    if not needed[0]:
        return None, h
    of_a = product(-h, m.transposed(z)) if left_side else product(m.transposed(-z), h)
    of_x = m.transposed(of_a) if transpose_a else of_a
    of_x = m.conjugate(of_x) if conjugate_a else of_x
    k = int(unit_diagonal)
    of_x = m.lower(of_x, -k) if lower else m.upper(of_x, k)
    return of_x, h if needed[1] else None


@pullback(lax.linalg.tridiagonal_solve_p)
def tridiagonal_solve(
    g: Any, x: Any, y: Any, w: Any, z: Any, needed: tuple, *, perturb_singular: bool = False
) -> tuple:
    """x_i z_{i-1} + y_i z_i + w_i z_{i+1} = b_i, for every column of b.

    b gets h, the solution of the transposed system, whose diagonals are w_{i-1}, y_i, x_{i+1}. The
    diagonals get -h_i z_{i-1}, -h_i z_i, -h_i z_{i+1}, summed over the columns.
    """
    axis = y.ndim - 1
    under, over = neighbour(w, 0, axis, False), neighbour(x, 0, axis, True)
    h = lax.linalg.tridiagonal_solve_p.bind(under, y, over, g, perturb_singular=perturb_singular)
    factors = (
        lambda: neighbour(z, 0, axis, False),
        lambda: z,
        lambda: neighbour(z, 0, axis, True),
    )
    of_diagonals = [
        lax.reduce_sum(-h * factor(), (z.ndim - 1,)) if wanted else None
        for factor, wanted in zip(factors, needed[:3], strict=True)
    ]
    return *of_diagonals, h if needed[3] else None


@pullback(lax.linalg.cholesky_p)
def cholesky(g: Any, z: Any) -> Any:
    """Factors: z zᴴ = x, z lower triangular. Of x only the lower triangle is read.

    dz = z Φ(z⁻¹ dx z⁻ᴴ), where Φ keeps the lower triangle and halves the diagonal. Φ is its own
    transpose, so x gets s = z⁻ᴴ Φ(zᴴ ḡ) z⁻¹; dx is Hermitian, so only (s + sᴴ)/2 counts.

    jax.grad of 0.10 takes dx for Hermitian even where `symmetrize_input=False`, and differs there.

    Source: Murray 2016, arXiv:1602.07527.
    """
    z = m.lower(z)
    inner = m.half_lower(product(m.adjoint(z), m.conjugate(g)))
    left = solve_with(z, inner, lower=True, transpose_a=True, conjugate_a=True)
    s = solve_with(z, left, left_side=False, lower=True)
    return m.conjugate(m.triangle(s + m.adjoint(s), is_lower=True))


@pullback(lax.linalg.lu_p)
def lu(g: tuple, z: tuple) -> Any:
    """Factors: p x = l u, l with ones on its diagonal; l and u share one array.

    Square: dl = l L(d) and du = U(d) u with d = l⁻¹ p dx u⁻¹, where L keeps what is below the
    diagonal and U the rest, so

        p x gets  l⁻ᵀ [L(lᵀ g) + U(g uᵀ)] u⁻ᵀ.

    Tall: the rows l' below the square are p x' u⁻¹, so p x' gets h = g' u⁻ᵀ, and what u has in them
    takes l'ᵀ g' from U(·). Wide: the columns u' beside are l⁻¹ p x', so p x' gets l⁻ᵀ g', and what
    l has in them takes g' u'ᵀ from L(·).

    Source: De Hoog, Anderssen, Lukas 2011, ANZIAM J. 52, C288, for the square.
    """
    g, (factors, _, order) = g[0], z
    height, width = factors.shape[-2:]
    k = min(height, width)
    g1, f1 = (m.columns(m.rows(a, 0, k), 0, k) for a in (g, factors))
    of_l = product(m.transposed(m.lower(f1, -1)), m.lower(g1, -1)) + g1  # lᵀ g, below the diagonal
    of_u = product(m.upper(g1), m.transposed(m.upper(f1)))
    if height > k:
        g2, l2 = m.rows(g, k, height), m.rows(factors, k, height)
        of_u = of_u - product(m.transposed(l2), g2)
        rest = solve_with(f1, g2, False, transpose_a=True)
    if width > k:
        g2, u2 = m.columns(g, k, width), m.columns(factors, k, width)
        of_l = of_l - product(g2, m.transposed(u2))
        rest = solve_with(f1, g2, lower=True, transpose_a=True, unit_diagonal=True)
    inner = lax.select(m.below(of_l, -1), of_l, of_u)
    left = solve_with(f1, inner, lower=True, transpose_a=True, unit_diagonal=True)
    of_px = solve_with(f1, left, False, transpose_a=True)
    if height > k:
        of_px = m.above(of_px, rest)
    if width > k:
        of_px = m.beside(of_px, rest)
    return m.permuted_rows(of_px, m.inverse_permutation(order))


@pullback(lax.linalg.householder_product_p)
def householder_product(g: Any, x: Any, y: Any, needed: tuple) -> tuple:
    """The first columns of (1 - y_1 v_1 v_1ᴴ) ··· (1 - y_k v_k v_kᴴ).

    v_i is column i of x below the diagonal, 1 on it and 0 above. The product in one formula, where
    U keeps what is above the diagonal and v' is the upper square of v:

        z = 1 - v t v'ᴴ,   t = diag(y) b⁻¹,   b = 1 + U(vᴴ v) diag(y).

    With c = -ḡ the product rule gives v, t and v' the terms of the last line but two below; then
    h = t̄ b⁻ᴴ is what diag(y) gets from t, and b gets -tᴴ h. jax.grad has none.

    Source: Schreiber, Van Loan 1989, SIAM J. Sci. Stat. Comput. 10, 53.
    """
    height, width = x.shape[-2:]
    k = y.shape[-1]
    v = m.lower(m.columns(x, 0, k), -1)
    v = lax.select(m.on_diagonal(v), lax.full_like(v, 1), v)
    gram = m.upper(product(m.adjoint(v), v), 1)
    b = gram * m.row(y)
    b = lax.select(m.on_diagonal(b), lax.full_like(b, 1), b)
    taus = m.diagonal_matrix(y, x.dtype)
    t = solve_with(b, taus, False)
    top = m.rows(v, 0, width)
    c = -m.conjugate(g)
    of_t = product(product(m.adjoint(v), c), top)
    h = solve_with(b, of_t, False, transpose_a=True, conjugate_a=True)
    of_b = -product(m.adjoint(t), h)
    of_y = None
    if needed[1]:
        of_y = m.conjugate(m.diagonal(h + product(m.adjoint(gram), of_b)))
    if not needed[0]:
        return None, of_y
    of_gram = m.upper(of_b * m.row(m.conjugate(y)), 1)
    of_v = product(c, product(top, m.adjoint(t))) + product(v, of_gram + m.adjoint(of_gram))
    of_top = product(m.adjoint(c), product(v, t))
    of_v = of_v + (of_top if height == width else pad_rows(of_top, height))
    of_x = m.conjugate(m.lower(of_v, -1))
    if k < width:
        of_x = m.beside(of_x, lax.full((*x.shape[:-1], width - k), 0, x.dtype))
    return of_x, of_y


def pad_rows(x: Any, height: int) -> Any:
    """Returns x with rows of zeros below."""
    config = [(0, 0, 0)] * x.ndim
    config[-2] = (0, height - x.shape[-2], 0)
    return lax.pad(x, lax.full((), 0, x.dtype), config)


@pullback(lax.linalg.symmetric_product_p)
def symmetric_product(g: Any, x: Any, needed: tuple, *, alpha: float, beta: float) -> tuple:
    """For z = α x xᵀ + β y, x gets α (g + gᵀ) x, y gets β g. jax.grad has none."""
    of_x = alpha * product(g + m.transposed(g), x) if needed[0] else None
    return of_x, beta * g if needed[1] else None


@structured(lax.linear_solve_p)
def linear_solve(active: tuple[bool, ...], *, const_lengths: Any, jaxprs: Any) -> Unit:
    """The z for which matvec(k, z) = b, however it was found. k are the constants of matvec.

    matvec is linear, a matrix a(k). From a dz = db - da z, b gets the solution h of the transposed
    system aᵀ h = g, and k what matvec, at z, makes of -h. What the solvers read besides is a means
    to an end and gets nothing; nor do the results beyond z, which tell how the solving went.
    """
    if jaxprs.transpose_solve is None:
        raise MissingRule(
            message(
                "no rule for this custom_linear_solve: it was not told how to solve the transpose.",
                to_go_on="give it a transpose_solve, or symmetric=True.",
            )
        )
    start, count = const_lengths.matvec, sum(const_lengths)
    size = len(active) - count
    matrix = None
    if any(active[:start]):
        matrix = split(jaxprs.matvec, (*active[:start], *[False] * size)).unit()

    def forward(*operands: Any) -> tuple[list, list]:
        results = lax.linear_solve_p.bind(*operands, const_lengths=const_lengths, jaxprs=jaxprs)
        return results, (results[:size] if matrix else [])

    def backward(operands: list, kept: list, cotangents: list) -> list:
        ends = itertools.accumulate(const_lengths, initial=0)
        groups = [operands[a:b] for a, b in itertools.pairwise(ends)]
        matvec, vecmat, solve, transpose_solve = groups
        g = ct.instantiate(cotangents[:size], jaxprs.matvec.out_avals)
        h = lax.linear_solve_p.bind(
            *(*vecmat, *matvec, *transpose_solve, *solve, *g),
            const_lengths=const_lengths.transpose(),
            jaxprs=jaxprs.transpose(),
        )[:size]
        of_constants = [None] * start
        if matrix:
            point = [*matvec, *kept]
            _, values = matrix.forward(*point)
            of_constants = matrix.backward(
                [point[i] for i in matrix.keeps], values, [-each for each in h]
            )[:start]
        return [*of_constants, *[None] * (count - start), *h]

    moving = (True,) * size + (False,) * (len(jaxprs.solve.out_avals) - size)
    return Unit(forward, backward, tuple(range(count)), moving)


piecewise_constant(lax.linalg.lu_pivots_to_permutation_p)
dear_to_recompute(
    lax.linear_solve_p,
    lax.linalg.triangular_solve_p,
    lax.linalg.tridiagonal_solve_p,
    lax.linalg.cholesky_p,
    lax.linalg.lu_p,
    lax.linalg.householder_product_p,
    lax.linalg.symmetric_product_p,
)
