"""Where values stop being finite: the steps of a program that make what is not from what is.

Every such step is looked at in the run itself: an infinity is born where all operands are finite, a
NaN where none is NaN. Of each step the first birth is remembered, with the trips of the loops it
came in and what its operands were.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import take_current_trace

from backprop_jax.dtypes import default_float, is_inexact
from backprop_jax.engine.registry import Column, Row, lookup
from backprop_jax.engine.sweep import sweep
from backprop_jax.rules.elementary import is_complex
from backprop_jax.rules.strong import any_of, is_wild
from backprop_jax.rules.trips import TRIP
from backprop_jax.taps.steps import Step, every, level_of
from backprop_jax.taps.walk import Path, Walk, holders

#: How many operands of a step are looked at.
OPERANDS = 3

#: Steps whose results are among their operands, or finite whatever these are.
NEVER = frozenset(
    """abs all_gather all_to_all and argmax argmin asinh atan atan2 bitcast_convert_type
    broadcast_in_dim ceil clamp complex concatenate conj copy copy_p cummax cummin device_put
    dynamic_slice dynamic_update_slice eq erf erfc expand_dims floor ge gt imag iota is_finite le
    logistic lt max min name ne neg not optimization_barrier or pad pbroadcast pcast ppermute pvary
    real reduce_and reduce_max reduce_min reduce_or reduce_window_max reduce_window_min reshape rev
    round select_and_gather_add select_n sharding_constraint sign slice sort split squeeze
    stop_gradient tanh top_k transpose while scan cond remat2 checkpoint closed_call
    random_bits random_seed random_wrap random_unwrap random_fold_in random_split""".split()
)


def may_bear(step: Step) -> bool:
    """Returns whether a step can make what is not finite from what is."""
    equation = step.equation
    holder = holders.get(equation.primitive)
    if step.primitive in NEVER or (holder and holder.bodies(equation.params)):
        return False
    results = [v.aval.dtype for v in equation.outvars if is_number(v.aval)]
    if step.primitive == "convert_element_type":
        source = equation.invars[0].aval.dtype
        return bool(results) and is_inexact(source) and largest(results[0]) < largest(source)
    return bool(results)


def largest(dtype: Any) -> float:
    """Returns the largest number of a dtype."""
    return float(jax.numpy.finfo(dtype).max)


#: What is told of a birth in detail: its shape and dtype; None: that of a float.
DETAILS: dict[str, tuple[tuple[int, ...], Any]] = {
    "place": ((), "int32"),
    "operands": ((OPERANDS, 5), None),
    "result": ((2,), None),
    "slopes": ((OPERANDS,), None),
}


def details(equation: Any, operands: list, made: list, born: Any) -> dict:
    """Returns what is to be told of a step, in the words of `DETAILS`.

    Args:
      equation: the step.
      operands: its operands.
      made: its results that are numbers.
      born: of an elementwise step, where it makes what is not finite.
    """
    dtype = default_float()
    nothing = lax.full((), 0, dtype)
    place, slopes = lax.full((), 0, "int32"), []
    here = [lax.reshape(x, ()) if x.size == 1 else None for x in operands]
    if born is not None and born.size:
        place = lax.argmax(lax.reshape(born, (born.size,)), 0, "int32")
        here = [at_place(x, place) for x in operands]
        slopes = [real(slope, dtype) for slope in slopes_of(equation, here)]
    shown = [
        lax.concatenate([summary(x), told(value, dtype)], 0)
        for x, value in list(zip(operands, here, strict=True))[:OPERANDS]
    ]
    shown += [lax.full((5,), 0, dtype)] * (OPERANDS - len(shown))
    return {
        "place": place,
        "operands": lax.concatenate([lax.expand_dims(x, (0,)) for x in shown], 0),
        "result": functools.reduce(lax.add, [summary(z)[2:] for z in made]),
        "slopes": jax.numpy.stack([*slopes, *[nothing] * OPERANDS][:OPERANDS]),
    }


def slopes_of(equation: Any, operands: list) -> list:
    """Returns the derivatives of an elementwise step in its operands, at one place."""

    def run(*operands: Any) -> list:
        return [equation.primitive.bind(*operands, **equation.params)]

    results, pullback = sweep(run, operands, [True] * len(operands))
    found = pullback([lax.full_like(results[0], 1)], postpone=True)
    return [lax.full((), 0, default_float()) if g is None else g for g in found]


def is_number(aval: Any) -> bool:
    """Returns whether values of this type may be infinite or NaN."""
    return hasattr(aval, "dtype") and is_inexact(aval.dtype)


def is_elementwise(step: Step) -> bool:
    """Returns whether a step is applied place by place, by a rule that has a formula for each."""
    rule = lookup(step.equation.primitive)
    if not isinstance(rule, Row) or rule.kind != "elementwise":
        return False
    return all(c is None or type(c) is Column for c in rule.columns)


class Looked(dict):
    """What has been found out about values, once for each while a body is being traced."""

    def __call__(self, find: Callable, x: Any) -> Any:
        """Returns what `find` says of a value."""
        with take_current_trace() as trace:
            key = find, id(x), id(trace)
        if key not in self:
            self[key] = x, trace, find(x)  # held, so that their ids stay theirs
        return self[key][2]


@dataclasses.dataclass
class Births:
    """A visitor that looks for births.

    Attributes:
      steps: those that are looked at, in order; inner ones before the one that holds them.
      depth: the most loops there are around one of them, at least 1.
      detailed: whether to tell of operands and derivatives, too.
      mended: the number of a step whose results are made finite, to see what becomes of it. The
        steps are numbered from `offset` on.
      looked: what is known of values.
      trips: for a body that is being traced, the number of the trip, if it says so itself.
    """

    steps: list[Step]
    depth: int
    detailed: bool = False
    mended: Any = None
    offset: int = 0
    looked: Looked = dataclasses.field(default_factory=Looked)
    trips: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, closed: Any) -> "Births":
        """Returns the visitor of a program."""
        steps = [step for step in every(level_of(closed)) if may_bear(step)]
        return cls(steps, max([1, *(len(step.loops) for step in steps)]))

    @classmethod
    def closely(cls, steps: list[Step]) -> "Births":
        """Returns the visitor that tells of these steps in detail."""
        steps = sorted(steps, key=lambda step: step.path)
        return cls(steps, max([1, *(len(step.loops) for step in steps)]), detailed=True)

    @functools.cached_property
    def at(self) -> dict[Path, Step]:
        """The steps by their paths."""
        return {step.path: step for step in self.steps}

    @functools.cached_property
    def counts(self) -> dict[Path, int]:
        """How many of the steps stand within another, or within a branch of one."""
        counts: dict[Path, int] = {}
        for step in self.steps:
            for i in range(1, len(step.path)):
                counts[step.path[:i]] = counts.get(step.path[:i], 0) + 1
        return counts

    def enters(self, path: Path) -> bool:
        """Returns whether one of the steps stands within this one."""
        return path in self.counts

    def visit(
        self, path: Path, equation: Any, operands: list, results: list, given: dict
    ) -> tuple[list, list]:
        """Returns the results, and what is to be said of the step."""
        del given
        if equation.params.get("name") == TRIP:
            with take_current_trace() as trace:
                self.trips[id(trace)] = trace, operands[0]
        step = self.at.get(path)
        if step is None:
            return results, []
        row = self.row(step, equation, operands, results)
        if self.mended is not None:
            here = self.mended == self.offset + self.steps.index(step)
            results = [mend(z, here) if is_number(jax.typeof(z)) else z for z in results]
        return results, [row]

    def row(self, step: Step, equation: Any, operands: list, results: list) -> dict:
        """Returns what is to be said of a step, each with a first axis of size 1."""
        operands = [array(x) for x in operands]
        numbers = [x for x in operands if is_number(jax.typeof(x))]
        made = [array(z) for z in results if is_number(jax.typeof(z))]
        each = is_elementwise(step) and len(numbers) == len(operands)
        born = self.born_places(operands, *made) if each else self.born(numbers, made)
        row = {"fired": any_of(born), "trips": lax.full((self.depth,), -1, "int32")}
        if self.detailed:
            row |= details(equation, operands, made, born if each else None)
        return jax.tree.map(lambda x: lax.expand_dims(x, (0,)), row)

    def born_places(self, operands: list, z: Any) -> Any:
        """Returns where an elementwise step makes what is not finite from what is."""
        found = []
        for bad in (is_nan, is_wild):
            before = [spread(self.looked(bad, x), z.shape) for x in operands]
            found.append(self.looked(bad, z) & ~functools.reduce(operator.or_, before))
        return found[0] | found[1]

    def born(self, operands: list, made: list) -> Any:
        """Returns whether a step makes what is not finite from what is."""
        found = lax.full((), False)
        for bad in (is_nan, is_wild):
            before = [self.looked(any_of, self.looked(bad, x)) for x in operands]
            after = [self.looked(any_of, self.looked(bad, z)) for z in made]
            before = functools.reduce(operator.or_, before, lax.full((), False))
            found |= functools.reduce(operator.or_, after) & ~before
        return found

    def nothing(self, path: Path) -> list:
        """Returns what is said of the steps within one that is not run."""
        count = self.counts.get(path, 0)
        return [self.blank(count)] if count else []

    def blank(self, count: int) -> dict:
        """Returns what is said of so many steps of which nothing is known."""
        shapes = {"fired": ((), bool), "trips": ((self.depth,), "int32")}
        shapes |= DETAILS if self.detailed else {}
        return {
            name: lax.full((count, *shape), 0, dtype or default_float())
            for name, (shape, dtype) in shapes.items()
        }

    def first(self, before: list, now: list, level: int, count: list) -> list:
        """Returns what is said after one more trip: of each step, its first birth."""
        if not now:
            return []
        (old,), (new,), (trip,) = before, now, count
        with take_current_trace() as trace:
            _, trip = self.trips.get(id(trace), (None, trip))
        column = lax.broadcasted_iota("int32", new["trips"].shape, 1) == level
        trips = lax.broadcast(lax.convert_element_type(trip, "int32"), new["trips"].shape)
        new = {**new, "trips": lax.select(column, trips, new["trips"])}
        keep = old["fired"]
        return [jax.tree.map(lambda x, y: lax.select(spread_first(keep, x.shape), x, y), old, new)]

    def watch(self, closed: Any, operands: Sequence) -> tuple[list, dict]:
        """Returns the results of the program, and what is to be said of each of the steps."""
        results, seen = Walk(self).run(closed, operands, {})
        return results, seen[0] if seen else self.blank(0)


def mend(z: Any, here: Any) -> Any:
    """Returns an array, if it is to be mended with zeros where it is not finite."""
    bad = is_wild(z)
    return lax.select(bad & lax.broadcast(here, bad.shape), lax.full_like(z, 0), z)


def array(x: Any) -> Any:
    """Returns a number or an array as JAX's own."""
    return jax.numpy.asarray(x)


