"""What JAX has no derivative of: second order against the slope of the first, and ill places."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as sla
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.engine.registry import lookup
from tests.rules.case import Case, draw_like
from tests.rules.cases.linalg import CASES
from tests.rules.test_rules import along

pytestmark = pytest.mark.usefixtures("x64")

OURS_ALONE = [case for case in CASES if case.jax_fails and case.has_slope]


@pytest.mark.slow
@pytest.mark.parametrize("case", OURS_ALONE, ids=lambda case: case.name)
def test_second_order_agrees_with_the_slope(case: Case):
    values = [jnp.asarray(case.operands[i]) for i in case.active]
    v, w = (draw_like(case, values, purpose) for purpose in "vw")
    slope = jax.jit(along(bp.grad, case.as_scalar(), v))
    second = jax.jit(along(bp.grad, slope, w))(*values)

    def ahead(t: float) -> float:
        return float(slope(*(x + t * each for x, each in zip(values, w, strict=True))))

    h = 2e-5
    measured = (8 * (ahead(h) - ahead(-h)) - (ahead(2 * h) - ahead(-2 * h))) / (12 * h)
    np.testing.assert_allclose(second, measured, rtol=1e-6, atol=1e-7)


RNG = np.random.default_rng(0)
X, V, W = RNG.normal(size=(3, 4, 4))
THROUGH_SCHUR = {
    "sqrtm": lambda x: sla.sqrtm(x @ x.T + jnp.eye(4)),
    "funm": lambda x: sla.funm(x + 0j, jnp.sin),
    "rsf2csf": lambda x: jnp.diagonal(sla.rsf2csf(*sla.schur(x))[0]),
    "solve_sylvester": lambda x: sla.solve_sylvester(x, jnp.eye(4) + x.T @ x, x),
}


@pytest.mark.parametrize("name", THROUGH_SCHUR)
def test_functions_of_the_schur_decomposition(name):
    @jax.jit
    def loss(x: jax.Array) -> jax.Array:
        z = THROUGH_SCHUR[name](x)
        return jnp.sum((z.real**2 + z.imag * z.real) * W)

    ours = jnp.sum(bp.grad(loss)(X) * V)
    h = 1e-5
    np.testing.assert_allclose(ours, (loss(X + h * V) - loss(X - h * V)) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_a_loss_of_the_phases_of_schur_vectors_has_no_derivative(dtype):
    x = jnp.asarray(X, dtype)
    gradient = bp.grad(lambda x: jnp.sum(W * lax.linalg.schur(x)[0].real ** 2).real)(x)
    assert jnp.isfinite(gradient).all() == (dtype == "float64")


def test_equal_eigenvalues_of_a_schur_decomposition_are_not_told():
    x = jnp.diag(jnp.array([1.0, 1.0, 2.0, 3.0]))

    def square(x: jax.Array) -> jax.Array:
        t, q = sla.schur(x)
        return q @ t @ t @ q.T

    assert jnp.isnan(bp.grad(lambda x: jnp.sum(W * square(x)))(x)).all()
    assert (bp.grad(lambda x: jnp.sum(0 * square(x)))(x) == 0).all()


def test_reflectors_that_are_none_have_no_derivative():
    x = jnp.asarray(np.diag([1.0, 2.0, 3.0, 4.0]) + np.diag([1.0, 1.0, 1.0], 1))
    assert not jnp.isfinite(bp.grad(lambda x: jnp.sum(W * jnp.linalg.qr(x, "raw")[0]))(x)).all()
    assert not jnp.isfinite(bp.grad(lambda x: jnp.sum(W * lax.linalg.hessenberg(x)[0]))(x)).all()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_a_part_of_the_spectrum(dtype):
    """No CPU computes one: the rule is asked, and the parts are cut out of the whole."""
    x, g = (jnp.asarray(each, dtype) * (1 if dtype == "float64" else 1 + 0.3j) for each in (X, W))
    g = (g[:, 1:3], g[0, 1:3].real)

    def eigh(x: jax.Array) -> list:
        return [z[..., 1:3] for z in lax.linalg.eigh(x, symmetrize_input=False)]

    (column,) = lookup(lax.linalg.eigh_p).columns
    ours = column.formula(g, x, eigh(x), (True, True), lower=True, subset_by_index=(1, 3))
    np.testing.assert_allclose(ours, bp.vjp(eigh, x)[1](list(g))[0], atol=1e-12)

    def svd(x: jax.Array) -> list:
        u, s, vh = lax.linalg.svd(x)
        return [s[1:3], u[:, 1:3], vh[1:3]]

    (column,) = lookup(lax.linalg.svd_p).columns
    g = (g[1], g[0], g[0].T)
    options = {"full_matrices": False, "subset_by_index": (1, 3)}
    ours = column.formula(g, x, svd(x), (True,) * 3, **options)
    np.testing.assert_allclose(ours, bp.vjp(svd, x)[1](list(g))[0], atol=1e-12)
    alone = (g[0], *map(jnp.zeros_like, g[1:]))
    ours = column.formula(alone, x, svd(x), (True, False, False), **options)
    np.testing.assert_allclose(ours, bp.vjp(lambda x: svd(x)[0], x)[1](g[0])[0], atol=1e-12)
