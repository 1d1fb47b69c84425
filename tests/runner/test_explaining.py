"""`backprop-jax explain`: functions, comparisons and experiments, and their mistakes."""

from pathlib import Path

import pytest

import backprop_jax as bp
from backprop_jax.runner.first import step_explained
from backprop_jax.runner.plan import make_plan

FUNCTIONS = """
import jax.numpy as jnp


def f(x, y, z):
    q = x + y
    return q * z


def rows(x):
    return 2 * x
"""


@pytest.fixture(autouse=True)
def functions(folder: Path) -> None:
    """Adds files to the working folder."""
    (folder / "functions.py").write_text(FUNCTIONS)
    (folder / "six.yaml").write_text("function: functions.py:f\nargs: [-2.0, 5.0, -4.0]\n")


def test_a_function(cli):
    result = cli("explain", "functions.py:f", "--args", "[-2.0, 5.0, -4.0]")
    assert result == (0, "f.html: f, 2 steps\n", "")
    page = Path("f.html").read_text()
    assert page.startswith("<!doctype html>") and "Backward pass of f" in page
    assert '"title":"q","lines":["3","grad -4"]' in page


def test_a_comparison_as_text(cli):
    assert cli("explain", "six.yaml", "--output", "f.txt").code == 0
    assert "  df/dq = df/df · z = 1 · (-4) = -4" in Path("f.txt").read_text().splitlines()
    wide = cli("explain", "six.yaml", "--output=f.dot", "--dtype=float64", "args=[1, 2, 3]")
    assert wide.out == "f.dot: six, 2 steps\n"


def test_an_experiment(cli):
    assert cli("explain", "line.yaml", "training.batch_size=4").code == 0
    assert "params['slope']" in Path("line.html").read_text()
    found = step_explained(make_plan(Path("line.yaml")))
    assert isinstance(found, type(bp.explain(lambda x: x, 1.0)))
    assert [v.name for v in found.operands] == ["params['height']", "params['slope']"]
    fragment = found.fragment()
    assert "<html" not in fragment and fragment.count("<style>") == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("six.yaml", "--output", "x.pdf"), "--output x.pdf: a file ends in one of txt, dot, svg"),
        (("six.yaml", "--output", "no/x.svg"), "--output no/x.svg: there is no folder no"),
        (("line.yaml", "--args", "[1.0]"), "line.yaml: --args are those of a function"),
        (("functions.py:g", "--args", "[1.0]"), "functions.py has no 'g'"),
        (("functions.py:f", "--args", "[1.0]"), "functions.py:f cannot take these args: missing a"),
        (("functions.py:f",), "command line: args: required, but missing"),
        (("functions.py",), "functions.py: a Python file; name a function of it, functions.py:FUN"),
        (
            ("functions.py:rows", "--args", "[[1, 2]]"),
            "functions.py:rows cannot be explained: ",
        ),
        (("none.yaml",), "none.yaml: no such file"),
    ],
)
def test_mistakes(cli, words, error):
    before = sorted(Path().iterdir())
    result = cli("explain", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(error)
    assert [p for p in sorted(Path().iterdir()) if p.name != "__pycache__"] == before
