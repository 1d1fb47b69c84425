"""Many runs of one configuration: every combination of some values, each in a folder of its own."""

import io
import itertools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from backprop_jax.errors import ConfigError, message
from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.curves import COLOURS, INK, dress
from backprop_jax.runner.document import dotted
from backprop_jax.runner.kinds import kind_of, run
from backprop_jax.runner.numbers import numbers_of
from backprop_jax.runner.report.page import sweep_page
from backprop_jax.runner.resume import changes, folder_of
from backprop_jax.runner.run import CODES, COMPLETED, INTERRUPTED, STOPPED, WRONG
from backprop_jax.runner.vectorised import run_together

GRID, TABLE, PICTURE, SAID = "sweep.json", "summary.md", "sweep.png", "output.txt"

FINISHED = ("completed", "nonfinite")
"""States that the same run would end in again."""

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
OPENING, CLOSING, QUOTES = "[{", "]}", "'\""

MOST_RUNS = 10_000


@dataclass(frozen=True)
class One:
    """One run of a sweep.

    Attributes:
      name: of its folder.
      values: key → value, as on the command line, for the keys that vary.
      overrides: all settings over those of the file.
    """

    name: str
    values: dict[str, str]
    overrides: list[str]


def sweep(
    path: Path,
    overrides: Sequence[str],
    out: Path | None = None,
    resume: Path | None = None,
    at_once: int | None = None,
) -> int:
    """Runs every combination of the values, one after the other or many at once.

    Args:
      path: the YAML file.
      overrides: as of `run`; `key=1,2,3` and `key=0..4`, both ends included, are several values.
      out: the folder for all of them, new or empty. Default: a new one in runs/.
      resume: the folder of a sweep to go on with; runs that have ended are left as they are.
      at_once: how many runs are one program; None for each by itself.

    Returns:
      0 when all have completed, 1 when one has not, 130 or 143 when stopped.
    """
    runs = grid(overrides)
    kinds = [kind_of(path, one.overrides) for one in runs]
    plans = [kind.plan(path, one.overrides) for kind, one in zip(kinds, runs, strict=True)]
    if at_once is not None:
        if shown := next((kind for kind in kinds if kind.shows), None):
            raise ConfigError(f"--vectorised: a {shown.name} has no steps to do at once")
        numbers_of(plans)
    name = f"{path.stem}-sweep"
    if resume is None:
        folder = run_folder.make_folder(out, name)
    else:
        folder = folder_of(resume, name, "sweep", GRID)
    with run_folder.locked(folder):
        _remember(folder, overrides, plans[0].settings)
        print(f"{len(runs)} runs of {path}, in {folder}")

        def do(group: list[One]) -> None:
            if at_once is None:
                _do(path, group[0], folder / group[0].name)
            else:
                mine = [plan for plan, one in zip(plans, runs, strict=True) if one in group]
                run_together(path, mine, [folder / one.name for one in group], SAID, print)

        return _all(path, runs, folder, at_once or 1, do)


def grid(overrides: Sequence[str]) -> list[One]:
    """Returns the runs of a sweep, the last key varying fastest.

    Raises:
      ConfigError: nothing varies, or there are too many runs.
    """
    choices = {}
    for text in overrides:
        key, _, value = text.removeprefix("--").partition("=")
        values = values_of(value)
        if key in choices and len(values) + len(choices[key]) > 2:
            raise ConfigError(f"command line: {dotted((key,))}: given twice, with several values")
        choices[key] = values
    varied = [key for key, values in choices.items() if len(values) > 1]
    if not varied:
        way = "give a key several values, as in seed=0..4 or optimizer.learning_rate=1e-3,1e-2"
        raise ConfigError(message("command line: nothing varies", to_go_on=way))
    count = 1
    for values in choices.values():
        count *= len(values)
    if count > MOST_RUNS:
        raise ConfigError(f"command line: {count} runs are more than {MOST_RUNS}")
    runs = []
    for index, chosen in enumerate(itertools.product(*choices.values())):
        given = dict(zip(choices, chosen, strict=True))
        values = {key: given[key] for key in varied}
        said = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items())
        name = f"{index:03d}-{re.sub(r'[^-+.,=0-9A-Za-z_]', '_', said)}"[:100]
        runs.append(One(name, values, [f"{key}={value}" for key, value in given.items()]))
    return runs


