"""Functions that slopes are made of, to the last digits, where the usual formula loses some.

What loses digits is a large exponent: exp(-x²) is wrong by as many units in its last place as x²
is long, since x² was rounded. So large exponents are never rounded here, or never large.

All are made of `lax`, and have derivatives of any order. Formulas are cited by their number in the
Digital Library of Mathematical Functions, dlmf.nist.gov.
"""

import math
from typing import Any

import jax
import numpy as np
from jax import lax

LN2 = math.log(2)
#: What is left of log 2 after rounding: its further digits begin 2.3190468138462996e-17.
LN2_REST = 2.3190468138462996e-17


def constant(x: Any, value: float) -> Any:
    """Returns an array like x of one number."""
    return lax.full_like(x, value)


def mirrored(x: Any) -> Any:
    """Returns x or -x, whichever is to the right of zero: for even functions that overflow there.

    Unlike `abs`, it has slope 1 or -1 everywhere, so every derivative of an even function of it is
    right.
    """
    return lax.select(
        lax.real(x) < 0 if np.issubdtype(x.dtype, np.complexfloating) else x < 0, -x, x
    )


# -- exponentials ----------------------------------------------------------------------------------


def rounding(x: Any, y: Any) -> Any:
    """Returns what rounding took from x y, exactly: x y less the number that `x * y` is.

    The first half of the digits of each factor are split off; products of halves are not rounded.
    As every error, it is a constant of differentiation.

    Source: Dekker 1971, Numer. Math. 18, 224-242.
    """
    info = np.finfo(x.dtype)
    half = {"exponent_bits": info.nexp, "mantissa_bits": info.nmant // 2}
    product = x * y
    x_high, y_high = lax.reduce_precision(x, **half), lax.reduce_precision(y, **half)
    x_low, y_low = x - x_high, y - y_high
    error = ((x_high * y_high - product) + (x_high * y_low + x_low * y_high)) + x_low * y_low
    return lax.stop_gradient(error)


def exp_of_product(x: Any, y: Any, rest: Any = 0.0) -> Any:
    """Returns exp(x y + rest), of which the rest is less than a rounding of x y."""
    error = rounding(x, y) + rest
    # Where x y overflows, so does its error; the exponential is 0 or infinite there.
    error = lax.select(lax.abs(error) < 1, error, constant(error, 0))
    return lax.exp(x * y) * (1 + lax.stop_gradient(error))


def longer(x: Any) -> Any:
    """Returns a real array in float32 or longer."""
    return lax.convert_element_type(x, np.promote_types(x.dtype, np.float32))


def exp_of_minus_square(x: Any) -> Any:
    """Returns exp(-x²)."""
    v = longer(x)
    return exp_of_product(-v, v)


def exp2(x: Any) -> Any:
    """Returns 2^x. XLA rounds x log 2, and loses as many digits as that is long."""
    if jax.dtypes.issubdtype(x.dtype, np.complexfloating):
        return lax.exp2(x)
    v = longer(x)
    ln2 = np.asarray(LN2, v.dtype)
    lost = (LN2 - float(ln2)) + LN2_REST
    return exp_of_product(v, constant(v, float(ln2)), v * lost)


def half_sinh(u: Any) -> Any:
    """Returns sinh(v) for u = exp(v) - 1."""
    return 0.5 * (u + u / (1 + u))


def cosh(x: Any) -> Any:
    """Returns the hyperbolic cosine, 1 + 2 sinh²(x/2), whose slope has all its digits near 0, too.

    XLA's is made of exp(x - log 2), and loses digits.
    """
    if np.issubdtype(x.dtype, np.complexfloating):
        return lax.cosh(x)
    return 1 + 2 * lax.square(half_sinh(lax.expm1(0.5 * mirrored(x))))


def sinh(x: Any) -> Any:
    """Returns the hyperbolic sine, as twice the product of those of x / 2, made of exp(x/2) - 1.

    As XLA's, it would lose digits if it were made of exp(x).
    """
    if np.issubdtype(x.dtype, np.complexfloating):
        return lax.sinh(x)
    u = lax.expm1(0.5 * mirrored(x))
    size = half_sinh(u) * ((1 + u) + 1 / (1 + u))
    return lax.select(x < 0, -size, size)


def one_minus_square(x: Any) -> Any:
    """Returns 1 - x² of real x, in factors near 1, where it cancels, and near 0 as it stands.

    The slope of (1 - x) (1 + x), (1 - x) - (1 + x), has no digits near 0.
    """
    return lax.select(lax.abs(x) < 0.5, 1 - x * x, (1 - x) * (1 + x))


# -- polygamma functions ---------------------------------------------------------------------------


def trigamma(x: Any) -> Any:
    """Returns ψ'(x); left of 0 by reflection, π² / sin²(πx) - ψ'(1 - x).

    There lax.polygamma loses all digits from about -9 on, and jax.grad of digamma with it. x less
    the nearest whole number has the same sine, to the sign, and keeps its digits. To the right it
    is ζ(2, x).

    Source: DLMF 5.15.6, 25.11.12.
    """
    left = x < 0
    right_of_zero = hurwitz(constant(x, 2), lax.select(left, 1 - x, x))
    off = lax.select(left, x - lax.round(x), constant(x, 0.5))
    return lax.select(
        left, lax.square(math.pi / lax.sin(math.pi * off)) - right_of_zero, right_of_zero
    )


def polygamma(m: Any, x: Any) -> Any:
    """Returns ψ⁽ᵐ⁾(x) for whole m > 0: (-1)^(m+1) m! Σ (x + k)^(-m-1) over k ≥ 0.

    The sum is ζ(m + 1, x) right of 0. Left of it, it is the sum over all k, positive and negative,
    which depends only on how far x is from a whole number, less the terms of negative k, which
    are those of 1 - x with another sign if m is even.

    Source: DLMF 5.15.2, 25.11.1.
    """
    s = m + 1
    odd = lax.rem(s, constant(s, 2)) == 1
    left = x < 0
    near = constant(x, 0.5)
    off = lax.select(left, x - lax.round(x), near)
    below = off < 0
    p = lax.select(below, -off, off)
    here, across = hurwitz(s, p), hurwitz(s, 1 - p)
    whole = lax.select(odd, here - across, here + across)
    whole = lax.select(odd & below, -whole, whole)
    right = hurwitz(s, lax.select(left, 1 - x, x))
    total = lax.select(left, whole + lax.select(odd, right, -right), right)
    return lax.select(odd, -total, total) * factorial(m)


def factorial(m: Any) -> Any:
    """Returns m!, exact while it is short enough that rounding mends its logarithm's error."""
    z = lax.exp(lax.lgamma(m + 1))
    short = z < 2.0 ** (np.finfo(m.dtype).nmant - 6)
    return lax.stop_gradient(lax.select(short, lax.round(z), z))


def hurwitz(s: Any, q: Any) -> Any:
    """Returns ζ(s, q) = Σ (k + q)^-s over k ≥ 0, for s ≥ 2 and q > 0.

    For large q lax.zeta underflows long before its value does; there it is the integral of the
    terms with the first corrections of Euler and Maclaurin, q^(1-s) (1/(s-1) + 1/2q + s/12q²).

    Source: DLMF 25.11.43.
    """
    large = q > 3e3 * s
    safe = lax.select(large, q, 3e3 * s)
    inverse = 1 / safe
    sum_far = lax.pow(safe, 1 - s) * (1 / (s - 1) + inverse * (0.5 + s * inverse / 12))
    return lax.select(large, sum_far, lax.zeta(s, lax.select(large, constant(q, 1), q)))


def digamma_difference(a: Any, b: Any) -> Any:
    """Returns ψ(a + b) - ψ(a) for positive a and b, of which none is too small to be seen.

    Ten steps of ψ(x + 1) = ψ(x) + 1/x to the right there is, for x = a + 10 and y = x + b, the
    series log y - 1/2y - Σ B_2j / (2j y^2j) less the same of x. All differences of powers are
    written as products.

    Source: DLMF 5.5.2, 5.11.2.
    """
    total = constant(a, 0)
    for k in range(10):
        total = total + b / ((a + k) * (a + b + k))
    x, y = a + 10, a + b + 10
    p, q = 1 / lax.square(x), 1 / lax.square(y)
    first = b / x * (x + y) / x * q  # p - q
    total = total + lax.log1p(b / x) + b / (2 * x * y)
    difference = first
    for j, bernoulli in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)):
        if j:  # p^(j+1) - q^(j+1)
            difference = p * difference + q**j * first
        total = total + bernoulli / (2 * j + 2) * difference
    return total


