"""The training loop: one functional state, one compiled step, records of what happened."""

import dataclasses
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from backprop_jax.errors import BackpropError
from backprop_jax.runner.document import raise_problems
from backprop_jax.runner.flow.layers import Layers, layers_of
from backprop_jax.runner.flow.measuring import measuring, written
from backprop_jax.runner.gradients import ENGINES, Engine, check_hooks, difference, engine_of, worst
from backprop_jax.runner.mixed import adjusted, first_scale, scaled
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.schema import Training
from backprop_jax.runner.state import State, begin
from backprop_jax.runner.task import Task, batches, check_contract, take
from backprop_jax.runner.words import hint
from backprop_jax.taps.report import Report

Record = dict[str, Any]
"""One line of metrics.jsonl: `step`, figures, and their `kind`: compile, train, test, validation,
gradient_check, example_norms, flow or warning."""

AT_ONCE = 16
"""Examples whose gradients are held at the same time."""

MOST_PENDING = 256
"""Losses left on the device before they are fetched and looked at, whatever `log_every` says."""


class Progress(NamedTuple):
    """How far a run has come: all that the rest of it depends on.

    Attributes:
      state: what the next step starts from.
      pending: losses of the last steps that no record has yet.
      latest: the last loss in a record.
      seconds: how long training has taken.
    """

    state: State
    pending: list[Any]
    latest: float | None
    seconds: float


class Keep(Protocol):
    """What the training loop asks to have its progress kept; `keeper.Keeper` is one."""

    def is_due(self, step: int) -> bool:
        """Says whether progress should be saved after `step`."""
        ...

    def save(self, progress: Progress) -> None:
        """Saves progress."""
        ...

    def enough(self, step: int) -> str | None:
        """Says why the run has ended after `step`, None if it has not."""
        ...

    def look(self, figures: dict[str, float], progress: Progress) -> None:
        """Saves progress if the figures of the test part are the best so far."""
        ...


class Stopped(BackpropError):
    """The run was asked to stop; its progress is saved."""


class NonFiniteLoss(BackpropError, ArithmeticError):
    """The loss has become infinite or not a number."""


def start(plan: Plan, task: Task) -> State:
    """Returns the state before the first step; the same seed gives the same state.

    Raises:
      ConfigError: the experiment's functions do not keep the contract, or there is no such figure.
    """
    state = first_state(plan, task)
    figures = check_contract(plan.experiment.name, task, state.params)
    batch = jax.eval_shape(take, task.train, np.arange(task.batch_size))
    check_hooks(plan.document, plan.hooks, task.loss, state.params, batch, state.key)
    best = plan.config.checkpoint.best
    if best is not None and best not in figures:
        text = f"no figure {best!r} of the test part{hint(best, figures)}"
        raise_problems([plan.document.at_value(("checkpoint", "best"), text)])
    return state


def first_state(plan: Plan, task: Task) -> State:
    """Returns the state before the first step, of an experiment that keeps the contract."""
    start_key, key = jax.random.split(jax.random.key(plan.config.seed))
    params = task.init(start_key)
    training = plan.config.training
    scale = first_scale(training)
    return begin(params, plan.optimizer, key, ema=training.ema is not None, scale=scale)


def make_step(
    engine: Engine,
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformationExtraArgs,
    layers: Layers | None = None,
    training: Training | None = None,
) -> Callable[[State, Any, Any], tuple[Any, ...]]:
    """Returns the function from state, training part and rows to the next state and the loss.

    With `layers`, also to what is measured of them.
    """
    measure = [measuring(layers)] if layers else []
    fixed, decay = (training.loss_scale, training.ema) if training else (None, None)

    def step(state: State, train: Any, rows: Any) -> tuple[Any, ...]:
        key, draw = jax.random.split(state.key)
        batch = take(train, rows)
        factor = state.scale.factor if state.scale else fixed
        value, gradient = scaled(engine, loss, factor)(state.params, batch, draw)
        updates, optimizer_state = optimizer.update(
            gradient,
            state.optimizer,
            state.params,
            # Only optimizers with a line search or a step size from the loss look at these.
            value=value,
            grad=gradient,
            value_fn=lambda params: loss(params, batch, draw),
        )
        params, ema, scale = optax.apply_updates(state.params, updates), state.ema, state.scale
        if decay is not None:
            ema = optax.incremental_update(params, ema, 1 - decay)
        if scale is not None:
            good, scale = adjusted(scale, gradient)
            old, new = (state.params, state.optimizer, state.ema), (params, optimizer_state, ema)
            chosen = jax.tree.map(lambda x, y: jnp.where(good, x, y), new, old)
            params, optimizer_state, ema = chosen
        measured = [look(state.params, gradient, updates) for look in measure]
        after = State(params, optimizer_state, state.step + 1, key, ema, scale)
        return after, value, *measured

    return step


