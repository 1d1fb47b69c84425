"""One difference with one step, over many steps: what truncation and rounding leave of a slope."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from backprop_jax.check.numerical.ways import ONE_STEP
from backprop_jax.check.precision import is_inexact
from backprop_jax.check.table import align
from backprop_jax.check.witnesses.witness import Question


@dataclass(frozen=True)
class Steps:
    """Slopes by steps of many lengths.

    Attributes:
      lengths: of the steps, in units of the operand.
      slopes: by each way, for each length; a way that the function refuses is left out.
      exact: the slope itself.
    """

    lengths: np.ndarray
    slopes: Mapping[str, np.ndarray]
    exact: float

    def errors(self, way: str) -> np.ndarray:
        """Returns how far the slopes of a way are off."""
        return np.abs(self.slopes[way] - self.exact)

    def __str__(self) -> str:
        """A table, a line for each length."""
        header = ["h", *(text for way in self.slopes for text in (way, "error"))]
        rows = [header]
        for i, length in enumerate(self.lengths):
            row = [f"{length:.0e}"]
            for way, slopes in self.slopes.items():
                row += [f"{slopes[i]:.15g}", f"{self.errors(way)[i]:.1e}"]
            rows.append(row)
        return "\n".join(align(rows))


def over_steps(
    question: Question, gradient: Mapping[str, np.ndarray], lengths: Sequence[float]
) -> Steps:
    """Returns the slopes of a function by steps of these lengths.

    Along the line on which all elements of what is differentiated grow alike; of a function of one
    number that is its derivative.

    Args:
      question: about a function of real operands.
      gradient: its gradient by path, for the exact slope.
      lengths: of the steps.
    """
    leaves = question.leaves
    moving = [path for path, leaf in leaves.items() if is_inexact(leaf)]

    def along(t: Any) -> Any:
        return question.value(
            {**leaves, **{path: jnp.asarray(leaves[path]) + t for path in moving}}
        )

    exact = float(sum(np.sum(gradient[path], dtype=np.float64) for path in moving))
    slopes = {}
    for way, slope in ONE_STEP.items():
        try:
            slopes[way] = np.array([float(slope(along, float(h))) for h in lengths])
        except Exception:  # The function has no meaning for complex numbers.
            if way != "complex":
                raise
    return Steps(np.asarray(lengths), slopes, exact)
