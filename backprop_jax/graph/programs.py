"""What a step's rule computes, as a program, to be read as formulas."""

import dataclasses
from typing import Any

import jax

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.reverse import pull


def program_of(node: Any, g: Any) -> tuple[Any, list[int]]:
    """Returns a rule's jaxpr, and which operands its results are the cotangents of.

    Args:
      node: the step, of a rule that keeps what it names.
      g: a cotangent of its result, or the type of one.

    Returns:
      The closed jaxpr, from what is kept and a cotangent to those of the operands that have one;
      and the positions of these operands.
    """
    kept, given = node.kept or {}, []

    def back(*values: Any) -> list:
        named = dict(zip(kept, values, strict=False))
        found = [ct.whole(g) for g in pull(dataclasses.replace(node, kept=named), [values[-1]])]
        given[:] = [i for i, g in enumerate(found) if g is not None]
        return [found[i] for i in given]

    return jax.make_jaxpr(back)(*kept.values(), g), given