# -- densities of the gamma and beta distributions -------------------------------------------------


def gamma_density(a: Any, x: Any) -> Any:
    """Returns x^(a-1) exp(-x) / Γ(a).

    Its logarithm is a sum of large numbers. So is -deviance(a, x) - δ(a) + log(√(a / 2π) / x), of
    other ones, δ being what Stirling's formula leaves of log Γ, which lose less if smaller.

    Source: DLMF 8.8.13, 5.11.1. Loader 2000, Fast and accurate computation of binomial
    probabilities.
    """
    far = loses_less(a, x)
    near = lax.exp(times_log(a - 1, x) - x - lax.lgamma(a))
    y = lax.select(far, x, a)
    return lax.select(far, lax.exp(-deviance(a, y) - stirling_rest(a)) * root(a) / y, near)


def loses_less(a: Any, x: Any) -> Any:
    """Returns where the numbers that are in `deviance` are a quarter of those in x^(a-1) / Γ(a)."""
    plain = lax.abs((a - 1) * lax.log(x)) + x + lax.abs(lax.lgamma(a))
    return (a >= 1) & (4 * reach(a, x) < plain)


def times_log(c: Any, x: Any, rest: Any = None) -> Any:
    """Returns c log(x), 0 where both are 0; `rest`, 1 - x, has the digits that x near 1 has not."""
    x = lax.select((c == 0) & (x == 0), constant(x, 1), x)
    if rest is None:
        return c * lax.log(x)
    above = rest < 0.5
    near = lax.log1p(lax.select(above, -rest, constant(x, 0)))
    return c * lax.select(above, near, lax.log(lax.select(above, constant(x, 1), x)))


