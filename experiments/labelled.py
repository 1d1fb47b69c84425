"""Images that each show one of ten things: what the experiments with them have in common."""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.losses import accuracy, cross_entropy
from experiments.models.layers import Params

KINDS = 10


class Images(NamedTuple):
    """Images with grey levels between 0 and 1, and the number of what each shows."""

    image: Float[Array, "batch height width"]
    label: Int[Array, " batch"]

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> "Images":
        """Returns some of the images."""
        return cls(jnp.asarray(images[rows]), jnp.asarray(labels[rows]))


class Classifier(Protocol):
    """A model that gives a score to each of some kinds."""

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...], outputs: int) -> Params:
        """Returns fresh parameters for images of `shape`."""
        ...

    def apply(self, params: Params, x: Any, key: PRNGKeyArray | None = None) -> Array:
        """Returns the scores; with a key, as while training."""
        ...


def init(key: PRNGKeyArray, batch: Images, model: Classifier) -> Params:
    """Returns fresh parameters."""
    return model.init(key, batch.image.shape[1:], KINDS)


def loss(
    params: Params,
    batch: Images,
    key: PRNGKeyArray,
    model: Classifier,
    label_smoothing: float = 0.0,
) -> Float[Array, ""]:
    """Returns the mean cross-entropy, in nats."""
    return cross_entropy(model.apply(params, batch.image, key), batch.label, label_smoothing)


def metrics(params: Params, batch: Images, model: Classifier) -> dict[str, Float[Array, ""]]:
    """Returns the share of right answers, and the loss with nothing dropped."""
    scores = model.apply(params, batch.image)
    return {"accuracy": accuracy(scores, batch.label), "loss": cross_entropy(scores, batch.label)}
