"""What a comparison found on one leaf of the gradient."""

from dataclasses import dataclass

from backprop_jax.check.difference import Difference
from backprop_jax.check.verdict import Verdict


@dataclass(frozen=True)
class Opinion:
    """What one witness says of a leaf.

    Attributes:
      witness: its name.
      verdict: on the gradient, beside this witness alone.
      index: the element that is shown: the one farthest beyond what is allowed.
      ours: the gradient that is judged, there.
      says: the witness, there.
      difference: how far they are apart, there.
      error: how far the witness may be off, there.
      allowed: how far they may be apart, there: that, and the tolerance of the dtype.
    """

    witness: str
    verdict: Verdict
    index: tuple[int, ...] | None = None
    ours: complex | float | None = None
    says: complex | float | None = None
    difference: float | None = None
    error: float | None = None
    allowed: float | None = None


@dataclass(frozen=True)
class LeafReport:
    """One leaf of the gradient.

    Attributes:
      path: as the user would write it, `params['blocks'][0]['w']`.
      shape: of the leaf.
      dtype: its name, `float32`; `float0` for an integer operand.
      verdict: what is said of it, and why.
      tolerance: how far is too far, as a part of the leaf's largest element; None if unmeasured.
      nonfinite: how many elements of the gradient that is judged are inf or nan.
      values: what each source says at the worst element, where the first difference has its index.
      differences: how far each source is from each; the first is the one that is judged.
      opinions: what each of the witnesses says that were asked for by name.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    verdict: Verdict
    tolerance: float | None = None
    nonfinite: int = 0
    values: tuple[complex | float | None, ...] = ()
    differences: tuple[Difference, ...] = ()
    opinions: tuple[Opinion, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the leaf may pass."""
        return self.verdict.ok

    @property
    def relative(self) -> float:
        """How far the gradient is from `jax.grad`, over the leaf's largest element."""
        return self.differences[0].relative if self.differences else 0.0

    def between(self, left: str, right: str) -> Difference | None:
        """Returns how far one source is from another, by their names; None if not measured."""
        found = (d for d in self.differences if (d.left, d.right) == (left, right))
        return next(found, None)
