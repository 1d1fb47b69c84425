"""The experiments that come with the project: models, data, and the results that are promised."""

import json
import operator
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments import diabetes, digits
from experiments.labelled import Images
from experiments.models.convnet import Convnet
from experiments.models.mlp import Mlp
from experiments.models.resnet import Resnet
from experiments.models.transformer import Transformer

CONFIGS = Path(__file__).parents[2] / "configs"

MODELS = [
    Mlp(),
    Mlp(hidden=(), activation="tanh"),
    Mlp(hidden=(16, 8), activation="silu", dropout=0.5),
    Convnet(channels=(4,)),
    Convnet(channels=(4, 8, 8, 8), activation="gelu"),
    Resnet(channels=(8, 4), blocks=2),
    Transformer(),
    Transformer(width=6, heads=3, blocks=1, expansion=1),
]

# What each configuration promises for its own seed: at least, or at most.
PROMISED = [
    ("digits_mlp", "accuracy", ">", 0.98),
    ("digits_conv", "accuracy", ">", 0.985),
    ("digits_libraries", "accuracy", ">", 0.94),
    ("diabetes_linear", "r2", ">", 0.5),
    ("fashion_autoencoder", "off", "<", 0.125),
    ("hares_ode", "loss", "<", 0.3),
    ("mnist_vae", "loss", "<", 114.0),
    ("sunspots_gru", "loss", "<", 0.45),
    ("visits_mlp", "explained", ">", 0.09),
]
# The longest are run with PROMISES=all; else their first steps, with what these come to.
LONG = [
    ("digits_transformer", "accuracy", ">", 0.97),
    ("fashion_resnet", "accuracy", ">", 0.84),
    ("shakespeare_lstm", "loss", "<", 1.93),
    ("shakespeare_transformer", "loss", "<", 1.88),
]
BEGUN = [
    ("digits_transformer", "accuracy", ">", 0.92, "training.epochs=null", "training.steps=200"),
    ("fashion_resnet", "accuracy", ">", 0.6, "training.epochs=null", "training.steps=120"),
    ("shakespeare_lstm", "loss", "<", 2.4, "training.steps=100"),
    ("shakespeare_transformer", "loss", "<", 2.9, "training.steps=60"),
]
RUN = PROMISED + (LONG if os.environ.get("PROMISES") == "all" else BEGUN)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS)
def test_a_model_keeps_the_precision_of_its_data(model, precision):
    with jax.enable_x64(precision == "float64"):
        key, batch = jax.random.key(0), Images(jnp.ones((3, 8, 8)), jnp.arange(3))
        params = jax.eval_shape(lambda key: model.init(key, (8, 8), 10), key)
        scores = jax.eval_shape(model.apply, params, batch.image)
        found = jax.eval_shape(lambda *given: digits.loss(*given, model), params, batch, key)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {precision}
    assert (scores.shape, scores.dtype.name) == ((3, 10), precision)
    assert (found.shape, found.dtype.name) == ((), precision)


def test_dropout_needs_a_key():
    model = Mlp(dropout=0.5)
    params, x = model.init(jax.random.key(0), (4,), 2), jnp.ones((5, 4))
    still = [model.apply(params, x) for _ in range(2)]
    moved = [model.apply(params, x, jax.random.key(seed)) for seed in range(2)]
    assert jnp.array_equal(*still)
    assert not jnp.array_equal(*moved)


def test_heads_must_divide_the_width(cli, folder):
    config = str(CONFIGS / "digits_transformer.yaml")
    result = cli("run", config, "model.heads=5")
    assert result.code == 2
    assert result.err.endswith(": model: width 64 is not a multiple of heads 5\n")


def test_the_seed_decides_the_split():
    first, again, other = (digits.data(seed)[1].label for seed in (0, 0, 1))
    assert jnp.array_equal(first, again)
    assert not jnp.array_equal(first, other)


def test_shifts_move_one_pixel_and_leave_the_test_alone():
    (plain, test), (moved, same) = digits.data(0), digits.data(0, shifts=True)
    size = len(plain.label)
    assert len(moved.label) == 5 * size
    assert jnp.array_equal(moved.image[:size], plain.image)
    assert jnp.array_equal(moved.image[2 * size : 3 * size, :-1], plain.image[:, 1:])
    assert jnp.array_equal(test.image, same.image)


def test_training_reaches_the_closed_form(cli, folder):
    """The linear model ends at the least-squares fit, to the last digits of float64."""
    config = str(CONFIGS / "diabetes_linear.yaml")
    assert cli("run", config, "--out", "out", "precision=float64").code == 0
    found = json.loads((folder / "out/summary.json").read_text())
    assert 0 <= found["metrics"]["excess_loss"] < 1e-10


def test_the_optimum_has_no_gradient():
    with jax.enable_x64(True):
        train, _ = diabetes.data(0)
        slope = jax.grad(diabetes.loss)(diabetes.optimum(train), train)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) < 1e-12


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("row", RUN, ids=lambda row: row[0])
def test_a_config_keeps_its_promise(cli, folder, row):
    name, figure, side, bound, *shorter = row
    words = (*shorter, "gradient.graph=false", "--out", "out")  # drawn in test_report, by itself
    assert cli("run", str(CONFIGS / f"{name}.yaml"), *words).code == 0
    found = json.loads((folder / "out/summary.json").read_text())
    within = {">": operator.gt, "<": operator.lt}[side]
    assert within(found["metrics"][figure], bound)
    assert found["gradient_check"]["max_rel"] < 1e-4


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_config_opens_with_what_it_is_for(path):
    text = path.read_text()
    said = ["Question", "Command", "Time", "Result"]
    assert re.findall(r"^# (\w+): ", text, re.MULTILINE) == said
    command = "compare" if "\nfunction:" in text else "run"
    assert f"backprop-jax {command} configs/{path.relative_to(CONFIGS)}" in text
