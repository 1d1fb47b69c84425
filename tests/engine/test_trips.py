"""The way back through loops of any length, in few places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.rules import trips

pytestmark = pytest.mark.usefixtures("x64")
X = np.linspace(0.5, 1.5, 3)


def loop(x, n):
    """Returns the sum of x after n trips."""

    def once(state):
        return state[0] + 1, jnp.sin(state[1] * x) + 0.1 * state[1]

    return jnp.sum(lax.while_loop(lambda state: state[0] < n, once, (0, x))[1])


def unrolled(x, n):
    """Returns the same, for a number of trips that is known."""
    value = x
    for _ in range(n):
        value = jnp.sin(value * x) + 0.1 * value
    return jnp.sum(value)


@pytest.mark.parametrize("places", [2, 5, 8])
def test_any_number_of_trips(places):
    """Up to many more than there are places: a schedule off by one pulls through another trip."""
    gradient = jax.jit(bp.grad(bp.checkpoint(loop, segments=places)))
    expected = jax.jit(lambda x: [jax.grad(unrolled)(x, n) for n in (0, 1, 2, 4, 6, 15)])(X)
    for n, g in zip((0, 1, 2, 4, 6, 15), expected, strict=True):
        np.testing.assert_allclose(gradient(X, n), g, rtol=1e-12)


def test_trips_run_again_are_as_few_as_stated():
    """Of 100 blocks each 1.7 times with 32 places; of 1,000 each 2.5 times."""
    places = trips.Places(32)
    stride = jax.jit(lambda top, distance: places.stride(top, distance))
    for count, bound in ((100, 1.7), (1000, 2.5)):
        held, again = [0], 0
        for last in reversed(range(count)):
            while held[-1] != last:
                step = int(stride(np.int32(len(held) - 1), np.int32(last - held[-1])))
                held.append(held[-1] + step)
                again += step
                assert len(held) <= places.count
            if len(held) > 1:
                held.pop()
        assert again <= bound * count


def test_memory_does_not_grow_with_the_number_of_trips():
    def temporaries(n):
        compiled = jax.jit(lambda x: bp.grad(loop)(x, n)).lower(X).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(10) == temporaries(100_000)
