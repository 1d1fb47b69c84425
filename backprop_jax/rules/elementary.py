"""Functions applied place by place. Each row is the chain rule for one of them.

Complex numbers follow JAX: a cotangent is paired with a change of the value by Re(g · dz), so the
rule of a holomorphic function is g · f'(x), without a conjugate.
"""

import math
from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import primitives

from backprop_jax.dtypes import of_tangents
from backprop_jax.engine.cotangents import convert
from backprop_jax.engine.registry import elementwise, linear, piecewise_constant, pullback
from backprop_jax.rules.accurate import (
    LN2,
    cosh,
    exp2,
    exp_of_minus_square,
    exp_of_product,
    longer,
    mirrored,
    one_minus_square,
    sinh,
)

add_any_p = primitives.add_jaxvals_p
SQRT_PI = math.sqrt(math.pi)


def is_complex(x: Any) -> bool:
    """Returns whether an array is complex."""
    return np.issubdtype(x.dtype, np.complexfloating)


def zero_like(g: Any) -> Any:
    """Returns zeros of an array's shape and dtype."""
    return lax.full_like(g, 0)


def bell(x: Any) -> Any:
    """Returns the slope of the logistic function, σ(x) σ(-x), to a few ulp in its tails, too.

    z (1 - z) loses all digits of 1 - z to the right; exp(-|x|) / (1 + exp(-|x|))² loses none, costs
    the one exponential, and reads only x.
    """
    e = lax.exp(-mirrored(x))
    return e / lax.square(1 + e)


def power_of_x(g: Any, x: Any, y: Any) -> Any:
    """Returns g y x^(y-1); 0 where x and y are 0, since x^0 is 1 for every x. jax.grad says NaN.

    There, and there only, the exponent is one higher: 0 · 0^-1 becomes 0 · 0^0.
    """
    both_zero = lax.convert_element_type((x == 0) & (y == 0), y.dtype)
    return g * (lax.convert_element_type(y, x.dtype) * lax.pow(x, y - 1 + both_zero))


def power_of_y(g: Any, x: Any, z: Any) -> Any:
    """Returns g z log(x); where x is 0, and with it z for every y > 0, it is 0."""
    log_x = lax.log(lax.select(x == 0, lax.full_like(x, 1), x))
    return g * (log_x * z)


def integer_power(g: Any, x: Any, *, y: int) -> Any:
    """Returns g y x^(y-1)."""
    if y == 0:
        return None
    return g if y == 1 else g * (y * lax.integer_pow(x, y - 1))


def angle_of_x(g: Any, x: Any, y: Any) -> Any:
    """Returns g y / (x² + y²)."""
    return over_squared_distance(g, y, x, y)


def angle_of_y(g: Any, x: Any, y: Any) -> Any:
    """Returns -g x / (x² + y²)."""
    return over_squared_distance(-g, x, x, y)


def over_squared_distance(g: Any, a: Any, x: Any, y: Any) -> Any:
    """Returns g a / (x² + y²), without overflow of a square.

    Both are measured in units of the larger; the result does not depend on the unit, so it is a
    constant of differentiation.
    """
    unit = lax.stop_gradient(lax.max(lax.abs(x), lax.abs(y)))
    return g / unit * ((a / unit) / (lax.square(x / unit) + lax.square(y / unit)))


