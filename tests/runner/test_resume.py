"""Nothing is lost: however a run ends, it goes on as if it had not."""

import errno
import json
import os
import shutil
import signal
import sys
import threading
from itertools import islice

import numpy as np
import pytest

from backprop_jax.cli import main
from backprop_jax.runner import folder as run_folder
from backprop_jax.runner import training
from backprop_jax.runner.keeper import checkpoints
from backprop_jax.runner.stopping import stop_when_asked
from backprop_jax.runner.task import batches
from tests import crashes
from tests.runner.conftest import LINE, RECIPE

EVERY = "checkpoint.every=4"


def meeting(patch, steps, meet):
    """Has the next run meet something before step `steps + 1`."""

    def rows(*given):
        found = batches(*given)
        yield from islice(found, steps - given[3])
        meet()
        yield from found

    patch.setattr(training, "batches", rows)


def send(number):
    return lambda: os.kill(os.getpid(), number)


def lose_power():
    raise RuntimeError("no power")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two runs: `alone`, and `broken`, saved each 4 steps, that ended at step 14 of 20, unsaved."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "line.py").write_text(LINE)
    (folder / "line.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        assert main(["run", "line.yaml", "--out", "alone", EVERY]) == 0
        meeting(patch, 14, lose_power)
        with pytest.raises(RuntimeError, match="no power"):
            main(["run", "line.yaml", "--out", "broken", EVERY])
    return folder


@pytest.fixture
def alone(done):
    return done / "alone"


@pytest.fixture
def broken(done, folder, capsys):
    capsys.readouterr()
    shutil.copytree(done / "broken", folder / "out")


def same(one, two):
    """Says whether two runs ended with the same arrays and the same lines, but for times."""
    ends = [crashes.arrays(checkpoints(run)[-1]) for run in (one, two)]
    return ends[0] == ends[1] and crashes.lines(one) == crashes.lines(two)


@pytest.mark.parametrize("words", [("--resume", "out"), ("--resume=out",)])
def test_goes_on_where_the_last_checkpoint_is(cli, folder, alone, broken, words):
    assert [path.name for path in checkpoints(folder / "out")] == [
        f"step-0000000{step}.npz" if step < 10 else f"step-000000{step}.npz" for step in (4, 8, 12)
    ]
    (folder / "out/checkpoints/.step-00000016.npz.unfinished").write_text("half")
    result = cli("run", "line.yaml", *words, EVERY)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("--resume out: goes on from step 12 of 20\nline.py: ")
    assert same(alone, folder / "out")
    summary = json.loads((folder / "out/summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["resumed"]) == ("completed", 20, [12])
    assert not list((folder / "out/checkpoints").glob(".*"))


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_run_that_is_asked_to_stop_saves_first(
    cli, folder, alone, monkeypatch, number, code, status
):
    with monkeypatch.context() as patch:
        meeting(patch, 6, send(number))
        result = cli("run", "line.yaml", "--out", "out")
    assert result.code == code
    assert f"{status}: 5 steps in " in result.out
    assert [path.name for path in checkpoints(folder / "out")] == ["step-00000007.npz"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert cli("run", "line.yaml", "--resume", "out").code == 0
    assert same(alone, folder / "out")


def test_a_second_signal_is_not_held_back(ctrl_c):
    with stop_when_asked() as stop:
        assert stop() is None
        send(signal.SIGINT)()
        assert stop() == "interrupted from the keyboard"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)()


@pytest.fixture
def ctrl_c():
    """Ctrl-C as it is in a terminal; a test run in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nobody_is_asked():
    found = []

    def look():
        with stop_when_asked() as stop:
            found.append(stop())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [None]


def test_without_a_folder_it_is_the_latest_of_that_name(cli, folder):
    names = ["line-20260101-000000-2", "line-20260101-000000-10", "line-20250101-000000-1"]
    for name in [*names, "line-b-20270101-000000-1", "line-mine"]:
        (folder / "runs" / name).mkdir(parents=True)
    for words in (
        "line.yaml --resume",
        "--resume line.yaml",
        "line.yaml --resume training.steps=2",
    ):
        result = cli("run", *words.split(), "training.steps=2")
        assert result.code == 0
        assert result.out.startswith("--resume runs/line-20260101-000000-10: ")


def test_a_run_without_a_checkpoint_begins_again(cli, folder, alone, broken):
    shutil.rmtree(folder / "out/checkpoints")
    result = cli("run", "line.yaml", "--resume", "out")
    assert result.out.startswith("--resume out: it has no checkpoint yet; it begins again at step")
    assert same(alone, folder / "out")


def test_a_run_that_is_done_has_nothing_left_to_do(cli, folder):
    cli("run", "line.yaml", "--out", "out")
    before = (folder / "out/metrics.jsonl").read_bytes()
    result = cli("run", "line.yaml", "--resume", "out")
    assert result.code == 0
    assert "completed: 20 steps in " in result.out
    assert (folder / "out/metrics.jsonl").read_bytes() == before


def test_more_steps_are_more_of_the_same(cli, folder):
    cli("run", "line.yaml", "--out", "out")
    more = ("training.steps=40", "optimizer.learning_rate=0.05")
    result = cli("run", "line.yaml", "--resume", "out", *more)
    assert "  changed:    training.steps: 20 → 40\n" in result.out
    assert "  changed:    optimizer.learning_rate: 0.1 → 0.05\n" in result.out
    assert "steps: 20" in (folder / "out/config.before-step-20.yaml").read_text()
    assert "steps: 40" in (folder / "out/config.yaml").read_text()
    result = cli("run", "line.yaml", "--resume", "out", "training.steps=20", more[1])
    error = "--resume out: it is at step 40 already, beyond the last, 20\n"
    assert (result.code, result.err) == (2, error)


def test_to_the_end_in_two_parts_is_the_same_state(cli, folder, alone):
    cli("run", "line.yaml", "--out", "out", "training.steps=8")
    cli("run", "line.yaml", "--resume", "out")
    ends = [crashes.arrays(checkpoints(run)[-1]) for run in (folder / "out", alone)]
    assert ends[0] == ends[1]


REFUSED = [
    ("seed=1", "seed: 0 → 1"),
    ("model.degree=2", "model.degree: 1 → 2"),
    ("data.noisy=true", "data.noisy: false → true"),
    ("training.batch_size=8", "training.batch_size: 16 → 8"),
    ("precision=float64", "precision: 'float32' → 'float64'"),
    ("optimizer.name=noisy_sgd", "optimizer.name: 'sgd' → 'noisy_sgd'"),
]


@pytest.mark.parametrize(("override", "said"), REFUSED)
def test_what_was_done_cannot_change(cli, folder, broken, override, said):
    before = files(folder / "out")
    result = cli("run", "line.yaml", "--resume", "out", override)
    assert result[:2] == (2, "")
    assert result.err.startswith("--resume out: what was done so far was done with others\n")
    assert f"\n  {said}\n" in result.err
    assert result.err.endswith("  to go on:   set them back, or begin a run without --resume\n")
    assert files(folder / "out") == before


def files(folder):
    """Returns what every file of a run holds, but for the lock."""
    return {path: path.read_bytes() for path in folder.rglob("*.*") if path.name != ".lock"}


def test_another_kind_of_optimizer_state_does_not_fit(cli, broken):
    result = cli("run", "line.yaml", "--resume", "out", "optimizer.momentum=0.9")
    assert result.code == 2
    assert result.err.startswith("--resume out: step-00000012.npz has ")


def test_other_data_are_refused(cli, folder, broken):
    text = (folder / "line.py").read_text()
    (folder / "line.py").write_text(text.replace("3 * x + 1", "3 * x + 2"))
    error = "--resume out: data() of line.py returns other data than then\n"
    assert cli("run", "line.yaml", "--resume", "out") == (2, "", error)


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(cli, folder, alone, broken):
    cut(checkpoints(folder / "out")[-1])
    result = cli("run", "line.yaml", "--resume", "out", EVERY)
    assert result.out.startswith(
        "--resume out: step-00000012.npz is not whole; the checkpoint before it is taken\n"
        "--resume out: goes on from step 8 of 20\n"
    )
    assert same(alone, folder / "out")


def test_lines_that_are_lost_give_way_as_well(cli, folder, broken):
    path = folder / "out/metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-120])
    result = cli("run", "line.yaml", "--resume", "out")
    assert "metrics.jsonl is shorter than step-00000012.npz says; the checkpoint" in result.out
    assert result.code == 0


def test_no_whole_checkpoint_is_an_error(cli, folder, broken):
    for path in checkpoints(folder / "out"):
        cut(path)
    result = cli("run", "line.yaml", "--resume", "out")
    assert (result.code, result.err) == (
        2,
        "out: none of its 3 checkpoints is whole\n  to go on:   start again, in another folder\n",
    )


def test_two_runs_do_not_share_a_folder(cli, folder, broken):
    before = files(folder / "out")
    with run_folder.locked(folder / "out"):
        result = cli("run", "line.yaml", "--resume", "out")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"out: another run (process {os.getpid()}) is writing in this folder\n"
        "  to go on:   let it end, or stop it\n"
    )
    assert files(folder / "out") == before


@pytest.mark.parametrize("file", ["step-00000008.npz", "metrics.jsonl"])
def test_a_full_disk_leaves_the_last_checkpoint_whole(cli, folder, alone, monkeypatch, file):
    """The disk is full from the second checkpoint on, until there is room again."""
    fsync = os.fsync

    def sync(number):
        status = os.fstat(number)
        names = [
            path for path in (folder / "out").rglob("*") if path.stat().st_ino == status.st_ino
        ]
        if checkpoints(folder / "out") and any(file in path.name for path in names):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", sync)
        result = cli("run", "line.yaml", "--out", "out", EVERY)
    assert [path.name for path in checkpoints(folder / "out")] == ["step-00000004.npz"]
    where = "out/checkpoints" if file.endswith("npz") else "out"
    assert (result.code, result.err) == (
        1,
        f"cannot write {file}: No space left on device\n"
        f"  written at: {where}\n"
        "  to go on:   make room, then run the same command with --resume; what was there is "
        "whole\n",
    )
    assert cli("run", "line.yaml", "--resume", "out", EVERY).code == 0
    assert same(alone, folder / "out")


NO_RUN = [
    (("--resume", "nowhere"), "--resume nowhere: no such folder"),
    (("--resume", "line.py"), "--resume line.py: not a folder"),
    (("--resume", "."), "--resume: there is no run of line in runs; name its folder"),
    (("--resume",), "--resume: there is no run of line in runs; name its folder"),
    (("--resume", "other"), "--resume other: not the folder of a run: it has no config.yaml"),
]


@pytest.mark.parametrize(("words", "error"), NO_RUN)
def test_a_folder_to_resume_must_be_that_of_a_run(cli, folder, words, error):
    (folder / "other").mkdir()
    (folder / "other/thing.txt").write_text("mine")
    assert cli("run", "line.yaml", *words) == (2, "", error + "\n")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("first", [0, 1, 2, 3, 7])
def test_batches_go_on_in_the_middle_of_an_epoch(first):
    every = list(islice(batches(3, 10, 3, 0), 12))
    later = list(islice(batches(3, 10, 3, first), 12 - first))
    np.testing.assert_array_equal(every[first:], later)


@pytest.mark.slow
def test_killed_twice_it_ends_the_same():
    """The short form of `python -m tests.crashes --kills 50`."""
    found = crashes.crash(kills=2, steps=45, seed=1, longest=0.02)
    assert found["kills"] == 2
    assert found["same_lines"]
    assert found["same_state"]
    assert found["same_best"]
