"""Special functions: of gamma, beta, zeta and Bessel.

Formulas are cited by their number in the Digital Library of Mathematical Functions, dlmf.nist.gov.
ψ is digamma, ψ' its slope. Where a derivative has no closed form it is written as an integral, and
that is summed: so every further derivative exists, too, and is as good.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import primitives

from backprop_jax.engine.cotangents import fit
from backprop_jax.engine.registry import elementwise, missing, structured
from backprop_jax.engine.units import Unit
from backprop_jax.rules.accurate import (
    beta_density,
    digamma_difference,
    gamma_density,
    loses_less,
    polygamma,
    trigamma,
)


def alike(g: Any, *operands: Any) -> list:
    """Returns the operands in the shape of g, in float32 or longer."""
    dtype = np.promote_types(g.dtype, np.float32)
    zero = lax.full_like(g, 0, dtype)
    return [lax.convert_element_type(x, dtype) + zero for x in operands]


def tail_integral(f: Callable, scale: Any) -> Any:
    """Returns ∫ f(y) dy over y > 0 of a smooth f that falls off about as fast as exp(-y / scale).

    With y = scale exp(v - exp(-v)) the integrand falls off doubly exponentially on both sides, and
    equal steps of v lose nothing: 96 of them reach 1e-13. What y is measured in is no part of the
    answer, so the scale is a constant of differentiation.

    Source: Takahasi and Mori 1974, Publ. RIMS 9, 721-741.
    """
    v, step = np.linspace(-4.0, 6.8, 96, retstep=True)
    nodes = np.exp(v - np.exp(-v))
    weights = step * nodes * (1 + np.exp(-v))
    scale = lax.expand_dims(lax.stop_gradient(scale), (0,))
    shape = (v.size,) + (1,) * (scale.ndim - 1)
    values = f(nodes.reshape(shape).astype(scale.dtype) * scale)
    return lax.reduce_sum(values * (weights.reshape(shape).astype(scale.dtype) * scale), (0,))


# -- gamma function --------------------------------------------------------------------------------


def polygamma_of_y(g: Any, x: Any, y: Any) -> Any:
    """Returns g ψ⁽ˣ⁺¹⁾(y). Left of about -9 lax.polygamma, and jax.grad with it, is wrong."""
    order, at = alike(g, x, y)
    return g * polygamma(order + 1, at)


# -- incomplete gamma function: z = P(x, y) for a gamma variable of shape x, to be below y ---------


def gamma_of_y(g: Any, x: Any, y: Any) -> Any:
    """Returns g ∂z/∂y, the density."""
    return g * gamma_density(*alike(g, x, y))


def gamma_shape(g: Any, x: Any, y: Any) -> Any:
    """Returns g ∂z/∂x, a primitive of its own, which jax.grad leaves as it is.

    It has a factor y density(y), with the rounding errors of a large exponent. Their ratio to what
    `gamma_density` has is a correction of those, and a constant of differentiation.
    """
    a, t = alike(g, x, y)
    rough, exact = raw_density(a, t), t * gamma_density(a, t)
    mends = loses_less(a, t) & (lax.abs(exact - rough) < 0.01 * rough)
    one = lax.full_like(t, 1)
    ratio = lax.select(mends, exact / lax.select(mends, rough, one), one)
    return g * (lax.igamma_grad_a(a, t) * lax.stop_gradient(ratio))


def raw_density(a: Any, t: Any) -> Any:
    """Returns t density(t) for the gamma distribution, as lax.igamma_grad_a has it."""
    return lax.exp(a * lax.log(t) - t - lax.lgamma(a))


def gamma_shape_of_y(g: Any, x: Any, y: Any) -> Any:
    """Returns g ∂²z/∂x∂y, the density's slope in x: g density (log y - ψ(x)); 0 at y = 0."""
    a, t = alike(g, x, y)
    slope = gamma_of_y(g, a, t) * (lax.log(t) - lax.digamma(a))
    return lax.select(t == 0, lax.full_like(slope, 0), slope)