def inverse_root(x: Any) -> Any:
    """Returns 1 / √(1 + x²), without overflow of the square and on the principal branch."""
    if is_complex(x):
        turned = lax.complex(-lax.imag(x), lax.real(x))
        return lax.rsqrt(1 - turned) * lax.rsqrt(1 + turned)
    x = longer(x)
    size, one = lax.abs(x), lax.full_like(x, 1)
    large = size > 2.0 ** (np.finfo(x.dtype).maxexp // 2 - 2)
    unit = lax.stop_gradient(lax.select(large, size, one))
    return lax.rsqrt(lax.square(x / unit) + lax.square(1 / unit)) / unit


def inverse_leg(x: Any) -> Any:
    """Returns 1 / √(1 - x²). For complex x the root is taken of each factor of 1 - x².

    So nothing overflows, and the branch is right.
    """
    if is_complex(x):
        return lax.rsqrt(1 - x) * lax.rsqrt(1 + x)
    return lax.rsqrt(one_minus_square(x))


def inverse_square(g: Any, x: Any) -> Any:
    """Returns g / (1 - x²)."""
    return g / ((1 - x) * (1 + x) if is_complex(x) else one_minus_square(x))


def exp_of_quantile(x: Any, z: Any) -> Any:
    """Returns exp(z²) for z with erf(z) = x, though XLA's z near 1 may have but half its digits.

    By Newton's method |z| is off by d = (erfc(|z|) - (1 - |x|)) √π/2 exp(z²), where all is known
    to the last digits, and so exp(z²) by a factor exp(2 |z| d + d²). That is a correction of
    rounding errors, and a constant of differentiation. At 1, exp(z²) is infinite.
    """
    v, at = longer(x), longer(z)
    power = exp_of_product(at, at)
    size, rest = lax.abs(at), 1 - lax.abs(v)
    off = (lax.erfc(size) - rest) * (SQRT_PI / 2 * power)
    change = 2 * size * off + off * off
    sure = (lax.abs(v) > 0.5) & (rest > 0)
    change = lax.select(sure, change + change * change / 2, zero_like(change))
    return power * (1 + lax.stop_gradient(change))


def remainder_of_y(g: Any, x: Any, y: Any, z: Any) -> Any:
    """Returns -g n, where x = n y + z; n is whole, so rounding mends what (x - z) / y got wrong."""
    return -g * lax.round((x - z) / y)


def absolute(g: Any, x: Any, z: Any) -> Any:
    """Returns g sign(x), in the complex plane g conj(x) / |x|; 0 at 0."""
    if not is_complex(x):
        return g * lax.sign(x)
    length = lax.select(z == 0, lax.full_like(z, 1), z)
    return lax.convert_element_type(g / length, x.dtype) * lax.conj(x)


def direction(g: Any, x: Any, z: Any) -> Any:
    """Returns (g - conj(g z²)) / 2|x|, for z = x / |x|; 0 at 0. Real signs do not move.

    dz = (dx - z² conj(dx)) / 2|x|, and Re(g z² conj(dx)) = Re(conj(g z²) dx). jax.grad says 0.
    """
    if not is_complex(x):
        return None
    across = (g - lax.conj(g * z * z)) / lax.convert_element_type(2 * lax.abs(x), x.dtype)
    return lax.select(x == 0, zero_like(across), across)


def win(g: Any, x: Any, y: Any) -> Any:
    """Returns g where x is the larger, half of it where both are equal, 0 elsewhere."""
    return lax.select(x > y, g, lax.select(x == y, g / 2, zero_like(g)))


# clamp(x, y, w) is min(max(x, y), w), and so are its shares. At a bound jax.grad gives 0 to all
# three, and loses the slope along (1, 1, 1).


def lower(g: Any, x: Any, y: Any, w: Any) -> Any:
    """Returns the share of the lower bound x."""
    return win(win(g, w, lax.max(x, y)), x, y)


def clamped(g: Any, x: Any, y: Any, w: Any) -> Any:
    """Returns the share of y, which is clamped."""
    return win(win(g, w, lax.max(x, y)), y, x)


def upper(g: Any, x: Any, y: Any, w: Any) -> Any:
    """Returns the share of the upper bound w."""
    return win(g, lax.max(x, y), w)


def rounded(g: Any, *, exponent_bits: int, mantissa_bits: int) -> Any:
    """Returns g in the precision of the result."""
    return lax.reduce_precision(g, exponent_bits, mantissa_bits)


# fmt: off
#           z =                 cotangent of x                        cotangent of y
# -- arithmetic ------------------------------------------------------------------------------------
elementwise(lax.neg_p,          lambda g: -g)
elementwise(lax.add_p,          lambda g: g,                          lambda g: g)
elementwise(add_any_p,          lambda g: g,                          lambda g: g)
elementwise(lax.sub_p,          lambda g: g,                          lambda g: -g)
elementwise(lax.mul_p,          lambda g, y: g * y,                   lambda g, x: g * x)
# -g x / y² overflows in y², and so does -g (z / y) once XLA has made x / (y y) of it. The sign is
# last, so that XLA takes it out of the sum over a broadcast y, and keeps no broadcast of 1 / y.
elementwise(lax.div_p,          lambda g, y: g / y,                   lambda g, y, z: -(g / y * z))
elementwise(lax.rem_p,          lambda g: g,                          remainder_of_y)
elementwise(lax.abs_p,          absolute)
elementwise(lax.sign_p,         direction)
# -- exponentials ----------------------------------------------------------------------------------
elementwise(lax.exp_p,          lambda g, z: g * z)
# z is exp(x log 2) with a rounded exponent, and loses digits.
elementwise(lax.exp2_p,         lambda g, x: g * (LN2 * exp2(x)))
# z + 1 has no digits left to the left of zero.
elementwise(lax.expm1_p,        lambda g, x: g * lax.exp(x))
elementwise(lax.log_p,          lambda g, x: g / x)
elementwise(lax.log1p_p,        lambda g, x: g / (1 + x))
elementwise(lax.logistic_p,     lambda g, x: g * bell(x))
# -- powers ----------------------------------------------------------------------------------------
elementwise(lax.square_p,       lambda g, x: g * (2 * x))
elementwise(lax.integer_pow_p,  integer_power)
elementwise(lax.pow_p,          power_of_x,                           power_of_y)
elementwise(lax.sqrt_p,         lambda g, z: g / (2 * z))
elementwise(lax.rsqrt_p,        lambda g, x, z: g * ((-0.5 * z) / x))
elementwise(lax.cbrt_p,         lambda g, z: g / (3 * z * z))
# -- circular --------------------------------------------------------------------------------------
elementwise(lax.sin_p,          lambda g, x: g * lax.cos(x))
elementwise(lax.cos_p,          lambda g, x: -g * lax.sin(x))
elementwise(lax.tan_p,          lambda g, z: g * (1 + z * z))
elementwise(lax.asin_p,         lambda g, x: g * inverse_leg(x))
elementwise(lax.acos_p,         lambda g, x: -g * inverse_leg(x))
elementwise(lax.atan_p,         lambda g, x: g / (1 + x * x))
elementwise(lax.atan2_p,        angle_of_x,                           angle_of_y)
# -- hyperbolic ------------------------------------------------------------------------------------
elementwise(lax.sinh_p,         lambda g, x: g * cosh(x))
elementwise(lax.cosh_p,         lambda g, x: g * sinh(x))
# Where tanh saturates, 1 - z has few digits left: the slope's absolute error stays at rounding
# level, its relative error does not. A form in x would be exact, and keep x beside z, which is kept
# anyway. Factor by factor: a product of both would be read again by a second derivative, and XLA
# keeps an array that several read (a Hessian times a vector took 1.2 times as long).
elementwise(lax.tanh_p,         lambda g, z: g * (1 + z) * (1 - z))
elementwise(lax.asinh_p,        lambda g, x: g * inverse_root(x))
# jax.grad has the wrong sign where Re x < 0: there √((x - 1)(x + 1)) is on the other branch.
elementwise(lax.acosh_p,        lambda g, x: g * (lax.rsqrt(x - 1) * lax.rsqrt(x + 1)))
elementwise(lax.atanh_p,        inverse_square)
# -- error function --------------------------------------------------------------------------------
elementwise(lax.erf_p,          lambda g, x: g * (2 / SQRT_PI * exp_of_minus_square(x)))
elementwise(lax.erfc_p,         lambda g, x: g * (-2 / SQRT_PI * exp_of_minus_square(x)))
elementwise(lax.erf_inv_p,      lambda g, x, z: g * (SQRT_PI / 2 * exp_of_quantile(x, z)))
# -- complex numbers -------------------------------------------------------------------------------
elementwise(lax.real_p,         lambda g: lax.complex(g, zero_like(g)))
elementwise(lax.imag_p,         lambda g: lax.complex(zero_like(g), -g))
elementwise(lax.complex_p,      lambda g: lax.real(g),                lambda g: -lax.imag(g))
elementwise(lax.conj_p,         lambda g: lax.conj(g))
# -- choices: a tie is shared equally --------------------------------------------------------------
elementwise(lax.max_p,          lambda g, x, y: win(g, x, y),         lambda g, x, y: win(g, y, x))
elementwise(lax.min_p,          lambda g, x, y: win(g, y, x),         lambda g, x, y: win(g, x, y))
elementwise(lax.clamp_p,        lower,                                clamped,         upper)
# -- the same number in another form ---------------------------------------------------------------
linear(lax.convert_element_type_p, lambda g, x: convert(g, of_tangents(x.dtype)))
linear(lax.reduce_precision_p,  rounded)
linear(lax.copy_p,              lambda g: lax.copy_p.bind(g))
linear(primitives.name_p,       lambda g: g)
elementwise(lax.nextafter_p,    lambda g: g,                          None)  # x to a digit
# -- new in later releases of jax ------------------------------------------------------------------
if log2_p := getattr(lax, "log2_p", None):
    elementwise(log2_p,         lambda g, x: g / (LN2 * x))
if one_minus_square_p := getattr(lax, "one_minus_square_p", None):
    elementwise(one_minus_square_p, lambda g, x: g * (-2 * x))

piecewise_constant(
    lax.floor_p, lax.ceil_p, lax.round_p, lax.is_finite_p, lax.stop_gradient_p,
    lax.eq_p, lax.ne_p, lax.lt_p, lax.le_p, lax.gt_p, lax.ge_p, lax.eq_to_p, lax.le_to_p,
    lax.lt_to_p, lax.argmax_p, lax.argmin_p,
    # The same bits read as another type: nobody means their slope. As in JAX.
    lax.bitcast_convert_type_p,
)
# fmt: on


@pullback(lax.select_n_p)
def select_n(g: Any, i: tuple, needed: tuple) -> list:
    """Each case gets g where it was chosen."""
    which, zero, cases = i[0], zero_like(g), range(len(needed) - 1)
    return [None] + [
        lax.select_n(which, *(g if case == chosen else zero for chosen in cases))
        if wanted
        else None
        for case, wanted in zip(cases, needed[1:], strict=True)
    ]
