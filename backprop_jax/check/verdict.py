"""Whether a gradient is right on one leaf, given that `jax.grad` is a witness and not the truth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from backprop_jax.check.difference import distance, largest, same, scale_of, wide

MARGIN = 4
"""How many times as far as rounding carries `jax.grad` another gradient may lie."""


@dataclass(frozen=True)
class Tolerance:
    """How far is too far: `relative` times the largest element of the leaf, plus `absolute`.

    With `strict` the user has chosen, and rounding is no excuse for more.
    """

    relative: float
    absolute: float
    strict: bool

    @classmethod
    def of(cls, dtype: np.dtype, has_truth: bool, rtol: float | None, atol: float) -> "Tolerance":
        """Returns the user's tolerance, or 16 eps with a finer reference and 4096 eps without.

        Never more than half the digits, sqrt(eps): that is what decides in bfloat16.
        """
        if rtol is not None:
            return cls(rtol, atol, strict=True)
        eps = float(jnp.finfo(dtype).eps)
        return cls(min((16 if has_truth else 4096) * eps, math.sqrt(eps)), atol, strict=False)

    def around(self, leaf: np.ndarray, dtype: np.dtype) -> float:
        """Returns how far is too far from `leaf`, for a gradient that was computed in `dtype`."""
        return self.relative * scale_of(leaf) + self.absolute + _underflow(dtype)


@dataclass(frozen=True)
class Verdict:
    """What is said of one leaf, and why.

    `word` is ok; rounding, which explains the difference; overruled, of a witness that a finer one
    contradicts; skipped, where there is nothing to judge; seen, of a
    leaf that is judged with others alone; BAD; or unjudged, where nobody judged.
    """

    word: str
    reason: str

    @property
    def ok(self) -> bool:
        """Whether the leaf may pass."""
        return self.word not in ("BAD", "unjudged")


def judge(
    ours: np.ndarray,
    jax_leaf: np.ndarray,
    truth: np.ndarray | None,
    tolerance: Tolerance,
    nudged: Callable[[], Sequence[tuple[np.ndarray, np.ndarray | None]]],
) -> Verdict:
    """Returns the verdict on one leaf.

    Where `jax.grad` is not finite, the float64 reference takes its place. Elements farther from it
    than the tolerance are disputed. They are accepted if float64 bears them out, or if rounding
    explains them: `jax.grad` itself lies a comparable distance from float64, or moves by as much
    with its operands where float64 does not. Only the disputed elements enter, so neither the size
    of the array nor a difference the two gradients share can hide an error in one of them.

    Args:
      ours: the gradient that is judged.
      jax_leaf: what `jax.grad` says. Same shape and dtype.
      truth: the float64 reference, if there is one. Same shape.
      tolerance: how far is too far.
      nudged: what `jax.grad` and float64 say at nudged operands; asked for only when there is a
        dispute.
    """
    dtype = ours.dtype
    x, y = wide(ours), wide(jax_leaf)
    z = y if truth is None else wide(truth)
    broken = ~np.isfinite(x) & ~same(x, y) & ~same(x, z)
    if broken.any():
        return Verdict("BAD", f"{broken.sum()} elements not finite here alone")

    reference = np.where(np.isfinite(y), y, z)
    z = np.where(np.isfinite(z), z, reference)
    bar = tolerance.around(reference, dtype)
    disputed = np.asarray(distance(x, reference) > bar)
    if not disputed.any():
        return Verdict("ok", "agrees with jax.grad")

    bar_of_truth = tolerance.around(z, dtype)
    half_the_digits = math.sqrt(float(jnp.finfo(dtype).eps)) * scale_of(reference)
    x, y, z, reference = (leaf[disputed] for leaf in (x, y, z, reference))
    if largest(distance(x, z)) <= bar_of_truth:
        return Verdict("ok", "agrees with float64, where jax.grad does not")
    if tolerance.strict:
        return Verdict("BAD", "farther than the tolerance given")

    seen = min(MARGIN * largest(distance(y, z)), half_the_digits)
    far = MARGIN * max(moved(y, z, a, b, disputed) for a, b in nudged())
    apart = min(largest(distance(x, reference)), largest(distance(x, z)))
    if apart <= max(bar, seen, far):
        return Verdict("rounding", "apart by no more than rounding explains")
    return Verdict("BAD", "farther apart than rounding explains")


def moved(
    y: np.ndarray, z: np.ndarray, nearby: np.ndarray, finer: np.ndarray | None, at: np.ndarray
) -> float:
    """Returns how far `jax.grad` moves from y to `nearby`, less what float64 moves to `finer`."""
    with np.errstate(invalid="ignore"):  # Inf - inf is not finite, and does not count.
        expected = y if finer is None else y + (wide(finer)[at] - z)
    return largest(distance(wide(nearby)[at], expected))


def _underflow(dtype: np.dtype) -> float:
    """Below this a number may have been flushed to zero, or has no digits left."""
    limits = jnp.finfo(dtype)
    return float(4 * limits.smallest_subnormal if dtype == np.float16 else limits.tiny)
