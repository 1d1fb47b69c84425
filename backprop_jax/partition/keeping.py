"""What may be kept: the choice a partition is made by, and that of the loops and branches within.

A `jax.checkpoint` policy is one such choice, and `remat=` makes others. Both reach a program as the
policy of a checkpoint, so they hold wherever it is: in loops, in branches, in library code.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from backprop_jax.engine.reading import readings
from backprop_jax.engine.registry import dear


@dataclasses.dataclass(frozen=True)
class Keeping:
    """Which values may be kept for the way back.

    Attributes:
      cheapest: keep the results of what is dear to compute, and otherwise what takes least memory.
        If not, keep what the policy allows, and nothing else.
      policy: as of `jax.checkpoint`: (primitive, *avals, **params) → whether its results may be
        kept, or where to. None allows nothing.
      carries: how many carries of a loop to keep, the others being computed again from the nearest
        one before. None: all. ROOT: as many as the square root of the number of trips.
    """

    cheapest: bool = True
    policy: Callable | None = None
    carries: int | None = None

    def segments(self, trips: int) -> int:
        """Returns how many segments to make of a loop; one if all carries are kept."""
        if self.carries is None:
            return 1
        return min(self.carries or math.isqrt(trips), trips)

    def allows(self, equation: Any) -> Any:
        """Returns whether the results of an equation may be kept, or what says where to."""
        if self.policy is None:
            return False
        avals = [atom.aval for atom in equation.invars]
        answer = self.policy(equation.primitive, *avals, **equation.params)
        return False if answer is RECOMPUTE else answer


#: What a policy may say in the place of False.
RECOMPUTE = jax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host")(None)

ROOT = 0

CHEAPEST = Keeping()
NOTHING = Keeping(cheapest=False)


def in_force() -> Keeping:
    """Returns the choice for a jaxpr within what is being differentiated."""
    return readings.get().keeping or CHEAPEST


@contextlib.contextmanager
def within(keeping: Keeping) -> Iterator[None]:
    """Makes this the choice for all loops, branches and functions within."""
    with dataclasses.replace(readings.get(), keeping=keeping).in_force():
        yield


@dataclasses.dataclass(frozen=True)
class Partition:
    """The policy of a checkpoint that `remat=` makes: one choice for its equations, one for loops.

    JAX's own differentiation, too, may ask it: then what is `dear` is kept, or nothing.
    """

    here: Keeping
    loops: Keeping

    def __call__(self, primitive: Any, *avals: Any, **params: Any) -> bool:
        """Returns whether JAX may keep the results of an equation."""
        return self.here.cheapest and primitive in dear


def choices(policy: Any) -> tuple[Keeping, Keeping]:
    """Returns what the policy of a checkpoint lets be kept of its equations, and of its loops'."""
    if isinstance(policy, Partition):
        return policy.here, policy.loops
    return Keeping(cheapest=False, policy=policy), CHEAPEST
