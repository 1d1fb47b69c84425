"""A table for people, JSON for machines."""

import math
import os
import platform
from typing import Any

import jax

from backprop_jax.runner.environment import environment
from benchmarks.measure import Figure
from benchmarks.workloads import CONFIGS

COLUMNS = ("step", "trace", "compile", "eager", "memory")
UNITS = {"step": (1e3, "ms"), "memory": (1e-6, "MB")}

Results = dict[str, dict[str, Any]]
"""The figures of each workload."""


def table(results: Results) -> str:
    """Returns the ratios of ours to `jax.grad`'s; below 1 is faster, or smaller."""
    head = [
        f"{'workload':<20}",
        *(f"{c:>9}" for c in COLUMNS),
        "  jax: step",
        "  memory",
        "  error (jax)",
    ]
    lines = ["".join(head)]
    for name, figures in results.items():
        cells = [f"{figures[column].ratio:9.2f}" for column in COLUMNS]
        theirs = [figures[c].values["jax"] * scale for c, (scale, _) in UNITS.items()]
        error = figures["error"]
        said = f"{error['backprop_jax']:.0e} ({error['jax']:.0e})" if error else "-"
        lines.append(f"{name:<20}{''.join(cells)} {theirs[0]:8.2f} ms{theirs[1]:5.1f} MB  {said}")
    if len(results) > 1:
        means = [geometric_mean([f[column].ratio for f in results.values()]) for column in COLUMNS]
        lines.append(f"{'geometric mean':<20}{''.join(f'{mean:9.2f}' for mean in means)}")
    return "\n".join(lines)


def geometric_mean(ratios: list[float]) -> float:
    """Returns the mean of ratios; those of nothing to nothing are left out."""
    ratios = [ratio for ratio in ratios if ratio > 0]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def document(results: Results) -> dict[str, Any]:
    """Returns the results with what they depend on, as JSON can hold them."""
    where = environment(CONFIGS)
    load, *_ = os.getloadavg()
    return {
        "environment": {**where, "load": round(load, 1), "machine": platform.machine()},
        "jax_enable_x64": jax.config.jax_enable_x64,
        "unit": {"step, trace, compile, eager": "s", "memory": "B", "ratio": "ours / jax.grad"},
        "workloads": {
            name: {key: plain(figure) for key, figure in figures.items()}
            for name, figures in results.items()
        },
    }


def plain(figure: Figure | dict[str, float]) -> dict[str, float]:
    """Returns a figure as one dictionary."""
    if isinstance(figure, Figure):
        return {**figure.values, "ratio": round(figure.ratio, 4)}
    return figure
