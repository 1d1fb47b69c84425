"""Many runs at once: one compiled step for all of them, and for each a folder as of a run alone.

How the runs stand in it is in `rows`.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.environment import environment
from backprop_jax.runner.gradients import Engine, difference, engine_of, worst
from backprop_jax.runner.keeper import Keeper
from backprop_jax.runner.members import (
    COMPLETED,
    RUNNING,
    Member,
    begin,
    close,
    line_of,
    member_of,
    states_of,
    tasks_of,
)
from backprop_jax.runner.numbers import (
    Numbers,
    numbers_of,
    refuse_decisions,
    refuse_other_shapes,
    with_numbers,
)
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.results import write_results
from backprop_jax.runner.rows import (
    WITHIN,
    Group,
    fitting,
    group_of,
    in_rows,
    laid,
    laid_numbers,
    no_batches,
    stacked,
)
from backprop_jax.runner.state import State
from backprop_jax.runner.stopping import stop_when_asked
from backprop_jax.runner.task import Task, loss_of, metrics_of, take
from backprop_jax.runner.threads import computers, each, writers
from backprop_jax.runner.training import (
    MOST_PENDING,
    first_state,
    make_check,
    make_gradient,
    make_step,
    start,
)

PATIENCE = 1.0
"""Seconds, about, that such a block of steps takes at most."""


def run_together(
    path: Path,
    plans: Sequence[Plan],
    folders: Sequence[Path],
    said: str,
    tell: Callable[[str], Any],
) -> str:
    """Does runs that differ in numbers only, or what is left of them, as one program.

    Args:
      path: the YAML file.
      plans: of the runs.
      folders: of the runs; one that has been begun is gone on with.
      said: name of the file in each folder for what a run by itself would print.
      tell: is given a line now and then.

    Returns:
      completed, or interrupted or terminated by whom it was asked.

    Raises:
      ConfigError: they differ in something else.
    """
    with jax.enable_x64(plans[0].config.precision == "float64"), stop_when_asked() as stop:
        numbers = numbers_of(plans)
        tasks, data = tasks_of(plans)
        refuse_other_shapes(plans, tasks)
        most = fitting(start(plans[0], tasks[0]), len(plans))
        parts = [[one.train is task.train for one in data.values()].index(True) for task in tasks]
        program = Program(plans[0], list(data.values()))
        rows = in_rows(plans, parts, range(len(plans)), most)
        refuse_decisions(numbers, lambda some: program.trace(some, rows[0]))
        where, marks = run_folder.json_text(environment(path.resolve().parent)), list(data)
        with ExitStack() as stack:
            members = []
            for plan, task, part, folder in zip(plans, tasks, parts, folders, strict=True):
                with run_folder.writing(folder):
                    folder.mkdir(exist_ok=True)
                stack.enter_context(run_folder.locked(folder))
                members.append(member_of(plan, task, part, folder, marks[part]))
            each(members, lambda one: begin(one, where, said))
            # Those that were stopped at different steps are not at the same place in their epochs.
            places = [int(one.progress.state.step) for one in members]
            status = COMPLETED
            for place in sorted(set(places)):
                rows = in_rows(plans, parts, np.flatnonzero(np.array(places) == place), most)
                states = [one.progress.state for one in members]
                groups = [group_of(plans, tasks[0], states, numbers, parts, of) for of in rows]
                chosen = [members[n] for n in rows.flat]
                status = _together(program, chosen, groups, stop, said, tell)
                if status != COMPLETED:
                    break
        return status


class Program:
    """The compiled functions of all runs, whose states and numbers stand in rows.

    Attributes:
      train: the training parts of the data sets, stacked.
      test: the test parts, stacked.
    """

    def __init__(self, plan: Plan, tasks: Sequence[Task]) -> None:
        self.train, self.test = (
            jax.tree.map(lambda *x: stacked(x, len(x)), *(getattr(one, name) for one in tasks))
            for name in ("train", "test")
        )
        self._plan, self._task = plan, tasks[0]
        self._engine = engine_of(plan.config.gradient, plan.hooks)
        self.block = jax.jit(self._block, donate_argnums=0)
        self.metrics = jax.jit(self._metrics)
        self.check = make_check(
            engine_of(plan.config.gradient), self._gradient, jax.vmap(jax.vmap(difference))
        )

    def trace(self, numbers: Numbers, rows: Int[np.ndarray, "rows columns"]) -> None:
        """Traces a step and the metrics of runs with these numbers."""
        state = first_state(self._plan, self._task)
        states = laid([state] * rows.size, len(rows))
        mine = laid_numbers(numbers, rows)
        parts = np.zeros(len(rows), np.int32)
        batch = no_batches(self._task, len(rows), 0)
        # The types are those of the run, which then finds both traced.
        self.block.trace(states, mine, parts, self.train, batch, np.int32(1))
        given = (states.looked_at, mine, parts, states.key)
        self.metrics.trace(*given, self.test, self.train)

    def _block(
        self, states: State, numbers: Numbers, parts: Any, train: Any, rows: Any, count: Any
    ) -> tuple[State, Any]:
        """Takes `count` steps of every run; returns the states, and the losses of each step."""

        def step(state: State, numbers: Numbers, part: Any, rows: Any) -> Any:
            plan = with_numbers(self._plan, numbers)
            training = plan.config.training
            one = make_step(self._engine, loss_of(plan), plan.optimizer, None, training)
            return one(state, train, (part, rows))

        row = jax.vmap(step, in_axes=(WITHIN, 0, None, None), out_axes=(WITHIN, 0))
        every = jax.vmap(row)

        def steps(index: Any, before: tuple[State, Any]) -> tuple[State, Any]:
            states, losses = before
            states, found = every(states, numbers, parts, rows[index])
            return states, losses.at[index].set(found)

        kind = jax.eval_shape(every, states, numbers, parts, rows[0])[1]
        losses = jnp.zeros((len(rows), *kind.shape), kind.dtype)
        return jax.lax.fori_loop(0, count, steps, (states, losses))

    def _metrics(
        self, params: Any, numbers: Numbers, parts: Any, keys: Any, test: Any, train: Any
    ) -> Any:
        """Returns the metrics of every run, found one after the other: a test part may be large."""

        def row(of: tuple[Any, Numbers, Any, Any]) -> Any:
            params, numbers, part, key = of

            def metrics(of: tuple[Any, Numbers]) -> Any:
                params, numbers = of
                plan = with_numbers(self._plan, numbers)
                return metrics_of(plan, key)(params, take(test, part), take(train, part))

            return jax.lax.map(metrics, (params, numbers))

        return jax.lax.map(row, (params, numbers, parts, keys))

    def _gradient(self, engine: Engine) -> Callable[..., Any]:
        """Returns the gradient of every run by one engine, for the check."""

        def gradient(state: State, numbers: Numbers, part: Any, train: Any, rows: Any) -> Any:
            plan = with_numbers(self._plan, numbers)
            return make_gradient(engine, loss_of(plan))(state, train, (part, rows))

        row = jax.vmap(gradient, in_axes=(WITHIN, 0, None, None, None))
        return jax.vmap(row, in_axes=(0, 0, 0, None, 0))


def _together(
    program: Program,
    members: list[Member],
    groups: list[Group],
    stop: Callable[[], str | None],
    said: str,
    tell: Callable[[str], Any],
) -> str:
    """Trains runs that are at the same step, in groups, to the end; returns how it ended."""
    status, why = "failed", ""
    try:
        with ExitStack() as stack:
            writer = stack.enter_context(writers())
            cores = stack.enter_context(computers(members[0].plan.config.precision))
            for one in members:
                file, position = one.folder / run_folder.METRICS, one.facts["metrics_bytes"]
                one.records[:] = run_folder.read_lines(file, position)
                one.lines = stack.enter_context(run_folder.json_lines(file, position))
                checkpoint = one.plan.config.checkpoint
                given = one.folder, checkpoint, one.lines, one.facts
                one.keep = stack.enter_context(Keeper(*given, writer))
            why = _train(program, members, groups, cores, stop, tell)
            if why == COMPLETED:
                for one in [one for one in members if one.status == RUNNING]:
                    params = (one.keep.latest or one.progress).state.looked_at
                    write_results(one.plan, one.task, params, one.folder)
        status = why.split()[0]
    except KeyboardInterrupt:
        status, why = "interrupted", "interrupted from the keyboard"
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        for one in members:
            if one.status == RUNNING:
                one.status, one.why = status, "" if status == COMPLETED else why
        with run_folder.lastly():
            each(members, lambda one: close(one, len(members), said))
    return status


def _train(
    program: Program,
    members: list[Member],
    groups: list[Group],
    cores: Executor,
    stop: Callable[[], str | None],
    tell: Callable[[str], Any],
) -> str:
    """Takes the steps that are left, block by block; returns why it ended."""
    config, task = members[0].plan.config, members[0].task
    number, before = int(members[0].progress.state.step), members[0].progress.seconds
    if number >= task.steps:
        return COMPLETED
    checks = bool(config.gradient.check_every)
    block, metrics, times = _ready(program, groups[0], cores, checks=checks)
    for one in members:
        one.record({"kind": "compile", "step": number} | times)
    began, why, swift = time.perf_counter() - before, None, 1
    while number < task.steps and not why:
        going = [(index, one) for index, one in enumerate(members) if one.status == RUNNING]
        if not going:
            break
        waiting = len(going[0][1].progress.pending)
        count = min(len(groups[0].batches), swift, _until(config, task.steps, number, waiting))
        for group in groups:
            for index in range(count):
                group.batches[index] = [next(order) for order in group.orders]
        if config.gradient.check_every and number % config.gradient.check_every == 0:
            apart = cores.map(lambda one: _apart(program, one), groups)
            _record_check(_joined(list(apart)), number + 1, going)
        asked = time.perf_counter()
        apart = cores.map(lambda one, n=count: _taken(block, program, one, n), groups)
        losses = np.concatenate(list(apart), axis=1)[:count].reshape(count, -1)
        swift = max(1, int(count * PATIENCE / (time.perf_counter() - asked)))
        number += count
        why = stop() if number < task.steps else None
        look = number == task.steps or number % config.training.eval_every == 0
        due = going[0][1].keep.is_due(number)
        save = number == task.steps or bool(why) or due
        seconds = time.perf_counter() - began
        for index, one in going:
            one.add(losses[:, index], number, seconds, told=look, saved=save)
        if look:
            found = cores.map(
                lambda one: jax.device_get(metrics(*_looked_at(program, one))), groups
            )
            _look(_joined(list(found)), number, groups, going)
            tell(line_of(number, task.steps, members))
        if save:
            for one, state in states_of([group.states for group in groups], going):
                one.keep.save(one.progress._replace(state=state))
    return why or COMPLETED


def _taken(block: Any, program: Program, group: Group, count: int) -> np.ndarray:
    """Takes steps of one group; returns the losses."""
    given = _operands(program, group, group.batches)
    group.states, found = block(*given, np.int32(count))
    return np.asarray(found)


def _apart(program: Program, group: Group) -> Any:
    """Returns how far the engines are apart in the next step of one group, on the host."""
    return jax.device_get(program.check(*_operands(program, group, group.batches[0])))


def _looked_at(program: Program, group: Group) -> tuple[Any, ...]:
    """Returns what the metrics of a group are found with."""
    known = group.states.looked_at, group.numbers, group.parts, group.keys
    return *known, program.test, program.train


def _operands(program: Program, group: Group, batches: Any) -> tuple[Any, ...]:
    """Returns what a step of a group is taken with."""
    return group.states, group.numbers, group.parts, program.train, batches


def _joined(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what was found of each group, by rows and columns, run after run."""
    return {
        key: np.concatenate([one[key].reshape(-1, *one[key].shape[2:]) for one in found])
        for key in found[0]
    }


