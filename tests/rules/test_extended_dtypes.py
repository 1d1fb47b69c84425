"""JAX's extended dtypes whose tangents are of a dtype of their own: numbers of 8 bits, say."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax._src import dtypes  # JAX has no public name for them

import backprop_jax as bp

BYTE = dtypes.primal_tangent_dtype(jnp.int8, jnp.float32)
W = jnp.array([1.2, 2.7, 3.1, -4.0, 5.0, 6.6], jnp.float32)
X = jnp.arange(1.0, 7.0, dtype=jnp.float32)


@jax.custom_vjp
def byte(w):
    return w.astype(jnp.int8).astype(BYTE)


@jax.custom_vjp
def times(w, x):
    return w.astype(jnp.int8).astype(jnp.float32) * x


def times_bwd(kept, g):
    w, x = kept
    return g * x, g * w.astype(jnp.int8).astype(jnp.float32)


byte.defvjp(lambda w: (byte(w), None), lambda _, g: (3 * g,))
times.defvjp(lambda w, x: (times(w, x), (w, x)), times_bwd)


def size(w, x=X):
    return jnp.sum(times(w, x) ** 2)


PROGRAMS = {
    "called": lambda w: size(byte(w)),
    "in another shape": lambda w: size(byte(w).reshape(2, 3).T, X.reshape(3, 2)),
    "a slice": lambda w: size(byte(w)[1:4], X[:3]),
    "one place": lambda w: size(byte(w)[2], X[2]),
    "gathered": lambda w: size(byte(w)[jnp.array([0, 0, 3])], X[:3]),
    "chosen": lambda w: size(jnp.where(X > 3, byte(w), byte(2 * w))),
    "put together": lambda w: size(jnp.concatenate([byte(w)[:2], byte(w)[3:]]), X[:5]),
    "read twice": lambda w: (lambda k: jnp.sum(times(k, X) * times(k, X * X)))(byte(w)),
    "xs of a scan": lambda w: lax.scan(lambda c, a: (c + size(*a), None), 0.0, (byte(w), X))[0],
    "constant of a scan": lambda w: (
        lambda k: lax.scan(lambda c, x: (c + size(k, x * X), None), 0.0, X)[0]
    )(byte(w)),
    "carry of a scan": lambda w: size(
        lax.scan(lambda c, x: (jnp.where(x > 2, c, c[::-1]), None), byte(w), X)[0]
    ),
    "a branch": lambda w: (lambda k: lax.cond(w[0] > 0, lambda: size(k), lambda: 0.0))(byte(w)),
    "a jit": lambda w: jax.jit(size)(byte(w)),
    "a checkpoint": lambda w: jax.checkpoint(lambda w: size(byte(w)))(w),
    "into a checkpoint": lambda w: jax.checkpoint(size)(byte(w)),
    "under vmap": lambda w: jnp.sum(jax.vmap(lambda w, x: times(byte(w), x))(W * w, X) ** 2),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_gradient_is_that_of_jax(name):
    ours, theirs = (jax.jit(grad(PROGRAMS[name]))(W) for grad in (bp.grad, jax.grad))
    assert np.any(ours)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_cotangents_of_an_argument_and_of_a_result_have_the_dtype_of_tangents():
    @jax.jit
    def both(w):
        out, pull = bp.vjp(byte, w)
        _, pull_argument = bp.vjp(times, out, X)
        return pull(jnp.ones(6, jnp.float32))[0], pull_argument(X)[0]

    of_w, of_byte = both(W)
    np.testing.assert_array_equal(of_w, 3 * np.ones(6))
    np.testing.assert_array_equal(of_byte, X * X)


class Rules:
    """Numbers that are added up by taking the largest, as scales of 8 bit floats are."""

    allow_conversion = True

    @staticmethod
    def physical_element_aval(dtype):
        return types.SimpleNamespace(shape=(), dtype=dtype.made_of)

    @staticmethod
    def add(dtype, x, y):
        number = dtype.made_of
        largest = lax.max(*(lax.convert_element_type(v, number) for v in (x, y)))
        return lax.convert_element_type(largest, dtype)

    @staticmethod
    def zero(dtype):
        return lax.convert_element_type(jnp.array(-np.inf, dtype.made_of), dtype)


class WithTangents(Rules):
    tangent_dtype = staticmethod(lambda dtype: dtype)


class scale(jax.dtypes.extended):
    """What these dtypes are a kind of."""


@dataclasses.dataclass(frozen=True)
class Scale(dtypes.ExtendedDType):
    """The dtype, with these rules."""

    _rules: type
    made_of: np.dtype = dataclasses.field(default_factory=lambda: jnp.dtype("float32"))
    name: str = "scale"
    type: type = scale


def through(dtype):
    """Returns a function that hands a number on as of this dtype."""
    return lambda x: lax.convert_element_type(lax.convert_element_type(x, dtype), "float32")


def test_sums_of_cotangents_go_by_the_rules_of_the_dtype():
    def number(scales):
        return lax.convert_element_type(scales, "float32")

    def loss(x, steps):
        scales = lax.convert_element_type(x, Scale(WithTangents))
        used = lax.scan(lambda c, k: (c + k * number(scales), None), jnp.float32(0), steps)[0]
        return used + 0.5 * number(scales)

    steps = jnp.array([2.0, 7.0, 3.0], jnp.float32)
    # The largest. jax.grad has no reverse of a conversion from such a dtype.
    assert jax.jit(bp.grad(loss))(jnp.float32(1.5), steps) == 7.0


def test_a_dtype_that_does_not_say_of_its_tangents_is_an_error():
    with pytest.raises(TypeError, match="does not say of what dtype its tangents are") as caught:
        jax.jit(bp.grad(through(Scale(Rules))))(jnp.float32(1.5))
    assert "to go on:   give its rules a tangent_dtype" in str(caught.value)


def test_a_dtype_without_tangents_has_none():
    class Rigid(Rules):
        tangent_dtype = staticmethod(lambda dtype: jax.dtypes.float0)

    for grad in (bp.grad, jax.grad):
        assert jax.jit(grad(through(Scale(Rigid))))(jnp.float32(1.5)) == 0.0
