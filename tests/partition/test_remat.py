"""`remat=` and `checkpoint`: whatever is kept, the gradient is the same, and less is kept."""

import functools
import re
from collections.abc import Callable
from typing import Any

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import io_callback

import backprop_jax as bp
from backprop_jax import errors
from tests.rules.jaxprs import primitives

W = np.linspace(-0.5, 0.5, 16).reshape(4, 4)
XS = np.linspace(-1, 1, 28).reshape(7, 4)
X = XS[0]


def dense(w: Any, x: Any) -> Any:
    for _ in range(6):
        x = checkpoint_name(jnp.tanh(w @ x), "layer") + 0.3 * jnp.sin(x)
    return jnp.sum(x)


def recurrent(w: Any, x: Any, reverse: bool = False, length: int = 7) -> Any:
    def step(h: Any, x: Any) -> tuple:
        h = checkpoint_name(jnp.tanh(w @ h + x), "layer")
        return jnp.exp(h) * h, jnp.sum(h)

    h, ys = lax.scan(step, x, XS[:length], reverse=reverse)
    return jnp.sum(h) + jnp.sum(jnp.sin(ys))


def counted(w: Any, x: Any) -> Any:
    """A loop without stacked values, and one in it whose trips nobody knows."""

    def trip(i: Any, h: Any) -> Any:
        h = lax.while_loop(lambda h: jnp.sum(h**2) > 1, lambda h: 0.5 * h, w @ h + i)
        return jnp.cos(h)

    return jnp.sum(lax.fori_loop(0, 5, trip, x))


def branching(w: Any, x: Any) -> Any:
    x = lax.cond(jnp.sum(x) > 0, lambda x: jnp.sin(w @ x), lambda x: jnp.exp(w.T @ x), x)
    return jnp.sum(jax.nn.relu(jax.nn.softmax(w @ x)))


def random(w: Any, x: Any) -> Any:
    """Keys go from segment to segment."""
    key = jax.random.key(0)
    for _ in range(3):
        key, own = jax.random.split(key)
        x = jnp.where(jax.random.bernoulli(own, 0.7, x.shape), jnp.sin(w @ x), x)
    return jnp.sum(x)


PROGRAMS = {
    "dense": dense,
    "recurrent": recurrent,
    "recurrent reversed": functools.partial(recurrent, reverse=True),
    "one trip": functools.partial(recurrent, length=1),
    "no trip": functools.partial(recurrent, length=0),
    "counted": counted,
    "branching": branching,
    "random": random,
}
POLICIES = jax.checkpoint_policies
OFFLOAD = POLICIES.save_and_offload_only_these_names(
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=["layer"],
    offload_src="device",
    offload_dst="pinned_host",
)
CHOICES = [
    "auto",
    "full",
    "1GiB",
    10**9,
    POLICIES.everything_saveable,
    POLICIES.nothing_saveable,
    POLICIES.dots_saveable,
    POLICIES.dots_with_no_batch_dims_saveable,
    POLICIES.save_only_these_names("layer"),
    POLICIES.save_any_names_but_these("layer"),
    POLICIES.save_from_both_policies(
        POLICIES.dots_saveable, POLICIES.save_only_these_names("layer")
    ),
    OFFLOAD,
    POLICIES.offload_dot_with_no_batch_dims("device", "pinned_host"),
]


def gradient(fun: Callable, *operands: Any) -> Any:
    """Returns the gradient by finite trips of jax.grad, or ours where it has none."""
    engine = bp if fun is counted else jax
    return engine.grad(fun, (0, 1))(*operands)


def keeps_results_of(names: Any) -> Callable:
    """Returns the policy that lets the results of these primitives be kept, and no others."""
    return lambda primitive, *avals, **params: primitive.name in names


#: What `remat=` is drawn from: named choices, policies of any primitives, budgets from too few
#: bytes to more than enough.
REMATS = st.one_of(
    st.sampled_from(CHOICES),
    st.sets(
        st.sampled_from(["add", "cond", "dot_general", "exp", "mul", "scan", "sin", "tanh"])
    ).map(keeps_results_of),
    st.integers(1, 3_000),
)


