"""Decompositions where they are an arbitrary choice: right if the loss does not depend on it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as sla
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
H = RNG.normal(size=(4, 4))
Q = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
P = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
PAIR = Q @ np.diag([1.0, 1.0, 2.0, 3.5]) @ Q.T  # two equal eigenvalues
TWICE = P @ np.diag([1.0, 1.0, 2.0, 2.0]) @ Q.T  # two pairs of equal singular values
FLAT = H[:, :1] @ H[:1]  # of rank one
SPECTRA = {"a pair": PAIR, "the identity": np.eye(4), "a multiple of one": 3 * np.eye(4)}


def spectral(function: Callable) -> Callable:
    """Returns a function of a symmetric matrix, by its eigenvectors."""

    def run(x: jax.Array) -> jax.Array:
        w, v = jnp.linalg.eigh(x)
        return (v * function(w)) @ jnp.conj(v.T)

    return run


def agrees(gradient: Any, expected: Any, atol: float = 1e-11) -> None:
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("at", SPECTRA)
@pytest.mark.parametrize("weight", [H, np.ones((4, 4))], ids=["weighted", "summed"])
def test_a_function_of_a_matrix_has_its_derivative_at_equal_eigenvalues(at, weight):
    x = SPECTRA[at]
    ours = bp.grad(lambda x: jnp.sum(weight * spectral(jnp.exp)((x + x.T) / 2)))(x)
    theirs = jax.grad(lambda x: jnp.sum(weight * sla.expm((x + x.T) / 2)))(x)
    agrees(ours, theirs, 1e-10)


@pytest.mark.parametrize("at", SPECTRA)
def test_putting_the_factors_together_gives_the_matrix_back(at):
    x = SPECTRA[at]
    ours = bp.grad(lambda x: jnp.sum(H * spectral(lambda w: w)(x)))(x)
    agrees(ours, (H + H.T) / 2)


def test_a_projection_has_a_derivative():
    def loss(x: jax.Array) -> jax.Array:
        v = jnp.linalg.eigh(x)[1][:, :2]
        return jnp.sum(H * (v @ v.T))

    step = 1e-6 * (H @ H.T)
    slope = (loss(PAIR + step) - loss(PAIR - step)) / 2e-6
    agrees(jnp.sum(bp.grad(loss)(PAIR) * (H @ H.T)), slope, 1e-8)


def test_functions_of_the_eigenvalues_have_a_derivative():
    x = jnp.asarray(PAIR)
    agrees(bp.grad(lambda x: jnp.sum(jnp.linalg.eigh(x)[0] ** 2))(x), 2 * x)
    agrees(bp.grad(lambda x: jnp.sum(jnp.linalg.eigvalsh(x) ** 3))(x), 3 * x @ x)
    agrees(bp.grad(lambda x: jnp.linalg.eigvalsh(x)[-1])(jnp.eye(2)), np.diag([0.0, 1.0]))


def test_a_complex_matrix_with_equal_eigenvalues():
    u = np.linalg.qr(H + 1j * H.T)[0]
    x = jnp.asarray(u @ np.diag([1.0, 1.0, 2.0, 2.0]) @ u.conj().T)
    weight = H + 1j * Q
    ours = bp.grad(lambda x: jnp.sum(weight * spectral(jnp.square)(x)).real)(x)
    theirs = jax.grad(lambda x: jnp.sum(weight * (lambda y: y @ y)((x + x.conj().T) / 2)).real)(x)
    agrees(ours, theirs)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: jnp.sum(H[0] * jnp.linalg.eigh(x)[1][:, 0]),
        lambda x: jnp.sum(H * spectral(jnp.exp)(x)) + jnp.sum(H[0] * jnp.linalg.eigh(x)[1][:, 0]),
    ],
)
def test_a_loss_that_depends_on_the_choice_has_no_derivative(loss):
    assert not jnp.isfinite(bp.grad(loss)(jnp.diag(jnp.array([1.0, 1.0, 2.0, 3.0])))).all()
    rounded = bp.grad(loss)(jnp.asarray(PAIR))  # the gap is a few ulp wide
    assert not jnp.max(jnp.abs(rounded)) < 1e9


ZERO = np.zeros((4, 4))


@pytest.mark.parametrize("at", [ZERO, FLAT, np.eye(4)], ids=["zero", "rank one", "identity"])
@pytest.mark.parametrize(
    "loss",
    [
        lambda x: jnp.sum(H * spectral(lambda w: w)((x + x.T) / 2)),
        lambda x: jnp.sum(H * spectral(jnp.log)((x + x.T) / 2 + jnp.eye(4))),
        lambda x: jnp.sum(jnp.tril(H) * jnp.matmul(*jnp.linalg.qr(x))),
        lambda x: jnp.sum(H * (lambda u, s, vh: (u * s) @ vh)(*jnp.linalg.svd(x))),
    ],
    ids=["eigh", "logarithm", "qr", "svd"],
)
def test_a_function_of_the_factors_that_is_zero_hides_its_derivative(loss, at):
    """In w φ'(w) alone it is seen, not in v φ(w) = 0: not told from a loss of the eigenvalues."""
    x = jnp.asarray(at)
    (v,) = np.random.default_rng(3).normal(size=(1, 4, 4))
    v = v + v.T
    slope = (loss(x + 1e-5 * v) - loss(x - 1e-5 * v)) / 2e-5
    ours = jnp.sum(bp.grad(loss)(x) * v)
    assert jnp.isnan(ours) or abs(ours - slope) < 1e-7


