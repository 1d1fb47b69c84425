"""`lax.ragged_all_to_all`, which a CPU does not run: here it does, as its docstring has it."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core.primitives import ragged_all_to_all_p
from jax.interpreters import batching

import backprop_jax as bp
from tests.rules.jaxprs import equations

pytestmark = pytest.mark.usefixtures("x64", "exchanges_run")

#: Who sends to whom which rows, from the first to before the last, and where they are written.
PIECES = {
    "of a row or two": [
        (0, 0, 0, 1, 0),
        (0, 1, 1, 3, 0),
        (0, 1, 3, 5, 2),
        (1, 0, 0, 1, 1),
        (1, 0, 0, 1, 4),
        (1, 1, 1, 2, 4),
    ],
    "out of order": [
        (0, 0, 4, 5, 3),
        (0, 0, 3, 4, 5),
        (0, 1, 0, 2, 2),
        (0, 1, 2, 3, 0),
        (1, 0, 3, 4, 4),
        (1, 0, 0, 2, 0),
        (1, 1, 4, 5, 4),
        (1, 1, 1, 2, 5),
    ],
    "empty ones that start with others": [
        (0, 0, 0, 0, 0),
        (0, 0, 0, 3, 0),
        (0, 1, 3, 5, 0),
        (0, 1, 3, 3, 0),
        (1, 0, 3, 5, 3),
        (1, 0, 3, 3, 3),
        (1, 1, 3, 3, 2),
        (1, 1, 0, 3, 2),
    ],
    "rows sent to both": [(0, 0, 0, 3, 0), (0, 1, 0, 3, 0), (1, 0, 1, 4, 3), (1, 1, 1, 4, 3)],
    "rows within rows": [
        (0, 0, 0, 4, 1),
        (0, 1, 1, 2, 0),
        (1, 0, 4, 5, 5),
        (1, 1, 3, 4, 1),
        (1, 1, 0, 4, 2),
    ],
    "rows that overlap": [
        (0, 0, 0, 2, 0),
        (0, 0, 1, 2, 2),
        (0, 1, 0, 3, 0),
        (0, 1, 3, 4, 3),
        (1, 0, 2, 3, 3),
        (1, 0, 1, 3, 4),
        (1, 1, 0, 1, 4),
        (1, 1, 4, 5, 5),
    ],
}


def arrays(sent: list[tuple]) -> list[np.ndarray]:
    """Returns starts, sizes, places and sizes of what comes in: two pieces from each to each."""
    starts, sizes, places = np.zeros((3, 2, 2, 2), int)
    met = Counter()
    for source, target, first, last, place in sent:
        k = source, target, met[source, target]
        starts[k], sizes[k], places[k] = first, last - first, place
        met[source, target] += 1
    return [a.reshape(2, 4) for a in (starts, sizes, places, sizes.swapaxes(0, 1))]


def written(
    sent: jax.Array, result: jax.Array, starts: jax.Array, sizes: jax.Array, places: jax.Array
) -> jax.Array:
    """Returns what all instances have after the exchange, of what all of them gave."""
    n, k = len(sent), starts.shape[1]
    shape = (n, n, k // n, 1, 1)  # source, target, piece, row of the result, row of what is sent
    starts, sizes, places = (a.reshape(shape) for a in (starts, sizes, places))
    rows, read = jnp.arange(result.shape[1])[:, None], jnp.arange(sent.shape[1])
    moved = (rows >= places) & (rows < places + sizes) & (read == rows - places + starts)
    numbers = jnp.where(moved, 1 + jnp.arange(n * k).reshape(shape), 0)
    moved &= numbers == jnp.max(numbers, axis=(0, 2, 4), keepdims=True)  # the last one stays
    came = jnp.einsum("stkmn,sna->tma", moved, sent)
    return jnp.where(jnp.any(moved, axis=(0, 2, 4))[..., None], came, result)


@pytest.fixture
def exchanges_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets `vmap` run exchanges along its axis: JAX asks one to request the feature."""

    def batched(axis: Any, values: tuple, dims: tuple, **params: Any) -> tuple:
        del params
        *values, _ = map(partial(batching.bdim_at_front, size=axis.size), values, dims)
        return written(*values), 0

    monkeypatch.setitem(batching.fancy_primitive_batchers, ragged_all_to_all_p, batched)
    yield


def exchange(x: jax.Array, y: jax.Array, *pieces: jax.Array) -> jax.Array:
    return lax.ragged_all_to_all(jnp.sin(x), y * y, *pieces, axis_name="i") ** 2


def ours(x: jax.Array, y: jax.Array, g: jax.Array, *pieces: jax.Array) -> tuple:
    def back(x: jax.Array) -> tuple:
        return bp.vjp(lambda x, y: exchange(x, y, *pieces), x, y)[1](g)

    return *back(x), bp.grad(lambda x: jnp.sum(jnp.cos(back(x)[0])))(x)


def theirs(x: jax.Array, y: jax.Array, g: jax.Array, *pieces: jax.Array) -> tuple:
    """Outside of `vmap` JAX sees what the exchange is made of."""

    def back(x: jax.Array) -> tuple:
        across = jax.vmap(exchange, axis_name="i")
        return jax.vjp(lambda x, y: across(x, y, *pieces), x, y)[1](g)

    return *back(x), jax.grad(lambda x: jnp.sum(jnp.cos(back(x)[0])))(x)


def test_every_row_that_was_sent_gets_what_all_say_of_it() -> None:
    draw = np.random.default_rng(3).normal
    operands = draw(size=(2, 5, 2)), draw(size=(2, 6, 2)), draw(size=(2, 6, 2))
    ways = jax.jit(jax.vmap(ours, axis_name="i")), jax.jit(theirs)
    for case, sent in PIECES.items():
        found, expected = (way(*operands, *arrays(sent)) for way in ways)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13, err_msg=case)


def test_groups_are_kept_to_on_the_way_back() -> None:
    """JAX runs them on no axis of a `vmap`."""
    groups, names = ((0, 1), (2, 3)), {"all_to_all", "ragged_all_to_all"}

    def loss(x: jax.Array, y: jax.Array, *pieces: jax.Array) -> jax.Array:
        options = {"axis_name": "i", "axis_index_groups": groups}
        return jnp.sum(lax.ragged_all_to_all(x, y, *pieces, **options))

    operands = jnp.ones((5, 2)), jnp.ones((6, 2)), *[jnp.ones(2, int)] * 4
    jaxpr = jax.make_jaxpr(bp.grad(loss, (0, 1)), axis_env=[("i", 4)])(*operands)
    exchanges = [e for e in equations(jaxpr.jaxpr) if str(e.primitive) in names]
    assert {str(e.primitive) for e in exchanges} == names
    assert all(e.params["axis_index_groups"] == groups for e in exchanges)
