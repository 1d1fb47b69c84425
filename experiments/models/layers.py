"""The pieces that the models share: dense, convolution, normalisation, activations, dropout."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Params = Any
"""A pytree of arrays: nested dictionaries and lists."""

Activation = Literal["relu", "gelu", "silu", "tanh"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


def dense_init(key: PRNGKeyArray, inputs: int, outputs: int, gain: float = 2.0) -> Params:
    """Returns a weight with variance gain / inputs, and a zero bias.

    Source: He et al. 2015, arXiv:1502.01852, section 2.2, for gain = 2.
    """
    scale = (gain / inputs) ** 0.5
    return {"w": scale * jax.random.normal(key, (inputs, outputs)), "b": jnp.zeros(outputs)}


def dense(params: Params, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
    """Returns x w + b."""
    return x @ params["w"] + params["b"]


def convolution_init(
    key: PRNGKeyArray, inputs: int, outputs: int, size: int = 3, gain: float = 2.0
) -> Params:
    """Returns square kernels with variance gain / fan-in, and a zero bias."""
    scale = (gain / (size * size * inputs)) ** 0.5
    return {
        "w": scale * jax.random.normal(key, (size, size, inputs, outputs)),
        "b": jnp.zeros(outputs),
    }


def convolution(
    params: Params, x: Float[Array, "batch height width inputs"], stride: int = 1
) -> Float[Array, "batch height_out width_out outputs"]:
    """Returns x convolved with the kernels, plus the bias; zeros stand around x."""
    return params["b"] + jax.lax.conv_general_dilated(
        x,
        params["w"],
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def norm_init(width: int) -> Params:
    """Returns a scale of one and a shift of zero."""
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def layer_norm(params: Params, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
    """Returns x with mean 0 and variance 1 along its last axis, scaled and shifted.

    Source: Ba et al. 2016, arXiv:1607.06450.
    """
    return _standard(x, -1) * params["scale"] + params["shift"]


def group_norm(
    params: Params, x: Float[Array, "batch height width channels"], groups: int
) -> Float[Array, "batch height width channels"]:
    """Returns x with mean 0 and variance 1 over each group of channels, scaled and shifted.

    Source: Wu and He 2018, arXiv:1803.08494.
    """
    apart = x.reshape(*x.shape[:-1], groups, -1)
    together = _standard(apart, (1, 2, 4)).reshape(x.shape)
    return together * params["scale"] + params["shift"]


def dropout(key: PRNGKeyArray, x: Float[Array, "*shape"], rate: float) -> Float[Array, "*shape"]:
    """Returns x with each element zeroed with probability `rate`, the others scaled to make up."""
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


def _standard(x: Float[Array, "*shape"], axis: int | tuple[int, ...]) -> Float[Array, "*shape"]:
    """Returns x with mean 0 and variance 1 along axes."""
    centred = x - jnp.mean(x, axis=axis, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=axis, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5)
