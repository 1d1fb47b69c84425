# ruff: noqa: E501 (rows of a table stay rows)
"""Rules in the place of others: what they reach, how long they hold, and that they are checked."""

import importlib
import inspect
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

import backprop_jax as bp
from backprop_jax import extend
from backprop_jax.errors import BackpropError, UncheckedRule, WrongRule

X = jnp.array([2.7, -1.2, 0.4])
G = jnp.array([1.0, -1.0, 2.0])


def rounded(x: Any) -> Any:
    return G * lax.round(x)


def where_positive(g: Any, z: Any) -> Any:
    return lax.select(z > 0, g, lax.full_like(g, 0))


def where_both_positive(g: Any, z: Any) -> Any:
    return lax.select((z > 0) & (g > 0), g, lax.full_like(g, 0))


PASSES = bp.rules({lax.round_p: extend.elementwise(lambda g: g)}, check=False)
GUIDED = bp.rules({jax.nn.relu: extend.elementwise(where_both_positive)}, check=False)


@jax.custom_vjp
def with_its_own_rule(x: Any) -> Any:
    return rounded(x)


with_its_own_rule.defvjp(lambda x: (rounded(x), x), lambda x, g: bp.vjp(rounded, x)[1](g))

# fmt: off
REACHED = {
    "itself":     rounded,
    "jit":        jax.jit(rounded),
    "scan":       lambda x: lax.scan(lambda c, y: (c + rounded(y), None), jnp.zeros(3), x[None])[0],
    "while":      lambda x: lax.fori_loop(0, 1 + jnp.int32(x[0] > 100), lambda _, c: rounded(c), x),
    "cond":       lambda x: lax.cond(x[0] > 0, rounded, lambda x: x, x),
    "checkpoint": jax.checkpoint(rounded),
    "vmap":       lambda x: jax.vmap(lambda x, g: g * lax.round(x))(x, G),
    "own rule":   with_its_own_rule,
}
# fmt: on


@pytest.mark.parametrize("where", REACHED)
def test_a_rule_reaches_what_is_within(where):
    fun = lambda x: jnp.sum(REACHED[where](x))  # noqa: E731
    gradient = bp.grad(fun)
    compiled = jax.jit(gradient)
    assert not np.any(compiled(X)), "the derivative of a step is zero"
    with PASSES:
        np.testing.assert_array_equal(gradient(X), G)
        np.testing.assert_array_equal(compiled(X), G, "compiled before")
    assert not np.any(gradient(X))
    assert not np.any(compiled(X)), "compiled before"
    np.testing.assert_array_equal(bp.grad(fun, rules=PASSES)(X), G)


def test_every_function_takes_the_option():
    options: dict = {"rules": PASSES}
    fun = lambda x: jnp.sum(rounded(x))  # noqa: E731
    np.testing.assert_array_equal(bp.value_and_grad(fun, **options)(X)[1], G)
    np.testing.assert_array_equal(bp.vjp(fun, X, **options)[1](jnp.float32(1))[0], G)
    np.testing.assert_array_equal(bp.jacrev(fun, **options)(X), G)
    square = lambda x: fun(x) ** 2  # noqa: E731
    slopes = [bp.jvp(fun, (X,), (X,), **options)[1], bp.jacfwd(fun, **options)(X) @ X]
    products = [bp.hvp(square, (X,), (X,), **options)]
    with PASSES:
        slopes += [bp.jvp(fun, (X,), (X,))[1], bp.jacfwd(fun)(X) @ X]
        products += [bp.hvp(square, (X,), (X,))]
    np.testing.assert_array_equal(slopes, G @ X)
    np.testing.assert_array_equal(products, 2 * [2 * G * (G @ X)])
    np.testing.assert_array_equal(
        bp.hessian(lambda x: fun(x) ** 2, **options)(X), 2 * jnp.outer(G, G)
    )


def test_all_orders_go_by_the_rule():
    double = bp.rules(
        {lax.sin_p: extend.elementwise(lambda g, x: g * (2 * lax.cos(x)))}, check=False
    )
    for second in (
        bp.grad(bp.grad(jnp.sin), rules=double),
        bp.grad(jax.jit(bp.grad(jax.jit(jnp.sin))), rules=double),
        bp.hessian(jnp.sin, rules=double),
    ):
        np.testing.assert_allclose(second(0.7), -2 * jnp.sin(0.7), rtol=1e-6)


