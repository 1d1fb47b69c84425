"""Programs that are staged anew: which are the same as one before, and which are not."""

import gc
import math
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import mlir

import backprop_jax as bp
from backprop_jax.engine.jaxprs import held
from backprop_jax.engine.units import build_unit
from backprop_jax.errors import MissingRule, written_at
from backprop_jax.meshes import surroundings
from backprop_jax.twins import exact, first_of, firsts

X = jnp.linspace(0.1, 0.7, 4)


def staged(function, *operands):
    return jax.make_jaxpr(lambda *x: function(*x))(*(operands or (X,)))


def times(factor):
    """Returns a new function at each call, all of the same line."""
    return lambda x: jnp.sin(x) * factor


def noted(function):
    return lambda x: io_callback(function, jax.typeof(x), x)


def ruled(scale):
    @jax.custom_vjp
    def f(x):
        return x

    f.defvjp(lambda x: (x, None), lambda _, g: (scale * g,))
    return lambda x: f(x) * 2


def pushed(scale):
    @jax.custom_jvp
    def f(x):
        return x

    f.defjvps(lambda t, z, x: scale * t)
    return lambda x: f(x) * 2


def root(slope):
    """Returns a function of JAX's own with a rule that is told more than the function is."""
    solve, tangents = lambda f, x: x, lambda g, y: y / slope
    return lambda x: lax.custom_root(lambda z: z - x, x, solve, tangents)


def by_cases(body):
    return lambda x: lax.cond(x[0] > 0, body, jnp.cos, x)


SAME = {
    "a number": lambda: times(2.0),
    "NaN": lambda: times(math.nan),
    "a number of NumPy": lambda: times(np.float32(2)),
    "a whole power": lambda: lambda x: x**3,
    "a function of JAX": lambda: lambda x: jnp.clip(jax.nn.softmax(x), 0.1),
    "functions with rules of JAX's": lambda: lambda x: jax.nn.relu(x) + jnp.logaddexp(x, 1.0),
    "a function of a function": lambda: lambda x: jax.jit(times(2.0))(x),
    "branches": lambda: by_cases(times(2.0)),
    "a loop": lambda: lambda x: lax.fori_loop(0, 3, lambda _, x: jnp.sin(x), x),
    "a checkpoint": lambda: jax.checkpoint(times(2.0)),
}

OTHER = {
    "numbers": (times(2.0), times(3.0)),
    "signs of zero": (times(0.0), times(-0.0)),
    "powers": (lambda x: x**3, lambda x: x**2),
    "lines": (
        lambda x: jnp.sin(x),
        lambda x: jnp.sin(x),
    ),
    "branches": (by_cases(times(2.0)), by_cases(times(3.0))),
    "functions within": (jax.jit(times(2.0)), jax.jit(times(3.0))),
    "arrays": (times(np.arange(4.0)), times(np.arange(4.0))),
    "callbacks": (noted(lambda x: x), noted(lambda x: 2 * x)),
    "callbacks that are one": (noted(np.sin), noted(np.sin)),
    "rules of a user's": (ruled(1.0), ruled(2.0)),
    "forward rules of a user's": (pushed(1.0), pushed(2.0)),
    "what only a rule is told": (root(1.0), root(2.0)),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_what_is_written_the_same_is_the_same(make):
    one, other = (staged(make()) for _ in range(2))
    assert one is not other
    assert first_of(other) is first_of(one)


@pytest.mark.parametrize("pair", OTHER.values(), ids=OTHER)
def test_what_is_not_is_not(pair):
    one, other = (staged(function) for function in pair)
    assert first_of(other) is not first_of(one)


@pytest.mark.parametrize("pair", [(1, 1.0), (1, True), (0.0, -0.0), ((1,), [1]), ((1,), (1.0,))])
def test_equal_parameters_may_differ(pair):
    one, other = pair
    assert exact(one) != exact(other)


def test_types_tell_programs_apart():
    one, other = (staged(times(2.0), x) for x in (X, X[1:]))
    assert first_of(other) is not first_of(one)


def test_what_has_no_twin_is_let_go():
    def make():
        first_of(staged(times(np.arange(4.0))))

    make()
    gc.collect()
    before = len(firsts)
    make()
    gc.collect()
    assert len(firsts) == before


def loop(make, x):
    return jnp.sum(lax.scan(lambda c, y: (make()(c) + y, None), x, jnp.ones((3, 4)))[0])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_loop_defined_in_the_loss_is_made_ready_once(compiled):
    def gradient(x):
        def loss(x):
            return loop(lambda: times(0.5), x)

        return (jax.jit(bp.grad(loss)) if compiled else bp.grad(loss))(x)

    found, misses = [], []
    for _ in range(3):
        found.append(gradient(X))
        misses.append(build_unit.cache_info().misses)
    assert misses[1] == misses[2]
    expected = jax.grad(lambda x: loop(lambda: times(0.5), x))(X)
    for g in found:
        np.testing.assert_allclose(g, expected, rtol=1e-6)


@pytest.mark.parametrize("numbers", [(0.5, 0.25), (0.0, -0.0), (1, 1.0)])
def test_loops_that_differ_in_a_number_have_their_own_gradients(numbers):
    for number in numbers:

        def loss(x, number=number):
            return loop(lambda: times(number), x)

        np.testing.assert_allclose(bp.grad(loss)(X), jax.grad(loss)(X), rtol=1e-6)


def test_a_rule_of_a_users_in_a_loop_is_the_one_it_has_now():
    for scale in (1.0, 2.0):

        def loss(x, scale=scale):
            return loop(lambda: lambda c: ruled(scale)(c) * 0.1, x)

        np.testing.assert_allclose(bp.grad(loss)(X), jax.grad(loss)(X), rtol=1e-6)


@pytest.mark.usefixtures("the_book_as_it_was")
def test_a_rule_that_comes_later_is_found():
    """Also within a loop that was met before, and was an error."""
    twice_p = Primitive("twice_later")
    twice_p.def_abstract_eval(lambda x: x)
    twice_p.def_impl(lambda x: 2 * x)
    lowering = mlir.lower_fun(lambda x: 2 * x, multiple_results=False)
    mlir.register_lowering(twice_p, lowering)

    def loss(x):
        return loop(lambda: twice_p.bind, x)

    with pytest.raises(MissingRule, match="twice_later"):
        bp.grad(loss)(X)
    bp.extend.linear(twice_p, lambda g: 2 * g)
    np.testing.assert_allclose(bp.grad(loss)(X), 8 * np.ones(4))


# -- what is staged again --------------------------------------------------------------------------


def counted(x):
    def body(c, y):
        with jax.named_scope("trip"):
            return jnp.sin(c) * 0.9 + y, c

    with jax.named_scope("loop"):
        c, _ = lax.scan(body, x, jnp.ones((3, 4)))
    return jnp.sum(c)


def chosen(x):
    return jnp.sum(lax.cond(x[0] > 0, lambda x: jnp.sin(x) * x, jnp.cos, x))


def counted_to_the_end(x):
    return jnp.sum(
        lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]
    )


