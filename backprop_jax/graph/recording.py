"""A recording: one run of a function, forward and back, with every value and every cotangent.

The function runs on a tape of ours that writes more down, `Recorder`, and is walked back by
`engine.reverse`, over the same nodes with rules that note what goes in and comes out. So what is
seen is what `grad` does, but that loops, branches and compiled functions are run step by step.
"""

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import Primitive, set_current_trace

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.reading import Reading
from backprop_jax.engine.registry import lookup
from backprop_jax.engine.reverse import Pullback, pull
from backprop_jax.engine.sweep import sweep
from backprop_jax.engine.tape import Node, Tape
from backprop_jax.engine.units import Structured, Unit
from backprop_jax.errors import message
from backprop_jax.graph.following import Scope, step_by_step
from backprop_jax.graph.frames import Calls, Frame, named, within
from backprop_jax.rules.functions import traced
from backprop_jax.swaps import reading_of


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step of the run.

    Attributes:
      number: its place in the run, counted from 0.
      primitive, params: what was run.
      name: of the function, if it is a `custom_vjp` or `custom_jvp` one.
      node: the step as the tape has it: rule, types, what is kept.
      scopes: what it is within, the outermost first.
      frames: the calls it is in, within the innermost of them.
      entered: the `jax.named_scope`s it is in, an object for each time that one is entered.
      values: of the operands.
      slots: for every operand the number its value goes by; None for a constant.
      results: the values of the results.
      result_slots: likewise; None for a result without a derivative.
      function: what the step computes, as a function of its operands that returns a list. Of a
        `custom_vjp` or `custom_jvp` function that is the function, not its rule.
      cotangents: of the results, None where none has arrived; None if the way back passes by.
      contributions: what each operand's cotangent gets from this step, None where nothing.
    """

    number: int
    primitive: Primitive
    params: dict
    node: Node
    scopes: tuple[Scope, ...]
    frames: tuple[Frame, ...]
    entered: tuple
    values: list
    slots: list[int | None]
    results: list
    result_slots: list[int | None]
    function: Callable[..., list]
    name: str = ""
    cotangents: list | None = None
    contributions: list | None = None

    @property
    def written_at(self) -> str:
        """The user's line: `model.py:14:28 (layer)`; if there is none, of what it is within."""
        known = (scope.written_at for scope in reversed(self.scopes))
        return self.node.written_at() or next(filter(None, known), "")

    @property
    def rule_written_at(self) -> str:
        """Where a user's own reverse rule is: `backward at model.py:31`; "" if it is none."""
        bwd = getattr(self.node.kept, "bwd", None)
        place = getattr(getattr(bwd, "debug_info", None), "func_src_info", None) or ""
        return place.replace(os.getcwd() + os.sep, "")

    @property
    def by_user(self) -> bool:
        """Whether it goes by a rule that is not the book's: the user's own, or one put in place."""
        return bool(self.name) or self.node.rule is not lookup(self.primitive)

    @property
    def line(self) -> tuple[str, int]:
        """The file and the number of the user's line; ("", 0) if unknown."""
        found = re.match(r"(.*?):(\d+)\b", self.written_at)
        return (found[1], int(found[2])) if found else ("", 0)

    @property
    def source_function(self) -> str:
        """The name of the function the line is in."""
        found = re.search(r"\(([^()]*)\)$", self.written_at)
        return found[1] if found else ""

    @property
    def names(self) -> str:
        """The `jax.named_scope`s it is in: `encoder/attention`."""
        return str(self.node.source.name_stack)

    @property
    def trips(self) -> tuple[int, ...]:
        """The trips of the loops it is in, the outermost first."""
        loops = (s for s in self.scopes if s.kind in ("scan", "while"))
        return tuple(s.trip for s in loops if s.trip is not None)

    def equation(self) -> str:
        """The step as text: `float32[3] = sin float32[3]`."""
        return self.node.equation()

    def where(self) -> str:
        """The user's line and what it is within: `model.py:14:28 (layer), scan trip 3 of 12`."""
        return ", ".join([self.written_at, *(str(s) for s in self.scopes if s.trip is not None)])


class Contribution(NamedTuple):
    """What one user of a value adds to its cotangent; `step` is None if it is the result."""

    step: Step | None
    operand: int
    value: Any


