"""`backprop-jax compare`: functions from the shell, comparisons in YAML, and their mistakes."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

FUNCTIONS = '''
"""Functions to compare."""

import jax.numpy as jnp


def f(x, y, z):
    return (x + y) * z


def by_hand(x, y, z):
    return z, z, x + y


def slipped(x, y, z):
    return z, z, x - y


def layer(params, x):
    return jnp.sum(jnp.tanh(x @ params["w"] + params["b"]) ** 2)


def rows(x):
    return 2 * x


def fails(x):
    raise RuntimeError("no such luck")


def holomorphic(z):
    return z**3
'''


@pytest.fixture
def functions(folder: Path) -> None:
    """Adds a file of functions to the working folder."""
    (folder / "functions.py").write_text(FUNCTIONS)


def compared(cli, *words):
    """Returns the exit code, what was printed, and the report in JSON."""
    files = ("--json", "report.json", "--markdown", "report.md", "--html", "report.html")
    result = cli("compare", *words, *files)
    return result, json.loads(Path("report.json").read_text())


@pytest.mark.usefixtures("functions")
def test_a_function_from_the_shell(cli):
    words = ("functions:f", "--args", "[-2.0, 5, -4.0]", "--witness", "jax, hand=by_hand,float64")
    result, report = compared(cli, *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("gradient of functions:f, float32; its value is -12\n")
    assert [leaf["path"] for leaf in report["leaves"]] == ["x", "y", "z"]
    said = [[opinion["says"] for opinion in leaf["opinions"]] for leaf in report["leaves"]]
    assert said == [[-4.0] * 3, [-4.0] * 3, [3.0] * 3]
    assert Path("report.md").read_text().startswith("| leaf | type | witness |")
    page = Path("report.html").read_text()
    assert "<td>jax.grad</td>" in page and "ok: 3 of 3 leaves" in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    "words",
    [
        ("functions.py:f", "--args=[1, 2, 3]", "--witness", "jax,hand=slipped"),
        ("functions:f", "--args=[1, 2, 3]", "gradient=slipped"),
    ],
)
def test_a_disagreement_exits_with_1(cli, words):
    result, report = compared(cli, *words)
    assert (result.code, report["ok"]) == (1, False)
    assert "\nz: " in result.out
    assert result.out.splitlines()[-1].startswith("BAD: 2 of 3 leaves")


@pytest.mark.usefixtures("functions")
def test_operands_of_all_kinds(cli):
    args = "[{w: 'normal[2,3]', b: [0.5, 1, 2]}, [[1, 2], [3, 4]]]"
    words = ("functions:layer", "--args", args, "--dtype", "float64", "--order", "2")
    result, report = compared(cli, *words, "argnums=[0]", "--witness=jax")
    assert result.code == 0
    assert "second derivative of functions:layer, float64" in result.out
    types = [(leaf["path"], leaf["shape"], leaf["dtype"]) for leaf in report["leaves"]]
    assert types == [("params['b']", [3], "float64"), ("params['w']", [2, 3], "float64")]


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("target", "dtype"), [("functions:holomorphic", "complex64"), ("functions:f", "bfloat16")]
)
def test_narrow_and_complex_operands(cli, target, dtype):
    args = "[2]" if "holomorphic" in target else "[1, 2, 3]"
    result, report = compared(cli, target, f"--args={args}", f"--dtype={dtype}")
    assert result.code == 0
    assert {leaf["dtype"] for leaf in report["leaves"]} == {dtype}


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["functions:f"], "command line: args: required, but missing"),
        (["nowhere:f", "--args=[1]"], "no module 'nowhere'"),
        (["functions:g", "--args=[1]"], "functions has no 'g'"),
        (["functions:f", "--args=[1]"], "functions:f cannot take these args: missing a required"),
        (["functions:f", "--args=[1, 2, [[1], [2, 3]]]"], "the rows of [[1], [2, 3]] are of diff"),
        (["functions:f", "--args=[1, 2, 3"], "command line: args: '[1, 2, 3' is not YAML"),
        (["functions:f", "--args=[1, 2, 3]", "argnums=[3]"], "argnums [3]: there are 3 args"),
        (
            ["functions:f", "--args=[1, 2, 3]", "--witness=jaxx"],
            "no witness 'jaxx'; did you mean 'jax'?",
        ),
        (
            ["functions:f", "--args=[1, 2, 3]", "--witness=hand=by_hnd"],
            "functions has no 'by_hnd'; did you mean 'by_hand'?",
        ),
        (
            ["functions:f", "--args=[1, 2, 3]", "--dtype=f8"],
            "command line: dtype: unknown value 'f8'; known: bfloat16",
        ),
        (["functions:rows", "--args=[[1, 2]]"], "functions:rows cannot be compared: TypeError: "),
        (
            ["functions:fails", "--args=[1]"],
            "functions:fails cannot be compared: RuntimeError: no such luck\n"
            "  written at: functions.py:28 (fails)\n",
        ),
        (["line.yaml", "--args=[1]"], "line.yaml: --args are those of a function"),
        (["line.yaml", "--witness=hand=f"], "'f': an experiment takes witnesses by name only"),
    ],
)
def test_a_wrong_command_exits_with_2(cli, words, error):
    result = cli("compare", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(error)
    assert "Traceback" not in result.err


def test_an_experiment_before_witnesses(cli):
    words = ("line.yaml", "--witness", "jax,mpmath", "--dtype", "float64", "training.batch_size=4")
    result, report = compared(cli, *words)
    assert result.code == 0
    assert report["sources"] == ["backprop_jax", "jax.grad", "mpmath"]
    assert {leaf["dtype"] for leaf in report["leaves"]} == {"float64"}


def test_six_ways_of_one_gradient(cli):
    result, report = compared(cli, str(ROOT / "configs/six_ways.yaml"))
    assert result.code == 0, result.out + result.err
    missing = {"torch", "tensorflow"} - {
        name for name in ("torch", "tensorflow") if importlib.util.find_spec(name)
    }
    assert {name for name, _ in report["absent"]} == missing
    for leaf, value in zip(report["leaves"], (-4.0, -4.0, 3.0), strict=True):
        assert len(leaf["opinions"]) == 8 - len(missing)
        for opinion in leaf["opinions"]:
            assert opinion["ours"] == value
            np.testing.assert_allclose(opinion["says"], value, rtol=1e-9)


def test_slopes_over_the_step(cli, folder):
    result = cli("compare", str(ROOT / "configs/steps.yaml"))
    assert result.code == 0
    assert (folder / "steps.png").read_bytes().startswith(b"\x89PNG")
    lines = result.out[result.out.index("\nslope by one step") :].splitlines()[3:]
    assert lines[-2:] == ["", "picture: steps.png"]
    found = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in lines[:-2]}
    assert len(found) == 17
    assert found["1e-03"][0] == pytest.approx(14.003, abs=1e-10)
    assert found["1e-16"][0] == 0
    forward = np.array([found[f"1e-{k:02}"][1] for k in range(17) if k])
    assert np.argmin(forward) in (6, 7, 8)  # The foot of the V, where h is near sqrt(eps).
    assert forward[0] > 0.1 and forward[-1] > 1
    assert max(row[5] for row in found.values()) < 1e-14
