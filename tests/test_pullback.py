"""What `bp.vjp` returns is a pytree: it goes in and out of compiled functions, as JAX's does."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

import backprop_jax as bp
from backprop_jax.pullbacks import NotNeeded


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


# -- what it keeps, and what it hands over -------------------------------------------------
def product(p: dict, y: Any) -> Any:
    return jnp.sum(jnp.exp(p["a"] * y))


def test_primals_may_be_taken_out_and_put_back():
    p, y = {"a": jnp.arange(3.0), "b": jnp.ones(2)}, jnp.array([0.5, 1.0, -1.0])
    _, pullback = bp.vjp(product, p, y)
    expected = pullback(1.0)
    kept = pullback.args_res
    assert kept[0]["a"] is p["a"]
    assert kept[1] is y
    assert isinstance(kept[0]["b"], NotNeeded)
    assert pullback.opaque_residuals, "the exponential is kept, too"
    pullback.args_res = [None, None]
    with pytest.raises(ValueError, match="has been taken out of args_res"):
        pullback(1.0)
    pullback.args_res = [p, y]
    jax.tree.map(np.testing.assert_array_equal, pullback(1.0), expected)


def test_what_is_laid_open_passes_through_jit():
    @jax.jit
    def forward(x: Any) -> Any:
        y, pullback = bp.vjp(lambda x: jnp.sum(x * x * x), x)
        pullback.args_res = [None]
        return y, pullback

    @jax.jit
    def back(pullback: Any, x: Any) -> Any:
        pullback.args_res = [x]
        return pullback(1.0)

    x = jnp.arange(3.0)
    np.testing.assert_allclose(back(forward(x)[1], x)[0], 3 * x**2)


def test_cotangents_are_added_to_references():
    x, y = jnp.arange(3.0), jnp.ones(3)
    _, pullback = bp.vjp(lambda x, y: x * y, x, y)
    total = jax.ref.new_ref(jnp.full(3, 10.0))
    first, second = pullback.with_refs(total, jax.ad.DontWant())(2 * y)
    assert isinstance(first, jax.ad.GradRef)
    assert isinstance(second, jax.ad.DidntWant)
    np.testing.assert_array_equal(total[...], [12.0, 12.0, 12.0])
    _, second = pullback.with_refs(total, jax.ad.GradValue())(y)
    np.testing.assert_array_equal(second, x)
    np.testing.assert_array_equal(total[...], [13.0, 13.0, 13.0])


def test_what_is_not_wanted_is_not_computed():
    """Nor is a compiled function a step of a program that is staged: both stand in its place."""
    x, y = jnp.arange(3.0), jnp.ones(3)
    _, pullback = bp.vjp(jax.jit(lambda x, y: jnp.multiply(x, y)), x, y)
    for wanted, steps in {jax.ad.GradValue(): ["mul", "mul"], jax.ad.DontWant(): ["mul"]}.items():
        back = pullback.with_refs(wanted, jax.ad.GradValue())
        jaxpr = jax.make_jaxpr(lambda g, back=back: back(g)[1])(y)
        assert [str(equation.primitive) for equation in jaxpr.eqns] == steps


def test_with_refs_wants_an_entry_for_each_leaf():
    _, pullback = bp.vjp(lambda x, y: x * y, 1.0, 2.0)
    with pytest.raises(ValueError, match="one entry for each leaf of the primals of <lambda>"):
        pullback.with_refs(jax.ad.DontWant())
    with pytest.raises(TypeError, match="with_refs takes mutable references"):
        pullback.with_refs(jax.ad.DontWant(), "both")(1.0)


def test_with_refs_wants_references_of_the_type_of_the_cotangents():
    _, pullback = bp.vjp(jnp.sum, jnp.zeros(3))
    for wrong in (jnp.zeros(4), jnp.zeros(3, "int32")):
        with pytest.raises(ValueError, match="requires a ref of type"):
            pullback.with_refs(jax.new_ref(wrong))


def test_primals_may_be_put_back_as_numbers():
    _, pullback = bp.vjp(lambda x, y: x * y, 2.0, 3.0)
    pullback.args_res = [2.0, 3.0]
    assert [float(g) for g in jax.jit(lambda p: p(1.0))(pullback)] == [3.0, 2.0]


def test_a_primal_that_is_not_to_be_kept_is_put_back_before_the_call():
    x, d = jnp.arange(3.0), {"w": jnp.ones(3), "b": jnp.zeros(3)}
    fun = lambda x, d: d["w"] * x + d["b"]  # noqa: E731
    _, pullback = jax.jit(lambda x, d: bp.vjp(fun, x, d, saveable_args=(True, (True, False))))(x, d)
    assert [leaf.shape for leaf in jax.tree.leaves(pullback)] == [(3,)]
    with pytest.raises(ValueError, match=r"(?m)not-saveable primals .*: args\[1\]\['w'\]$"):
        pullback(x)
    pullback.args_res[1] = d
    of_x, of_d = pullback(x)
    np.testing.assert_array_equal(of_x, d["w"] * x)
    np.testing.assert_array_equal(of_d["w"], x * x)
    with pytest.raises(ValueError, match="saveable_args has 3 entries where the primals have 2"):
        bp.vjp(fun, x, d, saveable_args=(True, False, True))
    _, pullback = bp.vjp(fun, x, d, saveable_args=False)
    assert not jax.tree.leaves(pullback)


def test_a_primal_that_does_not_move_has_a_cotangent_of_zero():
    x, d = jnp.arange(3.0), {"w": jnp.ones(3), "b": jnp.zeros(3)}
    fun = lambda x, d: (d["w"] * x, {"b": jnp.sin(d["b"])})  # noqa: E731
    _, pullback = bp.vjp(fun, x, d, in_nzs=(True, (False, False)))  # by key: b, w
    assert pullback.out_nzs == (True, {"b": False})
    of_x, of_d = pullback((x, {"b": x}))
    np.testing.assert_array_equal(of_x, x)
    assert all((g == 0).all() and g.shape == (3,) for g in jax.tree.leaves(of_d))
    assert bp.vjp(fun, x, d)[1].out_nzs == (True, {"b": True})
    with pytest.raises(ValueError, match="in_nzs has 1 entries where the primals have 2"):
        bp.vjp(fun, x, d, in_nzs=(True,))


@pytest.mark.parametrize("x", [2.0, np.float32(2.0), np.full(3, 2.0, np.float32)], ids=str)
def test_a_compiled_function_may_differentiate_at_a_number_of_its_own(x):
    cube = lambda x: jnp.sum(x**3)  # noqa: E731
    np.testing.assert_array_equal(jax.jit(lambda: bp.grad(cube)(x))(), 3 * np.square(x))
    np.testing.assert_array_equal(jax.jit(lambda: bp.vjp(cube, x)[1](1.0)[0])(), 3 * np.square(x))


def through_a_reference(ref: Any, x: Any) -> Any:
    y = ref[0] * x
    ref[0] = 3 * x * ref[1]
    ref[1] += x
    return jnp.sin(ref[0]) * y


def test_a_reference_as_a_primal_gets_its_cotangents_in_another():
    """What that one holds before is the cotangent of what the first holds afterwards."""
    outcomes = []
    for module in (bp, jax):
        ref, g = jax.new_ref(jnp.array([1.0, 2.0])), jax.new_ref(jnp.array([5.0, -1.0]))
        y, pull = module.vjp(through_a_reference, ref, 0.7)
        _, g_x = pull.with_refs(g, jax.ad.GradValue())(2.0)
        outcomes.append((y, ref[...], g_x, g[...]))
    chex.assert_trees_all_close(*outcomes, rtol=1e-6)


def test_the_cotangent_of_a_reference_is_no_value():
    _, pull = bp.vjp(through_a_reference, jax.new_ref(X), 0.7)
    with pytest.raises(ValueError, match=r"args\[0\] of through_a_ref.* bind these by with_refs"):
        pull(1.0)
    with pytest.raises(ValueError, match="can't be returned as a value"):
        pull.with_refs(jax.ad.GradValue(), jax.ad.GradValue())
    unwanted, _ = pull.with_refs(jax.ad.DontWant(), jax.ad.GradValue())(1.0)
    assert isinstance(unwanted, jax.ad.DidntWant)
