# ruff: noqa: E501 (rows of a table stay rows)
"""Derivatives at kinks, ties and extremes: exact where a choice was made, against the truth elsewhere."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax import lax
from jax.scipy.special import betainc, gammainc, xlog1py, xlogy

import backprop_jax as bp
from backprop_jax.rules.alignment import alignment

INF = float("inf")


class Kink(NamedTuple):
    """A point where the derivative is a choice, a limit, or easily missed.

    Attributes:
      function: takes float32 arrays.
      at: the operands.
      expected: the cotangent of each operand, for a cotangent of ones.
      jax: what `jax.vjp` says, where it says something else; nothing, where it raises.
    """

    function: Callable
    at: tuple
    expected: tuple
    note: str
    jax: tuple | None = None


def top(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -INF, lax.max, (2,), (2,), "VALID")


def at_one(function: Callable) -> Callable:
    return lambda x: function(jnp.ones_like(x), x)


def multiplied(x: jax.Array, y: jax.Array) -> jax.Array:
    return x[None].at[jnp.zeros(y.shape, int)].multiply(y)


# fmt: off
KINKS = [
    # -- kinks: 0 of abs, half for each side where two meet ---------------------------
    Kink(lax.abs,                          (0.0,),            (0.0,),             "abs at 0", (1.0,)),
    Kink(lax.abs,                          (-0.0,),           (0.0,),             "abs at -0", (1.0,)),
    Kink(lax.abs,                          (0j,),             (0j,),              "abs of complex 0"),
    Kink(lax.sign,                         (0.0,),            (0.0,),             "sign at 0"),
    Kink(lax.max,                          (1.0, 1.0),        (0.5, 0.5),         "max of equals"),
    Kink(lax.min,                          (1.0, 1.0),        (0.5, 0.5),         "min of equals"),
    Kink(lambda x: jnp.maximum(x, 0.0),    (0.0,),            (0.5,),             "maximum(x, 0) at 0"),
    Kink(jax.nn.relu,                      (0.0,),            (0.0,),             "relu at 0: its own rule says 0"),
    Kink(lax.clamp,                        (0.0, 0.0, 1.0),   (0.5, 0.5, 0.0),    "clamp at the lower bound", (0.0, 0.0, 0.0)),
    Kink(lax.clamp,                        (0.0, 1.0, 1.0),   (0.0, 0.5, 0.5),    "clamp at the upper bound", (0.0, 0.0, 0.0)),
    Kink(lax.clamp,                        (0.0, -1.0, 1.0),  (1.0, 0.0, 0.0),    "clamp below"),
    Kink(lax.clamp,                        (0.0, 2.0, 1.0),   (0.0, 0.0, 1.0),    "clamp above"),
    Kink(lax.floor,                        (2.0,),            (0.0,),             "floor at a step"),
    Kink(lax.round,                        (0.5,),            (0.0,),             "round at a step"),
    # -- ties: equal shares ------------------------------------------------------------
    Kink(jnp.max,                          ([1.0, 3.0, 3.0],), ([0.0, 0.5, 0.5],), "reduce_max of two"),
    Kink(jnp.min,                          ([1.0, 1.0, 1.0, 3.0],), ([1 / 3, 1 / 3, 1 / 3, 0.0],), "reduce_min of three"),
    Kink(jnp.max,                          ([-INF, -INF],),   ([0.5, 0.5],),      "reduce_max of -inf"),
    Kink(lax.cummax,                       ([2.0, 2.0],),     ([1.5, 0.5],),      "cummax of equals"),
    Kink(lax.sort,                         ([2.0, 2.0, 1.0],), ([1.0, 1.0, 1.0],), "sort of equals"),
    Kink(lambda x: lax.sort(x)[1],         ([2.0, 2.0, 1.0],), ([1.0, 0.0, 0.0],), "sort of equals is stable"),
    Kink(lambda x, y: x.at[0].max(y),      ([1.0, 2.0], 1.0), ([0.5, 1.0], 0.5),  "scatter_max of equals"),
    Kink(lambda x, y: x.at[jnp.array([0, 0])].min(y), ([2.0, 2.0], [2.0, 2.0]), ([1 / 3, 1.0], [1 / 3, 1 / 3]), "scatter_min of three equals"),
    Kink(top,                              ([1.0, 1.0, 0.0, 2.0],), ([0.5, 0.5, 0.0, 1.0],), "max pool of equals", ([1.0, 0.0, 0.0, 1.0],)),
    Kink(lambda x: top(jnp.full_like(x, -INF)) + x[:2], ([1.0, 1.0, 0.0, 2.0],), ([1.0, 1.0, 0.0, 0.0],), "max pool of -inf"),
    Kink(lambda x: lax.top_k(x, 1)[0],     ([2.0, 2.0],),     ([1.0, 0.0],),      "top_k of equals"),
    # -- products with zeros -----------------------------------------------------------
    Kink(multiplied,                       (2.0, [0.0, 3.0, 5.0]), (0.0, [30.0, 0.0, 0.0]), "scatter_mul with a zero", ()),
    Kink(multiplied,                       (2.0, [0.0, 0.0, 5.0]), (0.0, [0.0, 0.0, 0.0]), "scatter_mul with two zeros", ()),
    Kink(jnp.prod,                         ([0.0, 2.0, 3.0],), ([6.0, 0.0, 0.0],), "prod with a zero"),
    Kink(jnp.prod,                         ([0.0, 0.0, 3.0],), ([0.0, 0.0, 0.0],), "prod with two zeros"),
    Kink(lambda x: lax.cumprod(x)[2],      ([2.0, 0.0, 3.0],), ([0.0, 6.0, 0.0],), "cumprod with a zero"),
    # -- powers and roots at zero ------------------------------------------------------
    Kink(lax.sqrt,                         (0.0,),            (INF,),             "sqrt at 0"),
    Kink(lax.cbrt,                         (0.0,),            (INF,),             "cbrt at 0"),
    Kink(lax.rsqrt,                        (0.0,),            (-INF,),            "rsqrt at 0"),
    Kink(lax.log,                          (0.0,),            (INF,),             "log at 0"),
    Kink(lax.log1p,                        (-1.0,),           (INF,),             "log1p at -1"),
    Kink(lax.asin,                         (1.0,),            (INF,),             "asin at 1"),
    Kink(lax.acos,                         (1.0,),            (-INF,),            "acos at 1"),
    Kink(lax.acosh,                        (1.0,),            (INF,),             "acosh at 1"),
    Kink(lax.atanh,                        (1.0,),            (INF,),             "atanh at 1"),
    Kink(lax.pow,                          (0.0, 0.0),        (0.0, 0.0),         "0**0", (np.nan, 0.0)),
    Kink(lax.pow,                          (0.0, 1.0),        (1.0, 0.0),         "0**1"),
    Kink(lax.pow,                          (0.0, 2.0),        (0.0, 0.0),         "0**2"),
    Kink(lax.pow,                          (0.0, 0.5),        (INF, 0.0),         "0**0.5"),
    Kink(lax.pow,                          (3.0, 0.0),        (0.0, float(np.log(3))), "3**0"),
    Kink(lax.pow,                          (-2.0, 3.0),       (12.0, np.nan),     "(-2)**3 has no slope in y"),
    Kink(lambda x: x**0,                   (0.0,),            (0.0,),             "x**0 at 0"),
    Kink(lambda x: x**1,                   (0.0,),            (1.0,),             "x**1 at 0"),
    Kink(lambda x: x**2,                   (0.0,),            (0.0,),             "x**2 at 0"),
    Kink(lambda x: x**2.0,                 (0.0,),            (0.0,),             "x**2.0 at 0"),
    Kink(lambda x: x**-1,                  (0.0,),            (-INF,),            "1/x at 0"),
    Kink(lax.rem,                          (4.0, 2.0),        (1.0, -2.0),        "remainder of a multiple"),
    # -- special functions at the ends of where they live --------------------------------
    Kink(lax.bessel_i0e,                   (0.0,),            (0.0,),             "i0e at 0"),
    Kink(lax.bessel_i1e,                   (0.0,),            (0.5,),             "i1e at 0"),
    Kink(at_one(lax.igamma),               (0.0,),            (1.0,),             "igamma(1, x) at 0", (np.nan,)),
    Kink(at_one(lax.igammac),              (0.0,),            (-1.0,),            "igammac(1, x) at 0", (np.nan,)),
    Kink(lambda x: lax.betainc(x + 1, x + 1, x), (0.0,),      (1.0,),             "betainc(1 + x, 1 + x, x) at 0", ()),
    Kink(lambda x: lax.betainc(x, x, x),   (1.0,),            (1.0,),             "betainc(x, x, x) at 1", ()),
    Kink(lax.digamma,                      (-2.0,),           (INF,),             "digamma at a pole"),
    Kink(lax.rem,                          (-5.0, 3.0),       (1.0, 1.0),         "remainder of a negative number"),
]
# fmt: on

every_kink = pytest.mark.parametrize("kink", KINKS, ids=lambda kink: kink.note)


def pull(vjp: Callable, kink: Kink) -> list[np.ndarray]:
    """Returns the cotangents of the operands, for a cotangent of ones."""
    operands = [
        jnp.asarray(x, "complex64" if isinstance(x, complex) else "float32") for x in kink.at
    ]
    z, pullback = vjp(kink.function, *operands)
    return [np.asarray(g) for g in pullback(jnp.ones_like(z))]


@every_kink
def test_kink(kink):
    for ours, expected in zip(pull(bp.vjp, kink), kink.expected, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


@every_kink
def test_jax_says_the_same_unless_the_row_says_otherwise(kink):
    if kink.jax == ():
        pytest.skip("jax.vjp has no rule")
    for theirs, expected in zip(pull(jax.vjp, kink), kink.jax or kink.expected, strict=True):
        np.testing.assert_allclose(theirs, expected, rtol=3e-7)


class Extreme(NamedTuple):
    """A point in float32 where digits are easily lost.

    Attributes:
      function: takes float32 scalars.
      truth: the derivative, in mpmath, at exactly the same point.
      at: the operands.
      operand: which of them moves.
      ulp: how far ours may be off, in units in the last place of the truth.
      jax: whether `jax.grad` is right there, too, in every release: within ten times as much.
    """

    function: Callable
    truth: Callable
    at: tuple[float, ...]
    ulp: float = 4.0
    jax: bool = True
    operand: int = 0

    @property
    def name(self) -> str:
        function = getattr(self.function, "__name__", "?")
        return f"{function} at {', '.join(f'{x:g}' for x in self.at)}, operand {self.operand}"


m = mpmath


def everywhere(function: Callable, truth: Callable, *points: float, **options: object) -> list:
    """Returns rows of a function of one operand, one for each point."""
    return [Extreme(function, truth, (x,), **options) for x in points]  # type: ignore[arg-type]


def softsign_of_exp(x: m.mpf) -> m.mpf:
    return m.exp(-abs(x)) / (1 + m.exp(-abs(x))) ** 2


WRONG = {"jax": False}


def scaled_slope(order: int) -> Callable:
    """Returns the slope of a Bessel function scaled by exp(-|x|)."""
    return lambda x: m.diff(lambda t: m.besseli(order, t) * m.exp(-abs(t)), x)


def gamma_rank(a: mpmath.mpf, x: mpmath.mpf) -> mpmath.mpf:
    return m.gammainc(a, 0, x, regularized=True)


def beta_rank(a: mpmath.mpf, b: mpmath.mpf, x: mpmath.mpf) -> mpmath.mpf:
    return m.betainc(a, b, 0, x, regularized=True)


def slope_of(function: Callable, *operands: int) -> Callable:
    """Returns a partial derivative of a function, in the operands with these numbers."""

    def slope(*at: mpmath.mpf) -> mpmath.mpf:
        return m.diff(function, at, tuple(operands.count(i) for i in range(len(at))))

    return slope


BETAS = [(0.5, 0.5, 0.3), (2.0, 3.0, 0.7), (20.0, 5.0, 0.9), (0.1, 0.2, 0.999)]

# fmt: off
EXTREMES = [
    *[Extreme(lax.div, lambda x, y: -x / y**2, at, 2, jax, 1)
      for at, jax in [((1e20, 1e25), False), ((1e-30, 1e-25), False), ((3.0, 7.0), True), ((1e-20, 1e15), True)]],
    *everywhere(lax.logistic, softsign_of_exp,                      -40.0, -15.0, 0.0, 2.0),
    *everywhere(lax.logistic, softsign_of_exp,                      15.0, 40.0, 80.0, **WRONG),
    *everywhere(lax.expm1,    m.exp,                                -1.0, 1e-6, 3.0, 80.0),
    *everywhere(lax.expm1,    m.exp,                                -40.0, -15.0, **WRONG),
    *everywhere(lax.exp,      m.exp,                                -80.0, -1e-3, 80.0),
    *everywhere(lax.exp2,     lambda x: m.log(2) * 2**x,            -100.0, 0.5, 100.0, ulp=32),
    *everywhere(lax.log,      lambda x: 1 / x,                      1.2e-38, 1e-20, 1e37),
    *everywhere(lax.log1p,    lambda x: 1 / (1 + x),                -0.99999, 1e-9, 1e30),
    *everywhere(lax.sqrt,     lambda x: 1 / (2 * m.sqrt(x)),        1e-37, 2.0, 1e38),
    *everywhere(lax.rsqrt,    lambda x: -(x**-1.5) / 2,             1e-20, 2.0, 1e20),
    *everywhere(lax.cbrt,     lambda x: m.cbrt(x) / (3 * x),        1e-30, 2.0, 1e30),
    *everywhere(lax.sin,      m.cos,                                1e-5, 1.5707, 100.0),
    *everywhere(lax.tan,      lambda x: m.sec(x) ** 2,              1e-5, 1.5, ulp=8),
    *everywhere(lax.asin,     lambda x: 1 / m.sqrt(1 - x**2),       0.0, 0.5),
    *everywhere(lax.asin,     lambda x: 1 / m.sqrt(1 - x**2),       0.9999, -0.99997, **WRONG),
    *everywhere(lax.acos,     lambda x: -1 / m.sqrt(1 - x**2),      0.9999, -0.99997, **WRONG),
    *everywhere(lax.acosh,    lambda x: 1 / m.sqrt(x**2 - 1),       1.0001, 1.001, **WRONG),
    *everywhere(lax.acosh,    lambda x: 1 / m.sqrt(x**2 - 1),       2.0, 1e10),
    *everywhere(lax.asinh,    lambda x: 1 / m.sqrt(x**2 + 1),       1e-6, 1.0, -1e10),
    *everywhere(lax.atanh,    lambda x: 1 / (1 - x**2),             0.5, 1e-5, 0.9999, -0.99999),
    *everywhere(lax.atan,     lambda x: 1 / (1 + x**2),             1e-6, -3.0, 1e15),
    *everywhere(lax.sinh,     m.cosh,                               1e-4, 5.0, -80.0, ulp=32),
    *everywhere(lax.cosh,     m.sinh,                               1e-4, 5.0, -80.0, ulp=32),
    *everywhere(lax.tanh,     lambda x: m.sech(x) ** 2,             1e-4, 0.5),
    # The rule keeps z alone, as JAX's does, and loses digits where the slope is tiny.
    *everywhere(lax.tanh,     lambda x: m.sech(x) ** 2,             5.0, -9.0, 20.0, ulp=INF),
    *everywhere(lax.erf,      lambda x: 2 / m.sqrt(m.pi) * m.exp(-(x**2)),  1e-4, 1.0, 3.0, ulp=8),
    *everywhere(lax.erfc,     lambda x: -2 / m.sqrt(m.pi) * m.exp(-(x**2)), -1.0, 3.0, ulp=8),
    *everywhere(lax.lgamma,   m.digamma,                            0.5, 3.0, 100.0, ulp=8),
    *everywhere(lax.digamma,  lambda x: m.polygamma(1, x),          0.5, 3.0, 100.0, ulp=8),
    *everywhere(lax.digamma,  lambda x: m.polygamma(1, x),          -0.5, -1.5, ulp=8),
    *[e._replace(jax=False) for e in everywhere(lax.digamma, lambda x: m.polygamma(1, x), -10.3, -100.25)],
    *everywhere(lax.bessel_i0e, scaled_slope(0),                    0.01, 1.0, -3.0),
    *everywhere(lax.bessel_i1e, scaled_slope(1),                    0.01, 1.0, -3.0, ulp=24),
    *[e._replace(jax=False) for f, n in ((lax.bessel_i0e, 0), (lax.bessel_i1e, 1)) for e in everywhere(f, scaled_slope(n), 100.0, -1e3, 1e5)],
    *[Extreme(lax.igamma,  slope_of(gamma_rank, 0), at, 12) for at in [(0.5, 0.1), (3.0, 2.9), (3.0, 9.0)]],
    *[Extreme(lax.igamma,  slope_of(gamma_rank, 1), at, 16, True, 1) for at in [(0.5, 0.1), (3.0, 2.9), (3.0, 9.0)]],
    *[Extreme(lax.igamma_grad_a, slope_of(gamma_rank, 0, 0), at, 150, False) for at in [(0.5, 0.1), (3.0, 2.9), (3.0, 9.0), (0.1, 1e-4)]],
    *[Extreme(lax.igamma_grad_a, slope_of(gamma_rank, 0, 1), at, 16, False, 1) for at in [(0.5, 0.1), (3.0, 2.9), (3.0, 9.0)]],
    *[Extreme(lax.betainc, slope_of(beta_rank, 0), at, 150, False) for at in BETAS],
    *[Extreme(lax.betainc, slope_of(beta_rank, 1), at, 150, False, 1) for at in BETAS],
    *[Extreme(lax.betainc, slope_of(beta_rank, 2), at, 120, True, 2) for at in BETAS[:3]],
    *[Extreme(lax.zeta,    lambda s, q: m.zeta(s, q, 1), at, 16, False) for at in [(1.1, 1.0), (2.0, 0.5), (20.0, 1.0), (2.0, 100.0), (5.0, 0.01)]],
    *[Extreme(lax.zeta,    lambda s, q: -s * m.zeta(s + 1, q), at, 8, False, 1) for at in [(1.1, 1.0), (2.0, 100.0)]],
    *[Extreme(lax.pow, lambda x, y: y * x ** (y - 1), at, 8) for at in [(1e-10, 2.5), (1e10, -2.0), (1.0001, 1000.0)]],
    *[Extreme(lax.pow, lambda x, y: x**y * m.log(x),  at, 8, True, 1) for at in [(1e-10, 2.5), (2.0, 100.0), (2.0, -100.0)]],
    *[Extreme(lax.atan2, lambda x, y: y / (x**2 + y**2),  at, 4, jax) for at, jax in [((3.0, 4.0), True), ((1e25, 1e20), False), ((1e-30, 1e-25), False)]],
    *[Extreme(lax.atan2, lambda x, y: -x / (x**2 + y**2), at, 4, jax, 1) for at, jax in [((3.0, 4.0), True), ((1e20, 1e25), False), ((1e-30, 1e-25), False)]],
]
# fmt: on

if hasattr(lax, "log2"):  # jax 0.12
    EXTREMES += everywhere(lax.log2, lambda x: 1 / (x * m.log(2)), 1e-37, 1e37)
    EXTREMES += everywhere(lax.one_minus_square, lambda x: -2 * x, 1e-30, 0.9999)

every_extreme = pytest.mark.parametrize("row", EXTREMES, ids=lambda row: row.name)


def ulps_off(grad: Callable, row: Extreme) -> tuple[float, float, float]:
    """Returns the distance from the truth in its last place, the derivative, and the truth."""
    at = [np.float32(x) for x in row.at]
    with m.workdps(60):
        truth = row.truth(*(m.mpf(float(x)) for x in at))
        try:
            gradient = float(grad(row.function, row.operand)(*at))
        except (NotImplementedError, ValueError):  # jax.grad has no rule
            gradient = INF
        if not np.isfinite(gradient):
            return INF, gradient, float(truth)
        distance = abs(m.mpf(gradient) - truth) / float(np.spacing(np.float32(abs(truth))))
        return float(distance), gradient, float(truth)


@every_extreme
def test_extreme(row):
    ulp, gradient, truth = ulps_off(bp.grad, row)
    assert ulp <= row.ulp, f"{gradient} is {ulp:.1f} ulp from {truth}; {row.ulp} are allowed"


@every_extreme
def test_jax_is_right_unless_the_row_says_otherwise(row):
    ulp, gradient, truth = ulps_off(jax.grad, row)
    right = ulp <= 10 * row.ulp
    if not row.jax and jax.__version_info__ >= (0, 11):
        pytest.skip("some of them were put right in jax 0.12")
    assert right == row.jax, f"jax.grad says {gradient}, {ulp:.1f} ulp from {truth}"


@every_extreme
def test_never_less_accurate_than_jax(row):
    ours, theirs = ulps_off(bp.grad, row)[0], ulps_off(jax.grad, row)[0]
    assert ours <= max(2 * theirs, 2.0), f"{ours:.1f} ulp; jax.grad: {theirs:.1f}"


@pytest.mark.parametrize("order", [(1.0, 3.0), (2.0, 1.0), (1.0, 1.0)], ids=str)
@pytest.mark.parametrize("f", [lambda p: betainc(*p, 0.3), lambda p: gammainc(p[0], p[1])])
def test_second_derivatives_at_whole_numbers(f, order, x64):
    """Where an exponent is 0, it has a slope all the same."""
    p, h = np.array(order), 1e-5
    rows = [(bp.grad(f)(p + step) - bp.grad(f)(p - step)) / (2 * h) for step in h * np.eye(2)]
    np.testing.assert_allclose(bp.jacrev(bp.grad(f))(p), np.stack(rows), rtol=1e-6, atol=1e-8)


def test_a_function_with_a_rule_under_vmap_within_a_shard_map():
    """Where types say which values vary along the mesh."""
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x, y = jnp.array([1.0, 2.0]), jnp.array([[3.0, 1.0], [2.0, 5.0]])

    def gradient(x: jax.Array, y: jax.Array) -> jax.Array:
        across = jax.vmap(xlogy, (None, 1))
        return bp.grad(lambda y: jnp.sum(across(x, y) ** 2))(y)

    parts = jax.P("i")
    on_mesh = jax.shard_map(gradient, mesh=mesh, in_specs=(parts, parts), out_specs=parts)
    np.testing.assert_allclose(on_mesh(x, y), gradient(x, y), rtol=1e-6)


@pytest.mark.parametrize("name", ["hypot", "i0", "expn", "sinc", "fresnel", "xlogy", "xlog1py"])
@pytest.mark.parametrize("last", [0, 1])
def test_axes_of_a_function_under_vmap_are_followed(name, last):
    """Two of one size: only the steps tell which is which."""
    fun = getattr(jnp, name, None) or getattr(jax.scipy.special, name)
    n, x, y = 3, (1, 0), (0, 1)  # which axis of an operand is mapped over, and which one first
    ways = {"hypot": (x, y), "xlogy": (x, y), "xlog1py": (x, y), "expn": (None, x)}.get(name, (x,))
    across = jax.vmap(fun, [way and 0 for way in ways])
    across = jax.vmap(across, [way and way[0] for way in ways], out_axes=last)
    operands = [jnp.ones((n, n)) if way else 2 for way in ways]
    jaxpr = jax.make_jaxpr(across)(*operands)
    places = {x: (1 - last, last), y: (last, 1 - last), None: ()}
    assert alignment(jaxpr) == [places[way] for way in ways]


@pytest.mark.parametrize("fun", [jnp.hypot, lambda x, y: jnp.i0(x * y)], ids=["hypot", "i0"])
def test_what_jax_makes_of_a_known_function_is_not_that_function(fun):
    """It has the name of it, and the file and line."""
    x, y = jnp.float32(1.5), jnp.float32(0.5)
    of_jax = lambda x: jax.vjp(fun, x, y)[1](jnp.float32(1.0))[0]  # noqa: E731
    np.testing.assert_allclose(bp.grad(of_jax)(x), jax.grad(of_jax)(x), rtol=1e-5)


def test_a_transform_of_a_factor_is_compiled():
    """XLA on CPU refuses an FFT whose result is laid out for a solver, as the way back's may be."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)

    def loss(x: jax.Array) -> jax.Array:
        factors = lax.linalg.lu(x)[0]
        return jnp.sum(jnp.real(jnp.fft.ifft(lax.complex(factors, factors))) ** 2)

    np.testing.assert_allclose(jax.jit(bp.grad(loss))(x), jax.grad(loss)(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("log", [xlogy, xlog1py])
def test_a_function_with_a_rule_under_vmap_along_another_axis(log):
    """Its operands then have shapes that it is never called with; 0 log 0 has a slope there, too."""
    x = jnp.array([0.0, 2.0])
    y = jnp.array([[3.0, 0.0], [2.0, 5.0]]) - (log is xlog1py)

    def rows(y: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(jax.vmap(lambda column: log(x, column), in_axes=1)(y)))

    theirs = jax.grad(lambda y: jnp.sum(jnp.sin(log(x, y.T))))(y.at[0, 1].set(1.0))
    np.testing.assert_allclose(bp.grad(rows)(y), theirs, rtol=1e-6)
