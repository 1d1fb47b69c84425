"""Lines over steps as a part of a page: in its own colours and letters, and soon drawn.

matplotlib takes a hundred times as long, and every run of a sweep has a page.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from backprop_jax.runner.curves import COLOURS, FEW, Line, is_logarithmic, limits

WIDTH, HEIGHT = 331, 245
LEFT, RIGHT, TOP, BOTTOM = 52, 324, 33, 211
"""Of the picture, and the edges of what is drawn in it; in points, as the sizes of letters are."""

LETTERS = 54
"""As many as fit into a line."""

MOST_TICKS = 6

Point = tuple[float, float]


class Axis(NamedTuple):
    """Which numbers lie where.

    Attributes:
      low: the number at `start`.
      high: the number at `end`.
      start: of the axis, in points.
      end: of it.
      logarithmic: whether equal factors lie equally far apart, in the place of differences.
      whole: whether its numbers are whole ones.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False
    whole: bool = False

    def at(self, value: float) -> float:
        """Returns where a number lies."""
        measure = math.log if self.logarithmic else float
        low, high = measure(self.low), measure(self.high)
        share = (measure(min(max(value, self.low), self.high)) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Returns some round numbers on the axis."""
        if not self.logarithmic:
            rounds = MaxNLocator(MOST_TICKS - 1, steps=[1, 2, 2.5, 5, 10], integer=self.whole)
            return self._on([float(x) for x in rounds.tick_values(self.low, self.high)])
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
        decades = self._on([float(f"1e{power}") for power in powers])
        parts = self._on([float(f"{n}e{power}") for power in powers for n in (1, 2, 5)])
        return decades[:: 1 + len(decades) // MOST_TICKS] if len(decades) > 2 else parts

    def _on(self, numbers: Sequence[float]) -> list[float]:
        """Returns those numbers that are on the axis."""
        return [x for x in numbers if self.low <= x <= self.high]


def chart(name: str, lines: Mapping[str, Line]) -> Markup:
    """Returns lines over steps as an SVG element.

    Args:
      name: of what is drawn.
      lines: by label; of each the steps, and a finite number for each of them.
    """
    values = [value for _, line in lines.values() for value in line]
    upward = Axis(*limits(values), BOTTOM, TOP, logarithmic=is_logarithmic(values))
    last = max(step for steps, _ in lines.values() for step in steps)
    onward = Axis(0, 1.04 * max(1, last), LEFT, RIGHT, whole=True)
    parts = [
        f'<svg role="img" aria-label="{escape(name)}, by step" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-size="9" fill="currentColor">',
        *_grid(onward, upward, upward.ticks() if any(values) else [0.0]),
        f'<text x="0" y="10" font-size="10">{escape(name)}</text>',
    ]
    for colour, (steps, line) in zip(COLOURS, lines.values(), strict=False):
        pairs = zip(steps, line, strict=True)
        parts += _line(colour, [(onward.at(x), upward.at(y)) for x, y in pairs])
    if len(lines) > 1:
        parts.append(_legend(list(lines)))
    return Markup("\n".join([*parts, "</svg>"]))


def _grid(onward: Axis, upward: Axis, heights: Sequence[float]) -> Iterator[str]:
    """Yields lines at round numbers, and what these are."""
    steps = onward.ticks()
    across = [f"M{LEFT} {upward.at(x)}H{RIGHT}" for x in heights]
    along = [f"M{onward.at(x)} {TOP}V{BOTTOM}" for x in steps]
    frame = f"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"
    yield f'<path d="{"".join(across + along)}" stroke="var(--pale)" stroke-width=".6"/>'
    yield f'<path d="{frame}" fill="none" stroke="var(--pale)"/>'
    for x, said in zip(heights, _said(heights), strict=True):
        yield f'<text x="{LEFT - 5}" y="{upward.at(x) + 3:g}" text-anchor="end">{said}</text>'
    for x, said in zip(steps, _said(steps), strict=True):
        yield f'<text x="{onward.at(x)}" y="{BOTTOM + 13}" text-anchor="middle">{said}</text>'
    middle = (LEFT + RIGHT) / 2
    yield f'<text x="{middle}" y="{BOTTOM + 29}" text-anchor="middle" font-size="10">step</text>'


def _said(values: Sequence[float]) -> Iterator[str]:
    """Yields the numbers at an axis, all different; those far from 1 with a power of ten."""
    digits = 6
    while digits < 17 and len({f"{x:.{digits}g}" for x in values}) < len(values):
        digits += 1
    for value in values:
        number, _, power = f"{value:.{digits}g}".partition("e")
        front = f"{number}·" if power and number != "1" else "" if power else number
        raised = f'10<tspan dy="-.4em" font-size="7">{int(power)}</tspan>' if power else ""
        yield front + raised


def _line(colour: str, points: Sequence[Point]) -> Iterator[str]:
    """Yields a line, and its points where these are few."""
    path = " ".join(f"{x:g},{y:g}" for x, y in _seen(points))
    yield (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" '
        'stroke-linejoin="round"/>'
    )
    if len(points) <= FEW:
        dots = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="1.9"/>' for x, y in points)
        yield f'<g fill="{colour}">{dots}</g>'


def _seen(points: Sequence[Point]) -> Iterator[Point]:
    """Yields those of many points that make a difference: of some in one place the outermost."""
    for x, these in groupby(points, key=lambda point: point[0]):
        heights = [y for _, y in these]
        ends = [heights[0], min(heights), max(heights), heights[-1]]
        yield from ((x, y) for y in (ends if len(heights) > 2 else heights))


def _legend(labels: Sequence[str]) -> str:
    """Returns what the colours mean."""
    said = "  ".join(
        f'<tspan fill="{colour}">●</tspan> {escape(label)}'
        for colour, label in zip(COLOURS, labels, strict=False)
    )
    size = min(9, 9 * LETTERS / sum(len(label) + 4 for label in labels))
    return f'<text x="{LEFT}" y="24" font-size="{size:.3g}" xml:space="preserve">{said}</text>'