def test_the_inner_of_two_holds_and_the_outer_comes_back():
    other = bp.rules({lax.round_p: extend.elementwise(lambda g: -g)}, check=False)
    fun = bp.grad(lambda x: jnp.sum(rounded(x)))
    with PASSES:
        with other, GUIDED:
            np.testing.assert_array_equal(fun(X), -G)
        np.testing.assert_array_equal(fun(X), G)
        np.testing.assert_array_equal(bp.grad(lambda x: fun(x).sum())(X), 0 * G)
        with pytest.raises(ZeroDivisionError), other:
            raise ZeroDivisionError
        np.testing.assert_array_equal(fun(X), G)
    assert not np.any(fun(X))


def relus(x: Any) -> Any:
    return jnp.sum(G * jax.nn.relu(x))


# fmt: off
RELUS = {
    "itself": relus,
    "jit":    jax.jit(relus),
    "vmap":   lambda x: jnp.sum(jax.vmap(lambda x, g: g * jax.nn.relu(x))(x, G)),
    "scan":   lambda x: jnp.sum(G * lax.scan(lambda c, _: (jax.nn.relu(c), None), x, None, length=2)[0]),
    "cond":   lambda x: lax.cond(x[0] > 0, relus, jnp.sum, x),
    "linear": lambda x: relus(x) + jnp.sum(x[:1]),
}
# fmt: on


@pytest.mark.parametrize("where", RELUS)
def test_the_rule_of_a_function_is_swapped(where):
    x = jnp.abs(X)
    expected = jnp.maximum(G, 0) + (jnp.array([1.0, 0, 0]) if where == "linear" else 0)
    gradient = bp.grad(RELUS[where])
    before = gradient(x)
    with GUIDED:
        np.testing.assert_array_equal(gradient(x), expected)
        np.testing.assert_array_equal(jax.jit(gradient)(x), expected)
    np.testing.assert_array_equal(gradient(x), before)


@jax.custom_vjp
def attention(q: Any, k: Any, v: Any) -> Any:
    """Stands for a kernel: what its own reverse rule says is wrong."""
    return jax.nn.softmax(q @ k.T) @ v


attention.defvjp(lambda *x: (attention(*x), x), lambda x, g: x)


def attention_reversed(g: Any, x: Any, y: Any, w: Any) -> tuple:
    return bp.vjp(attention.fun, x, y, w)[1](g)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_the_backward_of_a_kernel_is_swapped_and_found_right(wrap):
    operands = list(np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32"))
    all_three = {"argnums": (0, 1, 2)}
    expected = jax.grad(lambda *x: jnp.sum(attention.fun(*x) ** 2), **all_three)(*operands)
    fun = wrap(lambda *x: jnp.sum(attention(*x) ** 2))
    ours = bp.grad(fun, **all_three, rules={attention: extend.pullback(attention_reversed)})
    for gradient in (ours(*operands), jax.jit(ours)(*operands)):
        for a, b in zip(gradient, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_rule_of_several_operands_is_not_used_where_vmap_made_another_function():
    swapped = {attention: extend.pullback(attention_reversed)}
    x = np.ones((3, 4, 2), "float32")
    fun = lambda x: jnp.sum(jax.vmap(attention)(x, x, x))  # noqa: E731
    for wrap in (lambda f: f, jax.jit):
        with pytest.raises(
            BackpropError, match=r"rule given for 'attention' cannot be used"
        ) as error:
            bp.grad(wrap(fun), rules=swapped)(x)
        assert "vmap(bp.grad(f))" in str(error.value)
    within = jax.vmap(bp.grad(lambda x: jnp.sum(attention(x, x, x)), rules=swapped))
    assert np.isfinite(within(x)).all()


def test_a_tie_goes_to_the_first():
    first = {
        lax.max_p: extend.elementwise(
            lambda g, x, y: lax.select(x >= y, g, 0 * g),
            lambda g, x, y: lax.select(x < y, g, 0 * g),
        )
    }
    fun = lambda x, y: jnp.sum(lax.max(x, y))  # noqa: E731
    ours = bp.grad(fun, (0, 1))(X, X), bp.grad(fun, (0, 1), rules=first)(X, X)
    np.testing.assert_array_equal(
        np.array(ours), np.array([[[0.5] * 3] * 2, [[1.0] * 3, [0.0] * 3]])
    )


# -- what is checked ---------------------------------------------------------------------------------
def test_a_rule_that_is_right_passes_and_is_looked_at_once():
    looked: list = []

    def formula(g: Any, x: Any) -> Any:
        looked.append(x.dtype)
        return g * lax.cos(x)

    for _ in range(2):
        assert bp.grad(jnp.sin, rules={lax.sin_p: extend.elementwise(formula)})(0.3) == jnp.cos(0.3)
    assert sorted(map(str, looked)) == ["float32", "float64"]


def test_a_rule_that_is_wrong_is_an_error():
    wrong = {lax.sin_p: extend.elementwise(lambda g, x: -g * lax.cos(x))}
    for wrap in (lambda f: f, jax.jit, jax.checkpoint):

        def wave(x):
            return jnp.sum(lax.sin(x))

        line = inspect.getsourcelines(wave)[1] + 1
        with pytest.raises(WrongRule) as error:
            bp.grad(wrap(wave), rules=wrong)(X)
        what, equation, where, fix = str(error.value).splitlines()
        assert what.startswith("the rule given for 'sin' is wrong in x[")
        assert equation == "  equation:   sin float32[3]"
        here = pathlib.Path(__file__).name
        assert where.startswith("  written at: ") and f"{here}:{line}:" in where
        assert (
            fix
            == "  to go on:   correct the rule; if it is meant to be no derivative, say check=False."
        )


def test_a_rule_that_forgets_an_operand_is_an_error():
    with pytest.raises(WrongRule, match="'mul' is wrong in y"):
        bp.grad(
            lambda x: jnp.sum(x * x), rules={lax.mul_p: extend.elementwise(lambda g, y: g * y)}
        )(X)


def new_primitive(name: str, **impl: Any) -> Primitive:
    """Returns a primitive nobody knows, the double of its operand."""
    primitive = Primitive(name)
    primitive.def_impl(impl.get("run", lambda x: 2 * x))
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x: 2 * x, multiple_results=False))
    return primitive