def checkpointed(x):
    return jnp.sum(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x) * 2))(x))


def solved(x):
    return jnp.sum(jnp.linalg.solve(jnp.eye(4) * 2 + x[:, None], x))


def within_one_another(x):
    return lax.fori_loop(
        0, 2, lambda _, x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x) + counted(x), x
    )[0]


STAGED = [counted, chosen, counted_to_the_end, checkpointed, solved, within_one_another]


def written(jaxpr, caller=None):
    """Returns a program's equations as text, with where each was written, those within too."""
    lines = []
    for e in jaxpr.eqns:
        caller = e.source_info if caller is None else caller
        place = written_at(e.source_info) or written_at(caller)
        lines.append((str(e), place, str(e.source_info.name_stack), e.ctx))
        for inner in held(e.params):
            lines += written(inner, e.source_info if written_at(e.source_info) else caller)
    return lines


@pytest.mark.parametrize("loss", STAGED, ids=lambda loss: loss.__name__)
def test_what_is_copied_is_what_would_be_staged(loss):
    found = [written(jax.make_jaxpr(lambda x: bp.grad(loss)(x))(X).jaxpr) for _ in range(4)]
    for other in found[1:]:
        assert other == found[0]


def test_it_is_compiled_as_is_said_where_it_is_put():
    marked, plain = [], []
    for mark in (None, None, None, "it", None):

        def back(x, g, mark=mark):
            _, pull = bp.vjp(counted, x)
            with set_xla_metadata(mark=mark) if mark else nullcontext():
                return pull(g)

        jaxpr = jax.make_jaxpr(back)(X, 1.0).jaxpr
        (loop,) = [e for e in jaxpr.eqns if e.primitive is lax.scan_p and e.params["reverse"]]
        (marked if mark else plain).append(loop.ctx)
    assert plain == [plain[0]] * 4
    assert marked[0] != plain[0]


def test_two_loops_with_one_body_keep_their_own_lines():
    def body(c, y):
        return jnp.sin(c) + y, None

    def loss(x):
        c, _ = lax.scan(body, x, jnp.ones((3, 4)))
        c, _ = lax.scan(body, c, jnp.ones((3, 4)))
        return jnp.sum(c)

    for _ in range(3):
        jaxpr = jax.make_jaxpr(lambda x: bp.grad(loss)(x))(X).jaxpr
        lines = [written_at(e.source_info) for e in jaxpr.eqns if e.primitive is lax.scan_p]
        assert len(set(lines)) == 2
        assert lines == lines[::-1]


def test_what_is_seen_from_outside_is_seen_each_time(capsys):
    def body(c, y):
        jax.debug.print("seen")
        return jnp.sin(c) + y, None

    for _ in range(4):
        jax.jit(lambda x: bp.grad(lambda x: lax.scan(body, x, jnp.ones((1, 4)))[0].sum())(x))(X)
    jax.effects_barrier()
    assert capsys.readouterr().out == "seen\n" * 4


def test_a_program_is_another_where_barriers_are_others():
    """What barriers of checkpoints are made of is asked when a rule is run: a flag of jax 0.11."""
    flag = "jax_remat_barrier_no_cotangents"
    there, before = hasattr(jax.config, flag), surroundings()
    if there:
        jax.config.update(flag, True)
    try:
        assert (surroundings() != before) == there
    finally:
        if there:
            jax.config.update(flag, False)
