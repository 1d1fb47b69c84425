"""Reading what a reverse pass was traced to."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import Literal

from backprop_jax.engine.cotangents import is_differentiable
from backprop_jax.engine.registry import lookup

#: What the tape meets through a door of its own, so that the book of rules has no page for it.
USERS_OWN = ("custom_jvp_call", "custom_vjp_call", "call_hi_primitive")


def inner(equation: Any) -> list:
    """Returns the jaxprs an equation holds."""
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
    return [getattr(leaf, "jaxpr", leaf) for leaf in leaves if hasattr(leaf, "eqns")]


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yields every equation, those of functions within functions too."""
    for equation in jaxpr.eqns:
        yield equation
        for held in inner(equation):
            yield from equations(held)


def primitives(jaxpr: Any) -> Counter:
    """Returns how often every primitive occurs."""
    return Counter(str(equation.primitive) for equation in equations(jaxpr))


def without_rule(jaxpr: Any, moving: set | None = None) -> set[str]:
    """Returns the primitives without a rule that stand between an operand and a result."""
    moving = set(jaxpr.invars) if moving is None else moving
    found = set()
    for equation in jaxpr.eqns:
        reads = {v for v in equation.invars if not isinstance(v, Literal)}
        if moving.isdisjoint(v for v in reads if is_differentiable(v.aval)):
            continue
        moving.update(v for v in equation.outvars if is_differentiable(v.aval))
        name = str(equation.primitive)
        if lookup(equation.primitive) is None and name not in USERS_OWN:
            found.add(name)
        if name not in USERS_OWN and not takes_numbers_apart(equation):
            for held in inner(equation):
                found |= without_rule(held)
    return found


def takes_numbers_apart(equation: Any) -> bool:
    """Returns whether an equation holds a jaxpr that says how to combine two numbers: scatter."""
    return "update_jaxpr" in equation.params or "computation" in equation.params


def idle(jaxpr: Any) -> list:
    """Returns the equations whose results nobody reads."""
    wanted = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    found = []
    for equation in reversed(jaxpr.eqns):
        if wanted.isdisjoint(equation.outvars) and not equation.effects:
            found.append(equation)
        else:
            wanted.update(v for v in equation.invars if not isinstance(v, Literal))
    return found
