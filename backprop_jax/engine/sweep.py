"""Forward on a tape, and the way back as a function."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jax.extend.core import set_current_trace, take_current_trace

from backprop_jax.engine.reverse import reverse
from backprop_jax.engine.tape import Node, Tape


class Pullback(NamedTuple):
    """The way back: maps cotangents of the results to cotangents of the operands.

    Attributes:
      nodes: the steps that lead from the operands to the results, and no others.
      inputs: for every operand its slot, None where it was not recorded.
      outputs: for every result its slot, None where it depends on no recorded operand.
    """

    nodes: list[Node]
    inputs: list[int | None]
    outputs: list[int | None]

    def __call__(self, cotangents: Sequence, postpone: bool = False) -> list:
        """Returns the cotangent of every operand; None, here and there, for one that is zero.

        `postpone`: a missing derivative is an error when what was built here is used, not before.
        """
        pairs = zip(self.outputs, cotangents, strict=True)
        seeds = [(s, g) for s, g in pairs if s is not None and g is not None]
        pending = reverse(self.nodes, seeds, postpone)
        return [None if slot is None else pending.get(slot) for slot in self.inputs]


def sweep(fun: Callable, operands: Sequence, active: Sequence[bool]) -> tuple[list, Pullback]:
    """Runs `fun` on a tape and returns its results and the way back.

    Args:
      fun: takes the operands, returns a sequence of results.
      operands: values.
      active: for every operand, whether to record it.
    """
    with take_current_trace() as parent:
        tape = Tape(parent)
        recorded = [tape.record(x) if a else x for x, a in zip(operands, active, strict=True)]
        inputs = [x.slot if a else None for x, a in zip(recorded, active, strict=True)]
        with set_current_trace(tape, check_leaks=True):
            results, outputs = tape.unwrap(fun(*recorded))
        nodes = leading_to(outputs, tape.nodes)
        tape.invalidate()
    return results, Pullback(nodes, inputs, outputs)


def leading_to(outputs: Sequence[int | None], nodes: Sequence[Node]) -> list[Node]:
    """Returns the nodes that the outputs depend on, in order, so that the others can be let go."""
    wanted = {slot for slot in outputs if slot is not None}
    leading = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.results):
            wanted.update(slot for slot in node.operands if slot is not None)
            leading.append(node)
    return leading[::-1]
