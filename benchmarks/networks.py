"""What is measured: networks in plain JAX, and the train steps of the four configurations."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from backprop_jax.runner.plan import make_plan
from backprop_jax.runner.task import batches, make_task, take
from backprop_jax.runner.training import make_step, start

CONFIGS = Path(__file__).parents[1] / "configs"

Engine = Callable[..., Callable[..., Any]]
"""Takes a function, returns one that computes its value and gradient."""


class Workload(NamedTuple):
    """A program to run with one engine and the other.

    Attributes:
      loss: the function that is differentiated, in its first argument.
      at: its arguments.
      program: engine → the function that is traced, compiled and timed.
      arguments: its arguments.
    """

    loss: Callable[..., Any]
    at: tuple
    program: Callable[[Engine], Callable[..., Any]]
    arguments: tuple


def gradient(loss: Callable[..., Any], *at: Any) -> Workload:
    """Returns the workload of a loss and its gradient, no optimizer."""
    return Workload(loss, at, lambda engine: engine(loss), at)


def weights(key: int, *shape: int) -> Float[Array, "*shape"]:
    """Returns random weights that keep the size of what they multiply."""
    scale = np.prod(shape[:-1]) ** -0.5
    return scale * jax.random.normal(jax.random.key(key), shape)


def mlp() -> Workload:
    """Three dense layers with tanh, and cross-entropy."""
    widths = (64, 256, 256, 10)
    pairs = pairwise(widths)
    params = [{"w": weights(i, m, n), "b": jnp.zeros(n)} for i, (m, n) in enumerate(pairs)]

    def loss(params: list, x: Array, y: Array) -> Array:
        for layer in params[:-1]:
            x = jnp.tanh(x @ layer["w"] + layer["b"])
        scores = x @ params[-1]["w"] + params[-1]["b"]
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(scores) * y, axis=-1))

    return gradient(loss, params, weights(8, 256, 64), jax.nn.one_hot(np.arange(256) % 10, 10))


def convnet() -> Workload:
    """Four convolutions with relu, two of them halving the image, and a mean."""
    channels = (3, 32, 32, 64, 64)
    pairs = pairwise(channels)
    params = [weights(i, 3, 3, m, n) for i, (m, n) in enumerate(pairs)]

    def loss(params: list, x: Array) -> Array:
        for index, kernel in enumerate(params):
            strides = (1 + index % 2,) * 2
            x = lax.conv_general_dilated(
                x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x)
        return jnp.mean(jnp.square(x))

    return gradient(loss, params, jax.random.normal(jax.random.key(8), (16, 32, 32, 3)))


def lstm() -> Workload:
    """An LSTM over 256 steps, by `lax.scan`."""
    width, inputs, batch, steps = 64, 32, 32, 256
    params = {"w": weights(0, inputs + width, 4 * width), "b": jnp.zeros(4 * width)}

    def loss(params: dict, xs: Array) -> Array:
        def cell(state: tuple, x: Array) -> tuple:
            h, c = state
            gates = jnp.concatenate([x, h], axis=-1) @ params["w"] + params["b"]
            i, f, candidate, o = jnp.split(gates, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(candidate)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((batch, width))
        return jnp.mean(jnp.square(lax.scan(cell, (zeros, zeros), xs)[1]))

    return gradient(loss, params, jax.random.normal(jax.random.key(8), (steps, batch, inputs)))


WIDTH, HEADS, LAYERS = 128, 4, 8


def layer(key: int) -> dict:
    """Returns the parameters of a transformer's layer."""
    return {
        "norms": jnp.ones((2, WIDTH)),
        "attend": weights(key, WIDTH, 3 * WIDTH),
        "merge": weights(key + 1, WIDTH, WIDTH),
        "expand": weights(key + 2, WIDTH, 4 * WIDTH),
        "contract": weights(key + 3, 4 * WIDTH, WIDTH),
    }


def normalised(x: Array, scale: Array) -> Array:
    """Returns x with mean 0 and variance 1 along its last axis, scaled."""
    mean, variance = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * scale


def apply_layer(params: dict, x: Array) -> Array:
    """Returns x after attention and a two-layer perceptron, each added to what it is given."""
    batch, length, _ = x.shape
    each = normalised(x, params["norms"][0]) @ params["attend"]
    q, k, v = jnp.split(each.reshape(batch, length, HEADS, -1), 3, axis=-1)
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(WIDTH // HEADS)
    mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)
    x = x + mixed.reshape(batch, length, WIDTH) @ params["merge"]
    hidden = jax.nn.gelu(normalised(x, params["norms"][1]) @ params["expand"])
    return x + hidden @ params["contract"]


def sequences() -> Array:
    """Returns what the transformers read."""
    return jax.random.normal(jax.random.key(8), (8, 64, WIDTH))


def transformer() -> Workload:
    """A transformer of 8 layers, one after the other in Python."""

    def loss(params: list, x: Array) -> Array:
        for each in params:
            x = apply_layer(each, x)
        return jnp.mean(jnp.square(x))

    return gradient(loss, [layer(4 * i) for i in range(LAYERS)], sequences())


def transformer_scan() -> Workload:
    """The same, the layers stacked and run by `lax.scan`."""

    def loss(params: dict, x: Array) -> Array:
        x, _ = lax.scan(lambda x, each: (apply_layer(each, x), None), x, params)
        return jnp.mean(jnp.square(x))

    layers = [layer(4 * i) for i in range(LAYERS)]
    return gradient(loss, jax.tree.map(lambda *each: jnp.stack(each), *layers), sequences())


def train_step(name: str) -> Workload:
    """Returns the step that `backprop-jax run` compiles for a configuration.

    Here its state is not donated: it is needed again.
    """
    plan = make_plan(CONFIGS / f"{name}.yaml")
    task = make_task(plan)
    state = start(plan, task)
    rows = next(batches(plan.config.seed, task.size, task.batch_size))
    at = (state.params, take(task.train, rows), state.key)

    def program(engine: Engine) -> Callable[..., Any]:
        return make_step(engine, task.loss, plan.optimizer)

    return Workload(task.loss, at, program, (state, task.train, rows))


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "mlp": mlp,
    "convnet": convnet,
    "lstm": lstm,
    "transformer": transformer,
    "transformer_scan": transformer_scan,
    **{
        path.stem: lambda name=path.stem: train_step(name)
        for path in sorted(CONFIGS.glob("*.yaml"))
    },
}
