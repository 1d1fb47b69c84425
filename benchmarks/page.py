"""`docs/performance.md`, made of the files in `benchmarks/results/`."""

import hashlib
from pathlib import Path
from typing import Any

from benchmarks.picture import draw
from benchmarks.report import HEAD, Results, read, rows

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "images"
LIMITS = ROOT / "benchmarks" / "limits.md"  # the end of the page

INTRODUCTION = """\
# Performance

Written by `python -m benchmarks --write` from the files in
[benchmarks/results](../benchmarks/results); [benchmarks](../benchmarks/README.md)
says how these are made.

The engines ran in one process and took turns. Figures are ratios to `jax.grad`, each the median
over rounds: **below 1 is faster, or smaller**. *÷ forward* is the time of the derivative over the
time of the function alone, with `jax.grad`'s in brackets; so is the error, a distance from
float64's. A row without ratios is one that `jax.grad` cannot differentiate.
"""


def write() -> None:
    """Writes the page and its pictures."""
    PAGE.write_text(page())
    for file in files():
        where, results = read(file)
        draw(results, title(where), picture(file), digest(file))


def files() -> list[Path]:
    """Returns the files of results, in the order of the page."""
    return sorted(RESULTS.glob("*.json"))


def picture(file: Path) -> Path:
    """Returns where the picture of a file's results is."""
    return PICTURES / f"performance-{file.stem}.png"


def digest(file: Path) -> str:
    """Returns what a picture says it was made of."""
    return f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}"


def page() -> str:
    """Returns the text of the page."""
    return "\n".join([INTRODUCTION, *(section(file) for file in files()), LIMITS.read_text()])


def title(where: dict[str, Any]) -> str:
    """Returns device and versions in a line."""
    kind, platform = where["device"]["kind"], where["device"]["platform"]
    device = f"{where['processors']} processor cores" if platform == "cpu" else kind
    return f"{device}, jax {where['packages']['jax']}, Python {where['python']}, float32"


def section(file: Path) -> str:
    """Returns what the page says of a file: the picture and the table."""
    where, results = read(file)
    lines = [
        f"## {title(where)}\n",
        f"{where['system']}, load {where['load']} at the end; from"
        f" [{file.name}](../{file.relative_to(ROOT)}).\n",
        *([f"{where['note']}\n"] if "note" in where else []),
        *(renewal(column, of) for column, of in where.get("renewed", {}).items()),
        f"![Ratios to jax.grad](images/{picture(file).name})\n",
        *markdown(results),
    ]
    return "\n".join(lines) + "\n"


def renewal(column: str, of: dict[str, Any]) -> str:
    """Returns what the page says of a column that was measured later than the others."""
    changed = " and changes" if of["git"]["changed"] else ""
    return (
        f"The column `{column}` is of {of['date']}, commit {of['git']['commit'][:7]}{changed}, load"
        f" {of['load']}, of {', '.join(f'`{name}`' for name in of['workloads'])}.\n"
    )


def markdown(results: Results) -> list[str]:
    """Returns the table in Markdown."""
    lines = [HEAD, ("---", "---", *("--:" for _ in HEAD[2:])), *rows(results)]
    return [f"| {' | '.join(cells)} |" for cells in lines]
