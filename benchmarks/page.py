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

LIMITS = """\
## What stays short of the goal, and why

**Tracing.** Of the time to trace a gradient three quarters are JAX's own, so many microseconds for each equation that is staged, and
there are more of them: `jax.grad` keeps a compiled function within a function as a call, whose derivative it remembers, and here
its equations are run on the tape, one by one. `softmax` is 33 equations against 13, `hvp` 117 against 85, the 50 functions of
`nested` 258 against 6 that hold 358. What that costs in tracing (7 ms for `nested`) lowering and compiling give back many times over,
because XLA is handed one program: 0.22 and 0.49 of `jax.grad`'s time there.

**A chain of cheap steps.** Of the gradient of `chain` the way forward takes five parts of six (÷ forward is 1.2), and XLA keeps 50
arrays. With at most 15 of them, 0.30 of the memory, six of any seven steps are computed again: (1.2 + 0.86) ÷ 1.2 = 1.7 times
the time is the least there is, and 1.3 out of reach.

**Loops whose end is not known.** For n trips and K carries kept (`segments=K`), a trip is run again so often, and the gradient takes
so many times as long as the loop (a pendulum of 1,024 numbers, in CPU time, which a busy machine disturbs little):

| K | n | runs again | gradient ÷ forward |
| --: | --: | --: | --: |
| 32 | 1,000 | 0.97 | 3.9 |
| 32 | 100,000 | 2.67 | 5.9 |
| 64 | 1,000 | 0.98 | 3.8 |
| 64 | 100,000 | 1.95 | 5.2 |

The way back of a trip alone takes 2.7 times as long as the trip: it wants both sine and cosine of every number.

**Rows.** 1,000 rows of a 1,000 × 1,000 array, read one by one, take 1.01 arrays of temporaries, 0.05 s a run and 21 s to compile, the
way back of each row being a kernel of its own. `jax.grad`'s 1,000 padded rows are added up in one kernel: 0.001 arrays, 13 s, and
4.5 s a run. A row read within a loop, of an array that the loop closes over, is added in place: no array per trip in `scan` or
`while_loop`, by XLA for processors, whether one row, two or a column.
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
    return "\n".join([INTRODUCTION, *(section(file) for file in files()), LIMITS])


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
        f"![Ratios to jax.grad](images/{picture(file).name})\n",
        *markdown(results),
    ]
    return "\n".join(lines) + "\n"


def markdown(results: Results) -> list[str]:
    """Returns the table in Markdown."""
    lines = [HEAD, ("---", "---", *("--:" for _ in HEAD[2:])), *rows(results)]
    return [f"| {' | '.join(cells)} |" for cells in lines]
