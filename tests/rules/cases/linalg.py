# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of linear algebra: solving, decompositions, Fourier transforms."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as sla
import numpy as np
from jax import lax

from tests.rules.case import COMPLEX, REAL, UNIT, Case

linalg = lax.linalg
SHORT = ("float32",)
SHORT_COMPLEX = ("complex64",)
NO_JAX = "it has none"
#: A matrix with two pairs of complex eigenvalues.
BLOCKS = np.array([[0, 5, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 3], [0, 0, -2, 1]], float)


def adjoint(x: Any) -> Any:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def positive(x: Any) -> Any:
    """Returns a positive definite matrix."""
    return x @ adjoint(x) + jnp.eye(x.shape[-1], dtype=x.dtype)


def dominant(x: Any) -> Any:
    """Returns a matrix far from singular."""
    return x + 3 * jnp.eye(x.shape[-2], x.shape[-1], dtype=x.dtype)


def triangular(**options: Any) -> Callable:
    return lambda x, y: linalg.triangular_solve(dominant(x), y, **options)


def tridiagonal(x: Any, y: Any, w: Any, b: Any) -> Any:
    return linalg.tridiagonal_solve(x, y + 4, w, b)


def fft(kind: str, *lengths: int) -> Callable:
    return lambda x: lax.fft(x, kind, lengths)


def moduli(z: Any) -> Any:
    """Returns what the phases of singular vectors do not matter to."""
    return [jnp.abs(each) for each in z]


def invariant_svd(x: Any) -> Any:
    """Returns what does not depend on the basis that full matrices add."""
    u, s, vh = linalg.svd(x)
    rest = vh[len(s) :]
    return u, s, vh[: len(s)], rest.T @ rest


def invariant_qr(x: Any) -> Any:
    """Returns what does not depend on the basis that full matrices add."""
    q, r = linalg.qr(x)
    rest = q[:, x.shape[1] :]
    return q[:, : x.shape[1]], r, rest @ rest.T


def invariant_schur(x: Any) -> Any:
    """Returns what does not depend on the phases of the vectors, which are those of rounding."""
    t, q = linalg.schur(x)
    shared = q @ jnp.triu(t, 1) @ adjoint(q)
    return jnp.abs(q), jnp.diagonal(t, axis1=-2, axis2=-1), shared


def damped(x: Sequence) -> list:
    """Returns arrays half as large: a product of reflectors that are none grows fast."""
    return [each / 2 for each in x]


def matrix_free(x: Any, y: Any) -> Any:
    """Solves with a matrix given as a function of two arrays, with tuples for vectors."""
    a = positive(x)

    def matvec(v: tuple) -> tuple:
        return a @ v[0] + v[1], v[0] + 2 * jnp.sin(x[0]) * v[1] + 3 * v[1]

    def dense(matvec: Callable, b: tuple) -> tuple:
        whole = jax.jacobian(lambda v: jnp.concatenate(matvec((v[:3], v[3:]))))(jnp.zeros(6))
        z = jnp.linalg.solve(whole, jnp.concatenate(b))
        return z[:3], z[3:]

    return lax.custom_linear_solve(matvec, (y, y * y), dense, dense)


def symmetric(x: Any, y: Any) -> Any:
    """Solves with a symmetric matrix, by a solver without a derivative."""
    a = positive(x)

    def richardson(matvec: Callable, b: Any) -> Any:
        return lax.while_loop(
            lambda c: c[1] < 600, lambda c: (c[0] + (b - matvec(c[0])) / 16, c[1] + 1), (b, 0)
        )[0]

    return lax.custom_linear_solve(lambda v: a @ v, y, richardson, symmetric=True)


def root(x: Any, y: Any) -> Any:
    """Returns z with z³ + x z = y, element by element, by Newton's method."""

    def newton(f: Callable, z: Any) -> Any:
        return lax.fori_loop(0, 40, lambda i, z: z - f(z) / (3 * z * z + x * x + 1), z)

    def divide(f: Callable, b: Any) -> Any:
        return b / f(jnp.ones_like(b))

    return lax.custom_root(lambda z: z**3 + (x * x + 1) * z - y, jnp.zeros_like(y), newton, divide)


