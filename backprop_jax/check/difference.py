"""How far two gradients are apart on one leaf."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Difference:
    """How far `left` is from `right`, over the elements where both are finite.

    With scale = max |right|, and eps and the unit in the last place those of the leaf's dtype:

        absolute     max |left - right|
        relative     max |left - right| / scale
        elementwise  max |left - right| / max(|left|, |right|, eps scale)
        ulp          max |left - right| / ulp(max(|left|, |right|, eps scale))
        cosine       Re <left, right> / (|left| |right|)

    The floor `eps scale` keeps an element that is 0 in one and a rounding error in the other from
    counting as infinitely far.

    Attributes:
      left: name of the source that is measured.
      right: name of the source it is measured against.
      index: where |left - right| is largest, or the first element where one alone is finite; None
        if they are equal.
      left_value: the element there.
      right_value: the element there.
    """

    left: str
    right: str
    absolute: float
    relative: float
    elementwise: float
    ulp: float
    cosine: float
    index: tuple[int, ...] | None
    left_value: complex | float | None
    right_value: complex | float | None


def measure(left: str, x: np.ndarray, right: str, y: np.ndarray, dtype: np.dtype) -> Difference:
    """Returns how far the leaf `x` of source `left` is from `y` of source `right`.

    Args:
      left: name of a source.
      x: its leaf.
      right: name of another.
      y: its leaf, of the same shape, in any precision.
      dtype: whose eps and unit in the last place are used.
    """
    x, y = wide(x), wide(y)
    finite = np.isfinite(x) & np.isfinite(y)
    gap = distance(x, y)
    scale = largest(y[finite])
    eps = float(jnp.finfo(dtype).eps)
    size = np.maximum(np.maximum(np.abs(x), np.abs(y)), eps * scale)[finite]
    absolute = largest(gap[finite])
    index = _worst_index(gap, x, y)
    return Difference(
        left,
        right,
        absolute=absolute,
        relative=float(_ratio(absolute, scale)),
        elementwise=largest(_ratio(gap[finite], size)),
        ulp=largest(_ratio(gap[finite], _unit_in_last_place(size, dtype))),
        cosine=_cosine(x[finite], y[finite]),
        index=index,
        left_value=None if index is None else x[index].item(),
        right_value=None if index is None else y[index].item(),
    )


def wide(leaf: np.ndarray) -> np.ndarray:
    """Returns the leaf in float64 or complex128."""
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)


def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns |x - y|, and 0 wherever one is not finite."""
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(x) & np.isfinite(y), np.abs(x - y), 0.0)


def largest(values: np.ndarray) -> float:
    """Returns the largest absolute value, 0 if there is none."""
    return float(np.max(np.abs(values), initial=0.0))


def scale_of(leaf: np.ndarray) -> float:
    """Returns the largest absolute value among the finite elements."""
    return largest(leaf[np.isfinite(leaf)])


def same(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns where the two are equal, or both not a number."""
    return np.asarray((x == y) | (np.isnan(x) & np.isnan(y)))


def _ratio(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """The ratio x / y for x, y ≥ 0, where 0 / 0 is 0."""
    with np.errstate(all="ignore"):
        return np.where(np.equal(x, 0), 0.0, np.divide(x, y))


def _unit_in_last_place(size: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The distance between neighbours in `dtype` around each size."""
    _, exponent = np.frexp(size)  # size = mantissa 2^exponent, mantissa in [1/2, 1).
    unit = np.ldexp(float(jnp.finfo(dtype).eps), exponent - 1)
    return np.maximum(unit, float(jnp.finfo(dtype).smallest_subnormal))


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    if not (np.any(x) and np.any(y)):
        return float(np.any(x) == np.any(y))
    x, y = x / largest(x), y / largest(y)  # Their squares must not overflow.
    return float(np.vdot(x, y).real / (np.linalg.norm(x) * np.linalg.norm(y)))


def _worst_index(gap: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[int, ...] | None:
    one_sided = ~same(x, y) & ~(np.isfinite(x) & np.isfinite(y))
    if not (one_sided.any() or gap.any()):
        return None
    position = np.argmax(one_sided) if one_sided.any() else np.argmax(gap)
    return tuple(map(int, np.unravel_index(position, gap.shape)))
