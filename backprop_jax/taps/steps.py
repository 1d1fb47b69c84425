"""The steps of a program, and how a user names some of them."""

import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from backprop_jax.engine.cotangents import is_differentiable
from backprop_jax.engine.jaxprs import variables
from backprop_jax.engine.tape import written_at
from backprop_jax.errors import UnknownStep, message
from backprop_jax.rules.trips import TRIP
from backprop_jax.taps.walk import Path, holders

Selector = str | Callable[["Step"], bool]

PLACE = re.compile(r"(.+):(\d+)")
JAX, OURS = (os.path.dirname(file) + os.sep for file in (jax.__file__, os.path.dirname(__file__)))


class Frame(NamedTuple):
    """A call that led to a step: where, and in which function."""

    file: str
    line: int
    function: str


class Loop(NamedTuple):
    """A loop around a step. Its path is `at` long; without a `length` it ends when it pleases.

    `numbered`: its body says the number of the trip, which is not how many there were before.
    """

    at: int
    primitive: str
    length: int | None
    reverse: bool
    written_at: str
    numbered: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A step of a program, as selectors see it.

    Attributes:
      path: where it stands, see `walk`.
      primitive: its name.
      name: what `checkpoint_name` calls its result, or "".
      scope: the `jax.named_scope`s around it, outer ones first.
      frames: the calls that led to it, inner ones first.
      results: types of its results.
      loops: those around it, outer ones first.
      written_at: the user's line.
      equation: of the jaxpr.
    """

    path: Path
    primitive: str
    name: str
    scope: tuple[str, ...]
    frames: tuple[Frame, ...]
    results: tuple[str, ...]
    loops: tuple[Loop, ...]
    written_at: str
    equation: Any = dataclasses.field(repr=False)


@functools.lru_cache(maxsize=4096)
def frames_of(traceback: Any) -> tuple[Frame, ...]:
    """Returns the calls that led to an equation, inner ones first, ours left out."""
    return tuple(
        Frame(f.file_name, f.line_num, f.function_name)
        for f in (traceback.frames if traceback else ())
        if not f.file_name.startswith(OURS)
    )


def level_of(closed: Any, holder: Step | None = None, path: Path = ()) -> list[Step]:
    """Returns the steps of a jaxpr, those within other steps left out.

    Args:
      closed: the jaxpr.
      holder: the step that holds it, if one does. Of scopes and calls the jaxpr knows those within.
      path: what its steps' paths start with.
    """
    around, calls, place, loops = (), (), "", ()
    if holder:
        around, calls, place = holder.scope, holder.frames, holder.written_at
        loops = loops_within(holder)
    steps = []
    for number, equation in enumerate(closed.jaxpr.eqns):
        source, name = equation.source_info, equation.primitive.name
        scope = (*around, *filter(None, str(source.name_stack).split("/")))
        step = Step(
            (*path, number),
            name,
            equation.params["name"] if name == "name" else "",
            scope,
            (*frames_of(source.traceback), *calls),
            tuple(v.aval.str_short() for v in equation.outvars),
            loops,
            written_at(source) or place,
            equation,
        )
        steps.append(step)
    return steps


def loops_within(step: Step) -> tuple[Loop, ...]:
    """Returns the loops around what a step holds."""
    if not holders[step.equation.primitive].loop:
        return step.loops
    params = step.equation.params
    length, reverse = params.get("length"), params.get("reverse", False)
    (body,) = holders[step.equation.primitive].bodies(params)
    numbered = any(e.params.get("name") == TRIP for e in body.eqns)
    loop = Loop(len(step.path), step.primitive, length, reverse, step.written_at, numbered)
    return (*step.loops, loop)


def within(step: Step) -> list[tuple[Any, list[Step]]]:
    """Returns the jaxprs that a step holds, each with its steps."""
    equation = step.equation
    if equation.primitive not in holders:
        return []
    found = holders[equation.primitive].within(equation.params, step.path)
    return [(body.jaxpr, level_of(body, step, path)) for path, body in found]


def every(steps: Iterable[Step]) -> Iterator[Step]:
    """Yields steps and those within them, the inner ones before the one that holds them."""
    for step in steps:
        for _, inner in within(step):
            yield from every(inner)
        yield step


# -- how steps are named ---------------------------------------------------------------------------
def is_called(text: str, step: Step) -> bool:
    """Returns whether `checkpoint_name` gives the step's result this name."""
    return step.name == text


