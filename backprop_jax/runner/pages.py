"""The first lines of a configuration, and the page that a run writes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from backprop_jax.errors import ConfigError
from backprop_jax.runner.lesson import Lesson
from backprop_jax.runner.promises import Promises, inline, kept
from backprop_jax.runner.words import hint

HEAD = re.compile(r"# (\w+): +(\S.*)")
SHOWN = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")

QUESTION, TIME, RESULT = "Question", "Time", "Result"


class Row(NamedTuple):
    """A number on a page.

    Attributes:
      name: of the number.
      value: in a few characters.
      promised: what was promised of it, "" for nothing.
      kept: whether it is so; None if nothing was promised.
    """

    name: str
    value: str
    promised: str
    kept: bool | None


def head(path: Path) -> dict[str, str]:
    """Returns what the first lines of a configuration say, `# Question: ...` and so on.

    A line that continues another one is indented: `#   so it goes on.`
    """
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if begun := HEAD.fullmatch(line):
            found[begun[1]] = begun[2].strip()
        elif found:
            found[list(found)[-1]] += f" {line.lstrip('# ').strip()}"
    return found


def page(
    lesson: Lesson, numbers: Mapping[str, Any], expected: Promises, question: str, command: str
) -> str:
    """Returns the page of a run in Markdown.

    Args:
      lesson: what was found.
      numbers: its numbers as plain values.
      expected: what was promised of them.
      question: what it answers; "" for none.
      command: what wrote it.
    """
    parts = [
        f"# {lesson.title}",
        f"*{question}*" if question else "",
        lesson.text.strip(),
    ]
    if numbers:
        parts += ["## In numbers", _table(numbers, expected)]
    parts.append(f"Written by `{command}`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_of(numbers: Mapping[str, Any], expected: Promises) -> Iterator[Row]:
    """Yields the numbers of a lesson as they stand on its page."""
    for name, value in numbers.items():
        if name in expected:
            said = expected[name]
            yield Row(name, inline(value), inline(said), kept(said, value))
        else:
            yield Row(name, inline(value), "", None)


def check_pictures(lesson: Lesson, name: str) -> None:
    """Raises unless the page shows each picture, and no other ones.

    Raises:
      ConfigError: it does not.
    """
    shown = set(SHOWN.findall(lesson.text))
    for one in shown - set(lesson.pictures):
        raise ConfigError(f"{name} shows a picture it does not have: {one}{_hint(one, lesson)}")
    for one in set(lesson.pictures) - shown:
        raise ConfigError(f"{name} has a picture that its text does not show: {one}")


def without(text: str, missing: Mapping[str, str]) -> str:
    """Returns a text with pictures that could not be drawn replaced by the reasons."""
    for name, why in missing.items():
        text = re.sub(rf"!\[([^\]]*)\]\({re.escape(name)}\)", rf"*(\1: {why})*", text)
    return text


def _table(numbers: Mapping[str, Any], expected: Promises) -> str:
    """Returns the numbers as a table, with what was promised if anything was."""
    rows = [["number", "value", "promised"], ["---", "---", "---"]]
    rows += [[f"`{row.name}`", row.value, row.promised] for row in rows_of(numbers, expected)]
    width = 3 if expected else 2
    return "\n".join(f"| {' | '.join(row[:width])} |" for row in rows)


def _hint(name: str, lesson: Lesson) -> str:
    return hint(name, lesson.pictures)
