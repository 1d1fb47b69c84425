"""`on_nonfinite=`: told once, eagerly and within compiled programs, and nothing else changes."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.taps.alarm import NonFinite, wait

WEIGHTS = np.linspace(-1, 1, 12).reshape(3, 4).astype("float32")
GOOD, BAD = np.ones(4, "float32"), np.array([0, 1, 0, 1], "float32")


def loss(weights, x, scale=1.0):
    def step(h, w):
        h = h * w + jnp.sqrt(x)
        return h, jnp.sum(h)

    return scale * jnp.sum(lax.scan(step, x, weights)[1])


def told(**options):
    """Returns a list that reports are added to, and the gradient that adds them."""
    reports = []
    return reports, bp.value_and_grad(loss, argnums=1, on_nonfinite=reports.append, **options)


MODES = {
    "eager": lambda f: f,
    "jit": jax.jit,
    "closed over": lambda f: lambda w, x: jax.jit(lambda w: f(w, x))(w),
}


@pytest.mark.parametrize("mode", MODES)
def test_told_once_of_a_gradient_that_is_not_finite(mode):
    reports, plain = told()
    run = MODES[mode](plain)
    for x in (GOOD, BAD, BAD):
        value, gradient = run(WEIGHTS, x)
        expected = bp.value_and_grad(loss, argnums=1)(WEIGHTS, x)
        np.testing.assert_allclose(value, expected[0], rtol=1e-6)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-6)
    wait()
    assert len(reports) == (1 if mode.startswith("jit") else 2)
    birth = reports[0].births[0]
    assert birth.derivative_of == ("sqrt",)
    assert f"test_alarm.py:{loss.__code__.co_firstlineno + 2}:" in birth.written_at
    assert reports[0].reached == ("the gradient of args[1]",)


def test_warns():
    with pytest.warns(NonFinite, match="infinity born in 'div', on the way back through sqrt"):
        bp.grad(loss, argnums=1, on_nonfinite="explain")(WEIGHTS, BAD)


def test_says_nothing_of_what_is_finite_and_costs_a_test_only():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bp.grad(loss, argnums=1, on_nonfinite="explain")(WEIGHTS, GOOD)
    gradient = bp.value_and_grad(loss, argnums=1, on_nonfinite="explain")
    plain = jax.make_jaxpr(bp.value_and_grad(loss, argnums=1))(WEIGHTS, GOOD)
    program = jax.make_jaxpr(gradient)(WEIGHTS, GOOD)
    added = [e.primitive.name for e in program.eqns[len(plain.eqns) :]]
    cheap = {"is_finite", "not", "reduce_or", "or", "convert_element_type", "stop_gradient", "cond"}
    assert set(added) <= cheap
    nothing = jax.make_jaxpr(bp.value_and_grad(loss, argnums=1, on_nonfinite=None))(WEIGHTS, GOOD)
    assert str(nothing) == str(plain)


def test_by_vmap_keys_names_and_double_precision(x64):
    reports = []

    def noisy(weights, key, *, x):
        return loss(weights, x) + jnp.sum(jax.random.normal(key, (2,))), {"x": x}

    run = bp.grad(noisy, argnames="x", has_aux=True, on_nonfinite=reports.append)
    xs = np.stack([GOOD, BAD]).astype("float64")
    keys = jax.random.split(jax.random.key(0), 2)
    each = jax.jit(jax.vmap(lambda key, x: run(WEIGHTS, key, x=x)))
    gradient, aux = each(keys, xs)
    wait()
    assert not np.isfinite(gradient).all()
    (report,) = reports
    assert report.reached == ("the gradient of kwargs['x']",)
    assert report.births[0].operands[0].kind == "float64[4]"
    np.testing.assert_array_equal(aux["x"], xs)


def test_zero_times_inf_and_hooks_are_those_of_the_gradient():
    safe, run = told(zero_times_inf="zero", hooks={"sqrt": lambda g: 0 * g})
    jax.jit(run)(WEIGHTS, BAD)
    wait()
    assert not safe


def test_higher_order_does_not_break():
    reports, run = told()
    second = bp.grad(lambda x: jnp.sum(run(WEIGHTS, x)[1] ** 2))
    plain = bp.grad(lambda x: jnp.sum(bp.grad(loss, argnums=1)(WEIGHTS, x) ** 2))
    np.testing.assert_allclose(jax.jit(second)(GOOD), jax.jit(plain)(GOOD), rtol=1e-6)
    wait()
    assert not reports


def test_another_option_is_refused():
    with pytest.raises(ValueError, match="on_nonfinite='explian' is not known"):
        bp.grad(loss, on_nonfinite="explian")