def _until(config: Any, steps: int, number: int, waiting: int) -> int:
    """Returns how many steps there are until there is something to do besides.

    Args:
      config: of the runs.
      steps: in all.
      number: of the last one.
      waiting: losses without a record.
    """
    every = [config.training.log_every, config.training.eval_every, config.gradient.check_every]
    every += [config.checkpoint.every if config.checkpoint.keep else 0]
    left = [each - number % each for each in every if each]
    return min([steps - number, MOST_PENDING - waiting, *left])


def _look(
    found: dict[str, Any],
    number: int,
    groups: Sequence[Group],
    alive: Sequence[tuple[int, Member]],
) -> None:
    """Records the figures of the test part; keeps the best."""
    looked = [(index, one) for index, one in alive if one.status == RUNNING]
    for index, one in looked:
        figures = {key: float(values[index]) for key, values in found.items()}
        one.record({"kind": "test", "step": number} | figures)
    if looked and looked[0][1].plan.config.checkpoint.best is not None:
        for one, state in states_of([group.states for group in groups], looked):
            figures = {k: x for k, x in one.records[-1].items() if k not in ("kind", "step")}
            one.keep.look(figures, one.progress._replace(state=state))


def _record_check(apart: Any, number: int, going: Sequence[tuple[int, Member]]) -> None:
    """Records how far the engines are apart, in each run."""
    for index, one in going:
        measured = {key: x[index] for key, x in apart.items()}
        figures = worst(measured, one.progress.state.params)
        one.record({"kind": "gradient_check", "step": number, **figures})


def _ready(
    program: Program, group: Group, cores: Executor, *, checks: bool
) -> tuple[Any, Any, dict[str, float]]:
    """Returns block and metrics compiled, for all groups, and how long the block took.

    Side by side; what it `checks` with, too, which is compiled where it is called.
    """
    given = _operands(program, group, group.batches)
    block = cores.submit(_compiled, program.block, (*given, np.int32(1)))
    metrics = cores.submit(_compiled, program.metrics, _looked_at(program, group))
    if checks:
        program.check(*_operands(program, group, group.batches[0]), each=cores.map)
    return block.result()[0], metrics.result()[0], block.result()[1]


def _compiled(function: Any, operands: Sequence[Any]) -> tuple[Any, dict[str, float]]:
    """Returns a function compiled, and how long that took."""
    began = time.perf_counter()
    traced = function.trace(*operands)
    between = time.perf_counter()
    compiled = traced.lower().compile()
    seconds = {"trace": between - began, "compile": time.perf_counter() - between}
    return compiled, {f"{part}_seconds": x for part, x in seconds.items()}
