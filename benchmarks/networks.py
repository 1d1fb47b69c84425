"""Networks and what they are made of, with a loss each."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from benchmarks.workload import Workload, gradient, normal, weights


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

    return gradient(loss, params, normal(8, 16, 32, 32, 3))


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

    return gradient(loss, params, normal(8, steps, batch, inputs))


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
    return normal(8, 8, 64, WIDTH)


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


def softmax() -> Workload:
    """Cross-entropy over 32,768 classes."""
    labels = np.arange(64) * 500

    def loss(params: Array, x: Array) -> Array:
        scores = jax.nn.log_softmax(x @ params)
        return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=-1))

    return gradient(loss, weights(0, 64, 32768), normal(8, 64, 64))


def embedding() -> Workload:
    """Rows of a table of 20,000, their mean, and cross-entropy."""
    words = jnp.asarray(np.random.default_rng(8).integers(0, 20_000, (64, 128)), "int32")
    labels = jax.nn.one_hot(np.arange(64) % 10, 10)

    def loss(params: dict, words: Array) -> Array:
        scores = jnp.mean(params["table"][words], axis=1) @ params["w"]
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(scores) * labels, axis=-1))

    return gradient(loss, {"table": normal(0, 20_000, 64), "w": weights(1, 64, 10)}, words)


def vae() -> Workload:
    """A variational autoencoder of images of 784 pixels."""
    pairs = {"in": (784, 256), "mean": (256, 16), "log": (256, 16), "up": (16, 256)}
    shapes = {**pairs, "out": (256, 784)}
    params = {name: weights(i, *shape) for i, (name, shape) in enumerate(shapes.items())}

    def loss(params: dict, x: Array, noise: Array) -> Array:
        hidden = jax.nn.relu(x @ params["in"])
        mean, log = hidden @ params["mean"], hidden @ params["log"]
        code = mean + jnp.exp(0.5 * log) * noise
        pixels = jax.nn.relu(code @ params["up"]) @ params["out"]
        missed = jnp.sum(jax.nn.softplus(pixels) - x * pixels, axis=-1)
        spread = 0.5 * jnp.sum(jnp.exp(log) + jnp.square(mean) - 1 - log, axis=-1)
        return jnp.mean(missed + spread)

    images = jax.nn.sigmoid(normal(8, 128, 784))
    return gradient(loss, params, images, normal(9, 128, 16))
