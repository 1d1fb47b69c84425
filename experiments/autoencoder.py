"""Small grey images through a narrow place: how much of them is left?

Data: as in `images.py`, without the labels.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.figure import Figure

from experiments import images
from experiments.models.autoencoder import Autoencoder, Vae
from experiments.models.layers import Params

MODELS = {"autoencoder": Autoencoder, "vae": Vae}

Model = Autoencoder | Vae

SHOWN = 12
"""How many images a row of the picture has."""


class Pictures(NamedTuple):
    """Images with grey levels between 0 and 1."""

    image: Float[Array, "batch height width"]


def data(
    seed: int,
    name: Literal["fashion_mnist", "mnist"] = "fashion_mnist",
    path: Path | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> tuple[Pictures, Pictures]:
    """Returns the images split at random into training and test part; see `images.data`."""
    train, test = images.data(seed, name, path, test_fraction)
    return Pictures(train.image), Pictures(test.image)


def init(key: PRNGKeyArray, batch: Pictures, model: Model) -> Params:
    """Returns fresh parameters."""
    return model.init(key, batch.image.shape[1:])


def loss(params: Params, batch: Pictures, key: PRNGKeyArray, model: Model) -> Float[Array, ""]:
    """Returns what is lost of an image plus what its code costs, in nats, averaged."""
    lost, cost, _ = _passed(params, batch, key, model)
    return jnp.mean(lost + cost)


def metrics(params: Params, batch: Pictures, model: Model) -> dict[str, Float[Array, ""]]:
    """Returns the loss, what the code costs, and how far a pixel is off, with nothing drawn."""
    lost, cost, shown = _passed(params, batch, None, model)
    off = jnp.sqrt(jnp.mean(jnp.square(shown - batch.image)))
    return {"loss": jnp.mean(lost + cost), "cost": jnp.mean(cost), "off": off}


def results(params: Params, test: Pictures, key: PRNGKeyArray, model: Model) -> dict[str, Any]:
    """Returns a picture: test images, what is left of them, and images from random codes."""
    some = Pictures(test.image[:SHOWN])
    rows = [some.image, _passed(params, some, None, model)[2]]
    if isinstance(model, Vae):
        code = jax.random.normal(key, (len(some.image), model.code), some.image.dtype)
        drawn = jax.nn.sigmoid(model.decode(params, code))
        rows.append(drawn.reshape(some.image.shape))
    titles = ("test images", "through the code and back", "from codes drawn at random")
    figure = Figure(figsize=(9, 1.05 * len(rows)), dpi=144, layout="constrained")
    parts = np.atleast_1d(figure.subplots(len(rows), 1))
    for axes, row, title in zip(parts, rows, titles[: len(rows)], strict=True):
        axes.imshow(np.concatenate(list(np.asarray(row)), axis=1), cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_axis_off()
    return {"images.png": figure}


def _passed(
    params: Params, batch: Pictures, key: PRNGKeyArray | None, model: Model
) -> tuple[Float[Array, " batch"], Float[Array, " batch"], Float[Array, "batch height width"]]:
    """Returns for each image what is lost of it, what its code costs, and what comes back.

    Lost is the cross-entropy of the grey levels, taken as probabilities of ink, summed over pixels.
    """
    code, cost = model.encode(params, batch.image, key)
    score = model.decode(params, code).reshape(batch.image.shape)
    each = jax.nn.softplus(score) - batch.image * score
    return jnp.sum(each, axis=(1, 2)), cost, jax.nn.sigmoid(score)
