"""Functions of matrices with a rule as a whole, where their steps have no derivative."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import pytest

import backprop_jax as bp

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
V, W = RNG.normal(size=(2, 4, 4))


def cofactors(x: np.ndarray) -> np.ndarray:
    """Returns the derivative of the determinant: those of what is left, row and column left out."""
    rows = range(len(x))
    minors = [[np.delete(np.delete(x, i, 0), j, 1) for j in rows] for i in rows]
    signs = [[(-1) ** (i + j) for j in rows] for i in rows]
    return np.array(signs) * np.linalg.det(np.array(minors))


def of_rank(r: int) -> np.ndarray:
    """Returns a matrix whose columns depend on its last r."""
    x = RNG.normal(size=(4, 4))
    x[:, : 4 - r] = x[:, 4 - r :] @ RNG.normal(size=(r, 4 - r))
    return x


def second(x: jax.Array) -> jax.Array:
    """Returns the slope along W of the slope of the determinant along V."""
    along = lambda x: jnp.sum(bp.grad(jnp.linalg.det)(x) * V)  # noqa: E731
    return jnp.sum(bp.grad(along)(x) * W)


def test_the_derivatives_of_a_determinant_at_any_rank():
    """JAX says zero of all first ones where a pivot before the last is zero."""
    x = np.array([of_rank(r) for r in (4, 3, 2, 1)])
    gradient = jax.jit(jax.vmap(bp.grad(jnp.linalg.det)))(x)
    np.testing.assert_allclose(gradient, list(map(cofactors, x)), rtol=1e-12, atol=1e-12)
    moved = lambda x: jnp.sum(jax.vmap(jax.vmap(jnp.linalg.det, 1), 2)(x))  # noqa: E731
    outside = bp.grad(moved)(x.reshape(2, 2, 4, 4).transpose(2, 0, 1, 3))
    outside = outside.transpose(1, 2, 0, 3).reshape(x.shape)
    np.testing.assert_allclose(outside, gradient, rtol=1e-12, atol=1e-12)
    step = 1e-5
    ahead, behind = (
        np.sum([cofactors(each + sign * step * W) * V for each in x], (1, 2)) for sign in (1, -1)
    )
    measured = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.vmap(second))(x), measured, rtol=1e-7, atol=1e-7)


def test_a_square_root_where_eigenvalues_are_equal():
    """By z z = x: the change of z solves a Sylvester equation, the second one, too."""
    x = jnp.array([[4.0, 1.0], [0.0, 4.0]])
    v, w, h = RNG.normal(size=(3, 2, 2))
    root = lambda x: jnp.sum(h * jax.scipy.linalg.sqrtm(x).real)  # noqa: E731
    along = lambda x: jnp.sum(bp.grad(root)(x) * v)  # noqa: E731
    first, gradient = jax.jit(bp.value_and_grad(along))(x)
    z = np.array([[2.0, 0.25], [0.0, 2.0]])

    def change(f):
        system = np.kron(z, np.eye(2)) + np.kron(np.eye(2), z.T)
        return np.linalg.solve(system, f.ravel()).reshape(2, 2)

    np.testing.assert_allclose(first, np.sum(h * change(v)), rtol=1e-10)
    both = -change(change(v) @ change(w) + change(w) @ change(v))
    np.testing.assert_allclose(np.sum(gradient * w), np.sum(h * both), rtol=1e-10)


def test_least_squares_of_low_rank():
    """By a full rank factorization: uv has the pseudoinverse that v and u have in turn."""
    u, v, b, k = (RNG.normal(size=shape) for shape in ((4, 2), (2, 3), (4,), (4, 2)))

    def by_steps(u):
        return jnp.sum(jnp.linalg.lstsq(u @ v, b, rcond=1e-6)[0] ** 2)

    def by_factors(u):
        inner = jnp.linalg.solve(v @ v.T, jnp.linalg.solve(u.T @ u, u.T @ b))
        return jnp.sum((v.T @ inner) ** 2)

    def both(f):
        return jax.jit(bp.value_and_grad(lambda u: jnp.sum(bp.grad(f)(u) * k)))(u)

    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), *map(both, (by_steps, by_factors))
    )
