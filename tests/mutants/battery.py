"""A mutant is put to the checks: those that users have first, then those of `tests/rules`."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

import backprop_jax as bp
from backprop_jax.check.gradients.engines import Engine
from backprop_jax.check.gradients.examine import Allowed, Examination
from backprop_jax.check.gradients.findings import GradsReport
from backprop_jax.check.gradients.sides import Side
from backprop_jax.check.numerical.vectors import Moving, Space
from backprop_jax.check.truth import DIGITS, m
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.registry import Constant, lookup
from backprop_jax.extend import elementwise
from tests.mutants.mutations import Mutant, Mutation, of_equations, of_gradients
from tests.mutants.recording import Recording, with_constant_passing
from tests.rules.case import Case, assert_close, draw_like, pull_jax, wide
from tests.rules.jaxprs import equations

#: Two answers are the same if they differ by no more than this, relative to the largest: rounding.
SAME = 1e-10
#: A truth is computed to more digits than its case: the error of the case itself is below this.
TRUE = 1e-9
#: For what is missing where a series ends: the relative tolerance of a second look.
TIGHT = 1e-11


@dataclasses.dataclass
class Tally:
    """What became of mutants.

    Attributes:
      counts: how many, by what found them; "same value", "no program" are no mutants.
      survivors: those that nothing found, in words.
      refused: cases whose right rule the checker does not pass, and what it says.
    """

    counts: Counter = dataclasses.field(default_factory=Counter)
    survivors: list[str] = dataclasses.field(default_factory=list)
    refused: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Counts another tally's in."""
        self.counts += other.counts
        self.survivors += other.survivors
        self.refused += other.refused

    @property
    def killed(self) -> int:
        """How many were found, by anything."""
        return sum(n for what, n in self.counts.items() if what.startswith("found"))

    def text(self) -> str:
        """Returns the counts as a line."""
        total = self.killed + self.counts["survived"]
        share = f"{100 * self.killed / total:.2f} %" if total else "none"
        others = ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))
        return f"{total} mutants, {self.killed} found ({share}): {others}"


