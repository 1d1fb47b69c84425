"""Images through a narrow place and back: an autoencoder, and a variational one."""

from dataclasses import dataclass
from math import prod
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import Activation, Params
from experiments.models.mlp import Mlp


@dataclass(frozen=True)
class Autoencoder:
    """A perceptron down to a few numbers, the code, and another one back up to the image.

    Attributes:
      code: how many numbers stand for an image.
      hidden: width of each hidden layer on the way down; the way up has them in reverse.
      activation: what stands between two layers.
    """

    code: Annotated[int, Ge(1)] = 16
    hidden: tuple[Annotated[int, Ge(1)], ...] = (256,)
    activation: Activation = "silu"

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Params:
        """Returns fresh parameters for images of `shape`."""
        down, up = jax.random.split(key)
        return {
            "down": self._down.init(down, shape, self._told),
            "up": self._up.init(up, (self.code,), prod(shape)),
        }

    def encode(
        self, params: Params, x: Float[Array, "batch ..."], key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "batch code"], Float[Array, " batch"]]:
        """Returns the codes of images, and what they cost in nats: nothing."""
        code = self._down.apply(params["down"], x)
        return code, jnp.zeros(len(x), x.dtype)

    def decode(
        self, params: Params, code: Float[Array, "batch code"]
    ) -> Float[Array, "batch pixels"]:
        """Returns a score for each pixel; its logistic function is the grey level."""
        return self._up.apply(params["up"], code)

    @property
    def _told(self) -> int:
        """How many numbers the way down tells of an image."""
        return self.code

    @property
    def _down(self) -> Mlp:
        return Mlp(self.hidden, self.activation)

    @property
    def _up(self) -> Mlp:
        return Mlp(self.hidden[::-1], self.activation)


@dataclass(frozen=True)
class Vae(Autoencoder):
    """An autoencoder whose codes are drawn: from a normal distribution for each image.

    What a code tells costs the divergence of that distribution from the standard one, so codes
    drawn from the standard one decode to images, too.

    Source: Kingma and Welling 2014, arXiv:1312.6114.
    """

    def encode(
        self, params: Params, x: Float[Array, "batch ..."], key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "batch code"], Float[Array, " batch"]]:
        """Returns codes drawn with `key`, or the middles without one; and what they cost in nats.

        The divergence of N(m, s²) from N(0, 1) is (m² + s² - 1) / 2 - log s.
        """
        middle, log_spread = jnp.split(self._down.apply(params["down"], x), 2, axis=-1)
        each = (jnp.square(middle) + jnp.exp(2 * log_spread) - 1) / 2 - log_spread
        cost = jnp.sum(each, axis=-1)
        if key is None:
            return middle, cost
        noise = jax.random.normal(key, middle.shape, middle.dtype)
        return middle + jnp.exp(log_spread) * noise, cost

    @property
    def _told(self) -> int:
        return 2 * self.code
