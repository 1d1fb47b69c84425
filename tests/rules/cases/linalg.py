# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of linear algebra: solving, decompositions, Fourier transforms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as sla
from jax import lax

from tests.rules.case import COMPLEX, REAL, Case

linalg = lax.linalg
SHORT = ("float32",)
SHORT_COMPLEX = ("complex64",)
NO_JAX = "it has none"


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


def reflected(x: Any, y: Any) -> Any:
    return linalg.householder_product(x, y)


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
    Case("householder_product", reflected,                                      [(4, 2), (2,)],       REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("householder_product", reflected,                                      [(2, 3, 3), (2, 2)],  REAL,    "batched, fewer reflectors", SHORT, jax_fails=NO_JAX),
    Case("householder_product", reflected,                                      [(4, 3), (3,)],       COMPLEX, "of complex numbers", SHORT_COMPLEX, jax_fails=NO_JAX),
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
    Case("qr",               invariant_qr,                                      [(4, 2)],    REAL,    "full matrices", SHORT, jax_fails="it takes a basis for what LAPACK makes of it"),
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
    # -- without a rule: fine where none is needed -------------------------------------
    Case("schur",            lambda x: x * (linalg.schur(x)[0] > 0),            [(3, 3)],    REAL,    dtypes=(), jax_fails=NO_JAX),
    Case("hessenberg",       lambda x: x * (linalg.hessenberg(x)[0] > 0),       [(3, 3)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("tridiagonal",      lambda x: x * (linalg.tridiagonal(x, lower=True)[0] > 0),      [(3, 3)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
    Case("ormqr",            lambda x: x * (linalg.ormqr(x, x[0], x) > 0),      [(3, 3)],    REAL,    dtypes=SHORT, jax_fails=NO_JAX),
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
