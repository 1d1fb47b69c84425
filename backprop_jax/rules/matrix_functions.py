"""Functions of matrices, of JAX's own, that have a rule as a whole.

What a decomposition consists of may have no derivative where the function has one: the steps of an
elimination that meets a zero, a Schur decomposition with equal eigenvalues. Such a function is run
as it is, and reversed as another that computes the same. See `functions` for how it is known.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.engine.cotangents import convert
from backprop_jax.engine.custom import functions
from backprop_jax.engine.jaxprs import as_function, held, variables
from backprop_jax.engine.units import Unit
from backprop_jax.errors import MissingRule, message
from backprop_jax.rules import matrices as m
from backprop_jax.rules.elementary import is_complex
from backprop_jax.rules.functions import compiled, traced
from backprop_jax.rules.gauge import bound, zeros_up_to
from backprop_jax.rules.matrices import adjoint, product
from backprop_jax.rules.models import reverse_of


def as_a_whole(name: str, file: str, ndim: int | None = None) -> Callable[[Callable], Callable]:
    """Registers the decorated function: what it makes of a jaxpr, active operands and who runs it.

    Args:
      name: of the compiled function.
      file: of JAX's, where it is written.
      ndim: of its first operand. Where it is another, the function is followed step by step.
    """

    def decorate(build: Callable) -> Callable:
        def unit(jaxpr: Any) -> Callable[[Sequence[bool], Callable], Unit] | None:
            source = jaxpr.jaxpr.debug_info.func_src_info or ""
            same = f"jax/_src/{file}" in source.replace("\\", "/")
            fits = ndim is None or jaxpr.in_avals[0].ndim == ndim
            return functools.partial(build, jaxpr) if same and fits else None

        compiled[name] = unit
        return build

    return decorate


# -- determinants ----------------------------------------------------------------------------------


def determinant(x: Any) -> Any:
    """Returns the determinant of a matrix, by steps that have any derivative that it has.

    JAX's rule reads the cofactors from an elimination, and says zero of all of them where that
    meets a zero before the last row, as it does if the first columns depend on each other.

    With u and v of the singular value decomposition of x, held fast, uᴴ x v has the singular values
    on its diagonal, and as x moves it is (a b; c d), d of three rows:

        det x = det(u vᴴ) det(a) det(d - c a⁻¹ b).

    The last factor is a polynomial. If four singular values are zero, so are all of det x and its
    first three derivatives.
    """
    n = x.shape[-1]
    if n < 4:
        return small(x)
    factors, _, _ = lax.linalg.lu(lax.stop_gradient(x))
    pivots = lax.abs(m.diagonal(factors))
    least, most = (f(pivots, (pivots.ndim - 1,)) for f in (lax.reduce_min, lax.reduce_max))
    regular = least > float(np.finfo(x.dtype).eps) ** (1 / 3) * most
    every = lax.reduce_and(regular, tuple(range(regular.ndim)))
    return lax.cond(every, functools.partial(eliminated, regular), rotated, x)


def eliminated(regular: Any, x: Any) -> Any:
    """Returns the determinants of regular matrices, 1 of the others."""
    factors, pivots, _ = lax.linalg.lu(only(regular, x))
    places = lax.broadcasted_iota(pivots.dtype, pivots.shape, pivots.ndim - 1)
    swaps = lax.select(pivots == places, lax.full_like(pivots, 1), lax.full_like(pivots, -1))
    signs = convert(swaps, x.dtype)
    return lax.reduce_prod(m.diagonal(factors) * signs, (pivots.ndim - 1,))


def only(regular: Any, x: Any) -> Any:
    """Returns these matrices, the others replaced by the identity."""
    regular = lax.broadcast_in_dim(regular, x.shape, tuple(range(regular.ndim)))
    return lax.select(regular, x, m.identity(x))


def rotated(x: Any) -> Any:
    """Returns the determinants of any matrices of four rows and more; see `determinant`."""
    k = x.shape[-1] - 3
    u, s, vh = lax.linalg.svd(lax.stop_gradient(x), full_matrices=False)
    y = product(product(adjoint(u), x), adjoint(vh))
    top, under = m.rows(y, 0, k), m.rows(y, k, k + 3)
    (a, b), (c, d) = ((m.columns(z, 0, k), m.columns(z, k, k + 3)) for z in (top, under))
    last = lax.squeeze(lax.slice_in_dim(s, k - 1, k, axis=s.ndim - 1), (s.ndim - 1,))
    first = lax.squeeze(lax.slice_in_dim(s, 0, 1, axis=s.ndim - 1), (s.ndim - 1,))
    enough = last > bound(s) * first
    every = lax.full_like(enough, True)
    a = only(enough, a)
    rest = small(d - product(c, m.solve(a, b)))
    found = eliminated(every, product(u, vh)) * eliminated(every, a) * rest
    change = lax.reduce_sum(x - lax.stop_gradient(x), (x.ndim - 2, x.ndim - 1))
    return lax.select(enough, found, zeros_up_to(4, change))


def small(x: Any) -> Any:
    """Returns the determinant of a matrix of three rows or less, as a polynomial."""
    n = x.shape[-1]
    if n == 0:
        return lax.full(x.shape[:-2], 1, x.dtype)

    def at(i: int, j: int) -> Any:
        element = m.columns(m.rows(x, i % n, i % n + 1), j % n, j % n + 1)
        return lax.squeeze(element, (x.ndim - 2, x.ndim - 1))

    if n < 3:
        return at(0, 0) if n == 1 else at(0, 0) * at(1, 1) - at(0, 1) * at(1, 0)
    minors = (at(1, i + 1) * at(2, i + 2) - at(1, i + 2) * at(2, i + 1) for i in range(3))
    return sum((at(0, i) * minor for i, minor in enumerate(minors)), lax.full_like(at(0, 0), 0))


def reaching(equations: Sequence, x: Any, axes: Sequence[int]) -> list[int] | None:
    """Returns in which order the axes of x come to the elimination: those of the matrices last."""
    for equation in equations:
        if x not in variables(equation.invars):
            continue
        if equation.primitive is lax.linalg.lu_p:
            return list(axes)
        if equation.primitive is lax.transpose_p:
            (x,), axes = equation.outvars, [axes[i] for i in equation.params["permutation"]]
        elif inner := held(equation.params):
            given = inner[0].jaxpr.invars[equation.invars.index(x)]
            return reaching(inner[0].eqns, given, axes)
    return None


def run_determinant(tape: Any, primitive: Any, fun: Any, jvp: Any, tracers: Sequence) -> list:
    """Runs a determinant whose reverse is that of `determinant`, whatever `vmap` made of it."""
    (x,), _ = operands = tape.unwrap(tracers)
    axes: Any = range(jax.typeof(x).ndim)
    if len(axes) > 2:
        jaxpr = traced(fun, [x]).jaxpr
        axes = reaching(jaxpr.eqns, jaxpr.invars[0], axes)
    if axes is None:  # in a JAX whose determinant is another
        return tape.add_jvp(primitive, jvp, operands, False)

    def run(x: Any) -> list:  # whole: who differentiates it from outside has a rule, too
        return primitive.bind(x, subfuns=(fun, jvp), symbolic_zeros=False)

    unit = reverse_of(run, lambda x: [determinant(lax.transpose(x, axes))], (True,), 1)
    return tape.step(primitive, unit, tracers)


def line_of_determinant() -> str:
    """Returns where JAX's determinant, that of no special size, is written."""
    outer = jax.make_jaxpr(jax.numpy.linalg.det)(jax.ShapeDtypeStruct((1, 1), np.float32)).eqns[-1]
    return outer.params["jaxpr"].eqns[-1].params["call_jaxpr"].jaxpr.debug_info.func_src_info


