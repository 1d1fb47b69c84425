"""`bisect`: which step of a run has a wrong rule, and where the user wrote it."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from backprop_jax.check.trial import Court, Finding
from backprop_jax.check.witnesses.witness import Question
from backprop_jax.engine import cotangents as ct
from backprop_jax.errors import message
from backprop_jax.graph.recording import Recording, Step, record

#: Of steps alike that go by rules of the book, how many are tried; of a guilty line's, how many.
ALIKE, ALIKE_GUILTY = 4, 64


@dataclasses.dataclass(frozen=True)
class Guilty:
    """A line of the user's whose derivative is wrong.

    Attributes:
      name: of the function with the user's own rule, or of the primitive.
      written_at: the line: `model.py:14:28 (layer)`.
      rule: where the user's own reverse rule is, `backward at model.py:31`; "" if it has none.
      equation: `float32[3] = custom_vjp_call float32[3]`.
      operand: whose cotangent is wrong; None if several are.
      reason: what is wrong with it.
      said, slope, bar: the rule's answer along a direction, the slope measured along it, and how
        far that may be off.
      trips: in which trips of the loops around it, the outermost first.
      wrong, tried: of how many such steps how many are wrong.
    """

    name: str
    written_at: str
    rule: str
    equation: str
    operand: int | None
    reason: str
    said: float
    slope: float
    bar: float
    trips: tuple[tuple[int, ...], ...]
    wrong: int
    tried: int

    def __str__(self) -> str:
        """Four lines: what is wrong, the equation, where it is written, what is said instead."""
        what = f"guilty: '{self.name}'"
        if self.operand is not None:
            what += f", the cotangent of its operand {self.operand}"
        what += f": {self.reason}"
        lines = [("equation", self.equation), ("written at", self.written_at + self.within())]
        lines += [("its rule", self.rule)] if self.rule else []
        if self.slope == self.slope:
            told = f"{self.said:.9g} along a direction in which the slope is {self.slope:.9g}"
            lines.append(("it says", f"{told} (± {self.bar:.1g})"))
        return "\n".join([what, *(f"  {key + ':':<12}{text}" for key, text in lines)])

    def within(self) -> str:
        """In which trips, and of how many tried steps how many are wrong."""
        if not any(self.trips):
            return "" if self.tried == 1 else f", {self.wrong} of {self.tried} tried"
        trips = [", ".join(map(str, trip)) for trip in self.trips]
        shown = "; ".join(trips[:8]) + ("; ..." if len(trips) > 8 else "")
        return f", in trip {shown} ({self.wrong} of {self.tried} tried)"


@dataclasses.dataclass(frozen=True, repr=False)
class Bisection:
    """What `bisect` found. Printed, it names the guilty lines.

    Attributes:
      guilty: in the order in which the way back meets them.
      steps: number of steps of the run that the way back passes.
      tried: of how many of them the rule was tried.
      undecided: reason → how many could not be judged for it.
      seconds: that it took.
    """

    guilty: tuple[Guilty, ...]
    steps: int
    tried: int
    undecided: dict[str, int]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no rule was found wrong."""
        return not self.guilty

    def raise_if_bad(self) -> None:
        """Raises AssertionError, with the guilty lines, unless the report is `ok`."""
        if not self.ok:
            raise AssertionError(message(str(self), to_go_on="mend the rule that is named first."))

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as lists, dicts, strings and numbers that JSON can hold."""
        found = dataclasses.asdict(self)
        for guilty in found["guilty"]:
            for key in ("said", "slope", "bar"):
                guilty[key] = None if guilty[key] != guilty[key] else guilty[key]
            guilty["trips"] = list(map(list, guilty["trips"]))
        return {"ok": self.ok, **found, "guilty": list(found["guilty"])}

    def __str__(self) -> str:
        """The guilty lines, what could not be judged, and the verdict on the last line."""
        word = "ok: no rule is wrong" if self.ok else f"BAD: {len(self.guilty)} guilty"
        rest = "" if self.tried == self.steps else ", of those alike on a line a few"
        notes = [f"note: {n} not judged: {reason}" for reason, n in self.undecided.items()]
        last = f"{word}; {self.tried} of {self.steps} steps tried{rest} ({self.seconds:.1f} s)"
        return "\n".join([*map(str, self.guilty), *notes, last])

    def __repr__(self) -> str:
        """The verdict in one line."""
        return f"Bisection({'ok' if self.ok else 'BAD'}, {self.tried} of {self.steps} steps tried)"


def bisect(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    alike: int = ALIKE,
    **kwargs: Any,
) -> Bisection:
    """Returns which steps of a run of `fun` have a wrong rule, with the user's lines.

        print(bp.bisect(loss, params, batch))

    For a gradient that is known to be wrong. The function is run once, step by step, in loops and
    branches too, and walked back. Then every step is tried alone, with the values and cotangents it
    has met in that run: what its rule says, along random directions, against the slope of what it
    computes, which is measured in float64 where the step can be run there. For a `jax.custom_vjp`
    or `jax.custom_jvp` function that is the function as it stands without its rule. So one wrong
    step does not make those before it look wrong.

    A rule that is meant to be no derivative (a clipped gradient, a straight-through estimator) is
    found guilty, too.

    Args:
      fun: as for `grad`, but its result may have any shape; it is run once, outside of `jax.jit`.
      *args: its operands.
      argnums: which operands to differentiate, an integer or several.
      has_aux: `fun` returns a pair whose second entry is not differentiated.
      alike: of the steps that come from one line, with operands of the same types, and go by rules
        of this package, how many to try: the first, the last, and some between. Steps with rules of
        the user's are all tried.
      **kwargs: passed to `fun`.

    Returns:
      A `Bisection`: `print` it, ask it `ok`, or have it `raise_if_bad()`.
    """
    begin = time.perf_counter()
    positions = argnums if isinstance(argnums, int) else tuple(argnums)
    recording = recorded(Question(fun, args, kwargs, positions, has_aux))
    passed = [step for step in reversed(recording.steps) if step.cotangents is not None]
    groups: dict[tuple, list[Step]] = {}
    for step in passed:
        groups.setdefault(kind(step), []).append(step)
    court = Court()
    tried = [tried_of(court, steps, alike) for steps in groups.values()]
    found = [finding for findings in tried for finding in findings]
    undecided: dict[str, int] = {}
    for finding in found:
        if finding.word == "undecided":
            undecided[finding.reason] = undecided.get(finding.reason, 0) + 1
    guilty = (summary(findings) for findings in tried if any(map(is_guilty, findings)))
    seconds = time.perf_counter() - begin
    return Bisection(tuple(guilty), len(passed), len(found), undecided, seconds)


def recorded(question: Question) -> Recording:
    """Returns a recording of what is asked about, from random cotangents if it is no scalar."""
    leaves, tree = jax.tree.flatten(tuple(question.operands))

    def flat(*operands: Any) -> list:
        result = question.run(*jax.tree.unflatten(tree, operands))
        return jax.tree.leaves(result[0] if question.has_aux else result)

    active = [ct.is_differentiable(jax.typeof(leaf)) for leaf in leaves]
    return record(flat, leaves, active, seeds)


def seeds(results: list) -> list:
    """Returns a cotangent for each result: one for a single scalar, else random numbers."""
    generator = np.random.default_rng(0)
    avals = list(map(jax.typeof, results))

    def seed(aval: Any) -> Any:
        if not ct.is_differentiable(aval):
            return None
        alone = len(avals) == 1 and not aval.shape
        value = np.ones(()) if alone else generator.normal(size=aval.shape)
        return jax.numpy.asarray(value, aval.dtype)

    return list(map(seed, avals))


def kind(step: Step) -> tuple:
    """Returns what steps alike have in common: the line, what is run there, and the types."""
    types = tuple(aval.str_short() for aval in step.node.operand_avals)
    return step.written_at, str(step.primitive), step.name, step.rule_written_at, types


def tried_of(court: Court, steps: Sequence[Step], alike: int) -> list[Finding]:
    """Returns the findings on steps alike: on all, or on some and if one is guilty on more."""
    chosen = steps if steps[0].by_user else spread_out(steps, alike)
    findings = [court.judge(step) for step in chosen]
    if len(findings) < len(steps) and any(map(is_guilty, findings)):
        tried = {finding.step.number for finding in findings}
        more = [s for s in spread_out(steps, ALIKE_GUILTY) if s.number not in tried]
        findings += [court.judge(step) for step in more]
    return findings


def spread_out(steps: Sequence[Step], count: int) -> list[Step]:
    """Returns so many of the steps, the first and the last among them."""
    if len(steps) <= count:
        return list(steps)
    places = np.linspace(0, len(steps) - 1, count).round().astype(int)
    return [steps[i] for i in dict.fromkeys(places.tolist())]


def is_guilty(finding: Finding) -> bool:
    """Returns whether a rule was found wrong."""
    return finding.word == "guilty"


def summary(findings: Iterable[Finding]) -> Guilty:
    """Returns what is said of the guilty among steps alike."""
    findings = list(findings)
    guilty = sorted(filter(is_guilty, findings), key=lambda finding: finding.step.number)
    first, step = guilty[0], guilty[0].step
    return Guilty(
        step.name or str(step.primitive),
        step.written_at,
        step.rule_written_at,
        step.equation(),
        first.operand,
        first.reason,
        first.said,
        first.slope,
        first.bar,
        tuple(finding.step.trips for finding in guilty),
        len(guilty),
        len(findings),
    )
