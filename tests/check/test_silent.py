# ruff: noqa: E501 (rows of a table stay rows)
"""A gradient that is zero because nothing on the way has a slope is right, and is said to be."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from backprop_jax.check.compare import compare

KEY = jax.random.key(0)


def bits(x):
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, "int32") + 1, "float32").sum()


def counted(x):
    """A slope is lost in a loop: what is carried is an integer."""
    step = lambda n: n + (x > 0.2).sum()  # noqa: E731
    return lax.while_loop(lambda n: n < 3, step, jnp.int32(0)).astype(float) * 2.0


# fmt: off
SILENT = {
    "binomial":   (lambda x: jnp.sum(jax.random.binomial(KEY, 10, x)), "random.binomial"),
    "poisson":    (lambda x: jnp.sum(jax.random.poisson(jax.random.key(0, impl="threefry2x32"), x).astype(float)), ""),
    "bernoulli":  (lambda x: jnp.sum(jax.random.bernoulli(KEY, x).astype(float)), ""),
    "bits":       (bits, "'bitcast_convert_type'"),
    "rounded":    (lambda x: jnp.sum(jnp.round(x) ** 2), "'round'"),
    "a loop":     (counted, "'gt'"),
    "compiled":   (jax.jit(lambda x: jnp.sum(jnp.floor(x))), "'floor'"),
    "a branch":   (lambda x: lax.cond(x[0] > 0, lambda: 1.0, lambda: 2.0), "'gt'"),
}
HEARD = {
    "a constant":          lambda x: jnp.float32(2.0),
    "stopped":             lambda x: jnp.sum(lax.stop_gradient(x) ** 2),
    "a unit that is dead": lambda x: jnp.sum(jax.nn.relu(-x)),
    "one way of two":      lambda x: jnp.sum(0 * x + jnp.floor(x)),
    "no zero":             lambda x: jnp.sum(x * jnp.floor(3 * x)),
}
# fmt: on
X = jnp.array([0.25, 0.5])


@pytest.mark.parametrize("what", SILENT)
def test_a_silent_zero_is_noted(what):
    fun, step = SILENT[what]
    report = compare(fun, X)
    assert report.ok
    (note,) = [note for note in report.notes if "without a slope" in note]
    assert note.startswith("x has no gradient, yet the result depends on it") or what == "compiled"
    assert step in note or "random" in step


@pytest.mark.parametrize("what", HEARD)
def test_a_zero_that_is_one_is_not(what):
    report = compare(HEARD[what], X)
    assert report.ok
    assert not [note for note in report.notes if "without a slope" in note]
