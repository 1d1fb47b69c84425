# ruff: noqa: E501 (rows of a table stay rows)
# pyright: reportAttributeAccessIssue=false
"""The functions whose slopes are measured, their true slopes, and where they are measured."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.scipy.special as special
import jax.scipy.stats as stats
import numpy as np
from jax import lax, nn

from backprop_jax.check.truth import (
    Grid,
    at,
    bell,
    besseli_scaled,
    beta_density,
    beta_shape,
    between,
    both,
    exponential_integral,
    gamma_density,
    gamma_shape,
    m,
    near,
    normal,
    rank,
    scales,
    sigmoid,
    slope_of,
    slope_of_erf_inv,
    slope_of_erfc_inv,
    slope_of_quantile,
    slopes_of,
    union,
    up_to,
    zeta_slope,
)


class Measured(NamedTuple):
    """A function and where its slopes are measured.

    Attributes:
      name: as it stands on the page; for a primitive, the primitive's.
      function: of arrays that all have one shape.
      slopes: the true slope in each operand, None for an operand that is held fixed.
      grids: the numbers of each operand, given the dtype; several operands meet each with each.
      second: grids for the slope of the slope, in the same operand; none, it is not measured.
    """

    name: str
    function: Callable
    slopes: tuple[Callable | None, ...]
    grids: tuple[Grid, ...]
    second: tuple[Grid, ...] = ()

    def points(self, dtype: type, second: bool = False) -> list[np.ndarray]:
        """Returns the operands, each a vector as long as there are points."""
        grids = [np.unique(grid(dtype)) for grid in (self.second if second else self.grids)]
        return [axis.ravel() for axis in np.meshgrid(*grids, indexing="ij")]


REAL = both(scales(), between(0.05, 20.0))
POSITIVE = union(scales(), between(0.05, 20.0), near(1.0))
UNIT = both(scales(20, None, -1), between(0.01, 0.99, 50), near(1.0, -1))
CHANCE = union(scales(30, None, -1), between(0.01, 0.99, 50), near(1.0, -1))
EXPONENT = both(up_to(87.0, 708.0))
POLES = union(
    between(-50.5, -0.5, 51),
    between(-20.3, -0.3, 21),
    near(-1.0),
    near(-2.0),
    near(-7.0),
    at(-100.5, -1000.25),
)
FEW = both(scales(10), at(0.3, 1.0, 2.5, 7.0, 20.0))
FEW_POSITIVE = union(scales(10), at(0.3, 1.0, 2.5, 7.0, 20.0))
SHAPES = at(0.01, 0.3, 1.0, 1.5, 3.0, 10.0, 50.0, 300.0)
GAMMA_POINTS = union(
    scales(6, -6, 0), at(0.3, 0.9, 1.7, 2.9, 5.0, 9.7, 11.0, 30.0, 49.0, 60.0, 290.0, 330.0)
)
BETA_SHAPES = at(0.05, 0.5, 1.0, 1.5, 3.0, 10.0, 50.0)
BETA_POINTS = at(1e-6, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)
# For slopes of slopes.
MILD = both(scales(9, -9, 0), between(0.3, 12.0, 24))
MILD_POSITIVE = union(scales(9, -9, 0), between(0.3, 12.0, 24), at(50.0, 1e3))
MILD_UNIT = both(scales(6, -9, -1), between(0.15, 0.95, 17), at(0.999))
MILD_CHANCE = union(scales(6, -9, -1), between(0.15, 0.95, 17), at(0.999))


def of_order(n: int, function: Callable) -> Callable:
    """Returns a function of a first operand that is fixed to a whole number."""
    return lambda x: function(jnp.full_like(x, n), x)


def slope_of_digamma(order: int) -> Callable:
    """Returns the polygamma function of this order."""
    return lambda x: m.polygamma(order, x)


def spence(x: Any) -> Any:
    """Returns the slope of Spence's function, log(x) / (1 - x)."""
    return m.mpf(-1) if x == 1 else m.log(x) / (1 - x)


def log_sum(x: Any, y: Any) -> Any:
    """Returns the share of x in exp(x) + exp(y)."""
    return sigmoid(x - y)


