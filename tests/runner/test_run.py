"""What a run leaves behind: its folder, its lines, its exit code, however it ends."""

import json
import math
import os
import pty
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import jax
import pytest
import yaml

from backprop_jax.runner import training
from backprop_jax.runner.gradients import ENGINES
from backprop_jax.runner.plan import make_plan

FILES = [
    ".lock",
    "checkpoints",
    "config.yaml",
    "curves.png",
    "environment.json",
    "metrics.jsonl",
    "report.html",
    "summary.json",
]


def records(folder, kind=None):
    """Returns the lines of metrics.jsonl, all or those of a kind; strict JSON only."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=refuse) for line in lines]
    return [record for record in found if kind in (None, record["kind"])]


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.usefixtures("drawn")
def test_a_run_has_a_folder_of_its_own(cli, folder):
    result = cli("run", "line.yaml", "--out", "out", "gradient.check_every=10")
    out = folder / "out"
    assert (result.code, result.err) == (0, "")
    assert sorted(file.name for file in out.iterdir()) == FILES
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [record["step"] for record in records(out, "train")] == [5, 10, 15, 20]
    assert [record["step"] for record in records(out, "test")] == [10, 20]
    assert [record["step"] for record in records(out, "gradient_check")] == [1, 11]
    found = summary(out)
    assert (found["status"], found["steps"]) == ("completed", 20)
    assert found["metrics"] == {
        key: value for key, value in records(out, "test")[-1].items() if key in ("loss", "slope")
    }
    assert found["gradient_check"]["checks"] == 2
    assert found["gradient_check"]["max_rel"] < 1e-6
    assert found["gradient_check"]["leaf"] in ("params['slope']", "params['height']")
    for key in ("seconds", "steps_per_second", "trace_seconds", "compile_seconds"):
        assert found[key] > 0


def test_the_environment_is_written_down(cli, folder):
    cli("run", "line.yaml", "--out", "out", "training.steps=1")
    found = json.loads((folder / "out/environment.json").read_text())
    assert {"backprop_jax", "python", "packages", "device", "git"} <= set(found)
    assert {"jax", "jaxlib", "numpy", "optax"} <= set(found["packages"])
    assert found["device"]["count"] >= 1


def test_the_config_as_run_runs_again(cli, folder):
    """Every default is filled in, and the same configuration gives the same losses."""
    cli("run", "line.yaml", "--out", "one", "training.log_every=1", "optimizer.learning_rate=1e-2")
    again = make_plan(folder / "one/config.yaml")
    assert again.settings == yaml.safe_load((folder / "one/config.yaml").read_text())
    assert again.config.optimizer.learning_rate == 0.01
    cli("run", "one/config.yaml", "--out", "two")
    one, two = (
        [record["loss"] for record in records(folder / out, "train")] for out in ("one", "two")
    )
    assert one == two
    assert len(one) == 20


def test_without_out_each_run_gets_a_new_folder(cli, folder):
    for _ in range(2):
        cli("run", "line.yaml", "training.steps=1")
    names = sorted(path.name for path in (folder / "runs").iterdir())
    assert len(names) == 2
    assert all(name.startswith("line-") for name in names)


def test_a_folder_is_never_used_twice(cli, folder):
    cli("run", "line.yaml", "--out", "out", "training.steps=1")
    before = {file: file.read_bytes() for file in (folder / "out").iterdir() if file.is_file()}
    error = "--out out: not empty; name another folder, or remove it\n"
    assert cli("run", "line.yaml", "--out", "out") == (2, "", error)
    assert {
        file: file.read_bytes() for file in (folder / "out").iterdir() if file.is_file()
    } == before


def test_out_may_not_be_a_file(cli):
    error = "--out line.py: a file, not a folder\n"
    assert cli("run", "line.yaml", "--out", "line.py") == (2, "", error)


def test_out_may_be_an_empty_folder(cli, folder):
    (folder / "out").mkdir()
    assert cli("run", "line.yaml", "--out", "out", "training.steps=1").code == 0


def test_lines_without_a_terminal(cli):
    out = cli("run", "line.yaml", "--out", "out", "gradient.check_every=20").out.splitlines()
    assert out[0].startswith(
        "line.py: polynomial, sgd, float32, gradients by backprop_jax; "
        "20 steps of 16 from 64 examples on "
    )
    starts = [
        "step  1/20  gradient check  max_abs ",
        "step  5/20  loss ",
        "step 10/20  loss ",
        "step 10/20  test  loss ",
        "step 15/20  loss ",
        "step 20/20  loss ",
        "step 20/20  test  loss ",
        "completed: 20 steps in ",
        "  test:       loss ",
        "  gradients:  1 checks against jax.grad; largest relative difference ",
        "  results:    out",
    ]
    assert len(out[1:]) == len(starts)
    assert all(line.startswith(start) for line, start in zip(out[1:], starts, strict=True))


def all_of(terminal):
    """Returns what is written to a terminal until it is closed; meanwhile it is never full."""
    parts = []
    with suppress(OSError):  # That is how a terminal says so.
        while part := os.read(terminal, 4096):
            parts.append(part)
    return b"".join(parts).decode()


def test_a_bar_in_a_terminal(cli, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(all_of, ours)
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patched:
            patched.setattr("sys.stdout", terminal)
            assert cli("run", "line.yaml", "--out", "out").code == 0
        shown = read.result()
    os.close(ours)
    assert "━" in shown
    assert "20/20" in shown
    assert "step 10/20  test  loss" in shown
    assert "step  5/20  loss" not in shown


def test_a_loss_that_is_not_finite_stops_the_run(cli, folder):
    """The exact step is known although the losses are fetched four at a time."""
    rate = "optimizer.learning_rate=1e4"
    result = cli("run", "line.yaml", "--out", "out", rate, "training.log_every=4")
    out = folder / "out"
    losses = records(out, "train")
    assert result.code == 1
    assert sorted(file.name for file in out.iterdir()) == FILES
    found, last = summary(out), losses[-1]["step"]
    assert (found["status"], found["steps"]) == ("nonfinite", last)
    assert not math.isfinite(float(losses[-1]["loss"]))
    assert all(isinstance(record["loss"], float) for record in losses[:-1])
    assert losses[-2]["step"] == last - 1
    assert f"why:        the loss is inf at step {last}, after " in result.out
    assert "to go on:   lower optimizer.learning_rate (now 10000), or try" in result.out


def test_where_it_stopped_being_finite_is_explained(cli, folder):
    rate = "optimizer.learning_rate=1e4"
    result = cli("run", "line.yaml", "--out", "out", rate, "gradient.on_nonfinite=explain")
    text = (folder / "out" / "nonfinite.txt").read_text()
    assert text.startswith("loss: infinity born in ")
    assert "written at:  line.py:" in text and "in the end:  reached the result" in text
    assert "numbers outgrow float32" in text
    assert "; see nonfinite.txt" in result.out
    cli("run", "line.yaml", "--out", "fine", "gradient.on_nonfinite=explain")
    assert sorted(file.name for file in (folder / "fine").iterdir()) == FILES


def test_the_step_that_was_not_finite_does_not_depend_on_the_lines(cli, folder):
    steps = set()
    for every in (1, 3, 4, 20):
        rate = ("optimizer.learning_rate=1e4", f"training.log_every={every}")
        cli("run", "line.yaml", "--out", f"out{every}", *rate, "training.eval_every=20")
        steps.add(summary(folder / f"out{every}")["steps"])
    assert len(steps) == 1


def test_a_wrong_engine_is_found_by_the_check(cli, folder, monkeypatch):
    def doubled(loss):
        right = jax.value_and_grad(loss)
        return lambda *given: jax.tree.map(lambda x: 2 * x, right(*given))

    monkeypatch.setitem(ENGINES, "backprop_jax", doubled)
    cli("run", "line.yaml", "--out", "out", "gradient.check_every=10", "training.steps=12")
    assert summary(folder / "out")["gradient_check"]["max_rel"] == pytest.approx(1)
    assert [record["max_rel"] for record in records(folder / "out", "gradient_check")] == (
        pytest.approx([1, 1])
    )


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [(KeyboardInterrupt(), 130, "interrupted"), (RuntimeError("broken"), None, "failed")],
)
def test_what_was_written_so_far_stays(cli, folder, monkeypatch, raised, code, status):
    def seven_batches(*given):
        yield from islice(original(*given), 7)
        raise raised

    original = training.batches
    monkeypatch.setattr(training, "batches", seven_batches)
    words = ("run", "line.yaml", "--out", "out")
    if code is None:
        with pytest.raises(RuntimeError, match="broken"):
            cli(*words)
    else:
        assert cli(*words).code == code
    assert sorted(file.name for file in (folder / "out").iterdir()) == FILES
    assert [record["step"] for record in records(folder / "out", "train")] == [5]
    found = summary(folder / "out")
    assert (found["status"], found["steps"]) == (status, 5)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        (["training.steps=3"], 3),
        (["training.steps=null", "training.epochs=2"], 8),
        (["training.epochs=2"], 8),
        (["training.epochs=20"], 20),
        (["training.batch_size=null", "training.epochs=2"], 2),
        (["training.batch_size=60", "training.epochs=2"], 2),
    ],
)
def test_steps_or_epochs_whichever_ends_first(cli, folder, given, steps):
    cli("run", "line.yaml", "--out", "out", *given)
    assert summary(folder / "out")["steps"] == steps


def test_float64_is_for_the_run_alone(cli, folder):
    cli("run", "line.yaml", "--out", "out", "precision=float64", "training.steps=300")
    assert abs(summary(folder / "out")["metrics"]["slope"] - 3) < 1e-8
    assert training.jnp.zeros(()).dtype == "float32"
