"""One run among many that are one program: how far it is, and a folder as of a run alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.document import dump
from backprop_jax.runner.keeper import first_facts
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.rows import fetched
from backprop_jax.runner.run import closing, gone_on, headline, report
from backprop_jax.runner.snapshots import fingerprint
from backprop_jax.runner.state import State
from backprop_jax.runner.task import Task, make_task
from backprop_jax.runner.training import (
    MOST_PENDING,
    NonFiniteLoss,
    Progress,
    Record,
    beginning,
    first_state,
    record_losses,
)

RUNNING, COMPLETED = "running", "completed"


@dataclass
class Member:
    """One of the runs.

    Attributes:
      plan: what it does.
      task: with what.
      part: which of the data sets is its own.
      folder: where its results go.
      progress: how far it has come; its state is that of the last checkpoint, the present one is
        among those of all runs.
      facts: what its checkpoints say.
      told: what a run by itself would print first.
      records: the lines of its metrics.jsonl.
      lines: that file.
      keep: writes its checkpoints.
      status: running, completed, nonfinite, interrupted, terminated or failed.
      why: it ended, unless completed.
    """

    plan: Plan
    task: Task
    part: int
    folder: Path
    progress: Progress
    facts: dict[str, Any]
    told: list[str]
    records: list[Record] = field(default_factory=list)
    lines: Any = None
    keep: Any = None
    status: str = RUNNING
    why: str = ""

    def record(self, figures: Record) -> None:
        """Keeps and writes a record; that of compiling is the first leg's alone."""
        if figures["kind"] == "compile" and self.facts["resumed"]:
            return
        self.records.append(figures)
        self.lines.add(figures)

    def add(self, losses: Any, number: int, seconds: float, *, told: bool, saved: bool) -> None:
        """Adds the losses up to step `number`; ends at one that is not finite, once it is told.

        They are told where `told` says so, where a line is due, and before what is not finite is
        saved.
        """
        pending, latest = [*self.progress.pending, *losses], self.progress.latest
        told |= saved and not np.isfinite(pending).all()
        if (
            told
            or number % self.plan.config.training.log_every == 0
            or len(pending) == MOST_PENDING
        ):
            try:
                record_losses(pending, number, latest, seconds, self.record)
            except NonFiniteLoss as error:
                self.status, self.why = "nonfinite", str(error)
            pending, latest = [], float(pending[-1])
        self.progress = Progress(self.progress.state, pending, latest, seconds)


def states_of(
    groups: Sequence[State], alive: Sequence[tuple[int, Member]]
) -> Iterator[tuple[Member, State]]:
    """Yields the runs that go on, each with its own state, on the host."""
    every = [state for states in groups for state in fetched(states)]
    for index, one in alive:
        if one.status == RUNNING:
            yield one, every[index]


def tasks_of(plans: Sequence[Plan]) -> tuple[list[Task], dict[str, Task]]:
    """Returns the task of each run, and those with different data, by the data's fingerprint."""
    asked: dict[str, Task] = {}
    known: dict[str, Task] = {}
    begun: dict[str, Callable[[PRNGKeyArray], Any]] = {}
    tasks = []
    for plan in plans:
        said = repr((plan.config.seed, plan.config.data))
        if said not in asked:
            task = make_task(plan)
            # Data that do not depend on the seed are there once.
            asked[said] = known.setdefault(fingerprint((task.train, task.test)), task)
        task = make_task(plan, asked[said])
        init = begun.setdefault(f"{said} {plan.config.model!r}", once(task.init))
        tasks.append(replace(task, init=init))
    return tasks, known


def once(init: Callable[[PRNGKeyArray], Any]) -> Callable[[PRNGKeyArray], Any]:
    """Returns a function that is called once, and then returns the same again."""
    found: list[Any] = []

    def init_once(key: PRNGKeyArray) -> Any:
        if not found:
            found.append(init(key))
        return found[0]

    return init_once


def member_of(plan: Plan, task: Task, part: int, folder: Path, data: str) -> Member:
    """Returns a run, at its start or where its newest checkpoint is; nothing is written."""
    begun, facts = beginning(first_state(plan, task)), first_facts(plan.settings, data)
    told: list[str] = []
    if (folder / run_folder.CONFIG).is_file():
        begun, facts = gone_on(plan, task, folder, begun, facts, told.append)
    return Member(plan, task, part, folder, begun, facts, [*told, headline(plan, task)])


def begin(one: Member, environment: str, said: str) -> None:
    """Writes down how a run was asked for, and where it runs.

    Args:
      one: the run.
      environment: as in environment.json.
      said: name of the file for what a run by itself would print.
    """
    step = int(one.progress.state.step)
    run_folder.write_over(one.folder / run_folder.CONFIG, dump(one.plan.settings), step)
    run_folder.write_over(one.folder / run_folder.ENVIRONMENT, environment, step)
    run_folder.add(one.folder / said, "".join(f"{line}\n" for line in one.told))


def close(one: Member, many: int, said: str) -> None:
    """Writes down how a run ended.

    Args:
      one: the run.
      many: how many there were in its program.
      said: name of the file for what a run by itself would print.
    """
    summary = run_folder.summarize(one.records, one.status, one.why)
    summary |= {"warnings": [], "resumed": one.facts["resumed"]}
    run_folder.write_json(one.folder / run_folder.SUMMARY, summary)
    report(one.plan, one.task, one.folder, summary, one.records, summary["seconds"] / many)
    run_folder.add(one.folder / said, closing(summary, one.plan, one.folder) + "\n")


def line_of(number: int, steps: int, members: Sequence[Member]) -> str:
    """Returns a line on all runs: `step  400/2000  loss 0.0421 to 2.3  of 31 runs, 1 nonfinite`."""
    losses = [one.progress.latest for one in members if one.status == RUNNING]
    known = [loss for loss in losses if loss is not None]
    ended = len(members) - len(losses)
    spread = f"loss {min(known):.4g} to {max(known):.4g}  " if known else ""
    left = f", {ended} not finite" if ended else ""
    return f"step {number:>{len(str(steps))}}/{steps}  {spread}of {len(losses)} runs{left}"
