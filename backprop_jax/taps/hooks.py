"""Taps: places in a program where the cotangent of a value is looked at, or changed, on its way.

A tap is a function that returns what it is given, with a reverse rule of its own. It has a second
operand, a sink, which is not read on the way forward; the cotangent of the sink is what flowed back
there. In a loop the sink is stacked, and so are the cotangents of the trips; the sinks of a branch
that was not taken get zeros.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from backprop_jax.arguments import check_callable
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.errors import BadHook, NotWatched, message
from backprop_jax.meshes import of_cotangents
from backprop_jax.staged import changed
from backprop_jax.taps.steps import Selector, Value, chosen
from backprop_jax.taps.walk import Path, Walk

Hooks = Mapping[Selector, Callable[[Any], Any]]


def tap(x: Any, sink: Any, hooks: Sequence[Callable], value: Value) -> Any:
    """Returns x. Its cotangent passes the hooks, and goes to the sink, if there is one, after."""

    @jax.custom_vjp
    def through(x: Any, sink: Any) -> Any:
        del sink
        return x

    def forward(x: Any, sink: Any) -> tuple[Any, None]:
        del sink
        return x, None

    def back(_: None, g: Any) -> tuple[Any, Any]:
        for hook in hooks:
            g = answer(hook, g, value)
        return g, None if sink is None else g

    through.defvjp(forward, back)
    return through(x, sink)


def answer(hook: Callable, g: Any, value: Value) -> Any:
    """Returns what a hook makes of a cotangent; the cotangent itself if it returns None.

    Raises:
      BadHook: it is no cotangent of the value.
    """
    changed = hook(g)
    if changed is None:
        return g
    try:
        shape, dtype = jax.typeof(changed).shape, jax.typeof(changed).dtype
    except TypeError:
        shape, dtype = None, type(changed).__name__
    if (shape, dtype) != (g.shape, g.dtype):
        got = dtype if shape is None else jax.typeof(changed).str_short()
        raise BadHook(
            message(
                f"a hook takes and returns {jax.typeof(g).str_short()} here, but returned {got}.",
                equation=str(value).partition("  ")[0],
                written_at=value.step.written_at,
                to_go_on="return a cotangent of that shape and dtype, or None to leave it.",
            )
        )
    return changed


@dataclasses.dataclass(frozen=True)
class Taps:
    """The taps in a program, each at a step's path and the number of a result.

    Attributes:
      values: where there is a tap.
      hooks: what a cotangent passes there.
    """

    values: dict[tuple[Path, int], Value]
    hooks: dict[tuple[Path, int], list[Callable]]

    @functools.cached_property
    def ways(self) -> frozenset[Path]:
        """The paths of all steps that hold one with a tap."""
        return frozenset(path[:i] for path, _ in self.values for i in range(1, len(path)))

    def enters(self, path: Path) -> bool:
        """Returns whether there is a tap within a step."""
        return path in self.ways

    def visit(
        self, path: Path, equation: Any, operands: list, results: list, given: dict
    ) -> tuple[list, list]:
        """Returns the results, those with a tap through it."""
        del equation, operands
        results = list(results)
        for number, result in enumerate(results):
            if value := self.values.get(at := (path, number)):
                results[number] = tap(result, given.get(at), self.hooks.get(at, ()), value)
        return results, []

    def nothing(self, path: Path) -> list:
        """Returns what is seen: nothing."""
        del path
        return []

    def first(self, before: list, now: list, level: int, count: list) -> list:
        """Returns what is seen: nothing."""
        del before, now, level, count
        return []

    def staged(self, closed: Any, sinks: dict) -> Any:
        """Returns a closed jaxpr with these taps in it; it takes sinks of these types, too."""

        def run(operands: Sequence, sinks: dict) -> list:
            return Walk(self).run(closed, operands, sinks)[0]

        return jax.make_jaxpr(run)(closed.in_avals, sinks)


def place(value: Value) -> tuple[Path, int]:
    """Returns where a value is in its program."""
    return value.step.path, value.number


def tapped(closed: Any, hooks: Hooks, select: Sequence[Selector] = ()) -> tuple[Any, dict, list]:
    """Returns a program with taps in it.

    Args:
      closed: its jaxpr.
      hooks: functions of a cotangent, and where they stand. Several at one place: in this order.
      select: where sinks are wanted.

    Returns:
      The closed jaxpr, which takes the sinks after its own operands; their types; and for every
      selector the values it means.

    Raises:
      UnknownStep: a selector means nothing in this program.
      NotWatched: a sink is wanted in a loop with a number of trips that is not known.
    """
    values, passed = {}, {}
    for selector, hook in hooks.items():
        for value in chosen(closed, selector):
            values[place(value)] = value
            passed.setdefault(place(value), []).append(hook)
    watched = [chosen(closed, selector) for selector in select]
    sinks = {place(value): sink_of(value) for found in watched for value in found}
    values.update((place(value), value) for found in watched for value in found)
    return Taps(values, passed).staged(closed, sinks), sinks, watched


def sink_of(value: Value) -> Any:
    """Returns the type of a value's sink: the cotangents of all trips of the loops around it.

    Raises:
      NotWatched: nobody knows how many there will be.
    """
    aval = value.step.equation.outvars[value.number].aval
    lengths = [loop.length for loop in value.step.loops]
    if None in lengths:
        loop = value.step.loops[lengths.index(None)]
        raise NotWatched(
            message(
                "how many cotangents this value has is not known before the program runs: it is "
                f"within a while_loop, at {loop.written_at}.",
                equation=str(value).partition("  ")[0],
                written_at=value.step.written_at,
                to_go_on="use lax.scan, or fori_loop with bounds that are Python numbers; or look "
                "at each as it passes, with hooks=.",
            )
        )
    aval = of_cotangents(aval)
    return jax.ShapeDtypeStruct((*lengths, *aval.shape), aval.dtype)


def hooked(fun: Callable, hooks: Hooks | None) -> Callable:
    """Returns `fun` with hooks on the way back; None changes nothing."""
    if not hooks:
        return fun
    for hook in hooks.values():
        check_callable(hook)

    def change(closed: Any, active: tuple[bool, ...]) -> Callable:
        del active
        return as_function(tapped(closed, hooks)[0])

    return changed(fun, change)