class Trial:
    """A case, its right answers, and what they are compared with."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.recording = Recording(case)
        self.computed: dict = {}
        operands = self.recording.operands
        self.values, self.pullback = self.recording.at(operands)
        self.asked = [draw_like(case, self.values, purpose) for purpose in ("g", "h")]
        self.right = [self.answer(self.pullback, g) for g in self.asked]

    def once(self, what: Any, compute: Callable) -> Any:
        """Returns what is computed, once."""
        if what not in self.computed:
            self.computed[what] = compute()
        return self.computed[what]

    def answer(self, pull: Any, g: Sequence) -> list[np.ndarray]:
        """Returns the gradients that a way back gives."""
        avals = list(map(jax.typeof, self.recording.operands))
        return [wide(x) for x in ct.instantiate(list(pull(list(g))), avals)]

    @functools.cached_property
    def jax(self) -> tuple | None:
        """What `jax.vjp` says, if it has an answer."""
        if self.case.jax_fails:
            return None
        pull = jax.jit(functools.partial(pull_jax, self.recording.function))
        return pull(self.recording.operands, tuple(self.asked[0]))

    @functools.cached_property
    def truth(self) -> list | None:
        """What the case's own truth says, if it has one."""
        if self.case.truth is None:
            return None
        (x,), (z,), (g,) = self.recording.operands, self.values, self.asked[0]
        with m.workdps(DIGITS):
            pairs = zip(*(map(float, np.ravel(v)) for v in (x, z)), strict=True)
            slopes = [float(self.case.truth(m.mpf(a), m.mpf(b))) for a, b in pairs]
        return [wide(g) * np.reshape(slopes, np.shape(x))]

    def is_true(self, answer: Sequence) -> bool:
        """Returns whether an answer is the truth but for rounding; True if there is none to ask."""
        return self.truth is None or distance(answer, self.truth) <= TRUE

    def check(self, engine: Engine, rtol: float | None = None) -> bool:
        """Returns whether the checker finds something wrong with an engine's answers.

        It is asked as `bp.check_grads(function, operands, modes="rev", engine=engine)` asks, but
        for the words: which element is wrong is not looked for.
        """
        moving = Moving.of(self.recording.function, self.recording.operands, "xyw")
        operands = tuple(moving.point)
        side = Mutated(moving, engine, operands, Space.of(operands, moving.paths), trial=self)
        report = GradsReport(self.case.name, engine.name)
        rng = np.random.default_rng([0, 1])
        exam = Examination(side, ("rev",), Allowed(rtol), report, rng)
        with np.errstate(all="ignore"):
            return next(exam.answers(), None) is not None or not report.ok

    @functools.cached_property
    def refusal(self) -> str:
        """What the checker says of the right rule; "" if it finds it right."""
        if not self.case.has_slope:
            return "agreed upon"
        try:
            bp.check_grads(self.recording.function, self.recording.operands, modes="rev")
        except AssertionError as error:
            return str(error)
        return ""

    @functools.cached_property
    def is_exact(self) -> bool:
        """Whether the right rule passes where hardly anything is allowed."""
        right = Engine("right", lambda fun, *x: self.recording.with_rule(x, self.rule_of(x)))
        return not self.check(right, TIGHT)

    def rule_of(self, operands: Sequence) -> Any:
        """Returns by place the rule that a step has."""
        nodes = self.recording.at(operands)[1].nodes
        return lambda place: nodes[place].rule

    def mutants(self) -> Iterator[tuple[str, Engine]]:
        """Yields every mutant, in words, and who gives its answers."""
        seen: set[str] = set()
        for place in self.recording.places:
            node = self.pullback.nodes[place]
            pulls = [k for k in self.recording.pulls if k[0] == place]
            for closed, _ in [self.recording.pulls[k] for k in pulls]:
                if (text := str(closed.jaxpr)) in seen:
                    continue
                seen.add(text)
                mistakes = [*of_gradients(closed.out_avals), *of_equations(closed.jaxpr)]
                for mutation in mistakes:
                    yield f"{node.primitive}: {mutation}", self.engine(mutation, text)
        yield from self.passing()

    def engine(self, mutation: Mutation, text: str) -> Engine:
        """Returns who answers by a rule with this mistake."""

        def vjp(fun: Any, *operands: Any) -> tuple:
            del fun
            of = self.rule_of(operands)
            return self.recording.with_rule(
                operands, lambda place: Mutant(self.recording, place, of(place), mutation, text)
            )

        return Engine("mutant", vjp)

    def passing(self) -> Iterator[tuple[str, Engine]]:
        """Yields the mutant of a rule that says there is no derivative: it lets cotangents pass."""
        jaxpr = jax.make_jaxpr(self.recording.function)(*self.recording.operands).jaxpr
        own = [e for e in equations(jaxpr) if str(e.primitive) == self.case.primitive]
        for e in own[:1]:
            avals = [v.aval for v in (*e.invars, *e.outvars)]
            if type(lookup(e.primitive)) is Constant and all(a == avals[0] for a in avals):
                rule = elementwise(*[lambda g: g] * len(e.invars))
                passing = functools.partial(with_constant_passing, self.recording, rule)
                yield f"{e.primitive}: let pass", Engine("mutant", passing)

    def record_ways_back(self) -> None:
        """Walks back once, so that the jaxprs of all steps are known."""

        def rule_of(place: int) -> Any:
            return Watch(self.recording, place, self.pullback.nodes[place].rule)

        self.recording.with_rule(self.recording.operands, rule_of)[1](self.asked[0])

    def judge(self, engine: Engine) -> tuple[str, float]:
        """Returns what finds a mutant, or that it is none, or "survived"; and how much it changes.

        The change is of the gradient with the largest, relative to its largest element.
        """
        try:
            pull = engine.vjp(None, *self.recording.operands)[1]
            answers = [self.answer(pull, g) for g in self.asked]
        except (TypeError, ValueError, IndexError, ZeroDivisionError):
            return "no program", 0.0
        change = max(map(distance, answers, self.right))
        if all(map(is_same, answers, self.right)):
            return "same value", change
        if not self.refusal and self.check(engine):
            return "found by check_grads", change
        if not self.is_true(answers[0]):
            return "found by mpmath", change
        if self.jax is not None:
            try:
                assert_close(
                    answers[0], self.jax, max(1e-10, self.case.rounding), "against jax.vjp"
                )
            except AssertionError:
                return "found by comparison with jax.vjp", change
        if not self.refusal and self.is_exact and self.check(engine, TIGHT):
            return f"found by check_grads(rtol={TIGHT:g})", change
        return "survived", change


