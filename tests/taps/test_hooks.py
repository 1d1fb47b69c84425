"""Cotangents of values inside of a function: which they are, and hooks that change them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import backprop_jax as bp
from backprop_jax import errors

pytestmark = pytest.mark.usefixtures("x64")

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3, 3)) / 2
X = np.array([1.0, -2.0, 0.5])
SHIFTS = np.zeros((4, 3))


def block(w, h):
    with jax.named_scope("block"):
        h = checkpoint_name(jnp.tanh(w @ h), "h")
        return lax.cond(h[0] > 0, jnp.sin, jnp.cos, h)


LINE = f"test_hooks.py:{block.__code__.co_firstlineno + 2}"


def straight(weights, x, shifts=SHIFTS):
    """The model of all others, in Python; what is added to `h` has the cotangent of `h`."""
    for i in range(4):
        h = jnp.tanh(weights[i] @ x) + shifts[i]
        x = jnp.where(h[0] > 0, jnp.sin(h), jnp.cos(h))
    return jnp.sum(x**2)


def unrolled(weights, x):
    for w in weights:
        x = block(w, x)
    return jnp.sum(x**2)


def scanned(weights, x):
    x, _ = lax.scan(lambda x, w: (block(w, x), None), x, weights)
    return jnp.sum(x**2)


def backwards(weights, x):
    x, _ = lax.scan(lambda x, w: (block(w, x), None), x, weights[::-1], reverse=True)
    return jnp.sum(x**2)


def compiled(weights, x):
    each = jax.jit(block)
    x, _ = lax.scan(jax.jit(lambda x, w: (each(w, x), None)), x, weights, unroll=2)
    return jnp.sum(x**2)


def rerun(weights, x):
    x, _ = lax.scan(jax.checkpoint(lambda x, w: (block(w, x), None)), x, weights)
    return jnp.sum(x**2)


def nested(weights, x):
    def outer(x, pair):
        return lax.scan(lambda x, w: (block(w, x), None), x, pair)[0], None

    x, _ = lax.scan(outer, x, weights.reshape(2, 2, 3, 3))
    return jnp.sum(x**2)


def endless(weights, x):
    def trip(state):
        i, x = state
        return i + 1, block(weights[i], x)

    _, x = lax.while_loop(lambda state: state[0] < 4, trip, (0, x))
    return jnp.sum(x**2)


MODELS = [unrolled, scanned, backwards, compiled, rerun, nested]
SELECTORS = ["h", LINE, "tanh", lambda step: step.name == "h"]
with jax.enable_x64(True):
    EXPECTED = jax.grad(straight, 2)(WEIGHTS, X, SHIFTS)

every_model = pytest.mark.parametrize("model", MODELS, ids=lambda f: f.__name__)
EAGERLY = [(unrolled, False), (scanned, False)]
in_each_way = pytest.mark.parametrize(
    "model, compiled",
    [*EAGERLY, *((model, True) for model in MODELS)],
    ids=lambda x: ("eager", "jit")[x] if isinstance(x, bool) else x.__name__,
)


def in_order(model, found):
    """Returns the cotangents of a value in all blocks, whatever way the model is written."""
    found = jnp.concatenate([g.reshape(-1, 3) for g in found])
    return found[::-1] if model is backwards else found


@in_each_way
def test_cotangents_are_those_of_a_number_added_there(model, compiled):
    run = bp.value_grad_and_cotangents(model, select=SELECTORS)
    run = jax.jit(run) if compiled else run
    value, gradient, found = run(WEIGHTS, X)
    expected = jax.value_and_grad(straight)(WEIGHTS, X)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-12, atol=1e-15)
    for selector in SELECTORS:
        cotangents = in_order(model, found[selector])
        np.testing.assert_allclose(cotangents, EXPECTED, rtol=1e-12, atol=1e-15)


def test_of_a_branch_not_taken_they_are_zero():
    _, _, found = bp.value_grad_and_cotangents(scanned, select=("sin", "cos"))(WEIGHTS, X)
    (sines,), (cosines,) = found["sin"], found["cos"]
    taken = np.any(np.asarray(sines) != 0, axis=1)
    assert set(taken) == {True, False}
    assert not np.any(cosines[taken]) and np.all(cosines[~taken] != 0)


def test_a_scope_a_line_and_a_function_hand_on_their_last_value():
    selectors = ["block", f"test_hooks.py:{scanned.__code__.co_firstlineno + 1}", scanned.__name__]
    _, _, found = bp.value_grad_and_cotangents(scanned, select=selectors)(WEIGHTS, X)
    block, line, function = (str(found).splitlines()[i].partition(": ")[2] for i in range(3))
    assert block.startswith("float64[3] × 4 = cond")
    assert line.startswith("float64[3] = scan")
    assert function.startswith("float64[] = reduce_sum")
    np.testing.assert_array_equal(found[scanned.__name__][0], 1.0)


def test_under_vmap_and_of_another_argument():
    xs = np.stack([X, 2 * X])
    run = bp.value_grad_and_cotangents(scanned, argnums=(1,), select="h")
    _, (gradient,), found = jax.vmap(run, (None, 0))(WEIGHTS, xs)
    for i, x in enumerate(xs):
        np.testing.assert_allclose(gradient[i], jax.grad(straight, 1)(WEIGHTS, x), rtol=1e-12)
        expected = jax.grad(straight, 2)(WEIGHTS, x, SHIFTS)
        np.testing.assert_allclose(found["h"][0][i], expected, rtol=1e-12, atol=1e-15)


def test_of_a_value_that_does_not_depend_on_the_argument():
    def loss(w, x):
        return jnp.sum(w * checkpoint_name(jnp.exp(x), "features")), {"norm": jnp.sum(x)}

    run = bp.value_grad_and_cotangents(loss, has_aux=True, select="features")
    (_, aux), _, found = run(X, X)
    np.testing.assert_array_equal(found["features"][0], X)
    assert aux["norm"] == np.sum(X)


@every_model
def test_a_hook_changes_what_flows_on(model):
    """A cotangent of h scaled by 2 in each block is that of a model that says so itself."""

    @jax.custom_vjp
    def doubled(x):
        return x

    doubled.defvjp(lambda x: (x, None), lambda _, g: (2 * g,))

    def by_hand(weights, x):
        for w in weights:
            h = doubled(jnp.tanh(w @ x))
            x = jnp.where(h[0] > 0, jnp.sin(h), jnp.cos(h))
        return jnp.sum(x**2)

    expected = jax.jit(jax.grad(by_hand))(WEIGHTS, X)
    gradient = jax.jit(bp.grad(model, hooks={"h": lambda g: 2 * g}))(WEIGHTS, X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


HOOKS = {
    "clip": (lambda g: jnp.clip(g, -0.1, 0.1), lambda g: np.clip(g, -0.1, 0.1)),
    "scale": (lambda g: 3 * g, lambda g: 3 * g),
    "reverse": (lambda g: -g, lambda g: -g),
    "look": (lambda g: None, lambda g: g),
}


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize("remat", [None, "full"])
def test_hooks_clip_scale_and_reverse(kind, remat):
    hook, expected = HOOKS[kind]

    def loss(w, x):
        return jnp.sum(checkpoint_name(w * x, "product") ** 3)

    gradient = bp.grad(loss, hooks={"product": hook}, remat=remat)(X, 2 * X)
    np.testing.assert_allclose(gradient, 2 * X * expected(3 * (2 * X * X) ** 2), rtol=1e-12)


@pytest.mark.parametrize("model", [endless, scanned, rerun])
def test_a_hook_may_print_or_call_out(model):
    """Where cotangents cannot be handed over they can be looked at, and changed."""
    seen = []
    look = {"h": lambda g: jax.debug.callback(lambda g: seen.append(g), g)}
    gradient = bp.grad(model, hooks=look)(WEIGHTS, X)
    np.testing.assert_allclose(gradient, jax.grad(straight)(WEIGHTS, X), rtol=1e-12, atol=1e-15)
    jax.effects_barrier()
    np.testing.assert_allclose(seen[::-1], EXPECTED, rtol=1e-12, atol=1e-15)


def test_hooks_see_numbers_where_nothing_is_compiled():
    seen = []
    bp.grad(unrolled, hooks={"h": lambda g: seen.append(float(g.sum()))})(WEIGHTS, X)
    np.testing.assert_allclose(seen[::-1], EXPECTED.sum(1), rtol=1e-12)


def test_two_selectors_of_one_value_pass_in_order_and_the_sink_gets_the_last():
    hooks = {"h": lambda g: 2 * g, "name": lambda g: g + 1}
    run = bp.value_grad_and_cotangents(
        lambda x: jnp.sum(checkpoint_name(3 * x, "h")), select="h", hooks=hooks
    )
    _, gradient, found = run(X)
    np.testing.assert_array_equal(found["h"][0], [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(gradient, [9.0, 9.0, 9.0])


def test_a_hook_is_differentiated_like_anything_else():
    def squared(model):
        return lambda w: jnp.sum(bp.grad(model, hooks={"h": jnp.sin})(w, X) ** 2)

    weights = WEIGHTS[:2]
    flat = bp.grad(squared(scanned))(weights)
    step = 1e-5 * np.random.default_rng(1).normal(size=weights.shape)
    slope = (squared(unrolled)(weights + step) - squared(unrolled)(weights - step)) / 2
    np.testing.assert_allclose(np.sum(flat * step), slope, rtol=1e-6)


@pytest.mark.parametrize("hooks", [None, {}])
def test_without_hooks_the_program_is_the_same(hooks):
    plain = jax.make_jaxpr(bp.value_and_grad(scanned))(WEIGHTS, X)
    assert str(jax.make_jaxpr(bp.value_and_grad(scanned, hooks=hooks))(WEIGHTS, X)) == str(plain)


def test_what_only_looks_leaves_no_trace_in_the_program():
    plain = jax.make_jaxpr(bp.grad(scanned))(WEIGHTS, X)
    looking = jax.make_jaxpr(bp.grad(scanned, hooks={"tanh": lambda g: None}))(WEIGHTS, X)
    assert str(looking) == str(plain)


def test_a_selector_that_means_nothing_says_what_there_is():
    with pytest.raises(errors.UnknownStep) as error:
        bp.grad(scanned, hooks={"blok": lambda g: g})(WEIGHTS, X)
    first, second = str(error.value).splitlines()
    assert first == "no step is named 'blok'."
    assert second.startswith("  to go on:   there are names h; scopes block; lines ")
    assert "functions block" in second
    with pytest.raises(errors.UnknownStep, match="no step is what"):
        bp.grad(scanned, hooks={lambda step: False: lambda g: g})(WEIGHTS, X)


def test_within_a_while_loop_nobody_knows_how_many_there_will_be():
    with pytest.raises(errors.NotWatched) as error:
        bp.value_grad_and_cotangents(endless, select="h")(WEIGHTS, X)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("how many cotangents this value has is not known")
    assert "while_loop, at" in lines[0] and "test_hooks.py:" in lines[0]
    assert lines[1] == "  equation:   float64[3] × ? = name 'h'"
    assert LINE in lines[2]
    assert "lax.scan" in lines[3] and "hooks=" in lines[3]


WRONG = {
    "shape": (lambda g: g[:1], "float64[1]"),
    "dtype": (lambda g: g.astype("float32"), "float32[3]"),
    "text": (lambda g: "g", "str"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_hook_that_returns_no_cotangent(kind):
    hook, got = WRONG[kind]
    with pytest.raises(errors.BadHook) as error:
        bp.grad(scanned, hooks={"h": hook})(WEIGHTS, X)
    lines = str(error.value).splitlines()
    assert lines[0] == f"a hook takes and returns float64[3] here, but returned {got}."
    assert LINE in lines[2] and "None" in lines[3]
