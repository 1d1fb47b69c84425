# ruff: noqa: E501 (rows of a table stay rows)
"""The kind of configuration that shows: settings, promises, pages, and what can be wrong."""

import json

import pytest

LESSON = '''
"""Squares."""

from typing import Annotated

import jax.numpy as jnp
from annotated_types import Gt

import backprop_jax as bp
from backprop_jax.errors import ConfigError
from backprop_jax.runner.lesson import Lesson


def lesson(at: float = 3.0, width: Annotated[float, Gt(0)] = 1.0, shown: str = "a.svg") -> Lesson:
    if at == 7 * width:
        raise ConfigError("at is beyond width")
    slope = bp.grad(lambda x: x**2)(at)
    numbers = {"slope": slope, "dtype": slope.dtype.name, "list": jnp.arange(2.0), "is": True}
    text = f"It is {slope:g}.\\n\\n![A](a.svg)"
    return Lesson(title="T", text=text, numbers=numbers, pictures={shown: "<svg/>"})
'''

CONFIG = """\
# Question: what is it, and
#   why?
# Time: 1 second.
lesson: squares.py
settings:
  at: 2
expected: {slope: 4.0, dtype: float64, list: [0, 1], is: true}
"""


@pytest.fixture
def square(folder):
    """Returns a function that writes the lesson's configuration, its text changed."""
    (folder / "squares.py").write_text(LESSON)

    def write(old="", new=""):
        (folder / "square.yaml").write_text(CONFIG.replace(old, new))

    write()
    return write


def test_a_lesson_is_written_into_a_folder(cli, folder, square):
    result = cli("run", "square.yaml", "--out", "out")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[2:] == [
        "  promises:   4 of 4 kept",
        "  results:    out/report.html",
    ]
    assert (folder / "out/a.svg").read_text() == "<svg/>"
    page = (folder / "out/page.md").read_text()
    assert page.startswith("# T\n\n*What is it, and why?*\n\nIt is 4.\n\n![A](a.svg)\n")
    assert "| `slope` | 4 | 4 |" in page
    assert page.endswith("Written by `backprop-jax run square.yaml`.\n")
    again = cli("run", "out/config.yaml", "--out", "again")
    assert again.code == 0
    assert (folder / "again/config.yaml").read_text() == (folder / "out/config.yaml").read_text()


def test_a_broken_promise_fails(cli, folder, square):
    square("slope: 4.0", "slope: {value: 5, within: 0.5}")
    result = cli("run", "square.yaml", "--out", "out")
    assert result.code == 1
    assert "  wrong:      slope is 4, promised 5 ± 0.5\n" in result.out
    assert json.loads((folder / "out/summary.json").read_text())["status"] == "failed"


def test_a_file_promises_of_its_own_settings(cli, square):
    assert cli("run", "square.yaml", "settings.at=3").code == 0
    assert cli("run", "square.yaml", "settings.at=3", "expected.slope=6").code == 0
    assert cli("run", "square.yaml", "settings.at=3", "expected.slope={least: 7}").code == 1
    assert cli("run", "square.yaml", "precision=float32", "expected.dtype=float32").code == 0


MISTAKES = [
    ("at: 2", "ta: 2", "square.yaml:6:3: settings.ta: unknown key; known: at, width, shown"),
    ("at: 2", "at: two", "square.yaml:6:7: settings.at: expected a number, got 'two'"),
    ("at: 2", "width: 0", "square.yaml:6:10: settings.width: expected a number above 0.0, got 0"),
    ("settings", "setings", "square.yaml:5:1: setings: unknown key; did you mean 'settings'?"),
    ("squares", "square", "square.yaml:4:9: lesson: no lesson 'square.py'; did you mean 'squares.py'?"),
    ("squares", "line", "square.yaml:4:9: lesson: line.py has no lesson()"),
    ("{slope: 4.0", "{slop: 4.0", "square.yaml:7:12: expected.slop: there is no such number; did you mean 'slope'?"),
    ("slope: 4.0", "slope: {lest: 4}", "square.yaml:7:20: expected.slope.lest: unknown key; did you mean 'least'?"),
    ("slope: 4.0", "slope: {within: 4}", "square.yaml:7:12: expected.slope: say what is promised: value, least or most"),
    ("slope: 4.0", "slope: null", "square.yaml:7:19: expected.slope: expected a value, got null"),
    ("at: 2", "at: 7", "square.yaml:5:1: settings: at is beyond width"),
    ("at: 2", "shown: b.svg", "squares.py shows a picture it does not have: a.svg; did you mean 'b.svg'?"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES, ids=[new for _, new, _ in MISTAKES])
def test_a_mistake_is_one_line_and_writes_nothing(cli, folder, square, old, new, said):
    square(old, new)
    result = cli("run", "square.yaml", "--out", "out")
    assert (result.code, result.err, result.out) == (2, f"{said}\n", "")
    assert not (folder / "out").exists()


def test_a_lesson_cannot_be_resumed(cli, square):
    result = cli("run", "square.yaml", "--resume")
    assert result.code == 2
    assert "a lesson has nothing to go on with" in result.err


def test_settings_tell_where_they_come_from(cli, square):
    out = cli("run", "square.yaml", "settings.width=2", "--print-config").out
    found = {line.split(":")[0].strip(): line.partition("# ")[2] for line in out.splitlines()}
    assert found["at"] == "square.yaml:6:7"
    assert found["width"] == "command line"
    assert found["precision"] == "default"


def test_a_sweep_of_a_lesson(cli, folder, square):
    assert cli("sweep", "square.yaml", "settings.at=1,2,3", "--out", "out").code == 0
    table = (folder / "out/summary.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert rows[0] == ["settings.at", "status", "slope", "is"]
    assert [row[:3] for row in rows[2:]] == [
        [x, "completed", y] for x, y in zip("123", "246", strict=True)
    ]
    assert (folder / "out/sweep.png").exists()


def test_a_comparison_is_run_into_a_folder(cli, folder):
    (folder / "cube.py").write_text("def f(x):\n    return x**3\n")
    (folder / "cube.yaml").write_text("function: cube.py:f\nargs: [2.0]\nwitnesses: [jax]\n")
    assert cli("run", "cube.yaml", "--out", "out").code == 0
    summary = json.loads((folder / "out/summary.json").read_text())
    assert summary["numbers"] == {"x": 12.0, "agree": True}
    assert "1 of 1 leaves" in (folder / "out/page.md").read_text()


def test_list_tells_what_there_is(cli, folder, square):
    (folder / "more").mkdir()
    (folder / "more/worse.yaml").write_text("a: [")
    out = cli("list", ".").out.splitlines()
    rows = [line.split(maxsplit=2) for line in out[1:]]
    assert rows[0][:2] == ["line.yaml", "training"]
    assert rows[1] == ["square.yaml", "lesson", rows[1][2]]
    assert "1 second" in rows[1][2] and "what is it, and why?" in rows[1][2]
    assert rows[2][:2] == ["more/worse.yaml", "broken"]
    assert cli("list", "nowhere").code == 2