def gamma_shape_of_x(g: Any, x: Any, y: Any) -> Any:
    """Returns g ∂²z/∂x², the integral of density(t) ((log t - ψ(x))² - ψ'(x)) over t below y.

    Over all t it is 0, so above the mode it is minus the integral over t above y. Below,
    t = y exp(-s), above, t = y + s: the density falls off with s, by the slope and the curvature of
    its logarithm, which set the scale. jax.grad has no such derivative.
    """
    a, t = alike(g, x, y)
    edge = (t == 0) | (t == math.inf)
    t = lax.select(edge, a, t)
    below = t < a
    here, mean, spread = (lax.expand_dims(v, (0,)) for v in (t, lax.digamma(a), trigamma(a)))
    shape, norm = lax.expand_dims(a, (0,)), lax.expand_dims(lax.lgamma(a), (0,))

    def in_log(s: Any) -> Any:
        u = lax.log(here) - s
        return lax.exp(shape * u - lax.exp(u) - norm) * (lax.square(u - mean) - spread)

    def in_t(s: Any) -> Any:
        u = lax.log(here + s)
        return lax.exp((shape - 1) * u - here - s - norm) * (lax.square(u - mean) - spread)

    low, high = lax.select(below, t, a / 2), lax.select(below, a * 2, t)
    scale_low = 1 / (a - low + lax.sqrt(low / 2))
    scale_high = high / (high - a + 1 + lax.sqrt(a / 2))
    answer = lax.select(below, tail_integral(in_log, scale_low), -tail_integral(in_t, scale_high))
    return g * lax.select(edge, lax.full_like(answer, 0), answer)


def gamma_sample(g: Any, y: Any, z: Any, *, log_space: bool) -> Any:
    """Returns g ∂z/∂y for a gamma sample z of shape y, whose rank P(y, z) stays what it is.

    So ∂z/∂y = -∂P/∂y / density(z). With t = z, or exp z in log space, d log t = dz / t; where t is
    tiny, P ~ t^y / Γ(y + 1), so d log t = (ψ(y + 1) - log t) / y.

    Source: Figurnov et al. 2018, arXiv:1805.08498.
    """
    a, result = alike(g, y, z)
    t = lax.exp(result) if log_space else result
    log_t = result if log_space else lax.log(t)
    tiny = t < np.finfo(t.dtype).eps
    safe = lax.select(tiny, lax.full_like(t, 1), t)
    near_zero = (lax.digamma(a + 1) - log_t) / a
    ratio = -lax.igamma_grad_a(a, safe) / raw_density(a, safe)
    in_log = lax.select(tiny, near_zero, ratio)
    if log_space:
        return g * in_log
    return g * lax.select(t == 0, t, t * in_log)


# -- incomplete beta function: z = I_w(x, y), the chance that a beta variable is below w -----------


def beta_of_w(g: Any, x: Any, y: Any, w: Any) -> Any:
    """Returns g ∂z/∂w, the density."""
    a, b, t = alike(g, x, y, w)
    return g * beta_density(a, b, t, 1 - t)


def beta_of_x(g: Any, x: Any, y: Any, w: Any) -> Any:
    """Returns g ∂z/∂x. jax.grad has no such derivative."""
    a, b, t = alike(g, x, y, w)
    return g * beta_shape(a, b, t, 1 - t)


def beta_of_y(g: Any, x: Any, y: Any, w: Any) -> Any:
    """Returns g ∂z/∂y, by I_w(x, y) = 1 - I_{1-w}(y, x). Source: DLMF 8.17.4."""
    a, b, t = alike(g, x, y, w)
    return -g * beta_shape(b, a, 1 - t, t)


