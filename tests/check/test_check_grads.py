# ruff: noqa: E501 (rows of a table stay rows)
"""`check_grads`: what is wrong is found and named, what is right passes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads as check_grads_of_jax

import backprop_jax as bp

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), dtype)


def scaled_at(place: int, factor: float):
    """Returns the sine, with a gradient that is wrong by a factor at one place."""

    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    def backward(x, g):
        return ((g * jnp.cos(x)).at[place].multiply(factor),)

    sine.defvjp(lambda x: (jnp.sin(x), x), backward)
    return sine


@jax.custom_jvp
def without_slope(x):
    return jnp.sin(x)


without_slope.defjvp(lambda x, t: (jnp.sin(x[0]), jnp.zeros_like(t[0])))


def passes(check, *args, **options) -> bool:
    try:
        check(*args, **options)
    except AssertionError:
        return False
    return True


# -- what jax.test_util.check_grads judges wrongly -----------------------------------------
# fmt: off
MISJUDGED = {
    # name:                         function,                        operand,                             right
    "a zero for a slope, n = 1,000": (without_slope,                  normal(1000),                        False),
    "one of 10,000 wrong by 1 %":    (lambda x: scaled_at(1234, 1.01)(x).sum(), normal(10_000),            False),
    "right, a sum of 1,000,000":     (lambda x: jnp.sum(jnp.sin(x) * x), normal(1_000_000),                True),
    "right, in bfloat16":            (lambda x: jnp.sum(jnp.sin(x) * x), normal(1000, dtype="bfloat16"),   True),
    "the logarithm at 1e-5":         (jnp.log,                        jnp.float32(1e-5),                   True),
}
# fmt: on


@pytest.mark.parametrize("name", MISJUDGED)
def test_judges_rightly_what_check_grads_of_jax_does_not(name):
    function, x, right = MISJUDGED[name]
    mode = "fwd" if function is without_slope else "rev"
    assert passes(check_grads_of_jax, function, (x,), 1, (mode,)) != right
    assert passes(bp.check_grads, function, (x,), 1, (mode,)) == right
    if x.size < 1e6:
        assert passes(bp.check_grads, function, (x,), 1, (mode,), engine="jax") == right


# -- right, and near to what is not differentiable ------------------------------------------
def mixed(p, n):
    return {"a": jnp.tanh(p["w"] @ p["w"])[n], "b": jnp.sum(jnp.abs(p["z"]) ** 2)}


# fmt: off
RIGHT = {
    "a tree, an integer":       (mixed, ({"w": normal(3, 3), "z": normal(2) + 1j * normal(2)}, 1), 1),
    "second order":             (lambda x, y: jnp.sin(x) * y, (0.5, 2.0), 2),
    "holomorphic":              (lambda z: jnp.exp(z) / z, (jnp.array([1 + 2j, 0.3 - 0.1j]),), 1),
    "a kink":                   (jax.nn.relu, (jnp.array([0.0, 1.0, -1.0]),), 1),
    "a tie":                    (jnp.max, (jnp.array([1.0, 1.0, -1.0]),), 1),
    "a root at zero":           (jnp.sqrt, (jnp.array([0.0, 1.0]),), 1),
    "the edge of the domain":   (lambda x: jnp.arccosh(x) + jnp.arcsin(1 / x), (jnp.array([1.0000001, 1.5]),), 1),
    "a pole":                   (lambda x: 1 / (x - 1), (jnp.array([1.0000001, 1.5]),), 1),
    "a saturated sigmoid":      (jax.nn.sigmoid, (jnp.array([40.0, -40.0, 0.5]),), 1),
    "what little tanh leaves":  (jax.nn.gelu, (jnp.array([-7.0, -6.9, 0.3]),), 1),
    "faster than the steps":    (jnp.sin, (jnp.array([1e10, 3e20, 0.3]),), 1),
    "a wall next to the point": (lambda x: jnp.log1p(x) + jnp.arctanh(x), (jnp.array([-0.9999999, 0.99999994, 0.3]),), 1),
    "large and small":          (jnp.exp, (jnp.linspace(-60.0, 60.0, 7),), 1),
    "piecewise constant":       (jnp.floor, (normal(4),), 1),
    "float32 within":           (lambda x: jnp.sum(jnp.sin(x.astype("float32")) ** 2), (normal(3),), 1),
    "other numbers in float64": (lambda x: jnp.sum(x * jax.random.normal(jax.random.key(0), (4,))), (normal(4),), 1),
    "a branch in Python":       (lambda x: x * x if x > 0 else -x, (2.0,), 1),
    "a loop":                   (lambda x: lax.scan(lambda c, z: (jnp.sin(c * z), c), 1.0, x), (normal(3),), 1),
    "no operands that move":    (lambda n: n + 1, (3,), 1),
    "float16":                  (lambda x: jax.nn.softmax(3 * x), (normal(9, dtype="float16"),), 1),
}
# fmt: on


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name):
    function, args, order = RIGHT[name]
    report = bp.check_grads(function, args, order)
    assert report.ok
    assert report.worst <= 1


# -- wrong ----------------------------------------------------------------------------------
def loss(params, x, y):
    return jnp.sum((x @ params["w"] + params["b"] - y) ** 2)


PARAMS = {"w": jnp.array([0.5, -1.0]), "b": jnp.float32(0.25)}
X, Y = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), jnp.array([1.0, 0.0, 1.0])


def by_hand(params, x, y):
    residual = x @ params["w"] + params["b"] - y
    grad_params = {"b": jnp.sum(residual), "w": 2 * x.T @ residual}  # The bias wants a factor 2.
    return grad_params, 2 * jnp.outer(residual, params["w"]), -2 * residual


def test_the_text_names_the_element_and_both_sides():
    with pytest.raises(AssertionError) as raised:
        bp.check_grads(loss, (PARAMS, X, Y), gradient=by_hand)
    text = re.sub(r"± \S+", "± bar", str(raised.value))
    assert text.splitlines() == [
        "WRONG: by_hand on 'loss'",
        "  wrong:                 the gradient at params['b'], float32[]",
        "  by_hand, float64:      -8.75   <- judged",
        "  backprop_jax, float64: -17.5",
        "  jax.grad, float64:     -17.5",
        "  measured:              -17.5 ± bar   differences extrapolated, in float64",
        "  ratio:                 0.5",
        "  Taylor:                what the judged one leaves over falls as h^1.00, "
        "what the measured one leaves as h^2.00",
    ]


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_of_many_elements_the_wrong_one_is_named(mode):
    with pytest.raises(AssertionError, match=r"at x\[77\], float32\[500\]\n.*\n.*1\.01|") as raised:
        bp.check_grads(scaled_at(77, 1.01), (normal(500),), modes=mode)
    assert "x[77]" in str(raised.value)


def test_only_the_short_precision_is_wrong():
    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    def backward(x, g):
        short = x.dtype == jnp.float32
        return ((g * jnp.cos(x)).at[2].multiply(1.01 if short else 1.0),)

    sine.defvjp(lambda x: (jnp.sin(x), x), backward)
    with pytest.raises(AssertionError, match=r"at x\[2\], float32\[5\]"):
        bp.check_grads(sine, (normal(5),), modes="rev")


def test_the_second_order_is_wrong():
    @jax.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, g: (2 * g * lax.stop_gradient(x),))
    bp.check_grads(square, (3.0,), modes="rev")
    with pytest.raises(AssertionError, match="second order"):
        bp.check_grads(square, (3.0,), 2, "rev")


def test_not_a_number_where_there_is_a_slope():
    def sinc(x):
        return jnp.where(x == 0, 1.0, jnp.sin(x) / x)

    with pytest.raises(AssertionError, match="nan   <- judged"):
        bp.check_grads(sinc, (jnp.array([0.0, 1.0]),), modes="rev")


@pytest.mark.parametrize("gradient", [lambda x: x[:2], lambda x: (x, x)], ids=["shape", "tree"])
def test_the_gradient_has_another_shape(gradient):
    with pytest.raises(AssertionError, match=r"must be float|has the structure"):
        bp.check_grads(lambda x: jnp.sum(x**2), (normal(3),), gradient=gradient)


def test_tolerances_are_those_of_the_user():
    args = (scaled_at(1, 1.01), (normal(3),))
    assert passes(bp.check_grads, *args, modes="rev", rtol=0.1)
    assert passes(bp.check_grads, *args, modes="rev", rtol={jnp.float32: 0.1})
    assert not passes(bp.check_grads, *args, modes="rev", rtol={jnp.float64: 0.1})
    assert passes(bp.check_grads, *args, modes="rev", atol=0.1)


def of_dtype(*dtypes):
    """Returns the sine of arrays of these dtypes, which refuses others."""

    def sine(x):
        assert x.dtype in dtypes, f"no {x.dtype}"
        return jnp.sin(x)

    return sine


def test_a_function_that_refuses_float64_is_judged_in_float32():
    x = normal(20, dtype="bfloat16")
    report = bp.check_grads(of_dtype(jnp.bfloat16, jnp.float32), (x,))
    assert report.notes == ["not judged in float64: it fails there: no float64"]
    assert report.unjudged < 0.2 * report.questions


def test_a_derivative_that_refuses_float64_is_judged_in_float32():
    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    factor = jnp.float32(1.01)

    def backward(x, g):
        return ((g * jnp.cos(x) * factor).astype(jnp.float32),)

    sine.defvjp(lambda x: (jnp.sin(x), x), backward)
    with pytest.raises(AssertionError, match=r"extrapolated, in float32(.|\n)*note: not judged in"):
        bp.check_grads(sine, (normal(5),), modes="rev")


def test_what_nothing_tells_is_not_passed():
    with pytest.raises(
        AssertionError, match=r"NOT JUDGED(.|\n)*no float32\n  to go on:   operands"
    ):
        bp.check_grads(of_dtype(jnp.bfloat16), (jnp.bfloat16(0.5),))


@pytest.mark.parametrize("mode", ["fwd", "rev", "lin"])
def test_who_is_judged(mode):
    report = bp.check_grads(jnp.sin, (0.5,), modes=mode, engine=jax)
    assert (report.engine, report.verdict) == ("jax", "ok")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"modes": ("rew",)}, "modes must be some of fwd, rev, lin; got .'rew'."),
        ({"order": 0}, "order must be 1 or more; got 0"),
        ({"engine": "torch"}, "engine must be one of"),
        ({"gradient": jnp.cos, "order": 2}, "of order 1"),
    ],
)
def test_options_that_are_not_there(options, text):
    with pytest.raises(ValueError, match=text):
        bp.check_grads(jnp.sin, (1.0,), **options)


# -- at the ends of what numbers can say ----------------------------------------------------
# fmt: off
EXTREME = {
    "saturated":        (jnp.tanh,                       np.float32([8.3])),
    "cancelled":        (jnp.sinc,                       np.float32([1.5199110e-4])),
    "beside overflow":  (lax.rsqrt,                      np.array([18.0, 4e-266])),
    "far from 0":       (jax.scipy.special.log_ndtr,     np.array([6.9375, 1.0])),
    "many alike":       (jnp.sort,                       np.random.default_rng([2, 1000]).normal(size=1000).astype(jnp.bfloat16)),
}
# fmt: on


@pytest.mark.parametrize("name", EXTREME)
def test_what_is_right_passes_at_the_ends_of_what_numbers_can_say(name):
    function, x = EXTREME[name]
    with jax.enable_x64(True):
        bp.check_grads(function, (jnp.asarray(x),))


def test_rounding_excuses_no_mistake_in_the_users_precision():
    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    def backward(x, g):
        right = g * jnp.cos(x)
        return (right if x.dtype == np.float64 else right * 1.01,)

    sine.defvjp(lambda x: (jnp.sin(x), x), backward)
    with pytest.raises(AssertionError, match="the gradient at x"):
        bp.check_grads(sine, (jnp.float32([0.7, 0.9]),), modes="rev")