def test_a_rule_that_is_added_is_checked_where_it_is_first_met(the_book_as_it_was):
    right, wrong, unchecked = map(new_primitive, ("right", "wrong", "unchecked"))
    extend.linear(right, lambda g: 2 * g)
    extend.pullback(wrong)(lambda g: 3 * g)
    extend.pullback(unchecked, check=False)(lambda g: 3 * g)
    slope = lambda p: bp.grad(lambda x: jnp.sum(p.bind(x)))  # noqa: E731
    np.testing.assert_array_equal(slope(right)(X), 2 * jnp.ones(3))
    np.testing.assert_array_equal(slope(unchecked)(X), 3 * jnp.ones(3))
    for wrap in (lambda f: f, jax.jit):
        with pytest.raises(WrongRule, match="the rule given for 'wrong' is wrong in x"):
            wrap(slope(wrong))(X)


def test_what_cannot_be_checked_is_said(the_book_as_it_was):
    def run(x):
        raise RuntimeError("no such machine")

    far = new_primitive("far", run=run)
    extend.linear(far, lambda g: 2 * g)
    with pytest.warns(UncheckedRule, match="'far' was not put to the test: .*no such machine"):
        np.testing.assert_array_equal(
            jax.jit(bp.grad(lambda x: jnp.sum(far.bind(x))))(X), 2 * jnp.ones(3)
        )


# fmt: off
MISTAKES = {
    "no primitive": (lambda: bp.rules({jnp.round: extend.linear(lambda g: g)}), "rules: round is neither a primitive nor a function with a rule of its own."),
    "no rule":      (lambda: bp.rules({lax.round_p: lambda g: g}), "rules: what is given for round is no rule but <function"),
    "loop's":       (lambda: bp.grad(relus, rules={jax.nn.relu: extend.structured(lambda active: None)}), "rules: what is given for relu is no rule"),
    "alphabet":     (lambda: extend.elementwise(lambda g, q: g), "a formula reads g, then any of"),
}
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told(mistake):
    make, text = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError)) as error:
        make()
    assert str(error.value).startswith(text)


def test_the_rules_of_the_book_can_still_be_imported():
    """`bp.rules` is the function; `backprop_jax.rules` is the package of the book, too."""
    assert bp.rules({}) is not None
    assert importlib.import_module("backprop_jax.rules.models").scaled_dot_p
    assert importlib.import_module("backprop_jax.rules").models
    from backprop_jax.rules import loops

    assert loops.__name__ == "backprop_jax.rules.loops"
    assert inspect.isfunction(bp.rules)