functions[line_of_determinant()] = run_determinant


# -- square roots ----------------------------------------------------------------------------------


@as_a_whole("_sqrtm", "scipy/linalg.py", 2)
def square_root(jaxpr: Any, active: Sequence[bool], run: Callable) -> Unit:
    """Returns the unit of `sqrtm`, reversed as three Newton steps that stay at the root.

    A step solves z y + y z = x - z² by the Schur decomposition of z, held fast, and adds y: that is
    right in one order of derivative more than z was. What divides is the sum of two eigenvalues of
    z, not the difference, as in the derivative of the decomposition. The fourth order is NaN.

    Source: Higham 2008, Functions of Matrices, section 6.3, for the step.
    """

    def model(x: Any) -> list:
        z = lax.stop_gradient(as_function(jaxpr)(x)[0])
        x = convert(x, z.dtype)
        _, q = lax.linalg.schur(lax.stop_gradient(x))
        r = m.upper(product(product(adjoint(q), z), q))
        for _ in range(3):
            inner = product(product(adjoint(q), x - product(z, z)), q)
            z = z + product(product(q, sum_solved(r, inner)), adjoint(q))
        return [z + zeros_up_to(4, lax.reduce_sum(x, (0, 1)))]

    return reverse_of(run, model, active, 1)


