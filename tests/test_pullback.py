"""What `bp.vjp` returns is a pytree: it goes in and out of compiled functions, as JAX's does."""

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

import backprop_jax as bp


@jax.custom_vjp
def ruled(x, y):
    return jnp.sin(x) * y


ruled.defvjp(
    lambda x, y: (ruled(x, y), (x, y)),
    lambda kept, g: (g * jnp.cos(kept[0]) * kept[1], g * jnp.sin(kept[0])),
)


def model(x, w):
    """One of each: users' rules of both kinds, a loop, a branch, compiled functions."""
    x = jax.nn.relu(ruled(x, w @ x)) + 1
    x = lax.scan(lambda c, t: (jnp.tanh(c * t), None), x, jnp.arange(1.0, 3.0))[0]
    return lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x) * jax.nn.softmax(x)


X, W = jnp.arange(3.0) + 0.1, jnp.eye(3) + 0.1


def expected():
    y, pullback = jax.vjp(model, X, W)
    return y, pullback(y)


def test_a_compiled_function_returns_it():
    y, pullback = jax.jit(lambda x, w: bp.vjp(model, x, w))(X, W)
    chex.assert_trees_all_close((y, pullback(y)), expected(), rtol=1e-5)


def test_a_compiled_function_takes_it():
    y, pullback = bp.vjp(model, X, W)
    gradients = jax.jit(lambda pullback, y: pullback(y))(pullback, y)
    chex.assert_trees_all_close((y, gradients), expected(), rtol=1e-5)


def test_its_structure_is_the_same_every_time():
    _, pullback = bp.vjp(model, X, W)
    copied = jax.tree.map(lambda x: x, pullback)
    assert jax.tree.structure(copied) == jax.tree.structure(pullback)
    assert all(isinstance(leaf, jax.Array | float) for leaf in jax.tree.leaves(pullback))


def test_what_it_keeps_can_be_changed():
    """For x², it keeps x, and the cotangent is 2 x g."""
    _, pullback = bp.vjp(lambda x: x**2, 3.0)
    assert pullback(1.0) == (6.0,)
    assert jax.tree.map(lambda x: 10 * x, pullback)(1.0) == (60.0,)


def test_a_number_of_python_is_an_operand():
    """Who runs a jaxpr by hand may hand it a float; a rule wants a shape."""
    closed = jax.make_jaxpr(lambda x: jnp.dot(x, x))(3.0)
    assert bp.grad(lambda x: jaxpr_as_fun(closed)(x)[0])(3.0) == 6
