"""A table for people, JSON for machines."""

import json
import math
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
from rich.table import Table

from backprop_jax.runner.environment import environment
from benchmarks.measure import BASE, Figure
from benchmarks.workloads import CONFIGS

RATIOS = ("step", "trace", "lower", "compile", "eager", "cold", "memory")
HEAD = ("workload", "engine", *RATIOS, "÷ forward", f"{BASE}: step", "memory", "error")

Results = dict[str, dict[str, Figure]]
"""The figures of each workload."""


def table(results: Results) -> Table:
    """Returns the ratios of each engine to `jax.grad`; below 1 is faster, or smaller."""
    drawn = Table(*HEAD, box=None, padding=(0, 1))
    for column in drawn.columns[2:]:
        column.justify = "right"
    for cells in rows(results):
        drawn.add_row(*cells)
    return drawn


def rows(results: Results) -> list[list[str]]:
    """Returns the cells of the table: a row for each workload and engine, and the means."""
    found = [
        [name, engine, *cells(figures, engine)]
        for name, figures in results.items()
        for engine in engines_of(figures)
    ]
    engines = dict.fromkeys(row[1] for row in found)
    for engine in engines if len(results) > 1 else ():
        means = [geometric_mean(ratios(results, engine, column)) for column in RATIOS]
        found.append(["geometric mean", engine, *map(number, means), "", "", "", ""])
    return found


def engines_of(figures: dict[str, Figure]) -> list[str]:
    """Returns the engines other than the one that all are compared with."""
    return [name for name in figures["step"].values if name != BASE]


def ratios(results: Results, engine: str, column: str) -> list[float]:
    """Returns an engine's ratios in a column, over all workloads that have one."""
    every = (figures[column].ratios for figures in results.values() if column in figures)
    return [found[engine] for found in every if engine in found]


def cells(figures: dict[str, Figure], engine: str) -> list[str]:
    """Returns the numbers of a row."""
    none = Figure({}, {})
    compared = [figures.get(column, none).ratios.get(engine) for column in RATIOS]
    over, error = figures["over"].values, figures["error"].values
    step, memory = (figures[column].values.get(BASE) for column in ("step", "memory"))
    return [
        *map(number, compared),
        beside(over, engine, ".1f"),
        "-" if step is None else f"{1e3 * step:.2f} ms",
        "-" if memory is None else f"{1e-6 * memory:.1f} MB",
        beside(error, engine, ".0e"),
    ]


def number(ratio: float | None) -> str:
    """Returns a ratio as text."""
    return "-" if ratio is None or math.isnan(ratio) else f"{ratio:.2f}"


def beside(values: dict[str, float], engine: str, form: str) -> str:
    """Returns an engine's value, and that of `jax.grad` in brackets."""
    if engine not in values:
        return "-"
    theirs = f" ({values[BASE]:{form}})" if BASE in values else ""
    return f"{values[engine]:{form}}{theirs}"


def geometric_mean(ratios: list[float]) -> float:
    """Returns the mean of ratios; those of nothing to something are left out."""
    ratios = [ratio for ratio in ratios if ratio > 0]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def document(results: Results, cpu_time: bool) -> dict[str, Any]:
    """Returns the results with what they depend on, as JSON can hold them."""
    where = environment(CONFIGS)
    load, *_ = os.getloadavg()
    return {
        "environment": {**where, "load": round(load, 1), "machine": platform.machine()},
        "jax_enable_x64": jax.config.jax_enable_x64,
        "unit": {"step, trace, lower, compile, eager, cold": "s", "memory": "B"},
        "clock of runs": "CPU time" if cpu_time else "wall time",
        "ratios": f"to {BASE}, the median over rounds",
        "workloads": {
            name: {key: rounded(figure) for key, figure in figures.items()}
            for name, figures in results.items()
        },
    }


def renewed(document: dict[str, Any], column: str, figures: dict[str, Figure]) -> dict[str, Any]:
    """Returns a document with one column of some workloads measured anew, and when that was.

    Args:
      document: results, see `document`.
      column: as "trace".
      figures: of workloads, those of the document that have the column.
    """
    new = {name: {column: rounded(figure)} for name, figure in figures.items()}
    own, found = environment(CONFIGS), document["environment"]
    of = {
        "date": datetime.now(UTC).date().isoformat(),
        "git": own["git"],
        "packages": {name: own["packages"][name] for name in ("jax", "jaxlib")},
        "load": round(os.getloadavg()[0], 1),
        "workloads": list(figures),
    }
    return {
        **document,
        "environment": {**found, "renewed": {**found.get("renewed", {}), column: of}},
        "workloads": {
            name: {**each, **new.get(name, {})} for name, each in document["workloads"].items()
        },
    }


def rounded(figure: Figure) -> dict[str, dict[str, float]]:
    """Returns a figure as dictionaries of numbers of four digits."""
    return {
        key: {name: float(f"{x:.4g}") for name, x in numbers.items()}
        for key, numbers in figure._asdict().items()
    }


def read(file: Path) -> tuple[dict[str, Any], Results]:
    """Returns what a file of results says of the machine, and the results."""
    found = json.loads(file.read_text())
    results = {
        name: {key: Figure(**figure) for key, figure in figures.items()}
        for name, figures in found["workloads"].items()
    }
    return found["environment"], results
