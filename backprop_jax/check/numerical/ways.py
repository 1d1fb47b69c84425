"""Other ways to measure a slope: one difference, the complex step, Taylor's remainder."""

from collections.abc import Callable

import numpy as np

from backprop_jax.check.numerical.vectors import Vector

Function = Callable[[Vector], Vector]


def remainders(f: Function, x: Vector, v: Vector, c: Vector, slope: float, h: Vector) -> Vector:
    """Returns |φ(x + h v) - φ(x) - h slope| for each step, where φ is the sum of c times f."""
    with np.errstate(all="ignore"):
        middle = f(x)
        return np.array([abs(float(c @ (f(x + s * v) - middle)) - s * slope) for s in h])


def rate(h: Vector, left: Vector, floor: float) -> float:
    """Returns the power of h with which remainders fall, by the last five above the rounding floor.

    Not a number, if fewer than three are above it: then nothing is left but rounding.
    """
    clear = np.flatnonzero(np.isfinite(left) & (left > floor))[-5:]
    if len(clear) < 3:
        return np.nan
    return float(np.polyfit(np.log(h[clear]), np.log(left[clear]), 1)[0])


def falling(
    f: Function, x: Vector, v: Vector, c: Vector, judged: float, measured: float
) -> tuple[float, float]:
    """Returns the rates at which Taylor's remainders fall, with one slope and with another.

    With the right slope it is 2 (or more, where the curvature is zero), with a wrong one it is 1.
    """
    h = 2.0 ** np.arange(-4.0, -20.0, -1.0)
    values = np.abs(c) @ np.abs(np.nan_to_num(f(x)))
    floor = 64 * 2.0**-52 * float(values)
    rates = [rate(h, remainders(f, x, v, c, slope, h), floor) for slope in (judged, measured)]
    return rates[0], rates[1]
