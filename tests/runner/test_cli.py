"""The command line itself: help, version, schema, compare, and packages that are missing."""

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import jax
import pytest

from backprop_jax import cli as cli_module
from backprop_jax.check.compare import compare
from backprop_jax.runner import commands
from backprop_jax.runner.kinds import KINDS
from backprop_jax.runner.optimizers import OPTIMIZERS
from backprop_jax.version import __version__


def test_help_names_the_commands(cli):
    result = cli("--help")
    assert result.code == 0
    assert all(f"\n    {name} " in result.out for name in ("run", "compare", "schema"))


def test_version(cli):
    assert cli("--version") == (0, f"backprop-jax {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], ": error: the following arguments are required: COMMAND"),
        (["run"], " run: error: the following arguments are required: CONFIG.yaml, KEY.SUB=VALUE"),
        (["run", "line.yaml", "--outt", "here"], ": error: unknown argument '--outt'"),
        (["schema", "line.yaml"], ": error: unknown argument 'line.yaml'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(cli, words, error):
    result = cli(*words)
    assert result.code == 2
    assert result.err.splitlines()[-1] == f"backprop-jax{error}"


def test_overrides_may_stand_anywhere(cli, folder):
    words = ("--training.steps=2", "line.yaml", "seed=1", "--out", "out", "--data.size=32")
    assert cli("run", *words, "model.degree=2").code == 0
    config = (folder / "out/config.yaml").read_text()
    assert all(text in config for text in ("seed: 1", "steps: 2", "size: 32", "degree: 2"))


def test_schema_describes_every_key_of_every_kind(cli):
    schema = json.loads(cli("schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for kind in KINDS:
        described = schema["$defs"][kind.name]
        assert described["then"]["required"][0] == kind.key
        assert described["if"] == {"not": {"required": ["base"]}}
        assert described["additionalProperties"] is False
    names = [*(kind.name for kind in KINDS), "Training", "Gradient", "StepLengths"]
    for section in (schema["$defs"][name] for name in names):
        assert all("description" in key or "$ref" in key for key in section["properties"].values())
    names = schema["$defs"]["optimizer"]["properties"]["name"]["enum"]
    assert set(names) == set(OPTIMIZERS)


@pytest.fixture(params=["unread", "full"])
def deaf(request):
    """Returns a file that takes nothing, with the exit code and the error of that.

    As of `backprop-jax schema | head`, and with the output into a file on a full disk.
    """
    if request.param == "unread":
        reading, writing = os.pipe()
        os.close(reading)
        return os.fdopen(writing, "w"), 141, ""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("the system has no /dev/full")
    return full.open("w"), 1, "cannot print: No space left on device\n"


PRINTED = {"schema": ["schema"], "list": ["list", "."], "help": ["--help"]}
PRINTED |= {"settings": ["run", "line.yaml", "--print-config"]}


@pytest.mark.parametrize("words", PRINTED.values(), ids=PRINTED)
def test_what_cannot_be_printed_is_one_line(cli, monkeypatch, deaf, words):
    file, code, error = deaf
    with file, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", file)
        assert cli(*words) == (code, "", error)


def test_a_run_whose_output_is_cut_off_goes_on_where_it_was(cli, folder, monkeypatch, deaf):
    """It stops with its fifth step, which would be the first to be told."""
    words = ("run", "line.yaml", "checkpoint.every=4")
    file, code, error = deaf
    with file, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", file)
        assert cli(*words, "--out", "out") == (code, "", error)
    assert json.loads((folder / "out/summary.json").read_text())["status"] == "failed"
    result = cli(*words, "--resume", "out")
    assert result.code == 0
    assert result.out.startswith("--resume out: goes on from step 4 of 20\n")


def test_compare_agrees(cli):
    result = cli("compare", "line.yaml")
    assert result.code == 0
    assert all(f"params['{leaf}']" in result.out for leaf in ("slope", "height"))


def test_compare_exits_with_1_where_gradients_disagree(cli, monkeypatch):
    def doubled(loss, *given):
        gradient = jax.grad(loss)
        twice = lambda *given: jax.tree.map(lambda x: 2 * x, gradient(*given))  # noqa: E731
        return compare(loss, *given, gradient=twice)

    monkeypatch.setattr(commands, "gradients_compared", doubled)
    result = cli("compare", "line.yaml")
    assert result.code == 1
    assert "params['slope']" in result.out


@pytest.mark.parametrize("package", ["matplotlib", "optax", "pydantic", "rich", "yaml"])
def test_a_missing_package_is_one_line(monkeypatch, capsys, package):
    for name in [name for name in sys.modules if name.startswith("backprop_jax.runner")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    fresh = module_from_spec(spec_from_file_location("fresh", cli_module.__file__))
    fresh.__spec__.loader.exec_module(fresh)
    assert fresh.main(["schema"]) == 2
    message = "backprop-jax needs more packages: pip install 'backprop-jax[run]'\n"
    assert capsys.readouterr() == ("", message)


def test_the_module_is_the_command():
    words = [sys.executable, "-m", "backprop_jax", "--version"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout == f"backprop-jax {__version__}\n"