def sum_solved(r: Any, f: Any) -> Any:
    """Returns the y for which r y + y r is f, for an upper triangular r.

    Column by column, from the first: (r + r_jj) y_j = f_j - Σ_k<j y_k r_kj.

    Source: Bartels and Stewart 1972, Comm. ACM 15, 820.
    """
    columns = lax.broadcasted_iota(np.int32, r.shape, 1)

    def trip(y: Any, j: Any) -> tuple[Any, None]:
        of_j = lax.dynamic_slice_in_dim(r, j, 1, axis=1)
        r_jj = lax.dynamic_slice_in_dim(of_j, j, 1, axis=0)
        right = lax.dynamic_slice_in_dim(f, j, 1, axis=1) - product(y, of_j)
        solved = m.solve_with(r + r_jj * m.identity(r), right)
        wide = lax.broadcast_in_dim(solved, r.shape, (0, 1))
        return y + lax.select(columns == j, wide, lax.full_like(wide, 0)), None

    return lax.scan(trip, lax.full_like(r, 0), np.arange(len(r), dtype=np.int32))[0]


# -- least squares ---------------------------------------------------------------------------------


@jax.custom_jvp
def pseudoinverse(x: Any, p: Any) -> Any:
    """Returns p, the pseudoinverse of x, with the derivative that it has at a fixed rank.

        dp = -p dx p + p pᴴ dxᴴ (1 - x p) + (1 - p x) dxᴴ pᴴ p,

    JAX's own, with the same rule, takes no traced bound of what is singular.

    Source: Golub and Pereyra 1973, SIAM J. Numer. Anal. 10, 413, eq. 4.12.
    """
    del x
    return p


@pseudoinverse.defjvp
def change_of_pseudoinverse(x: tuple, dx: tuple) -> tuple:
    """Returns p and dp."""
    p, change, (x, _) = pseudoinverse(*x), dx[0], x
    right = product(adjoint(change), adjoint(p))
    first = product(p, product(adjoint(p), adjoint(change)))
    second = product(right, p)
    rest = first - product(product(first, x), p) + second - product(p, product(x, second))
    return p, rest - product(product(p, change), p)


def within(s: Any, cut: Any) -> Any:
    """Returns which singular values are no less than the cut, relative to the largest."""
    return (s > 0) & (s >= cut * lax.slice_in_dim(s, 0, 1))