def values_of(text: str) -> list[str]:
    """Returns the values that a text lists: `1,2`, `0..4`; commas within brackets part nothing."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote or letter in QUOTES:
            quote = "" if letter == quote else quote or letter
        depth += (not quote) * ((letter in OPENING) - (letter in CLOSING))
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [value for part in parts for value in _range(part)]


def _range(text: str) -> list[str]:
    """Returns the whole numbers of `0..4`, or the text itself."""
    if not (found := RANGE.fullmatch(text.strip())):
        return [text]
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < MOST_RUNS:
        raise ConfigError(
            f"command line: {text}: expected first..last, at most {MOST_RUNS} of them"
        )
    return [str(number) for number in range(first, last + 1)]


def _remember(folder: Path, overrides: Sequence[str], settings: dict[str, Any]) -> None:
    """Writes down what is swept, with the settings of the first run; raises if it was another."""
    file, now = folder / GRID, {"overrides": list(overrides), "first": settings}
    before = _read(file) if file.exists() else now
    if before.keys() != now.keys():
        raise ConfigError(f"--resume {folder}: {GRID} is not what a sweep has written")
    changed = changes(before["first"], now["first"])
    what = [
        f"--resume {folder}: this was another sweep",
        *(f"  {k}: {x}" for k, x in changed.items()),
    ]
    if before["overrides"] != now["overrides"]:
        what = [f"--resume {folder}: this was a sweep of {' '.join(before['overrides'])}"]
    if before != now:
        way = "say the same, or begin one without --resume"
        raise ConfigError(message("\n".join(what), to_go_on=way))
    run_folder.write_json(file, now)


def _all(
    path: Path, runs: list[One], folder: Path, size: int, do: Callable[[list[One]], None]
) -> int:
    """Does what is left to do, the table brought up to date before and after each group of runs."""
    code, numbers = COMPLETED, itertools.count(1)
    for first in range(0, len(runs), size):
        group = runs[first : first + size]
        left = [one for one in group if _summary(folder / one.name)["status"] not in FINISHED]
        if left:
            _write_table(runs, folder, {one.name: "running" for one in left})
            do(left)
        codes = []
        for one, number in zip(group, numbers, strict=False):
            found = _summary(folder / one.name)
            before = "" if one in left else ", as before"
            said = f"{_said(one.values)}: {_told(found)}{before}"
            print(f"[{number}/{len(runs)}] {said}", flush=True)
            codes.append(CODES.get(found["status"], WRONG))
        code = next((bad for bad in reversed(codes) if bad != COMPLETED), code)
        if code in (INTERRUPTED, STOPPED):
            break
    print(_write_table(runs, folder, {}))
    _write_page(path, runs, folder, _draw(runs, folder))
    print(f"  results:    {folder}")
    return code


def _do(path: Path, one: One, folder: Path) -> None:
    """Does one run, or what is left of it; what it says goes into a file beside its results."""
    again = folder.is_dir() and any(folder.iterdir())
    if again and kind_of(path, one.overrides).shows:
        # It was killed while it was writing: a page is written again as a whole.
        shutil.rmtree(folder)
        again = False
    where: dict[str, Path] = {"resume" if again else "out": folder}
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            run(path, one.overrides, **where)
    finally:
        # A folder in which no run has begun is to stay one.
        if (folder / run_folder.CONFIG).is_file():
            with run_folder.lastly():
                run_folder.add(folder / SAID, said.getvalue())


def _summary(folder: Path) -> dict[str, Any]:
    """Returns the summary of a run; one that has not begun is waiting, a killed one unfinished."""
    found = _read(folder / run_folder.SUMMARY)
    if "status" in found:
        return found | {"metrics": _scalars(found["numbers"])} if "numbers" in found else found
    status = "unfinished" if (folder / run_folder.CONFIG).is_file() else "waiting"
    return {"status": status, "steps": 0, "loss": None, "metrics": None}


def _read(file: Path) -> dict[str, Any]:
    """Returns what a JSON file holds; nothing, if it is not one, or is not there."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _scalars(numbers: dict[str, Any]) -> dict[str, Any]:
    """Returns those numbers of a lesson that a table has a column for."""
    return {key: x for key, x in numbers.items() if isinstance(x, int | float)}


