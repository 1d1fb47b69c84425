"""Functions within functions: what is remembered of them, and when nothing is."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import take_current_trace

import backprop_jax as bp
from backprop_jax import twins
from backprop_jax.engine.jaxprs import as_function as run
from backprop_jax.engine.tape import Tape
from backprop_jax.partition.remembered import units
from backprop_jax.programs import Program, can_copy
from backprop_jax.rules.calls import is_written_nowhere
from backprop_jax.rules.functions import is_spence, known
from tests.rules.jaxprs import primitives

X = jnp.linspace(0.1, 0.7, 4)


@jax.jit
def inner(x, y):
    """Several results; one of them is constant, one a whole number."""
    z = jnp.where(x > 0.3, jnp.sin(x) * y, jnp.exp(x)) + np.arange(4.0)
    return z, jax.nn.softmax(z * y), jnp.argmax(x)


LOSSES = {
    "all": lambda x, y: (inner(x, y)[0] * inner(x, y)[1]).sum(),
    "one": lambda x, y: inner(x, y)[1][2],
    "of a library": lambda x, y: jnp.linalg.norm(jnp.clip(x * y, 0.1)) + jnp.logaddexp(x, y)[0],
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_any_order_is_that_of_jax(loss):
    """The programs are differentiated in their turn, batched, and run forward."""

    def orders(grad, jvp):
        def first(x):
            return grad(loss, (0, 1))(x, x + 1)

        def second(x):
            return grad(lambda x: first(x)[0].sum())(x)

        def all_of(x):
            return first(x), second(x), jvp(second, (x,), (x,)), jax.vmap(first)(x[None])

        return jax.jit(all_of)

    with jax.enable_x64(True):
        x = X.astype("float64")
        ours, theirs = orders(bp.grad, bp.jvp)(x), orders(jax.grad, jax.jvp)(x)
    for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_function_of_the_users_is_called_and_a_librarys_is_written_out():
    """So equations of the user's own keep the lines they were written at."""
    traced = jax.jit(bp.grad(LOSSES["all"])).trace(X, X + 1).jaxpr
    calls = [e for e in traced.jaxpr.eqns if str(e.primitive) in ("jit", "pjit")]
    assert {e.params["name"] for e in calls} == {"inner"}
    programs = [id(e.params["jaxpr"]) for e in calls]
    assert len(programs) == 4 and programs[0] == programs[1], "one way forward, and two back"


def test_what_is_remembered_goes_with_the_function():
    count = len(units)
    funs = [jax.jit(lambda x, i=i: jnp.sin(x) * x**i) for i in range(3)]
    for fun in funs:
        jax.make_jaxpr(bp.grad(lambda x, fun=fun: fun(x).sum()))(X)
    assert len(units) >= count + 3
    del fun, funs
    jax.clear_caches()
    for latest in (is_written_nowhere, known, is_spence, twins.known):  # which hold the latest
        latest.cache_clear()
    gc.collect()
    assert len(units) <= count


def test_rows_read_within_functions_still_share_one_array():
    """A gradient in parts is joined with others, so such a function is run on the tape."""
    row = jax.jit(lambda x, i: jax.lax.dynamic_index_in_dim(x, i, keepdims=False))
    loss = lambda x: sum(jnp.sin(row(x, i)).sum() for i in range(4))  # noqa: E731
    found = primitives(jax.make_jaxpr(bp.grad(loss))(jnp.ones((4, 3))).jaxpr)
    assert sum(n for name, n in found.items() if name.startswith("scatter")) == 1
    assert not found["dynamic_update_slice"]


def of_relu(x):
    return jax.nn.relu(x).sum() + jax.nn.softmax(x, axis=0)[1] + jnp.logaddexp(x, 2 * x).sum()


def test_a_rule_of_jaxs_own_is_run_once(monkeypatch):
    first = jax.make_jaxpr(bp.grad(of_relu))(X)
    monkeypatch.setattr(Tape, "add_jvp", None)
    again = jax.make_jaxpr(bp.grad(lambda x: of_relu(x)))(X)
    assert str(again) == str(first)


def test_a_rule_of_a_users_is_run_each_time():
    slope = [2.0]

    @jax.custom_jvp
    def own(x):
        return x

    own.defjvp(lambda x, v: (own(*x), slope[0] * v[0]))
    found = []
    for slope[0] in (2.0, 3.0):
        found.append(jax.jit(lambda x: bp.grad(own)(x))(1.0))
    assert found == [2.0, 3.0]


def test_without_compiling_the_rule_is_run():
    with jax.disable_jit():
        closed = jax.make_jaxpr(bp.grad(of_relu))(X)
    np.testing.assert_allclose(jax.jit(bp.grad(of_relu))(X), run(closed)(X)[0], rtol=1e-6)


def test_equations_are_copied_to_what_is_staged():
    """It rests on a method of JAX's traces; were it another one, all would be right, and slow."""
    known = []

    def staged(x):
        with take_current_trace() as trace:
            known.append(can_copy(type(trace)))
        return x

    jax.make_jaxpr(staged)(1.0)
    assert known == [True]


def test_a_program_is_what_its_equations_are():
    """Copied, run one by one, and batched: constants, numbers and names of scopes among them."""
    table = jnp.arange(3.0)

    def fun(x, y):
        with jax.named_scope("inner"):
            return [x, jnp.sin(x) * table + 2.0 * y, 1.0]

    made = Program(jax.make_jaxpr(fun)(table, 1.0))
    program = lambda x, y: made(x, y)  # noqa: E731
    expected = fun(table, 1.5)[1]
    np.testing.assert_allclose(program(table, 1.5)[1], expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(program)(table, 1.5)[1], expected, rtol=1e-6)
    batched = jax.vmap(program, (None, 0), out_axes=[None, 0, None])
    np.testing.assert_allclose(batched(table, X)[1], [fun(table, y)[1] for y in X], rtol=1e-6)
