"""`remat=` in compiled programs: XLA's own plan says that what is not kept takes no memory."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax import errors
from backprop_jax.partition.peak import peak_bytes
from tests.rules.jaxprs import primitives

X = np.linspace(0, 1, 1 << 10, dtype=np.float32)


def temporaries(fun: Callable, *operands: Any) -> int:
    return jax.jit(fun).lower(*operands).compile().memory_analysis().temp_size_in_bytes


def chain(x: Any) -> Any:
    for _ in range(40):
        x = jnp.tanh(x) + 0.3 * x
    return jnp.sum(x)


def waves(x: Any) -> Any:
    for _ in range(50):
        x = jnp.tanh(jnp.sin(x) * 1.1) + 0.1
    return jnp.mean(x)


@pytest.mark.parametrize("remat", ["auto", "full"])
@pytest.mark.parametrize(("fun", "most"), [(chain, 0.4), (waves, 0.25)])
def test_a_chain_takes_a_third_of_the_memory(fun, most, remat):
    """XLA would find what is computed again among what it has, were there no fence."""
    x = np.zeros(1 << 14, np.float32)
    plain = temporaries(bp.value_and_grad(fun), x)
    assert temporaries(bp.value_and_grad(fun, remat=remat), x) < most * plain


@pytest.mark.parametrize("first", range(1, 5))
def test_wherever_a_segment_begins_its_cotangent_is_made_whole(first):
    """XLA would make the one number that the fence asks for apart, and all the rest at the end."""

    def within(x: Any) -> Any:
        steps = [jnp.sin, lambda x: 1.1 * x, jnp.tanh, lambda x: x + 0.1] * 24
        for i in range(first, len(steps), 24):
            x = jax.checkpoint(lambda x, own=steps[i : i + 24]: functools.reduce(apply, own, x))(x)
        return jnp.mean(x)

    x = np.zeros(1 << 14, np.float32)
    assert temporaries(bp.value_and_grad(within), x) < 10 * x.nbytes


def apply(x: Any, fun: Callable) -> Any:
    return fun(x)


def test_a_loop_in_segments_keeps_the_root():
    def loop(x: Any) -> Any:
        return jnp.sum(lax.scan(lambda x, _: (jnp.sin(x), None), x, length=400)[0])

    x = np.zeros(1 << 10, np.float32)
    plain = temporaries(bp.grad(loop), x)
    assert temporaries(bp.grad(bp.checkpoint(loop, segments=20)), x) < 0.15 * plain


@pytest.mark.parametrize("remat", ["auto", "full"])
def test_a_loop_in_segments_runs_forward_once(remat):
    """And once more on the way back: what keeps its carries is what makes its results."""

    def loop(x: Any) -> Any:
        return jnp.sum(lax.scan(lambda x, _: (jnp.sin(x), x), x, length=16)[0])

    fun = bp.checkpoint(loop, remat=remat, segments=4)
    assert primitives(jax.make_jaxpr(bp.grad(fun))(np.ones(4)).jaxpr)["sin"] == 2


def test_what_a_call_takes_over_and_gives_back_counts_once():
    """A function that is called reads its operand for the last time, and makes the result."""
    inner = jax.jit(lambda x: jnp.exp(jnp.sin(x)))
    called = jax.make_jaxpr(lambda x: jnp.sum(inner(jnp.cos(x))))(X)
    plain = jax.make_jaxpr(lambda x: jnp.sum(jnp.exp(jnp.sin(jnp.cos(x)))))(X)
    assert peak_bytes(called.jaxpr) == peak_bytes(plain.jaxpr) == 2 * X.nbytes


def test_a_budget_for_a_loop_counts_the_way_back_as_it_is():
    """Of 64 trips the carries of 8, and those of 8 trips at a time, a cotangent, what is made."""

    def loop(x: Any) -> Any:
        return jnp.sum(lax.scan(lambda x, _: (jnp.sin(x), None), x, length=64)[0])

    most = 24 * X.nbytes
    assert temporaries(bp.grad(loop, remat=most), X) < most < temporaries(bp.grad(loop), X)
    with pytest.raises(errors.BudgetTooSmall):
        bp.grad(loop, remat=16 * X.nbytes)(X)
