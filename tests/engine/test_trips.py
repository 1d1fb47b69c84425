"""The way back through loops of any length, in few places."""

import math

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


@pytest.mark.parametrize(("count", "bound"), [(1_000, 0.97), (1_500, 1.5), (100_000, 2.68)])
def test_trips_run_again_are_as_few_as_stated(count, bound):
    """With 32 places, filled on the way forward, in blocks of 32."""
    places = trips.Places(32)
    stride = jax.jit(lambda top, distance: places.stride(top, distance))
    blocks = -(-count // 32)
    distance = 2 ** max(0, math.ceil(math.log2(blocks / 32)))
    held, again = list(range(0, blocks, distance)), count - blocks
    for last in reversed(range(blocks)):
        while held[-1] != last:
            step = int(stride(np.int32(len(held) - 1), np.int32(last - held[-1])))
            held.append(held[-1] + step)
            again += 32 * step
            assert len(held) <= places.count
        if len(held) > 1:
            held.pop()
    assert again <= bound * count


@pytest.mark.parametrize("count", [0, 1, 5, 24, 25, 30, 100])
def test_places_are_filled_at_even_distances(count):
    """Of carries that are the number of trips, in six places and blocks of six."""
    start = [jnp.int32(0)]
    carry, n, (taken, distance, (held,)) = trips.run_and_keep(
        lambda carry: [carry[0] + 1], lambda carry: carry[0] < count, start, trips.Places(6)
    )
    assert carry == [count] and n == count
    blocks = -(-count // 6)
    assert taken == -(-blocks // int(distance)) and 3 * distance < max(blocks, 4)
    np.testing.assert_array_equal(held[: int(taken)], 6 * distance * np.arange(taken))


def test_memory_does_not_grow_with_the_number_of_trips():
    def temporaries(n):
        compiled = jax.jit(lambda x: bp.grad(loop)(x, n)).lower(X).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(10) == temporaries(100_000)


def test_within_another_loop_no_carry_is_kept_on_the_way():
    """There it would be kept for each trip of the other."""

    def outer(x, n):
        def trip(x, _):
            return lax.fori_loop(0, n, lambda _, x: jnp.sin(x) + 0.1 * x, x), None

        return jnp.sum(lax.scan(trip, x, length=100)[0])

    plan = bp.memory_plan(outer, X, np.int32(3))
    assert plan.bytes < 2 * 100 * X.nbytes
    expected = jax.grad(lambda x: outer(x, 3))(X)
    np.testing.assert_allclose(jax.jit(bp.grad(outer))(X, 3), expected, rtol=1e-12)


@pytest.mark.parametrize("counted", [True, False])
def test_a_sum_over_all_places_is_made_once(counted):
    """A trip adds to an array; the step's gradient is summed after the last one."""

    def pendulum(h, x, n):
        def once(_, state):
            x, v = state
            v = v - h * jnp.sin(x)
            return x + h * v, v

        return jnp.sum(lax.fori_loop(0, n, once, (x, x))[0])

    n = 7 if counted else np.int32(7)
    run = (lambda h, x: pendulum(h, x, 7)) if counted else (lambda h, x: pendulum(h, x, n))
    (loop,) = [
        e
        for e in jax.make_jaxpr(bp.grad(run))(0.1, X).eqns
        if e.primitive in (lax.scan_p, lax.while_p) and "cos" in str(e)
    ]
    assert "reduce_sum[axes=(0,)" not in str(loop)
    expected = jax.grad(lambda h: pendulum(h, X, 7))(0.1)
    np.testing.assert_allclose(jax.jit(bp.grad(run))(0.1, X), expected, rtol=1e-12)


def test_nested_loops_that_run_together():
    """Under vmap every example has its own number of trips, in the inner loop, too."""

    def nested(x, n):
        inner = lambda i, x: lax.fori_loop(0, i, lambda j, x: jnp.sin(x), x * 1.1)  # noqa: E731
        return lax.fori_loop(0, n, inner, x)

    x, n = jnp.array([0.3, 0.4, 0.5]), jnp.array([3, 0, 2])
    together = jax.jit(jax.vmap(bp.grad(nested)))(x, n)
    alone = [bp.grad(nested)(*pair) for pair in zip(x, n, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
