"""The tape: a function runs on it, and every step a gradient could pass through is written down.

`Tape` is a `jax.core.Trace`. A primitive that meets a recorded operand is run straight away on the
trace that was current before (`parent_trace`), so values are whatever they are there: concrete
numbers, tracers of `jit` or `vmap`, values on another tape. Then a node is added. Everything else
never touches the tape: operands that are not recorded are constants.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax.core import Trace, Tracer
from jax.extend import source_info_util
from jax.extend.core import Primitive, set_current_trace, unsafe_am_i_under_a_jit_DO_NOT_USE
from jax.tree_util import Partial

from backprop_jax.dependence import dependent
from backprop_jax.engine import custom
from backprop_jax.engine.cotangents import is_differentiable, zeros
from backprop_jax.engine.jaxprs import has_state, is_changing, run_on_arrays
from backprop_jax.engine.reading import Reading
from backprop_jax.engine.registry import (
    Constant,
    Row,
    accesses,
    always,
    detours,
    doors,
    touching,
)
from backprop_jax.engine.reverse import read_by
from backprop_jax.engine.units import Structured
from backprop_jax.errors import MissingRule, NotLinear, lost, message, written_at
from backprop_jax.programs import run_on


class Recorded(Tracer):
    """A value on a tape: the value itself, and its slot, the number it goes by on the way back."""

    __module__ = Tracer.__module__  # autoray and opt_einsum tell an array by its first word: jax
    __slots__ = ("slot", "value")

    def __init__(self, tape: "Tape", aval: Any, value: Any, slot: int) -> None:
        super().__init__(tape, aval)
        self.value = value
        self.slot = slot

    def to_concrete_value(self) -> Any:
        """Returns the number behind the value if there is one, so that Python can branch on it."""
        value = self.value
        return value.to_concrete_value() if isinstance(value, Tracer) else value

    def _contents(self) -> list[tuple[str, Any]]:
        """Returns what is shown of it. `jax.closure_convert`, too, looks here for derivatives."""
        return [("value", self.value), ("derivative", custom.may_have_derivative())]


class Cell(Tracer):
    """A mutable reference made on a tape: it holds the value it has now, recorded or not."""

    __slots__ = ("contents",)

    def __init__(self, tape: "Tape", aval: Any, contents: Any) -> None:
        super().__init__(tape, aval)
        self.contents = contents
        tape.cells = True


@dataclasses.dataclass(slots=True)
class Node:
    """One step: a primitive, where its operands came from, and what its rule asked to keep."""

    primitive: Primitive
    params: dict
    rule: Any
    operands: list[int | None]  # slots; None for a constant
    results: list[int | None]  # slots; None for a result without a derivative
    operand_avals: list
    result_avals: list
    kept: Any
    source: Any

    def equation(self) -> str:
        """Returns the step as text: `float32[3] = my_kernel float32[3]`."""
        results = ", ".join(aval.str_short() for aval in self.result_avals)
        operands = " ".join(aval.str_short() for aval in self.operand_avals)
        return f"{results} = {self.primitive} {operands}"

    def written_at(self) -> str:
        """Returns the user's line, see `written_at`."""
        return written_at(self.source)

    def missing_rule(self, reason: str = "", error: Any = None) -> MissingRule:
        """Returns the error to raise when this step's derivative is needed and not to be had."""
        what = f"no rule for primitive '{self.primitive}'"
        return (error or MissingRule)(
            message(
                f"{what}: {reason}." if reason else f"{what}.",
                equation=self.equation(),
                written_at=self.written_at(),
                to_go_on="add one (backprop_jax.extend), or wrap the call in lax.stop_gradient.",
            )
        )


def moves(values: Iterable, operands: tuple[list, list], results: Sequence) -> bool:
    """Returns whether one of these values is a result, or an operand that has a slot."""
    moving = [value for value, slot in zip(*operands, strict=True) if slot is not None]
    return any(value is other for value in values for other in [*moving, *results])