@dataclasses.dataclass(frozen=True)
class Mutated(Side):
    """A function and a mutant's derivatives. What is not the mutant's is computed once."""

    trial: Any = None

    def f(self, x: np.ndarray) -> np.ndarray:
        """The function, from a vector to a vector."""
        return self.trial.once(("f", x.tobytes()), lambda: super(Mutated, self).f(x))

    def digits(self) -> int:
        """Returns the digits of the least precise number on the way to the result."""
        return self.trial.once("digits", lambda: super(Mutated, self).digits())

    def pull(self, cs: list[np.ndarray], x: np.ndarray | None = None) -> list[np.ndarray]:
        """Returns for each covector of the results the one of the operands."""
        operands = self.point if x is None else self.space.leaves(x, self.point)
        values, pull = self.engine.vjp(self.moving, *operands)
        return [self.space.covector(pull(self.results.cotangents(c, values))) for c in cs]


@dataclasses.dataclass(frozen=True)
class Watch:
    """A rule whose way back is read when it is walked."""

    recording: Recording
    place: int
    rule: Any
    kind: str = "watched"

    def pull(self, node: Any, cotangents: list) -> list:
        """Returns the cotangents of the operands."""
        self.recording.pull(self.place, node, self.rule, cotangents)
        return self.rule.pull(dataclasses.replace(node, rule=self.rule), cotangents)


def distance(ours: Sequence, theirs: Sequence) -> float:
    """Returns how far two answers are apart, relative to the largest element of each gradient."""
    sizes = [max(float(np.max(np.abs(b), initial=0.0)), 1e-300) for b in theirs]
    apart = [float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(ours, theirs, strict=True)]
    return max((d / size for d, size in zip(apart, sizes, strict=True)), default=0.0)


def is_same(ours: Sequence, theirs: Sequence) -> bool:
    """Returns whether two answers are the same but for rounding."""
    try:
        assert_close(ours, theirs, SAME, "")
    except AssertionError:
        return False
    return True


def judged(case: Case, limit: int = 0) -> Tally:
    """Returns what becomes of the mutants of a case, of at most so many if there is a limit.

    A case whose slope cannot be measured and that neither `jax.vjp` nor mpmath has an answer for is
    not judged.
    """
    tally = Tally()
    trial = Trial(case)
    if not case.has_slope and trial.jax is None and trial.truth is None:
        tally.counts["not judged: no oracle"] += 1
        return tally
    trial.record_ways_back()
    if case.has_slope and trial.refusal:
        tally.refused.append(f"{case.name}: {trial.refusal}")
    if not trial.is_true(trial.right[0]):
        tally.refused.append(f"{case.name}: mpmath says otherwise")
    mutants = list(trial.mutants())
    count = min(limit or len(mutants), len(mutants))
    for text, engine in (mutants[i * len(mutants) // count] for i in range(count)):
        verdict, change = trial.judge(engine)
        tally.counts[verdict] += 1
        if verdict == "survived":
            tally.survivors.append(f"{case.name} | {text}, a change of {change:.0e}")
    return tally
