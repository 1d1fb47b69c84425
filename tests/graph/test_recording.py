"""A recording is the gradient, taken apart: same numbers, every step and where it was met."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.graph.recording import Recording, record

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
W, X = RNG.normal(size=(3, 3)), RNG.normal(size=(4, 3))


@jax.custom_vjp
def wave(x: Any) -> Any:
    return x * jnp.sin(x)


wave.defvjp(lambda x: (wave(x), x), lambda x, g: (g * (jnp.sin(x) + x * jnp.cos(x)),))


def scanned(w: Any, x: Any) -> Any:
    def body(c: Any, x: Any) -> tuple:
        with jax.named_scope("cell"):
            c = jnp.tanh(c @ w + wave(x))
        return c, jax.nn.silu(c).sum()

    c, ys = lax.scan(body, jnp.ones(3), x, reverse=True)
    return c.sum() + (ys * jnp.arange(4.0)).sum()


def chosen(w: Any, x: Any) -> Any:
    doubled = lax.cond(x[0, 0] > 0, lambda y: y * 2, lambda y: jnp.exp(y), w)
    return lax.switch(7, [jnp.sin, jnp.cos], doubled).sum() * x.sum()


def ended(w: Any, x: Any) -> Any:
    grown = lax.while_loop(lambda c: jnp.sum(c**2) < 50, lambda c: c * 1.5 + w[0], x)
    together = jax.vmap(lambda c: lax.while_loop(lambda c: c < 3, lambda c: c * 1.5, c))
    return grown.sum() + together(jnp.abs(x[0]) + 0.1).sum()


def wrapped(w: Any, x: Any) -> Any:
    inner = jax.jit(lambda w: jax.checkpoint(lambda w: jnp.sin(w @ w))(w))
    return jnp.linalg.norm(inner(w)) + jnp.hypot(w, x[:3]).sum() + jnp.where(x > 0, x, 0).sum()


def of_reference(w: Any, x: Any) -> Any:
    total = jax.new_ref(jnp.zeros(()))

    def body(i: Any, c: Any) -> Any:
        total[...] += jnp.sum(c * w)
        return c * x[i]

    lax.fori_loop(0, 3, body, jnp.ones(3))
    return total[...]


FUNCTIONS = [scanned, chosen, ended, wrapped, of_reference]


def recorded(fun: Callable) -> Recording:
    return record(lambda *x: [fun(*x)], [W, X], [True, True], lambda z: [jnp.ones_like(z[0])])


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_the_gradient_is_that_of_grad(fun):
    found = recorded(fun)
    expected = bp.grad(fun, (0, 1))(W, X)
    for g, h in zip(found.gradients, expected, strict=True):
        np.testing.assert_allclose(g, h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_a_cotangent_is_the_sum_of_its_contributions(fun):
    found = recorded(fun)
    assert found.cotangents.keys() == found.contributions.keys()
    for slot, contributions in found.contributions.items():
        total = sum(c.value for c in contributions)
        np.testing.assert_allclose(found.cotangents[slot], total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_a_step_can_be_run_again(fun):
    for step in recorded(fun).steps:
        for _ in range(2):
            again = step.function(*step.values)
            for x, y in zip(again, step.results, strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-13)


def test_a_step_knows_where_it_was_met():
    steps = [s for s in recorded(scanned).steps if str(s.primitive) == "custom_vjp_call"]
    assert [step.trips for step in steps] == [(3,), (2,), (1,), (0,)]
    step = steps[0]
    code = wave.__wrapped__.__code__
    file, line = step.line
    assert file.endswith("test_recording.py") and 0 < line - code.co_firstlineno < 15
    assert step.source_function.endswith("body")
    assert step.names == "cell"
    assert step.where().endswith("scan trip 3 of 4")


def test_the_branch_taken_is_named():
    (sine,) = (s for s in recorded(chosen).steps if str(s.primitive) in ("sin", "cos"))
    assert str(sine.primitive) == "cos"
    assert str(sine.scopes[-1]) == "cond branch 1"


def test_what_the_way_back_passes_by_has_no_cotangent():
    tests = [s for s in recorded(ended).steps if "while" not in map(str, s.scopes)]
    assert any(s.cotangents is None for s in tests)


def test_numbers_are_asked_for():
    with pytest.raises(TypeError, match="a recording wants numbers"):
        jax.jit(lambda x: recorded_at(x))(X)


def recorded_at(x: Any) -> Any:
    return record(lambda w: [jnp.sum(w * x)], [W[0]], [True], lambda z: [jnp.ones(())]).gradients
