"""The first step of a run as a picture: whether it is worth its time, and what is said of it."""

import math
from typing import Any

import jax
import numpy as np

from backprop_jax.runner.first import step_explained
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.task import Task, take
from backprop_jax.taps.steps import Loop, every, level_of

EXAMPLES = 4
"""Of the first batch that are looked at."""

WORTH = 60.0
"""Seconds of training from which on a few more for the picture do not matter."""

MOST_STEPS, MOST_NUMBERS = 3000, 10_000_000
"""Steps forward and parameters up to which a picture is drawn unasked."""


def step_drawn(plan: Plan, task: Task, seconds: float) -> tuple[str, str]:
    """Returns the picture of a run's first step as a part of a page; if there is none, why.

    Neither, if the run does not ask for it: with `gradient.graph` false; or null, and training was
    short, or a step takes long to look at.

    Args:
      plan: what was run.
      task: with what.
      seconds: how long training took.
    """
    wanted = plan.config.gradient.graph
    if wanted is False or (wanted is None and seconds < WORTH):
        return "", ""
    try:
        if wanted is None and not is_small(plan, task):
            return "", ""
        return step_explained(plan, task, EXAMPLES).fragment(), ""
    except Exception as error:  # Whatever there is in a user's loss: the run itself has ended well.
        said = str(error).partition("\n")[0]
        return "", f"{type(error).__name__}: {said}"


def is_small(plan: Plan, task: Task) -> bool:
    """Returns whether a step is soon looked at: it has few parameters, and few steps within."""
    with jax.enable_x64(plan.config.precision == "float64"):
        key = jax.random.key(plan.config.seed)
        params = jax.eval_shape(task.init, key)
        batch = jax.eval_shape(take, task.train, np.arange(min(EXAMPLES, task.batch_size)))
        closed = jax.make_jaxpr(task.loss)(params, batch, key)
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    return numbers <= MOST_NUMBERS and steps_in(closed) <= MOST_STEPS


def steps_in(closed: Any) -> float:
    """Returns how many steps a program takes, all branches counted; infinity if nobody knows."""
    return sum(math.prod(map(trips_of, step.loops)) for step in every(level_of(closed)))


def trips_of(loop: Loop) -> float:
    """Returns how many trips a loop has; infinity if nobody knows."""
    return math.inf if loop.length is None else loop.length
