"""What a picture of the way back is made of: variables, operations, and what flows between."""

import dataclasses
from typing import Any, NamedTuple

import jax

from backprop_jax.graph.expressions import Expression, number
from backprop_jax.graph.recording import Step
from backprop_jax.graph.summaries import Summary, summary


class Factor(NamedTuple):
    """The derivative of a step's result by an operand, single numbers both; its formula or None."""

    value: float | complex
    formula: Expression | None

    def __str__(self) -> str:
        """The formula if there is one, else the number."""
        return number(self.value) if self.formula is None else str(self.formula)


class Share(NamedTuple):
    """What one user of a variable adds to its cotangent.

    Attributes:
      operation: the user; None for the one that the way back starts from.
      place: which operand of it the variable is.
      factor: the derivative by it; None where there are arrays.
      value: factor times the cotangent of the operation's result.
    """

    operation: "Operation | None"
    place: int
    factor: Factor | None
    value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Variable:
    """A value.

    Attributes:
      number: that it goes by.
      name: what the user calls it; "" if that is not known.
      display: as it stands in formulas: its name, or what it is.
      formula: what it is, in terms of what it is made of; of an operand its name.
      value, cotangent: numbers or arrays; the cotangent is None if nothing flows back to it.
      operation: that made it; None for an operand.
      is_result: whether it is what the function returns.
      shares: what its cotangent is the sum of.
    """

    number: int
    name: str
    display: Expression
    formula: Expression
    value: Any
    cotangent: Any
    operation: "Operation | None"
    is_result: bool
    shares: list[Share] = dataclasses.field(default_factory=list)

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single number."""
        return not jax.typeof(self.value).shape

    @property
    def summary(self) -> Summary:
        """Of the value."""
        return summary(self.value)

    @property
    def cotangent_summary(self) -> Summary | None:
        """Of the cotangent; None if nothing flows back to it."""
        return None if self.cotangent is None else summary(self.cotangent)

    @property
    def label(self) -> str:
        """What to call it where there is little room: its name, its formula, or its operation."""
        if self.name or self.operation is None:
            return self.name
        short = str(self.formula)
        return short if self.is_scalar and len(short) <= 24 else self.operation.name


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """A step.

    Attributes:
      step: as it was recorded: primitive, the user's line, what it is within.
      operands: variables, and the values of constants.
      results: variables.
      factors: for every operand the derivative of the result by it; None for a constant, and where
        there are arrays.
    """

    step: Step
    operands: tuple
    results: list[Variable] = dataclasses.field(default_factory=list)
    factors: list[Factor | None] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the function with a rule of its own, or of the primitive."""
        return self.step.name or str(self.step.primitive)

    @property
    def kept(self) -> str:
        """What its rule asks to keep for the way back, and the bytes of it: `x, z: 96 bytes`."""
        kept = self.step.node.kept
        arrays = [x for x in jax.tree.leaves(kept) if hasattr(x, "nbytes")]
        if not arrays:
            return ""
        read = [NAMES.get(str(n), str(n)) for n in kept] if type(kept) is dict else [self.name]
        return f"{', '.join(read)}: {sum(x.nbytes for x in arrays)} bytes"


#: What a rule calls what it reads, in words.
NAMES = {"x": "operand 0", "y": "operand 1", "w": "operand 2", "z": "the result", "i": "indices"}
