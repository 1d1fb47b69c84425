"""Kills a run at random moments, resumes it each time, and compares it with one left alone.

    python -m tests.crashes --kills 50

Parameters, optimizer, random key and every line of metrics must come out the same to the last bit;
only what says how long something took may differ. Each part of the run is a process of its own,
ended by SIGKILL; its checkpoints come so often that many kills meet one half written.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from backprop_jax.cli import main as command_line
from backprop_jax.runner.keeper import checkpoints

EXPERIMENT = '''
"""A wave, by a small network with dropout, so that the random key matters."""

import jax
import jax.numpy as jnp


def data(seed: int):
    x = jnp.linspace(-1, 1, 96)[:, None]
    return (x, jnp.sin(7 * x)), (x[::5], jnp.sin(7 * x[::5]))


def init(key):
    keys = jax.random.split(key)
    return [jax.random.normal(k, s) for k, s in zip(keys, [(1, 8), (8, 1)], strict=True)]


def loss(params, batch, key):
    x, y = batch
    hidden = jnp.tanh(x @ params[0])
    kept = jax.random.bernoulli(key, 0.9, hidden.shape)
    return jnp.mean((jnp.where(kept, hidden, 0) @ params[1] - y) ** 2)
'''

RECIPE = """\
experiment: wave.py
optimizer: {{name: adam, learning_rate: 1e-2}}
training: {{steps: {steps}, batch_size: 20, log_every: 7, eval_every: 50}}
gradient: {{check_every: 300}}
checkpoint: {{every: 3, keep: 2, best: loss}}
"""

START = multiprocessing.get_context("forkserver")


def leg(folder: str, *words: str) -> None:
    """Runs the command in a process of its own, its lines in `said.txt`."""
    os.chdir(folder)
    with open("said.txt", "a") as said, redirect_stdout(said):
        sys.exit(command_line(["run", "wave.yaml", *words]))


def killed(folder: Path, words: list[str], seconds: float, *, early: bool) -> bool:
    """Starts the run and kills it some time after its next checkpoint; says whether it was alive.

    Args:
      folder: of the experiment.
      words: for the command.
      seconds: how long after.
      early: counts from the start of the process instead, so that it may still be compiling.
    """
    before = checkpoints(folder / "killed")
    process = START.Process(target=leg, args=(str(folder), *words))
    process.start()
    while not early and process.is_alive() and checkpoints(folder / "killed") == before:
        time.sleep(0.001)
    process.join(seconds)
    if alive := process.is_alive():
        process.kill()
    process.join()
    return alive


def whole_run(folder: Path, *words: str) -> None:
    """Lets the run go to its end."""
    process = START.Process(target=leg, args=(str(folder), *words))
    process.start()
    process.join()
    assert process.exitcode == 0, (folder / "said.txt").read_text()


def lines(run: Path) -> list[dict[str, object]]:
    """Returns what metrics.jsonl says, but for times."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: x for key, x in one.items() if "seconds" not in key} for one in records]


def arrays(path: Path) -> dict[str, str]:
    """Returns the checksum of every array of a checkpoint, by its place."""
    with np.load(path) as archive:
        about = json.loads(bytes(archive["about"]))
    return {leaf["place"]: leaf["sha256"] for leaf in about["leaves"]}


def crash(kills: int, steps: int, seed: int, longest: float) -> dict[str, object]:
    """Returns how often a run was killed and what of it differs from the run left alone.

    Args:
      kills: how many.
      steps: of the run; if it ends before all kills are done, fewer are counted.
      seed: of the moments.
      longest: the longest time, in seconds, from a leg's first checkpoint to its kill.
    """
    moments = random.Random(seed)
    START.set_forkserver_preload(["tests.crashes"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wave.py").write_text(EXPERIMENT)
        (folder / "wave.yaml").write_text(RECIPE.format(steps=steps))
        whole_run(folder, "--out", "alone")
        done, halves, words = 0, 0, ["--out", "killed"]
        while done < kills:
            early = done % 5 == 4
            if not killed(folder, words, moments.uniform(0, longest * (1 + early)), early=early):
                break
            halves += len(list(folder.glob("killed/checkpoints/.*")))
            done, words = done + 1, ["--resume", "killed"]
        whole_run(folder, *words)
        alone, other = folder / "alone", folder / "killed"
        ends = [arrays(checkpoints(run)[-1]) for run in (alone, other)]
        bests = [arrays(run / "checkpoints/best.npz") for run in (alone, other)]
        return {
            "kills": done,
            "resumed": json.loads((other / "summary.json").read_text())["resumed"],
            "met_half_written": halves,
            "lines": len(lines(alone)),
            "same_lines": lines(alone) == lines(other),
            "same_state": ends[0] == ends[1],
            "same_best": bests[0] == bests[1],
        }


def main() -> int:
    """Runs the test from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.4, help="seconds until a kill, at most")
    given = parser.parse_args()
    found = crash(given.kills, given.steps, given.seed, given.longest)
    print(json.dumps(found, indent=2))
    same = all(found[key] for key in ("same_lines", "same_state", "same_best"))
    return 0 if same and found["kills"] == given.kills else 1


if __name__ == "__main__":
    sys.exit(main())
