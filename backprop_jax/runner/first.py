"""An experiment before its first step: what that starts from, and its backward pass."""

from typing import Any, NamedTuple

import jax

from backprop_jax.graph.explain import Explanation, explain
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.state import State
from backprop_jax.runner.task import Task, batches, make_task, take
from backprop_jax.runner.training import start


class FirstStep(NamedTuple):
    """What the first step of training starts from."""

    task: Task
    state: State
    batch: Any


def first_step(plan: Plan, task: Task | None = None) -> FirstStep:
    """Returns an experiment before its first step, in the precision of the current context."""
    task = task or make_task(plan)
    state = start(plan, task)
    rows = next(batches(plan.config.seed, task.size, task.batch_size))
    return FirstStep(task, state, take(task.train, rows))


def step_explained(
    plan: Plan, task: Task | None = None, examples: int | None = None
) -> Explanation:
    """Returns the backward pass of an experiment's loss, at the first step.

    It is run step by step, all of it: one batch, at the parameters that training starts from.

    Args:
      plan: of the experiment.
      task: the experiment made ready, if it has been.
      examples: how many of the batch to take at most. Default: all.
    """
    with jax.enable_x64(plan.config.precision == "float64"):
        task, state, batch = first_step(plan, task)
        batch = take(batch, slice(examples))

        def loss(params: Any, batch: Any, key: Any) -> Any:
            return task.loss(params, batch, key)

        return explain(loss, state.params, batch, state.key, argnums=0)
