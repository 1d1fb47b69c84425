# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of special functions, applied place by place."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np
from jax import lax

from backprop_jax.check.truth import m, slope_of
from tests.rules.case import POSITIVE, REAL, Case, uniform

KEY = np.array([3, 4], np.uint32)
SHAPE = uniform(0.5, 4.0)
CHANCE = uniform(0.1, 0.9)


def of_order(m: float) -> Callable:
    """Returns a polygamma function of fixed order."""
    return lambda x: lax.polygamma(jnp.full_like(x, m), x)


def at_shape(function: Callable, *shape: float) -> Callable:
    """Returns an incomplete function of fixed shape."""
    return lambda x: function(*(jnp.full_like(x, a) for a in shape), x)


def sample(draw: Callable) -> Callable:
    """Returns the random numbers that a fixed key gives, of each shape."""
    return lambda a: draw(jax.random.wrap_key_data(KEY), a, dtype=a.dtype)


def gamma_quantile(a: Any, z: Any) -> Any:
    """Returns how fast a quantile z of the gamma distribution of shape a moves with a.

    P(a, z) stays what it is, so the slope is -∂P/∂a / ∂P/∂z, both from mpmath's P.
    """

    def chance(a: Any, z: Any) -> Any:
        return m.gammainc(a, 0, z, regularized=True)

    return -slope_of(chance, 0)(a, z) / slope_of(chance, 1)(a, z)


# fmt: off
CASES = [
    # -- gamma -----------------------------------------------------------------------
    Case("lgamma",        lax.lgamma,                         [(3,)],         uniform(-2.9, -2.1), "left of zero"),
    Case("digamma",       lax.digamma,                        [(3,)],         uniform(-2.9, -2.1), "left of zero", jax_of_ours_fails="no rule for zeta"),
    Case("digamma",       lax.digamma,                        [(3,)],         uniform(-40.9, -40.1), "far left of zero", ("float32",), jax_fails="its slope has no digit right"),
    Case("polygamma",     of_order(1.0),                      [(3,)],         POSITIVE, jax_of_ours_fails="no rule for zeta"),
    Case("polygamma",     of_order(3.0),                      [(3,)],         POSITIVE, "third", jax_of_ours_fails="no rule for zeta"),
    Case("polygamma",     lambda x: lax.polygamma(jnp.array(2, x.dtype), x), [(3,)], POSITIVE, "rank-0 order", jax_of_ours_fails="no rule for zeta"),
    Case("polygamma",     of_order(2.0),                      [(3,)],         uniform(-3.4, -3.1), "left of zero", jax_of_ours_fails="no rule for zeta"),
    Case("polygamma",     of_order(2.0),                      [(3,)],         uniform(-20.4, -20.1), "far left of zero", jax_fails="its value has no digit right", has_slope=False),
    Case("igamma",        at_shape(lax.igamma, 1.5),          [(3,)],         POSITIVE, "in x"),
    Case("igamma",        lax.igamma,                         [(5,), (5,)],   SHAPE, "in a, too", jax_fails="no second derivative in a"),
    Case("igamma",        lax.igamma,                         [(3,), (3,)],   (uniform(0.05, 0.4), CHANCE), "small shapes", jax_fails="no second derivative in a"),
    Case("igamma",        lax.igamma,                         [(3,), (3,)],   uniform(30.0, 40.0), "large shapes", jax_fails="no second derivative in a"),
    Case("igamma",        lambda a, x: lax.igamma(a + 0 * x, x), [(), (5,)],  SHAPE, "rank-0 a", jax_fails="no second derivative in a"),
    Case("igammac",       at_shape(lax.igammac, 1.5),         [(3,)],         POSITIVE, "in x"),
    Case("igammac",       lax.igammac,                        [(5,), (5,)],   SHAPE, "in a, too", jax_fails="no second derivative in a"),
    Case("igamma_grad_a", lax.igamma_grad_a,                  [(5,), (5,)],   SHAPE, jax_fails="no derivative"),
    Case("random_gamma",  sample(jax.random.gamma),           [(5,)],         SHAPE, dtypes=(), has_slope=False, jax_fails="no second derivative", truth=gamma_quantile),
    Case("random_gamma",  sample(jax.random.loggamma),        [(5,)],         SHAPE, "in log space", dtypes=(), has_slope=False, jax_fails="no second derivative", truth=lambda a, z: gamma_quantile(a, m.exp(z)) / m.exp(z)),
    # -- beta ------------------------------------------------------------------------
    Case("regularized_incomplete_beta", at_shape(lax.betainc, 1.5, 2.5), [(3,)], CHANCE, "in x"),
    Case("regularized_incomplete_beta", lax.betainc,          [(5,), (5,), (5,)], (SHAPE, SHAPE, CHANCE), jax_fails="no derivative in a and b"),
    Case("regularized_incomplete_beta", lax.betainc,          [(3,), (3,), (3,)], (uniform(20.0, 30.0), uniform(0.05, 9.0), CHANCE), "large a", jax_fails="no derivative in a and b"),
    # -- zeta ------------------------------------------------------------------------
    Case("zeta",          lambda q: lax.zeta(jnp.full_like(q, 2.5), q), [(3,)], POSITIVE, "in q", jax_fails="no derivative"),
    Case("zeta",          lax.zeta,                           [(5,), (5,)],   (uniform(1.2, 6.0), POSITIVE), jax_fails="no derivative in x"),
    # -- dilogarithm -----------------------------------------------------------------
    Case("jit",           jax.scipy.special.spence,           [(3,)],         uniform(1.1, 1.9), "spence", ("float32",), jax_fails="NaN"),
    Case("jit",           jax.vmap(jax.scipy.special.spence), [(3,)],         uniform(0.1, 0.9), "spence under vmap", ("float32",)),
    # -- Bessel ----------------------------------------------------------------------
    Case("bessel_i0e",    lax.bessel_i0e,                     [(5,)],         REAL),
    Case("bessel_i1e",    lax.bessel_i1e,                     [(5,)],         REAL),
    Case("bessel_i0e",    lax.bessel_i0e,                     [(5,)],         uniform(-90.0, -31.0), "far out", jax_fails="loses digits"),
    Case("bessel_i1e",    lax.bessel_i1e,                     [(5,)],         uniform(31.0, 90.0), "far out", jax_fails="loses digits"),
]
# fmt: on

if hasattr(lax, "polynomial"):  # jax 0.12
    CASES += [
        Case("polynomial", lambda x: lax.polynomial(x, (1.0, -2.0, 0.5)), [(3,)], REAL),
        Case(
            "polynomial",
            lambda x, *c: lax.polynomial(x, c),
            [(3,), (3,), (3,), (3,)],
            REAL,
            "in its coefficients",
        ),
        Case(
            "polynomial",
            lambda x, a, b: lax.polynomial(x, (a, b)),
            [(3,), (), ()],
            REAL,
            "scalar coefficients",
        ),
    ]
