"""The slope of what a step computes, measured: along a direction, and on either side of a kink."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from backprop_jax.check import widened
from backprop_jax.graph.recording import Step

#: Steps of the difference, as parts of the operands; in narrow numbers, too.
WIDE_STEPS, NARROW_STEPS = (1e-3, 1e-4, 1e-5, 1e-6), (1e-1, 3e-2, 1e-2, 3e-3)


class Measured(NamedTuple):
    """A slope, how far it may be off, and the slopes on the two sides."""

    slope: float
    bar: float
    low: float
    high: float


class Function(NamedTuple):
    """What a step computes, made ready: run on these operands, in numbers of this precision."""

    run: Callable[..., Sequence]
    operands: list
    steps: tuple[float, ...]
    eps: float


def as_wide(x: Any) -> np.ndarray:
    """Returns a value as a NumPy array of float64 or complex128."""
    x = np.asarray(x)
    return x.astype(widened.wide_dtype(x.dtype))


def difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns x - y, zero where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(x == y, 0, x - y)


def direction(x: Any, steepest: np.ndarray | None, generator: Any) -> np.ndarray:
    """Returns a direction that moves every element by about its own size.

    An element that is far smaller than the others moves by a thousandth of their size, or of one if
    they are huge, as what masks; an infinite one not at all. `steepest`: whose signs to take; else
    they are random.
    """
    x = as_wide(x)
    moving = np.isfinite(x)
    size = np.abs(np.where(moving, x, 0))
    typical = min(math.sqrt(np.mean(size**2)), 1.0) if x.size else 0.0
    size = np.maximum(size, 1e-3 * typical) if typical else np.ones_like(size)
    size = np.where(moving, size, 0)
    if steepest is not None and np.any(steepest):
        length = np.abs(steepest)
        return size * np.conj(steepest) / np.where(length > 0, length, 1)
    v = generator.uniform(0.5, 1.0, x.shape) * generator.choice([-1.0, 1.0], x.shape)
    if np.iscomplexobj(x):
        v = v * np.exp(2j * np.pi * generator.uniform(size=x.shape))
    return size * v


def measure(step: Step, function: Function, directions: dict[int, np.ndarray]) -> Measured | None:
    """Returns the slope of the cotangents times the function, None if it is not finite.

    Central differences of shrinking steps, the error of second order taken out of each two of them.
    Three that follow each other must agree to be believed: two may by chance.
    """
    pairs = enumerate(zip(step.cotangents or (), step.results, strict=True))
    g = {k: as_wide(g) for k, (g, _) in pairs if g is not None}
    start = run_at(function, directions, 0.0, g)
    finite = {k: np.where(np.isfinite(z), z, 0) for k, z in start.items()}
    level = math.sqrt(sum(np.sum(np.abs(g[k] * finite[k]) ** 2) for k in g))
    best, slopes, refined = None, [], []
    low = high = 0.0
    for h in function.steps:
        ahead, behind = (run_at(function, directions, t, g) for t in (h, -h))
        sides = [
            tuple(
                np.real(g[k] * difference(x, y)) / h
                for x, y in ((ahead[k], start[k]), (start[k], behind[k]))
            )
            for k in g
        ]
        slopes.append(float(sum(np.sum(a + b) for a, b in sides)) / 2)
        low = float(sum(np.sum(np.minimum(a, b)) for a, b in sides))
        high = float(sum(np.sum(np.maximum(a, b)) for a, b in sides))
        if len(slopes) > 1:
            square = (function.steps[len(slopes) - 2] / h) ** 2
            refined.append((square * slopes[-1] - slopes[-2]) / (square - 1))
        if len(refined) > 1:
            apart = max(abs(refined[-1] - slopes[-1]), abs(refined[-1] - refined[-2]))
            bar = apart + 8 * function.eps * level / h
            if math.isfinite(bar) and (best is None or bar < best[1]):
                best = refined[-1], bar
    return Measured(*best, low, high) if best and math.isfinite(high - low) else None


def run_at(
    function: Function, directions: dict[int, np.ndarray], t: float, wanted: Any
) -> dict[int, np.ndarray]:
    """Returns those results that are wanted, the operands moved by t along the directions."""
    operands = list(function.operands)
    for i, v in directions.items():
        moved = as_wide(operands[i]) + t * v
        operands[i] = jax.device_put(moved.astype(jax.typeof(operands[i]).dtype))
    results = function.run(*operands)
    return {k: as_wide(results[k]) for k in wanted}