def is_in_scope(text: str, step: Step) -> bool:
    """Returns whether the step stands in a scope: `block`, or `encoder/block`."""
    return f"/{text}/" in f"/{'/'.join(step.scope)}/"


def is_on_line(text: str, step: Step) -> bool:
    """Returns whether the step comes from a line: `model.py:14`."""
    found = PLACE.fullmatch(text)
    if not found:
        return False
    file, line = found[1], int(found[2])
    files = (f.file for f in step.frames if f.line == line)
    return any(f == file or f.endswith(os.sep + file) for f in files)


def is_primitive(text: str, step: Step) -> bool:
    """Returns whether the step is of this primitive."""
    return step.primitive == text


def is_in_function(text: str, step: Step) -> bool:
    """Returns whether the step comes from a function."""
    return any(text in (f.function, f.function.rpartition(".")[2]) for f in step.frames)


#: What a text may mean, in this order. A part of a program hands on what it made: of a scope, a
#: line or a function those values are meant that are used outside of it.
MEANINGS: tuple[tuple[Callable[[str, Step], bool], bool], ...] = (
    (is_called, False),
    (is_in_scope, True),
    (is_on_line, True),
    (is_primitive, False),
    (is_in_function, True),
)


class Value(NamedTuple):
    """A value in a program: the number of a step's result."""

    step: Step
    number: int

    def __str__(self) -> str:
        step = self.step
        name = f" '{step.name}'" if step.name else ""
        trips = "".join(f" × {'?' if loop.length is None else loop.length}" for loop in step.loops)
        return f"{step.results[self.number]}{trips} = {step.primitive}{name}  {step.written_at}"


def chosen(closed: Any, selector: Selector) -> list[Value]:
    """Returns the values of a program that a selector means.

    Raises:
      UnknownStep: there are none.
    """
    steps = level_of(closed)
    if callable(selector):
        found = list(values(steps, closed.jaxpr, selector, False))
        if not found:
            raise UnknownStep(
                message(
                    f"no step is what {selector} says.",
                    to_go_on=f"it is called with each Step; there are {near('', every(steps))}",
                )
            )
        return found
    for meaning, region in MEANINGS:
        matches = functools.partial(meaning, selector)
        if found := list(values(steps, closed.jaxpr, matches, region)):
            return found
    raise UnknownStep(
        message(
            f"no step is named {selector!r}.",
            to_go_on=f"there are {near(selector, every(steps))}",
        )
    )


def values(
    steps: Sequence[Step], jaxpr: Any, matches: Callable[[Step], bool], region: bool
) -> Iterator[Value]:
    """Yields the values of steps that match, or that these hand on if they are a region."""
    matching = [step for step in steps if matches(step)]
    taken = {id(step) for step in matching}
    used = {v for s in steps if id(s) not in taken for v in variables(s.equation.invars)}
    used.update(variables(jaxpr.outvars))
    for step in steps:
        if not (region and id(step) in taken):
            for body, inner in within(step):
                yield from values(inner, body, matches, region)
        if id(step) in taken:
            for number, v in enumerate(step.equation.outvars):
                if is_differentiable(v.aval) and (v in used or not region):
                    yield Value(step, number)


def near(selector: str, steps: Iterable[Step]) -> str:
    """Returns what a text may have been meant to be, as text."""
    kinds: dict[str, dict[str, None]] = {
        kind: {} for kind in ("names", "scopes", "lines", "functions", "primitives")
    }
    for step in steps:
        kinds["names"][step.name] = None
        kinds["scopes"].update(dict.fromkeys(step.scope))
        frames = [f for f in step.frames if not f.file.startswith(JAX)]
        kinds["lines"].update((f"{os.path.basename(f.file)}:{f.line}", None) for f in frames)
        kinds["functions"].update((f.function.rpartition(".")[2], None) for f in frames)
        kinds["primitives"][step.primitive] = None
    found = []
    for kind, names in kinds.items():
        names.pop("", None)
        listed = difflib.get_close_matches(selector, names, 4, 0.5) or list(names)[:4]
        if listed:
            more = " and others" if len(listed) < len(names) else ""
            found.append(f"{kind} {', '.join(listed)}{more}")
    return "; ".join(found) + "."