def parts(x: Any) -> list:
    """Returns the real numbers that a number consists of."""
    return [lax.real(x), lax.imag(x)] if is_complex(x) else [x]


def is_nan(x: Any) -> Any:
    """Returns where an array is NaN."""
    return functools.reduce(lax.bitwise_or, [part != part for part in parts(x)])


def spread(x: Any, shape: tuple[int, ...]) -> Any:
    """Returns an operand of an elementwise step in the shape of its result."""
    if x.shape == shape:
        return x
    axes = range(len(shape)) if x.ndim else ()
    return lax.broadcast_in_dim(x, shape, axes)


def spread_first(x: Any, shape: tuple[int, ...]) -> Any:
    """Returns a vector spread over the other axes of a shape."""
    return lax.broadcast_in_dim(x, shape, (0,))


def at_place(x: Any, place: Any) -> Any:
    """Returns the number of an operand that goes into the result at a place."""
    flat = lax.reshape(x, (x.size,))
    place = lax.clamp(lax.full_like(place, 0), place, lax.full_like(place, max(x.size - 1, 0)))
    return lax.dynamic_index_in_dim(flat, place, 0, keepdims=False)


def real(x: Any, dtype: Any) -> Any:
    """Returns a number as it is reported; of a complex one, its real part."""
    return lax.convert_element_type(parts(x)[0], dtype)


