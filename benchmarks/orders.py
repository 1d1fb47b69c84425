"""Derivatives of derivatives, many at once, and one for each example."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.engines import Engine
from benchmarks.workload import Function, Workload, derived, normal, weights


def score(params: list, x: Array) -> Array:
    """Returns what three dense layers make of x."""
    for w in params[:-1]:
        x = jnp.tanh(x @ w)
    return x @ params[-1]


def loss(params: list, x: Array, y: Array) -> Array:
    """Returns the cross-entropy of the layers' scores."""
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(score(params, x)) * y, axis=-1))


def data() -> tuple[list, Array, Array]:
    """Returns the layers, what they read and what they should say."""
    params = [weights(0, 64, 128), weights(1, 128, 128), weights(2, 128, 10)]
    return params, normal(8, 128, 64), jax.nn.one_hot(np.arange(128) % 10, 10)


def hvp() -> Workload:
    """A Hessian of a network times a vector."""
    params, x, y = data()
    v = [normal(3 + i, *w.shape) for i, w in enumerate(params)]

    def product(engine: Engine) -> Function:
        return lambda params, x, y, v: engine.hvp(lambda p: loss(p, x, y), (params,), (v,))

    return derived(
        lambda params, x, y, v: loss(params, x, y), product, params, x, y, v, needs="hvp"
    )


def jacobian() -> Workload:
    """The 32 × 128 derivatives of a network's results by its input."""
    params = [weights(0, 128, 256), weights(1, 256, 256), weights(2, 256, 32)]

    def forward(x: Array) -> Array:
        return score(params, x)

    return derived(
        forward, lambda engine: engine.jacobian(forward), normal(8, 128), needs="jacobian"
    )


def hessian() -> Workload:
    """The Hessian of logistic regression in 64 variables."""
    x, y = normal(8, 512, 64), np.arange(512) % 2

    def forward(w: Array) -> Array:
        scores = x @ w
        return jnp.mean(jax.nn.softplus(scores) - y * scores)

    return derived(
        forward, lambda engine: engine.hessian(forward), 0.1 * normal(0, 64), needs="hessian"
    )


def per_example() -> Workload:
    """The gradient of each of 128 examples by itself, by `jax.vmap`."""

    def derivative(engine: Engine) -> Function:
        return jax.vmap(engine.value_and_grad(loss), (None, 0, 0))

    return derived(loss, derivative, *data())
