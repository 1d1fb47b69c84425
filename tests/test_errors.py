# ruff: noqa: E501 (rows of a table stay rows)
"""Errors of the engine: their full text, and that they are raised only when a derivative is needed."""

import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.extend.core import Primitive
from jax.interpreters import mlir

import backprop_jax as bp
from backprop_jax.engine.registry import (
    book,
    elementwise,
    linear,
    lookup,
    missing,
    piecewise_constant,
    pullback,
)
from backprop_jax.errors import BackpropError, MissingRule, NotLinear

HERE = pathlib.Path(__file__).name


@pytest.fixture(autouse=True)
def the_book_as_it_was():
    """Rules that a test of this file adds are gone after it."""
    before = dict(book)
    yield
    book.clear()
    book.update(before)


def new_primitive(name: str) -> Primitive:
    """Returns a primitive nobody knows, the double of its operand."""
    primitive = Primitive(name)
    primitive.def_impl(lambda x: 2 * x)
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x: 2 * x, multiple_results=False))
    return primitive


my_kernel = new_primitive("my_kernel")
X = jnp.array([1.0, 2.0, 3.0], "float32")


def log_likelihood(x: Any) -> Any:
    return jnp.sum(my_kernel.bind(x))


LINE = inspect.getsourcelines(log_likelihood)[1] + 1


def text_of(call: Callable, error: type = MissingRule) -> str:
    """Returns the text of the error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# fmt: off
WAYS: dict[str, Callable[[], Any]] = {
    "eagerly":       lambda: bp.grad(log_likelihood)(X),
    "under jit":     lambda: jax.jit(bp.grad(log_likelihood))(X),
    "within a jit":  lambda: bp.grad(jax.jit(log_likelihood))(X),
    "both":          lambda: jax.jit(bp.grad(jax.jit(log_likelihood)))(X),
    "within a scan": lambda: bp.grad(lambda x: lax.scan(lambda c, _: (c + log_likelihood(x), None), 0.0, length=2)[0])(X),
    "second order":  lambda: bp.grad(lambda x: jnp.sum(bp.grad(log_likelihood)(x)))(X),
}
# fmt: on


@pytest.mark.parametrize("way", WAYS)
def test_missing_rule(way):
    first, equation, written_at, to_go_on = text_of(WAYS[way]).split("\n")
    assert first == "no rule for primitive 'my_kernel'."
    assert equation == "  equation:   float32[3] = my_kernel float32[3]"
    assert written_at.startswith("  written at: ")
    assert f"{HERE}:{LINE}:" in written_at, "the user's own line is not named"
    assert written_at.endswith(" (log_likelihood)")
    assert to_go_on == (
        "  to go on:   add one (backprop_jax.extend), or wrap the call in lax.stop_gradient."
    )


def test_missing_rule_under_vmap():
    """What vmap makes of the primitive is JAX's business; here it has no batching rule either."""
    with pytest.raises(NotImplementedError):
        jax.vmap(bp.grad(log_likelihood))(jnp.stack([X, X]))


@pytest.mark.parametrize("within", [jax.jit, jax.checkpoint])
def test_missing_rule_of_what_cannot_be_compiled(within):
    """Eagerly it is run as it is, and it is an error only where its derivative is needed."""
    only_run_p = Primitive("only_run")
    only_run_p.def_impl(lambda x: 2 * x)
    only_run_p.def_abstract_eval(lambda x: x)
    assert "'only_run'" in text_of(lambda: bp.grad(within(lambda x: only_run_p.bind(x) * x))(3.0))
    assert bp.grad(within(lambda x: lax.stop_gradient(only_run_p.bind(x)) * x))(3.0) == 6.0


def test_missing_rule_can_be_caught_as_ours_and_as_not_implemented():
    assert issubclass(MissingRule, BackpropError)
    assert issubclass(MissingRule, NotImplementedError)


# fmt: off
NOT_NEEDED: dict[str, Callable] = {
    "behind stop_gradient":        lambda x: jnp.sum(x * lax.stop_gradient(my_kernel.bind(x))),
    "of a stopped operand":        lambda x: jnp.sum(x * my_kernel.bind(lax.stop_gradient(x))),
    "unused":                      lambda x: (my_kernel.bind(x), jnp.sum(x * x))[1],
    "of a constant":               lambda x: jnp.sum(x * my_kernel.bind(X)),
    "of a constant, computed":     lambda x: jnp.sum(x * my_kernel.bind(X * 2)),
    "behind a comparison":         lambda x: jnp.sum(jnp.where(my_kernel.bind(x) > 3, x, 2 * x)),
    "made an integer":             lambda x: jnp.sum(x * my_kernel.bind(x).astype("int32")),
    "a condition in Python":       lambda x: jnp.sum(x) if my_kernel.bind(x)[0] > 0 else 0.0,
    "behind round":                lambda x: jnp.sum(x * jnp.round(my_kernel.bind(x))),
    "within a jit":                lambda x: jnp.sum(x * lax.stop_gradient(jax.jit(my_kernel.bind)(x))),
    "unused, of a jit":            lambda x: jax.jit(lambda x: (my_kernel.bind(x), jnp.sum(x * x)))(x)[1],
    "stopped in a jit":            lambda x: jax.jit(lambda x: jnp.sum(x * lax.stop_gradient(my_kernel.bind(x))))(x),
    "unused, of a scan":           lambda x: jnp.sum(lax.scan(lambda c, _: (c * 2, my_kernel.bind(c)), x, length=2)[0]),
    "stopped in a scan":           lambda x: jnp.sum(lax.scan(lambda c, _: (c * lax.stop_gradient(my_kernel.bind(c)), None), x, length=2)[0]),
    "of a scan's integers":        lambda x: jnp.sum(lax.scan(lambda c, i: (c * my_kernel.bind(i), None), x, jnp.arange(2))[0]),
}
# fmt: on