@pytest.mark.parametrize("x", [TWICE, np.eye(4), PAIR, ZERO], ids=["twice", "one", "pair", "zero"])
@pytest.mark.parametrize("values", [jnp.linalg.svdvals, lambda x: jnp.linalg.svd(x)[1]])
def test_second_derivatives_of_equal_singular_values_are_right(values, x):
    def along(fourth: Callable) -> Callable:
        return bp.grad(lambda x: jnp.sum(bp.grad(fourth)(x) * H))

    ours = along(lambda x: jnp.sum(values(x) ** 4))(x)
    truth = along(lambda x: jnp.sum((x @ x.T) ** 2))(x)
    agrees(ours, truth, 1e-9)


def test_a_second_derivative_of_equal_eigenvalues_is_right_for_a_sum_and_nan_for_a_product():
    def cubes(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.linalg.eigh(x)[0] ** 3)

    def power(x: jax.Array) -> jax.Array:
        x = (x + x.T) / 2
        return jnp.trace(x @ x @ x)

    agrees(bp.hessian(cubes)(jnp.eye(2)), jax.hessian(power)(jnp.eye(2)))
    for values in (jnp.linalg.eigvalsh, jnp.linalg.svdvals):
        slopes = bp.grad(lambda x: jnp.prod(values(x)))  # noqa: B023
        assert jnp.isnan(bp.grad(lambda x: jnp.sum(slopes(x)))(jnp.eye(2))).any()  # noqa: B023


def test_a_second_derivative_where_small_eigenvalues_are_equal_up_to_rounding():
    def entropy(x: jax.Array) -> jax.Array:
        w = jnp.linalg.eigvalsh(x)
        return -jnp.sum(w * jnp.log(w))

    def ours(size: jax.Array, at: jax.Array) -> jax.Array:
        outer = lambda at: jnp.outer(H[0] + at * P[0], H[0] + at * P[0])  # noqa: E731
        return bp.grad(bp.grad(lambda at: entropy(outer(at) + size * jnp.eye(4))))(at)

    def truth(size: jax.Array, at: jax.Array) -> jax.Array:
        top = lambda at: jnp.sum((H[0] + at * P[0]) ** 2) + size  # noqa: E731
        return jax.grad(jax.grad(lambda at: -top(at) * jnp.log(top(at))))(at)

    sizes = jnp.array([1e-1, 1e-3, 1e-5, 1e-7])
    compiled, oracle = (jax.jit(jax.vmap(each, (0, None))) for each in (ours, truth))
    agrees(compiled(sizes, 0.4), oracle(sizes, 0.4), 1e-10)