def first_of_two(function: Callable) -> Callable:
    """Returns the first element of what a function makes of a pair."""
    return lambda x, y: function(jnp.stack([x, y]), axis=0)[0]


def unary(
    name: str, function: Callable, slope: Callable, grid: Grid, second: Grid | None = None
) -> Measured:
    """Returns the row of a function of one operand."""
    return Measured(name, function, (slope,), (grid,), () if second is None else (second,))


def gelu_tanh(x: Any) -> Any:
    """Returns the slope of GELU by its tanh formula."""
    c = m.mpf(float(np.sqrt(2 / np.pi)))
    u, du = c * (x + m.mpf("0.044715") * x**3), c * (1 + 3 * m.mpf("0.044715") * x**2)
    return sigmoid(2 * u) + x * 2 * bell(2 * u) * du


# fmt: off
ROWS = [
    # -- arithmetic ------------------------------------------------------------------
    Measured("mul",    lax.mul,   (lambda x, y: y, lambda x, y: x), (FEW, FEW)),
    Measured("div",    lax.div,   (lambda x, y: 1 / y, lambda x, y: -x / y**2), (FEW, FEW), (MILD, at(0.3, -2.0, 7.0))),
    Measured("rem",    lax.rem,   (lambda x, y: m.mpf(1), lambda x, y: -(m.floor(abs(x / y)) * m.sign(x / y))), (both(between(0.1, 20.0, 30)), at(0.7, -1.3, 3.1))),
    Measured("atan2",  lax.atan2, (lambda x, y: y / (x**2 + y**2), lambda x, y: -x / (x**2 + y**2)), (FEW, FEW), (MILD, at(0.3, -2.0, 7.0))),
    Measured("pow",    lax.pow,   (lambda x, y: y * x ** (y - 1), lambda x, y: m.log(x) * x**y), (FEW_POSITIVE, at(-20.5, -3.0, -1.0, -0.5, 1e-5, 0.3, 1.0, 1.7, 2.0, 11.0, 40.5)), (MILD_POSITIVE, at(-3.0, 0.3, 2.5))),
    unary("square",      lax.square,                         lambda x: 2 * x,                     REAL,      MILD),
    unary("integer_pow", lambda x: lax.integer_pow(x, 3),    lambda x: 3 * x**2,                  REAL,      MILD),
    unary("integer_pow (-2)", lambda x: lax.integer_pow(x, -2), lambda x: -2 / x**3,              REAL,      MILD),
    unary("sqrt",        lax.sqrt,                           lambda x: 1 / (2 * m.sqrt(x)),       POSITIVE,  MILD_POSITIVE),
    unary("rsqrt",       lax.rsqrt,                          lambda x: -1 / (2 * x * m.sqrt(x)),  POSITIVE,  MILD_POSITIVE),
    unary("cbrt",        lax.cbrt,                           lambda x: 1 / (3 * m.cbrt(abs(x)) ** 2), REAL,  MILD),
    # -- exponentials ----------------------------------------------------------------
    unary("exp",         lax.exp,                            m.exp,                               EXPONENT,  MILD),
    unary("exp2",        lax.exp2,                           lambda x: m.log(2) * m.mpf(2) ** x,  both(up_to(125.0, 1020.0)), MILD),
    unary("expm1",       lax.expm1,                          m.exp,                               EXPONENT,  MILD),
    unary("log",         lax.log,                            lambda x: 1 / x,                     POSITIVE,  MILD_POSITIVE),
    unary("log1p",       lax.log1p,                          lambda x: 1 / (1 + x),               union(POSITIVE, both(scales(20, None, -1)), near(-1.0, 1)), MILD_POSITIVE),
    unary("logistic",    lax.logistic,                       bell,                                EXPONENT,  MILD),
    # -- circular --------------------------------------------------------------------
    unary("sin",         lax.sin,                            m.cos,                               REAL,      MILD),
    unary("cos",         lax.cos,                            lambda x: -m.sin(x),                 REAL,      MILD),
    unary("tan",         lax.tan,                            lambda x: m.sec(x) ** 2,             union(REAL, near(np.pi / 2)), MILD),
    unary("asin",        lax.asin,                           lambda x: 1 / m.sqrt(1 - x * x),     UNIT,      MILD_UNIT),
    unary("acos",        lax.acos,                           lambda x: -1 / m.sqrt(1 - x * x),    UNIT,      MILD_UNIT),
    unary("atan",        lax.atan,                           lambda x: 1 / (1 + x * x),           REAL,      MILD),
    # -- hyperbolic ------------------------------------------------------------------
    unary("sinh",        lax.sinh,                           m.cosh,                              EXPONENT,  MILD),
    unary("cosh",        lax.cosh,                           m.sinh,                              EXPONENT,  MILD),
    unary("tanh",        lax.tanh,                           lambda x: m.sech(x) ** 2,            both(up_to(43.0, 353.0)), MILD),
    unary("asinh",       lax.asinh,                          lambda x: 1 / m.sqrt(1 + x * x),     REAL,      MILD),
    unary("acosh",       lax.acosh,                          lambda x: 1 / m.sqrt(x * x - 1),     union(near(1.0, 1), scales(30, 0.01), between(1.05, 20.0)), between(1.1, 12.0, 24)),
    unary("atanh",       lax.atanh,                          lambda x: 1 / (1 - x * x),           UNIT,      MILD_UNIT),
    # -- error function --------------------------------------------------------------
    unary("erf",         lax.erf,                            lambda x: 2 / m.sqrt(m.pi) * m.exp(-x * x),  both(up_to(9.3, 26.6)), both(between(0.1, 5.0, 24))),
    unary("erfc",        lax.erfc,                           lambda x: -2 / m.sqrt(m.pi) * m.exp(-x * x), both(up_to(9.3, 26.6)), both(between(0.1, 5.0, 24))),
    unary("erf_inv",     lax.erf_inv,                        slope_of_erf_inv,                    UNIT,      MILD_UNIT),
    # -- gamma and beta --------------------------------------------------------------
    unary("lgamma",      lax.lgamma,                         m.digamma,                           union(POSITIVE, POLES), union(MILD_POSITIVE, between(-9.73, -0.3, 21))),
    unary("digamma",     lax.digamma,                        slope_of_digamma(1),                 union(POSITIVE, POLES), union(MILD_POSITIVE, between(-9.73, -0.3, 21))),
    *[unary(f"polygamma (m = {n})", of_order(n, lax.polygamma), slope_of_digamma(n + 1), union(scales(20, -3, 9), between(0.05, 20.0), POLES), union(between(0.3, 12.0, 24), between(-9.73, -0.3, 21))) for n in (0, 1, 2, 3, 6)],
    Measured("igamma",   lax.igamma,  (gamma_shape, gamma_density), (SHAPES, GAMMA_POINTS), (at(0.3, 1.5, 3.0, 20.0), at(0.1, 1.0, 2.9, 9.0, 30.0))),
    Measured("igammac",  lax.igammac, (lambda a, x: -gamma_shape(a, x), lambda a, x: -gamma_density(a, x)), (SHAPES, GAMMA_POINTS)),
    Measured("igamma_grad_a", lax.igamma_grad_a, slopes_of(gamma_shape, 2), (at(0.3, 1.5, 3.0, 20.0), at(0.1, 1.0, 2.9, 9.0, 30.0))),
    Measured("regularized_incomplete_beta", lax.betainc, (beta_shape, lambda a, b, x: -beta_shape(b, a, 1 - x), beta_density), (BETA_SHAPES, BETA_SHAPES, BETA_POINTS), (at(0.5, 3.0), at(0.5, 3.0, 10.0), at(0.1, 0.4, 0.9))),
    Measured("zeta",     lax.zeta,    (zeta_slope, lambda s, q: -s * m.zeta(s + 1, q)), (at(1.01, 1.5, 2.0, 5.5, 20.0, 60.0), at(0.01, 0.5, 1.0, 3.3, 17.0, 100.0, 1e4)), (at(1.5, 3.0, 7.0), at(0.5, 1.0, 9.0))),
    # -- Bessel ----------------------------------------------------------------------
    unary("bessel_i0e",  lax.bessel_i0e,                     besseli_scaled(0),                   both(scales(16, -6, 0), between(0.5, 40.0), scales(12, 1, 6)), MILD),
    unary("bessel_i1e",  lax.bessel_i1e,                     besseli_scaled(1),                   both(scales(16, -6, 0), between(0.5, 40.0), scales(12, 1, 6)), MILD),
]

