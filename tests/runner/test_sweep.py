"""Many runs of one configuration: each in its folder, gone on with after a stop, in a table."""

import errno
import os
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import jax
import jax.numpy as jnp
import pytest

from backprop_jax.errors import ConfigError
from backprop_jax.runner import rows as rows_module
from backprop_jax.runner import run as run_module
from backprop_jax.runner import sweep as sweep_module
from backprop_jax.runner import vectorised as vectorised_module
from backprop_jax.runner.keeper import checkpoints
from backprop_jax.runner.rows import fitting, in_rows
from backprop_jax.runner.state import State
from backprop_jax.runner.sweep import grid, values_of
from tests import crashes
from tests.runner.conftest import LINE, RECIPE

VALUES = [
    ("1e-4,1e-3", ["1e-4", "1e-3"]),
    ("0..4", ["0", "1", "2", "3", "4"]),
    ("-1..1,7", ["-1", "0", "1", "7"]),
    ("[64],[128, 128]", ["[64]", "[128, 128]"]),
    ("{a: 1, b: 2},3", ["{a: 1, b: 2}", "3"]),
    ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
    ("3..3", ["3"]),
    ("", [""]),
    ("a..b", ["a..b"]),
]


@pytest.mark.parametrize(("text", "values"), VALUES)
def test_a_text_lists_values(text, values):
    assert values_of(text) == values


def test_every_combination_is_a_run():
    runs = grid(["a.b=1,2", "seed=0..2", "c=3"])
    assert [one.values for one in runs][:4] == [
        {"a.b": "1", "seed": "0"},
        {"a.b": "1", "seed": "1"},
        {"a.b": "1", "seed": "2"},
        {"a.b": "2", "seed": "0"},
    ]
    assert runs[-1].overrides == ["a.b=2", "seed=2", "c=3"]
    assert [one.name for one in runs][-1] == "005-b=2,seed=2"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["seed=3"], "command line: nothing varies"),
        (["seed=4..0"], "command line: 4..0: expected first..last, at most 10000 of them"),
        (["seed=0..99", "model.degree=0..999"], "command line: 100000 runs are more than 10000"),
    ],
)
def test_what_is_no_grid_is_an_error(words, error):
    with pytest.raises(ConfigError) as raised:
        grid(words)
    assert str(raised.value).splitlines()[0] == error


WORDS = ("sweep", "line.yaml", "optimizer.learning_rate=0.05,1e4", "seed=0..1", "training.steps=12")


