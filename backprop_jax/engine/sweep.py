"""Forward on a tape, and the way back as a function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import set_current_trace, take_current_trace

from backprop_jax.engine.reading import Reading, readings
from backprop_jax.engine.reverse import Pullback
from backprop_jax.engine.tape import Node, Tape
from backprop_jax.meshes import small


def sweep(
    fun: Callable,
    operands: Sequence,
    active: Sequence[bool],
    reading: Reading | None = None,
    linear: str = "",
    make: Callable[..., Tape] = Tape,
) -> tuple[list, Pullback]:
    """Runs `fun` on a tape and returns its results and the way back.

    Args:
      fun: takes the operands, returns a sequence of results.
      operands: values.
      active: for every operand, whether to record it.
      reading: how rules are read. Default: as for what this is part of.
      linear: for a function that must be linear, what to say of a step that is not.
      make: (parent, reading, linear) → the tape.
    """
    with take_current_trace() as parent:
        tape = make(parent, reading or readings.get(), linear)
        if tape.staged:  # a program takes numbers as arrays
            with set_current_trace(parent):
                pairs = zip(operands, active, strict=True)
                operands = [array(x) if a else x for x, a in pairs]
        with set_current_trace(tape, check_leaks=True):
            swept = run(tape, fun, operands, active)
            tape.invalidate()
            del tape  # what still refers to it when the trace is left, leaks
    return swept


def run(
    tape: Tape, fun: Callable, operands: Sequence, active: Sequence[bool]
) -> tuple[list, Pullback]:
    """Returns what `sweep` does; the tape is the current trace."""
    recorded = [tape.record(x) if a else x for x, a in zip(operands, active, strict=True)]
    inputs = [x.slot if a else None for x, a in zip(recorded, active, strict=True)]
    results, outputs = tape.unwrap(fun(*recorded))
    nodes = leading_to(outputs, tape.nodes)
    tape.nodes.clear()  # a rule of the user's may hold the tape: let it hold no values
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


def transposed(pull: Pullback, avals: Sequence) -> Callable[[Sequence], list]:
    """Returns the way forward, the pullback of a pullback: tangents of operands → those of results.

    Args:
      pull: the way back.
      avals: the types of its results.
    """
    moving = [i for i, slot in enumerate(pull.outputs) if slot is not None]
    present: list[int] = []

    def back(*seeds: Any) -> list:
        cotangents: list = [None] * len(avals)
        for i, g in zip(moving, seeds, strict=True):
            cotangents[i] = g
        gradients = pull(cotangents)
        present[:] = [i for i, g in enumerate(gradients) if g is not None]
        return [gradients[i] for i in present]

    _, push = sweep(back, [small(avals[i]) for i in moving], [True] * len(moving))

    def forward(tangents: Sequence) -> list:
        slopes = dict(zip(moving, push([array(tangents[i]) for i in present]), strict=True))
        return [slopes.get(i) for i in range(len(avals))]

    return forward


def array(x: Any) -> Any:
    """Returns a number or an array as JAX's own."""
    return x if isinstance(x, Tracer) else jnp.asarray(x)