class Tape(Trace):
    """Records the steps of a function. See the module's first lines.

    Args:
      parent: the trace everything is run on.
      reading: how rules are read.
      linear: for a tape of a function that must be linear in what is recorded, what to say of a
        step that is not.
    """

    __slots__ = ("cells", "linear", "nodes", "parent_trace", "reading", "slots", "staged")
    can_move = staticmethod(is_differentiable)  # whether values of a type can have a cotangent
    calls = True  # whether a program that it stages may call functions, or is to be seen whole

    def __init__(self, parent: Trace, reading: Reading, linear: str = "") -> None:
        super().__init__()
        self.requires_low = False
        self.parent_trace = parent
        self.reading = reading
        self.linear = linear
        self.cells = False  # whether there is any
        self.nodes: list[Node] = []
        self.slots = 0
        self.staged = is_staging(parent)

    def record(self, value: Any) -> Recorded:
        """Returns the value as one whose way is recorded from here on."""
        return self.record_as(jax.typeof(value), value)

    def record_as(self, aval: Any, value: Any) -> Recorded:
        """Returns the value, of this type, as one whose way is recorded from here on."""
        self.slots = (slot := self.slots) + 1
        return Recorded(self, aval, value, slot)

    def unwrap(self, tracers: Sequence) -> tuple[list, list[int | None]]:
        """Returns the values behind the tracers, and their slots: None for a constant."""
        values, slots = [], []
        for tracer in tracers:
            if type(tracer) is Recorded and tracer._trace is self:
                values.append(tracer.value)
                slots.append(tracer.slot)
            else:
                values.append(tracer)
                slots.append(None)
        return values, slots

    def add(
        self,
        primitive: Primitive,
        params: dict,
        rule: Any,
        operands: tuple[list, list[int | None]],
        results: Sequence,
        kept: Any,
        differentiable: Sequence[bool] | None = None,
    ) -> list:
        """Writes a step down and returns its results, recorded where they can have a derivative."""
        values, slots = operands
        outs, out_slots, out_avals = [], [], []
        for i, result in enumerate(results):
            aval = jax.typeof(result)
            out_avals.append(aval)
            if self.can_move(aval) and (differentiable is None or differentiable[i]):
                result = self.record_as(aval, result)
                out_slots.append(result.slot)
            else:
                out_slots.append(None)
            outs.append(result)
        if is_empty(out_slots):
            if self.linear:
                raise NotLinear(self.linear)
            return outs
        avals = list(map(jax.typeof, values))
        source = source_info_util.current()
        self.nodes.append(
            Node(primitive, params, rule, slots, out_slots, avals, out_avals, kept, source)
        )
        return outs

    def process_primitive(self, primitive: Primitive, tracers: Sequence, params: dict, /) -> Any:
        """Runs a primitive on the parent trace and, where an operand is recorded, adds a node."""
        if primitive in touching or (self.cells and any(self.made(x) for x in tracers)):
            return self.process_reference(primitive, tracers, params)
        values, slots = operands = self.unwrap(tracers)
        if is_empty(slots) and primitive not in always:
            return run_on(self.parent_trace, primitive, values, params)
        rule = self.reading.rule(primitive, values, params)
        if type(rule) is Structured:
            outs = self.process_structured(primitive, rule, tracers, params)
            return outs if primitive.multiple_results else outs[0]
        run = doors.get(primitive) if rule is None else detours.get(primitive)
        if run and (outs := run(self, tracers, params)) is not None:
            return outs
        if rule is None and any(is_changing(jax.typeof(x)) for x in values):
            what = f"'{primitive}' writes a value that is differentiated where it"
            raise lost(what, "wrap the value in lax.stop_gradient, or return it.")
        result = (run_on if rule else run_on_arrays)(self.parent_trace, primitive, values, params)
        if type(rule) is Constant:
            if self.linear:
                raise NotLinear(self.linear)
            return result
        results = result if primitive.multiple_results else [result]
        active = [slot is not None for slot in slots]
        kept = rule.keep(values, result, active) if type(rule) is Row else None
        outs = self.add(primitive, params, rule, operands, results, kept)
        if self.linear and kept and moves(kept.values(), operands, results):
            self.check_linear(read_by(self.nodes[-1]), operands, results)
        return outs if primitive.multiple_results else outs[0]

    def process_structured(
        self, primitive: Primitive, rule: Structured, tracers: Sequence, params: dict
    ) -> list:
        """Runs a primitive that holds a jaxpr, step by step on this tape where it may be.

        It may while staging, where there is state, and in a linear function: there all is seen.
        """
        values, slots = operands = self.unwrap(tracers)
        active = tuple([slot is not None for slot in slots])
        may = self.staged and not self.linear
        unit = rule.remember(active, params, self.reading, self.calls) if may else None
        steps = self.staged or self.linear or has_state(params)
        if unit is None and steps and (run := rule.inline(params)):
            with set_current_trace(self):
                return run(*tracers)
        plain, compiled = (unit, unit) if unit else rule.unit(active, params, self.reading)
        unit = plain if self.staged else compiled
        with set_current_trace(self.parent_trace):
            try:
                results, kept = unit.forward(*values)
            except NotImplementedError:  # a user's primitive that cannot be compiled, only run
                unit = plain
                results, kept = unit.forward(*values)
            if self.linear and not any(dependent(lambda *x: plain.forward(*x)[0], values, active)):
                return results
            held = [values[i] for i in unit.keeps]
            if self.linear and moves(held, operands, results):
                moving = [moves([x], operands, results) for x in held]
                pairs = zip(results, unit.moving, strict=True)
                g = [zeros(jax.typeof(z)) if m else None for z, m in pairs]
                if any(dependent(lambda *x: plain.backward(x, kept, g)[0], held, moving)):
                    raise NotLinear(self.linear)
        kept = Partial(unit.backward, held, kept)
        return self.add(primitive, {}, rule, operands, results, kept, unit.moving)

    def made(self, x: Any) -> bool:
        """Returns whether a value is a cell of this tape."""
        return type(x) is Cell and x._trace is self

    def process_reference(self, primitive: Primitive, tracers: Sequence, params: dict) -> Any:
        """Runs a primitive that makes, reads, writes or closes over a mutable reference."""
        if primitive not in accesses:
            self.check_references(primitive, tracers)
        with set_current_trace(self):
            return accesses[primitive](self, tracers, **params)

    def check_references(self, primitive: Any, tracers: Sequence) -> None:
        """Raises if a reference made on this tape goes where its value cannot be followed."""
        if self.cells and any(self.made(x) for x in tracers):
            what = f"a reference made in the function enters '{primitive}', and what becomes of its"
            raise lost(f"{what} value there", "read it before, and hand over the value.")

    def step(self, primitive: Primitive, unit: Any, tracers: Sequence) -> list:
        """Runs a unit on the parent trace as a step of its own."""
        values, slots = operands = self.unwrap(tracers)
        with set_current_trace(self.parent_trace):
            results, kept = unit.forward(*values)
        if is_empty(slots):
            return results
        kept = Partial(unit.backward, [values[i] for i in unit.keeps], kept)
        return self.add(primitive, {}, custom.JVP, operands, results, kept, unit.moving)

    def check_linear(self, kept: Sequence, operands: tuple[list, list], results: Sequence) -> None:
        """Raises NotLinear if a step of a linear function keeps a value that moves with it."""
        if moves(kept, operands, results):
            raise NotLinear(self.linear)

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Sequence, /, *, symbolic_zeros: bool
    ) -> list:
        """Runs a function with the user's own forward rule, and keeps that rule's reverse."""
        self.check_references(primitive, tracers)
        values, slots = operands = self.unwrap(tracers)
        params = {"subfuns": (fun, jvp), "symbolic_zeros": symbolic_zeros}
        with set_current_trace(self.parent_trace):
            if is_empty(slots):
                return primitive.bind(*values, **params)
        if self.linear:
            return self.process_call(primitive, fun, tracers, {})
        if run := self.reading.swapped(fun):
            return run(self, primitive, fun, params, tracers)
        if run := custom.other_way(fun, symbolic_zeros):
            return run(self, primitive, fun, jvp, tracers)
        return self.add_jvp(primitive, jvp, operands, symbolic_zeros)

    def add_jvp(
        self, primitive: Any, jvp: Any, operands: tuple[list, list], symbolic_zeros: bool
    ) -> list:
        """Runs a user's forward rule, and writes its reverse down."""
        tape = Tape(self.parent_trace, self.reading, NOT_LINEAR)
        results, moved, kept = custom.run_jvp(tape, jvp, *operands, symbolic_zeros)
        return self.add(primitive, {}, custom.JVP, operands, results, kept, moved)

    def process_custom_vjp_call(
        self,
        primitive: Any,
        fun: Any,
        fwd: Any,
        bwd: Any,
        tracers: Sequence,
        /,
        *,
        out_trees: Callable,
        symbolic_zeros: bool,
    ) -> list:
        """Runs a function with the user's own reverse rule, and keeps what that rule asks for."""
        params = dict(subfuns=(fun, fwd, bwd), out_trees=out_trees, symbolic_zeros=symbolic_zeros)
        if self.cells and any(self.made(x) for x in tracers):
            return self.process_reference(primitive, tracers, params)
        values, slots = operands = self.unwrap(tracers)
        if run := not is_empty(slots) and self.reading.swapped(fun):
            return run(self, primitive, fun, params, tracers)
        with set_current_trace(self.parent_trace):
            if is_empty(slots):
                return primitive.bind(*values, **params)
            outs = fwd.call_wrapped(*custom.flagged(values, slots))
        results, residuals = custom.handed_over(outs, values, out_trees)
        kept = custom.Backward(bwd, residuals, symbolic_zeros)
        return self.add(primitive, {}, self.reading.of(custom.VJP), operands, results, kept)

    def process_shard_map(
        self, primitive: Any, fun: Callable, tracers: Sequence, /, **params: Any
    ) -> Any:
        """Runs a function of shards; staged first, so that what it closes over is an operand."""
        made: list = []

        def staged(*operands: Any) -> list:
            made.append(primitive.bind(*operands, subfuns=(fun,), **params))
            return list(made[0])

        closed = jax.make_jaxpr(staged)(*tracers)
        (equation,) = closed.eqns
        operands = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        operands.update(zip(closed.jaxpr.invars, tracers, strict=True))
        tracers = [operands[v] for v in equation.invars]
        values, slots = self.unwrap(tracers)
        if is_empty(slots):
            with set_current_trace(self.parent_trace):
                return primitive.bind(*values, **primitive.get_bind_params(equation.params))
        rule = self.reading.rule(primitive, values, equation.params)
        results = iter(self.process_structured(primitive, rule, tracers, equation.params))
        return made[0].map(lambda _: next(results))

    def process_call(self, primitive: Any, fun: Any, tracers: Sequence, params: dict, /) -> Any:
        """Runs a called function on the tape itself: a call is no step of its own."""
        del primitive, params
        with set_current_trace(self):
            return fun.call_wrapped(*tracers)

    def cur_qdd(self, x: Any) -> Any:
        """Returns the types of what a mutable value of `jax.experimental.hijax` holds now."""
        parent: Any = self.parent_trace
        return parent.cur_qdd(x)

    def stage_value(self, val: Any) -> Any:
        """Lifts a value into the parent trace. A recorded value stays as it is."""
        if isinstance(val, Recorded) and val._trace is self:
            return val
        return self.parent_trace.stage_value(val)


def is_empty(slots: list) -> bool:
    """Returns whether none of the values is recorded."""
    return slots.count(None) == len(slots)


NOT_LINEAR = message(
    "this jax.custom_jvp rule is not linear in its tangents, so it has no reverse.",
    to_go_on="let every tangent enter the rule's result as a factor, once, or use jax.custom_vjp.",
)


def is_staging(parent: Trace) -> bool:
    """Returns whether what runs on this trace becomes part of a program to run later."""
    if isinstance(parent, Tape):
        return parent.staged
    with set_current_trace(parent):
        return unsafe_am_i_under_a_jit_DO_NOT_USE()
