"""A multi-layer perceptron."""

from dataclasses import dataclass
from math import prod
from typing import Annotated

import jax
from annotated_types import Ge, Lt
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import ACTIVATIONS, Activation, Params, dense, dense_init, dropout


@dataclass(frozen=True)
class Mlp:
    """Dense layers with an activation between them.

    Attributes:
      hidden: width of each hidden layer; none makes the model linear.
      activation: what stands between two layers.
      dropout: probability of zeroing a hidden unit while training.
    """

    hidden: tuple[Annotated[int, Ge(1)], ...] = (128, 128)
    activation: Activation = "relu"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...], outputs: int) -> Params:
        """Returns fresh parameters for inputs of `shape`."""
        widths = (prod(shape), *self.hidden, outputs)
        keys = jax.random.split(key, len(widths) - 1)
        layers = zip(keys, widths[:-1], widths[1:], strict=True)
        return {"layers": [dense_init(*layer) for layer in layers]}

    def apply(
        self, params: Params, x: Float[Array, "batch ..."], key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch outputs"]:
        """Returns the outputs for `x`; units are dropped only if there is a `key`."""
        x = x.reshape(len(x), -1)
        *hidden, last = params["layers"]
        for index, layer in enumerate(hidden):
            x = ACTIVATIONS[self.activation](dense(layer, x))
            if key is not None and self.dropout > 0:
                x = dropout(jax.random.fold_in(key, index), x, self.dropout)
        return dense(last, x)