def _write_table(runs: list[One], folder: Path, now: dict[str, str]) -> str:
    """Writes the table of all runs, as Markdown, and returns it; `now` has states that go first."""
    head, *rows = _rows(runs, folder, now)
    rows = [head, ["---"] * len(head), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(f"{x:<{w}}" for x, w in zip(row, widths, strict=True)) for row in rows]
    text = "\n".join(f"| {line} |" for line in lines)
    run_folder.write(folder / TABLE, text + "\n")
    return text


def _write_page(path: Path, runs: list[One], folder: Path, figure: Figure | None) -> None:
    """Writes the table and the picture as a page, with links to those of the runs."""
    head, *rows = _rows(runs, folder, {})
    links = [
        f"{one.name}/{run_folder.REPORT}"
        if (folder / one.name / run_folder.REPORT).is_file()
        else ""
        for one in runs
    ]
    run_folder.write(folder / run_folder.REPORT, sweep_page(path, head, rows, links, figure))


def _rows(runs: list[One], folder: Path, now: dict[str, str]) -> list[list[str]]:
    """Returns the table of all runs, its head first; `now` has states that go first."""
    found = {one.name: _summary(folder / one.name) for one in runs}
    figures = list(dict.fromkeys(key for one in found.values() for key in one["metrics"] or {}))
    trains = not any("numbers" in one for one in found.values())
    columns = ["steps", "loss", *(f"test {key}" for key in figures)] if trains else figures
    head = [*runs[0].values, "status", *columns]
    rows = [head]
    for one in runs:
        summary = found[one.name]
        tests = summary["metrics"] or {}
        state = now.get(one.name, summary["status"])
        begun = [*one.values.values(), str(state)]
        trained = [str(summary["steps"]), _number(summary["loss"])] if trains else []
        rows.append([*begun, *trained, *(_number(tests.get(key)) for key in figures)])
    return rows


def _draw(runs: list[One], folder: Path) -> Figure | None:
    """Draws what each run ended with over the values of the first key that varies."""
    found = {one.name: _summary(folder / one.name) for one in runs}
    key, *others = runs[0].values
    ticks = list(dict.fromkeys(one.values[key] for one in runs))
    groups = list(dict.fromkeys(_said({k: one.values[k] for k in others}) for one in runs))

    def figure_of(name: str) -> Callable[[One], Any]:
        return lambda one: (found[one.name]["metrics"] or {}).get(name)

    names = dict.fromkeys(name for one in found.values() for name in one["metrics"] or {})
    trains = not any("numbers" in one for one in found.values())
    panels = [("training loss", lambda one: found[one.name]["loss"])] if trains else []
    panels += [(f"test {name}" if trains else name, figure_of(name)) for name in names]
    if not panels:
        return None
    figure = Figure(figsize=(0.4 + 4.2 * len(panels), 3.9), dpi=144, layout="constrained")
    for axes, (title, value) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for index, group in enumerate(groups):
            mine = [one for one in runs if _said({k: one.values[k] for k in others}) == group]
            points = [(ticks.index(one.values[key]), value(one)) for one in mine]
            points = [(x, float(y)) for x, y in points if y is not None]
            label = group if len(groups) <= len(COLOURS) else None
            xs, ys = zip(*points, strict=True) if points else ((), ())
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(xs, ys, marker="o", ms=3.5, lw=1, color=colour, label=label)
        axes.set_xticks(range(len(ticks)), ticks, rotation=30 if len(ticks) > 5 else 0)
        axes.set_xlabel(key, color=INK)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        dress(axes)
    if others and len(groups) <= len(COLOURS):
        figure.axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    with run_folder.whole(folder / PICTURE) as file:
        figure.savefig(file, format="png")
    return figure


def _told(summary: dict[str, Any]) -> str:
    """Returns how a run ended, in a few words."""
    figures = "  ".join(f"{key} {_number(x)}" for key, x in (summary["metrics"] or {}).items())
    return "  ".join(part for part in (summary["status"], figures) if part)


def _said(values: dict[str, str]) -> str:
    """Returns what varies as text."""
    return " ".join(f"{key}={value}" for key, value in values.items())


def _number(value: Any) -> str:
    """Returns a figure in four digits; those that JSON cannot hold are texts in it."""
    return "" if value is None else f"{float(value):.4g}"
