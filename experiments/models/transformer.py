"""A small transformer encoder that reads an image as the sequence of its rows."""

from collections.abc import Sequence
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
            "blocks": blocks_init(blocks, self.width, self.expansion),
            "norm": norm_init(self.width),
            "head": dense_init(head, self.width, outputs, gain=1.0),
        }

    def apply(
        self, params: Params, x: Float[Array, "batch rows columns"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch outputs"]:
        """Returns the outputs for the images `x`; nothing here is random, `key` is not used."""
        x = dense(params["embed"], x) + params["position"]
        for block in params["blocks"]:
            x = transform(block, x, self.heads)
        return dense(params["head"], jnp.mean(layer_norm(params["norm"], x), axis=1))


def blocks_init(keys: Sequence[PRNGKeyArray], width: int, expansion: int) -> list[Params]:
    """Returns fresh parameters for a block for each key; what each adds is small if they are many.

    Args:
      keys: one for each block.
      width: length of the vectors.
      expansion: width of the hidden layer, in units of `width`.
    """
    return [_block_init(key, width, width * expansion, 1.0 / len(keys)) for key in keys]


def transform(
    params: Params, x: Float[Array, "batch places width"], heads: int, causal: bool = False
) -> Float[Array, "batch places width"]:
    """Returns x after one block: attention, then a perceptron, each added to x.

    Args:
      params: of the block.
      x: a vector for each place.
      heads: number of attention heads.
      causal: a place looks only at itself and at those before it.
    """
    x = x + _attend(params, layer_norm(params["norm_before_attention"], x), heads, causal)
    hidden = jax.nn.gelu(dense(params["expand"], layer_norm(params["norm_before_mlp"], x)))
    return x + dense(params["contract"], hidden)


def _block_init(key: PRNGKeyArray, width: int, wide: int, gain: float) -> Params:
    """Returns fresh parameters for one block."""
    attend, merge, expand, contract = jax.random.split(key, 4)
    return {
        "norm_before_attention": norm_init(width),
        "attend": dense_init(attend, width, 3 * width, gain=1.0),
        "merge": dense_init(merge, width, width, gain=gain),
        "norm_before_mlp": norm_init(width),
        "expand": dense_init(expand, width, wide),
        "contract": dense_init(contract, wide, width, gain=gain),
    }


def _attend(
    params: Params, x: Float[Array, "batch places width"], heads: int, causal: bool
) -> Float[Array, "batch places width"]:
    """Returns softmax(q kᵀ / √d) v for each head, the heads merged."""
    size = x.shape[-1] // heads
    each = dense(params["attend"], x).reshape(*x.shape[:2], 3, heads, size)
    query, key, value = jnp.moveaxis(each, 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / size**0.5
    if causal:
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        scores = jnp.where(seen, scores, -jnp.inf)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
    return dense(params["merge"], mixed.reshape(x.shape))
