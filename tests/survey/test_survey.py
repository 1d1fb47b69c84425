"""Public functions of JAX, at easy points and at hard corners: our gradients against differences.

Some calls are in the fast half, some of the others in the slow one, and with SURVEY=all in the
environment they all are, in a quarter of an hour. What we cannot do is in
`backprop_jax.check.corners`, with the reason; it is tried all the same, and must fail.
"""

import functools
import os
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backprop_jax as bp
from backprop_jax.check.corners import FIRST, SECOND
from backprop_jax.errors import BackpropError
from tests.survey.call import Call
from tests.survey.calls import CALLS, lax_, numpy_

pytestmark = pytest.mark.usefixtures("x64")

#: Those of jax.numpy and jax.lax compile in a moment; igamma and its like, at second order, do not.
FAST = [call for call in [*numpy_.CALLS, *lax_.CALLS][::8] if not call.heavy]
REST = [call for call in CALLS if call not in FAST]
EVERY = 1 if os.environ.get("SURVEY") == "all" else 32
SLOW = [c for i, c in enumerate(REST) if i % EVERY == 0 or c.name in {**FIRST, **SECOND}]


def inner(gradients: tuple, direction: tuple) -> jax.Array:
    """Returns the slope along a direction, given the gradients."""
    return sum(jnp.sum(g * v).real for g, v in zip(gradients, direction, strict=True))


def slopes(call: Call, order: int, *values: jax.Array) -> tuple:
    """Returns the call's value, and its slopes of first and second order along fixed directions."""
    numbers = tuple(range(len(values)))

    def first(*values: jax.Array) -> tuple:
        value, gradients = bp.value_and_grad(call.scalar, argnums=numbers)(*values)
        return inner(gradients, call.direction(1)), value

    if order == 1:
        slope, value = first(*values)
        return value, slope
    (slope, value), gradients = bp.value_and_grad(first, argnums=numbers, has_aux=True)(*values)
    return value, slope, inner(gradients, call.direction(2))


def check(call: Call, order: int) -> None:
    """Raises if a slope cannot be had, or differs from the difference quotient of the order below.

    What cannot be measured is only computed.
    """
    run = jax.jit(functools.partial(slopes, call, order))
    here = [float(v) for v in run(*call.values())]
    for k in range(1, order + 1):
        if k > call.orders:
            continue
        ahead, behind = (
            run(*(x + np.asarray(step * v, x.dtype) for x, v in zip(call.values(), v, strict=True)))
            for v in [call.direction(k)]
            for step in (call.step, -call.step)
        )
        measured = float(ahead[k - 1] - behind[k - 1]) / (2 * call.step)
        scale = max(abs(measured), 1e-2 * abs(here[k - 1]), 1e-3)
        off = abs(here[k] - measured)
        assert off <= call.rtol * scale, f"order {k}: ours is {here[k]}, the difference {measured}"


@pytest.mark.parametrize("call", FAST, ids=lambda call: call.name)
def test_agrees_with_the_difference(call):
    if call.name not in {**FIRST, **SECOND}:
        check(call, 2)


@pytest.mark.slow
@pytest.mark.parametrize("call", SLOW, ids=lambda call: call.name)
def test_others_agree_with_the_difference(call):
    if call.name in FIRST:  # TypeError, IndexError: within a rule of JAX's own
        with pytest.raises((BackpropError, AssertionError, TypeError, IndexError)):
            check(call, 1)
    elif call.name in SECOND:
        check(call, 1)
        with pytest.raises((BackpropError, AssertionError, jax.errors.JAXTypeError)):
            check(call, 2)
    else:
        check(call, 2)


def test_every_call_has_a_name_of_its_own():
    twice = [name for name, count in Counter(call.name for call in CALLS).items() if count > 1]
    assert not twice
    assert {*FIRST, *SECOND} <= {call.name for call in CALLS}
