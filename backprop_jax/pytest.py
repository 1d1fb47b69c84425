"""A plugin of pytest: the fixture `gradcheck`, and a report of all that it checked.

    pytest -p backprop_jax.pytest --gradcheck-report gradients.md

or, in the `conftest.py` at the root of the tests, `pytest_plugins = ["backprop_jax.pytest"]`. It is
not loaded by itself: that would import JAX into every run of pytest, before a suite can set what
JAX reads when it is imported.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backprop_jax.check.gradients.check_grads import check_grads
from backprop_jax.check.gradients.findings import GradsReport

Row = dict[str, Any]
ROWS = pytest.StashKey[list[Row]]()
COLUMNS = (
    "test",
    "function",
    "engine",
    "leaves",
    "elements",
    "judged",
    "worst",
    "error bar",
    "seconds",
    "verdict",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--gradcheck-report FILE`."""
    parser.getgroup("backprop_jax").addoption(
        "--gradcheck-report",
        metavar="FILE",
        type=pathlib.Path,
        help="write a table of all gradients that were checked; JSON if FILE ends in .json, else "
        "Markdown",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Starts an empty table."""
    config.stash[ROWS] = []


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., GradsReport]:
    """Returns `check_grads`, which then notes what it found for the report."""
    rows = request.config.stash[ROWS]

    @functools.wraps(check_grads)
    def check(*args: Any, **options: Any) -> GradsReport:
        __tracebackhide__ = True

        def watch(report: GradsReport) -> None:
            rows.append(row(request.node.nodeid, report))

        return check_grads(*args, watch=watch, **options)

    return check


def row(test: str, report: GradsReport) -> Row:
    """Returns a line of the table."""
    figures = (
        test,
        report.name,
        report.engine,
        report.leaves,
        report.elements,
        f"{report.questions - report.unjudged} of {report.questions}",
        float(f"{report.worst:.3g}"),
        float(f"{report.error:.3g}"),
        round(report.seconds, 3),
        report.verdict,
    )
    return dict(zip(COLUMNS, figures, strict=True))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the report; a worker of pytest-xdist hands its lines to the main process."""
    config = session.config
    rows = config.stash[ROWS]
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output["gradcheck"] = rows
        return
    path = config.getoption("--gradcheck-report")
    if path is not None:
        path.write_text(as_json(rows) if path.suffix == ".json" else as_markdown(rows))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes the lines of a worker that is done."""
    node.config.stash[ROWS] += getattr(node, "workeroutput", {}).get("gradcheck", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Says how many gradients were checked, where a report was asked for."""
    path = config.getoption("--gradcheck-report")
    if path is not None:
        rows = config.stash[ROWS]
        wrong = sum(line["verdict"] != "ok" for line in rows)
        terminalreporter.write_line(f"{len(rows)} gradients checked, {wrong} not ok: see {path}")


def as_json(rows: Sequence[Row]) -> str:
    """Returns the table as JSON: a list of objects."""
    return json.dumps(list(rows), indent=2) + "\n"


def as_markdown(rows: Sequence[Row]) -> str:
    """Returns the table as Markdown, the checks that came closest to what is allowed first."""
    ranked = sorted(rows, key=lambda line: (line["verdict"] == "ok", -line["worst"]))
    wrong = sum(line["verdict"] != "ok" for line in rows)
    lines = [
        f"# Gradients: {len(rows)} checked, {wrong} not ok",
        "",
        "`worst` is the largest distance from what was measured, over what is allowed.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(_cell(line[c]) for c in COLUMNS)} |" for line in ranked),
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    """Returns a figure in three digits, and a name so that Markdown leaves it as it is."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "/").replace("<", "&lt;")
