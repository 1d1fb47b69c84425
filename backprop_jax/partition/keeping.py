"""What may be kept: the choice a partition is made by, and that of the loops and branches within.

A `jax.checkpoint` policy is one such choice, and `remat=` makes others. Both reach a program as the
policy of a checkpoint, so they hold wherever it is: in loops, in branches, in library code.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive

from backprop_jax.engine.jaxprs import among, held
from backprop_jax.engine.reading import readings
from backprop_jax.engine.registry import dear, reruns

#: Primitives that stand for others: their parameters → the one that policies know, and its own.
synonyms: dict[Primitive, Callable[[dict], tuple[Primitive, dict] | None]] = {}


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
      repeated: whether this is for what a loop does in each trip.
      as_made: keep what the way back reads of all that results are made of, and choose nothing.
    """

    cheapest: bool = True
    policy: Callable | None = None
    carries: int | None = None
    repeated: bool = False
    as_made: bool = False

    def asked(self, equations: Sequence) -> dict:
        """Returns the results that a policy allows, each with its answer."""
        if self.policy is None:
            return {}
        return {v: answer for e in equations for v, answer in self.allowed(e).items()}

    def segments(self, trips: int) -> int:
        """Returns how many segments to make of a loop; as many as trips if all carries are kept."""
        if self.carries is None:
            return trips
        return min(self.carries or max(2, math.isqrt(trips)), trips)

    def allows(self, equation: Any) -> Any:
        """Returns whether the results of an equation may be kept, or what says where to."""
        if self.policy is None:
            return False
        avals = [atom.aval for atom in equation.invars]
        same = synonyms.get(equation.primitive, lambda params: None)(equation.params)
        primitive, params = same or (equation.primitive, equation.params)
        answer = self.policy(primitive, *avals, **params)
        return False if answer is RECOMPUTE else answer

    def allowed(self, equation: Any) -> dict:
        """Returns the results of an equation that may be kept, each with the policy's answer.

        Of a loop or a branch that may not be kept as a whole, those results may that are made
        within by an equation that may.
        """
        if answer := self.allows(equation):
            return dict.fromkeys(equation.outvars, answer)
        found: dict = {}
        for inner in held(equation.params) if equation.primitive in reruns else ():
            made = {v: a for e in inner.eqns for v, a in self.allowed(e).items()}
            pairs = zip(equation.outvars, inner.jaxpr.outvars, strict=True)
            found.update((v, made[w]) for v, w in pairs if among(w, set(made)))
        return found


#: What a policy may say in the place of False.
RECOMPUTE = jax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host")(None)

ROOT = 0

CHEAPEST = Keeping()
NOTHING = Keeping(cheapest=False)
AS_MADE = Keeping(as_made=True)

SPACES = {
    "device": jax.memory.Space.Device,
    "pinned_host": jax.memory.Space.Host,
    "unpinned_host": jax.memory.Space.Host,
}


def is_elsewhere(answer: Any) -> bool:
    """Returns whether a policy's answer says to move a value while it is kept."""
    return hasattr(answer, "dst")


def places(answer: Any) -> tuple[Any, Any]:
    """Returns where a value is moved to while it is kept, and where it comes back to."""
    return SPACES[answer.dst], SPACES[answer.src]


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

    JAX's own differentiation may ask it, too: what is `dear` is kept, or a policy allows.
    """

    here: Keeping
    loops: Keeping

    def __call__(self, primitive: Any, *avals: Any, **params: Any) -> Any:
        """Returns whether JAX may keep the results of an equation, or what says where to."""
        if self.here.policy is not None:
            return self.here.policy(primitive, *avals, **params)
        return self.here.cheapest and primitive in dear


def choices(policy: Any) -> tuple[Keeping, Keeping]:
    """Returns what the policy of a checkpoint lets be kept of its equations, and of its loops'."""
    if isinstance(policy, Partition):
        return policy.here, policy.loops
    here = Keeping(cheapest=False, policy=policy)
    # What nothing is kept of is run again as a whole, and then its own way back may keep things.
    return here, CHEAPEST if policy is None else here
