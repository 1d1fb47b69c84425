"""From a recording to variables and operations: names, formulas, factors, contributions."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.registry import OPERANDS, Row
from backprop_jax.engine.reverse import pull
from backprop_jax.graph.expressions import (
    PLACE_BY_PLACE,
    Expression,
    called,
    constant,
    name,
    of_equation,
    of_jaxpr,
)
from backprop_jax.graph.names import assigned
from backprop_jax.graph.programs import program_of
from backprop_jax.graph.recording import Recording, Step
from backprop_jax.graph.values import Factor, Operation, Share, Variable

#: A formula that is longer is not put into others: there the value goes by a number.
LONGEST = 40


class Builder:
    """Makes variables and operations of a recording.

    Args:
      recording: forward and back.
      names: of the operands.
      constants: names of arrays that are not differentiated, by their identity.
    """

    def __init__(
        self, recording: Recording, names: Sequence[str], constants: dict[int, str]
    ) -> None:
        self.recording, self.names, self.constants = recording, names, constants
        self.variables: dict[int, Variable] = {}
        self.operations: dict[int, Operation] = {}
        self.taken: dict[str, int] = {}

    def build(self, title: str) -> tuple[tuple[Variable, ...], tuple[Operation, ...]]:
        """Returns variables and operations; the result is called by this title."""
        recording = self.recording
        for slot, label, x in zip(recording.inputs, self.names, recording.operands, strict=True):
            if slot is not None:
                self.add(slot, label, name(label), x)
        passed = [step for step in recording.steps if step.cotangents is not None]
        labels = assigned(passed)
        for step in passed:
            if self.is_cast(step):
                slots = step.result_slots[0], step.slots[0]
                self.variables[slots[0]] = self.variables[slots[1]]  # type: ignore[index]
            else:
                self.add_operation(step, labels.get(step.number, ""), title)
        if None in recording.outputs:  # It depends on no operand.
            (value,) = recording.results
            self.add(-1, title, name("…"), value)
        self.connect()
        unique = {id(v): v for v in self.variables.values()}
        return tuple(unique.values()), tuple(self.operations.values())

    def is_cast(self, step: Step) -> bool:
        """Returns whether a step only changes the type of a real number, and is left out."""
        before, after = step.node.operand_avals[0], step.node.result_avals[0]
        return (
            str(step.primitive) == "convert_element_type"
            and (not after.shape or before.dtype == after.dtype)
            and jnp.issubdtype(before.dtype, jnp.floating)
            and jnp.issubdtype(after.dtype, jnp.floating)
            and step.result_slots[0] not in self.recording.outputs
        )

    def add(
        self, slot: int, label: str, formula: Expression, value: Any, maker: Any = None
    ) -> Variable:
        """Adds a variable; several of one name are told apart by a count."""
        if label:
            self.taken[label] = self.taken.get(label, 0) + 1
            label += f"#{self.taken[label]}" if self.taken[label] > 1 else ""
        short = len(str(formula)) <= LONGEST and not jax.typeof(value).shape
        display = formula if short and not label else name(label or f"v{slot}")
        cotangent = self.recording.cotangents.get(slot)
        is_result = slot in self.recording.outputs or slot < 0
        self.variables[slot] = Variable(
            slot, label, display, formula, value, cotangent, maker, is_result
        )
        return self.variables[slot]

    def add_operation(self, step: Step, label: str, title: str) -> None:
        """Adds an operation and its results."""
        pairs = zip(step.slots, step.values, strict=True)
        operands = tuple(self.variables[s] if s in self.variables else x for s, x in pairs)
        operation = Operation(step, operands)
        formulas = self.formulas(step)
        for i, slot in enumerate(step.result_slots):
            if slot is None:
                continue
            called_so = "" if i else label or (title if slot in self.recording.outputs else "")
            variable = self.add(slot, called_so, formulas[i], step.results[i], operation)
            operation.results.append(variable)
        operation.factors.extend(self.factors(step))
        self.operations[step.number] = operation

    def displayed(self, step: Step) -> list[Expression]:
        """Returns the operands of a step as they stand in formulas."""
        pairs = zip(step.slots, step.values, step.node.operand_avals, strict=True)
        return [
            self.variables[slot].display
            if slot in self.variables
            else constant(value)
            if not aval.shape and ct.is_differentiable(aval) and jnp.isrealobj(value)
            else name(self.constants.get(id(value), "…"))
            for slot, value, aval in pairs
        ]

    def formulas(self, step: Step) -> list[Expression]:
        """Returns the formulas of a step's results."""
        operands, kind = self.displayed(step), str(step.primitive)
        has_arrays = any(a.shape for a in (*step.node.operand_avals, *step.node.result_avals))
        if step.name or (has_arrays and kind not in PLACE_BY_PLACE):
            found = [called(step.name or kind, *operands)]
        else:
            found = of_equation(step.primitive, step.params, operands)
        return [*found, *[name("…")] * (len(step.results) - len(found))]

    def factors(self, step: Step) -> list[Factor | None]:
        """Returns the derivative of a step's result by each operand, where all are numbers."""
        avals = [*step.node.operand_avals, *step.node.result_avals]
        if len(step.results) != 1 or any(aval.shape for aval in avals):
            return [None] * len(step.slots)
        one = jnp.ones((), step.node.result_avals[0].dtype)
        told = [ct.whole(g) for g in pull(step.node, [one])]
        texts = self.texts(step, one)
        return [
            None if slot is None else Factor(0.0 if g is None else g.item(), text)
            for slot, g, text in zip(step.slots, told, texts, strict=True)
        ]

    def texts(self, step: Step, one: Any) -> list[Expression | None]:
        """Returns the formulas of those derivatives, as the rule has them."""
        node, kept = step.node, step.node.kept or {}
        if type(node.rule) is not Row or not set(kept) <= {*OPERANDS, "z"}:
            return [None] * len(step.slots)
        shown = dict(zip(OPERANDS, self.displayed(step), strict=False))
        shown["z"] = self.variables[step.result_slots[0]].display  # type: ignore[index]
        operands = [*(shown[n] for n in kept), constant(1)]
        closed, given = program_of(node, one)
        formulas = of_jaxpr(closed.jaxpr, closed.consts, operands)
        short = [f if len(str(f)) <= LONGEST else None for f in formulas]
        found = dict(zip(given, short, strict=True))
        return [found.get(i) for i in range(len(step.slots))]

    def connect(self) -> None:
        """Gives every variable the contributions that its cotangent is the sum of."""
        for slot, contributions in self.recording.contributions.items():
            for step, place, value in contributions:
                if step is not None and step.number not in self.operations:
                    continue  # A cast: what flows to its result is noted there, by the same name.
                operation = None if step is None else self.operations[step.number]
                factor = operation.factors[place] if operation else None
                self.variables[slot].shares.append(Share(operation, place, factor, value))
