"""A small convolutional network."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, MinLen
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import ACTIVATIONS, Activation, Params, dense, dense_init


@dataclass(frozen=True)
class Convnet:
    """3 x 3 convolutions, each but the first halving the image, then one dense layer.

    Attributes:
      channels: number of channels after each convolution.
      activation: what follows each convolution.
    """

    channels: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (16, 32, 64)
    activation: Activation = "relu"

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...], outputs: int) -> Params:
        """Returns fresh parameters for images of `shape` (height, width)."""
        height, width = shape
        for _ in self.channels[1:]:
            height, width = -(-height // 2), -(-width // 2)
        key, *keys = jax.random.split(key, len(self.channels) + 1)
        layers = zip(keys, (1, *self.channels[:-1]), self.channels, strict=True)
        return {
            "convolutions": [_convolution_init(*layer) for layer in layers],
            "head": dense_init(key, height * width * self.channels[-1], outputs),
        }

    def apply(
        self,
        params: Params,
        x: Float[Array, "batch height width"],
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "batch outputs"]:
        """Returns the outputs for the images `x`; nothing here is random, `key` is not used."""
        x = x[..., None]
        for index, layer in enumerate(params["convolutions"]):
            x = ACTIVATIONS[self.activation](_convolve(layer, x, stride=2 if index else 1))
        return dense(params["head"], x.reshape(len(x), -1))


def _convolution_init(key: PRNGKeyArray, inputs: int, outputs: int) -> Params:
    """Returns 3 x 3 kernels with variance 2 / fan-in, and a zero bias."""
    scale = (2 / (9 * inputs)) ** 0.5
    return {
        "w": scale * jax.random.normal(key, (3, 3, inputs, outputs)),
        "b": jnp.zeros(outputs),
    }


def _convolve(
    params: Params, x: Float[Array, "batch height width inputs"], stride: int
) -> Float[Array, "batch height_out width_out outputs"]:
    """Returns x convolved with the kernels, plus the bias."""
    return params["b"] + jax.lax.conv_general_dilated(
        x,
        params["w"],
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
