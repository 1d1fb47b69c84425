"""Handwritten digits: which of ten digits does an 8 x 8 image show?

Data: 1,797 images, the test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten
Digits" (UCI, 1998), as they ship inside scikit-learn. Nothing is downloaded.
"""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Array, Float, Int, PRNGKeyArray
from sklearn.datasets import load_digits

from experiments.losses import accuracy, cross_entropy
from experiments.models.convnet import Convnet
from experiments.models.layers import Params
from experiments.models.mlp import Mlp
from experiments.models.transformer import Transformer

MODELS = {"mlp": Mlp, "convnet": Convnet, "transformer": Transformer}

Model = Mlp | Convnet | Transformer


class Digits(NamedTuple):
    """Images with grey levels between 0 and 1, and the digit that each shows."""

    image: Float[Array, "batch 8 8"]
    label: Int[Array, " batch"]


def data(
    seed: int, test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2, shifts: bool = False
) -> tuple[Digits, Digits]:
    """Returns the images split at random into training and test part.

    Args:
      seed: decides the split.
      test_fraction: share of all images that is kept for the test.
      shifts: adds to the training part each image moved by one pixel up, down, left and right.
    """
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = np.split(order, [round(test_fraction * len(order))])
    shown, labelled = images[train], labels[train]
    if shifts:
        shown, labelled = _with_shifts(shown), np.tile(labelled, 5)
    return (
        Digits(jnp.asarray(shown), jnp.asarray(labelled)),
        Digits(jnp.asarray(images[test]), jnp.asarray(labels[test])),
    )


def init(key: PRNGKeyArray, model: Model) -> Params:
    """Returns fresh parameters."""
    return model.init(key, (8, 8), 10)


def loss(
    params: Params, batch: Digits, key: PRNGKeyArray, model: Model, label_smoothing: float = 0.0
) -> Float[Array, ""]:
    """Returns the mean cross-entropy, in nats."""
    return cross_entropy(model.apply(params, batch.image, key), batch.label, label_smoothing)


def metrics(params: Params, batch: Digits, model: Model) -> dict[str, Float[Array, ""]]:
    """Returns the share of right answers, and the loss with nothing dropped."""
    scores = model.apply(params, batch.image)
    return {"accuracy": accuracy(scores, batch.label), "loss": cross_entropy(scores, batch.label)}


def _with_shifts(images: np.ndarray) -> np.ndarray:
    """Returns the images and their neighbours one pixel up, down, left and right."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    return np.concatenate([padded[:, row : row + 8, col : col + 8] for row, col in corners])