@pytest.mark.parametrize("compiled", [False, True], ids=["eagerly", "under jit"])
@pytest.mark.parametrize("what", NOT_NEEDED)
def test_raised_only_when_needed(what, compiled):
    if compiled and what == "a condition in Python":
        pytest.skip("Python cannot branch on it under jit")
    gradient = bp.grad(NOT_NEEDED[what])
    (jax.jit(gradient) if compiled else gradient)(X)


@pytest.mark.parametrize("compiled", [False, True], ids=["eagerly", "under jit"])
def test_not_raised_for_aux(compiled):
    gradient = bp.grad(lambda x: (jnp.sum(x * x), {"seen": my_kernel.bind(x)}), has_aux=True)
    value, aux = (jax.jit(gradient) if compiled else gradient)(X)
    assert (value == 2 * X).all()
    assert (aux["seen"] == 2 * X).all()


def test_not_raised_for_an_argument_not_asked_for():
    bp.grad(lambda x, y: jnp.sum(x * my_kernel.bind(y)))(X, X)
    with pytest.raises(MissingRule):
        bp.grad(lambda x, y: jnp.sum(x * my_kernel.bind(y)), argnums=1)(X, X)


def test_a_batching_rule_is_no_derivative():
    negative = jax.custom_batching.sequential_vmap(lambda x: -x)
    for differentiate in (jax.grad, bp.grad):
        with pytest.raises(ValueError, match="known values for all output primals") as caught:
            differentiate(negative)(1.0)
    assert isinstance(caught.value, MissingRule)
    assert "\n  written at: tests/test_errors.py" in str(caught.value)
    ruled = jax.custom_vjp(negative)
    ruled.defvjp(lambda x: (negative(x), None), lambda _, g: (-g,))
    assert bp.grad(ruled)(1.0) == -1


CALLBACKS = {
    "pure_callback": lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), "float32"), x),
    "io_callback": lambda x: io_callback(np.sin, jax.ShapeDtypeStruct((), "float32"), x),
}

KINDS = {"pure_callback": "Pure", "io_callback": "IO"}


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_says_what_to_do(name):
    first = text_of(lambda: bp.grad(CALLBACKS[name])(1.0)).splitlines()[0]
    assert first == (
        f"no rule for primitive '{name}': {KINDS[name]} callbacks do not support JVP, nor its "
        "reverse: it calls Python; give the function that calls it a jax.custom_vjp rule, or one "
        "of jax.custom_jvp."
    )
    for m in (bp, jax):
        with pytest.raises(ValueError, match=f"{KINDS[name]} callbacks do not support JVP"):
            m.grad(CALLBACKS[name])(1.0)
    assert bp.grad(lambda x: x * CALLBACKS[name](lax.stop_gradient(x)))(1.0) == np.sin(
        np.float32(1)
    )


# -- missing(...) in a row of the table ------------------------------------------------
half_known = Primitive("half_known")
half_known.def_impl(lambda x, y: x * y)
half_known.def_abstract_eval(lambda x, y: x)


def test_a_derivative_that_is_not_written_says_why():
    elementwise(half_known, lambda g, y: g * y, missing("nobody has worked it out, see issue 7"))
    text = text_of(lambda: bp.grad(lambda y: jnp.sum(half_known.bind(X, y)))(X))
    assert text.split("\n")[:2] == [
        "no rule for primitive 'half_known': nobody has worked it out, see issue 7.",
        "  equation:   float32[3] = half_known float32[3] float32[3]",
    ]
    assert (bp.grad(lambda x: jnp.sum(half_known.bind(x, X)))(X) == X).all()


# -- custom_jvp rules that are not linear ----------------------------------------------
def with_rule(rule: Callable) -> Callable:
    """Returns a function whose `custom_jvp` rule takes a tangent t and the operand x."""
    f = jax.custom_jvp(lambda x: jnp.sin(x))
    f.defjvp(lambda primals, tangents: (f(*primals), rule(*tangents, *primals)))
    return f


