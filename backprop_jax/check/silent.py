"""Zeros that say nothing: the result depends on an operand, and no derivative sees how.

A comparison, a rounding, the bits of a number have no slope, so a gradient through them alone is
zero, and so it is in JAX. It is the right derivative of what was computed, and hardly ever of what
was meant: the number of successes that `jax.random.binomial` draws does depend on their chance.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import Literal

from backprop_jax.check.witnesses.witness import Question
from backprop_jax.dependence import arities
from backprop_jax.engine.cotangents import is_differentiable
from backprop_jax.engine.jaxprs import held, variables
from backprop_jax.engine.registry import Constant, lookup
from backprop_jax.engine.tape import written_at

Flags = list[bool]


def silent_zeros(question: Question, zeros: Sequence[str]) -> tuple[str, ...]:
    """Returns a note on each of the leaves whose gradient is zero although the result moves.

    Args:
      question: what was differentiated.
      zeros: paths of the leaves whose gradient is zero in all places.
    """
    if not zeros:
        return ()
    closed = jax.make_jaxpr(question.run)(*question.operands)
    paths = question.paths
    results = closed.jaxpr.outvars[: None if not question.has_aux else 1]
    notes = []
    for path in zeros:
        flags = [p == path for p in paths]
        walk = Walk()
        moving, live = walk.through(closed.jaxpr, flags, list(flags))
        if any(moving[: len(results)]) and not any(live[: len(results)]) and walk.ends:
            notes.append(
                f"{path} has no gradient, yet the result depends on it: every way passes a step "
                f"without a slope, {'; '.join(walk.places())}"
            )
    return tuple(notes)


class Walk:
    """A walk through a jaxpr: which values move with an operand, and which of them have a slope.

    Attributes:
      ends: the steps at which a slope is lost: the primitive, and the user's line.
    """

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def places(self) -> list[str]:
        """Returns what to call the ends, line by line; what JAX adds without one goes unnamed."""
        by_line: dict[str, list[str]] = {}
        for name, line in dict.fromkeys(self.ends):
            by_line.setdefault(line, []).append(f"'{name}'")
        lines = {line: names for line, names in by_line.items() if line} or by_line
        return [
            ", ".join(names[:3]) + ", ..." * (len(names) > 3) + f" at {line}" * bool(line)
            for line, names in lines.items()
        ]

    def through(self, jaxpr: Any, moving: Flags, live: Flags) -> tuple[Flags, Flags]:
        """Returns, for every result, whether it moves and whether that has a slope."""
        moves = {v for v, flag in zip(jaxpr.invars, moving, strict=True) if flag}
        lives = {v for v, flag in zip(jaxpr.invars, live, strict=True) if flag}
        for equation in jaxpr.eqns:
            if moves.isdisjoint(variables(equation.invars)):
                continue
            operands = [[v in s for v in map(known, equation.invars)] for s in (moves, lives)]
            moved, lived = self.step(equation, *operands)
            moves.update(v for v, flag in zip(equation.outvars, moved, strict=True) if flag)
            lives.update(v for v, flag in zip(equation.outvars, lived, strict=True) if flag)
        outs = [known(v) for v in jaxpr.outvars]
        return [v in moves for v in outs], [v in lives for v in outs]

    def step(self, equation: Any, moving: Flags, live: Flags) -> tuple[Flags, Flags]:
        """Returns the same for the results of one equation."""
        found = self.within(equation, moving, live)
        if found is None:
            inexact = [is_differentiable(v.aval) for v in equation.outvars]
            constant = type(lookup(equation.primitive)) is Constant
            found = [True] * len(inexact), [any(live) and i and not constant for i in inexact]
            if any(live) and not any(found[1]) and equation.primitive.name != "stop_gradient":
                self.ends.append((equation.primitive.name, written_at(equation.source_info)))
        return found

    def within(self, equation: Any, moving: Flags, live: Flags) -> tuple[Flags, Flags] | None:
        """Returns the same for a primitive that holds jaxprs; None for one that does not.

        The operands of a jaxpr are the last ones of the equation. What a loop carries goes round.
        """
        bodies = held(equation.params)
        if equation.primitive.name == "while":
            bodies = [equation.params["body_jaxpr"]]
        if not bodies:
            return None
        count = len(equation.outvars)
        found = [False] * count, [False] * count
        for body in map(opened, bodies):
            flags = [list(f[len(f) - len(body.invars) :]) for f in (moving, live)]
            places = carried(equation, len(body.invars))
            while True:
                outs = self.through(body, *flags)
                after = [list(f) for f in flags]
                for out, place in places:
                    for f, o in zip(after, outs, strict=True):
                        f[place] |= o[out]
                if after == flags:
                    break
                flags = after
            for f, o in zip(found, outs, strict=True):
                f[:] = [x or y for x, y in zip(f, o, strict=True)]
        decided = any(moving[: len(moving) - len(opened(bodies[0]).invars)])
        return [m or decided for m in found[0]], found[1]


def carried(equation: Any, count: int) -> list[tuple[int, int]]:
    """Returns for every carried value its place among the results and operands of the body."""
    if equation.primitive.name == "while":
        carry = len(equation.outvars)
        return [(i, count - carry + i) for i in range(carry)]
    if equation.primitive.name == "scan":
        consts, carry = arities(equation.params)
        return [(i, consts + i) for i in range(carry)]
    return []


def opened(jaxpr: Any) -> Any:
    """Returns a jaxpr without its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def known(atom: Any) -> Any:
    """Returns a variable, None for a literal."""
    return None if isinstance(atom, Literal) else atom
