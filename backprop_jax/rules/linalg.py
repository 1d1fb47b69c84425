"""Solving linear systems, and the factors of elimination: Cholesky, LU."""

import itertools
from typing import Any

from jax import lax

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.registry import (
    Row,
    dear_to_recompute,
    piecewise_constant,
    pullback,
    read,
    register,
    structured,
)
from backprop_jax.engine.units import Unit
from backprop_jax.errors import MissingTranspose, message
from backprop_jax.partition.residuals import split
from backprop_jax.rules import matrices as m
from backprop_jax.rules.matrices import product, solve_with
from backprop_jax.rules.reductions import neighbour


def solve_transposed(
    g: Any,
    x: Any,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Any:
    """Solves: z = a⁻¹ y, where a is x, its transpose or its conjugate; or z = y a⁻¹.

    dz = a⁻¹ dy, so y gets h = a⁻ᵀ g; on the other side, h = g a⁻ᵀ.
    """
    return solve_with(
        x,
        g,
        left_side,
        lower=lower,
        transpose_a=not transpose_a,
        conjugate_a=conjugate_a,
        unit_diagonal=unit_diagonal,
    )


def of_triangle(
    g: Any,
    x: Any,
    z: Any,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Any:
    """With dz = -a⁻¹ da z, a gets -h zᵀ; on the other side, -zᵀ h.

    Of x only one triangle is read.
    """
    h = solve_transposed(
        g,
        x,
        left_side=left_side,
        lower=lower,
        transpose_a=transpose_a,
        conjugate_a=conjugate_a,
        unit_diagonal=unit_diagonal,
    )
    of_a = product(-h, m.transposed(z)) if left_side else product(m.transposed(-z), h)
    of_x = m.transposed(of_a) if transpose_a else of_a
    of_x = m.conjugate(of_x) if conjugate_a else of_x
    k = int(unit_diagonal)
    return m.lower(of_x, -k) if lower else m.upper(of_x, k)


# A column for each operand: of a system whose right side alone moves, z is not kept, and it is
# linear as what it says of a user's `jax.custom_jvp` must be.
register(lax.linalg.triangular_solve_p, Row("solve", (read(of_triangle), read(solve_transposed))))


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
    s = of_factor(m.conjugate(g), m.lower(z))
    return m.conjugate(m.triangle(s + m.adjoint(s), is_lower=True))


def of_factor(g: Any, z: Any) -> Any:
    """Returns z⁻ᴴ Φ(zᴴ g) z⁻¹, for a lower triangular z; see `cholesky`."""
    inner = m.half_lower(product(m.adjoint(z), g))
    left = solve_with(z, inner, lower=True, transpose_a=True, conjugate_a=True)
    return solve_with(z, left, left_side=False, lower=True)


@pullback(lax.linalg.cholesky_update_p)
def cholesky_update(g: Any, x: Any, y: Any, z: Any, needed: tuple) -> tuple:
    """Factors: zᵀ z = xᵀ x + y yᵀ, with z and x upper triangular.

    With s what the sum gets, x gets x (s + sᵀ) and y gets (s + sᵀ) y. jax.grad has none.
    """
    s = of_factor(m.transposed(m.upper(g)), m.transposed(m.upper(z)))
    s = s + m.transposed(s)
    of_x = m.upper(product(m.upper(x), s)) if needed[0] else None
    return of_x, lax.squeeze(product(s, m.column(y)), (1,)) if needed[1] else None


@pullback(lax.linalg.lu_p)
def lu(g: tuple, z: tuple) -> Any:
    """Factors: p x = l u, l with ones on its diagonal; l and u share one array."""
    return m.permuted_rows(of_product(g[0], z[0]), m.inverse_permutation(z[2]))


def of_product(g: Any, factors: Any) -> Any:
    """Returns what l u gets if its factors, in one array, get g.

    Square: dl = l L(d) and du = U(d) u with d = l⁻¹ dx u⁻¹, where L keeps what is below the
    diagonal and U the rest, so

        x gets  l⁻ᵀ [L(lᵀ g) + U(g uᵀ)] u⁻ᵀ.

    Tall: the rows l' below the square are x' u⁻¹, so x' gets h = g' u⁻ᵀ, and what u has in them
    takes l'ᵀ g' from U(·). Wide: the columns u' beside are l⁻¹ x', so x' gets l⁻ᵀ g', and what
    l has in them takes g' u'ᵀ from L(·).

    Source: De Hoog, Anderssen, Lukas 2011, ANZIAM J. 52, C288, for the square.
    """
    height, width = factors.shape[-2:]
    k = min(height, width)
    g1, f1 = (m.columns(m.rows(a, 0, k), 0, k) for a in (g, factors))
    # A product, and no sum with g: XLA on CPU refuses an FFT whose result a solver has laid out.
    of_l = product(m.transposed(m.lower(f1, -1) + m.identity(f1)), m.lower(g1, -1))
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
    of_x = solve_with(f1, left, False, transpose_a=True)
    if height > k:
        of_x = m.above(of_x, rest)
    return m.beside(of_x, rest) if width > k else of_x


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
    start, count = const_lengths.matvec, sum(const_lengths)
    size = len(active) - count
    matrix = None
    if any(active[:start]):
        matrix = split(jaxprs.matvec, (*active[:start], *[False] * size))

    def forward(*operands: Any) -> tuple[list, list]:
        results = lax.linear_solve_p.bind(*operands, const_lengths=const_lengths, jaxprs=jaxprs)
        return results, (results[:size] if matrix else [])

    def backward(operands: list, kept: list, cotangents: list) -> list:
        if jaxprs.transpose_solve is None:
            raise MissingTranspose(
                message(
                    "transpose_solve required: this custom_linear_solve was not told how to solve "
                    "the transposed system.",
                    to_go_on="give it a transpose_solve, or symmetric=True.",
                )
            )
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
            of_constants = matrix.pull([*matvec, *kept], [-each for each in h])[:start]
        return [*of_constants, *[None] * (count - start), *h]

    moving = (True,) * size + (False,) * (len(jaxprs.solve.out_avals) - size)
    return Unit(forward, backward, tuple(range(count)), moving)


piecewise_constant(lax.linalg.lu_pivots_to_permutation_p)
dear_to_recompute(
    lax.linear_solve_p,
    lax.linalg.triangular_solve_p,
    lax.linalg.tridiagonal_solve_p,
    lax.linalg.cholesky_p,
    lax.linalg.cholesky_update_p,
    lax.linalg.lu_p,
    lax.linalg.symmetric_product_p,
)
