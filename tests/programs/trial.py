"""Many programs tried one after the other, and what became of them."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator

import hypothesis
import jax
from hypothesis import HealthCheck, Phase

from tests.programs.judge import AGREES, FAILURES, Verdict, judge
from tests.programs.program import Program
from tests.programs.strategy import programs

BATCH = 50  # programs that hypothesis draws from one seed
SETTINGS = hypothesis.settings(
    max_examples=BATCH,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    # A program is large, and the first ones wait for JAX to start.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclasses.dataclass
class Tally:
    """What became of some programs."""

    programs: int = 0
    verdicts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Adds what became of others."""
        self.programs += other.programs
        self.verdicts.update(other.verdicts)
        self.failures += other.failures
        self.notes += other.notes

    def text(self) -> str:
        """Returns the counts in a line."""
        kinds: collections.Counter = collections.Counter()
        for (_, kind), count in self.verdicts.items():
            kinds[kind] += count
        failed = {kind: kinds.pop(kind, 0) for kind in FAILURES}
        parts = [f"{self.programs} programs", f"{kinds.total()} gradients compared"]
        parts += [f"{count} {kind}" for kind, count in sorted(kinds.items())]
        parts += [f"{count} {kind}" for kind, count in failed.items()]
        return ", ".join(parts)


def batches(seed: int) -> Iterator[list[Program]]:
    """Yields lists of different programs, without end."""
    seen: set[str] = set()
    for number in itertools.count():
        drawn = batch(seed * 1_000_003 + number)
        yield [program for text, program in drawn.items() if text not in seen]
        seen.update(drawn)


def batch(seed: int) -> dict[str, Program]:
    """Returns the programs that hypothesis draws from a seed, by their source."""
    drawn: dict[str, Program] = {}

    @hypothesis.seed(seed)
    @SETTINGS
    @hypothesis.given(programs())
    def draw(program: Program) -> None:
        drawn.setdefault(program.source(), program)

    with jax.enable_x64(True):
        draw()
    return drawn


def attempt(program: Program, shorten: bool = True) -> Tally:
    """Returns what became of a program; one that fails as short as it can be made."""
    with jax.enable_x64(True):
        verdicts = judge(program)
        tally = Tally(1, collections.Counter((v.check, v.kind) for v in verdicts))
        tally.notes = [report(program, v) for v in verdicts if v.kind not in (*FAILURES, AGREES)]
        for verdict in verdicts:
            if verdict.kind in FAILURES:
                short = shortened(program, verdict) if shorten else program
                tally.failures.append(report(short, verdict))
                break
    return tally


def report(program: Program, verdict: Verdict) -> str:
    """Returns a verdict and the program as text."""
    return f"{verdict.kind} ({verdict.check}): {verdict.text}\n\n{program.source()}\n"


def shortened(program: Program, verdict: Verdict, tries: int = 200) -> Program:
    """Returns the program without the statements that do not matter to a verdict."""
    same = frozenset(check for check in program.checks if check in ("first", verdict.check))
    program = dataclasses.replace(program, checks=same) if verdict.check in same else program
    progress = True
    while progress:
        progress = False
        for shorter in program.shorter():
            tries -= 1
            if not tries:
                return program
            if any((v.check, v.kind) == (verdict.check, verdict.kind) for v in judge(shorter)):
                program, progress = shorter, True
                break
    return program