@dataclasses.dataclass(frozen=True)
class Recording:
    """One run, forward and back.

    Attributes:
      steps: in the order they were taken, those the way back passes by among them.
      operands, results: the values the function took and gave.
      inputs, outputs: for each of them the number it goes by, None where it is constant.
      seeds: the cotangents of the results that the way back started from.
      gradients: for every operand its cotangent; None where there is none.
    """

    steps: tuple[Step, ...]
    operands: list
    inputs: list[int | None]
    results: list
    outputs: list[int | None]
    seeds: list
    gradients: list

    @functools.cached_property
    def values(self) -> dict[int, Any]:
        """Every value that was recorded, by its number."""
        found = {slot: x for slot, x in zip(self.inputs, self.operands, strict=True)}
        for step in self.steps:
            found.update(zip(step.result_slots, step.results, strict=True))
        return {slot: x for slot, x in found.items() if slot is not None}

    @functools.cached_property
    def makers(self) -> dict[int, Step]:
        """The step that made a value, by the value's number; operands have none."""
        pairs = ((slot, step) for step in self.steps for slot in step.result_slots)
        return {slot: step for slot, step in pairs if slot is not None}

    @functools.cached_property
    def cotangents(self) -> dict[int, Any]:
        """The cotangents, sums of all contributions, by the number of the value."""
        pairs = list(zip(self.inputs, self.gradients, strict=True))
        for step in self.steps:
            pairs += zip(step.result_slots, step.cotangents or (), strict=False)
        return {slot: g for slot, g in pairs if slot is not None and g is not None}

    @functools.cached_property
    def contributions(self) -> dict[int, list[Contribution]]:
        """What each value's cotangent is the sum of, in the order in which it arrived."""
        found: dict[int, list[Contribution]] = {}
        for place, (slot, g) in enumerate(zip(self.outputs, self.seeds, strict=True)):
            if slot is not None and g is not None:
                found.setdefault(slot, []).append(Contribution(None, place, g))
        for step in reversed(self.steps):
            pairs = zip(step.slots, step.contributions or (), strict=False)
            for place, (slot, g) in enumerate(pairs):
                if slot is not None and g is not None:
                    found.setdefault(slot, []).append(Contribution(step, place, g))
        return found


class Call(NamedTuple):
    """What is being run: a primitive, and what it computes as a function of the operands."""

    primitive: Primitive
    params: dict
    function: Callable[..., list]
    has_rule: bool = False  # of the user's
    name: str = ""


class Met(NamedTuple):
    """What a recorder notes of a step."""

    node: Node
    call: Call
    scopes: tuple[Scope, ...]
    frames: tuple[Frame, ...]
    values: list
    results: list


class Recorder(Tape):
    """A tape that holds on to all values, and runs what holds a jaxpr step by step."""

    __slots__ = ("calls", "met", "scopes", "under_way")

    def __init__(
        self, parent: Any, reading: Reading, linear: str, met: list[Met], under_way: Calls
    ) -> None:
        super().__init__(parent, reading, linear)
        if self.staged:
            raise TypeError(NOT_CONCRETE)
        self.met, self.under_way = met, under_way
        self.calls: list[Call] = []
        self.scopes: tuple[Scope, ...] = ()

    @contextlib.contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Says of the steps taken meanwhile that they are within this."""
        scope = dataclasses.replace(scope, frames=self.frames(), names=named())
        before, self.scopes = self.scopes, (*self.scopes, scope)
        try:
            yield
        finally:
            self.scopes = before

    def frames(self) -> tuple[Frame, ...]:
        """Returns the calls of the user's functions that are under way, within the last scope."""
        return within(self.scopes[-1].frames) if self.scopes else self.under_way.live()

    @contextlib.contextmanager
    def calling(self, call: "Call") -> Iterator[None]:
        """Says which function a step that is added meanwhile computes."""
        self.calls.append(call)
        try:
            yield
        finally:
            self.calls.pop()

    def add(self, *args: Any) -> list:
        """Writes a step down, and notes what it was run with."""
        count = len(self.nodes)
        outs = super().add(*args)
        if len(self.nodes) > count:
            where = self.scopes, self.frames()
            self.met.append(Met(self.nodes[-1], self.calls[-1], *where, args[3][0], list(args[4])))
        return outs

    def process_primitive(self, primitive: Primitive, tracers: Sequence, params: dict, /) -> Any:
        """Runs a primitive, see `Tape`."""
        with self.calling(Call(primitive, params, bound_to(primitive, params))):
            return super().process_primitive(primitive, tracers, params)

    def step(self, primitive: Primitive, unit: Unit, tracers: Sequence) -> list:
        """Runs a unit as a step of its own: what it computes is in the unit."""
        call = self.calls[-1]
        if not call.has_rule:
            call = Call(primitive, {}, lambda *operands: list(unit.forward(*operands)[0]))
        with self.calling(call):
            return super().step(primitive, unit, tracers)

    def process_structured(
        self, primitive: Primitive, rule: Structured, tracers: Sequence, params: dict
    ) -> list:
        """Runs a primitive that holds a jaxpr step by step, if it is one of those we know."""
        if (run := step_by_step(primitive, params)) is None:
            return super().process_structured(primitive, rule, tracers, params)
        with set_current_trace(self):
            return run(self, tracers)

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Sequence, /, **options: Any
    ) -> list:
        """Runs a function with the user's own forward rule: one step."""
        with self.calling(called(primitive, fun)):
            return super().process_custom_jvp_call(primitive, fun, jvp, tracers, **options)

    def process_custom_vjp_call(
        self, primitive: Any, fun: Any, fwd: Any, bwd: Any, tracers: Sequence, /, **options: Any
    ) -> list:
        """Runs a function with the user's own reverse rule: one step."""
        with self.calling(called(primitive, fun)):
            return super().process_custom_vjp_call(primitive, fun, fwd, bwd, tracers, **options)