# fmt: off
NOT_LINEAR: dict[str, Callable] = {
    "a square":          with_rule(lambda t, x: t * t),
    "a power":           with_rule(lambda t, x: t**2),
    "a sine":            with_rule(lambda t, x: jnp.sin(t) * x),
    "an absolute value": with_rule(lambda t, x: abs(t)),
    "a sign":            with_rule(lambda t, x: jnp.sign(t) * x),
    "a quotient":        with_rule(lambda t, x: x / (1 + t)),
    "a maximum":         with_rule(lambda t, x: jnp.maximum(t, 0.0)),
    "within a jit":      with_rule(lambda t, x: jax.jit(lambda t: t * t)(t)),
}
# fmt: on


@pytest.mark.parametrize("what", NOT_LINEAR)
def test_not_linear(what):
    assert text_of(lambda: bp.grad(lambda x: jnp.sum(NOT_LINEAR[what](x)))(X), NotLinear) == (
        "this jax.custom_jvp rule is not linear in its tangents, so it has no reverse.\n"
        "  to go on:   let every tangent enter the rule's result as a factor, once, or use "
        "jax.custom_vjp."
    )


def test_linear_rules_are_not_accused():
    rules = {
        "scaled": lambda t, x: 3 * t * x,
        "divided": lambda t, x: t / x,
        "twice": lambda t, x: t * x + jnp.cos(x) * t,
        "chosen": lambda t, x: jnp.where(x > 1, t, -t),
        "summed": lambda t, x: jnp.broadcast_to(jnp.sum(t), x.shape),
        "contracted": lambda t, x: jnp.outer(x, x) @ t,
        "compiled": lambda t, x: jax.jit(lambda t, x: t * x)(t, x),
        "in a loop": lambda t, x: lax.scan(lambda c, _: (c * x, None), t, length=2)[0],
        "none": lambda t, x: jnp.zeros_like(t),
    }
    for rule in rules.values():
        bp.grad(lambda x, rule=rule: jnp.sum(with_rule(rule)(x)))(X)


# -- the book of rules -----------------------------------------------------------------
def test_a_second_rule_is_refused():
    primitive = new_primitive("ruled_twice")
    linear(primitive, lambda g: 2 * g)
    for again in (
        lambda: linear(primitive, lambda g: g),
        lambda: elementwise(primitive, lambda g, x: g * x),
        lambda: piecewise_constant(primitive),
    ):
        text = text_of(again, ValueError)
        assert text == "primitive 'ruled_twice' has a rule already: linear."
    assert bp.grad(lambda x: primitive.bind(x))(1.0) == 2


@pytest.mark.parametrize(
    ("formula", "reads"),
    [
        (lambda g, ans: g, "['g', 'ans']"),
        (lambda x, g: g, "['x', 'g']"),
        (lambda: 0, "[]"),
    ],
)
def test_a_formula_with_an_unknown_name_is_refused(formula, reads):
    primitive = new_primitive("misread")
    for verb in (elementwise, linear):
        text = text_of(lambda verb=verb: verb(primitive, formula), ValueError)
        assert text.endswith(f"this one reads {reads}.")
        assert text.startswith("a formula reads g, then any of x, y, w")
    with pytest.raises(ValueError, match="a formula reads g"):
        pullback(primitive)(formula)
    assert lookup(primitive) is None


def test_a_linear_formula_sees_shapes_and_no_values():
    primitive, seen = new_primitive("blind"), []
    linear(primitive, lambda g, x: (seen.append(x), 2 * g)[1])
    bp.grad(lambda x: jnp.sum(primitive.bind(x)))(X)
    assert seen[0].shape == (3,)
    assert not isinstance(seen[0], jax.Array)


def test_a_new_primitive_with_a_rule_works_to_any_order():
    primitive = new_primitive("doubled")
    linear(primitive, lambda g: primitive.bind(g))
    f = lambda x: jnp.sum(primitive.bind(x) ** 3)  # noqa: E731
    expected = jax.grad(lambda x: jnp.sum(jax.grad(lambda x: jnp.sum((2 * x) ** 3))(x)))(X)
    assert jnp.allclose(bp.grad(lambda x: jnp.sum(bp.grad(f)(x)))(X), expected)
    assert jnp.allclose(jax.jit(bp.grad(f))(X), jax.grad(lambda x: jnp.sum((2 * x) ** 3))(X))


def test_a_solve_that_cannot_be_transposed_is_an_error_when_that_is_asked_for():
    matrix = np.array([[2.0, 1.0], [0.0, 3.0]], np.float32)

    def solution(b):
        solve = lambda _, b: jnp.linalg.solve(matrix, b)  # noqa: E731
        return lax.custom_linear_solve(lambda v: matrix @ v, b, solve)

    value, pullback = bp.vjp(solution, matrix[0])
    np.testing.assert_allclose(matrix @ value, matrix[0], rtol=1e-6)
    for error in (TypeError, MissingRule):
        with pytest.raises(error, match="transpose_solve required"):
            pullback(value)
    with pytest.raises(TypeError, match="transpose_solve required"):
        jax.jit(bp.grad(lambda b: solution(b).sum()))(matrix[0])
