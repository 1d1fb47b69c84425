"""Choices made at run time: `cond` and `switch`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Literal

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import bound, evaluate, needed_for
from backprop_jax.engine.logs import collecting, log
from backprop_jax.engine.registry import rerun, structured
from backprop_jax.engine.units import Unit
from backprop_jax.meshes import full
from backprop_jax.partition.residuals import Split, split


def shared_places(kinds: Sequence[Sequence[Any]]) -> tuple[list, list[list[int]]]:
    """Returns types of places enough for any one of several lists of values, and who goes where.

    Only one branch runs, so values of one type kept by different branches share a place.
    """
    types: list = []
    places = []
    for avals in kinds:
        free = list(range(len(types)))
        taken = []
        for aval in avals:
            kind = (aval.shape, aval.dtype)
            place = next((i for i in free if types[i] == kind), None)
            if place is None:
                types.append(kind)
                place = len(types) - 1
            else:
                free.remove(place)
            taken.append(place)
        places.append(taken)
    return types, places


def take(index: Any, branches: list[Callable], platforms: Sequence | None, *operands: Any) -> Any:
    """Returns what one branch makes of the operands: the index names it, or the platform."""
    if platforms is None:
        return lax.switch(index, branches, *operands)
    named = {name: b for names, b in zip(platforms, branches, strict=True) for name in names or ()}
    default = branches[-1] if platforms[-1] is None else None
    return lax.platform_dependent(*operands, default=default, **named)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What the branches of a choice log under one name: JAX's `CondSum`, which has no public name.

    Attributes:
      index: the branch that was taken.
      branches: for every branch what it logs, zeros if it was not taken, None if it logs nothing.
    """

    index: Any
    branches: list


def logged_by_all(halves: Sequence[Split], taken: int, found: dict) -> list[dict]:
    """Returns for every branch what it logs: what was found of the one taken, zeros for others."""

    def nothing(half: Split) -> dict:
        blank = [full(v.aval.shape, 0, v.aval.dtype) for v in half.logs]
        return jax.tree.unflatten(half.log_tree, blank)

    return [found if i == taken else nothing(half) for i, half in enumerate(halves)]


@structured(lax.cond_p)
def cond(
    active: tuple[bool, ...], *, branches: tuple, branches_platforms: Any = None, **params: Any
) -> Unit:
    """The way back takes the branch that was taken. All branches keep what they keep in one set.

    An operand has a cotangent if one of the branches makes one: of what they only compare there is
    none, and no zero that what made the operand, with an infinite slope perhaps, would multiply.

    A branch for one platform is left out of a program for another, forward and back.
    """
    del params
    halves = [split(branch, active[1:]) for branch in branches]
    units = [half.unit() for half in halves]
    kept_avals = [
        jax.eval_shape(u.forward, *b.in_avals)[1] for u, b in zip(units, branches, strict=True)
    ]
    types, places = shared_places(kept_avals)
    keeps = sorted({i for unit in units for i in unit.keeps})
    avals = branches[0].in_avals

    def forward(index: Any, *operands: Any) -> tuple[list, list]:
        def taken(number: int) -> Callable:
            def branch(*operands: Any) -> tuple[list, list]:
                results, values = units[number].forward(*operands)
                found = dict(zip(places[number], values, strict=True))
                blank = (full(shape, 0, dtype) for shape, dtype in types)
                return results, [found.get(i, nothing) for i, nothing in enumerate(blank)]

            return branch

        branches = [taken(number) for number in range(len(units))]
        return take(index, branches, branches_platforms, *operands)

    def backward(operands: list, kept: list, cotangents: list) -> list:
        index, *operands = operands
        present = [g is not None for g in cotangents]
        wanted = [any(each) for each in zip(*(h.nonzero(present) for h in halves), strict=True)]

        def taken(number: int) -> Callable:
            def branch(operands: list, kept: list, cotangents: list) -> tuple[list, list]:
                given = dict(zip(keeps, operands, strict=True))
                values = [kept[i] for i in places[number]]
                own = [given[i] for i in units[number].keeps]
                with collecting() as found:
                    gradients = units[number].backward(own, values, cotangents)
                filled = zip(gradients, avals, wanted, strict=True)
                gradients = [ct.zeros(v) if w and g is None else g for g, v, w in filled]
                return gradients, logged_by_all(halves, number, found)

            return branch

        branches = [taken(number) for number in range(len(units))]
        found = take(index, branches, branches_platforms, operands, kept, cotangents)
        gradients, logged = found
        names = {name for entries in logged for name in entries}
        log({name: Taken(index, [entries.get(name) for entries in logged]) for name in names})
        return [None, *gradients]

    moving = tuple(any(each) for each in zip(*(unit.moving for unit in units), strict=True))
    return Unit(forward, backward, (0, *(i + 1 for i in keeps)), moving)


@rerun(lax.cond_p)
def cond_knowing(
    known: dict[int, Any], index: Any, *operands: Any, branches: tuple, **params: Any
) -> list:
    """A choice, some of whose results are at hand: the branch taken reads them."""
    unknown = [i for i in range(len(branches[0].out_avals)) if i not in known]

    def taken(branch: Any) -> Callable:
        def run(operands: Sequence, given: Sequence) -> list:
            made = zip((branch.jaxpr.outvars[i] for i in known), given, strict=True)
            at_hand = {
                **bound(branch, operands),
                **{v: x for v, x in made if not isinstance(v, Literal)},
            }
            targets = [branch.jaxpr.outvars[i] for i in unknown]
            return evaluate(needed_for(targets, branch.eqns, at_hand), at_hand, targets)

        return run

    chosen, platforms = [taken(b) for b in branches], params.get("branches_platforms")
    found = take(index, chosen, platforms, operands, list(known.values()))
    results = {**known, **dict(zip(unknown, found, strict=True))}
    return [results[i] for i in range(len(results))]
