"""Handwritten digits as in `digits.py`, read by models of other libraries, with our gradients.

The same perceptron in Flax (linen and nnx), Equinox and Haiku; each is an extra of the package.
"""

from typing import Annotated

from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from backprop_jax.runner.adapters import Adapted, equinox, haiku, library, linen, nnx
from experiments.digits import data
from experiments.labelled import Images
from experiments.losses import accuracy, cross_entropy
from experiments.models.layers import Params

__all__ = ["MODELS", "data", "init", "loss", "metrics"]

Width = Annotated[int, Ge(1)]

PIXELS, CLASSES = 64, 10


def by_linen(width: Width = 128) -> Adapted:
    """Returns two dense layers of `flax.linen`."""
    nn = library("flax.linen")
    return linen(nn.Sequential([nn.Dense(width), nn.relu, nn.Dense(CLASSES)]))


def by_nnx(width: Width = 128) -> Adapted:
    """Returns two dense layers of `flax.nnx`."""
    nn = library("flax.nnx")
    return nnx(
        lambda rngs: nn.Sequential(
            nn.Linear(PIXELS, width, rngs=rngs), nn.relu, nn.Linear(width, CLASSES, rngs=rngs)
        )
    )


def by_equinox(width: Width = 128) -> Adapted:
    """Returns two dense layers of Equinox."""
    nn = library("equinox").nn
    return equinox(lambda key: nn.MLP(PIXELS, CLASSES, width, depth=1, key=key))


def by_haiku(width: Width = 128) -> Adapted:
    """Returns two dense layers of Haiku."""
    hk = library("haiku")
    return haiku(lambda x: hk.nets.MLP([width, CLASSES])(x))


MODELS = {"equinox": by_equinox, "linen": by_linen, "nnx": by_nnx, "haiku": by_haiku}


def init(key: PRNGKeyArray, batch: Images, model: Adapted) -> Params:
    """Returns fresh parameters."""
    return model.init(key, _pixels(batch))


def loss(params: Params, batch: Images, key: PRNGKeyArray, model: Adapted) -> Float[Array, ""]:
    """Returns the mean cross-entropy, in nats."""
    return cross_entropy(model.apply(params, _pixels(batch), key=key), batch.label)


def metrics(params: Params, batch: Images, model: Adapted) -> dict[str, Float[Array, ""]]:
    """Returns the share of right answers, and the loss."""
    scores = model.apply(params, _pixels(batch))
    return {"accuracy": accuracy(scores, batch.label), "loss": cross_entropy(scores, batch.label)}


def _pixels(batch: Images) -> Float[Array, "batch 64"]:
    """Returns the images as rows."""
    return batch.image.reshape(-1, PIXELS)
