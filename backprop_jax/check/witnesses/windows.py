"""Windows that slide over an array: from which place each of their elements is taken."""

import math
from collections.abc import Sequence

import numpy as np


def positions(
    size: int, count: int, window: int, stride: int, low: int, base: int, dilation: int
) -> np.ndarray:
    """Returns, along one axis, the index of each element of each window; -1 in padding and gaps.

    Args:
      size: of the axis.
      count: of windows.
      window: elements of one.
      stride: from one window to the next.
      low: elements of padding in front, which may be negative.
      base: one more than the gaps between the elements of the axis.
      dilation: one more than those between the elements of a window.
    """
    at = np.arange(count)[:, None] * stride - low + np.arange(window) * dilation
    inside = (at >= 0) & (at <= (size - 1) * base) & (at % base == 0)
    return np.where(inside, at // base, -1)


def places(shape: Sequence[int], along: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the place of each element of each window in the array in a row, counted from 1.

    Args:
      shape: of the array.
      along: for each axis what `positions` returns.

    Returns:
      Array of shape (windows of each axis..., elements of a window); 0 is outside of the array.
    """
    rank = len(shape)
    result, outside = np.zeros((1,) * (2 * rank), np.int64), np.zeros((1,) * (2 * rank), bool)
    for axis, index in enumerate(along):
        spread = [1] * (2 * rank)
        spread[axis], spread[rank + axis] = index.shape
        index = index.reshape(spread)
        result = result + np.maximum(index, 0) * math.prod(shape[axis + 1 :])
        outside = outside | (index < 0)
    found = np.where(outside, 0, result + 1)
    return found.reshape(*found.shape[:rank], -1)
