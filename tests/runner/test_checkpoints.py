"""Checkpoints: when they are written, which stay, and that arrays come back as they were."""

import errno
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backprop_jax.errors import CannotWrite
from backprop_jax.runner import folder as run_folder
from backprop_jax.runner import keeper
from backprop_jax.runner.keeper import Keeper, checkpoints, first_facts
from backprop_jax.runner.schema import Checkpoint
from backprop_jax.runner.snapshots import Damaged, DoesNotFit, load, save
from backprop_jax.runner.state import State
from backprop_jax.runner.training import Progress


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (("checkpoint.every=4", "checkpoint.keep=2"), ["step-00000016.npz", "step-00000020.npz"]),
        (("checkpoint.every=4", "checkpoint.keep=1"), ["step-00000020.npz"]),
        (("checkpoint.every=0", "checkpoint.keep=2"), ["step-00000020.npz"]),
        (("checkpoint.minutes=1e-9", "checkpoint.keep=1000"), 20),
        (("checkpoint.keep=0",), []),
        (("checkpoint.best=loss", "checkpoint.keep=0"), ["best.npz"]),
    ],
)
def test_the_newest_stay(cli, folder, given, left):
    cli("run", "line.yaml", "--out", "out", *given)
    names = sorted(path.name for path in (folder / "out/checkpoints").iterdir())
    assert (names if isinstance(left, list) else len(names)) == left


@pytest.mark.parametrize(("which", "step"), [("lowest", 20), ("highest", 5)])
def test_the_best_stays(cli, folder, which, step):
    words = ("training.eval_every=5", "checkpoint.best=loss", f"checkpoint.best_is={which}")
    cli("run", "line.yaml", "--out", "out", *words)
    with np.load(folder / "out/checkpoints/best.npz") as archive:
        facts = json.loads(bytes(archive["about"]))["facts"]
    assert facts["step"] == facts["best"]["step"] == step


def test_the_best_is_a_figure_of_the_test_part(cli, folder):
    error = (
        "command line: checkpoint.best: no figure 'slop' of the test part; did you mean 'slope'?"
    )
    assert cli("run", "line.yaml", "checkpoint.best=slop") == (2, "", error + "\n")
    assert not (folder / "runs").exists()


STATE = {
    "half": jnp.arange(3, dtype=jnp.bfloat16) / 3,
    "none": jnp.zeros((0, 2)),
    "one": jnp.float32(np.pi),
    "flag": jnp.array([True, False]),
    "complex": jnp.array([1j, 2]),
    "key": jax.random.key(3),
    "keys": jax.random.split(jax.random.key(3, impl="rbg"), 4),
}


def test_arrays_come_back_as_they_were(tmp_path):
    save(tmp_path / "a.npz", STATE, {"x": 1})
    found, facts = load(tmp_path / "a.npz", STATE)
    assert facts == {"x": 1}
    for one, two in zip(jax.tree.leaves(STATE), jax.tree.leaves(found), strict=True):
        assert one.dtype == two.dtype
        assert jnp.array_equal(one, two)


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ({"a": jnp.ones(3)}, r"a\.npz has \['a'\] float32\[2\] where the run has \['a'\] float32"),
        ({"a": jnp.ones(2, int)}, r"\['a'\] float32\[2\] where the run has \['a'\] int32\[2\]"),
        ({"a": jnp.ones(2), "b": jnp.ones(2)}, r"a\.npz has 1 arrays, the run has 2"),
        ({"b": jnp.ones(2)}, r"has \['a'\] float32\[2\] where the run has \['b'\] float32\[2\]"),
    ],
)
def test_other_arrays_are_told(tmp_path, template, error):
    save(tmp_path / "a.npz", {"a": jnp.ones(2)}, {})
    with pytest.raises(DoesNotFit, match=error):
        load(tmp_path / "a.npz", template)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", about=np.array([lambda: 0], dtype=object)[:0])
    with pytest.raises(Damaged):
        load(tmp_path / "a.npz", {})


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_damage_is_seen(tmp_path, damage):
    save(tmp_path / "a.npz", STATE, {})
    damage(tmp_path / "a.npz")
    with pytest.raises(Damaged, match=r"a\.npz is not whole"):
        load(tmp_path / "a.npz", STATE)


@pytest.fixture
def kept(tmp_path):
    """A keeper of a run's folder, and the progress of the run after so many steps."""

    def progress(step):
        params = {"w": jnp.full(3, float(step))}
        return Progress(State(params, (), jnp.int32(step), jax.random.key(0)), [], None, 0.0)

    with (
        run_folder.json_lines(tmp_path / "metrics.jsonl") as lines,
        ThreadPoolExecutor(1) as writer,
    ):
        yield Keeper(tmp_path, Checkpoint(), lines, first_facts({}, ""), writer), progress


def test_a_run_goes_on_while_a_checkpoint_is_written(kept, tmp_path, monkeypatch):
    """What is written is what was there when it was saved, though it changes and more is told."""
    keep, progress = kept
    go_on, write = threading.Event(), keeper.write

    def slowly(*given):
        assert go_on.wait(10)
        write(*given)

    monkeypatch.setattr(keeper, "write", slowly)
    numbers = np.ones(3)
    state = progress(4).state._replace(params={"w": numbers})
    keep.save(progress(4)._replace(state=state))
    numbers[:] = 5
    keep._lines.add({"kind": "train", "step": 5})
    assert not checkpoints(tmp_path)
    go_on.set()
    keep.wait()
    found, facts = load(checkpoints(tmp_path)[0], jax.tree.map(jnp.asarray, state))
    assert (found.params["w"] == 1).all()
    assert (facts["step"], facts["metrics_bytes"]) == (4, 0)


def test_what_keeps_a_checkpoint_from_being_written_is_told_at_the_next(kept, monkeypatch):
    keep, progress = kept

    def full(*_):
        raise CannotWrite("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "write", full)
        keep.save(progress(1))
        with pytest.raises(CannotWrite, match="the disk is full"):
            keep.save(progress(2))
    keep.save(progress(3))
    with keep:
        pass
    assert [path.name for path in keep._folder.iterdir()] == ["step-00000003.npz"]


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "let it be written there"),
        (errno.ENOENT, "put the folder back, which is gone"),
        (errno.EIO, "mend that"),
    ],
)
def test_says_what_helps_against_this_error(number, first):
    text = (
        f"cannot write a.npz: {os.strerror(number)}\n  written at: out\n  to go on:   {first}, or"
    )
    with pytest.raises(CannotWrite, match=re.escape(text)):
        with run_folder.writing(Path("out/a.npz"), run_folder.ELSEWHERE):
            raise OSError(number, os.strerror(number))
