"""How gradients flow, as a picture: layer × step, and norms against depth."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from backprop_jax.runner.curves import INK, PALE, dress
from backprop_jax.runner.flow.findings import LARGE, SMALL
from backprop_jax.runner.flow.history import Flow, Table
from backprop_jax.runner.folder import whole

MAP = "viridis"

MOST_LABELS = 24
"""Layers whose names are written at an axis; of more, some are."""

MOST_LINES = 5
"""Looks that are drawn against depth."""

LONGEST = 32
"""Letters of a layer's name."""


def draw_flow(flow: Flow, title: str, path: Path) -> None:
    """Writes a picture of a flow."""
    with whole(path) as file:
        flow_figure(flow, title).savefig(file, format="png")


def flow_figure(flow: Flow, title: str = "") -> Figure:
    """Returns a picture of a flow: four panels, layers downwards in the order of depth.

    Above, the norm of the gradient by layer and step, and against depth. Below, how large updates
    are relative to the weights, and the share of dead units.
    """
    width, height = panel_size(flow)
    figure = Figure(figsize=(2 * width, 2 * height), dpi=144, layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    places = figure.subplots(2, 2).ravel()
    drawn = panels_of(flow)
    for axes, draw in itertools.zip_longest(places, drawn.values()):
        if draw is None:
            axes.set_visible(False)
        else:
            draw(axes, flow)
    return figure


def panels_of(flow: Flow) -> dict[str, Callable[[Axes, Flow], None]]:
    """Returns what there is to draw, by name: functions that draw a flow onto axes."""
    panels = {
        "norm of the gradient, by layer and step": _norms,
        "norm of the gradient against depth": _against_depth,
        "updates relative to weights, by layer and step": _ratios,
        "dead units, by layer and step": _shares,
    }
    if not np.isfinite(flow.dead).any():
        del panels["dead units, by layer and step"]
    return panels


def panel_size(flow: Flow) -> tuple[float, float]:
    """Returns width and height of one panel, in inches."""
    return 5.2, max(0.22 * min(len(flow.layers), MOST_LABELS) + 1.5, 2.6)


def _norms(axes: Axes, flow: Flow) -> None:
    """Draws the norm of the gradient by layer and step."""
    _by_step(axes, flow, flow.gradient, "norm of the gradient")


def _ratios(axes: Axes, flow: Flow) -> None:
    """Draws how large updates are relative to the weights, by layer and step."""
    _by_step(axes, flow, flow.ratio, "update / weight", (SMALL, LARGE))


def _by_step(
    axes: Axes, flow: Flow, table: Table, name: str, around: tuple[float, float] | None = None
) -> None:
    """Draws a figure by layer and step, on a logarithmic scale; zeros and the unknown are left out.

    The scale spans the figures, and at least what is `around` if that is given.
    """
    good = np.where(np.isfinite(table) & (table > 0), table, np.nan)
    known = good[~np.isnan(good)]
    _map(axes, flow, good, LogNorm(*_span([*known.tolist(), *(around or ())])), name)


def _span(values: list[float]) -> tuple[float, float]:
    """Returns the ends of a logarithmic scale for some values: it spans a decade at least."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    more = max(1.0, math.sqrt(10 * low / high))
    return low / more, high * more


def _shares(axes: Axes, flow: Flow) -> None:
    """Draws the shares of dead units by layer and step."""
    _map(axes, flow, 100 * flow.dead, None, "dead units, %")


def _map(axes: Axes, flow: Flow, table: Table, scale: LogNorm | None, name: str) -> None:
    """Draws a table as colours, the layer nearest to the data on top."""
    options: dict[str, Any] = {"norm": scale} if scale else {"vmin": 0.0, "vmax": 100.0}
    edges = _edges(flow.steps)
    rows = np.arange(len(flow.layers) + 1) - 0.5
    axes.set_facecolor(PALE)
    mesh = axes.pcolormesh(
        edges, rows, np.ma.masked_invalid(table.T), cmap=MAP, rasterized=True, **options
    )
    axes.invert_yaxis()
    _name_layers(axes, flow)
    axes.set_title(name, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("step", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _plain(axes)
    assert axes.figure is not None
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
    bar.ax.tick_params(which="both", colors=INK, labelsize=8)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _against_depth(axes: Axes, flow: Flow) -> None:
    """Draws the norm of the gradient against depth, for looks from the first to the last."""
    looks = np.unique(np.linspace(0, len(flow.steps) - 1, MOST_LINES).round().astype(int))
    colours = colormaps[MAP](np.linspace(0.25, 0.85, len(looks)))
    layers = np.arange(len(flow.layers))
    for number, look in enumerate(looks):
        row = flow.gradient[look]
        good = np.where(np.isfinite(row) & (row > 0), row, np.nan)
        label = f"{'' if number else 'step '}{flow.steps[look]}"
        axes.plot(good, layers, color=colours[number], label=label, lw=1.4, marker="o", ms=3)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(LogLocator(subs=(3.0,)))
    shown = flow.gradient[looks]
    low, high = _span(shown[np.isfinite(shown) & (shown > 0)].tolist())
    axes.set_xlim(low / 1.3, high * 1.3)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    _name_layers(axes, flow)
    axes.set_title("norm of the gradient against depth", loc="left", fontsize=10, color=INK)
    dress(axes)
    axes.tick_params(which="both", labelsize=8)
    # Below the numbers, however high the panel is; from the right, for on the left there is room.
    below: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (1, 0), "borderaxespad": 2.9}
    below |= {"ncols": MOST_LINES, "columnspacing": 1, "handlelength": 1.4}
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, **below)


def _name_layers(axes: Axes, flow: Flow) -> None:
    """Writes the names of the layers, or of every n-th of many, at the side."""
    every = -(-len(flow.layers) // MOST_LABELS)
    shown = range(0, len(flow.layers), every)
    names = [flow.layers[at] for at in shown]
    names = [x if len(x) <= LONGEST else f"…{x[1 - LONGEST :]}" for x in names]
    axes.set_yticks(list(shown), names)


def _plain(axes: Axes) -> None:
    """Gives a map its ink, and no frame."""
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[:].set_visible(False)


def _edges(steps: np.ndarray) -> np.ndarray:
    """Returns where the columns of a map begin and end: half way between the looks."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    ends = (3 * steps[0] - steps[1]) / 2, (3 * steps[-1] - steps[-2]) / 2
    return np.array([ends[0], *middle, ends[1]])
