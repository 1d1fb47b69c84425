"""The sweep back over a tape."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from backprop_jax.dtypes import enabling_for
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import needed_for, variables
from backprop_jax.errors import MissingRule
from backprop_jax.meshes import on_mesh_of, put
from backprop_jax.programs import at


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(slots=True)
class Pullback:
    """The way back: maps cotangents of the results to cotangents of the operands.

    It is a pytree of what its steps keep, so it may leave a compiled function or enter one.

    Attributes:
      nodes: the steps that lead from the operands to the results, and no others.
      inputs: for every operand its slot, None where it was not recorded.
      outputs: for every result its slot, None where it depends on no recorded operand.
    """

    nodes: list
    inputs: list[int | None]
    outputs: list[int | None]
    frame: "Frame | None" = None

    def __call__(self, cotangents: Sequence, postpone: bool = False) -> list:
        """Returns the cotangent of every operand; None, here and there, for one that is zero.

        `postpone`: a missing derivative is an error when what was built here is used, not before.
        """
        return list(map(ct.whole, self.contributions(cotangents, postpone)))

    def contributions(self, cotangents: Sequence, postpone: bool = False) -> list:
        """Returns what `__call__` does, where contributions wait for others still as they are."""
        pairs = zip(self.outputs, cotangents, strict=True)
        seeds = [(s, g) for s, g in pairs if s is not None and g is not None]
        pending = reverse(self.nodes, seeds, postpone)
        return [None if slot is None else pending.get(slot) for slot in self.inputs]

    def tree_flatten(self) -> tuple[list, Any]:
        """Returns what the steps keep, and the frame that is left without it."""
        if self.frame is None:
            empty = [dataclasses.replace(node, kept=None) for node in self.nodes]
            self.frame = Frame(empty, self.inputs, self.outputs)
        return [node.kept for node in self.nodes], self.frame

    @classmethod
    def tree_unflatten(cls, frame: Any, kept: Sequence) -> "Pullback":
        """Returns the pullback of a frame, keeping these values."""
        steps = zip(frame.nodes, kept, strict=True)
        nodes = [dataclasses.replace(node, kept=values) for node, values in steps]
        return cls(nodes, frame.inputs, frame.outputs, frame)


class Frame:
    """A pullback's steps without what they keep. Two frames are equal if they are one."""

    def __init__(self, nodes: list, inputs: list, outputs: list) -> None:
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs


def reverse(
    nodes: Sequence, seeds: Iterable[tuple[int, Any]], postpone: bool = False
) -> dict[int, Any]:
    """Walks the nodes back and returns the cotangents that arrive where no node made the value.

    Args:
      nodes: the steps, in the order they were taken.
      seeds: pairs of a slot and a cotangent of that value. A slot may come several times.
      postpone: whether a missing derivative becomes part of the program, an error when it runs.
    """
    pending: dict[int, Any] = {}
    for slot, g in seeds:
        contribute(pending, slot, g)
    for node in reversed(nodes):
        if not any(slot in pending for slot in node.results):
            continue
        avals = (*node.operand_avals, *node.result_avals)
        with at(node.source), enabling_for(avals), on_mesh_of(avals):
            cotangents = [ct.whole(pending.pop(slot, None)) for slot in node.results]
            try:
                gradients = pull(node, cotangents)
            except MissingRule as error:
                if not postpone:
                    raise
                gradients = postponed(error, node, cotangents)
            for slot, gradient, aval in zip(
                node.operands, gradients, node.operand_avals, strict=True
            ):
                if slot is not None and gradient is not None:
                    if type(gradient) is not ct.Part:  # which lives where its array does
                        gradient = put(gradient, aval)
                    contribute(pending, slot, gradient)
    return pending


def contribute(pending: dict[int, Any], slot: int, g: Any) -> None:
    """Adds a contribution to a value's cotangent."""
    held = pending.get(slot)
    if held is None:
        pending[slot] = g
    elif type(held) is ct.Sum:
        held.add(g)
    else:
        pending[slot] = ct.Sum(held, g)


def pull(node: Any, cotangents: list) -> list:
    """Returns the cotangents of a step's operands."""
    if node.rule is None:
        raise node.missing_rule()
    return node.rule.pull(node, cotangents)


def read_by(node: Any) -> list:
    """Returns those of the values a step keeps that the way back reads for the operands wanted.

    If it gives none of them a cotangent, these are all.
    """
    kept, tree = jax.tree.flatten(node.kept)
    pairs = zip(node.results, node.result_avals, strict=True)
    cotangents = [None if slot is None else aval for slot, aval in pairs]

    def back(kept: list, cotangents: list) -> list:
        step = dataclasses.replace(node, kept=jax.tree.unflatten(tree, kept))
        pairs = zip(node.operands, pull(step, cotangents), strict=True)
        return [g for slot, g in pairs if slot is not None and g is not None]

    jaxpr = jax.make_jaxpr(back)(list(map(jax.typeof, kept)), cotangents).jaxpr
    if not jaxpr.outvars:
        return kept
    needed = needed_for(jaxpr.outvars, jaxpr.eqns)
    read = {v for e in needed for v in variables(e.invars)} | set(variables(jaxpr.outvars))
    return [x for x, v in zip(kept, jaxpr.invars, strict=False) if v in read]


# A derivative that is missing within a loop, a branch or a compiled function may turn out not to
# be needed: its cotangent is zero, or nobody asks for what depends on it. So it stands in their
# program as an equation, which is an error only where it is compiled.
missing_p = Primitive("missing_derivative")
missing_p.multiple_results = True


@missing_p.def_abstract_eval
def missing_avals(*cotangents: Any, avals: tuple, error: MissingRule) -> list:
    """Returns the types of the cotangents that are missing."""
    del cotangents, error
    return list(avals)


def raise_missing(*cotangents: Any, error: MissingRule, **params: Any) -> list:
    """Raises the error that was postponed."""
    raise error


missing_p.def_impl(raise_missing)
mlir.register_lowering(missing_p, raise_missing)
batching.primitive_batchers[missing_p] = raise_missing


def postponed(error: MissingRule, node: Any, cotangents: list) -> list:
    """Returns cotangents of a step's operands that nobody can compute."""
    wanted = [slot is not None for slot in node.operands]
    avals = tuple(aval for aval, w in zip(node.operand_avals, wanted, strict=True) if w)
    given = [g for g in cotangents if g is not None]
    made = iter(missing_p.bind(*given, avals=avals, error=error))
    return [next(made) if w else None for w in wanted]