@as_a_whole("_lstsq", "numpy/linalg.py", 2)
def least_squares(jaxpr: Any, active: Sequence[bool], run: Callable) -> Unit:
    """Returns the unit of `lstsq`, reversed as a product by the pseudoinverse.

    That has its derivatives at a fixed rank without those of singular vectors, which any singular
    value of zero has two of. Where a singular value is left out that is not zero, the rank is not
    what decides, and the steps are followed.
    """
    steps, matrix = as_function(jaxpr), jaxpr.in_avals[0]
    if 0 in matrix.shape:
        return reverse_of(run, steps, active, 4)
    dtype = jaxpr.out_avals[0].dtype

    def inverted(p: Any, counted: Any, x: Any, y: Any, *given: Any) -> list:
        del given
        x, y = convert(x, dtype), convert(y, dtype)
        y = y if y.ndim == 2 else m.column(y)
        solution = product(pseudoinverse(x, p), y)
        residual = lax.reduce_sum(lax.square(lax.abs(y - product(x, solution))), (0,))
        rank = lax.reduce_sum(lax.convert_element_type(counted, jaxpr.out_avals[2].dtype), (0,))
        return [lax.reshape(solution, jaxpr.out_avals[0].shape), residual, rank]

    def followed(p: Any, counted: Any, *operands: Any) -> list:
        del p, counted
        return steps(*operands)[:3]

    def model(x: Any, y: Any, *given: Any) -> list:
        u, s, vh = lax.linalg.svd(convert(lax.stop_gradient(x), dtype), full_matrices=False)
        eps = float(np.finfo(dtype).eps)
        cut = lax.full((), eps * max(matrix.shape), s.dtype)
        if given:
            cut = convert(lax.stop_gradient(given[0]), s.dtype)
            cut = lax.select(cut < 0, lax.full_like(cut, eps), cut)
        counted, top = within(s, cut), lax.slice_in_dim(s, 0, 1)
        inner = lax.select(counted, 1 / s, lax.full_like(s, 0))
        p = product(adjoint(vh) * convert(m.row(inner), dtype), adjoint(u))
        clear = (s <= bound(x) * top) | (s >= cut * top)
        every = lax.reduce_and(clear, (0,))
        found = lax.cond(every, inverted, followed, p, counted, x, y, *given)
        _, values, _ = lax.linalg.svd(convert(x, dtype), full_matrices=False)
        return [*found, values]

    return reverse_of(run, model, active, 4)


# -- eigenvalues found by bisection ----------------------------------------------------------------


def tridiagonal(d: Any, e: Any) -> Any:
    """Returns the Hermitian matrix with d on its diagonal and e below it."""
    n = d.size
    row, column = (lax.broadcasted_iota(np.dtype("int32"), (n, n), axis) for axis in (0, 1))

    def along(x: Any, where: Any) -> Any:
        wide = lax.broadcast(lax.convert_element_type(x, e.dtype), (n,))
        return lax.select(where, wide, lax.full_like(wide, 0))

    below = along(lax.pad(e, lax.full((), 0, e.dtype), [(0, 1, 0)]), row == column + 1)
    above = lax.transpose(below, (1, 0))
    above = lax.conj(above) if is_complex(e) else above
    return along(d, row == column) + below + above


@as_a_whole("eigh_tridiagonal", "scipy/linalg.py")
def eigenvalues(jaxpr: Any, active: Sequence[bool], run: Callable) -> Unit:
    """Returns the unit of `eigh_tridiagonal`: reversed, it is `eigh` of the whole matrix.

    Bisection compares and halves, so its own steps have no slope; jax.grad has no rule. Of a part
    of the eigenvalues, each is the one nearest to what was found.
    """
    diagonal, *_ = jaxpr.in_avals
    if len(diagonal.shape) != 1:
        raise MissingRule(
            message(
                "no rule for eigh_tridiagonal under vmap, where the gradient is taken outside.",
                to_go_on="jax.vmap(bp.grad(f)), or jnp.linalg.eigvalsh of the matrix.",
            )
        )

    if len(jaxpr.out_avals) > 1:
        raise MissingRule(
            message(
                "no rule for the eigenvectors of eigh_tridiagonal, found by iteration.",
                to_go_on="jnp.linalg.eigh of the matrix.",
            )
        )

    def model(d: Any, e: Any, *rest: Any) -> list:
        z = lax.stop_gradient(as_function(jaxpr)(d, e, *rest)[0])
        values = lax.linalg.eigh(tridiagonal(d, e), symmetrize_input=False)[1]
        if z.size == values.size:
            return [values]
        distance = lax.abs(lax.expand_dims(z, (1,)) - lax.expand_dims(values, (0,)))
        nearest = lax.expand_dims(lax.argmin(distance, 1, np.dtype("int32")), (1,))
        chosen = lax.broadcasted_iota(nearest.dtype, distance.shape, 1) == nearest
        spread = lax.broadcast(values, (z.size,))
        return [lax.reduce_sum(lax.select(chosen, spread, lax.full_like(spread, 0)), (1,))]

    return reverse_of(run, model, active, 1)
