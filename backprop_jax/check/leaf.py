"""What a comparison found on one leaf of the gradient."""

from dataclasses import dataclass

from backprop_jax.check.difference import Difference
from backprop_jax.check.verdict import Verdict


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
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    verdict: Verdict
    tolerance: float | None = None
    nonfinite: int = 0
    values: tuple[complex | float | None, ...] = ()
    differences: tuple[Difference, ...] = ()

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