def make_gradient(engine: Engine, loss: Callable[..., Any]) -> Callable[[State, Any, Any], Any]:
    """Returns the function from state, training part and rows to the gradient of that step."""

    def gradient(state: State, train: Any, rows: Any) -> Any:
        _, draw = jax.random.split(state.key)
        return engine(loss)(state.params, take(train, rows), draw)[1]

    return gradient


def make_norms(engine: Engine, loss: Callable[..., Any]) -> Callable[[State, Any, Any], Any]:
    """Returns the function from state, training part and rows to the norms of their gradients.

    Of each example's own, as a batch of one; the largest of them and the mean.
    """

    def norms(state: State, train: Any, rows: Any) -> Any:
        gradient = make_gradient(engine, loss)

        def norm(row: Any) -> Any:
            leaves = jax.tree.leaves(gradient(state, train, row[None]))
            return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves))

        found = jax.lax.map(norm, rows, batch_size=AT_ONCE)
        return {"mean": jnp.mean(found), "max": jnp.max(found)}

    return norms


def make_check(
    ours: Engine,
    gradient_by: Callable[[Engine], Callable[..., Any]],
    apart: Callable[[Any, Any], Any] = difference,
) -> Callable[..., Any]:
    """Returns the function that measures how far ours is from jax.grad on a step's own batch.

    Each engine is compiled by itself: in one program XLA would merge what they have in common, and
    the difference would be smaller than that of two runs. Its `each` is what maps over the two; at
    first, when they are compiled, threads may.
    """
    pair = [jax.jit(gradient_by(engine)) for engine in (ours, ENGINES["jax"])]
    compared = jax.jit(apart)

    def check(*given: Any, each: Callable[..., Any] = map) -> Any:
        return compared(*each(lambda gradient: gradient(*given), pair))

    return check


def train(
    plan: Plan,
    task: Task,
    begun: Progress,
    record: Callable[[Record], None],
    keep: Keep | None = None,
    stop: Callable[[], str | None] = lambda: None,
    tell: Callable[[Report], Any] | None = None,
) -> str:
    """Trains to the end, handing over a record of everything worth a line. Uses up the state.

    Returns why the end came early, nothing if it did not.

    Args:
      plan: what to do.
      task: with what.
      begun: where to go on from; `beginning(state)` is where a run starts.
      record: takes each record.
      keep: is given the progress that can be gone on from.
      stop: asked after each step; a text ends the run and says why.
      tell: is given a report when a gradient is not finite, if the run asks for one.

    Raises:
      NonFiniteLoss: at the first loss that is not finite, after the records up to it.
      Stopped: `stop` said so.
    """
    training, gradient = plan.config.training, plan.config.gradient
    state, pending, latest, before = begun
    first = int(state.step)
    if first >= task.steps:
        return ""
    if keep is not None and (why := keep.enough(first)):
        return why
    engine = engine_of(gradient, plan.hooks, tell)
    steps, layers = _steps(plan, task, state, engine, record)
    norms = jax.jit(make_norms(engine_of(gradient, plan.hooks), task.loss))
    # The engines are compared without hooks, of which jax.grad has none.
    ours = engine_of(dataclasses.replace(gradient, engine="backprop_jax"))
    check = make_check(ours, lambda engine: make_gradient(engine, task.loss))
    metrics = jax.jit(task.metrics)
    began = time.perf_counter() - before
    rows_of_steps = batches(plan.config.seed, task.size, task.batch_size, first)
    rows_to_do = islice(rows_of_steps, task.steps - first)
    for number, rows in enumerate(rows_to_do, start=first + 1):
        if gradient.check_every and (number - 1) % gradient.check_every == 0:
            figures = worst(jax.device_get(check(state, task.train, rows)), state.params)
            record({"kind": "gradient_check", "step": number, **figures})
        if gradient.example_norms_every and (number - 1) % gradient.example_norms_every == 0:
            figures = _numbers(norms(state, task.train, rows))
            record({"kind": "example_norms", "step": number} | figures)
        look_in = bool(gradient.flow_every) and (number - 1) % gradient.flow_every == 0
        state, loss, *measured = steps[look_in](state, task.train, rows)
        if layers and measured:
            figures = written(layers, jax.device_get(measured[0]))
            record({"kind": "flow", "step": number} | figures)
        pending.append(loss)
        why = stop() if number < task.steps else None
        look = number == task.steps or number % training.eval_every == 0
        save = keep is not None and (number == task.steps or bool(why) or keep.is_due(number))
        if save:
            pending = jax.device_get(pending)
        seconds = time.perf_counter() - began
        # What is not finite is told before it is saved.
        bad = save and not np.isfinite(pending).all()
        if look or bad or number % training.log_every == 0 or len(pending) == MOST_PENDING:
            losses = jax.device_get(pending)
            record_losses(losses, number, latest, seconds, record)
            pending, latest = [], float(losses[-1])
        if look:
            figures = _looked(metrics, state, task, record)
            if keep is not None:
                keep.look(figures, Progress(state, pending, latest, seconds))
        early = look and number < task.steps and keep is not None and keep.enough(number)
        if keep is not None and (save or early):
            keep.save(Progress(state, pending, latest, seconds))
        if why:
            raise Stopped(why)
        if early:
            return early
    return ""


