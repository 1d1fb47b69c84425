"""What is told of an array: its type, least, mean and largest element, norm, and a histogram."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backprop_jax.graph.expressions import number


class Summary(NamedTuple):
    """What is told of an array.

    Attributes:
      kind: dtype and shape: `float32[3,4]`.
      bad: how many of its elements are not finite.
      min, mean, max: of the finite ones; None of complex numbers, and where there are none.
      norm: of the finite ones; None where there are none.
      histogram: how many of them are in each of `BINS` equal parts of what is between min and max.
    """

    kind: str
    bad: int = 0
    min: float | None = None
    mean: float | None = None
    max: float | None = None
    norm: float | None = None
    histogram: tuple[int, ...] = ()

    def __str__(self) -> str:
        """As a line of text, the histogram as bars."""
        bad = f", {self.bad} not finite" if self.bad else ""
        if self.norm is None:
            return self.kind + bad
        if self.min is None:
            return f"{self.kind} norm {self.norm:.4g}{bad}"
        return (
            f"{self.kind} min {self.min:.4g}, mean {self.mean:.4g}, max {self.max:.4g}, "
            f"norm {self.norm:.4g}{bad}{bars(self.histogram)}"
        )


#: Parts of a histogram, and how full one is as text.
BINS, BARS = 16, "▁▂▃▄▅▆▇█"


def bars(counts: Sequence[int]) -> str:
    """Returns a histogram as text: ` ▕▁▂ █▂▏`."""
    most = max(counts, default=0)
    full = (math.ceil(count / most * len(BARS)) for count in counts)
    return f" ▕{''.join(f' {BARS}'[each] for each in full)}▏" if counts else ""


def summary(x: Any) -> Summary:
    """Returns what is told of an array."""
    x = np.asarray(x)
    kind = f"{x.dtype}[{','.join(map(str, x.shape))}]"
    if not x.size or x.dtype.kind not in "fcV":
        return Summary(kind)
    wide = x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
    good = wide[np.isfinite(wide)]
    bad = x.size - good.size
    if not good.size:
        return Summary(kind, bad)
    norm = float(np.linalg.norm(good))
    if np.iscomplexobj(wide):
        return Summary(kind, bad, norm=norm)
    low, high = float(good.min()), float(good.max())
    counts: tuple[int, ...] = ()
    if low < high and good.size > 1 and np.isfinite(high - low):
        counts = tuple(np.histogram(good, BINS, (low, high))[0].tolist())
    return Summary(kind, bad, low, float(good.mean()), high, norm, counts)


def shown(x: Any) -> str:
    """Returns a number, or of an array the type, least, mean and largest element, and norm."""
    if x is None:
        return "none"
    return number(x) if not np.shape(x) else str(summary(x)._replace(histogram=()))


def described(x: Any) -> str:
    """Returns a number, or of an array all that is told of it, the histogram too."""
    return shown(x) if x is None or not np.shape(x) else str(summary(x))