def test_a_product_of_small_eigenvalues_is_not_taken_for_a_sum():
    x = Q @ np.diag([1e-3, 1e-3, 2.0, 5.0]) @ Q.T
    slopes = bp.grad(lambda x: jnp.prod(jnp.linalg.eigvalsh(x)))
    assert jnp.isnan(jax.jit(bp.grad(lambda x: jnp.sum(P * slopes(x))))(x)).any()


def second(grad: Callable, function: Callable) -> Callable:
    """Returns the second derivative of a weighted sum: of x, weights and a direction."""

    def first(x: jax.Array, weight: jax.Array) -> jax.Array:
        return grad(lambda x: jnp.sum(weight * function((x + x.T) / 2)))(x)

    return jax.jit(lambda x, weight, v: grad(lambda x: jnp.sum(v * first(x, weight)))(x))


def test_the_second_derivative_of_a_function_of_a_matrix_at_equal_eigenvalues():
    ours, theirs = (
        second(bp.grad, spectral(lambda w: w**4)),
        second(jax.grad, lambda x: x @ x @ x @ x),
    )
    constant = np.ones((4, 4)) + np.eye(4)  # structure that would let a wrong ratio pass
    at = [*SPECTRA.values(), np.diag([2.0, 2.0, 1.0, 1.0]), np.diag([1.0, 1.0, 2.0, 3.0])]
    for x in at:
        for weight, v in [(H, Q), (np.ones((4, 4)), P), (constant, constant)]:
            agrees(ours(x, weight, v), theirs(x, weight, v), 1e-10)


def test_the_second_derivative_of_a_complex_one():
    u = np.linalg.qr(H + 1j * H.T)[0]
    x = jnp.asarray(u @ np.diag([1.0, 1.0, 2.0, 2.0]) @ u.conj().T)

    def along(grad: Callable, function: Callable) -> Callable:
        def loss(x: jax.Array) -> jax.Array:
            return jnp.sum((H + 1j * Q) * function((x + x.conj().T) / 2)).real

        return jax.jit(grad(lambda x: jnp.sum((P - 1j * H) * grad(loss)(x)).real))

    ours, theirs = along(bp.grad, spectral(lambda w: w**3)), along(jax.grad, lambda x: x @ x @ x)
    agrees(ours(x), theirs(x))


def test_no_second_derivative_is_made_up_where_the_cotangent_does_not_tell_it():
    def two(x: jax.Array) -> jax.Array:
        w, v = jnp.linalg.eigh(x)
        return H.T * ((v * w**3) @ v.T) + P * ((v * w**2) @ v.T)

    along = second(bp.grad, two)
    for x in [PAIR, *map(np.diag, ([2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 2.0, 3.0]))]:
        assert jnp.isnan(along(x, H, Q)).any()


def test_the_second_derivative_of_a_polar_factor_at_equal_singular_values():
    def newton(x: jax.Array) -> jax.Array:
        for _ in range(6):  # twice the steps it takes to get from x there
            x = (x + jnp.linalg.inv(x).T) / 2
        return x

    def along(grad: Callable, function: Callable) -> Callable:
        first = grad(lambda x: jnp.sum(H * function(x)))
        return jax.jit(grad(lambda x: jnp.sum(P * first(x))))

    polar = lambda x: jnp.matmul(*jnp.linalg.svd(x)[::2])  # noqa: E731
    ours = along(bp.grad, polar)
    agrees(ours(Q), along(jax.grad, newton)(Q), 1e-10)
    assert jnp.isnan(ours(TWICE)).any()


