"""A small transformer encoder that reads an image as the sequence of its rows."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import Params, dense, dense_init, layer_norm, norm_init


@dataclass(frozen=True)
class Transformer:
    """Rows embedded, pre-norm blocks of attention and a two-layer perceptron, mean over rows.

    Attributes:
      width: length of the vector that stands for a row; a multiple of `heads`.
      heads: number of attention heads.
      blocks: number of blocks.
      expansion: width of a block's hidden layer, in units of `width`.

    Source: Vaswani et al. 2017, arXiv:1706.03762; norm before each part as in Xiong et al. 2020,
    arXiv:2002.04745.
    """

    width: Annotated[int, Ge(1)] = 64
    heads: Annotated[int, Ge(1)] = 4
    blocks: Annotated[int, Ge(1)] = 2
    expansion: Annotated[int, Ge(1)] = 4

    def __post_init__(self) -> None:
        """Checks what no single setting can tell."""
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...], outputs: int) -> Params:
        """Returns fresh parameters for images of `shape` (rows, columns)."""
        rows, columns = shape
        embed, position, head, *blocks = jax.random.split(key, self.blocks + 3)
        return {
            "embed": dense_init(embed, columns, self.width, gain=1.0),
            "position": 0.02 * jax.random.normal(position, (rows, self.width)),
            "blocks": [self._block_init(block) for block in blocks],
            "norm": norm_init(self.width),
            "head": dense_init(head, self.width, outputs, gain=1.0),
        }

    def apply(
        self, params: Params, x: Float[Array, "batch rows columns"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch outputs"]:
        """Returns the outputs for the images `x`; nothing here is random, `key` is not used."""
        x = dense(params["embed"], x) + params["position"]
        for block in params["blocks"]:
            x = x + self._attend(block, layer_norm(block["norm_before_attention"], x))
            hidden = jax.nn.gelu(dense(block["expand"], layer_norm(block["norm_before_mlp"], x)))
            x = x + dense(block["contract"], hidden)
        return dense(params["head"], jnp.mean(layer_norm(params["norm"], x), axis=1))

    def _block_init(self, key: PRNGKeyArray) -> Params:
        """Returns fresh parameters for one block."""
        attend, merge, expand, contract = jax.random.split(key, 4)
        wide = self.width * self.expansion
        return {
            "norm_before_attention": norm_init(self.width),
            "attend": dense_init(attend, self.width, 3 * self.width, gain=1.0),
            "merge": dense_init(merge, self.width, self.width, gain=1.0 / self.blocks),
            "norm_before_mlp": norm_init(self.width),
            "expand": dense_init(expand, self.width, wide),
            "contract": dense_init(contract, wide, self.width, gain=1.0 / self.blocks),
        }

    def _attend(
        self, params: Params, x: Float[Array, "batch rows width"]
    ) -> Float[Array, "batch rows width"]:
        """Returns softmax(q kᵀ / √d) v for each head, the heads merged."""
        size = self.width // self.heads
        each = dense(params["attend"], x).reshape(*x.shape[:2], 3, self.heads, size)
        query, key, value = jnp.moveaxis(each, 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / size**0.5
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
        return dense(params["merge"], mixed.reshape(x.shape))
