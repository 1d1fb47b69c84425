"""The models of the experiments: gradients equal to JAX's, in double precision, in small shapes."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backprop_jax as bp
from experiments import autoencoder, hares, images, series, table, text
from experiments.models.autoencoder import Autoencoder, Vae
from experiments.models.flow import Flow
from experiments.models.language import Decoder, Reader, continued
from experiments.models.mlp import Mlp
from experiments.models.recurrent import Recurrent
from experiments.models.resnet import Resnet
from tests.rules.case import assert_close

RNG = np.random.default_rng(3)

IMAGES = images.Images(RNG.random((2, 4, 4)), np.arange(2))
PICTURES = autoencoder.Pictures(IMAGES.image)
TEXT = text.Text(*RNG.integers(0, 256, (2, 2, 5)).astype(np.uint8))
YEARS = hares.Years(RNG.normal(size=(2, 3, 2)))
STRETCHES = series.Stretches(*RNG.normal(size=(2, 2, 4, 1)))
COUNTED = table.Counted(RNG.normal(size=(4, 3)), np.array([[0.0], [2], [1], [5]]))

# fmt: off
MODELS: dict[str, tuple[Any, Any, Any]] = {
    "resnet":      (images, Resnet(channels=(2, 4), groups=1), IMAGES),
    "autoencoder": (autoencoder, Autoencoder(code=2, hidden=(5,)), PICTURES),
    "vae":         (autoencoder, Vae(code=2, hidden=(5,)), PICTURES),
    "decoder":     (text, Decoder(width=4, heads=2, blocks=1, expansion=1), TEXT),
    "reader":      (text, Reader(cell="lstm", width=3, embedding=2), TEXT),
    "rk4":         (hares, Flow(hidden=(4,), steps=2), YEARS),
    "gru":         (series, Recurrent(cell="gru", width=3), STRETCHES),
    "counts":      (table, Mlp(hidden=(4,), activation="silu"), COUNTED),
}
# fmt: on


def asked(function: Callable, **given: Any) -> Any:
    """Returns what a function of an experiment returns, given what it asks for."""
    names = inspect.signature(function).parameters
    return function(**{name: value for name, value in given.items() if name in names})


def drawn_like(shapes: Any) -> Any:
    """Returns random parameters in float64; to run `init` would compile each of its draws."""
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * RNG.normal(size=leaf.shape)), shapes)


def prepared(experiment: Any, model: Any, batch: Any) -> tuple[Callable, Any]:
    """Returns the loss as a function of the parameters, and parameters."""
    given = {"batch": batch, "model": model}
    shapes = jax.eval_shape(lambda key: asked(experiment.init, key=key, **given), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float64")}

    def loss(params: Any) -> Any:
        return asked(experiment.loss, params=params, key=jax.random.key(0), **given)

    return loss, drawn_like(shapes)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", MODELS)
def test_gradient_is_that_of_jax(name):
    loss, params = prepared(*MODELS[name])
    ours, theirs = (jax.jit(engine.value_and_grad(loss))(params) for engine in (bp, jax))
    assert_close(jax.tree.leaves(ours), jax.tree.leaves(theirs), 1e-11, "in the order of leaves")


@pytest.mark.usefixtures("x64")
def test_the_gradient_of_the_adaptive_solver_is_the_slope_it_has():
    """JAX has no reverse of it. Steps have no derivative, so the two agree up to the tolerance."""
    loss, params = prepared(hares, Flow(hidden=(4,), solver="adaptive", tolerance=1e-8), YEARS)
    gradient = jax.jit(bp.grad(loss))(params)
    way = jax.tree.map(np.cos, params)
    ours = sum(jax.tree.leaves(jax.tree.map(lambda g, v: jnp.sum(g * v), gradient, way)))
    at = jax.jit(lambda h: loss(jax.tree.map(lambda p, v: p + h * v, params, way)))
    h = 1e-6
    np.testing.assert_allclose(ours, (at(h) - at(-h)) / (2 * h), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_the_solvers_agree():
    params = prepared(hares, ADAPTIVE, YEARS)[1]
    start = YEARS.logs[:, 0]
    fine = Flow(hidden=(8,), steps=32).apply(params, start, 2)
    for model, within in ((Flow(hidden=(8,), steps=8), 1e-5), (ADAPTIVE, 1e-6)):
        np.testing.assert_allclose(model.apply(params, start, 2), fine, atol=within)


ADAPTIVE = Flow(hidden=(8,), solver="adaptive", tolerance=1e-9)


def test_a_decoder_does_not_look_ahead():
    model = Decoder(width=4, heads=2, blocks=1, expansion=1)
    params = drawn_like(jax.eval_shape(lambda key: model.init(key, 6, 9), jax.random.key(0)))
    texts = jnp.array([[1, 2, 3, 4, 5, 6], [1, 2, 3, 8, 8, 8]])
    near, far = jax.jit(model.apply)(params, texts)
    assert jnp.array_equal(near[:3], far[:3])
    assert not jnp.allclose(near[3:], far[3:])


def test_a_text_goes_on_from_what_was_drawn():
    model = Reader(cell="gru", width=4, embedding=2)
    params = drawn_like(jax.eval_shape(lambda key: model.init(key, 3, 5), jax.random.key(0)))
    start, key = jnp.array([1, 2, 3]), jax.random.key(7)
    drawn = jax.jit(lambda start: continued(model, params, start, key, 4, temperature=1e-6))(start)
    told = jnp.concatenate([start, drawn])
    windows = jnp.stack([told[place : place + 3] for place in range(4)])
    assert jnp.array_equal(drawn, jnp.argmax(jax.jit(model.apply)(params, windows)[:, -1], axis=-1))


def test_a_code_drawn_costs_what_the_divergence_is():
    """Against a sum over draws: the mean of log p(code | image) - log p(code)."""
    model = Vae(code=1, hidden=())
    params = {"down": {"layers": [{"w": jnp.zeros((1, 2)), "b": jnp.array([0.7, -0.4])}]}}
    middle, cost = model.encode(params, jnp.zeros((1, 1)))
    spread, drawn = np.exp(-0.4), 0.7 + np.exp(-0.4) * RNG.normal(size=200_000)
    each = drawn**2 / 2 - ((drawn - 0.7) / spread) ** 2 / 2 - np.log(spread)
    assert float(middle[0, 0]) == pytest.approx(0.7)
    assert float(cost[0]) == pytest.approx(each.mean(), abs=0.01)
