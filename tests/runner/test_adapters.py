"""Models of other libraries: gradients equal to JAX's, trained from a YAML file, state refused."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backprop_jax as bp
from backprop_jax.errors import ConfigError
from backprop_jax.runner import adapters
from experiments import libraries
from experiments.labelled import Images
from tests.rules.case import assert_close

CONFIG = Path(__file__).parents[2] / "configs/digits_libraries.yaml"

LIBRARY = {"equinox": "equinox", "linen": "flax", "nnx": "flax", "haiku": "haiku"}


def needs(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(LIBRARY[name]) is None
    return pytest.mark.skipif(missing, reason=f"needs the extra {LIBRARY[name]}")


every_library = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(name)) for name in LIBRARY]
)


@pytest.mark.usefixtures("x64")
@every_library
def test_gradient_is_that_of_jax(name):
    batch = Images(jnp.asarray(np.random.default_rng(0).random((3, 8, 8))), jnp.arange(3))
    model, key = libraries.MODELS[name](width=2), jax.random.key(0)
    params = libraries.init(key, batch, model)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}

    def loss(params):
        return libraries.loss(params, batch, key, model)

    ours, theirs = (jax.jit(engine.value_and_grad(loss))(params) for engine in (bp, jax))
    assert_close(jax.tree.leaves(ours), jax.tree.leaves(theirs), 1e-12, "in the order of leaves")


@every_library
def test_it_trains_from_a_file_and_goes_on(cli, folder, name):
    words = ("run", str(CONFIG), f"model.name={name}", "model.width=4", "data.shifts=false")
    short = ("training.epochs=null", "training.eval_every=2", "training.log_every=1")
    every = (*words, *short, "gradient.check_every=0", "checkpoint.every=2")
    assert cli(*every, "--out", "whole", "training.steps=4").code == 0
    assert cli(*every, "--out", "parts", "training.steps=2").code == 0
    assert cli(*every, "--resume", "parts", "training.steps=4").code == 0
    whole, parts = (
        [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    )
    losses = [[one["loss"] for one in lines if one["kind"] == "train"] for lines in (whole, parts)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_a_library_that_is_not_there_is_told_in_the_file(cli, folder, monkeypatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None)
    result = cli("run", str(CONFIG), "model.name=haiku")
    assert result.code == 2
    told = "model: haiku is not installed; pip install 'backprop-jax[haiku]'\n"
    assert result.err.endswith(told)


@needs("equinox")
def test_dropout_of_equinox_needs_a_key():
    nn = adapters.library("equinox").nn
    model = adapters.equinox(lambda key: nn.Dropout(0.5))
    x = jnp.ones((4, 8))
    params = model.init(jax.random.key(0), x)
    assert jnp.array_equal(model.apply(params, x), x)
    drawn = model.apply(params, x, key=jax.random.key(1))
    assert set(np.unique(drawn)) == {0.0, 2.0}
    assert not jnp.array_equal(drawn[0], drawn[1])


@needs("nnx")
def test_dropout_of_flax_needs_a_key():
    nn, both = adapters.library("flax.nnx"), []
    x = jnp.ones((4, 8))
    both.append(adapters.nnx(lambda rngs: nn.Dropout(0.5, rngs=rngs)))
    for model in both:
        params = model.init(jax.random.key(0), x)
        assert jnp.array_equal(model.apply(params, x), x)
        drawn = [model.apply(params, x, key=jax.random.key(seed)) for seed in (1, 1, 2)]
        assert set(np.unique(drawn[0])) == {0.0, 2.0}
        assert jnp.array_equal(drawn[0], drawn[1])
        assert not jnp.array_equal(drawn[0], drawn[2])


STATEFUL = {
    "equinox": lambda: adapters.equinox(
        lambda key: adapters.library("equinox").nn.BatchNorm(3, "batch", mode="ema")
    ),
    "linen": lambda: adapters.linen(
        adapters.library("flax.linen").BatchNorm(use_running_average=False)
    ),
    "nnx": lambda: adapters.nnx(lambda rngs: adapters.library("flax.nnx").BatchNorm(3, rngs=rngs)),
    "haiku": lambda: adapters.haiku(
        lambda x: adapters.library("haiku").BatchNorm(True, True, 0.9)(x, is_training=True)
    ),
}


@every_library
def test_a_model_with_more_than_parameters_is_refused(name):
    with pytest.raises(ConfigError, match="keeps more than parameters: "):
        STATEFUL[name]().init(jax.random.key(0), jnp.ones((2, 3)))
