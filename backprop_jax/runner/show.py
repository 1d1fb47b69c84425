"""One lesson or comparison, from a YAML file to a folder with its page, pictures and numbers."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from backprop_jax.errors import ConfigError
from backprop_jax.graph.explain import Explanation
from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.document import Document, dump
from backprop_jax.runner.environment import environment
from backprop_jax.runner.lesson import Lesson, content
from backprop_jax.runner.pages import check_pictures, page, without
from backprop_jax.runner.promises import Promises, broken, inline
from backprop_jax.runner.report.page import lesson_page, question_of
from backprop_jax.runner.run import CODES, INTERRUPTED, WRONG

PAGE = "page.md"

MOST_TOLD = 6
"""How many of the numbers the last lines of a run tell; all are on the page."""


class Planned(Protocol):
    """What the plans of a lesson and of a comparison have in common."""

    @property
    def document(self) -> Document:
        """The file."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting as plain values."""
        ...

    @property
    def name(self) -> str:
        """What is run."""
        ...

    @property
    def expected(self) -> Promises:
        """What is promised of the numbers."""
        ...

    def made(self) -> Lesson:
        """Returns what is shown."""
        ...


def show(plan: Planned, path: Path, overrides: Sequence[str], out: Path | None) -> int:
    """Makes a lesson and writes it into a folder of its own.

    Args:
      plan: of the lesson, or of the comparison.
      path: its YAML file.
      overrides: settings over those of the file.
      out: the folder for the results, new or empty. Default: a new one in runs/.

    Returns:
      0 when completed, 1 when something was wrong or a promise is not kept, 130 when interrupted
      from the keyboard.

    Raises:
      ConfigError: the configuration or the lesson's file is wrong; nothing was written.
    """
    run_folder.refuse_used(out)
    began = time.perf_counter()
    try:
        lesson = plan.made()
    except KeyboardInterrupt:
        print("interrupted: nothing was written")
        return INTERRUPTED
    numbers = {key: _plain(value) for key, value in lesson.numbers.items()}
    check_pictures(lesson, plan.name)
    wrong = [*filter(None, [lesson.wrong]), *broken(plan.expected, numbers, plan.document)]
    folder = run_folder.make_folder(out, path.stem)
    with run_folder.locked(folder):
        run_folder.write(folder / run_folder.CONFIG, dump(plan.settings))
        ran_on = environment(path.resolve().parent)
        run_folder.write_json(folder / run_folder.ENVIRONMENT, ran_on)
        pictures, missing = _draw(lesson, folder)
        text = without(lesson.text, missing)
        drawn = Lesson(title=lesson.title, text=text, numbers=numbers, pictures=pictures)
        command = shlex.join(["backprop-jax", "run", str(path), *overrides])
        question = question_of(path)
        said = page(drawn, numbers, plan.expected, question, command)
        run_folder.write(folder / PAGE, said)
        summary = {
            "status": "failed" if wrong else "completed",
            "message": "; ".join(wrong),
            "title": lesson.title,
            "numbers": numbers,
            "promised": len(plan.expected),
            "pictures": list(pictures),
            "missing": missing,
            "seconds": time.perf_counter() - began,
        }
        run_folder.write_json(folder / run_folder.SUMMARY, summary)
        shown = _unfolding(lesson, drawn, missing, folder)
        report = lesson_page(plan, shown, ran_on, question=question, command=command, wrong=wrong)
        run_folder.write(folder / run_folder.REPORT, report)
    print(_closing(summary, wrong, plan, folder))
    return CODES.get(summary["status"], WRONG)


def _draw(lesson: Lesson, folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Writes the pictures.

    Returns:
      What the files hold, and why those are missing that could not be drawn.
    """
    pictures, missing = {}, {}
    for name, picture in lesson.pictures.items():
        path = folder / name
        if path.parent != folder:
            raise ConfigError(f"{name!r}: a picture's name is that of a file, without folders")
        try:
            with run_folder.writing(path, run_folder.ELSEWHERE):
                pictures[name] = content(picture, path)
        except ImportError as error:
            missing[name] = str(error).splitlines()[0]
            continue
        with run_folder.whole(path) as file:
            file.write(pictures[name])
    return pictures, missing


def _unfolding(lesson: Lesson, drawn: Lesson, missing: Mapping[str, str], folder: Path) -> Lesson:
    """Returns what the page of a browser shows: there, graphs need no Graphviz, and unfold.

    Args:
      lesson: as it was made.
      drawn: with the pictures that could be drawn.
      missing: why the others could not be.
      folder: of the results.
    """
    text, pictures, others = lesson.text, dict(drawn.pictures), dict(missing)
    for name in missing:
        graph, file = lesson.pictures[name], Path(name).with_suffix(".html").name
        if isinstance(graph, Explanation):
            pictures[file] = content(graph, folder / file)
            text = text.replace(f"]({name})", f"]({file})")
            del others[name]
    return replace(drawn, text=without(text, others), pictures=pictures)


def _plain(value: Any) -> Any:
    """Returns a number of a lesson as JSON and YAML have it."""
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return np.asarray(value).tolist()


def _closing(summary: Mapping[str, Any], wrong: Sequence[str], plan: Planned, folder: Path) -> str:
    """Returns the lines of a run: what it found, what was promised, where the page is."""
    lines = [f"{summary['status']}: {summary['title']}, {summary['seconds']:.1f} s"]
    numbers = [f"{key} {inline(x)}" for key, x in summary["numbers"].items()]
    more = [f"and {len(numbers) - MOST_TOLD} more"] if len(numbers) > MOST_TOLD else []
    if numbers:
        lines.append(f"  numbers:    {'  '.join([*numbers[:MOST_TOLD], *more])}")
    lines += [f"  wrong:      {line}" for line in wrong]
    if plan.expected and not wrong:
        lines.append(f"  promises:   {len(plan.expected)} of {len(plan.expected)} kept")
    lines += [f"  missing:    {name}: {why}" for name, why in summary["missing"].items()]
    return "\n".join([*lines, f"  results:    {folder / run_folder.REPORT}"])
