"""The engine is switched and nothing else: the first losses are the same with either.

What takes long to compile is tried with PROMISES=all in the environment. `test_experiments` has
each of these checked against jax.grad at its first step.
"""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.quick import compiled_quickly

CONFIGS = Path(__file__).parents[2] / "configs"

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}

# In how many steps. In float32 the last digit of a step decides the first ones of later steps, the
# sooner the deeper the network; where one precision is enough to tell, it is the longer one.
BOTH = ("float32", "float64")
CASES = {
    "digits_mlp": (100, BOTH),
    "diabetes_linear": (100, BOTH),
    "digits_conv": (100, BOTH),
    "digits_transformer": (100, BOTH),
    "visits_mlp": (100, BOTH),
    "digits_libraries": (20, ("float64",)),
    "fashion_autoencoder": (20, ("float64",)),
    "fashion_resnet": (5, ("float64",)),
    "hares_ode": (20, ("float64",)),
    "mnist_vae": (20, ("float64",)),
    "shakespeare_lstm": (5, ("float64",)),
    "shakespeare_transformer": (5, ("float64",)),
    "sunspots_gru": (20, ("float64",)),
}
FAST = {"digits_mlp", "diabetes_linear"}
LONG = {"fashion_autoencoder", "fashion_resnet", "shakespeare_lstm", "shakespeare_transformer"}
WORK = {"digits_conv", "digits_transformer", *LONG}
"""Their steps take longer than compiling them does."""

ROWS = [
    pytest.param(name, steps, precision, marks=[pytest.mark.slow] if name not in FAST else [])
    for name, (steps, precisions) in CASES.items()
    for precision in precisions
    if name not in LONG or os.environ.get("PROMISES") == "all"
]


@pytest.mark.parametrize(("name", "steps", "precision"), ROWS)
def test_the_first_losses_agree(cli, folder, name, steps, precision):
    config = str(CONFIGS / f"{name}.yaml")
    every = ("log_every=1", f"steps={steps}", f"eval_every={steps}")
    given = [f"precision={precision}", *(f"training.{setting}" for setting in every)]
    with contextlib.nullcontext() if name in WORK else compiled_quickly():
        ours, theirs = (
            _losses(cli, folder, config, engine, given) for engine in ("backprop_jax", "jax")
        )
    assert len(ours) == steps
    assert np.max(np.abs(ours - theirs) / np.abs(theirs)) <= TOLERANCE[precision]


def test_all_configs_are_tested():
    runs = {p.stem for p in CONFIGS.glob("*.yaml") if "\nexperiment:" in p.read_text()}
    assert set(CASES) == runs


def _losses(cli, folder, config, engine, given):
    """Returns the loss of each step."""
    words = ("run", config, f"gradient.engine={engine}", "gradient.check_every=0", *given)
    assert cli(*words, "--out", engine).code == 0
    lines = (folder / engine / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return np.array([record["loss"] for record in records if record["kind"] == "train"])
