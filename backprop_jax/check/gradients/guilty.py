"""Of a wrong answer the one element to blame, and what everybody says of it."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from backprop_jax.check.gradients.engines import JAX, OURS, Engine
from backprop_jax.check.gradients.examine import Answer, Examination
from backprop_jax.check.gradients.findings import Wrong
from backprop_jax.check.gradients.sides import Side
from backprop_jax.check.numerical.slopes import Slopes, slopes
from backprop_jax.check.numerical.steps import sizes
from backprop_jax.check.numerical.vectors import Vector
from backprop_jax.check.numerical.ways import falling


def blame(answer: Answer, exam: Examination, order: int) -> Wrong | None:
    """Returns the element to blame for a wrong answer; None if it is right, taken by itself.

    So it may be where many elements have a kink or a pole nearby: the slope along all of them is
    taken for better than it is, and that along each is good.
    """
    side, base = answer.side, exam.base
    reverse = answer.mode == "rev"
    c = answer.c
    if c is None:
        c = np.zeros(base.y.size)
        c[answer.entry] = 1.0
    entry = answer.entry if reverse else None
    if entry is None:
        entry = narrowed(answer.v, distance(answer, exam, c))
    v = np.where(np.arange(base.x.size) == entry, sizes(base.x), 0.0)
    low, high, bar = measured(exam, v).along(c)
    low, high, bar = low / v[entry], high / v[entry], bar / abs(v[entry]) / 3
    low, high = min(low, high), max(low, high)

    judged = said(side, reverse, v, c) / v[entry]
    slack = bar + exam.relative * abs(judged)
    if answer.expected is None and low - slack <= judged <= high + slack:
        return None
    says = {_title(side.engine, side, reverse): judged}
    if not side.wide and base.wide:
        says |= _asked(side.engine, base, reverse, v, c)
    for engine in (OURS, JAX):
        if engine.name != side.engine.name:
            says |= _asked(engine, side, reverse, v, c)
    middle = (low + high) / 2
    leaf, index, part = base.space.where(entry)
    notes = [f"a kink: {low:.6g} to one side, {high:.6g} to the other"] * bool(high - low > bar)
    return Wrong(
        answer.mode,
        order,
        base.space.paths[leaf] + _spell(index) + part,
        jax.typeof(exam.narrow.point[leaf]).str_short(),
        _of(base, None if reverse else answer.entry, c),
        {**says, "measured": middle},
        bar,
        "differences extrapolated, in " + _precision(exam.digits),
        falling(base.f, base.x, v, c, judged * v[entry], middle * v[entry]),
        tuple(notes),
    )


def narrowed(v: Vector, off: Callable[[Vector], float]) -> int:
    """Returns the entry of v that is most to blame: halves are tried, the worse one is kept."""
    entries = np.flatnonzero(v)
    while len(entries) > 1:
        halves = np.array_split(entries, 2)
        parts = [np.where(np.isin(np.arange(v.size), half), v, 0.0) for half in halves]
        entries = halves[int(np.argmax([off(part) for part in parts]))]
    return int(entries[0])


def distance(answer: Answer, exam: Examination, c: Vector) -> Callable[[Vector], float]:
    """Returns how far off the answer is along parts of its direction, over what is allowed."""
    base = exam.base
    if answer.mode == "rev":
        pulled = base.pull([c])[0]

        def off(v: Vector) -> float:
            apart, far, _ = exam.distance(v, measured(exam, v), c, pulled)
            return apart / max(far, np.finfo(float).tiny)

        return off
    assert answer.entry is not None
    place = answer.entry
    if answer.side is not base:
        return lambda v: abs(answer.side.push(v)[place] - base.push(v)[place])

    def off_forward(v: Vector) -> float:
        found, pushed = measured(exam, v), base.push(v)[place]
        apart = max(found.low[place] - pushed, pushed - found.high[place], 0.0)
        return apart / max(found.error[place], exam.relative * abs(pushed), np.finfo(float).tiny)

    return off_forward


def measured(exam: Examination, v: Vector) -> Slopes:
    """Returns the slopes along v."""
    return slopes(exam.base.f, exam.base.x, v, digits=exam.digits, first=exam.first)


def said(side: Side, reverse: bool, v: Vector, c: Vector) -> float:
    """Returns what an engine says of the slope along v of the sum of c times the results."""
    if reverse:
        return float(np.sum((side.pull([c])[0] * v)[v != 0]))
    return float(np.sum((side.push(v) * c)[c != 0]))


def _asked(engine: Engine, side: Side, reverse: bool, v: Vector, c: Vector) -> dict[str, float]:
    """What an engine says, by its name, if it has a derivative of this function."""
    other = dataclasses.replace(side, engine=engine)
    try:
        number = said(other, reverse, v, c) / float(np.sum(v))
    except Exception:  # Whatever an engine raises: then it says nothing.
        return {}
    return {_title(engine, side, reverse): number}


def _title(engine: Engine, side: Side, reverse: bool) -> str:
    name = engine.name
    if name == "jax":
        name += (".grad" if side.y.size == 1 else ".vjp") if reverse else ".jvp"
    return f"{name}, {side.wide}" if side.wide else name


def _spell(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _precision(digits: int) -> str:
    return {52: "float64", 23: "float32"}.get(digits, f"{digits} binary digits")


def _of(base: Side, place: int | None, c: Vector) -> str:
    """What it is the derivative of, where that does not go without saying."""
    if base.y.size == 1:
        return ""
    space = base.results
    if place is not None:
        leaf, index, part = space.where(place)
        return space.paths[leaf] + _spell(index) + part
    touched = [p for p, s in zip(space.paths, space.slices(), strict=True) if np.any(c[s])]
    return (
        f"sum(c * {' + '.join(touched)}) with random c"
        if len(touched) == 1
        else (f"sums of random c times {', '.join(touched)}")
    )