def _looked(
    metrics: Callable[..., Any], state: State, task: Task, record: Callable[[Record], None]
) -> dict[str, float]:
    """Records the figures of the parts kept from training; returns those that decide."""
    figures = {}
    for kind in ("test", "validation"):
        if (part := getattr(task, kind)) is not None:
            figures = _numbers(metrics(state.looked_at, part, task.train))
            record({"kind": kind, "step": int(state.step)} | figures)
    return figures


def _numbers(found: Any) -> dict[str, float]:
    """Returns named scalars of the device as plain numbers."""
    return {key: float(x) for key, x in jax.device_get(found).items()}


def _steps(
    plan: Plan, task: Task, state: State, engine: Engine, record: Callable[[Record], None]
) -> tuple[dict[bool, Callable[..., tuple[Any, ...]]], Layers | None]:
    """Returns the step compiled, by whether layers are looked at in it; and the layers.

    A step that is looked at is a program of its own, so that the others are what they were.
    """
    training, every = plan.config.training, plan.config.gradient.flow_every
    layers = layers_at(task, state) if every else None
    kinds: dict[bool, Layers | None] = {False: None} if every != 1 else {}
    if layers:
        kinds[True] = layers
    steps = {
        kind: make_step(engine, task.loss, plan.optimizer, known, training)
        for kind, known in kinds.items()
    }
    return _compiled(steps, state, task, record), layers


def layers_at(task: Task, state: State) -> Layers:
    """Returns the layers of the model."""
    batch = jax.eval_shape(take, task.train, np.arange(task.batch_size))
    return layers_of(task.loss, state.params, batch, state.key)


def beginning(state: State) -> Progress:
    """Returns the progress of a run that has not begun."""
    return Progress(state, [], None, 0.0)


def _compiled(
    steps: dict[bool, Callable[..., Any]],
    state: State,
    task: Task,
    record: Callable[[Record], None],
) -> dict[bool, Callable[..., tuple[Any, ...]]]:
    """Returns the steps compiled, their state donated; records how long that took in all."""
    rows = np.arange(task.batch_size, dtype=np.int32)
    compiled, seconds = {}, {"trace": 0.0, "compile": 0.0}
    for kind, step in steps.items():
        began = time.perf_counter()
        traced = jax.jit(step, donate_argnums=0).trace(state, task.train, rows)
        between = time.perf_counter()
        compiled[kind] = traced.lower().compile()
        seconds["trace"] += between - began
        seconds["compile"] += time.perf_counter() - between
    step_before = int(state.step)
    record(
        {"kind": "compile", "step": step_before}
        | {f"{part}_seconds": x for part, x in seconds.items()}
    )
    return compiled


def record_losses(
    losses: list[np.ndarray],
    last: int,
    before: float | None,
    seconds: float,
    record: Callable[[Record], None],
) -> None:
    """Records the mean of the losses up to step `last`; raises at one that is not finite."""
    finite = np.isfinite(losses)
    good = len(losses) if finite.all() else int(np.argmin(finite))
    reached = last - len(losses) + good
    if good:
        mean = float(np.mean(losses[:good]))
        record({"kind": "train", "step": reached, "loss": mean, "seconds": seconds})
    if good < len(losses):
        value = float(losses[good])
        record({"kind": "train", "step": reached + 1, "loss": value, "seconds": seconds})
        before = float(losses[good - 1]) if good else before
        known = "" if before is None else f", after {before:.6g} at step {reached}"
        raise NonFiniteLoss(f"the loss is {value} at step {reached + 1}{known}")
