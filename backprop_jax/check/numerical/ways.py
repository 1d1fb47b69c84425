"""Other ways to measure a slope: one difference, the complex step, Taylor's remainder."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend import source_info_util

from backprop_jax.check.numerical.vectors import Vector

Function = Callable[[Vector], Vector]


def remainders(f: Function, x: Vector, v: Vector, c: Vector, slope: float, h: Vector) -> Vector:
    """Returns |φ(x + h v) - φ(x) - h slope| for each step, where φ is the sum of c times f."""
    with np.errstate(all="ignore"):
        middle = f(x)
        return np.array([abs(float(c @ (f(x + s * v) - middle)) - s * slope) for s in h])


def rate(h: Vector, left: Vector, floor: Vector | float) -> float:
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


Along = Callable[[Any], Any]
"""A function along a line: a number to the value there."""

ONE_STEP: Mapping[str, Callable[[Along, float], Any]] = {
    "forward": lambda f, h: (f(h) - f(0.0)) / h,
    "central": lambda f, h: (f(h) - f(-h)) / (2 * h),
    "complex": lambda f, h: f(1j * h).imag / h,
}
"""A slope by one step of length h. The last takes no difference, so it loses no digits."""


def one_step(way: str, f: Function, x: Vector, v: Vector, eps: float) -> tuple[Vector, Vector]:
    """Returns the slope by one difference with the best step for it, and an error bar.

    The best is about sqrt(eps) for a forward difference and cbrt(eps) for a central one. The bar is
    what the step twice as long gives otherwise, and what rounding makes of the shorter.
    """
    h = 2.0 ** np.round(np.log2(eps) / {"forward": 2, "central": 3}[way])
    along = functools.cache(lambda t: f(x + t * v))
    slope, longer = (ONE_STEP[way](along, step) for step in (h, 2 * h))
    size = np.maximum(np.abs(along(h)), np.abs(along(0.0 if way == "forward" else -h)))
    return slope, np.abs(longer - slope) + 4 * eps * size / h


NOT_ANALYTIC = {"abs", "real", "imag", "conj", "sign", "complex", "is_finite"}


def not_analytic(jaxpr: Any) -> str:
    """Returns the first step that is no analytic function of a complex operand; "" if all are.

    A comparison or a choice is no obstacle: next to the real axis it is as on it.
    """
    for eqn in jaxpr.eqns:
        leaves = jax.tree.leaves(list(eqn.params.values()))
        bodies = [b for p in leaves if hasattr(b := getattr(p, "jaxpr", p), "eqns")]
        for body in bodies:
            if found := not_analytic(body):
                return found
        taken, given = ([_kind(v) for v in side] for side in (eqn.invars, eqn.outvars))
        lost = "c" in taken and "f" in given
        if not bodies and "c" in taken and (lost or eqn.primitive.name in NOT_ANALYTIC):
            line = source_info_util.summarize(eqn.source_info)
            return f"{eqn.primitive.name} at {line}"
    return ""


def _kind(variable: Any) -> str:
    """The kind of a value: "c" for complex numbers, "f" for real ones."""
    return getattr(getattr(variable.aval, "dtype", None), "kind", "")