def root(a: Any) -> Any:
    """Returns √(a / 2π)."""
    return lax.sqrt(a / (2 * math.pi))


def reach(a: Any, x: Any) -> Any:
    """Returns how large the numbers are that `deviance` is made of, at least 8; no number at 0."""
    close = lax.abs(x - a) < 0.5 * a
    size = lax.abs(x - a) + a * lax.abs(lax.log(x) - lax.log(a))
    return lax.stop_gradient(lax.select(close, constant(a, 8), 8 + size))


def deviance(a: Any, x: Any) -> Any:
    """Returns a log(a / x) + x - a, without cancellation where x is near a.

    With w = (x - a) / a it is a (w - log(1 + w)), and with s = w / (2 + w) that is
    a (w s - 2 (s³/3 + s⁵/5 + ···)).

    Source: DLMF 4.6.4.
    """
    close = lax.abs(x - a) < 0.5 * a
    w = lax.select(close, x - a, constant(a, 0)) / a
    s = w / (2 + w)
    square, total = lax.square(s), constant(a, 0)
    for k in reversed(range(3, 37, 2)):
        total = total * square + 1 / k
    near = a * (w * s - 2 * s * square * total)
    y = lax.select(close, 2 * a, x)
    return lax.select(close, near, (y - a) - a * (lax.log(y) - lax.log(a)))


def stirling_rest(a: Any) -> Any:
    """Returns log Γ(a) - (a - 1/2) log(a) + a - log(2π)/2, a series in 1/a for large a.

    Source: DLMF 5.11.1.
    """
    large = a >= 10
    big = lax.select(large, a, constant(a, 10))
    inverse = 1 / lax.square(big)
    total = constant(a, 0)
    for coefficient in (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        total = total * inverse + coefficient
    small = lax.select(large, constant(a, 1), a)
    direct = lax.lgamma(small) - (small - 0.5) * lax.log(small) + small - math.log(2 * math.pi) / 2
    return lax.select(large, total / big, direct)


def beta_density(a: Any, b: Any, x: Any, rest: Any) -> Any:
    """Returns x^(a-1) (1 - x)^(b-1) / B(a, b), where rest = 1 - x, in forms of `gamma_density`.

    Source: DLMF 8.17.1. Loader 2000.
    """
    both = a + b
    gammas = [lax.lgamma(v) for v in (a, b, both)]
    log_x, log_rest = times_log(a - 1, x, rest), times_log(b - 1, rest, x)
    plain = sum(map(lax.abs, gammas), lax.abs(log_x) + lax.abs(log_rest))
    far = 2 * (reach(a, both * x) + reach(b, both * rest)) < plain
    far = far & (lax.min(a, b) > 0.01)
    near = lax.exp(log_rest + log_x - (gammas[0] + gammas[1] - gammas[2]))
    x, rest = (lax.select(far, v, constant(v, 0.5)) for v in (x, rest))
    off = deviance(a, both * x) + deviance(b, both * rest)
    off = off + (stirling_rest(a) + stirling_rest(b) - stirling_rest(both))
    return lax.select(far, lax.exp(-off) * root(a) * lax.sqrt(b / both) / (x * rest), near)