@pytest.mark.slow
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
@hypothesis.given(st.sampled_from(sorted(PROGRAMS)), REMATS, st.sampled_from([None, 1, 2, 3, 7]))
def test_the_gradient_is_the_same_whatever_is_kept(name, remat, segments):
    fun = PROGRAMS[name]

    def got(remat: Any) -> Any:
        kept = bp.checkpoint(fun, remat=remat, segments=segments)
        return jax.jit(bp.grad(kept, (0, 1)))(W, X)

    with jax.enable_x64(True):
        try:
            found = got(remat)
        except errors.BudgetTooSmall as error:  # which says what suffices
            found = got(int(re.search(r"it needs (\d+)", str(error))[1]))
        chex.assert_trees_all_close(found, gradient(fun, W, X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("remat", ["auto", "full", POLICIES.dots_saveable])
def test_the_option_and_higher_orders(remat):
    with jax.enable_x64(True):
        value, got = bp.value_and_grad(dense, remat=remat)(W, X)
        np.testing.assert_allclose(value, dense(W, X), rtol=1e-14)
        np.testing.assert_allclose(got, jax.grad(dense)(W, X), rtol=1e-12)
        _, pullback = bp.vjp(dense, W, X, remat=remat)
        np.testing.assert_allclose(pullback(1.0)[1], jax.grad(dense, 1)(W, X), rtol=1e-12)
        kept = functools.partial(bp.checkpoint(recurrent, remat=remat), W)
        whole = functools.partial(recurrent, W)
        np.testing.assert_allclose(jax.jit(bp.hessian(kept))(X), jax.hessian(whole)(X), rtol=1e-9)
        rows = jax.jit(jax.vmap(bp.grad(kept)))(XS)
        np.testing.assert_allclose(rows, jax.vmap(jax.grad(whole))(XS), rtol=1e-12)


@pytest.mark.parametrize("fun", [recurrent, dense])
@pytest.mark.parametrize("policy", [POLICIES.dots_saveable, OFFLOAD], ids=["dots", "offload"])
def test_a_policy_reaches_into_loops(fun, policy):
    """As many products are run, and as many values moved to the host and back, as by JAX."""
    fun = jax.checkpoint(fun, policy=policy)
    ours, theirs = (primitives(jax.make_jaxpr(e.grad(fun))(W, X).jaxpr) for e in (bp, jax))
    for name in ("dot_general", "device_put"):
        assert ours[name] == theirs[name], name


def test_a_policy_reaches_into_branches():
    def fun(w: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(lax.cond(x[0] > 0, lambda x: w @ x, lambda x: w.T @ (w @ x), x)))

    kept = jax.checkpoint(fun, policy=POLICIES.dots_saveable)
    found = primitives(jax.make_jaxpr(bp.grad(kept))(W, X).jaxpr)
    assert found["dot_general"] == 3 + 4, "three forward, four back, none again"


@pytest.mark.parametrize("remat", [None, "full", POLICIES.dots_saveable])
@pytest.mark.parametrize("segments", [1, 4])
def test_so_many_carries_are_kept_and_no_more(remat, segments):
    """Of each segment where it starts; a policy, too, leaves it at that."""

    def loop(x: Any) -> Any:
        step = lambda x, _: (jnp.sin(W @ x), None)  # noqa: E731
        return jnp.sum(lax.scan(step, x, length=16)[0])

    plan = bp.memory_plan(bp.checkpoint(loop, remat=remat, segments=segments), X)
    assert plan.bytes <= segments * X.nbytes + W.nbytes


def test_a_budget_computes_again_as_little_as_fits():
    x = np.zeros((64, 64), np.float32)

    def products(x: Any) -> Any:
        for _ in range(8):
            x = jnp.sin(x @ x)
        return jnp.sum(x)

    def runs(remat: Any) -> int:
        program = jax.make_jaxpr(bp.grad(products, remat=remat))(x)
        return primitives(program.jaxpr)["dot_general"]

    assert runs("1GiB") == runs(None) == runs("auto") == 24
    assert runs("full") > 24
    assert runs(14 * x.nbytes) == runs("full")


@pytest.mark.parametrize("remat", ["atuo", "12 parsecs", -1, 1.5, True, b"1"])
def test_what_is_no_choice_is_said_at_once(remat):
    with pytest.raises(ValueError, match=r"remat=.* is not known; it may be None, 'auto'"):
        bp.grad(dense, remat=remat)


def test_a_budget_too_small_says_what_is_needed():
    needs = r"remat=10 is too few bytes.*dense: it needs \d+"
    with pytest.raises(errors.BudgetTooSmall, match=needs):
        bp.grad(dense, remat=10)(W, X)
    with pytest.raises(errors.BudgetTooSmall, match=needs):
        bp.memory_plan(dense, W, X, remat=10)


def test_options_that_exclude_each_other():
    with pytest.raises(ValueError, match="policy and remat say the same"):
        bp.checkpoint(dense, remat="auto", policy=POLICIES.dots_saveable)
    with pytest.raises(ValueError, match="do not go with"):
        bp.checkpoint(dense, remat="auto", static_argnums=1)
    with pytest.raises(ValueError, match="1 is the least"):
        bp.checkpoint(dense, segments=0)


def test_options_of_the_function_stay_what_they_are():
    """A text is no array: the function gets it as it is. It is traced once.

    One that cannot be the key of a dictionary may have changed: it is traced each time.
    """
    traced = []

    def fun(x: Any, name: str, *, power: int) -> Any:
        traced.append(name)
        return jnp.sum(getattr(jnp, name)(x) ** power)

    got = bp.grad(fun, remat="auto")
    for _ in range(2):
        np.testing.assert_allclose(got(X, "sin", power=2), jnp.sin(2 * X), rtol=1e-6)
    assert traced == ["sin"]
    given = bp.grad(lambda x, names: fun(x, *names, power=2), remat="auto")
    for _ in range(2):
        np.testing.assert_allclose(given(X, {"sin"}), jnp.sin(2 * X), rtol=1e-6)
    assert traced == ["sin"] * 3


def test_what_a_function_closes_over_has_its_gradient():
    def outer(w: Any) -> Any:
        return bp.checkpoint(lambda x: dense(w, x), remat="auto")(X)

    np.testing.assert_allclose(bp.grad(outer)(W), bp.grad(dense)(W, X), rtol=1e-5)


def test_a_checkpoint_tells_the_log_what_it_keeps(caplog):
    """In JAX's words; and with a policy that allows everything, what nobody reads is let go."""
    x = jnp.arange(3.0)
    only = lambda primitive, *_, **__: str(primitive) == "cos"  # noqa: E731
    for policy, inputs, kept in (
        (None, True, []),
        (lambda *_, **__: True, False, ["sin", "cos"]),
        (only, True, ["cos"]),
    ):
        caplog.clear()
        with caplog.at_level("DEBUG", logger="backprop_jax"):
            bp.grad(jax.checkpoint(lambda x: jnp.cos(jnp.sin(x).sum()), policy=policy))(x)
        (line,) = [r.getMessage() for r in caplog.records if "remat-decorated" in r.getMessage()]
        assert ("saving inputs with shapes:\n  float32[3]" in line) == inputs
        assert ("saving these intermediates" in line) == bool(kept)
        assert re.findall(r"output of (\w+)", line) == kept


def test_the_way_back_of_a_checkpoint_is_one_too():
    def kept(fun):
        _, pullback = jax.eval_shape(lambda x: bp.vjp(bp.grad(fun), x), X)
        return len(jax.tree.leaves(pullback))

    chain = functools.partial(dense, W)
    few = kept(lambda x: jax.checkpoint(chain)(jnp.sin(x)))
    assert few < 10 < kept(lambda x: chain(jnp.sin(x)))


def test_a_function_called_where_nothing_is_kept_stays_one():
    """And all that it takes passes the fence: of what it computes, some depends on one alone."""
    fun = jax.checkpoint(jax.jit(lambda x, w: jnp.sum(jnp.sin(jnp.sin(x) * jnp.cos(w)))))
    x = w = jnp.ones(3)
    jaxpr = jax.make_jaxpr(bp.grad(fun, (0, 1)))(x, w)
    *_, back = jaxpr.eqns
    fenced, *called = (equation for equation in back.params["jaxpr"].eqns)
    assert [equation.primitive.name for equation in called] == ["jit", "jit"]
    assert {"sin", "cos"} == {e.primitive.name for e in called[0].params["jaxpr"].eqns} - {
        "mul",
        "reduce_sum",
    }
    assert [v.aval.shape for v in fenced.outvars] == [(3,), (3,), ()]  # and the cotangent


@pytest.mark.parametrize("named", [False, True])
def test_an_operand_that_prevent_cse_names_stands_behind_a_barrier(named):
    times = jax.checkpoint(lambda w, x: w @ x, prevent_cse=(False, named))
    text = jax.jit(bp.grad(lambda w, x: jnp.sum(times(w, x) ** 2))).lower(W, X).as_text()
    assert ("optimization_barrier" in text) == named


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("inner", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_what_a_callback_has_returned_is_kept(inner, ordered):
    """Called once more, it may return something else. `jax.grad` refuses such a checkpoint."""
    calls = []

    def next_number(x):
        calls.append(x)
        return np.float32(len(calls))

    @jax.checkpoint
    @inner
    def f(x):
        z = io_callback(next_number, jax.ShapeDtypeStruct((), "float32"), 1.0, ordered=ordered)
        return jnp.sin(jnp.sin(x) * z)

    gradient = jax.jit(bp.grad(f))(2.0)
    jax.effects_barrier()
    assert len(calls) == 1
    np.testing.assert_allclose(gradient, np.cos(np.sin(2.0)) * np.cos(2.0), rtol=1e-5)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("around", ["checkpoint", "scan", "cond", "remat"])
def test_a_callback_of_a_rule_without_a_result_is_called_on_the_way_back(around, ordered):
    seen = []

    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    def back(cosine, g):
        io_callback(lambda g: seen.append(float(g)), None, g, ordered=ordered)
        return (g * cosine,)

    f.defvjp(lambda x: (jnp.sin(x), jnp.cos(x)), back)
    within = {
        "checkpoint": jax.checkpoint(lambda x: f(x) + 0),
        "scan": lambda x: lax.scan(lambda c, _: (f(c), None), x, length=1)[0],
        "cond": lambda x: lax.cond(x > 0, f, jnp.cos, x),
        "remat": bp.checkpoint(f, remat="auto"),
    }[around]
    gradient = jax.jit(bp.grad(within))(0.7)
    jax.effects_barrier()
    assert seen == [1.0]
    np.testing.assert_allclose(gradient, np.cos(0.7), rtol=1e-6)
