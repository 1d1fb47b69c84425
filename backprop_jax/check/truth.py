"""The true slopes of functions, in many digits, and the numbers they are measured at.

A truth is a function of mpmath numbers: a slope in closed form, or with `slope_of` a function,
whose slope is then measured in so many digits that the difference is as good as the slope.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

try:
    import mpmath
except ImportError as error:
    raise ImportError(
        "true slopes come from mpmath, which is not installed: pip install 'backprop-jax[test]'."
    ) from error

m: Any = mpmath.mp

#: Digits that truths are computed with. A difference loses 40 of them.
DIGITS = 110

Grid = Callable[[type], np.ndarray]


# -- numbers of one operand ------------------------------------------------------------------------


def scales(count: int = 60, low: float | None = None, high: float | None = None) -> Grid:
    """Returns magnitudes in equal steps of the logarithm, all normal ones or some powers of 10.

    All: from four times the smallest normal number to a quarter of the largest. Numbers smaller
    than normal are not among them, XLA takes them for zero.
    """

    def grid(dtype: type) -> np.ndarray:
        info = np.finfo(dtype)
        first = np.log10(4 * float(info.tiny)) if low is None else low
        last = np.log10(float(info.max) / 4) if high is None else high
        return (10.0 ** np.linspace(first, last, count)).astype(dtype)

    return grid


def between(low: float, high: float, count: int = 60) -> Grid:
    """Returns numbers in equal steps."""
    return lambda dtype: np.linspace(low, high, count).astype(dtype)


def at(*points: float) -> Grid:
    """Returns these numbers."""
    return lambda dtype: np.array(points, dtype)


def near(point: float, side: int = 0) -> Grid:
    """Returns numbers ever closer to a point: on both sides, or only above (1) or below it (-1)."""

    def grid(dtype: type) -> np.ndarray:
        steps = max(abs(point), 1) * 2.0 ** -np.arange(2, np.finfo(dtype).nmant)
        sides = (side,) if side else (1, -1)
        return np.concatenate([(point + s * steps).astype(dtype) for s in sides])

    return grid


def up_to(limit32: float, limit64: float, count: int = 80) -> Grid:
    """Returns numbers in equal steps up to a limit that each dtype has, and small ones."""

    def grid(dtype: type) -> np.ndarray:
        limit = limit32 if dtype is np.float32 else limit64
        steps = np.linspace(limit / count, limit, count)
        return np.concatenate([steps, 10.0 ** np.linspace(-30, 0, 16)]).astype(dtype)

    return grid


def both(*grids: Grid) -> Grid:
    """Returns the numbers of the grids, and their negatives."""
    return lambda dtype: np.concatenate([s * g(dtype) for g in grids for s in (1, -1)])


def union(*grids: Grid) -> Grid:
    """Returns the numbers of all the grids."""
    return lambda dtype: np.concatenate([g(dtype) for g in grids])


# -- what is true ----------------------------------------------------------------------------------


def slope_of(function: Callable, operand: int = 0, absolute: bool = False) -> Callable:
    """Returns the slope of a function of mpmath numbers in one operand, by central difference.

    The step is a part of the operand, so that a singularity at 0 is never stepped over;
    `absolute` where the function is nothing special at 0, and its slope there is to be found.
    """

    def slope(*operands: Any) -> Any:
        x = operands[operand]
        step = m.mpf(10) ** -40 * (1 if absolute or x == 0 else abs(x))
        ahead, behind = (
            function(*operands[:operand], x + s * step, *operands[operand + 1 :]) for s in (1, -1)
        )
        return (ahead - behind) / (2 * step)

    return slope


def slopes_of(function: Callable, count: int, absolute: bool = False) -> tuple[Callable, ...]:
    """Returns the slopes of a function in each of its operands."""
    return tuple(slope_of(function, i, absolute) for i in range(count))


def normal(x: Any) -> Any:
    """Returns the density of the standard normal distribution."""
    return m.exp(-x * x / 2) / m.sqrt(2 * m.pi)


def rank(x: Any) -> Any:
    """Returns the share of the standard normal distribution below x, to all digits."""
    return m.erfc(-x / m.sqrt(2)) / 2


def quantile(p: Any) -> Any:
    """Returns x below which a share p < 1/2 of the standard normal distribution is.

    Newton's method doubles the digits of a first guess, which is in double precision.
    """
    x = m.mpf(float(scipy.special.ndtri(float(p))))
    for _ in range(5):
        x -= (rank(x) - p) / normal(x)
    return x


def slope_of_quantile(p: Any) -> Any:
    """Returns the slope of the quantile of the standard normal distribution."""
    return 1 / normal(quantile(min(p, 1 - p)))


def slope_of_erf_inv(x: Any) -> Any:
    """Returns √π / 2 exp(erf_inv(x)²)."""
    return m.sqrt(m.pi) / 2 * m.exp(quantile((1 - abs(x)) / 2) ** 2 / 2)


def slope_of_erfc_inv(x: Any) -> Any:
    """Returns -√π / 2 exp(erfc_inv(x)²)."""
    return -m.sqrt(m.pi) / 2 * m.exp(quantile(min(x, 2 - x) / 2) ** 2 / 2)


def sigmoid(x: Any) -> Any:
    """Returns 1 / (1 + exp(-x))."""
    return 1 / (1 + m.exp(-x))


def bell(x: Any) -> Any:
    """Returns the slope of the logistic function."""
    return sigmoid(x) * sigmoid(-x)


def exponential_integral(n: int, x: Any) -> Any:
    """Returns E_n(x) for x up to 50, by its series and by recurrence in n.

    Some digits are lost on the way, fewer than there are to spare: mpmath finds all, and is slow.
    """
    if n > 1:
        return (m.exp(-x) - x * exponential_integral(n - 1, x)) / (n - 1)
    if n == 0:
        return m.exp(-x) / x
    total, term, k = -m.euler - m.log(x), m.mpf(1), 0
    while abs(term) > m.mpf(10) ** -DIGITS:
        k += 1
        term *= -x / k
        total -= term / k
    return total


def gamma_density(a: Any, x: Any) -> Any:
    """Returns the density of the gamma distribution of shape a."""
    return m.exp((a - 1) * m.log(x) - x - m.loggamma(a))


def gamma_shape(a: Any, x: Any) -> Any:
    """Returns the slope of the gamma distribution's rank in a, from the tail that is smaller."""
    if x < a:
        return slope_of(lambda a, x: m.gammainc(a, 0, x, regularized=True))(a, x)
    return -slope_of(lambda a, x: m.gammainc(a, x, m.inf, regularized=True))(a, x)


def beta_density(a: Any, b: Any, x: Any) -> Any:
    """Returns the density of the beta distribution."""
    return x ** (a - 1) * (1 - x) ** (b - 1) / m.beta(a, b)


def beta_shape(a: Any, b: Any, x: Any) -> Any:
    """Returns the slope of the beta distribution's rank in a, from the tail that is smaller."""
    if x < a / (a + b):
        return slope_of(lambda a: m.betainc(a, b, 0, x, regularized=True))(a)
    return -slope_of(lambda a: m.betainc(b, a, 0, 1 - x, regularized=True))(a)


def zeta_slope(s: Any, q: Any) -> Any:
    """Returns the slope of Hurwitz's zeta function in s."""
    return m.zeta(s, q, 1)


def besseli_scaled(order: int) -> Callable:
    """Returns the slope of exp(-|x|) I(x), a Bessel function of this order, at any x."""

    def slope(x: Any) -> Any:
        v = abs(x)
        here, other = m.besseli(order, v), m.besseli(1 - order, v)
        derivative = other if order == 0 else (other - here / v if v else m.mpf(1) / 2)
        sign = 1 if order or x > 0 else -1
        return sign * m.exp(-v) * (derivative - here)

    return slope
