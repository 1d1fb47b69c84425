# ruff: noqa: E501 (rows of a table stay rows)
"""What the public functions have that JAX's do not, and what a derivative is besides its value."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from tests.api.functions import W, X, assert_same, curve, named, pair
from tests.rules.jaxprs import equations


# -- argnames --------------------------------------------------------------------------
def test_argnames_differentiates_a_keyword_argument():
    expected = jax.grad(lambda s: named(X, scale=s))(2.0)
    assert_same(bp.grad(named, argnames="scale")(X, scale=2.0), expected)
    assert_same(bp.grad(named, argnames=["scale"])(X, scale=2.0), {"scale": expected})


def test_argnames_beside_argnums():
    both = bp.grad(named, argnums=0, argnames=("scale", "shift"))(X, scale=2.0, shift=3.0)
    expected = jax.grad(lambda x, p: named(x, **p), (0, 1))(X, {"scale": 2.0, "shift": 3.0})
    assert_same(both, expected)
    value, gradient = bp.value_and_grad(named, (0,), argnames="scale")(X, scale=2.0)
    assert_same(value, named(X, scale=2.0))
    assert_same(gradient, ((jax.grad(named)(X, scale=2.0),), jnp.sum(jnp.sin(X))))


def test_both_ways_are_compiled_once_and_take_the_options():
    compiled = []

    @jax.custom_vjp
    def twice(x):
        return 2 * x

    twice.defvjp(lambda x: (2 * x, None), lambda _, g: (compiled.append(g) or 2 * g,))
    forward, backward = bp.fwd_and_bwd(
        lambda x, *, y: jnp.sqrt(twice(x) * y), argnames="y", argnums=0, zero_times_inf="zero"
    )
    for x in (X, 2 * X, 0 * X):
        z, kept = forward(x, y=0 * X)
        assert_same(backward(kept, z), (0 * X, 0 * X))
    assert len(compiled) == 1


def test_argnames_of_jacobians():
    outer = lambda x, *, y: jnp.outer(x, y)  # noqa: E731
    expected = jax.jacrev(lambda y: outer(X, y=y))(X[:2])
    for jacobian in (bp.jacrev, bp.jacfwd):
        assert_same(jacobian(outer, argnames="y")(X, y=X[:2]), expected)
    both = bp.jacfwd(outer, 0, argnames=["y"])(X, y=X[:2])
    assert_same(both, (jax.jacrev(outer)(X, y=X[:2]), {"y": expected}))
    assert_same(bp.hessian(named, argnames="scale")(X, scale=2.0), 0.0 * jnp.float32(1))


# -- rows in blocks ----------------------------------------------------------------------
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 100])
def test_jacobian_in_blocks_of_rows(chunk_size):
    fun = lambda p: {"y": W @ p[0] * p[1], "z": p[1]}  # noqa: E731
    params = (X, jnp.float32(2.0))
    expected = jax.jacrev(fun)(params)
    assert_same(bp.jacrev(fun, chunk_size=chunk_size)(params), expected)
    assert_same(jax.jit(bp.jacrev(fun, chunk_size=chunk_size))(params), expected)


def test_blocks_of_rows_need_memory_for_so_many():
    """A row of the way back is 16 x 10 numbers. Of 16 there are 4 at a time."""
    fun = lambda x: jnp.sum(jnp.sin(jnp.outer(x, jnp.arange(10.0)) @ jnp.ones((10, 10))), 1)  # noqa: E731

    def largest(jacobian: Callable) -> int:
        closed = jax.make_jaxpr(jacobian)(np.ones(16, np.float32))
        return max(v.aval.size for e in equations(closed.jaxpr) for v in e.outvars)

    assert largest(bp.jacrev(fun)) == 16 * 16 * 10
    assert largest(bp.jacrev(fun, chunk_size=4)) == 4 * 16 * 10


# -- forward through what has a reverse rule only ------------------------------------------
@jax.custom_vjp
def reversed_only(x: Any) -> Any:
    return jnp.sin(x)


reversed_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def test_jvp_goes_through_a_custom_vjp():
    assert_same(bp.jvp(reversed_only, (X,), (X,)), jax.jvp(jnp.sin, (X,), (X,)))
    assert_same(bp.jacfwd(reversed_only)(X), jax.jacfwd(jnp.sin)(X))


@pytest.mark.parametrize("imaginary", [0, 1j], ids=["real", "complex"])
def test_jvp_of_a_rule_that_asks_what_the_loss_depends_on(x64, imaginary):
    """At cotangents of zero the rule of `qr` takes the added columns for a choice that is free."""
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 4, 2)) + imaginary * rng.normal(size=(2, 4, 2))
    full = functools.partial(jnp.linalg.qr, mode="complete")
    slopes = bp.jvp(full, (x,), (v,))[1]
    for got, ahead, behind in zip(slopes, full(x + 1e-6 * v), full(x - 1e-6 * v), strict=True):
        np.testing.assert_allclose(got, (ahead - behind) / 2e-6, atol=1e-8)


def test_jvp_compiled_runs_no_reverse_pass():
    """The pullback is evaluated nowhere: what it would give depends on the way, not the tangent."""
    fun = lambda x: jnp.sum(jnp.exp(W @ jnp.sin(x)))  # noqa: E731
    cost = lambda jvp: jax.jit(jvp).lower(X, X).compile().cost_analysis()["flops"]  # noqa: E731
    ours = cost(lambda x, v: bp.jvp(fun, (x,), (v,)))
    assert ours <= cost(lambda x, v: jax.jvp(fun, (x,), (v,)))


# -- a strong zero -------------------------------------------------------------------------
@jax.custom_vjp
def user_sqrt(x: Any) -> Any:
    return jnp.sqrt(x)


user_sqrt.defvjp(lambda x: (jnp.sqrt(x), x), lambda x, g: (g * 0.5 / jnp.sqrt(x),))


@jax.custom_jvp
def user_log(x: Any) -> Any:
    return jnp.log(x)


user_log.defjvp(lambda primals, tangents: (jnp.log(primals[0]), tangents[0] / primals[0]))


RADIUS = lambda x: jnp.linalg.norm(W.T @ x)  # noqa: E731
# fmt: off
NAN_BY_IEEE: dict[str, tuple[Callable, Any]] = {
    "the branch not chosen":    (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), 0.0),
    "log, not chosen":          (lambda x: jnp.where(x > 0, jnp.log(x), x), 1.0),
    "a norm at 0":              (lambda x: jnp.linalg.norm(x * jnp.arange(3.0)), 0.0),
    "a norm of a product at 0": (lambda x: RADIUS(x * jnp.ones(2)), 0.0),
    "within jit":               (jax.jit(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0)), 0.0),
    "within scan":              (lambda x: lax.scan(lambda c, _: (c + jnp.where(x > 0, jnp.sqrt(x), 0.0), None), x, length=2)[0], 1.0),
    "within cond":              (lambda x: lax.cond(x < 1, lambda y: jnp.where(y > 0, jnp.sqrt(y), 0.0), jnp.sin, x), 0.0),
    "within checkpoint":        (bp.checkpoint(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0)), 0.0),
    "a user's rule":            (lambda x: jnp.where(x > 0, user_sqrt(x), 0.0), 0.0),
    "a user's forward rule":    (lambda x: jnp.where(x > 0, user_log(x), 0.0), 0.0),
    "a product not chosen":     (lambda x: jnp.where(x > 0, (x * jnp.ones(2)) @ jnp.array([jnp.inf, 1.0]), 0.0), 0.0),
    "complex, not chosen":      (lambda x: jnp.where(x > 0, abs((x * jnp.ones(2)) @ jnp.array([jnp.inf * 1j, 1.0])), 0.0), 0.0),
    "a product over zero":     (lambda x: jnp.where(x > 0, jnp.prod(x / jnp.zeros(2)), x), 1.0),
}
# fmt: on


@pytest.mark.parametrize("what", NAN_BY_IEEE)
def test_a_strong_zero(what):
    fun, expected = NAN_BY_IEEE[what]
    assert np.isnan(bp.grad(fun)(0.0)), "this needs no strong zero"
    gradient = bp.grad(fun, zero_times_inf="zero")
    assert_same(gradient(0.0), jnp.float32(expected))
    assert_same(jax.jit(gradient)(0.0), jnp.float32(expected))
    assert_same(
        bp.value_and_grad(fun, zero_times_inf="zero")(0.0), (fun(0.0), jnp.float32(expected))
    )
    assert np.isfinite(bp.hessian(fun, zero_times_inf="zero")(0.0))


def test_a_strong_zero_leaves_infinity_alone():
    """The slope of a root at 0 is infinite; so is that of a sum in which it has its part."""
    weights = jnp.array([[0.0, 2.0, 1.0], [0.0, 0.0, -3.0], [1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    fun = lambda x: jnp.sum(jnp.sqrt(x @ weights))  # noqa: E731
    gradient = bp.grad(fun, zero_times_inf="zero")(jnp.zeros(4))
    np.testing.assert_array_equal(gradient, [np.inf, -np.inf, np.nan, 0.0])
    assert bp.grad(jnp.sqrt, zero_times_inf="zero")(0.0) == np.inf


# -- hvp -------------------------------------------------------------------------------
def test_hvp_is_the_hessian_times_a_vector():
    expected = jax.jvp(jax.grad(curve), (X,), (X[::-1],))[1]
    assert_same(bp.hvp(curve, (X,), (X[::-1],)), expected)
    assert_same(jax.jit(lambda x, v: bp.hvp(curve, (x,), (v,)))(X, X[::-1]), expected)


def test_hvp_of_pytrees_and_several_arguments():
    primals, tangents = ({"a": X}, X), ({"a": X[::-1]}, 2 * X)
    fun = lambda p, y: pair(p["a"], y)  # noqa: E731
    _, expected = jax.jvp(jax.grad(fun, (0, 1)), primals, tangents)
    assert_same(bp.hvp(fun, primals, tangents, argnums=(0, 1)), expected)
    assert_same(bp.hvp(fun, primals, tangents), expected[0])


# -- what a derivative is besides its value ----------------------------------------------
def test_a_derivative_is_named_after_its_function():
    assert bp.grad(curve).__name__ == "curve"
    assert bp.grad(curve).__doc__ == "Gradient of curve; takes the same arguments."


def test_does_not_change_its_arguments():
    params = {"w": W.copy(), "b": [X.copy()]}
    bp.grad(lambda p: jnp.sum(p["w"] @ p["b"][0]))(params)
    assert_same(params, {"w": W, "b": [X]})


def test_runs_the_function_once():
    """A function with side effects in Python has them once, as under `jax.grad`."""
    calls = []
    bp.grad(lambda x: (calls.append(1), x**2)[1])(2.0)
    assert len(calls) == 1


def test_a_value_that_escapes_is_named_as_a_leak():
    escaped = []
    bp.grad(lambda x: (escaped.append(x), x**2)[1])(2.0)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        jax.jit(lambda y: y + escaped[0])(1.0)


def test_nothing_leaks_that_jax_would_find():
    with jax.checking_leaks():
        assert bp.grad(jax.jit(lambda x: jax.checkpoint(jnp.sin)(x) * x))(0.0) == 0


def test_donates_and_shards_as_jit_does():
    step = jax.jit(lambda w: w - 0.1 * bp.grad(curve)(w), donate_argnums=0)
    w = jnp.array(X)
    assert_same(step(w), X - 0.1 * jax.grad(curve)(X))
    assert w.is_deleted()


def test_in_double_precision(x64):
    x = X.astype("float64")
    for m in (bp.grad(curve), jax.jit(bp.grad(curve))):
        assert_same(m(x), jax.grad(curve)(x), rtol=1e-13)
