"""Language models: what comes next, at each place of a text, from what stands before it."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.models.layers import Params, dense, dense_init, layer_norm, norm_init
from experiments.models.recurrent import Recurrent
from experiments.models.transformer import blocks_init, transform


@dataclass(frozen=True)
class Decoder:
    """A transformer that looks back: embeddings of symbol and place, causal blocks, a dense layer.

    Attributes:
      width: length of the vector that stands for a symbol; a multiple of `heads`.
      heads: number of attention heads.
      blocks: number of blocks.
      expansion: width of a block's hidden layer, in units of `width`.

    Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
    """

    width: Annotated[int, Ge(1)] = 96
    heads: Annotated[int, Ge(1)] = 4
    blocks: Annotated[int, Ge(1)] = 3
    expansion: Annotated[int, Ge(1)] = 4

    def __post_init__(self) -> None:
        """Checks what no single setting can tell."""
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    def init(self, key: PRNGKeyArray, length: int, symbols: int) -> Params:
        """Returns fresh parameters for texts of at most `length` out of `symbols`."""
        embed, place, head, *blocks = jax.random.split(key, self.blocks + 3)
        return {
            "embed": 0.5 * jax.random.normal(embed, (symbols, self.width)),
            "place": 0.1 * jax.random.normal(place, (length, self.width)),
            "blocks": blocks_init(blocks, self.width, self.expansion),
            "norm": norm_init(self.width),
            "head": dense_init(head, self.width, symbols, gain=0.1),
        }

    def apply(
        self, params: Params, x: Int[Array, "batch places"]
    ) -> Float[Array, "batch places symbols"]:
        """Returns the scores of what comes after each place."""
        x = params["embed"][x] + params["place"][: x.shape[1]]
        for block in params["blocks"]:
            x = transform(block, x, self.heads, causal=True)
        return dense(params["head"], layer_norm(params["norm"], x))


@dataclass(frozen=True)
class Reader:
    """A recurrent network that reads embeddings of symbols.

    Attributes:
      cell: `lstm` or `gru`.
      width: length of the state.
      layers: number of cells on top of each other.
      embedding: length of the vector that stands for a symbol.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    width: Annotated[int, Ge(1)] = 128
    layers: Annotated[int, Ge(1)] = 1
    embedding: Annotated[int, Ge(1)] = 32

    @property
    def network(self) -> Recurrent:
        """What reads the embeddings."""
        return Recurrent(self.cell, self.width, self.layers)

    def init(self, key: PRNGKeyArray, length: int, symbols: int) -> Params:
        """Returns fresh parameters for texts of any `length` out of `symbols`."""
        embed, network = jax.random.split(key)
        return {
            "embed": jax.random.normal(embed, (symbols, self.embedding)),
            "network": self.network.init(network, (length, self.embedding), symbols),
        }

    def apply(
        self, params: Params, x: Int[Array, "batch places"]
    ) -> Float[Array, "batch places symbols"]:
        """Returns the scores of what comes after each place."""
        return self.network.apply(params["network"], params["embed"][x])


Language = Decoder | Reader


def continued(
    model: Language,
    params: Params,
    start: Int[Array, " places"],
    key: PRNGKeyArray,
    count: int,
    temperature: float,
) -> Int[Array, " count"]:
    """Returns symbols drawn one after the other, each from what the model says of the ones before.

    Args:
      model: one of the language models.
      params: its parameters.
      start: what stands before the first; the model looks back as far as this is long.
      key: decides what is drawn.
      count: how many symbols to draw.
      temperature: scores are divided by it; below 1 the likely ones become likelier.
    """

    def one(window: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        scores = model.apply(params, window[None])[0, -1] / temperature
        drawn = jax.random.categorical(key, scores).astype(window.dtype)
        return jnp.append(window[1:], drawn), drawn

    return jax.lax.scan(one, start, jax.random.split(key, count))[1]
