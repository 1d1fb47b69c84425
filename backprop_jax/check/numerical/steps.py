"""Where to step: directions with random signs along which a step is exact."""

import numpy as np

from backprop_jax.check.numerical.vectors import Vector

RATIO = 128.0
"""Contributions to a slope that are farther apart than this are measured apart."""
BINS = 4


def direction(x: Vector, rng: np.random.Generator, fine: int = 6) -> Vector:
    """Returns a direction with random signs, whose entries are about as large as those of x.

    An entry is a power of two times one of 2**fine numbers between 1/2 and 3/2, so that x + h v has
    no rounding error for h = 1, 1/2, ... as long as there are digits for it. The signs are
    independent of whatever error a gradient has: by Hoeffding's inequality, the sum of n errors
    e_i v_i exceeds 6 sqrt(sum (e_i v_i)²) once in 10⁷ draws, however the errors are correlated.

    Args:
      x: where the direction starts. An entry that is zero gets a step as large as a typical one.
      rng: random numbers.
      fine: how many bits the sizes have. Two wrong entries cancel once in 2**fine draws at most.
    """
    return sizes(x) * signs(x.size, rng, fine)


def signs(count: int, rng: np.random.Generator, fine: int = 6) -> Vector:
    """Returns random numbers of either sign and of a size between 1/2 and 3/2."""
    steps = 2**fine
    return rng.choice([-1.0, 1.0], count) * (0.5 + rng.integers(0, steps + 1, count) / steps)


def sizes(x: Vector, least: float = 0.0) -> Vector:
    """Returns for each entry the power of two below it, for a zero that of a typical entry.

    Args:
      x: where to step from.
      least: no entry counts as smaller than this part of a typical one; if that is huge, of one.
    """
    size = np.abs(x)
    some = size[(size > 0) & np.isfinite(size)]
    typical = float(np.median(some)) if some.size else 1.0
    typical = min(typical, 1.0) if least else typical
    size = np.where((size > 0) & np.isfinite(size), size, typical)
    size = np.maximum(size, least * typical)
    return np.ldexp(0.5, np.frexp(size)[1])  # size = mantissa 2^exponent, mantissa in [1/2, 1)


def bins(contributions: Vector) -> list[np.ndarray]:
    """Returns masks of the entries of like size, the largest first, zeros with the smallest.

    What is small is lost beside what is large, in the slope as in its error bar, so each bin gets a
    slope of its own.
    """
    size = np.abs(contributions)
    largest = float(np.max(size, initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return [np.ones(size.shape, bool)]
    with np.errstate(divide="ignore"):
        level = np.floor(np.log(largest / size) / np.log(RATIO) + 1e-12)
    level = np.minimum(level, BINS - 1)
    return [level == k for k in range(BINS) if np.any(level == k)]
