"""The slope of a function along a direction, with an error bar for each entry of the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backprop_jax.check.numerical.vectors import Vector

LEVELS = 4
FIRST_STEP = -5
"""The largest step, as a power of two; the others of a block are a half, a quarter, an eighth."""
BLOCKS = (0, -7, -15, -23, -31)
"""By which powers of two the blocks of steps are shorter, one tried after the other."""
GOOD = 2.0**-30
TINY = float(np.finfo(np.float64).tiny)
"""XLA makes zero of smaller numbers."""


@dataclass(frozen=True)
class Slopes:
    """Slopes of each entry of a result, and how far off they may be.

    Attributes:
      low: the slope, or the lesser of the slopes to the two sides of a kink.
      high: the same, or the greater of those.
      error: the error bar of both. Infinite where nothing could be measured.
      kinks: where the slopes to the two sides are different.
      still: where no step moved the result by a single bit.
    """

    low: Vector
    high: Vector
    error: Vector
    kinks: np.ndarray
    still: np.ndarray

    @property
    def value(self) -> Vector:
        """The slope, in the middle of a kink."""
        return (self.low + self.high) / 2

    def along(self, c: Vector) -> tuple[float, float, float]:
        """Returns least and greatest value of the sum of c times the slopes, and its error bar.

        The signs of c are random, or there is one entry: the errors add up as random numbers do.
        """
        low = float(np.sum(np.minimum(c * self.low, c * self.high)))
        high = float(np.sum(np.maximum(c * self.low, c * self.high)))
        with np.errstate(invalid="ignore"):
            parts = np.where(c == 0, 0.0, c * self.error)
        return low, high, 6 * float(np.linalg.norm(parts))


def slopes(
    f: Callable[[Vector], Vector],
    x: Vector,
    v: Vector,
    *,
    noise: Vector | float = 0.0,
    digits: int = 52,
    first: int | None = None,
    blocks: Sequence[int] = BLOCKS,
) -> Slopes:
    """Returns the slopes of f at x along v: central differences, extrapolated to step zero.

        T(h, 0) = (f(x + h v) - f(x - h v)) / (2 h)
        T(h, j) = (4^j T(h, j-1) - T(2 h, j-1)) / (4^j - 1)

    A block of four steps, each half of the one before, gives T(h, 3), off by h^8. It is off by no
    more than its distance from the T of lower order and longer step, and than what the rounding of
    f makes of the shortest step. While an entry is not good to nine digits, a block of shorter
    steps is tried, and the best is taken, entry by entry. Steps that leave the domain (a result
    that is not finite) do not count; where one side alone is in the domain, its differences are
    extrapolated (2^j for 4^j). Where the slopes to the two sides agree with themselves and not with
    each other there is a kink, and both are returned.

    Args:
      f: maps a vector to a vector.
      x: where to measure.
      v: direction; its length is part of the answer.
      noise: rounding error of each entry of f(x), where that is more than of its last digit.
      digits: of the numbers f computes with, after the leading one: 52 in float64.
      first: the largest step, as a power of two.
      blocks: how much shorter than that the longest step of each block is.

    Source: Ridders 1982, Advances in Engineering Software 4(2); Richardson 1911.
    """
    middle = f(x)
    first = (FIRST_STEP if digits > 30 else -2) if first is None else first
    best: Slopes | None = None
    before: Slopes | None = None
    moved = np.zeros(middle.shape, bool)
    alone = len(blocks) == 1 or digits <= 23  # There are no shorter steps to agree with.
    for block in blocks:
        shortest = first + block - (LEVELS - 1)
        if best is not None and shortest < -(digits - 6):
            break
        h = 2.0 ** np.arange(first + block, shortest - 1, -1)
        plus = np.stack([f(x + step * v) for step in h])
        minus = np.stack([f(x - step * v) for step in h])
        found, good = _of_block(middle, plus, minus, h, noise, 2.0**-digits)
        # Where a longer step has moved the result and these do not, they are within one stair of
        # its rounding.
        found = replace(found, error=np.where(found.still & moved, np.inf, found.error))
        good, moved = good & np.isfinite(found.error), moved | ~found.still
        told = [(found, good | alone)]
        if before is not None and best is not None:
            agree = _agree(before, found)
            told = [(found, good | agree), (before, agree)]
        for each, sure in told:
            each = replace(each, error=np.where(sure, each.error, np.inf))
            best = each if best is None else _better(best, each)
        if good.all():
            break
        before = found
    assert best is not None
    return replace(best, still=~moved)


def _of_block(
    middle: Vector,
    plus: np.ndarray,
    minus: np.ndarray,
    h: Vector,
    noise: Vector | float,
    eps: float,
) -> tuple[Slopes, np.ndarray]:
    """The slopes that one block of steps tells, and where they are good."""
    with np.errstate(all="ignore"):
        every = np.abs(np.stack([middle, *plus, *minus]))
        size = np.max(np.where(np.isfinite(every), every, 0.0), axis=0)
        rounding = np.maximum(eps * size, noise)
        column = h[:, None]
        central, off = _extrapolated((plus - minus) / (2 * column), 4)
        ahead, off_ahead = _extrapolated((plus - middle) / column, 2)
        behind, off_behind = _extrapolated((middle - minus) / column, 2)
        floor = 4 * np.maximum(rounding, TINY) / h[-1]
        off, off_ahead, off_behind = (
            np.where(_settled(d, part, floor), o, np.inf)
            for d, part, o in (
                ((plus - minus) / (2 * column), 0.5, off),
                ((plus - middle) / column, 0.75, off_ahead),
                ((middle - minus) / column, 0.75, off_behind),
            )
        )
        even = (plus - middle) + (minus - middle)  # What central differences do not see.
        beside = np.all(np.abs(even[1:]) <= 0.8 * np.abs(even[:-1]) + 16 * rounding, axis=0)
        off = np.where(beside, off, np.inf)
        error, sided = off + floor, 4 * floor  # Extrapolating one side's differences adds to them.
        error_ahead, error_behind = off_ahead + sided, off_behind + sided
    still = np.all((plus == middle) & (minus == middle), axis=0)
    error, error_ahead, error_behind = (
        np.where(np.isfinite(e), e, np.inf) for e in (error, error_ahead, error_behind)
    )
    gap = np.abs(ahead - behind)
    both = np.isfinite(error_ahead) & np.isfinite(error_behind)
    kinks = both & (gap > 16 * (error_ahead + error_behind)) & (gap > 1e-4 * np.abs(central))
    low, high = central.copy(), central.copy()
    low[kinks] = np.minimum(ahead, behind)[kinks]
    high[kinks] = np.maximum(ahead, behind)[kinks]
    error = np.where(kinks, error_ahead + error_behind, error)
    for side, off_side in ((ahead, error_ahead), (behind, error_behind)):
        alone = ~np.isfinite(error) & np.isfinite(off_side)
        low[alone] = high[alone] = side[alone]
        error[alone] = off_side[alone]
    good = (error <= GOOD * np.maximum(np.abs(low), np.abs(high))) | (error <= 2 * floor) | kinks
    error = np.where(np.isfinite(low) & np.isfinite(high), error, np.inf)
    return Slopes(low, high, error, kinks, still), good & np.isfinite(error)


def _settled(differences: np.ndarray, part: float, floor: Vector) -> np.ndarray:
    """Where each difference is nearer to the next than the one before, but for rounding.

    Where they are not, the steps are too long for what they measure, and tell nothing.
    """
    apart = np.abs(np.diff(differences, axis=0))
    return np.all(apart[1:] <= part * apart[:-1] + 8 * floor, axis=0)


def _agree(one: Slopes, other: Slopes) -> np.ndarray:
    """Where two blocks of steps tell the same slope."""
    with np.errstate(invalid="ignore"):
        near = np.abs(one.value - other.value) <= 4 * (one.error + other.error)
    return near & np.isfinite(one.error) & np.isfinite(other.error)


def _extrapolated(differences: np.ndarray, base: int) -> tuple[Vector, Vector]:
    """The differences carried to step zero, and how far that is from what leads to it."""
    table = [differences]
    for j in range(1, len(differences)):
        last = table[-1]
        table.append((base**j * last[1:] - last[:-1]) / (base**j - 1))
    value = table[-1][0]
    near = [table[-2][0], table[-2][1], table[-3][-1]]
    return value, np.max([np.abs(value - t) for t in near], axis=0)


def _better(one: Slopes, other: Slopes) -> Slopes:
    """Of each entry the slope with the smaller error bar; one that is smooth before a kink.

    The bar of one that another contradicts reaches to that one: there is no telling who is right.
    """
    take = (other.error < one.error) & ~(other.kinks & ~one.kinks & np.isfinite(one.error))
    take |= one.kinks & ~other.kinks & np.isfinite(other.error) & (other.error < one.high - one.low)
    with np.errstate(invalid="ignore"):
        gap = np.abs(one.value - other.value)
        apart = take & (gap > 16 * (one.error + other.error)) & ~one.kinks & ~other.kinks
    other = replace(other, error=np.where(apart, np.maximum(gap, other.error), other.error))
    pick = [np.where(take, b, a) for a, b in zip(_parts(one), _parts(other), strict=True)]
    return Slopes(*pick, still=one.still)


def _parts(found: Slopes) -> tuple[Vector, ...]:
    return found.low, found.high, found.error, found.kinks


def noise_of(f: Callable[[Vector], Vector], x: Vector, v: Vector, digits: int = 52) -> Vector:
    """Returns the rounding error that f makes at x, entry by entry.

    Points so near to each other that a smooth f is a straight line there: what its second
    differences are is rounding. An entry that happens to be quiet is given the noise of a typical
    one of its size.

    Source: Moré and Wild 2011, SIAM Journal on Scientific Computing 33(3).
    """
    h = 2.0 ** -(digits - 10)
    values = np.stack([f(x + k * h * v) for k in range(-2, 4)])
    with np.errstate(all="ignore"):
        bends = np.abs(np.diff(values, n=2, axis=0))
        own = np.max(bends, axis=0) / np.sqrt(6)
        share = own / np.abs(values[2])
    own = np.where(np.isfinite(own), own, 0.0)
    some = share[np.isfinite(share) & (share > 0)]
    typical = float(np.median(some)) if some.size else 0.0
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values[2]), np.maximum(own, typical * np.abs(values[2])), 0.0)


def roughness(f: Callable[[Vector], Vector], x: Vector, v: Vector, digits: int = 52) -> Vector:
    """Returns what rounding may make of a slope at x, where f goes up and down in stairs.

    So does 1 + tanh x where little is left of it: from one stair to the next is farther than the
    steps that `noise_of` and short differences take, and on a stair all seems smooth. The fourth
    differences of longer steps cross them; of a smooth f they are as small as rounding.
    """
    h = 2.0 ** -(digits / 4)
    values = np.stack([f(x + k * h * v) for k in range(-3, 4)])
    with np.errstate(all="ignore"):
        bends = np.max(np.abs(np.diff(values, n=4, axis=0)), axis=0) / np.sqrt(70)
    return 4 * np.where(np.isfinite(bends), bends, 0.0) * 2.0 ** (LEVELS - 1 - FIRST_STEP)
