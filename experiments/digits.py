"""Handwritten digits: which of ten digits does an 8 x 8 image show?

Data: 1,797 images, the test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten
Digits" (UCI, 1998), as they ship inside scikit-learn. Nothing is downloaded.
"""

from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from sklearn.datasets import load_digits

from backprop_jax import data as datasets
from experiments.labelled import Images
from experiments.labelled import init as init
from experiments.labelled import loss as loss
from experiments.labelled import metrics as metrics
from experiments.models.convnet import Convnet
from experiments.models.mlp import Mlp
from experiments.models.transformer import Transformer

MODELS = {"mlp": Mlp, "convnet": Convnet, "transformer": Transformer}


def data(
    seed: int, test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2, shifts: bool = False
) -> tuple[Images, Images]:
    """Returns the images split at random into training and test part.

    Args:
      seed: decides the split.
      test_fraction: share of all images that is kept for the test.
      shifts: adds to the training part each image moved by one pixel up, down, left and right.
    """
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16
    train, test = datasets.split(seed, len(labels), test_fraction)
    held = Images.of(images, labels, test)
    if shifts:
        images, labels = _with_shifts(images[train]), np.tile(labels[train], 5)
        return Images.of(images, labels, np.arange(len(labels))), held
    return Images.of(images, labels, train), held


def _with_shifts(images: np.ndarray) -> np.ndarray:
    """Returns the images and their neighbours one pixel up, down, left and right."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    return np.concatenate([padded[:, row : row + 8, col : col + 8] for row, col in corners])