#: What `lax.custom_root` is staged as; inside are its own rule and a `custom_linear_solve`.
ROOT = "call_hi_primitive" if jax.__version_info__ >= (0, 11) else "custom_jvp_call"

# fmt: off
CASES = [
    # -- triangular systems ----------------------------------------------------------
    Case("triangular_solve", triangular(),                                      [(3, 3), (2, 3)],       REAL,    dtypes=SHORT),
    Case("triangular_solve", triangular(left_side=True, lower=True),            [(3, 3), (3, 2)],       REAL,    "left, lower", SHORT),
    Case("triangular_solve", triangular(left_side=True, transpose_a=True),      [(3, 3), (3, 2)],       REAL,    "left, transposed", SHORT),
    Case("triangular_solve", triangular(lower=True, unit_diagonal=True),        [(3, 3), (2, 3)],       REAL,    "unit diagonal", SHORT),
    Case("triangular_solve", triangular(unit_diagonal=True, transpose_a=True),  [(3, 3), (2, 3)],       REAL,    "unit diagonal, transposed", SHORT),
    Case("triangular_solve", triangular(left_side=True, lower=True),            [(2, 3, 3), (2, 3, 1)], REAL,    "batched", SHORT),
    Case("triangular_solve", triangular(left_side=True),                        [(3, 3), (3, 2)],       COMPLEX, "of complex numbers", SHORT_COMPLEX),
    Case("triangular_solve", triangular(transpose_a=True, conjugate_a=True, lower=True), [(3, 3), (2, 3)], COMPLEX, "of complex numbers, adjoint", SHORT_COMPLEX),
    Case("triangular_solve", triangular(left_side=True, conjugate_a=True),      [(3, 3), (3, 2)],       COMPLEX, "of complex numbers, conjugate", SHORT_COMPLEX),
    Case("tridiagonal_solve", tridiagonal,                                      [(4,), (4,), (4,), (4, 2)], REAL, dtypes=SHORT),
    Case("tridiagonal_solve", tridiagonal,                                      [(2, 3), (2, 3), (2, 3), (2, 3, 1)], REAL, "batched", SHORT),
    Case("tridiagonal_solve", tridiagonal,                                      [(4,), (4,), (4,), (4, 2)], COMPLEX, "of complex numbers", SHORT_COMPLEX),
    # -- elimination -----------------------------------------------------------------
    Case("cholesky",         lambda x: linalg.cholesky(positive(x)),            [(3, 3)],    REAL,    dtypes=SHORT),
    Case("cholesky",         lambda x: linalg.cholesky(positive(x)),            [(2, 3, 3)], REAL,    "batched", SHORT),
    Case("cholesky",         lambda x: linalg.cholesky(positive(x)),            [(3, 3)],    COMPLEX, "of complex numbers", SHORT_COMPLEX),
    Case("cholesky",         lambda x: linalg.cholesky(dominant(0.3 * x), symmetrize_input=False), [(3, 3)], REAL, "of one triangle", SHORT, jax_fails="0.10 says that it reads both triangles"),
    Case("cholesky",         lambda x, y: sla.cho_solve((sla.cholesky(positive(x), lower=True), True), y), [(3, 3), (3,)], REAL, "cho_solve", SHORT),
    Case("lu",               lambda x: linalg.lu(x)[0],                         [(3, 3)],    REAL,    dtypes=SHORT),
    Case("lu",               lambda x: linalg.lu(x)[0],                         [(5, 3)],    REAL,    "tall", SHORT),
    Case("lu",               lambda x: linalg.lu(x)[0],                         [(3, 5)],    REAL,    "wide", SHORT),
    Case("lu",               lambda x: linalg.lu(x)[0],                         [(2, 3, 3)], REAL,    "batched", SHORT),
    Case("lu",               lambda x: linalg.lu(x)[0],                         [(4, 3)],    COMPLEX, "of complex numbers", SHORT_COMPLEX),
    Case("lu_pivots_to_permutation", lambda x: linalg.lu(x)[0] * linalg.lu_pivots_to_permutation(linalg.lu(x)[1], 3), [(3, 3)], REAL, dtypes=SHORT),
    Case("lu",               lambda x: sla.lu(x)[1:],                           [(4, 3)],    REAL,    "scipy", SHORT),
    Case("lu",               lambda x: jnp.linalg.slogdet(x)[1],                [(3, 3)],    REAL,    "slogdet", SHORT),
    Case("cholesky_update",  lambda x, y: linalg.cholesky_update(linalg.cholesky(positive(x)).T, y), [(3, 3), (3,)], REAL, dtypes=SHORT, jax_fails=NO_JAX, not_batched="it has no rule for vmap"),
    Case("symmetric_product", lambda x, y: linalg.symmetric_product(x, y + y.T, alpha=2.0, beta=-0.5), [(3, 2), (3, 3)], REAL, dtypes=SHORT, jax_fails=NO_JAX),
    # -- systems solved by a function ------------------------------------------------
    Case("custom_linear_solve", jnp.linalg.solve,                               [(3, 3), (3, 2)],       REAL,    dtypes=SHORT),
    Case("custom_linear_solve", jnp.linalg.solve,                               [(2, 3, 3), (2, 3, 1)], REAL,    "batched", SHORT),
    Case("custom_linear_solve", jnp.linalg.solve,                               [(3, 3), (3, 2)],       COMPLEX, "of complex numbers", SHORT_COMPLEX),
    Case("custom_linear_solve", jnp.linalg.inv,                                 [(3, 3)],               REAL,    "inverse", SHORT),
    Case("custom_linear_solve", symmetric,                                      [(3, 3), (3,)],         REAL,    "symmetric", ()),
    Case("custom_linear_solve", matrix_free,                                    [(3, 3), (3,)],         REAL,    "of tuples", ()),
    Case(ROOT, root,                                               [(3,), (3,)],           REAL,    "custom_root", ()),
    # -- orthogonal factors ----------------------------------------------------------
    Case("qr",               lambda x: linalg.qr(x, full_matrices=False),       [(3, 3)],    REAL,    dtypes=SHORT),
    Case("qr",               lambda x: linalg.qr(x, full_matrices=False),       [(2, 4, 2)], REAL,    "tall, batched", SHORT),
    Case("qr",               lambda x: linalg.qr(x, full_matrices=False),       [(2, 4)],    REAL,    "wide", SHORT),
    Case("qr",               lambda x: linalg.qr(x, full_matrices=False),       [(4, 3)],    COMPLEX, "of complex numbers", SHORT_COMPLEX),
    Case("qr",               lambda x: linalg.qr(x, full_matrices=False, pivoting=True)[:2], [(4, 3)], REAL, "pivoting", SHORT),
    Case("qr",               invariant_qr,                                      [(4, 2)],    REAL,    "full matrices", SHORT),
    Case("qr",               lambda x: linalg.qr(x),                            [(5, 2)],    REAL,    "full matrices, as LAPACK makes them", SHORT),
    Case("qr",               lambda x: linalg.qr(x),                            [(2, 4, 2)], COMPLEX, "of complex numbers, full matrices, batched", SHORT_COMPLEX),
    # -- eigenvectors ----------------------------------------------------------------
    Case("eigh",             lambda x: linalg.eigh(x),                          [(3, 3)],    REAL,    dtypes=SHORT),
    Case("eigh",             lambda x: linalg.eigh(x),                          [(2, 2, 2)], REAL,    "batched", SHORT),
    Case("eigh",             lambda x: linalg.eigh(x),                          [(3, 3)],    COMPLEX, "of complex numbers", SHORT_COMPLEX, has_slope=False),
    Case("eigh",             lambda x: moduli(linalg.eigh(x)),                  [(3, 3)],    COMPLEX, "of complex numbers, moduli", SHORT_COMPLEX),
    Case("eigh",             lambda x: linalg.eigh(x, lower=False, symmetrize_input=False), [(3, 3)], REAL, "of the upper triangle", SHORT, jax_fails="it says that it reads both triangles"),
    Case("eigh",             jnp.linalg.eigvalsh,                               [(3, 3)],    REAL,    "eigenvalues", SHORT),
    Case("eig",              lambda x: linalg.eig(x, compute_left_eigenvectors=False, enable_eigvec_derivs=True), [(3, 3)], REAL, dtypes=()),
    Case("eig",              lambda x: linalg.eig(x, enable_eigvec_derivs=True), [(3, 3)],   COMPLEX, "of complex numbers, left and right", SHORT_COMPLEX),
    Case("eig",              lambda x: linalg.eig(x, compute_right_eigenvectors=False, enable_eigvec_derivs=True), [(2, 2, 2)], COMPLEX, "of complex numbers, left, batched", SHORT_COMPLEX),
    Case("eig",              jnp.linalg.eigvals,                                [(3, 3)],    REAL,    "eigenvalues", SHORT, jax_fails="it has no second order"),
    Case("eig",              jnp.linalg.eig,                                    [(3, 3)],    REAL,    "numpy", (), jax_fails="it asks for a flag that numpy's eig has not"),
    Case("svd",              lambda x: linalg.svd(x, full_matrices=False),      [(3, 3)],    REAL,    dtypes=SHORT),
    Case("svd",              lambda x: linalg.svd(x, full_matrices=False),      [(4, 2)],    REAL,    "tall", SHORT),
    Case("svd",              lambda x: linalg.svd(x, full_matrices=False),      [(2, 2, 3)], REAL,    "wide, batched", SHORT),
    Case("svd",              lambda x: linalg.svd(x, full_matrices=False),      [(4, 3)],    COMPLEX, "of complex numbers", SHORT_COMPLEX, has_slope=False),
    Case("svd",              lambda x: moduli(linalg.svd(x, full_matrices=False)), [(3, 4)], COMPLEX, "of complex numbers, moduli", SHORT_COMPLEX),
    Case("svd",              lambda x: linalg.svd(x, compute_uv=False),         [(3, 4)],    REAL,    "singular values", SHORT),
    Case("svd",              lambda x: jnp.linalg.norm(x, "nuc"),               [(4, 3)],    COMPLEX, "nuclear norm", SHORT_COMPLEX),
    Case("svd",              invariant_svd,                                     [(2, 4)],    REAL,    "full matrices", SHORT, jax_fails=NO_JAX),
    Case("svd",              jnp.linalg.pinv,                                   [(4, 2)],    REAL,    "pinv", SHORT),
    # -- reflectors ------------------------------------------------------------------
    Case("householder_product", linalg.householder_product,                     [(4, 2), (2,)],       REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("householder_product", linalg.householder_product,                     [(2, 3, 3), (2, 2)],  REAL,    "batched, fewer reflectors", SHORT, jax_fails=NO_JAX),
    Case("householder_product", linalg.householder_product,                     [(4, 3), (3,)],       COMPLEX, "of complex numbers", SHORT_COMPLEX, jax_fails=NO_JAX),
    Case("ormqr",            linalg.ormqr,                                      [(4, 2), (2,), (4, 3)], REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("ormqr",            partial(linalg.ormqr, left=False, transpose=True), [(2, 4, 2), (2, 2), (2, 3, 4)], REAL, "right, transposed, batched", SHORT, jax_fails=NO_JAX),
    Case("ormqr",            lambda *x: linalg.ormqr(*damped(x), transpose=True), [(4, 2), (2,), (4, 3)], COMPLEX, "of complex numbers, transposed", SHORT_COMPLEX, jax_fails=NO_JAX),
    Case("ormqr",            lambda *x: linalg.ormqr(*damped(x), left=False),   [(3, 3), (3,), (2, 3)], COMPLEX, "of complex numbers, right", SHORT_COMPLEX, jax_fails=NO_JAX),
    Case("geqrf",            partial(jnp.linalg.qr, mode="raw"),                [(4, 3)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("geqrf",            partial(jnp.linalg.qr, mode="raw"),                [(2, 3, 3)], REAL,    "square, batched", SHORT, jax_fails=NO_JAX),
    Case("geqrf",            partial(jnp.linalg.qr, mode="raw"),                [(2, 4)],    COMPLEX, "of complex numbers, wide", SHORT_COMPLEX, jax_fails=NO_JAX),
    Case("geqp3",            lambda x, y: sla.qr_multiply(x, y, pivoting=True)[:2], [(4, 3), (2, 4)], REAL, dtypes=SHORT, jax_fails=NO_JAX),
    Case("hessenberg",       linalg.hessenberg,                                 [(4, 4)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("hessenberg",       linalg.hessenberg,                                 [(2, 3, 3)], COMPLEX, "of complex numbers, batched", SHORT_COMPLEX, jax_fails=NO_JAX),
    Case("hessenberg",       partial(sla.hessenberg, calc_q=True),              [(4, 4)],    REAL,    "scipy", SHORT, jax_fails=NO_JAX),
    Case("tridiagonal",      partial(linalg.tridiagonal, lower=True),           [(4, 4)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("tridiagonal",      partial(linalg.tridiagonal, lower=False),          [(2, 3, 3)], REAL,    "upper, batched", SHORT, jax_fails=NO_JAX),
    Case("tridiagonal",      partial(linalg.tridiagonal, lower=False),          [(4, 4)],    COMPLEX, "of complex numbers, upper", SHORT_COMPLEX, jax_fails=NO_JAX),
    # -- Schur decomposition -----------------------------------------------------------
    Case("schur",            lambda x: moduli(linalg.schur(x + x.T + x / 8)),   [(4, 4)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("schur",            lambda x: moduli(linalg.schur(x / 2 + BLOCKS)),    [(4, 4)],    UNIT,    "with blocks", SHORT, jax_fails=NO_JAX),
    Case("schur",            lambda x: moduli(linalg.schur(x / 2 + BLOCKS[:3, :3], compute_schur_vectors=False)), [(2, 3, 3)], UNIT, "without vectors, batched", SHORT, jax_fails=NO_JAX),
    Case("schur",            invariant_schur,                                   [(2, 3, 3)], COMPLEX, "of complex numbers, batched", (), jax_fails=NO_JAX),
    # -- Fourier transforms ----------------------------------------------------------
    Case("fft",              fft("fft", 4),                                     [(2, 4)],    COMPLEX, dtypes=SHORT_COMPLEX),
    Case("fft",              fft("ifft", 2, 3),                                 [(2, 3)],    COMPLEX, "inverse, 2-D", SHORT_COMPLEX),
    Case("fft",              fft("rfft", 5),                                    [(2, 5)],    REAL,    "real, odd", SHORT),
    Case("fft",              fft("rfft", 3, 4),                                 [(2, 3, 4)], REAL,    "real, 2-D, even", SHORT),
    Case("fft",              fft("irfft", 5),                                   [(2, 3)],    COMPLEX, "real inverse, odd", SHORT_COMPLEX),
    Case("fft",              fft("irfft", 2, 3, 4),                             [(2, 3, 3)], COMPLEX, "real inverse, 3-D, even", SHORT_COMPLEX),
    Case("fft",              jnp.fft.hfft,                                      [(4,)],      COMPLEX, "hfft", SHORT_COMPLEX),
    Case("fft",              lambda x: jnp.fft.fftn(x, axes=(0, 1), norm="ortho"), [(3, 2, 2)], COMPLEX, "fftn", SHORT_COMPLEX),
]
# fmt: on
