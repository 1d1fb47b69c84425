"""Hooks from a configuration: what they make of a cotangent, and what is told of wrong ones."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from backprop_jax.runner.hooks import hook_of

MINE = """
def none(g):
    return 0 * g

def shorter(g):
    return g[1:]
"""


@pytest.fixture
def trained(cli, folder):
    """Returns a function that trains with a hook; it gives the figures of the test part."""
    (folder / "mine.py").write_text(MINE)

    def train(out, *words, command="run"):
        result = cli(command, "line.yaml", "--out", out, *words)
        assert result.code == 0, result.err
        path = sorted((folder / out).rglob("summary.json"))[-1]
        return json.loads(path.read_text())["metrics"]

    return train


def test_a_hook_stands_where_a_step_does(trained):
    """All that flows to the slope passes the only product; one hook stops it, one turns it."""
    stopped = trained("stopped", "gradient.hooks={mul: mine.py:none}")
    assert stopped["slope"] == 0
    assert stopped["loss"] < trained("begun", "training.steps=1")["loss"]
    turned = trained("turned", "gradient.hooks={mul: reverse}")
    assert turned["slope"] < 0 < trained("plain")["slope"]


def test_hooks_are_in_the_record_and_for_many_runs_at_once(trained, folder, cli):
    words = ("gradient.hooks.mul.scale=0.5", "gradient.check_every=10")
    alone = trained("alone", *words)
    assert "hooks:\n    mul: {scale: 0.5}" in (folder / "alone/config.yaml").read_text()
    checks = [
        json.loads(line)["max_rel"]
        for line in (folder / "alone/metrics.jsonl").read_text().splitlines()
        if "gradient_check" in line
    ]
    assert checks and max(checks) < 1e-5, "the engines are compared without hooks"
    sweep = (*words, "optimizer.learning_rate=0.2,0.1", "--vectorised")
    assert trained("many", *sweep, command="sweep") == pytest.approx(alone, rel=1e-5)
    result = cli("run", "line.yaml", "--resume", "alone", "training.steps=30")
    assert "changed:    gradient.hooks.mul.scale: 0.5 → not set" in result.out


@pytest.mark.parametrize(
    ("hooks", "error"),
    [
        ("{mull: reverse}", "command line: gradient.hooks.mull: no step is named 'mull'."),
        (
            "{mul: mine.py:shorter}",
            "command line: gradient.hooks.mul: a hook takes and returns float32[16] here, but "
            "returned float32[15].",
        ),
    ],
)
def test_a_hook_that_cannot_stand_there_is_told_before_anything_is_written(
    cli, folder, hooks, error
):
    (folder / "mine.py").write_text(MINE)
    result = cli("run", "line.yaml", "--out", "out", f"gradient.hooks={hooks}")
    assert (result.code, result.err.splitlines()[0]) == (2, error)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("reverse", [-3.0, 4.0]),
        ({"scale": 0.5}, [1.5, -2.0]),
        ({"clip": 3.5}, [3.0, -3.5]),
        ({"clip_norm": 1}, [0.6, -0.8]),
        ({"clip_norm": 6}, [3.0, -4.0]),
    ],
)
def test_what_a_hook_makes_of_a_cotangent(said, made):
    found = hook_of(said, load=None)(jnp.array([3.0, -4.0]))
    np.testing.assert_allclose(found, made, rtol=1e-6)
