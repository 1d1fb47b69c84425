"""A pytest plugin: the tests see our functions under JAX's names, and JAX's own may not help.

For JAX's tests only: what it replaces stays replaced in the process. `python -m tests.conformance`
runs it, see `__main__`; docs/conformance.md says the rest.
"""

import fnmatch
import functools
import json
import pathlib
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest
from jax._src import api, traceback_util
from jax._src.interpreters import ad

import backprop_jax as bp
from backprop_jax.pullbacks import NotSaveable
from tests.conformance import tables

EXCEPTIONS = pathlib.Path(__file__).with_name("exceptions.txt")

#: What tests call, by the names they call it.
REPLACED = ("grad", "value_and_grad", "vjp", "jacrev", "jacobian", "hessian")

#: Where JAX's differentiation begins.
FORBIDDEN = {
    api: ("jvp", "vjp", "linearize", "linear_transpose", "jacfwd"),
    ad: ("jvp", "linearize", "jvp_jaxpr", "linearize_jaxpr", "backward_pass", "backward_pass3"),
}

#: Our functions that run a function of the user's, who may call whatever there is.
RUNS_USERS_CODE = (
    "flat",
    "run",
    "run_jvp",
    "process_custom_vjp_call",
    "pull_vjp",
    "process_call",
    "run_high_fwd",
    "pull_high",
)

#: Modules of JAX that are tests' helpers. All others keep JAX's functions, as they do for a user of
#: ours: what JAX tells about its own derivatives, for one, is not for us to answer.
HELPERS = ("jax._src.public_test_util", "jax._src.test_util")

#: How a test ends that wants an error of JAX's, where ours has a derivative.
REFUSED = re.compile(r"^AssertionError: \w+ not raised")

#: Test code without one of these in a name does not reach reverse mode.
REVERSE = re.compile("grad|vjp|jac|hess", re.IGNORECASE)


class Seen:
    """What has happened in the test that is running."""

    reached = False


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--differentiation", choices=("ours", "jax"), default="ours")
    group.addoption("--outcomes", help="file to append a line of JSON to for each test")
    group.addoption("--everything", action="store_true", help="tests without a derivative, too")


def pytest_configure(config: pytest.Config) -> None:
    """Puts our functions in place, before a test module is imported."""
    if config.getoption("differentiation") == "jax":
        return
    traceback_util.register_exclusion(__file__)  # what stands in for JAX's own is no test's
    for module, names in FORBIDDEN.items():
        for name in names:
            setattr(module, name, guarded(getattr(module, name)))
            if module is api:
                setattr(jax, name, getattr(api, name))
    if hasattr(api, "NotSaveable"):  # since jax 0.11
        api.NotSaveable = NotSaveable  # type: ignore[attr-defined]
    for name in REPLACED:
        replacement = noticed(getattr(bp, name), getattr(api, name))
        setattr(jax, name, replacement)
        setattr(api, name, replacement)
    tables.hand_over()


def noticed(ours: Callable, theirs: Callable) -> Callable:
    """Returns our function, which leaves word that a test has reached it."""

    @functools.wraps(ours)
    @traceback_util.api_boundary  # as what it stands in for
    def replacement(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(2).f_globals.get("__name__", "")  # past the boundary
        if caller.startswith("jax.") and caller not in HELPERS:
            return theirs(*args, **kwargs)
        Seen.reached = True
        return ours(*args, **kwargs)

    return replacement


def guarded(function: Callable) -> Callable:
    """Returns a function of JAX's that refuses to work for our engine."""

    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if asked_by_us(sys._getframe(1)):
            raise AssertionError(f"backprop_jax used JAX's own differentiation: {function}")
        return function(*args, **kwargs)

    return refusing


def asked_by_us(frame: types.FrameType | None) -> bool:
    """Returns whether it was our engine, or JAX for our engine, that made this call.

    It was not if JAX is differentiating already (what was asked for then has been judged), nor if
    we were running a function of the user's.
    """
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("backprop_jax."):
            return frame.f_code.co_name not in RUNS_USERS_CODE
        if module == ad.__name__ or not module.startswith(("jax.", "contextlib", "functools")):
            return False
        frame = frame.f_back
    return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the exceptions, and leaves out what has no derivative in it."""
    exceptions = read_exceptions()
    if not config.getoption("everything"):
        chosen = [item for item in items if reaches(item.function, item.cls)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
    for item in items:
        for pattern, reason in exceptions:
            if fnmatch.fnmatchcase(item.nodeid, pattern):
                item.add_marker(pytest.mark.xfail(reason=reason))


def read_exceptions() -> list[tuple[str, str]]:
    """Returns the tests that are not asked of us, as patterns, each with the reason."""
    lines = EXCEPTIONS.read_text().splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(pattern, reason.strip()) for pattern, _, reason in pairs]


def reaches(test: Any, cls: type | None) -> bool:
    """Returns whether a test, or a function of its file that it names, names a derivative."""
    waiting, known = [test], set()
    while waiting:
        function = waiting.pop()
        if isinstance(function, functools.partial):
            function = function.func
        if not isinstance(function, types.FunctionType) or function in known:
            continue
        known.add(function)
        names = set(names_in(function.__code__))
        if any(map(REVERSE.search, names)):
            return True
        waiting += [cell.cell_contents for cell in function.__closure__ or () if holds(cell)]
        here = function.__globals__ if function.__module__ == test.__module__ else {}
        waiting += [here.get(name, getattr(cls, name, None)) for name in names]
    return False


def names_in(code: types.CodeType) -> Iterator[str]:
    """Yields the names in a function and in those within it."""
    yield from (*code.co_names, *code.co_varnames, *code.co_freevars, code.co_name)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def holds(cell: types.CellType) -> bool:
    """Returns whether a variable of an enclosing function has a value."""
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def pytest_runtest_setup() -> None:
    Seen.reached = False


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Writes down how a test went, as soon as it has ended: a later one may end the process."""
    result = yield
    report = result.get_result()  # type: ignore[attr-defined]
    path = item.config.getoption("outcomes")
    if path is None or (report.when != "call" and report.passed):
        return
    what = report.longrepr.reprcrash.message if hasattr(report.longrepr, "reprcrash") else ""
    outcome = report.outcome
    if hasattr(report, "wasxfail") and not report.passed:
        outcome = "not refused" if REFUSED.search(what) else "excepted"
    what = what if report.failed else ""
    line = {"test": item.nodeid, "outcome": outcome, "reached": Seen.reached, "what": what}
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")