def told(value: Any, dtype: Any) -> Any:
    """Returns an operand's number at the place of a birth as a vector; NaN if there is none."""
    if value is None:
        return lax.full((1,), float("nan"), dtype)
    return lax.reshape(real(value, dtype), (1,))


def summary(x: Any) -> Any:
    """Returns least and largest finite number of an array, and how many are NaN and infinite."""
    dtype = default_float()
    if not is_number(jax.typeof(x)) or not x.size:
        return lax.full((4,), 0, dtype)
    low, high, nans, wilds = [], [], [], []
    for part in parts(x):
        part = lax.convert_element_type(part, dtype)
        finite, axes = lax.is_finite(part), tuple(range(part.ndim))
        top = float("inf")
        low.append(lax.reduce_min(lax.select(finite, part, lax.full_like(part, top)), axes))
        high.append(lax.reduce_max(lax.select(finite, part, lax.full_like(part, -top)), axes))
        nans.append(lax.reduce_sum(lax.convert_element_type(part != part, dtype), axes))
        wilds.append(lax.reduce_sum(lax.convert_element_type(~finite, dtype), axes))
    nan = functools.reduce(lax.add, nans)
    found = (
        functools.reduce(lax.min, low),
        functools.reduce(lax.max, high),
        nan,
        functools.reduce(lax.add, wilds) - nan,
    )
    return lax.concatenate([lax.reshape(x, (1,)) for x in found], 0)
