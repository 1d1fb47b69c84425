"""A small convolutional network."""

from dataclasses import dataclass
from typing import Annotated

import jax
from annotated_types import Ge, MinLen
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import (
    ACTIVATIONS,
    Activation,
    Params,
    convolution,
    convolution_init,
    dense,
    dense_init,
)


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
            "convolutions": [convolution_init(*layer) for layer in layers],
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
            x = ACTIVATIONS[self.activation](convolution(layer, x, stride=2 if index else 1))
        return dense(params["head"], x.reshape(len(x), -1))
