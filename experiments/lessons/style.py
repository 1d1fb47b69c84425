"""How the pictures of the lessons look: one set of colours, sizes and lines."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE = "#30343b", "#d8dbe0"
BLUE, ORANGE, GREEN, PURPLE, GOLD, RED = (
    "#1f6fb4",
    "#d9622b",
    "#2a9461",
    "#8a5cc2",
    "#b8902a",
    "#c23b4e",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GOLD, RED)

HEAT, FIELD = "magma", "Blues_r"
"""Maps of colours: for magnitudes, and for a landscape under lines."""

WIDTH, HEIGHT, DPI = 6.4, 4.2, 120
TEXT, SMALL = 10, 9

LINE: dict[str, Any] = {"lw": 1.8}
PATH: dict[str, Any] = {"lw": 1.2, "marker": "o", "ms": 3.5}
DOT: dict[str, Any] = {"ls": "", "marker": "o", "ms": 7, "mec": "white", "mew": 1.2, "zorder": 5}


def panels(
    columns: int = 1, rows: int = 1, width: float = WIDTH, height: float = HEIGHT
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its panels, dressed, row by row.

    Args:
      columns: panels side by side.
      rows: panels on top of each other.
      width: of the figure, in inches.
      height: of the figure, in inches.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False)
    for axes in found.flat:
        dress(axes)
    return figure, list(found.flat)


def dress(axes: Axes) -> None:
    """Gives a panel its grid, frame and sizes."""
    axes.set_axisbelow(True)
    axes.grid(color=PALE, lw=0.6)
    axes.tick_params(colors=INK, labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.xaxis.label.set(color=INK, size=TEXT)
    axes.yaxis.label.set(color=INK, size=TEXT)


def title(axes: Axes, text: str) -> None:
    """Writes what a panel shows above it."""
    axes.set_title(text, loc="left", fontsize=TEXT + 1, color=INK)


def legend(axes: Axes, **where: Any) -> None:
    """Says what the lines are."""
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, **where)


def note(axes: Axes, text: str, at: tuple[float, float], colour: str = INK, **how: Any) -> None:
    """Writes a few words into a panel, at a point of it; `offset` moves them, in points."""
    offset = how.pop("offset", (6, 6))
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", color=colour, fontsize=SMALL, **how
    )


def over(least: float, most: float, count: int = 201) -> np.ndarray:
    """Returns points to draw a curve over."""
    return np.linspace(least, most, count)