COMPOSED = [
    # -- jax.numpy -------------------------------------------------------------------
    Measured("jnp.logaddexp",  jnp.logaddexp,  (log_sum, lambda x, y: log_sum(y, x)), (both(at(0.3, 5.0, 40.0, 80.0, 1e4)), both(at(0.1, 7.0, 80.0, 1e4)))),
    Measured("jnp.logaddexp2", jnp.logaddexp2, (lambda x, y: sigmoid((x - y) * m.log(2)), lambda x, y: sigmoid((y - x) * m.log(2))), (both(at(0.3, 5.0, 40.0, 120.0)), both(at(0.1, 7.0, 80.0)))),
    Measured("jnp.hypot",      jnp.hypot,      (lambda x, y: x / m.hypot(x, y), lambda x, y: y / m.hypot(x, y)), (FEW, FEW)),
    unary("jnp.sinc",       jnp.sinc,        slope_of(lambda x: m.sinc(m.pi * x)),                both(scales(12, -6, 0), between(0.05, 20.0)), both(between(0.1, 9.9))),
    unary("jnp.reciprocal", jnp.reciprocal,  lambda x: -1 / x**2,                                 REAL),
    unary("jnp.log2",       jnp.log2,        lambda x: 1 / (x * m.log(2)),                        POSITIVE),
    unary("jnp.log10",      jnp.log10,       lambda x: 1 / (x * m.log(10)),                       POSITIVE),
    unary("jnp.i0",         jnp.i0,          lambda x: m.besseli(1, x),                           both(scales(12, -6, 0), between(0.5, 80.0))),
    # -- jax.nn ----------------------------------------------------------------------
    unary("nn.softplus",    nn.softplus,     sigmoid,                                             EXPONENT, MILD),
    unary("nn.log_sigmoid", nn.log_sigmoid,  lambda x: sigmoid(-x),                               EXPONENT, MILD),
    unary("nn.silu",        nn.silu,         lambda x: sigmoid(x) + x * bell(x),                  EXPONENT, MILD),
    unary("nn.mish",        nn.mish,         slope_of(lambda x: x * m.tanh(m.log1p(m.exp(x)))),   both(between(0.2, 20.0)), MILD),
    unary("nn.soft_sign",   nn.soft_sign,    lambda x: 1 / (1 + abs(x)) ** 2,                     REAL),
    unary("nn.squareplus",  nn.squareplus,   lambda x: (1 + x / m.sqrt(x * x + 4)) / 2,           both(scales(20, -9, 9), between(0.1, 20.0))),
    unary("nn.elu",         nn.elu,          lambda x: m.exp(x) if x < 0 else m.mpf(1),           EXPONENT),
    unary("nn.gelu",        nn.gelu,         gelu_tanh,                                           both(between(0.05, 8.0))),
    unary("nn.gelu (exact)", lambda x: nn.gelu(x, approximate=False), lambda x: rank(x) + x * normal(x), both(between(0.05, 12.0))),
    unary("nn.log1mexp",    nn.log1mexp,     lambda x: 1 / m.expm1(x),                            up_to(87.0, 708.0)),
    Measured("nn.softmax",     first_of_two(nn.softmax),     (lambda x, y: bell(x - y), lambda x, y: -bell(x - y)), (both(at(0.3, 5.0, 20.0, 60.0)), both(at(0.1, 7.0)))),
    Measured("nn.log_softmax", first_of_two(nn.log_softmax), (lambda x, y: log_sum(y, x), lambda x, y: -log_sum(y, x)), (both(at(0.3, 5.0, 20.0, 60.0)), both(at(0.1, 7.0)))),
    Measured("nn.logsumexp",   lambda x, y: nn.logsumexp(jnp.stack([x, y]), axis=0), (log_sum, lambda x, y: log_sum(y, x)), (both(at(0.3, 5.0, 20.0, 60.0)), both(at(0.1, 7.0)))),
    # -- jax.scipy.special -----------------------------------------------------------
    unary("logit",       special.logit,      lambda x: 1 / (x * (1 - x)),                         CHANCE, MILD_CHANCE),
    unary("entr",        special.entr,       lambda x: -m.log(x) - 1,                             POSITIVE, MILD_POSITIVE),
    Measured("xlogy",    special.xlogy,      (lambda x, y: m.log(y), lambda x, y: x / y),         (FEW, FEW_POSITIVE)),
    Measured("xlog1py",  special.xlog1py,    (lambda x, y: m.log1p(y), lambda x, y: x / (1 + y)), (FEW, union(FEW_POSITIVE, at(-0.3, -0.99)))),
    Measured("rel_entr", special.rel_entr,   (lambda x, y: m.log(x / y) + 1, lambda x, y: -x / y), (FEW_POSITIVE, FEW_POSITIVE)),
    Measured("kl_div",   special.kl_div,     (lambda x, y: m.log(x / y), lambda x, y: 1 - x / y), (at(0.1, 0.3, 0.99, 1.0, 2.5, 100.0), at(0.11, 0.5, 1.01, 2.4999, 7.0))),
    unary("ndtr",        special.ndtr,       normal,                                              both(up_to(12.9, 37.0)), both(between(0.1, 5.0, 24))),
    unary("log_ndtr",    special.log_ndtr,   lambda x: normal(x) / rank(x),                       both(up_to(12.9, 37.0)), both(between(0.1, 5.0, 24))),
    unary("ndtri",       special.ndtri,      slope_of_quantile,                                   CHANCE, MILD_CHANCE),
    unary("erfcx",       special.erfcx,      lambda x: 2 * x * m.exp(x * x) * m.erfc(x) - 2 / m.sqrt(m.pi), union(between(-5.0, 5.0), scales(12, 0, 3))),
    unary("dawsn",       special.dawsn,      lambda x: 1 - x * m.sqrt(m.pi) * m.exp(-x * x) * m.erfi(x), both(scales(9, -6, 0), between(0.1, 9.0))),
    unary("gamma",       special.gamma,      lambda x: m.gamma(x) * m.digamma(x),                 union(between(0.05, 20.0), between(-5.3, -0.3, 21))),
    unary("factorial",   special.factorial,  lambda x: m.gamma(x + 1) * m.digamma(x + 1),         between(0.05, 20.0)),
    Measured("beta",     special.beta,       (lambda a, b: m.beta(a, b) * (m.digamma(a) - m.digamma(a + b)), lambda a, b: m.beta(a, b) * (m.digamma(b) - m.digamma(a + b))), (SHAPES, BETA_SHAPES)),
    Measured("betaln",   special.betaln,     (lambda a, b: m.digamma(a) - m.digamma(a + b), lambda a, b: m.digamma(b) - m.digamma(a + b)), (SHAPES, BETA_SHAPES)),
    Measured("poch",     special.poch,       slopes_of(m.rf, 2),                                  (at(0.3, 1.5, 7.0), at(0.4, 1.0, 3.5))),
    Measured("comb",     special.comb,       slopes_of(m.binomial, 2),                            (at(3.3, 7.5, 20.0), at(0.4, 1.2, 2.5))),
    unary("multigammaln (d = 3)", lambda x: special.multigammaln(x, 3), lambda x: m.digamma(x) + m.digamma(x - m.mpf(1) / 2) + m.digamma(x - 1), union(between(1.05, 20.0), scales(12, 1, 6))),
    unary("spence",      special.spence,     spence,                                              union(scales(20, -9, 9), between(0.05, 20.0), near(1.0), near(2.0), near(0.5), near(1.5)), union(scales(7, -6, 0), between(0.1, 9.9, 30))),
    unary("expi",        special.expi,       lambda x: m.exp(x) / x,                              both(scales(9, -6, 0), up_to(80.0, 600.0))),
    unary("exp1",        special.exp1,       lambda x: -m.exp(-x) / x,                            union(scales(9, -6, 0), up_to(80.0, 600.0))),
    *[unary(f"expn (n = {n})", lambda x, n=n: special.expn(n, x), lambda x, n=n: -exponential_integral(n - 1, x), union(scales(9, -6, 0), between(0.5, 40.0))) for n in (1, 2, 4)],
    unary("sici (sine)", lambda x: special.sici(x)[0], lambda x: m.sin(x) / x,                    both(scales(9, -6, 0), between(0.1, 40.0))),
    unary("sici (cosine)", lambda x: special.sici(x)[1], lambda x: m.cos(x) / x,                  union(scales(9, -6, 0), between(0.1, 40.0))),
    unary("fresnel (sine)", lambda x: special.fresnel(x)[0], lambda x: m.sin(m.pi * x * x / 2),   both(scales(9, -3, 0), between(0.1, 9.0))),
    unary("i0",          special.i0,         lambda x: m.besseli(1, x),                           both(scales(9, -6, 0), between(0.5, 80.0))),
    unary("i1",          special.i1,         lambda x: (m.besseli(0, x) + m.besseli(2, x)) / 2,   both(scales(9, -6, 0), between(0.5, 80.0))),
    *[unary(f"bessel_jn (v = {n})", lambda x, n=n: special.bessel_jn(x, v=n)[n], lambda x, n=n: (m.besselj(n - 1, x) - m.besselj(n + 1, x)) / 2, between(0.5, 15.0, 20)) for n in (0, 2)],
    Measured("boxcox",   special.boxcox,     (lambda x, k: x ** (k - 1), slope_of(lambda x, k: m.expm1(k * m.log(x)) / k if k else m.log(x), 1)), (at(0.01, 0.5, 1.3, 7.0, 100.0), at(-2.0, -0.3, 1e-6, 0.5, 3.0))),
    Measured("hyp1f1",   special.hyp1f1,     slopes_of(m.hyp1f1, 3),                              (at(0.5, 1.5, 3.0), at(0.7, 2.0, 4.5), at(0.3, 2.0, 9.0, -2.5))),
    Measured("hyp2f1",   special.hyp2f1,     slopes_of(m.hyp2f1, 4),                              (at(0.5, 1.7), at(0.7, 2.2), at(1.3, 4.1), at(-0.6, 0.1, 0.4, 0.8))),
    Measured("owens_t",  special.owens_t,    (lambda h, a: -normal(h) * (rank(a * h) - m.mpf(1) / 2), lambda h, a: m.exp(-h * h * (1 + a * a) / 2) / (1 + a * a) / (2 * m.pi)), (both(at(0.1, 0.7, 2.0, 5.0)), both(at(0.1, 0.9, 3.0)))),
    # -- jax.scipy.stats -------------------------------------------------------------
    unary("norm.logcdf",  stats.norm.logcdf, lambda x: normal(x) / rank(x),                       both(up_to(12.9, 37.0))),
    unary("norm.logpdf",  stats.norm.logpdf, lambda x: -x,                                        REAL),
    unary("logistic.logpdf", stats.logistic.logpdf, lambda x: -m.tanh(x / 2),                     EXPONENT),
    Measured("t.logpdf",  stats.t.logpdf,    (lambda x, k: -(k + 1) * x / (k + x * x), slope_of(lambda x, k: m.loggamma((k + 1) / 2) - m.loggamma(k / 2) - m.log(k * m.pi) / 2 - (k + 1) / 2 * m.log1p(x * x / k), 1)), (both(at(0.1, 1.3, 20.0)), at(0.5, 3.0, 40.0))),
    Measured("gamma.logpdf", stats.gamma.logpdf, (lambda x, a: (a - 1) / x - 1, lambda x, a: m.log(x) - m.digamma(a)), (at(0.01, 0.7, 2.2, 30.0), SHAPES)),
    Measured("beta.logpdf", lambda a, b: stats.beta.logpdf(jnp.full_like(a, 0.25), a, b), (lambda a, b: -m.log(4) - m.digamma(a) + m.digamma(a + b), None), (BETA_SHAPES, at(0.07, 0.6, 1.1, 3.2, 20.0))),
]
# fmt: on

if hasattr(lax, "log2_p"):  # jax 0.12
    ROWS += [
        unary("log2", lax.log2, lambda x: 1 / (x * m.log(2)), POSITIVE),
        unary("one_minus_square", lax.one_minus_square, lambda x: -2 * x, REAL),
    ]
if hasattr(special, "erfcinv"):  # jax 0.12
    COMPOSED += [unary("erfcinv", special.erfcinv, slope_of_erfc_inv, CHANCE)]
