"""Which examples are for training, and which for the test."""

import numpy as np
from jaxtyping import Int, Shaped

Rows = Int[np.ndarray, " rows"]


def split(seed: int, size: int, test_fraction: float) -> tuple[Rows, Rows]:
    """Returns the rows of the training and of the test part, drawn at random.

    Args:
      seed: decides who is drawn.
      size: number of examples in all.
      test_fraction: share of the examples kept for the test; each part has at least one.
    """
    order = np.random.default_rng(seed).permutation(size)
    kept = min(max(round(test_fraction * size), 1), size - 1)
    test, train = np.split(order, [kept])
    return train, test


def windows(
    values: Shaped[np.ndarray, "times ..."], length: int, stride: int
) -> Shaped[np.ndarray, "windows length ..."]:
    """Returns the pieces of `length` values that begin at each multiple of `stride`."""
    starts = np.arange(0, len(values) - length + 1, stride)
    return values[starts[:, None] + np.arange(length)]
