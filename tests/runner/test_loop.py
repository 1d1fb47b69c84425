"""What the loop does besides a step: averages, precisions, limits, looks at what was kept back."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from backprop_jax.runner.keeper import checkpoints
from backprop_jax.runner.mixed import Scale, adjusted
from backprop_jax.runner.schema import Training
from backprop_jax.runner.state import State
from backprop_jax.runner.training import make_step
from tests import crashes
from tests.runner.conftest import LINE
from tests.runner.test_resume import lose_power, meeting, same

ALL = """\
experiment: line.py
optimizer: {name: adam, learning_rate: 0.1, clip_norm: 0.5, accumulate: 2}
training:
  {steps: 20, batch_size: 8, log_every: 3, eval_every: 5, ema: 0.8, compute: float16,
   loss_scale: dynamic, validation_fraction: 0.25, patience: 9}
gradient: {example_norms_every: 6}
checkpoint: {every: 4, best: loss}
"""


def test_all_of_it_goes_on_to_the_last_bit(cli, folder, monkeypatch):
    (folder / "all.yaml").write_text(ALL)
    assert cli("run", "all.yaml", "--out", "alone").code == 0
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no power"):
        meeting(patch, 15, lose_power)
        cli("run", "all.yaml", "--out", "out")
    result = cli("run", "all.yaml", "--resume", "out")
    assert "--resume out: goes on from step 12 of 20\n" in result.out
    assert same(folder / "alone", folder / "out")
    places = crashes.arrays(checkpoints(folder / "out")[-1])
    assert {".ema['slope']", ".scale.factor", ".scale.good"} < set(places)
    kinds = [line["kind"] for line in crashes.lines(folder / "out")]
    assert [kinds.count(kind) for kind in ("validation", "test", "example_norms")] == [4, 4, 4]


def slope(folder, cli, *words):
    """Returns the slope that the test part is looked at with."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    assert cli("run", "line.yaml", "--out", "out", "training.steps=2", *words).code == 0
    return json.loads((folder / "out/summary.json").read_text())["metrics"]["slope"]


def test_small_batches_add_up_and_averages_lag(cli, folder):
    whole = slope(folder, cli, "training.batch_size=32", "training.steps=1")
    parts = slope(folder, cli, "training.batch_size=16", "optimizer.accumulate=2")
    lagging = slope(
        folder, cli, "training.batch_size=16", "optimizer.accumulate=2", "training.ema=0.75"
    )
    assert parts == pytest.approx(whole, rel=1e-6)
    assert lagging == pytest.approx(0.25 * whole, rel=1e-6)
    short = slope(
        folder,
        cli,
        "training.steps=1",
        "optimizer={name: sgd, learning_rate: 1.0, clip_norm: 0.01}",
    )
    assert 0 < short <= 0.01


def test_no_better_figure_ends_a_run(cli, folder):
    words = ("optimizer.learning_rate=0.0", "checkpoint.best=loss", "training.patience=2")
    result = cli("run", "line.yaml", "--out", "out", *words, "training.eval_every=3")
    assert result.code == 0
    assert "completed: 9 steps in " in result.out
    assert "why:        completed early: no better loss since step 3\n" in result.out
    assert checkpoints(folder / "out")[-1].name == "step-00000009.npz"
    before = crashes.lines(folder / "out")
    again = cli("run", "line.yaml", "--resume", "out", *words, "training.eval_every=3")
    assert (again.code, crashes.lines(folder / "out")) == (0, before)
    assert "completed early: no better loss since step 3\n" in again.out


@pytest.mark.parametrize(
    ("gradient", "factor", "taken", "after"),
    [(1.0, 8.0, True, 8.0), (np.inf, 8.0, False, 4.0), (np.nan, 1.0, True, 1.0)],
)
def test_the_scale_is_what_the_gradients_allow(gradient, factor, taken, after):
    scale = Scale(jnp.float32(factor), jnp.int32(5))
    good, scale = adjusted(scale, {"w": jnp.array([1.0, gradient])})
    assert (bool(good), float(scale.factor)) == (taken, after)
    assert int(scale.good) == (6 if np.isfinite(gradient) else 0)


def test_after_many_good_steps_the_scale_is_doubled():
    _, scale = adjusted(Scale(jnp.float32(8.0), jnp.int32(1999)), jnp.ones(2))
    assert (float(scale.factor), int(scale.good)) == (16.0, 0)


def test_each_example_has_a_gradient_of_its_own(cli, folder):
    assert cli(
        "run", "line.yaml", "--out", "out", "training.steps=1", "training.batch_size=null",
        "gradient.example_norms_every=1",
    ).code == 0  # fmt: skip
    found = next(line for line in crashes.lines(folder / "out") if "norms" in line["kind"])
    x = np.linspace(-1, 1, 64)
    norms = np.abs(2 * (3 * x + 1)) * np.hypot(x, 1)
    assert found["max"] == pytest.approx(norms.max(), rel=1e-5)
    assert found["mean"] == pytest.approx(norms.mean(), rel=1e-5)


def test_the_parameters_stay_in_the_precision_of_the_run(cli, folder):
    """The gradients of bfloat16, three digits of them, in float32."""
    rough = slope(folder, cli, "training.compute=bfloat16")
    kinds = np.load(checkpoints(folder / "out")[-1])
    assert {kinds[key].dtype.name for key in ("0", "1")} == {"float32"}
    fine = slope(folder, cli)
    assert 0 < abs(rough / fine - 1) < 1e-2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["training.patience=2"], "training.patience needs checkpoint.best, the figure to watch"),
        (["training.loss_scale=8.0"], "loss_scale goes with compute: float16 or bfloat16"),
        (
            ["training.label_smoothing=0.1"],
            "command line: training.label_smoothing: the loss of line.py does not ask for it: ",
        ),
        (["training.validation_fraction=0.001"], "training.validation_fraction: 0 of 64 examples"),
    ],
)
def test_what_does_not_go_together_is_refused(cli, folder, words, error):
    result = cli("run", "line.yaml", *words)
    assert result.code == 2
    assert error in result.err
    assert not (folder / "runs").exists()


def test_smoothing_is_given_to_a_loss_that_asks(cli, folder):
    asks = LINE.replace("def loss(params, batch):", "def loss(params, batch, label_smoothing=9):")
    asks = asks.replace("return jnp.mean((params", "return label_smoothing + jnp.mean((params")
    (folder / "line.py").write_text(
        asks.replace('"loss": loss(params, batch)', '"loss": loss(params, batch, 0)')
    )
    plain = slope(folder, cli)
    assert plain == slope(folder, cli, "training.label_smoothing=0.5")
    lines = crashes.lines(folder / "out")
    assert lines[1]["loss"] > 0.5


def test_a_step_that_is_left_out_moves_nothing_but_the_scale():
    def engine(_):
        return lambda params, batch, key: (jnp.float32(1), {"w": jnp.array([jnp.inf])})

    optimizer = optax.sgd(1.0, momentum=0.9)
    params, ema = {"w": jnp.array([3.0])}, {"w": jnp.array([1.0])}
    scale = Scale(jnp.float32(8.0), jnp.int32(5))
    before = State(params, optimizer.init(params), jnp.int32(0), jax.random.key(0), ema, scale)
    training = Training(steps=1, ema=0.5, compute="float16", loss_scale="dynamic")
    step = make_step(engine, lambda *_: 0.0, optimizer, None, training)
    after, _ = step(before, jnp.zeros(4), np.arange(2))
    assert after.scale == (4.0, 0)
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before[:2], after[:2])
    assert not any(jax.tree.leaves((moved, after.ema["w"] != ema["w"])))
