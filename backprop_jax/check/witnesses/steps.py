"""Steps of a program, and the list that they are added to."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.witness import DoesNotApply

MOST_STEPS = 20_000
"""A longer program is not replayed: it would take minutes."""


class Value(NamedTuple):
    """A number of the run: what it is, and the step that gives it; None for a constant."""

    known: Any
    number: int | None = None


@dataclass(frozen=True)
class Step:
    """One step of a program.

    Attributes:
      name: of a primitive, or `move`, `einsum`, `add_at`, `cast`.
      operands: numbers of earlier values; an array where the operand is a constant.
      settings: what else it needs to know.
      shape: of the result.
      dtype: of the result.
      line: where the user wrote it.
    """

    name: str
    operands: tuple[int | np.ndarray, ...]
    settings: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    line: str


class Recording:
    """The steps so far, and ways to add one."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.steps: list[Step] = []
        self.custom: list[str] = []

    def add(
        self, name: str, operands: Sequence[Value], settings: dict[str, Any], known: Any, line: str
    ) -> Value:
        """Adds a step; returns its result."""
        if len(self.steps) >= MOST_STEPS:
            raise DoesNotApply(f"the function has more than {MOST_STEPS} steps")
        given = tuple(np.asarray(x.known) if x.number is None else x.number for x in operands)
        self.steps.append(Step(name, given, settings, known.shape, known.dtype, line))
        return Value(known, self.inputs + len(self.steps) - 1)

    def move(
        self, function: Callable[..., Sequence[Any]], operands: Sequence[Value], line: str
    ) -> list[Value]:
        """Returns the results of a function that only moves the inexact ones of its operands."""
        pool = [operand for operand in operands if is_inexact(operand.known)]
        starts = np.cumsum([0, *(np.size(operand.known) for operand in pool)])
        numbers = iter(
            jnp.arange(start, stop, dtype=np.int32).reshape(np.shape(operand.known))
            for start, stop, operand in zip(starts, starts[1:], pool, strict=False)
        )
        numbered = [next(numbers) if is_inexact(x.known) else x.known for x in operands]
        knowns = function(*(operand.known for operand in operands))
        results = []
        for known, places in zip(knowns, function(*numbered), strict=True):
            results.append(Value(known))
            if is_inexact(known):
                results[-1] = self.moved(pool, starts, np.asarray(places), known, line)
        return results

    def moved(
        self, pool: list[Value], starts: np.ndarray, places: np.ndarray, known: Any, line: str
    ) -> Value:
        """Returns what is taken from the places of those of the pool that any of them is in."""
        if (places < 0).any():
            raise DoesNotApply("an index is out of bounds" + f", at {line}" * bool(line))
        owner = np.searchsorted(starts, places, side="right") - 1
        used = np.unique(owner)
        if all(pool[i].number is None for i in used):
            return Value(known)
        sizes = [np.size(pool[i].known) for i in used]
        shift = np.zeros(len(pool), np.int64)
        shift[used] = np.cumsum([0, *sizes[:-1]]) - starts[used]
        settings = {"places": places + shift[owner]}
        return self.add("move", [pool[i] for i in used], settings, known, line)

    def einsum(self, subscripts: str, operands: Sequence[Value], known: Any, line: str) -> Value:
        """Adds a contraction of two operands; `length` is the number of terms of its sums."""
        left, right = subscripts.split("->")[0].split(",")
        shapes = (np.shape(operand.known) for operand in operands)
        sizes = {
            c: n
            for w, shape in zip((left, right), shapes, strict=True)
            for c, n in zip(w, shape, strict=True)
        }
        summed = set(sizes) - set(subscripts.split("->")[1])
        settings = {"subscripts": subscripts, "length": math.prod(sizes[c] for c in summed)}
        return self.add("einsum", operands, settings, known, line)
