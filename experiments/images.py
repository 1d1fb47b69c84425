"""Small grey images: which of ten kinds does each one show?

Data: `fashion_mnist`, 10,000 images of clothes, or `mnist`, 5,000 handwritten digits, which come
with the package; or a file of your own.
"""

from pathlib import Path
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Shaped

from backprop_jax import data as datasets
from backprop_jax.errors import DataError
from experiments.labelled import Images
from experiments.labelled import init as init
from experiments.labelled import loss as loss
from experiments.labelled import metrics as metrics
from experiments.models.convnet import Convnet
from experiments.models.mlp import Mlp
from experiments.models.resnet import Resnet

MODELS = {"resnet": Resnet, "convnet": Convnet, "mlp": Mlp}


def data(
    seed: int,
    name: Literal["fashion_mnist", "mnist"] = "fashion_mnist",
    path: Path | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    mirrored: bool = False,
) -> tuple[Images, Images]:
    """Returns the images split at random into training and test part.

    Args:
      seed: decides the split.
      name: one of the data sets that come with the package.
      path: an npz file to take instead, with the arrays `image`, of shape (examples, height, width)
        and any scale, and `label`, whole numbers from 0 to 9.
      test_fraction: share of all images that is kept for the test.
      mirrored: adds to the training part each image with left and right exchanged.
    """
    pixels, labels = included(name) if path is None else _own(path)
    train, test = datasets.split(seed, len(labels), test_fraction)
    shown, labelled = pixels[train], labels[train]
    if mirrored:
        shown, labelled = np.concatenate([shown, shown[:, :, ::-1]]), np.tile(labelled, 2)
    return (
        Images(jnp.asarray(shown), jnp.asarray(labelled)),
        Images.of(pixels, labels, test),
    )


def included(name: str) -> tuple[Shaped[np.ndarray, "all 28 28"], Shaped[np.ndarray, " all"]]:
    """Returns the grey levels, between 0 and 1, and the labels of a data set of the package."""
    found = datasets.arrays(name)
    return found["image"] / np.float32(255), found["label"].astype(np.int32)


def _own(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of a user's file, scaled to lie between 0 and 1, and their labels."""
    found = datasets.read_arrays(path, {"image": (None, None), "label": ()})
    images, labels = found["image"].astype(np.float64), found["label"]
    if np.any(labels != labels.astype(np.int32)) or labels.min() < 0 or labels.max() > 9:
        bounds = f"from {labels.min():g} to {labels.max():g}"
        raise DataError(f"{path}, array 'label': {bounds}, not whole numbers from 0 to 9")
    low, high = images.min(), images.max()
    return (images - low) / max(high - low, np.finfo(np.float64).tiny), labels.astype(np.int32)
