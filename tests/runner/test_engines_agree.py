"""The engine is switched and nothing else: the first 100 losses are the same with either."""

import json
from pathlib import Path

import numpy as np
import pytest

CONFIGS = Path(__file__).parents[2] / "configs"

STEPS = 100
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}

NAMES = [
    "digits_mlp",
    "diabetes_linear",
    pytest.param("digits_conv", marks=pytest.mark.slow),
    pytest.param("digits_libraries", marks=pytest.mark.slow),
    pytest.param("digits_transformer", marks=pytest.mark.slow),
    pytest.param("fashion_autoencoder", marks=pytest.mark.slow),
    pytest.param("fashion_resnet", marks=pytest.mark.slow),
    pytest.param("hares_ode", marks=pytest.mark.slow),
    pytest.param("mnist_vae", marks=pytest.mark.slow),
    pytest.param("shakespeare_lstm", marks=pytest.mark.slow),
    pytest.param("shakespeare_transformer", marks=pytest.mark.slow),
    pytest.param("sunspots_gru", marks=pytest.mark.slow),
    pytest.param("visits_mlp", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", NAMES)
def test_the_first_losses_agree(cli, folder, name, precision):
    config = str(CONFIGS / f"{name}.yaml")
    every = ("log_every=1", f"steps={STEPS}", f"eval_every={STEPS}")
    given = [f"precision={precision}", *(f"training.{setting}" for setting in every)]
    ours, theirs = (
        _losses(cli, folder, config, engine, given) for engine in ("backprop_jax", "jax")
    )
    assert len(ours) == STEPS
    assert np.max(np.abs(ours - theirs) / np.abs(theirs)) <= TOLERANCE[precision]


def test_all_configs_are_tested():
    names = {getattr(name, "values", (name,))[0] for name in NAMES}
    runs = {p.stem for p in CONFIGS.glob("*.yaml") if "\nexperiment:" in p.read_text()}
    assert names == runs


def _losses(cli, folder, config, engine, given):
    """Returns the loss of each step."""
    words = ("run", config, f"gradient.engine={engine}", "gradient.check_every=0", *given)
    assert cli(*words, "--out", engine).code == 0
    lines = (folder / engine / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return np.array([record["loss"] for record in records if record["kind"] == "train"])
