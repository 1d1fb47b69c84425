"""Gradient descent on x² + 4x + 4: rates from too small to diverging."""

import math
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, MinLen
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style
from experiments.lessons.tangent import f

Path = list[float]

MINIMUM = -2.0
REACH = 12.0
"""How far from the minimum a picture goes."""

CLOSE = 1e-6
"""This close to the minimum is there."""

TEXT = """\
Start at x = {start:g} and walk downhill: at each step subtract the gradient, times a number that
says how far to go, the *learning rate* r:

    x ← x - r · f'(x)        f(x) = x² + 4x + 4,  f'(x) = 2x + 4

The function is lowest at x = -2. Whether the walk gets there, and how fast, is a matter of r alone:

![The path over the parabola, a panel for each learning rate](paths.png)

Since f'(x) = 2 (x + 2), each step multiplies the distance from the minimum, x + 2, by the same
factor 1 - 2r. So everything can be said beforehand, and seen in the picture below, where each path
is a straight line on a logarithmic scale, dashed where the path jumps from side to side. 0.1 and
0.9 have the factors 0.8 and -0.8, and are equally fast.

{table}

- Below r = 0.5 the factor is between 0 and 1: the path creeps down on one side. Small r is safe and
  slow.
- At r = 0.5 it is 0: one step and there. That is the step of Newton's method, 1 over the second
  derivative.
- Between 0.5 and 1 it is negative: every step goes past the minimum, and yet ends closer to it.
- At r = 1 it is -1: the path jumps to and fro for ever.
- Above r = 1 every step ends farther off than it began: it diverges.

![The distance from the minimum, over the steps](distance.png)

In more dimensions each direction has its own curvature, and so its own largest r; there is only one
r for all of them. The steepest direction says how large it may be, the flattest one how long it
takes.
"""


def lesson(
    start: float = 6.0,
    rates: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (
        0.02,
        0.1,
        0.5,
        0.9,
        1.0,
        1.05,
    ),
    steps: Annotated[int, Ge(1)] = 30,
) -> Lesson:
    """Returns the path of gradient descent for each learning rate.

    Args:
      start: where all of them begin.
      rates: the learning rates.
      steps: how many steps each takes.
    """
    paths = {rate: descend(start, rate, steps) for rate in rates}
    needed = {rate: steps_needed(path) for rate, path in paths.items()}
    outcomes = {rate: outcome(path) for rate, path in paths.items()}
    rows = [
        f"| r | factor 1 - 2r | after {steps} steps | within 1e-6 after | |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {rate:g} | {1 - 2 * rate:.3g} | x = {paths[rate][-1]:.6g} | "
        f"{_count(needed[rate])} | {outcomes[rate]} |"
        for rate in rates
    ]
    return Lesson(
        title="Gradient descent, from too slow to too fast",
        text=TEXT.format(start=start, table="\n".join(rows)),
        numbers={
            "rates": list(rates),
            "ends": [path[-1] for path in paths.values()],
            "outcomes": list(outcomes.values()),
            "nearest_to_the_minimum": min(abs(path[-1] - MINIMUM) for path in paths.values()),
        },
        pictures={"paths.png": _paths(paths, outcomes), "distance.png": _distances(paths)},
    )


def descend(start: float, rate: float, steps: int) -> Path:
    """Returns where gradient descent is before each step, and after the last one."""
    gradient = bp.grad(f)
    path = [jnp.asarray(start)]
    for _ in range(steps):
        path.append(path[-1] - rate * gradient(path[-1]))
    return [float(x) for x in path]


def steps_needed(path: Path) -> int | None:
    """Returns after how many steps a path is at the minimum, None if it never is."""
    return next((step for step, x in enumerate(path) if abs(x - MINIMUM) < CLOSE), None)


def _count(steps: int | None) -> str:
    """Returns a number of steps in words, "" for none."""
    return "" if steps is None else f"{steps} step{'s' * (steps != 1)}"


def outcome(path: Path) -> str:
    """Returns what became of a path, in a word."""
    began, ended = abs(path[0] - MINIMUM), abs(path[-1] - MINIMUM)
    if ended < CLOSE:
        return "there"
    if math.isclose(ended, began):
        return "to and fro"
    return "diverges" if ended > began else "on its way"


def _paths(paths: dict[float, Path], outcomes: dict[float, str]) -> Figure:
    """Returns the paths over the function, a panel each."""
    columns = min(3, len(paths))
    rows = -(-len(paths) // columns)
    figure, grid = style.panels(columns, rows, width=3.2 * columns, height=2.9 * rows)
    for axes, (rate, path) in zip(grid, paths.items(), strict=False):
        _path(axes, path)
        style.title(axes, f"r = {rate:g}: {outcomes[rate]}")
    for axes in grid[len(paths) :]:
        axes.set_visible(False)
    return figure


def _path(axes: Axes, path: Path) -> None:
    """Draws a path over the function, later steps darker."""
    x = style.over(MINIMUM - REACH, MINIMUM + REACH)
    axes.plot(x, f(jnp.asarray(x)), color=style.BLUE, lw=1.2)
    seen = [x for x in path if abs(x - MINIMUM) <= REACH]
    heights = [float(f(jnp.asarray(x))) for x in seen]
    axes.plot(seen, heights, color=style.ORANGE, **style.PATH)
    axes.plot(seen[0], heights[0], color=style.INK, **style.DOT)
    axes.plot(MINIMUM, 0, color=style.GREEN, marker="*", ms=11, mec="white", zorder=6)
    axes.set(xlim=(MINIMUM - REACH, MINIMUM + REACH), ylim=(-6, REACH**2))


def _distances(paths: dict[float, Path]) -> Figure:
    """Returns how far from the minimum each path is, over the steps."""
    figure, (axes,) = style.panels(width=7.2, height=3.8)
    for colour, (rate, path) in zip(style.COLOURS, paths.items(), strict=False):
        distance = np.abs(np.array(path) - MINIMUM)
        # One that is exactly there has no place on a logarithmic scale: it leaves the picture.
        shown = np.maximum(distance, 1e-30)
        label, line = f"r = {rate:g}, factor {1 - 2 * rate:.3g}", "--" if rate > 0.5 else "-"
        axes.semilogy(shown, color=colour, label=label, ls=line, **style.LINE)
    axes.set(xlabel="step", ylim=(CLOSE, 1e3), xlim=(0, min(80, axes.get_xlim()[1])))
    style.title(axes, "distance from the minimum")
    style.legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