def bound_to(primitive: Primitive, params: dict) -> Callable[..., list]:
    """Returns a primitive as a function of its operands that returns a list."""

    def run(*operands: Any) -> list:
        result = primitive.bind(*operands, **primitive.get_bind_params(params))
        return list(result) if primitive.multiple_results else [result]

    return run


def called(primitive: Primitive, fun: Any) -> Call:
    """Returns the call of a function that has a rule of the user's."""
    name, _, _ = (fun.debug_info.func_src_info or "").partition(" at ")
    return Call(primitive, {}, as_called(fun), True, name)


def as_called(fun: Any) -> Callable[..., list]:
    """Returns a function that has a rule of the user's, as it is without that."""

    def run(*operands: Any) -> list:
        return as_function(traced(fun, operands))(*operands)

    return run


class Watch(NamedTuple):
    """A rule that notes what goes in and comes out."""

    rule: Any
    name: int
    seen: dict[int, tuple[list, list]]

    def pull(self, node: Node, cotangents: list) -> list:
        """Returns what the rule says."""
        gradients = pull(dataclasses.replace(node, rule=self.rule), cotangents)
        pairs = zip(node.operands, gradients, strict=True)
        noted = [None if slot is None else ct.whole(g) for slot, g in pairs]
        self.seen[self.name] = cotangents, noted
        return noted


def record(
    fun: Callable[..., Sequence],
    operands: Sequence,
    active: Sequence[bool],
    seeds: Callable[[list], list],
    reading: Reading | None = None,
) -> Recording:
    """Returns a recording of a run, forward and back.

    Args:
      fun: takes the operands, returns a sequence of results.
      operands: numbers and arrays of them.
      active: for every operand, whether to differentiate with respect to it.
      seeds: results → their cotangents, None for one that has none.
      reading: how rules are read. Default: as `grad` reads them.

    Raises:
      TypeError: an operand is traced, and there are no numbers to record.
      MissingRule: the way back passes a primitive without a rule.
    """
    check_concrete(operands)
    met: list[Met] = []
    make = functools.partial(Recorder, met=met, under_way=Calls(record.__code__))
    operands = [jnp.asarray(x) if a else x for x, a in zip(operands, active, strict=True)]
    results, pullback = sweep(fun, operands, active, reading or reading_of(), make=make)
    given = seeds(results)
    seen: dict[int, tuple[list, list]] = {}
    nodes = [dataclasses.replace(n, rule=Watch(n.rule, id(n), seen)) for n in pullback.nodes]
    gradients = Pullback(nodes, pullback.inputs, pullback.outputs)(given)
    steps = tuple(taken(number, each, seen) for number, each in enumerate(met))
    return Recording(steps, operands, pullback.inputs, results, pullback.outputs, given, gradients)


def check_concrete(operands: Sequence) -> None:
    """Raises TypeError if one of the operands is traced: there are no numbers to record."""
    if any(isinstance(x, Tracer) for x in operands):
        raise TypeError(NOT_CONCRETE)


def taken(number: int, met: Met, seen: dict[int, tuple[list, list]]) -> Step:
    """Returns what was noted of a step on both ways, put together."""
    node, call, scopes, frames, values, results = met
    cotangents, contributions = seen.get(id(node), (None, None))
    return Step(
        number,
        call.primitive,
        call.params,
        node,
        scopes,
        frames,
        tuple(node.source.name_stack.stack),
        values,
        node.operands,
        results,
        node.results,
        call.function,
        call.name,
        cotangents,
        contributions,
    )


NOT_CONCRETE = message(
    "a recording wants numbers, and what is differentiated here is traced.",
    to_go_on="call it outside of jax.jit, jax.vmap and other transformations.",
)
