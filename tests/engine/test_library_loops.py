"""Functions that loop until they are done, of libraries and as people write them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.scipy.linalg import eigh_tridiagonal, polar
from jax.scipy.optimize import minimize

import backprop_jax as bp
from backprop_jax.check.numerical.slopes import noise_of, slopes

pytestmark = pytest.mark.usefixtures("x64")


def of_polar(x: jax.Array) -> jax.Array:
    """The unitary factor, by Halley's iteration with weights."""
    unitary, positive = polar(jnp.reshape(x, (3, 2)), method="qdwh")
    return jnp.sum(jnp.sin(unitary)) + jnp.sum(positive**2)


def of_eigh(x: jax.Array) -> jax.Array:
    """Eigenvalues by bisection."""
    return jnp.sum(jnp.sin(eigh_tridiagonal(x[:3], x[3:5], eigvals_only=True)))


def of_minimum(x: jax.Array) -> jax.Array:
    """The minimum of a function, by BFGS with a line search: loops within loops.

    Its steps end when they are short: what they end at moves with x as each of them does.
    """
    least = minimize(lambda y: jnp.sum((y - x[:2]) ** 2), jnp.zeros(2), method="BFGS")
    return jnp.sum(jnp.sin(least.x))


def of_root(x: jax.Array) -> jax.Array:
    """y with y³ + y = x, by Newton's method."""

    def step(y: jax.Array) -> jax.Array:
        return y - (y**3 + y - x) / (3 * y**2 + 1)

    far = lambda y: jnp.max(jnp.abs(y**3 + y - x)) > 1e-13  # noqa: E731
    return jnp.sum(jnp.sin(lax.while_loop(far, step, jnp.zeros_like(x))))


def of_fixed_point(x: jax.Array) -> jax.Array:
    """y with y = 0.3 cos(y + x), by putting it in again and again."""

    def step(state: tuple) -> tuple:
        y, _ = state
        return 0.3 * jnp.cos(y + x), y

    far = lambda state: jnp.max(jnp.abs(state[0] - state[1])) > 1e-14  # noqa: E731
    return jnp.sum(lax.while_loop(far, step, (x, x + 1))[0] ** 2)


def of_motion(x: jax.Array) -> jax.Array:
    """Where y' = -y³ + sin t comes to from x, by steps of Heun's method as long as the error lets.

    A step that is too long is taken again.
    """

    def rate(t: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sin(t) - y**3

    def step(state: tuple) -> tuple:
        t, h, y = state
        h = jnp.minimum(h, 1.0 - t)
        first = rate(t, y)
        second = rate(t + h, y + h * first)
        error = 0.5 * h * jnp.max(jnp.abs(second - first)) + 1e-30
        good = error < 1e-3
        later = jnp.where(good, y + 0.5 * h * (first + second), y)
        # The step's own length is no part of the derivative that is compared.
        longer = lax.stop_gradient(0.9 * h * jnp.sqrt(1e-3 / error))
        return jnp.where(good, t + h, t), longer, later

    state = jnp.array(0.0), jnp.array(0.3), x
    return jnp.sum(lax.while_loop(lambda state: state[0] < 1.0, step, state)[2] ** 2)


X = np.array([0.9, -0.4, 1.3, 0.6, -0.7, 0.2])


@pytest.mark.parametrize(
    ("fun", "tolerance"),
    [
        (of_polar, 1e-7),
        (of_eigh, 1e-7),
        pytest.param(of_minimum, 1e-6, marks=pytest.mark.slow),
        (of_root, 1e-8),
        (of_fixed_point, 1e-8),
        (of_motion, 2e-3),  # a difference moves the steps' length, too
    ],
)
def test_it_differentiates(fun: Callable, tolerance: float):
    v = np.array([0.3, 0.5, -0.2, 0.7, 0.1, -0.4])
    value, gradient = jax.jit(bp.value_and_grad(fun))(X)
    np.testing.assert_allclose(value, fun(X), rtol=1e-12)

    def values(x: np.ndarray) -> np.ndarray:
        return np.asarray(fun(x)).reshape(1)

    found = slopes(values, X, v, noise=noise_of(values, X, v))
    np.testing.assert_allclose(gradient @ v, found.value[0], rtol=tolerance)
