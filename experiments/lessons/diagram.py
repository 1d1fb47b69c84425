"""Boxes and arrows: small diagrams of what is computed from what."""

from typing import Any

from matplotlib.axes import Axes

from experiments.lessons import style

Point = tuple[float, float]


def empty(axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Clears a panel of frame, ticks and grid, and says what it spans."""
    axes.set_axis_off()
    axes.set(xlim=across, ylim=up)


def box(axes: Axes, at: Point, text: str, colour: str = style.BLUE, **how: Any) -> None:
    """Writes a text into a box of a colour."""
    frame = {"boxstyle": "round,pad=0.5", "fc": f"{colour}18", "ec": colour, "lw": 1.3}
    options: dict[str, Any] = {"fontsize": style.TEXT, "color": style.INK, "zorder": 4} | how
    axes.text(*at, text, ha="center", va="center", bbox=frame, **options)


def arrow(
    axes: Axes, begin: Point, end: Point, colour: str = style.INK, bend: float = 0.0, **how: Any
) -> None:
    """Draws an arrow, stopping short of both ends; `bend` curves it."""
    options: dict[str, Any] = {"lw": 1.4, "shrinkA": 16, "shrinkB": 16} | how
    form = {"arrowstyle": "-|>", "color": colour, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", end, begin, arrowprops={**form, **options}, zorder=2)


def word(axes: Axes, at: Point, text: str, colour: str = style.INK, **how: Any) -> None:
    """Writes a text that nothing runs through."""
    ground = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
    options: dict[str, Any] = {"fontsize": style.SMALL, "ha": "center", "va": "center"} | how
    axes.text(*at, text, color=colour, bbox=ground, zorder=3, **options)
