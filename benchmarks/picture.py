"""Ratios to `jax.grad` as a picture: a panel for each quantity, a row for each workload."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from backprop_jax.runner.curves import COLOURS, INK, PALE
from benchmarks.report import Results, engines_of, geometric_mean, ratios

PANELS = ("step", "memory", "trace", "compile", "eager")
LEGEND = {"loc": "outside lower left", "ncols": 8, "frameon": False, "labelcolor": INK}
LEAST, MOST = 0.01, 10.0
"""What lies further out is drawn at the edge."""


def draw(results: Results, title: str, path: Path, made_of: str) -> None:
    """Writes the picture, and into it what it was made of."""
    engines = list(dict.fromkeys(e for figures in results.values() for e in engines_of(figures)))
    names = [name for name, figures in results.items() if figures["step"].ratios]
    height = 1.3 + 0.24 * (len(names) + 1)
    figure = Figure(figsize=(2 + 2.1 * len(PANELS), height), dpi=120, layout="constrained")
    figure.suptitle(
        f"Ratios to jax.grad, left of 1 is better: {title}",
        x=0.01,
        ha="left",
        fontsize=11,
        color=INK,
    )
    for axes, quantity in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        panel(axes, quantity, {e: column(results, names, e, quantity) for e in engines})
        axes.set_yticks(range(len(names) + 1), [*names, "geometric mean"])
        axes.set_ylim(len(names) + 0.6, -0.6)
        axes.axhline(len(names) - 0.5, color=PALE, lw=0.8)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), **LEGEND)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Source": made_of})


def column(results: Results, names: list[str], engine: str, quantity: str) -> dict[int, float]:
    """Returns an engine's ratios by row, the geometric mean last."""
    found = {}
    for row, name in enumerate(names):
        measured = results[name].get(quantity)
        if measured and measured.ratios.get(engine, 0) > 0:
            found[row] = measured.ratios[engine]
    mean = geometric_mean(ratios(results, engine, quantity))
    return {**found, len(names): mean} if found else {}


def panel(axes: Axes, title: str, columns: dict[str, dict[int, float]]) -> None:
    """Draws a dot for each ratio."""
    for place, (colour, (engine, found)) in enumerate(
        zip(COLOURS * 2, columns.items(), strict=False)
    ):
        at = [min(max(ratio, LEAST), MOST) for ratio in found.values()]
        marker = "os^Dv"[place % 5]
        axes.plot(at, list(found), marker, color=colour, ms=4.5, alpha=0.9, label=engine)
    axes.set_xscale("log")
    axes.axvline(1, color=INK, lw=0.9)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.45), max(high, 1.6))
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.grid(color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.spines[:].set_visible(False)
