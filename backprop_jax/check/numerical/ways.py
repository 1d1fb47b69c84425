"""Other ways to measure a slope: one difference, the complex step, Taylor's remainder."""

from collections.abc import Callable
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


def forward(f: Function, x: Vector, v: Vector, eps: float) -> tuple[Vector, Vector]:
    """Returns (f(x + h v) - f(x)) / h for the best h, about sqrt(eps), and an error bar.

    The bar is what the step twice as long gives otherwise, and what rounding makes of the shorter.
    """
    h = 2.0 ** np.round(np.log2(eps) / 2)
    middle, near, far = f(x), f(x + h * v), f(x + 2 * h * v)
    slope = (near - middle) / h
    off = np.abs((far - middle) / (2 * h) - slope)
    return slope, off + 4 * eps * np.abs(middle) / h


def central(f: Function, x: Vector, v: Vector, eps: float) -> tuple[Vector, Vector]:
    """Returns (f(x + h v) - f(x - h v)) / (2 h) for the best h, about cbrt(eps), and an error bar.

    The bar is what the step twice as long gives otherwise, and what rounding makes of the shorter.
    """
    h = 2.0 ** np.round(np.log2(eps) / 3)
    ahead, behind = f(x + h * v), f(x - h * v)
    slope = (ahead - behind) / (2 * h)
    off = np.abs((f(x + 2 * h * v) - f(x - 2 * h * v)) / (4 * h) - slope)
    return slope, off + 4 * eps * np.maximum(np.abs(ahead), np.abs(behind)) / h


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
