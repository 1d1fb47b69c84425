"""Primitives made of others, by which newer releases of JAX say what they said otherwise before."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import hijax

import backprop_jax as bp

X = np.array([0.5, -1.5, 2.0], np.float32)

HighPrimitive = getattr(hijax, "HiPrim", None) or hijax.VJPHiPrimitive


class Tripled(HighPrimitive):
    """A primitive made of others, with a reverse rule that is not theirs."""

    def __init__(self, x: Any) -> None:
        self.in_avals, self.out_aval, self.params = (jax.typeof(x),), jax.typeof(x), {}
        super().__init__()

    def expand(self, x: Any) -> Any:
        return 3 * x

    def vjp_fwd(self, active: Any, /, x: Any) -> tuple:
        assert active == (True,)
        return 3 * x, x

    def vjp_bwd_retval(self, x: Any, g: Any, /) -> tuple:
        return (300 * g * x,)


# fmt: off
HIGH = {
    "eager":         lambda x: Tripled(x)(x),
    "in a jit":      jax.jit(lambda x: Tripled(x)(x)),
    "in a scan":     lambda x: lax.scan(lambda c, _: (Tripled(x)(x) + 0 * c, None), x, length=1)[0],
    "in a checkpoint": jax.checkpoint(lambda x: Tripled(x)(x)),
}
# fmt: on


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("where", HIGH)
def test_the_rule_of_a_high_primitive_is_called(where, compiled):
    gradient = bp.grad(lambda x: jnp.sum(HIGH[where](x)))
    gradient = jax.jit(gradient) if compiled else gradient
    np.testing.assert_allclose(gradient(X), 300 * X, rtol=1e-6)


def test_a_function_with_one_within_is_called_like_any_other():
    @jax.jit
    def tripled(x):
        return jnp.sin(Tripled(x)(x))

    both = jax.make_jaxpr(bp.grad(lambda x: tripled(tripled(x)).sum()))(X)
    names = [e.params["name"] for e in both.eqns if e.primitive.name == "jit"]
    assert names == ["tripled"] * 4  # twice forward, twice back
    by_hand = 300 * X * jnp.cos(3 * X)
    y = jnp.sin(3 * X)
    np.testing.assert_allclose(
        jax.core.eval_jaxpr(both.jaxpr, both.consts, X)[0],
        by_hand * 300 * y * jnp.cos(3 * y),
        rtol=1e-5,
    )


@pytest.fixture
def flag():
    """Sets a flag of JAX's for as long as a test runs."""
    names = []

    def setting(name: str) -> None:
        names.append(name)
        jax.config.update(name, True)

    yield setting
    for name in names:
        jax.config.update(name, False)


@pytest.mark.parametrize("remat3", [False, True])
def test_a_checkpoint_is_one_by_either_name(flag, remat3):
    if remat3:
        flag("jax_remat3")
    saved = jax.checkpoint_policies.save_only_these_names("sine")
    inner = lambda x: jnp.sin(checkpoint_name(jnp.sin(x), "sine"))  # noqa: E731
    for policy, again in ((None, 1), (saved, 0)):
        fun = jax.checkpoint(lambda x: inner(x).sum(), policy=policy)
        way_back = jax.make_jaxpr(bp.vjp(fun, X)[1])(1.0)
        assert str(way_back).count(" sin ") == again
        np.testing.assert_allclose(bp.grad(fun)(X), jax.grad(fun)(X), rtol=1e-6)


@pytest.mark.parametrize("flags", [(), ("jax_remat3", "jax_custom_vjp3")])
def test_a_policy_is_asked_of_what_a_rule_names(flag, flags):
    for name in flags:
        flag(name)
    sine = jax.custom_vjp(jnp.sin)
    forward = lambda x: (jnp.sin(x), checkpoint_name(jnp.cos(x), "slope"))  # noqa: E731
    sine.defvjp(forward, lambda slope, g: (slope * g,))
    for names, again in (((), 1), (("slope",), 0)):
        policy = jax.checkpoint_policies.save_only_these_names(*names)
        fun = jax.checkpoint(lambda x: sine(x).sum(), policy=policy)
        way_back = jax.make_jaxpr(bp.vjp(fun, X)[1])(1.0)
        assert str(way_back).count(" cos ") == again
        np.testing.assert_allclose(bp.grad(fun)(X), jnp.cos(X), rtol=1e-6)


def test_optimize_remat_lets_a_checkpoint_run_the_function_itself(flag):
    flag("jax_custom_vjp3")
    tangent = jax.custom_vjp(jnp.tan)
    halves = lambda x: (jnp.sin(x), x), lambda x, g: (jnp.cos(x) * g,)
    tangent.defvjp(*halves, optimize_remat=True)
    value, slope = bp.value_and_grad(jax.checkpoint(tangent))(0.5)
    np.testing.assert_allclose((value, slope), (np.tan(0.5), np.cos(0.5)), rtol=1e-6)


def test_an_absent_cotangent_is_said_to_be_zero_within_vmap(flag):
    flag("jax_custom_vjp3")

    @jax.custom_vjp
    def fun(x: Any, y: Any) -> tuple:
        return x, y

    def back(_: Any, g: tuple) -> tuple:
        assert type(g[1]) is jax.custom_derivatives.SymbolicZero
        return g

    fun.defvjp(lambda x, y: (fun(x.value, y.value), None), back, symbolic_zeros=True)
    ones = bp.grad(lambda x, y: jax.vmap(fun)(x, y)[0].sum())(X, X)
    np.testing.assert_array_equal(ones, jnp.ones_like(X))


@pytest.mark.skipif(not hasattr(jax.config, "jax_custom_jvp3"), reason="new in jax 0.12")
def test_a_custom_jvp_that_is_a_high_primitive(flag):
    @jax.custom_jvp
    def fun(x: Any) -> Any:
        return jnp.sin(x)

    fun.defjvp(lambda primals, tangents: (fun(*primals), 100 * primals[0] * tangents[0]))
    flag("jax_custom_jvp3")
    for gradient in (bp.grad, lambda f: jax.jit(bp.grad(f))):
        np.testing.assert_allclose(gradient(lambda x: jnp.sum(fun(x)))(X), 100 * X)


def test_what_is_staged_by_hand_has_a_derivative():
    """What `jax.jit(f).trace(x)` returns is, on jax 0.12, called by a primitive of its own."""
    traced = jax.jit(lambda x: jnp.sin(x).sum()).trace(X)
    np.testing.assert_allclose(bp.grad(lambda x: traced(x))(X), jnp.cos(X), rtol=1e-6)
