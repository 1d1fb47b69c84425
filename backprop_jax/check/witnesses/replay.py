"""A program taken again, step by step, in another system."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backprop_jax.check.paths import Leaves
from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.program import Program
from backprop_jax.check.witnesses.steps import Step
from backprop_jax.check.witnesses.witness import DoesNotApply, ErrorBar, Question, Witness


@dataclass(frozen=True)
class Backend:
    """Another system.

    Attributes:
      name: of the witness.
      constant: a NumPy array as an array of the system.
      move: arrays, and for each element of the result its place among all of theirs in a row.
      einsum: subscripts, two arrays, and the dtype of the result.
      add_at: an array, what is added, and to which place each goes, counted from 1; 0 is nowhere.
      cast: an array and a dtype.
      table: what each other primitive is called there; a function of the operands and `SETTINGS`.
      most: elements that all steps together may have; None for any number.
    """

    name: str
    constant: Callable[[np.ndarray], Any]
    move: Callable[[Sequence[Any], np.ndarray], Any]
    einsum: Callable[[str, Any, Any, np.dtype], Any]
    add_at: Callable[[Any, Any, np.ndarray], Any]
    cast: Callable[[Any, np.dtype], Any]
    table: dict[str, Callable[..., Any]]
    most: int | None = None


def check(program: Program, backend: Backend) -> None:
    """Raises DoesNotApply if the system lacks a step, or the program is too large for it."""
    kinds = {"move", "einsum", "add_at", "cast"}
    for step in program.steps:
        if step.name not in kinds and step.name not in backend.table:
            where = f", at {step.line}" if step.line else ""
            raise DoesNotApply(f"primitive '{step.name}' is not in its table{where}")
    count = sum(work(step) for step in program.steps)
    if backend.most is not None and count > backend.most:
        raise DoesNotApply(f"too large: {count} operations on numbers, it takes {backend.most}")


def work(step: Step) -> int:
    """Returns how many numbers a step goes through."""
    return math.prod(step.shape) * step.settings.get("length", 1)


def run(program: Program, inputs: Sequence[Any], backend: Backend) -> Any:
    """Returns the result of a program for inputs of the system."""
    values = list(inputs)

    def read(operand: int | np.ndarray) -> Any:
        return backend.constant(operand) if isinstance(operand, np.ndarray) else values[operand]

    for step in program.steps:
        operands = [read(operand) for operand in step.operands]
        match step.name:
            case "move":
                result = backend.move(operands, step.settings["places"])
            case "einsum":
                result = backend.einsum(
                    step.settings["subscripts"], operands[0], operands[1], step.dtype
                )
            case "add_at":
                result = backend.add_at(operands[0], operands[1], step.settings["places"])
            case "cast":
                result = backend.cast(operands[0], step.dtype)
            case name:
                result = backend.table[name](*operands, **step.settings)
        values.append(result)
    return read(program.result)


def answer(
    question: Question,
    name: str,
    gradients: Sequence[np.ndarray],
    errors: Sequence[ErrorBar] | None = None,
    doubts: tuple[str, ...] = (),
) -> Witness:
    """Returns the gradients of the inputs of a program as what a witness says.

    Integer leaves, which are no inputs, have none.
    """
    paths = [path for path, leaf in question.leaves.items() if is_inexact(leaf)]
    leaves: Leaves = dict(zip(paths, gradients, strict=True))
    bars = dict(zip(paths, errors, strict=True)) if errors is not None else {}
    return Witness(name, leaves, None, bars, doubts=doubts)
