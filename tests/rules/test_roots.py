"""Roots are differentiated, not the way they were found."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import xla_metadata

import backprop_jax as bp


def cube_root(a: Any) -> Any:
    """By halving intervals: no step of it has a derivative."""

    def halve(_: Any, ends: tuple) -> tuple:
        low, high = ends
        middle = (low + high) / 2
        above = middle**3 > a
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    def solve(_: Any, start: Any) -> Any:
        return lax.fori_loop(0, 60, halve, (0 * start, 0 * start + 10))[0]

    return lax.custom_root(lambda x: x**3 - a, 1 + 0 * a, solve, lambda g, y: y / g(1.0))


def equilibrium(b: Any, jacobian: Any) -> Any:
    """Where A x + tanh(x) / 10 = b, by Newton's method."""
    matrix = 3 * jnp.eye(3) + jnp.arange(9.0).reshape(3, 3) / 10

    def distance(x: Any) -> Any:
        return matrix @ x + jnp.tanh(x) / 10 - b

    def solve(f: Any, x: Any) -> Any:
        for _ in range(6):
            x = x - jnp.linalg.solve(matrix, f(x))
        return x

    def invert(matvec: Any, y: Any) -> Any:
        return jnp.linalg.solve(jacobian(matvec)(y), y)

    def tangent_solve(g: Any, y: Any) -> Any:
        return lax.custom_linear_solve(g, y, invert, invert)

    return lax.custom_root(distance, 0 * b, solve, tangent_solve)


def test_root_of_a_scalar(x64):
    a = 5.0
    np.testing.assert_allclose(bp.grad(cube_root)(a), a ** (-2 / 3) / 3, rtol=1e-12)
    np.testing.assert_allclose(bp.grad(bp.grad(cube_root))(a), -2 / 9 * a ** (-5 / 3), rtol=1e-12)
    np.testing.assert_allclose(jax.jit(bp.grad(cube_root))(a), a ** (-2 / 3) / 3, rtol=1e-12)
    a = jnp.array([1.0, 8.0])
    np.testing.assert_allclose(jax.vmap(bp.grad(cube_root))(a), a ** (-2 / 3) / 3, rtol=1e-12)


@pytest.mark.parametrize("jacobian", [jax.jacobian, bp.jacobian])
def test_root_of_a_vector(x64, jacobian):
    b = jnp.array([0.3, -1.0, 2.0])
    fun = lambda b: jnp.sum(jnp.sin(equilibrium(b, jacobian)))  # noqa: E731
    expected = lambda b: jnp.sum(jnp.sin(equilibrium(b, jax.jacobian)))  # noqa: E731
    np.testing.assert_allclose(bp.grad(fun)(b), jax.grad(expected)(b), rtol=1e-9)
    np.testing.assert_allclose(bp.hessian(fun)(b), jax.hessian(expected)(b), rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not hasattr(xla_metadata, "xla_metadata_call2"), reason="new in jax 0.11")
@pytest.mark.parametrize(("back", "count"), [("same", 0), ("drop", 0), ({"tag": "back"}, 1)])
def test_tags_of_operations_stay(back, count):
    fun = xla_metadata.xla_metadata_call2(lambda x: jnp.sin(x), {"tag": "to"}, ad_metadata=back)
    x = jnp.arange(3.0)
    np.testing.assert_allclose(bp.grad(lambda x: fun(x).sum())(x), jnp.cos(x), rtol=1e-6)
    text = jax.jit(lambda x, g: bp.vjp(fun, x)[1](g)).lower(x, x).as_text()
    assert text.count('tag = "back"') == count
    assert text.count('tag = "to"') == (back == "same")