def beta_shape(a: Any, b: Any, t: Any, rest: Any) -> Any:
    """Returns ∂I_t(a, b)/∂a, where rest = 1 - t.

    It is the integral of the density's slope in a,

        density(v) (log v - ψ(a) + ψ(a + b)) over v below t.

    Over all v it is 0, so it is minus the integral over v above t, too. Below, v = t exp(-s), and
    the density times v falls off with s as exp(-a s) (1 + u)^(b-1), u = (1 - exp(-s)) t / rest;
    above, 1 - v = rest exp(-s), and all is the same with a and b, t and rest exchanged. The side is
    chosen where it falls from the start, and the bracket has one sign or nearly so.

    Source: DLMF 8.17.1.
    """
    edge = (t == 0) | (rest == 0)
    t, rest = (lax.select(edge, lax.full_like(v, 0.5), v) for v in (t, rest))
    log_t = lax.select(t > 0.5, lax.log1p(-rest), lax.log(t))
    at_t = log_t + digamma_difference(a, b)
    below = (a * rest > b * t) & ((a >= 1) | (a * at_t < 0.9))
    far, near = lax.select(below, t, rest), lax.select(below, rest, t)
    fall, rise = lax.select(below, a, b), lax.select(below, b, a) - 1
    odds, bulge = far / near, lax.max(rise, lax.full_like(rise, 0))
    scale = 1 / (
        lax.max(fall - bulge * odds, lax.full_like(fall, 0)) + lax.sqrt(bulge * odds / near)
    )
    of_s = lax.select(below, lax.full_like(t, 1), lax.full_like(t, 0))
    odds, fall, rise, start, of_s = (
        lax.expand_dims(v, (0,)) for v in (odds, fall, rise, at_t, of_s)
    )

    def integrand(s: Any) -> Any:
        log_u = lax.log1p(-odds * lax.expm1(-s))
        return lax.exp(rise * log_u - fall * s) * (start + (1 - of_s) * log_u - of_s * s)

    answer = tail_integral(integrand, scale) * beta_density(a, b, t, rest) * far
    answer = lax.select(below, answer, -answer)
    return lax.select(edge, lax.full_like(answer, 0), answer)


# -- zeta function ---------------------------------------------------------------------------------

#: B_2j / (2j)! for j = 1, 2, ...: Bernoulli numbers, DLMF 24.2.
BERNOULLI = [
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000, 43867 / 5109094217170944000,
]  # fmt: skip


def zeta_of_x(g: Any, x: Any, y: Any) -> Any:
    """Returns g ∂z/∂x for z = Σ (k + y)^-x over k ≥ 0. jax.grad has no such derivative.

    The slopes -log(k + y) (k + y)^-x of twelve terms, and that of what Euler and Maclaurin say of
    the others: with a = y + 12 and L = log a,

        a^(1-x) / (x - 1) + a^-x / 2 + Σ_j B_2j / (2j)! x (x + 1) ··· (x + 2j - 2) a^(-x-2j+1).

    Source: DLMF 25.11.5, 25.11.43 (Hurwitz's zeta function).
    """
    s, q = alike(g, x, y)
    terms = (-lax.log(q + k) * lax.exp(-s * lax.log(q + k)) for k in range(12))
    total = sum(terms, lax.full_like(s, 0))
    a = q + 12
    log_a = lax.log(a)
    power = lax.exp(-s * log_a)
    total = total - power * (a / (s - 1) * (log_a + 1 / (s - 1)) + log_a / 2)
    rising, slope = s, lax.full_like(s, 1)
    for j, coefficient in enumerate(BERNOULLI):
        if j:
            power = power / (a * a)
            for k in (2 * j - 1, 2 * j):
                rising, slope = rising * (s + k), slope * (s + k) + rising
        total = total + coefficient / a * power * (slope - rising * log_a)
    return g * total


def zeta_of_y(g: Any, x: Any, y: Any) -> Any:
    """Returns -g x ζ(x + 1, y). Source: DLMF 25.11.17."""
    s, q = alike(g, x, y)
    return -g * s * lax.zeta(s + 1, q)


# -- modified Bessel functions, scaled by exp(-|x|) ------------------------------------------------


def asymptotic_slope(order: int, x: Any) -> Any:
    """Returns the slope of exp(-x) I(x) for large x, to rounding.

    exp(-x) I(x) ~ Σ_k (-1)^k a_k x^(-k - 1/2) / √(2π), and a_k is the product over j ≤ k of
    (4 order² - (2j - 1)²) / 8j.

    Source: DLMF 10.40.1 and 10.17.1.
    """
    a, coefficients = 1.0, []
    for k in range(19):
        coefficients.append(-a * (k + 0.5) / math.sqrt(2 * math.pi))
        a *= -(4 * order**2 - (2 * k + 1) ** 2) / (8 * (k + 1))
    total, inverse = lax.full_like(x, 0), 1 / x
    for coefficient in reversed(coefficients):
        total = total * inverse + coefficient
    return total * inverse * lax.rsqrt(x)


