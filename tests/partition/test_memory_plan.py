"""`memory_plan`: what it says is what the programs do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp

X = np.zeros((4, 8), np.float32)
W = np.zeros((8, 8), np.float32)


def network(w, x, name="tanh"):
    for _ in range(3):
        x = getattr(jnp, name)(x @ w)
    return jnp.sum(x)


def recurrent(w, h, xs):
    def step(h, x):
        return jnp.tanh(w @ h + x) * h, None

    return jnp.sum(lax.scan(step, h, xs)[0])


def test_each_value_has_a_reason_and_a_place():
    plan = bp.memory_plan(network, W, X)
    rows = {(e.made_by, e.why, e.count, e.bytes) for e in plan.kept}
    assert rows == {
        ("argument", "there anyway", 1, W.nbytes),
        ("argument", "there anyway", 1, X.nbytes),
        ("tanh", "read on the way back", 3, 3 * X.nbytes),
    }
    places = {e.made_by: e.written_at for e in plan.kept}
    assert places["argument"] in ("args[0]", "args[1]")
    assert "test_memory_plan.py:17" in places["tanh"]
    assert (plan.bytes, plan.operations) == (3 * X.nbytes, 0)
    assert plan.forward == 3 * (2 * 4 * 8 * 8 + 32) + 32


def test_arguments_that_are_not_differentiated_or_no_arrays():
    plan = bp.memory_plan(network, W, X, "sin", argnums=1)
    assert {e.written_at for e in plan.kept if e.made_by == "argument"} == {"args[0]"}
    structs = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (W, X))
    assert bp.memory_plan(network, *structs, name="sin", argnums=1) == plan


def test_what_a_loop_keeps_and_runs_again_counts_its_trips():
    xs = np.zeros((10, 8), np.float32)
    plan = bp.memory_plan(recurrent, W, X[0], xs)
    assert plan.bytes == xs.nbytes, "the carry of every trip"
    again = {e.made_by: (e.count, e.operations, e.why) for e in plan.again}
    assert again["dot_general"] == (10, 10 * 2 * 8 * 8, "cheaper than to keep it")
    assert again["tanh"] == (10, 10 * 8, "cheaper than to keep it")
    segments = bp.memory_plan(bp.checkpoint(recurrent, segments=2), W, X[0], xs)
    assert segments.bytes == 2 * X[0].nbytes


@pytest.mark.parametrize("remat", ["auto", "full", jax.checkpoint_policies.dots_saveable])
def test_less_is_kept_the_more_is_computed_again(remat):
    def chain(x):
        for _ in range(30):
            x = jnp.sin(x)
        return jnp.sum(x)

    plain, plan = bp.memory_plan(chain, X), bp.memory_plan(chain, X, remat=remat)
    assert plan.bytes < plain.bytes / 3
    assert plan.operations > 20 * X.size


def test_as_text():
    text = str(bp.memory_plan(network, W, X))
    head = "memory plan of network, remat=None\n\nkept: 384 B, and 384 B of what is given\n"
    assert text.startswith(head)
    assert text.endswith("computed again: 0 operations, 0 % of the way forward")
    assert "<pre>" in bp.memory_plan(network, W, X)._repr_html_()
