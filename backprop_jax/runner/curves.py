"""A run as a picture: losses, metrics, and the distance between the engines, over the steps."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backprop_jax.runner.folder import whole
from backprop_jax.runner.training import Record

INK, PALE = "#30343b", "#d8dbe0"
COLOURS = ("#1f6fb4", "#d9622b", "#2a9461", "#8a5cc2", "#b8902a")

TINY = 1e-3

Line = tuple[list[int], list[float]]


def draw(records: Sequence[Record], title: str, path: Path) -> None:
    """Writes a picture of the records; a run that recorded nothing gets none."""
    panels = panels_of(records)
    if not panels:
        return
    figure = Figure(figsize=(0.4 + 4.6 * len(panels), 3.9), dpi=144, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    row = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axes, (name, lines) in zip(row, panels.items(), strict=True):
        draw_panel(axes, name, lines)
    with whole(path) as file:
        figure.savefig(file, format="png")


def panels_of(records: Sequence[Record]) -> dict[str, dict[str, Line]]:
    """Returns what there is to draw: panels by name, in each the lines by label."""
    tests = _by_figure(records, "test")
    others = _by_figure(records, "validation")
    losses = {"training": _by_figure(records, "train").get("loss"), "test": tests.pop("loss", None)}
    losses["validation"] = others.pop("loss", None)
    checks = _by_figure(records, "gradient_check").get("max_rel")
    panels = {
        "loss": {name: found for name, found in losses.items() if found},
        "test" if len(tests) > 1 else f"test {''.join(tests)}": tests,
        "validation" if len(others) > 1 else f"validation {''.join(others)}": others,
        "gradient norm of an example": _by_figure(records, "example_norms"),
        "largest difference from jax.grad, relative": {"": checks} if checks else {},
    }
    return {name: lines for name, lines in panels.items() if lines}


def _by_figure(records: Sequence[Record], kind: str) -> dict[str, Line]:
    """Returns steps and values of each finite figure in the records of a kind."""
    lines: dict[str, Line] = {}
    for record in records:
        if record["kind"] != kind:
            continue
        for name, value in record.items():
            if name not in ("kind", "step", "seconds") and isinstance(value, float):
                steps, values = lines.setdefault(name, ([], []))
                if math.isfinite(value):
                    steps.append(record["step"])
                    values.append(value)
    return {name: line for name, line in lines.items() if line[0]}


def draw_panel(axes: Axes, name: str, lines: Mapping[str, Line]) -> None:
    """Draws lines over steps; logarithmic if they span a decade, or are all tiny."""
    for colour, (label, (steps, values)) in zip(COLOURS, lines.items(), strict=False):
        marker = "o" if len(steps) <= 30 else ""
        axes.plot(steps, values, color=colour, label=label, lw=1.6, marker=marker, ms=3.5)
    every = [value for _, values in lines.values() for value in values]
    if min(every) > 0 and (max(every) > 10 * min(every) or max(every) < TINY):
        axes.set_yscale("log")
        axes.set_ylim(min(min(every) / 1.5, max(every) / 20), 1.5 * max(every))
    else:
        axes.yaxis.set_major_formatter("{x:g}")
    if not any(every):
        axes.set_yticks([0.0])
    # No power of ten stands apart; left to itself, a title looks for it, a third of the drawing.
    axes.set_title(name, loc="left", y=1.0, fontsize=10, color=INK)
    axes.set_xlabel("step", color=INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    dress(axes)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def dress(axes: Axes) -> None:
    """Gives a panel its grid and frame."""
    axes.grid(color=PALE, lw=0.6)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
