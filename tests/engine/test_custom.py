"""Rules that users bring along: called when they should be, with what they should be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import checkify
from jax.extend.core import Primitive
from numpy.testing import assert_allclose

import backprop_jax as bp
from backprop_jax.errors import MissingRule, NotLinear

X = np.array([0.5, -1.5, 2.0], np.float32)


def logged(calls: list) -> Any:
    """Returns a function with a rule that writes down which of its halves run."""

    @jax.custom_vjp
    def fun(x: Any, y: Any) -> Any:
        calls.append("function")
        return x * y

    def fwd(x: Any, y: Any) -> tuple:
        calls.append("forward")
        return x * y, (x, y)

    def bwd(kept: tuple, g: Any) -> tuple:
        calls.append("back")
        x, y = kept
        return 10 * g * y, 100 * g * x

    fun.defvjp(fwd, bwd)
    return fun


def test_both_halves_run_once():
    calls: list = []
    fun = logged(calls)
    gradient = bp.grad(lambda x, y: jnp.sum(fun(x, y)), (0, 1))(X, 2 * X)
    np.testing.assert_allclose(gradient, (20 * X, 100 * X), rtol=1e-6)
    assert [call for call in calls if call != "function"] == ["forward", "back"]


def test_no_rule_runs_for_constants():
    calls: list = []
    fun = logged(calls)
    np.testing.assert_array_equal(bp.grad(lambda x: jnp.sum(x * fun(X, X)))(X), X * X)
    assert set(calls) == {"function"}


def test_no_way_back_where_no_cotangent_comes():
    calls: list = []
    fun = logged(calls)
    bp.grad(lambda x: jnp.sum(x) + 0 * jnp.sum(lax.stop_gradient(fun(x, x))))(X)
    assert "back" not in calls


def test_the_same_under_jit_scan_vmap_and_cond():
    fun = logged([])
    expected = 10 * X
    ways = {
        "jit": jax.jit(bp.grad(lambda x: jnp.sum(fun(x, X)))),
        "within a jit": bp.grad(jax.jit(lambda x: jnp.sum(fun(x, X)))),
        "scan": bp.grad(lambda x: lax.scan(lambda c, xy: (c + fun(*xy), None), 0.0, (x, X))[0]),
        "map": bp.grad(lambda x: jnp.sum(lax.map(lambda xy: fun(*xy), (x, X)))),
        "vmap": jax.vmap(bp.grad(fun), (0, 0)),
        "within a vmap": bp.grad(lambda x: jnp.sum(jax.vmap(fun)(x, X))),
        "cond": bp.grad(lambda x: jnp.sum(lax.cond(x[0] > 0, fun, lambda x, y: x, x, X))),
        "checkpoint": bp.grad(jax.checkpoint(lambda x: jnp.sum(fun(x, X)))),
    }
    for way, gradient in ways.items():
        found = gradient(X, X) if way == "vmap" else gradient(X)
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=way)


def test_a_wrong_shape_from_a_rule_is_an_error():
    @jax.custom_vjp
    def fun(x: Any) -> Any:
        return x

    fun.defvjp(lambda x: (x, None), lambda _, g: (jnp.sum(g),))
    with pytest.raises(ValueError, match="must produce an output with the same"):
        bp.grad(lambda x: jnp.sum(fun(x)))(X)


def test_too_few_cotangents_from_a_rule_is_an_error():
    @jax.custom_vjp
    def fun(x: Any, y: Any) -> Any:
        return x * y

    fun.defvjp(lambda x, y: (x * y, y), lambda y, g: (g * y,))
    with pytest.raises(TypeError, match="structure"):
        bp.grad(lambda x: jnp.sum(fun(x, x)))(X)


def test_a_rule_without_its_halves_is_an_error():
    @jax.custom_vjp
    def fun(x: Any) -> Any:
        return x

    with pytest.raises(AttributeError, match="No VJP defined for custom_vjp function fun"):
        bp.grad(fun)(1.0)


def test_a_custom_jvp_without_a_rule_is_an_error():
    @jax.custom_jvp
    def fun(x: Any) -> Any:
        return x

    with pytest.raises(AttributeError, match="No JVP defined for custom_jvp function fun"):
        bp.grad(fun)(1.0)


def test_relu_of_jax_and_of_ours_at_zero():
    assert bp.grad(jax.nn.relu)(0.0) == jax.grad(jax.nn.relu)(0.0) == 0


def test_a_linear_function_may_be_its_own_tangent():
    """In a rule, tangents go through the function itself, not through its rule again."""

    @jax.custom_jvp
    def double(x: Any) -> Any:
        return 2 * x

    @double.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        return double(*primals), double(*tangents)

    def loop(x: Any) -> Any:
        return jnp.sum(lax.scan(lambda c, _: (double(c), None), x, length=3)[0])

    np.testing.assert_array_equal(bp.grad(loop)(X), np.full(3, 8.0))
    np.testing.assert_array_equal(jax.jit(bp.grad(loop))(X), np.full(3, 8.0))


def branches(x: Any) -> Any:
    return jnp.sin(lax.cond(x > 0, jnp.exp, jnp.tanh, x))


def branches_of_a_branch(x: Any) -> Any:
    return lax.cond(x < 5, branches, jnp.cos, x)


def branches_in_a_loop(x: Any) -> Any:
    return lax.scan(lambda c, _: (branches(x * c), c), x, length=3)[0]


@pytest.mark.parametrize("fun", [branches_of_a_branch, branches_in_a_loop])
def test_a_rule_may_be_the_slope_of_branches(fun):
    """On the way back the slope of a branch is asked for, and a branch gives its value with it."""

    @jax.custom_jvp
    def ruled(x: Any) -> Any:
        return fun(x)

    ruled.defjvp(lambda primals, tangents: jax.jvp(fun, primals, tangents))
    assert_allclose(bp.grad(ruled)(0.7), jax.grad(fun)(0.7), rtol=1e-6)
    assert_allclose(jax.jit(bp.grad(ruled))(0.7), jax.grad(fun)(0.7), rtol=1e-6)


def test_a_rule_that_is_not_linear_within_a_loop_is_an_error():
    @jax.custom_jvp
    def ruled(x: Any) -> Any:
        return x

    @ruled.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        def step(c: Any, _: Any) -> tuple:
            return c * tangents[0], None

        return primals[0], lax.scan(step, tangents[0], length=2)[0]

    with pytest.raises(NotLinear, match="not linear in its tangents"):
        bp.grad(ruled)(0.7)


def test_a_constant_for_a_cotangent_within_a_loop():
    @jax.custom_vjp
    def fun(x: Any) -> Any:
        return x

    fun.defvjp(lambda x: (x, None), lambda _, g: (2.0,))

    def loop(x: Any) -> Any:
        return lax.scan(lambda c, _: (fun(c), None), x, length=1)[0]

    assert bp.grad(loop)(1.0) == jax.grad(loop)(1.0) == 2


def test_a_rule_may_index_a_constant_with_a_tracer():
    @jax.custom_vjp
    def fun(x: Any, table: Any) -> Any:
        return x * table[0]

    def back(table: Any, g: Any) -> tuple:
        return g * jax.vmap(lambda i: table[i])(jnp.arange(3)).sum(), jnp.zeros(3)

    fun.defvjp(lambda x, table: (fun(x, table), table), back)
    for gradient in (bp.grad, lambda f: jax.vmap(bp.grad(jax.jit(f)))):
        assert np.all(gradient(lambda x: jnp.sum(fun(x, X)))(jnp.ones(1)) == X.sum())


def test_closure_convert_hoists_what_is_differentiated():
    @jax.custom_vjp
    def outer(x: Any, *hoisted: Any) -> Any:
        raise AssertionError("the rule runs instead")

    def differentiated(c: Any, x: Any) -> Any:
        fun, hoisted = jax.closure_convert(lambda x: jnp.sum(jnp.sin(x * c)), x)
        outer.defvjp(
            lambda x, *rest: (fun(x, *rest), [10 * r for r in rest]),
            lambda kept, g: (g * X, *kept),
        )
        return outer(x, *hoisted)

    np.testing.assert_array_equal(bp.grad(differentiated)(X, X), 10 * X)


def test_a_number_given_as_cotangent_stays_one_until_a_rule_reads_it():
    @jax.custom_vjp
    def fun(x: Any) -> Any:
        return x

    fun.defvjp(lambda x: (x, None), lambda _, g: (g + 1,))
    (gradient,) = bp.vjp(fun, 3.0)[1](1.0)
    assert type(gradient) is float
    assert gradient == 2.0
    (gradient,) = bp.vjp(lambda x: x[::2].sum() * x.reshape(-1, 1), X)[1](np.ones((X.size, 1), "f"))
    np.testing.assert_allclose(gradient, jnp.sum(X[::2]) + X.sum() * (jnp.arange(X.size) % 2 == 0))


@pytest.mark.parametrize("loop", ["scan", "fori_loop"])
def test_carry_beside_what_moves_is_not_differentiated(loop: str):
    @jax.custom_jvp
    def time(t: Any) -> Any:
        return t

    @time.defjvp
    def refuse(primals: tuple, tangents: tuple) -> tuple:
        raise AssertionError("the time of a step does not move")

    step = jax.jit(lambda t, y: (t + 0.5, lax.round(y) + t, y * jnp.cos(t)))

    def body(carry: tuple) -> tuple:
        t, held, y = carry
        t, held, y = step(time(t), y)
        return t, time(held), y

    def fun(y: Any) -> Any:
        start = (jnp.float32(0), jnp.zeros_like(y), y)
        if loop == "scan":
            return lax.scan(lambda c, _: (body(c), None), start, length=3)[0][2].sum()
        return lax.fori_loop(0, 3, lambda _, c: body(c), start)[2].sum()

    np.testing.assert_allclose(bp.grad(fun)(X), jax.grad(fun)(X), rtol=1e-6)


def test_what_is_made_of_bits_has_a_derivative():
    """Since jax 0.11 `frexp` and `ldexp` are made of bit casts, whose derivative is zero."""
    x, n = jnp.array([1.5, -2.3, 8.0]), jnp.array([1, 2, -4])
    both = lambda x: (jnp.frexp(x)[0] * jnp.sin(x) + jnp.ldexp(jnp.sin(x), n)).sum()  # noqa: E731
    np.testing.assert_allclose(bp.grad(both)(x), jax.grad(both)(x), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(bp.grad(both))(x), jax.grad(both)(x), rtol=1e-6)
    np.testing.assert_allclose(bp.hessian(both)(x), jax.hessian(both)(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", [jax.scipy.special.xlogy, jax.scipy.special.xlog1py])
def test_a_value_beside_its_gradient_has_the_rule_of_its_function(function):
    """It is not what the function is made of: that chooses 0 at 0, and has no derivative there."""
    value = lambda x: bp.vjp(function, x, 3.0)[0]  # noqa: E731
    expected = jax.grad(function)(0.0, 3.0)
    assert expected > 1
    np.testing.assert_allclose(bp.grad(value)(0.0), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(value, (0.0,), (1.0,))[1], expected, rtol=1e-6)


@pytest.mark.parametrize("part", [lambda x: x[jnp.array([1, 2, 1])], lambda x: x[1:], lambda x: x])
def test_a_rule_may_give_a_wider_cotangent(part):
    """As in JAX it stays as wide; here on its way back to where it was read."""

    @jax.custom_vjp
    def fun(x: Any) -> Any:
        return x.astype("float32").sum()

    fun.defvjp(lambda x: (fun(x), x.shape), lambda shape, g: (jnp.full(shape, g, "float32"),))
    x = jnp.ones((5, 2), "bfloat16")
    ours, theirs = (grad(lambda x: fun(part(x)))(x) for grad in (bp.grad, jax.grad))
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_a_primitive_of_a_users_is_run_on_an_array_where_a_number_was_given():
    """It may tell arrays from constants, and what is made of constants has no derivative."""
    seen: list = []
    kernel_p = Primitive("kernel")
    kernel_p.def_impl(lambda x: seen.append(type(x)) or x * x)
    with pytest.raises(MissingRule, match="kernel"):
        bp.grad(kernel_p.bind)(5.0)
    assert issubclass(seen[0], jax.Array)


def logging_rule() -> Any:
    """Returns a function of two numbers whose reverse rule logs what it is given."""
    fun: Any = jax.custom_vjp(lambda x, y: jnp.sin(x) * y)

    def bwd(kept: tuple, g: Any) -> tuple:
        x, y = kept
        return (g * jnp.cos(x) * y, g * jnp.sin(x)), {"g": g}

    fun.defvjp_with_logs(lambda x, y: (fun(x, y), (x, y)), bwd)
    return fun


def in_a_loop(fun: Any, x: Any) -> Any:
    return lax.scan(lambda c, _: (2 * fun(c, 1.0), None), x, length=3)[0]


def in_a_branch(fun: Any, x: Any) -> Any:
    return lax.cond(x > 0, lambda x: 3 * fun(x, 1.0), lambda x: x, x)


@pytest.mark.skipif(not hasattr(jax.custom_vjp, "defvjp_with_logs"), reason="new in jax 0.11")
@pytest.mark.parametrize("within", [in_a_loop, in_a_branch])
def test_what_a_rule_logs_is_handed_over_with_the_cotangents(within):
    """As JAX does it, the type of what stands for the branches aside."""
    fun = logging_rule()
    ours, theirs = (of.vjp(lambda x: within(fun, x), 0.5)[1].with_logs(1.0) for of in (bp, jax))
    assert set(ours[1]) == set(theirs[1]) == {"g"}
    np.testing.assert_allclose(*map(np.hstack, map(jax.tree.leaves, (ours, theirs))), rtol=1e-6)


@pytest.mark.skipif(not hasattr(jax.custom_vjp, "defvjp_with_logs"), reason="new in jax 0.11")
def test_two_rules_must_not_log_under_one_name_and_an_unknown_number_of_trips_logs_nothing():
    fun = logging_rule()
    _, pull = bp.vjp(lambda x: fun(x, 1.0) + fun(x, 2.0), 0.5)
    with pytest.raises(ValueError, match="log key 'g': each must be unique"):
        pull(1.0)

    def trips(x: Any) -> Any:
        return lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, fun(c[1], 1.0)), (0, x))[1]

    _, pull = bp.vjp(lambda x: fun(trips(x), 1.0), 0.5)
    assert list(pull.with_logs(1.0)[1]) == ["g"]


def test_the_transpose_of_a_linear_call_is_the_users():
    """Here with another factor than the true one, so that it shows who is asked."""

    def loss(x, r, factor=3.0):
        scaled, total = jax.custom_derivatives.linear_call(
            lambda r, x: (r * x, x.sum()),
            lambda r, g: factor * g[0] * r + g[1],
            jnp.cos(r),
            x,
        )
        return jnp.sum(scaled**2) * total

    def calls(m):
        swept = jax.jit(m.grad(lambda x: lax.scan(lambda c, r: (c + loss(x, r), c), 0.0, X)[0]))
        return m.grad(loss)(X, X), m.grad(lambda x: jnp.sum(m.grad(loss)(x, X) ** 2))(X), swept(X)

    for ours, theirs in zip(calls(bp), calls(jax), strict=True):
        assert_allclose(ours, theirs, rtol=1e-5)
    plain = jax.grad(lambda r: jnp.sum((X * jnp.cos(r)) ** 2) * X.sum())(X)
    assert_allclose(
        bp.grad(loss, 1)(X, X), plain, rtol=1e-5
    )  # jax.grad: an assertion of its own fails


def test_a_rule_is_called_where_checkify_has_put_something_before_it():
    """JAX hands over its cotangents in another form there."""

    @jax.custom_vjp
    def fun(x: Any) -> Any:
        return jnp.sin(x)

    fun.defvjp(lambda x: (jnp.sin(x), 2 * x), lambda twice, g: (5 * g * twice,))

    def checked(x: Any) -> Any:
        checkify.check(x.sum() > -9, "low")
        return jnp.sum(fun(x))

    assert_allclose(bp.grad(lambda x: checkify.checkify(checked)(x)[1])(X), 10 * X, rtol=1e-6)
