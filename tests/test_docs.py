"""What the documents and docstrings say is so: every example is run, every path exists."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import jax
import pytest
from jax.scipy.special import betainc, gammainc

import backprop_jax as bp
from backprop_jax.engine.registry import book

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
EXTRAS = ("sympy", "tensorflow", "torch")  # Of witnesses; one module needs each.
MODULES = [m.name for m in pkgutil.walk_packages(bp.__path__, "backprop_jax.")]

# A block of Python whose output stands in the next block.
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\s*^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
TABLE_ROW = re.compile(r"^  \| `(grad\(.*?)` \| (\S+) \| (\S+) \| (\S+) \|$", re.MULTILINE)
RULE = re.compile(r"^  (elementwise\(.*)$", re.MULTILINE)
NOT_THERE = re.compile(r"Not there yet\*\* is the\s+reverse of (.*?), for which", re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
@pytest.mark.usefixtures("the_book_as_it_was")
def test_examples_print_what_stands_below_them(page):
    names = {}
    for code, expected in EXAMPLE.findall(page.read_text()):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, str(page), "exec"), names)
        assert printed.getvalue() == expected


@each_page
def test_links_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text())
    lost = [link for link in LINK.findall(prose) if not (page.parent / link).exists()]
    assert not lost


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("row", TABLE_ROW.findall(README), ids=lambda row: row[0])
def test_the_readme_tells_the_differences_as_they_are(row, compiled):
    gradient, ours, theirs, true = row
    call, point = re.fullmatch(r"(.*)\((\S+)\)", gradient).groups()
    for engine, said in ((bp.grad, ours), (jax.grad, theirs)):
        names = {"grad": engine, "jax": jax, "betainc": betainc, "gammainc": gammainc}
        run = jax.jit(eval(call, names)) if compiled else eval(call, names)
        if said == "error":
            with pytest.raises((NotImplementedError, ValueError)):
                run(float(point))
        else:
            assert f"{run(float(point)):.3g}" == said
    assert ours == true


def test_the_readme_quotes_rules_as_they_stand():
    rules = (ROOT / "backprop_jax/rules/elementary.py").read_text().splitlines()
    quoted = RULE.findall(README)
    assert quoted
    assert set(quoted) <= set(rules)


def test_what_the_readme_calls_missing_is_missing():
    names = set(re.findall(r"`(\w+)`", NOT_THERE.search(README)[1]))
    assert names
    there = names & {primitive.name for primitive in book}
    assert not there, f"README's 'Not there yet' names {there}, which have rules"


def test_the_readme_has_the_two_commands_that_ci_runs():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [" run configs/" in c for c in commands] == [True, False]
    assert commands[1].endswith(".venv/bin/python -m pytest")
