"""What instances of a program say to each other: gradients under `vmap` with a named axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.interpreters import batching

import backprop_jax as bp
from backprop_jax.rules.parallel import pbroadcast_p

pytestmark = pytest.mark.usefixtures("x64")

N = 4
TURN = [(i, (i + 1) % N) for i in range(N)]

#: Primitives that stand in a jaxpr under a named axis only, so that the table has no row for them.
COLLECTIVE = {
    *("psum", "pmax", "pmin", "ppermute", "pbroadcast", "all_gather", "reduce_scatter"),
    *("all_to_all", "ragged_all_to_all"),
}

TALKS = {
    "psum": lambda x: lax.psum(x * x, "i"),
    "pmean": lambda x: lax.pmean(x * x, "i"),
    "ppermute": lambda x: lax.ppermute(x * x, "i", TURN),
    "all_gather": lambda x: lax.all_gather(x * x, "i"),
    "all_gather, tiled": lambda x: lax.all_gather(x * x, "i", axis=0, tiled=True),
    "psum_scatter": lambda x: lax.psum_scatter(x * x, "i"),
    "psum_scatter, tiled": lambda x: lax.psum_scatter(x * x, "i", tiled=True),
    "all_to_all": lambda x: lax.all_to_all(x * x, "i", 0, 0),
}


#: Where the value is that all get: known, or, since jax 0.12, when the program runs.
SOURCES: list[Any] = [2]
if jax.__version_info__ >= (0, 12):
    SOURCES.append(np.int32(2))
    COLLECTIVE.add("pbroadcast_dynamic")


def draw() -> jax.Array:
    return jnp.asarray(np.random.default_rng(5).normal(size=(N, N)))


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
def test_agrees_with_jax_at_both_orders(talk: Callable) -> None:
    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(talk(x)) * jnp.sum(x))

    def orders(grad: Callable) -> tuple:
        second = grad(lambda x: jnp.sum(jnp.cos(grad(loss)(x))))
        return jax.vmap(grad(loss), axis_name="i")(draw()), jax.vmap(second, axis_name="i")(draw())

    for ours, theirs in zip(orders(bp.grad), orders(jax.grad), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("extremum", [lax.pmax, lax.pmin])
def test_the_extremum_gets_what_all_say_of_it(extremum: Callable) -> None:
    x = draw()
    ours = jax.vmap(bp.grad(lambda x: jnp.sum(extremum(x, "i") ** 2)), axis_name="i")(x)
    found = np.max(x, 0) if extremum is lax.pmax else np.min(x, 0)
    np.testing.assert_allclose(ours, np.where(x == found, N * 2 * found, 0), rtol=1e-15)


@pytest.mark.parametrize("source", SOURCES, ids=["known", "met"][: len(SOURCES)])
def test_the_source_gets_what_all_say_of_its_value(
    source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX's rule takes scalars alone, and its `vmap` no source that is known: it does here."""

    def batched(axis: Any, values: tuple, dims: tuple, *, axis_name: Any, source: int) -> tuple:
        del axis_name
        (x,) = map(jnp.moveaxis, values, dims, (0,))
        return jnp.broadcast_to(x[source], (axis.size, *x.shape[1:])), 0

    monkeypatch.setitem(batching.fancy_primitive_batchers, pbroadcast_p, batched)

    def copied(x: jax.Array) -> jax.Array:
        return lax.pbroadcast(x, "i", source)

    def added(x: jax.Array) -> jax.Array:
        return lax.psum(jnp.where(lax.axis_index("i") == 2, x, 0), "i")

    def orders(grad: Callable, copy: Callable) -> Callable:
        def loss(x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(copy(x * x)) * jnp.sum(x))

        return lambda x: (grad(loss)(x), grad(lambda x: jnp.sum(jnp.cos(grad(loss)(x))))(x))

    ours, theirs = (
        jax.vmap(orders(*way), axis_name="i")(draw())
        for way in ((bp.grad, copied), (jax.grad, added))
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
