# ruff: noqa: E501 (rows of a table stay rows)
"""Slopes measured lie within their error bars of those known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from backprop_jax.check.compare import compare
from backprop_jax.check.numerical.rounding import shaken
from backprop_jax.check.numerical.slopes import slopes
from backprop_jax.check.numerical.steps import bins, direction, sizes
from backprop_jax.check.numerical.ways import falling, one_step
from backprop_jax.check.witnesses.named import ask
from backprop_jax.check.witnesses.witness import Question

RNG = np.random.default_rng(0)
ONE = np.ones(1)

# fmt: off
SLOPES = {
    # name:                  function,                 point,  slope,                       error bar at most
    "smooth":                (np.sin,                  0.7,    np.cos(0.7),                 1e-9),
    "close to a singularity": (np.log,                 1e-5,   1e5,                         1e-4),
    "close to an edge":      (np.arcsin,               1 - 1e-6, 1 / np.sqrt(1 - (1 - 1e-6) ** 2), 1e-2),
    "at an edge":            (lambda x: np.where(x >= 1, (x - 1) ** 2 + x, np.nan), 1.0, 1.0, 1e-9),
    "large curvature":       (lambda x: np.sin(1e4 * x), 0.7, 1e4 * np.cos(7e3),            1.0),
    "steep":                 (np.exp,                  300.0,  np.exp(300.0),               1e-6 * np.exp(300.0)),
    "flat":                  (lambda x: x**0,          0.7,    0.0,                         1e-9),
}
# fmt: on


@pytest.mark.parametrize("name", SLOPES)
def test_the_slope_lies_within_its_error_bar(name):
    function, x, slope, most = SLOPES[name]
    with np.errstate(all="ignore"):
        v = sizes(np.array([x]))
        found = slopes(function, np.array([x]), v)
    assert abs(found.value[0] / v[0] - slope) <= found.error[0] / v[0] <= most


@pytest.mark.parametrize("way", ["forward", "central"])
@pytest.mark.parametrize("name", ["smooth", "close to a singularity", "steep"])
def test_one_difference_brings_an_error_bar(way, name):
    function, x, slope, _ = SLOPES[name]
    v = sizes(np.array([x]))
    value, error = one_step(way, function, np.array([x]), v, 2.0**-52)
    assert abs(value[0] / v[0] - slope) <= error[0] / v[0] <= 1e-4 * abs(slope) * max(1, x)


def test_both_sides_of_a_kink():
    found = slopes(lambda x: np.maximum(x, 3 * x), np.zeros(1), ONE)
    assert found.kinks[0]
    np.testing.assert_allclose([found.low[0], found.high[0]], [1, 3])


def test_a_pole_between_the_steps_is_no_smooth_place():
    x = np.array([2 * (1 + 1e-11)])
    assert not np.isfinite(slopes(lambda x: (x - 2.0) ** -2, x, sizes(x)).error[0])


def test_stairs_of_rounding_are_not_flat():
    x = np.array([7.0])
    found = slopes(lambda x: np.log((1 + np.tanh(x)) / 2), x, sizes(x))  # -8e-7 in steps of 1e-16
    slope = sizes(x)[0] * 2 / (np.exp(14) + 1)
    assert abs(found.value[0] - slope) <= found.error[0] <= 1e-3 * slope


def test_a_step_that_has_no_rounding_error():
    x = RNG.normal(size=1000)
    v = direction(x, RNG)
    assert np.all((x + 2.0**-20 * v) - x == 2.0**-20 * v)


def test_what_is_small_is_measured_apart():
    masks = bins(np.array([1.0, 0.5, 1e-3, 0.0]))
    assert [mask.tolist() for mask in masks] == [
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]


def test_the_rate_tells_right_from_wrong():
    x = np.array([0.7])
    rates = falling(np.sin, x, x, ONE, 0.7 * np.cos(0.7) * 1.01, 0.7 * np.cos(0.7))
    np.testing.assert_allclose(rates, [1, 2], atol=0.05)


def golden(x):
    """The x with x = sqrt(1 + x): a loop that ends when two numbers are the same."""

    def trip(c):
        return c[1], lax.sqrt(1 + c[1])

    return [lax.while_loop(lambda c: c[0] != c[1], trip, (x, x + 1))[1]]


def series(x):
    """The exponential term by term, which cancel if x is negative."""

    def add(k, c):
        term = c[1] * x / k
        return c[0] + term, term

    return [lax.fori_loop(1, 30, add, (jnp.ones_like(x), jnp.ones_like(x)))[0]]


@pytest.mark.parametrize(
    ("function", "x", "least", "most"), [(golden, 0.5, 1, 9), (series, -3.0, 20, 900)]
)
def test_roundings_within_a_loop_are_thrown_anew(function, x, least, most):
    (plain,) = function(jnp.float32(x))
    anew = np.array([shaken(function)(throw, jnp.float32(x))[0] for throw in range(3)])
    ulp = np.max(np.abs(anew / plain - 1)) / np.finfo(np.float32).eps
    assert least <= ulp <= most


# -- as witnesses ---------------------------------------------------------------------------
def loss(params, x):
    return jnp.sum(jnp.tanh(x @ params["w"]) ** 2) + params["b"]


PARAMS = {"w": jnp.array([0.5, -1.0]), "b": jnp.float32(0.25)}
X = jnp.array([[1.0, 2.0], [0.3, 0.4]])
ALL = ("numerical", "central", "forward", "complex", "directions", "taylor")


def test_all_see_what_is_right_and_what_is_wrong():
    report = compare(loss, PARAMS, X, witnesses=ALL)
    assert report.ok, report

    def by_hand(params, x):
        return jax.tree.map(lambda g: 1.01 * g, jax.grad(loss)(params, x))

    report = compare(loss, PARAMS, X, witnesses=ALL, gradient=by_hand)
    blind = [o.name for leaf in report.leaves for o in leaf.opinions if o.verdict.word != "BAD"]
    assert not blind


def test_error_bars_are_true():
    truth = jax.grad(loss)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda z: z.astype("float64"), (PARAMS, X))
        exact = np.asarray(truth(*wide)["w"])
    for name in ("numerical", "central", "forward", "complex"):
        found = ask(Question(loss, (PARAMS, X)), name)
        bar = found.errors["params['w']"]
        assert np.all(np.abs(found.leaves["params['w']"] - exact) <= bar), name
        assert np.all(bar < 1e-5), name


@pytest.mark.parametrize(
    ("name", "fun", "x", "why"),
    [
        ("complex", lambda x: jnp.sum(jnp.abs(x)), jnp.ones(2), "not analytic: abs at"),
        ("complex", lambda x: jnp.sum(x), 1j * jnp.ones(2), "the operands are complex already"),
        ("complex", jnp.sum, jnp.ones(3000), "3000 elements are too many to move one by one"),
        ("complex", lambda x: x // 2, jnp.float32(3), "it does not take complex numbers"),
        ("complex", lambda x: x.astype("float32"), jnp.float32(3), "not computed in float64"),
    ],
)
def test_says_why_it_does_not_apply(name, fun, x, why):
    assert why in ask(Question(fun, (x,)), name).why_not


def test_many_elements_are_moved_along_directions():
    x = jnp.asarray(RNG.normal(size=10_000), "float32")

    def gradient(x):
        return (2 * x).at[jnp.argmax(x)].multiply(1.01)

    def square(x):
        return jnp.sum(x**2)

    assert compare(square, x, witnesses=("numerical",)).ok
    assert not compare(square, x, witnesses=("numerical",), gradient=gradient).ok


def test_complex_operands_and_results():
    z = jnp.array([1 + 2j, 0.3 - 0.1j])
    real = compare(lambda z: jnp.sum(jnp.abs(z) ** 3), z, witnesses=("numerical", "directions"))
    whole = compare(jnp.exp, z[0], holomorphic=True, witnesses=("numerical", "central"))
    assert real.ok, real
    assert whole.ok, whole
