"""Functions that are run from their jaxpr, which is changed first."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.core import Tracer
from jax.extend.core import valid_jaxtype

from backprop_jax.engine.tape import Recorded
from backprop_jax.meshes import surroundings


class Arguments(NamedTuple):
    """Arguments of a function, the arrays apart from what is none.

    Attributes:
      arrays: those leaves that are arrays or numbers.
      others: the other leaves, each with its place.
      tree: structure of all.
    """

    arrays: list
    others: tuple[tuple[int, Any], ...]
    tree: Any

    @classmethod
    def of(cls, args: tuple, kwargs: dict) -> "Arguments":
        """Returns the arguments of a call."""
        leaves, tree = jax.tree.flatten((args, kwargs))
        others = tuple((i, x) for i, x in enumerate(leaves) if not valid_jaxtype(x))
        return cls([x for x in leaves if valid_jaxtype(x)], others, tree)

    def filled(self, arrays: Sequence) -> tuple[tuple, dict]:
        """Returns these arguments with other arrays in their places."""
        leaves = list(arrays)
        for i, x in self.others:
            leaves.insert(i, x)
        return jax.tree.unflatten(self.tree, leaves)

    def stage(self, fun: Callable) -> tuple[Any, Any]:
        """Returns a function as a closed jaxpr of the arrays, and the structure of its results."""
        out_tree: list = []

        def flat(*arrays: Any) -> list:
            args, kwargs = self.filled(arrays)
            results, structure = jax.tree.flatten(fun(*args, **kwargs))
            out_tree[:] = [structure]
            return results

        closed = jax.make_jaxpr(flat)(*map(jax.typeof, self.arrays))
        return closed, out_tree[0]


def changed(fun: Callable, change: Callable[[Any, tuple[bool, ...]], Callable]) -> Callable:
    """Returns a function that is run as something else made from its jaxpr.

    That is made once for each kind of arguments, as `jax.jit` does.

    Args:
      fun: a function of arrays, pytrees of them, and whatever else.
      change: (closed jaxpr, for every operand whether it is on a tape) → a function of the operands
        that returns a list of the results.
    """
    plans: dict = {}

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = Arguments.of(args, kwargs)
        avals = tuple(map(jax.typeof, given.arrays))
        active = tuple(isinstance(x, Recorded) for x in given.arrays)
        key = (given.tree, given.others, avals, active, surroundings())
        known = is_hashable(key)  # or an argument is of a kind that nothing can be remembered for
        plan = plans.get(key) if known else None
        if plan is None:
            closed, tree = given.stage(fun)
            plan = change(closed, active), tree
            if known and not any(isinstance(x, Tracer) for x in closed.consts):
                plans[key] = plan
        return jax.tree.unflatten(plan[1], plan[0](*given.arrays))

    return run


def is_hashable(key: Any) -> bool:
    """Returns whether something can be the key of a dictionary."""
    try:
        hash(key)
    except TypeError:
        return False
    return True