@pytest.mark.usefixtures("drawn")
def test_a_sweep_is_done_stopped_and_gone_on_with(cli, folder, monkeypatch):
    """The third of four runs is terminated; the first two are not done again."""
    started = []

    def counted(path, overrides, **where):
        started.append(where)
        return original(path, overrides, **where)

    def asked():
        """Has the third run stop after a step."""
        return "terminated" if len(started) == 3 else None

    original = sweep_module.run
    monkeypatch.setattr(sweep_module, "run", counted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "stop_when_asked", lambda: nullcontext(asked))
        result = cli(*WORDS, "--out", "out")
    assert result.code == 143
    assert "[3/4] optimizer.learning_rate=1e4 seed=0: terminated" in result.out
    table = (folder / "out/summary.md").read_text()
    assert [line.split("|")[3].strip() for line in table.splitlines()[2:]] == [
        "completed",
        "completed",
        "terminated",
        "waiting",
    ]
    result = cli(*WORDS, "--resume", "out")
    assert result.code == 1
    assert "[1/4] optimizer.learning_rate=0.05 seed=0: completed  loss " in result.out
    assert result.out.count(", as before") == 2
    assert "[4/4] optimizer.learning_rate=1e4 seed=1: nonfinite" in result.out
    assert len(started) == 5
    assert started[3] == {"resume": Path("out") / NAMES[2]}
    assert sorted(path.name for path in (folder / "out").iterdir() if path.is_dir()) == NAMES
    assert (folder / "out/sweep.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "out/report.html").read_text()
    assert page.count("<svg ") == 1
    links = re.findall(r'<a href="([^"]*)"', page)
    assert links
    assert all((folder / "out" / unquote(link)).is_file() for link in links)
    assert "step 12/12  test  loss" in (folder / "out" / NAMES[0] / "output.txt").read_text()
    recipe = (folder / "line.yaml").read_text()
    (folder / "line.yaml").write_text(recipe.replace("log_every: 5", "log_every: 6"))
    other = cli(*WORDS, "--resume", "out")
    assert (other.code, other.err) == (
        2,
        "--resume out: this was another sweep\n  training.log_every: 5 → 6\n"
        "  to go on:   say the same, or begin one without --resume\n",
    )
    other = cli("sweep", "line.yaml", "seed=0..3", "--resume", "out")
    assert other.code == 2
    assert other.err.startswith(
        "--resume out: this was a sweep of optimizer.learning_rate=0.05,1e4"
    )


NAMES = [
    "000-learning_rate=0.05,seed=0",
    "001-learning_rate=0.05,seed=1",
    "002-learning_rate=1e4,seed=0",
    "003-learning_rate=1e4,seed=1",
]


def test_a_sweep_goes_on_after_a_disk_was_full(cli, folder, monkeypatch):
    """Before the first file of the first run."""

    def full(path, *_):
        with run_module.run_folder.writing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = ("sweep", "line.yaml", "seed=0..1", "training.steps=2")
    with monkeypatch.context() as patched:
        patched.setattr(run_module.run_folder, "write_over", full)
        result = cli(*words, "--out", "out")
    assert result.code == 1
    assert result.err.startswith("cannot write config.yaml: No space left on device\n")
    assert cli(*words, "--resume", "out").code == 0


def test_a_wrong_value_stops_the_sweep_before_it_begins(cli, folder):
    result = cli("sweep", "line.yaml", "model.degree=1,-1")
    error = "command line: model.degree: expected a number of at least 0, got -1\n"
    assert result == (2, "", error)
    assert not (folder / "runs").exists()


def test_the_folder_of_a_run_is_not_that_of_a_sweep(cli, folder):
    words = ("sweep", "line.yaml", "seed=0..1", "--resume", "other")
    (folder / "other").mkdir()
    (folder / "other/config.yaml").touch()
    error = "--resume other: not the folder of a sweep: it has no sweep.json\n"
    assert cli(*words) == (2, "", error)
    (folder / "other/sweep.json").write_text("[]")
    error = "--resume other: sweep.json is not what a sweep has written\n"
    assert cli(*words) == (2, "", error)


FEW = ("sweep", "line.yaml", "optimizer.learning_rate=0.05,1e4", "seed=0..1", "checkpoint.every=4")


def test_runs_at_once_end_as_one_by_one(cli, folder, monkeypatch):
    """Within rounding; stopped and gone on with, to the last bit. One of the rates diverges.

    Two runs fit into the caches.
    """
    monkeypatch.setattr(vectorised_module, "fitting", lambda state, runs: 2)
    (folder / "line.yaml").write_text(RECIPE + "checkpoint: {best: loss}\n")
    assert cli(*FEW, "--out", "each").code == 1
    result = cli(*FEW, "--vectorised", "--out", "many")
    assert (result.code, result.err) == (1, "")
    assert "step 20/20  loss " in result.out
    assert "of 2 runs, 2 not finite\n" in result.out
    with pytest.MonkeyPatch.context() as patch:
        looks = iter([None, None, "terminated"])
        asked = nullcontext(lambda: next(looks))
        patch.setattr(vectorised_module, "stop_when_asked", lambda: asked)
        assert cli(*FEW, "--vectorised=4", "--out", "stopped").code == 143
    result = cli(*FEW, "--vectorised", "--resume", "stopped")
    assert result.code == 1
    for name in NAMES:
        each, many, stopped = (folder / place / name for place in ("each", "many", "stopped"))
        assert [path.name for path in checkpoints(each)] == [
            path.name for path in checkpoints(many)
        ]
        assert_close(crashes.lines(many), crashes.lines(each))
        assert crashes.lines(many) == crashes.lines(stopped)
        if "1e4" not in name:
            ends = [checkpoints(run)[-1] for run in (many, stopped)]
            bests = [run / "checkpoints/best.npz" for run in (many, stopped)]
            assert crashes.arrays(ends[0]) == crashes.arrays(ends[1])
            assert crashes.arrays(bests[0]) == crashes.arrays(bests[1])
            assert "completed: 20 steps" in (many / "output.txt").read_text()
    tables = [(folder / place / "summary.md").read_text() for place in ("each", "many")]
    assert tables[0] == tables[1]


def test_runs_stand_in_rows_and_rows_in_groups(monkeypatch):
    """Twelve runs, of four rates and three seeds, as many in a group as fit."""
    plans = [SimpleNamespace(config=SimpleNamespace(seed=n % 3)) for n in range(12)]
    for fit, shape in ((None, (1, 3, 4)), (100, (1, 3, 4)), (8, (3, 1, 4)), (3, (6, 1, 2))):
        groups = in_rows(plans, [0] * 12, range(12), fit)
        assert groups.shape == shape
        assert sorted(groups.flat) == list(range(12))
        assert all(len({n % 3 for n in row}) == 1 for group in groups for row in group)
    assert in_rows(plans, [0] * 12, range(11), 4).shape == (11, 1, 1)
    monkeypatch.setattr(rows_module, "CACHE", 1000)
    monkeypatch.setattr(rows_module, "CORES", 2)
    state = State(jnp.ones(50), (), jnp.int32(0), jax.random.key(0))
    assert [fitting(state, runs) for runs in (32, 5, 1)] == [4, 3, 1]


def assert_close(lines, wanted):
    """Checks that lines say the same, numbers within the rounding of float32."""
    assert [list(line) for line in lines] == [list(wants) for wants in wanted]
    for line, wants in zip(lines, wanted, strict=True):
        for key, value in line.items():
            near = pytest.approx(wants[key], rel=2e-6) if isinstance(value, float) else wants[key]
            assert value == near


@pytest.mark.parametrize(
    ("words", "errors"),
    [
        (
            ["training.batch_size=8,16", "optimizer.name=sgd,adam"],
            [
                "--vectorised: optimizer.name: decides what the program is, or a shape in it",
                "--vectorised: training.batch_size: all runs of one program have it in common",
            ],
        ),
        (["data.size=32,64"], ["--vectorised: data.size: changes the shapes of the data"]),
        (
            ["optimizer.momentum=0.5,null"],
            ["--vectorised: optimizer.momentum: decides what the program is, or a shape in it"],
        ),
        (
            ["model.name=scaled", "model.by=1.0,2.0"],
            ["--vectorised: model.by: decides the program: it is asked for its value before "],
        ),
        (
            ["gradient.on_nonfinite=explain"],
            ["--vectorised: gradient.on_nonfinite: is for one run at a time"],
        ),
    ],
)
def test_what_one_program_cannot_do_is_refused(cli, folder, words, errors):
    own = LINE.replace('"constant": lambda: None', '"scaled": scaled')
    scaled = "def scaled(by: float = 1.0):\n    return 0 if by > 1 else 1\n\n\nMODELS ="
    (folder / "line.py").write_text(own.replace("MODELS =", scaled))
    result = cli("sweep", "--vectorised", "line.yaml", "seed=0..1", *words)
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == len(errors) + 1
    assert all(line.startswith(error) for line, error in zip(lines, errors, strict=False))
    assert lines[-1] == (
        "  to go on:   leave --vectorised out, or make a sweep of each of its values"
    )