@pytest.mark.parametrize("x", [TWICE, Q, 2 * np.eye(4)], ids=["pairs", "orthogonal", "diagonal"])
def test_singular_values_may_be_equal(x):
    def polar(x: jax.Array) -> jax.Array:
        u, _, vh = jnp.linalg.svd(x, full_matrices=False)
        return jnp.sum(H * (u @ vh))

    def again(x: jax.Array) -> jax.Array:
        u, s, vh = jnp.linalg.svd(x, full_matrices=False)
        return jnp.sum(H * ((u * s) @ vh))

    step = 1e-6 * P
    slope = (polar(x + step) - polar(x - step)) / 2e-6
    agrees(jnp.sum(bp.grad(polar)(x) * P), slope, 1e-7)
    agrees(bp.grad(again)(x), H)


def test_singular_values_may_be_zero():
    agrees(bp.grad(lambda x: jnp.sum(jnp.linalg.svd(x)[1] ** 2))(FLAT), 2 * FLAT)
    x = Q @ np.diag([3.0, 2.0, 1.0, 0.0]) @ P
    again = bp.grad(lambda x: jnp.sum(H * (lambda u, s, vh: (u * s) @ vh)(*jnp.linalg.svd(x))))(x)
    agrees(again, H)


def test_too_little_is_known_of_a_sum_at_two_zero_singular_values():
    def again(x: jax.Array) -> jax.Array:
        u, s, vh = jnp.linalg.svd(x)
        return jnp.sum(H * ((u * s) @ vh))

    assert not jnp.isfinite(bp.grad(again)(FLAT)).all()


def test_too_little_is_known_of_a_zero_singular_value_of_a_rectangular_matrix():
    def function(power: int) -> Callable:
        def loss(x: jax.Array) -> jax.Array:
            u, s, vh = jnp.linalg.svd(x, full_matrices=False)
            return jnp.sum(H[:, : x.shape[1]] * ((u * s**power) @ vh))

        return loss

    x = jnp.asarray(H[:, :2] @ Q[:2, :3])
    assert jnp.isnan(bp.grad(function(1))(x)).any()
    truth = jax.grad(lambda x: jnp.sum(H[:, :3] * (x @ x.T @ x)))(x)
    agrees(bp.grad(function(3))(x), truth)
    agrees(bp.grad(lambda x: jnp.sum(jnp.linalg.svd(x)[1] ** 2))(x), 2 * x)


def test_full_matrices_whose_basis_matters_have_no_derivative():
    loss = lambda x: jnp.sum(jnp.linalg.svd(x)[0][:, 2:] ** 3)  # noqa: E731
    assert not jnp.isfinite(bp.grad(loss)(jnp.asarray(H[:, :2]))).all()


@pytest.mark.parametrize("width", [4, 5], ids=["square", "wide"])
def test_qr_of_a_matrix_whose_last_column_depends_on_the_others(width):
    x = np.concatenate([H[:, :3], H[:, :3] @ RNG.normal(size=(3, width - 3))], axis=1)
    weight = RNG.normal(size=x.shape)

    def again(x: jax.Array) -> jax.Array:
        q, r = jnp.linalg.qr(x)
        return jnp.sum(weight * (q @ r))

    agrees(bp.grad(again)(x), weight, 1e-10)
    agrees(bp.grad(lambda x: jnp.sum(jnp.linalg.qr(x)[1] ** 2))(x), 2 * x, 1e-10)


def test_qr_of_dependent_columns_that_are_asked_for_has_no_derivative():
    # A column of zeros: of one that depends on another rounding leaves more than nothing, or not.
    x = jnp.asarray(H[:, :1] @ np.array([[1.0, 0.0]]))
    assert not jnp.isfinite(bp.grad(lambda x: jnp.sum(jnp.linalg.qr(x)[0] ** 3))(x)).all()


@pytest.mark.parametrize("at", [H, PAIR], ids=["any", "symmetric"])
def test_nothing_changes_where_all_is_distinct(at):
    x = jnp.asarray(at + np.diag(np.arange(4.0)))

    def loss(x: jax.Array) -> jax.Array:
        u, s, vh = lax.linalg.svd(x)
        return jnp.sum(H * u * s) + jnp.sum(vh**3)

    agrees(bp.grad(loss)(x), jax.grad(loss)(x))
