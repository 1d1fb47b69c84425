"""A residual convolutional network for small images."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, MinLen
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import (
    Params,
    convolution,
    convolution_init,
    dense,
    dense_init,
    group_norm,
    norm_init,
)


@dataclass(frozen=True)
class Resnet:
    """A strided convolution, stages of residual blocks that halve the image, mean over places.

    A block is x + conv(relu(norm(conv(relu(norm(x)))))), normalised before each convolution.
    Groups of channels are normalised in each image by itself, not over the batch: so a gradient
    needs no state besides the parameters.

    Attributes:
      channels: number of channels in each stage; multiples of `groups`.
      blocks: number of blocks in each stage.
      groups: number of groups of channels that are normalised together.

    Source: He et al. 2016, arXiv:1603.05027; Wu and He 2018, arXiv:1803.08494.
    """

    channels: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (16, 32, 64)
    blocks: Annotated[int, Ge(1)] = 1
    groups: Annotated[int, Ge(1)] = 4

    def __post_init__(self) -> None:
        """Checks what no single setting can tell."""
        for channels in self.channels:
            if channels % self.groups:
                raise ValueError(f"{channels} channels are not a multiple of groups {self.groups}")

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...], outputs: int) -> Params:
        """Returns fresh parameters for images of any `shape` (height, width)."""
        stem, head, *keys = jax.random.split(key, 2 + len(self.channels) * self.blocks)
        first, last = self.channels[0], self.channels[-1]
        widths = [first, *(each for each in self.channels for _ in range(self.blocks))]
        blocks = zip(keys, widths[:-1], widths[1:], strict=True)
        return {
            "stem": convolution_init(stem, 1, first),
            "blocks": [_block_init(*block) for block in blocks],
            "norm": norm_init(last),
            "head": dense_init(head, last, outputs, gain=1.0),
        }

    def apply(
        self,
        params: Params,
        x: Float[Array, "batch height width"],
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "batch outputs"]:
        """Returns the outputs for the images `x`; nothing here is random, `key` is not used."""
        x = convolution(params["stem"], x[..., None], stride=2)
        for index, block in enumerate(params["blocks"]):
            x = self._block(block, x, stride=2 if index and index % self.blocks == 0 else 1)
        x = jax.nn.relu(group_norm(params["norm"], x, self.groups))
        return dense(params["head"], jnp.mean(x, axis=(1, 2)))

    def _block(
        self, params: Params, x: Float[Array, "batch height width channels"], stride: int
    ) -> Float[Array, "batch height_out width_out channels_out"]:
        """Returns x plus what two convolutions add; where the shape changes, x is projected."""
        inner = jax.nn.relu(group_norm(params["norm_in"], x, self.groups))
        passed = convolution(params["project"], inner, stride) if "project" in params else x
        inner = convolution(params["in"], inner, stride)
        inner = jax.nn.relu(group_norm(params["norm_out"], inner, self.groups))
        return passed + convolution(params["out"], inner)


def _block_init(key: PRNGKeyArray, inputs: int, outputs: int) -> Params:
    """Returns fresh parameters for a block; its last convolution is small, so it begins as x."""
    first, second, project = jax.random.split(key, 3)
    params = {
        "norm_in": norm_init(inputs),
        "in": convolution_init(first, inputs, outputs),
        "norm_out": norm_init(outputs),
        "out": convolution_init(second, outputs, outputs, gain=0.02),
    }
    if inputs != outputs:
        params["project"] = convolution_init(project, inputs, outputs, size=1, gain=1.0)
    return params