def circle_slope(order: int, x: Any) -> Any:
    """Returns the slope of exp(-x) I(x) for x between 0 and where `asymptotic_slope` is exact.

    It is -cos(θ)^order w exp(-x w), w = 1 - cos θ, in the mean over the circle, which equal steps
    of the angle find with an error of exp(-x) I_2n(x) for n steps on half of it.

    Source: DLMF 10.32.3. Trefethen and Weideman 2014, SIAM Review 56, 385-458.
    """
    steps = 28 if x.dtype == np.float64 else 12
    w = 2 * np.sin(np.pi * (np.arange(steps) + 0.5) / steps / 2) ** 2
    factors = -w * (1 - w) ** order / steps
    terms = (float(c) * lax.exp(-float(v) * x) for c, v in zip(factors, w, strict=True))
    return sum(terms, lax.full_like(x, 0))


def bessel_slope(order: int, x: Any) -> Any:
    """Returns the slope of exp(-x) I(x) for x ≥ 0. The usual difference of I_0 and I_1 cancels."""
    far = 30 if x.dtype == np.float64 else 10
    limit, large = lax.full_like(x, far), x > far
    near = circle_slope(order, lax.select(large, limit, x))
    return lax.select(large, asymptotic_slope(order, lax.select(large, x, limit)), near)


def bessel_i0e(g: Any, x: Any) -> Any:
    """Returns g times an odd slope, 0 at 0.

    Around 0 it is the usual difference, where nothing cancels: exp(-|x|) I₀(x) has a corner there,
    but is a factor of functions that have none, and their second derivative wants the slope of I₁.
    """
    (v,) = alike(g, x)
    around = lax.bessel_i1e(v) - lax.sign(v) * lax.bessel_i0e(v)
    return g * lax.select(lax.abs(v) < 0.5, around, lax.sign(v) * bessel_slope(0, lax.abs(v)))


def bessel_i1e(g: Any, x: Any) -> Any:
    """Returns g times an even slope, 1/2 at 0."""
    (v,) = alike(g, x)
    return g * bessel_slope(1, lax.abs(v))


# fmt: off
#           z =                         cotangent of x                    cotangent of y
elementwise(lax.lgamma_p,               lambda g, x: g * lax.digamma(x))
elementwise(lax.digamma_p,              lambda g, x: g * trigamma(x))
elementwise(lax.polygamma_p,            missing("its order is a whole number"), polygamma_of_y)
elementwise(lax.igamma_p,               gamma_shape,                      gamma_of_y)
elementwise(lax.igammac_p,              lambda g, x, y: gamma_shape(-g, x, y),
                                        lambda g, x, y: gamma_of_y(-g, x, y))
elementwise(lax.igamma_grad_a_p,        gamma_shape_of_x,                 gamma_shape_of_y)
elementwise(primitives.random_gamma_p,  None,                             gamma_sample)
elementwise(lax.zeta_p,                 zeta_of_x,                        zeta_of_y)
elementwise(lax.bessel_i0e_p,           bessel_i0e)
elementwise(lax.bessel_i1e_p,           bessel_i1e)
elementwise(lax.regularized_incomplete_beta_p,
                                        beta_of_x,          beta_of_y,    beta_of_w)
# fmt: on

polynomial_p: Any = getattr(lax, "polynomial_p", None)  # new in jax 0.12

if polynomial_p is not None:

    @structured(polynomial_p)
    def polynomial(active: tuple[bool, ...], **params: Any) -> Unit:
        """Of z = Σ c_k x^k, x gets g Σ k c_k x^(k-1), and c_k gets g x^k."""

        def forward(*operands: Any) -> tuple[list, list]:
            return [polynomial_p.bind(*operands, **params)], []

        def backward(operands: list, kept: list, cotangents: list) -> list:
            (g,), (x, *coefficients) = cotangents, operands
            gradients: list = [None] * len(operands)
            if active[0]:
                slope = lax.full_like(x, 0)
                for k in reversed(range(1, len(coefficients))):
                    slope = slope * x + k * coefficients[k]
                gradients[0] = fit(g * slope, x)
            for i, c in enumerate(coefficients, 1):
                if any(active[i:]):
                    g = g * x if i > 1 else g
                    gradients[i] = fit(g, c) if active[i] else None
            return gradients

        return Unit(forward, backward, tuple(range(len(active))), (True,))
