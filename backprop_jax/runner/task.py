"""An experiment made ready: its data on the device, its functions with one signature for all."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from backprop_jax.errors import ConfigError, DataError
from backprop_jax.runner.document import Keys, raise_problems
from backprop_jax.runner.mixed import lowered
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.schema import arguments

Rows = Int[np.ndarray, " batch"]

Loss = Callable[[Any, Any, PRNGKeyArray], Float[Array, ""]]
Metrics = Callable[[Any, Any, Any], dict[str, Float[Array, ""]]]


@dataclass(frozen=True)
class Task:
    """What training needs of an experiment.

    Attributes:
      train: the training part, a pytree of arrays on the device.
      test: the test part.
      validation: what was kept from the training part, None if nothing was.
      size: number of training examples.
      batch_size: examples in a step.
      steps: steps in all.
      init: key → parameters.
      loss: parameters, batch, key → scalar.
      metrics: parameters, test part, training part → named scalars.
    """

    train: Any
    test: Any
    validation: Any
    size: int
    batch_size: int
    steps: int
    init: Callable[[PRNGKeyArray], Any]
    loss: Loss
    metrics: Metrics


def make_task(plan: Plan, like: Task | None = None) -> Task:
    """Returns the plan's experiment with its data loaded, in the precision of the current context.

    Args:
      plan: what to do.
      like: a task with the same data, which are then not loaded again.

    Raises:
      ConfigError: the experiment's `data` or `loss` returns what the contract does not allow, or
        the batch is larger than the training part.
    """
    config = plan.config
    if like is None:
        train, test = (_on_device(part, config.precision) for part in _parts(plan))
    else:
        return replace(
            like,
            init=lambda key: _init(plan, like.train, like.batch_size, key),
            loss=loss_of(plan),
            metrics=metrics_of(plan, jax.random.key(config.seed)),
        )
    train, validation = _divided(train, config.training.validation_fraction, config.seed)
    size = len(jax.tree.leaves(train)[0])
    batch_size = config.training.batch_size or size
    if batch_size > size:
        text = f"{batch_size} is more than the {size} training examples"
        raise_problems([plan.document.at_value(("training", "batch_size"), text)])

    def init(key: PRNGKeyArray) -> Any:
        return _init(plan, train, batch_size, key)

    steps = _steps(plan, size // batch_size)
    metrics = metrics_of(plan, jax.random.key(config.seed))
    return Task(train, test, validation, size, batch_size, steps, init, loss_of(plan), metrics)


def _init(plan: Plan, train: Any, batch_size: int, key: PRNGKeyArray) -> Any:
    """Returns fresh parameters as arrays."""
    given = {"key": key, "model": plan.model}
    if plan.experiment.asks("init", "batch"):
        given["batch"] = take(train, np.arange(batch_size))
    return jax.tree.map(_array, plan.experiment.call("init", **given))


def _divided(train: Any, fraction: float | None, seed: int) -> tuple[Any, Any]:
    """Returns what is trained with, and what is kept from that, None if there is no such share.

    Raises:
      ConfigError: one of them would be empty.
    """
    if fraction is None:
        return train, None
    size = len(jax.tree.leaves(train)[0])
    kept = round(fraction * size)
    if not 0 < kept < size:
        raise ConfigError(f"training.validation_fraction: {kept} of {size} examples")
    order = np.random.default_rng((seed, *b"validation")).permutation(size)
    return take(train, np.sort(order[kept:])), take(train, np.sort(order[:kept]))


def loss_of(plan: Plan) -> Loss:
    """Returns the experiment's loss as it is trained: for the plan's model, in its precision."""
    training = plan.config.training
    smoothing = training.label_smoothing

    def loss(params: Any, batch: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        params, batch = lowered((params, batch), training.compute)
        found = _call(plan, params, batch, key, smoothing)
        return found.astype(plan.config.precision) if training.compute else found

    return loss


def metrics_of(plan: Plan, key: PRNGKeyArray) -> Metrics:
    """Returns the experiment's metrics, for the plan's model; without any, the loss with `key`."""

    def metrics(params: Any, batch: Any, train: Any) -> dict[str, Float[Array, ""]]:
        experiment = plan.experiment
        if "metrics" not in experiment.functions:
            return {"loss": _call(plan, params, batch, key, 0.0)}
        return experiment.call("metrics", params=params, batch=batch, train=train, model=plan.model)

    return metrics


def _call(plan: Plan, params: Any, batch: Any, key: PRNGKeyArray, smoothing: float) -> Any:
    """Returns what the experiment's loss returns."""
    given = {"params": params, "batch": batch, "key": key, "label_smoothing": smoothing}
    return plan.experiment.call("loss", **given, model=plan.model)


def batches(seed: int, size: int, batch_size: int, first: int = 0) -> Iterator[Rows]:
    """Yields the rows of batch after batch, each epoch in a new order, the remainder dropped.

    Args:
      seed: decides the orders.
      size: number of training examples.
      batch_size: examples in a batch.
      first: number of the batch to begin with.
    """
    whole = size // batch_size
    begun, skipped = divmod(first, whole)
    for epoch in count(begun):
        order = np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
        yield from np.split(order[: whole * batch_size], whole)[skipped if epoch == begun else 0 :]


def take(part: Any, rows: Any) -> Any:
    """Returns some examples of a part of the data: `rows`, or whatever else indexes arrays."""
    return jax.tree.map(lambda x: x[rows], part)


def check_contract(name: str, task: Task, params: Any) -> Collection[str]:
    """Returns the names of the metrics.

    Raises:
      ConfigError: the loss is not one real number, or the metrics are not named ones.
    """
    batch = take(task.train, np.arange(task.batch_size))
    found = jax.eval_shape(task.loss, params, batch, jax.random.key(0))
    if not _is_real_number(found):
        raise ConfigError(f"loss() in {name} must return one real number, not {_described(found)}")
    found = jax.eval_shape(task.metrics, params, task.test, task.train)
    if not isinstance(found, dict):
        raise ConfigError(f"metrics() in {name} must return a dict, not {_described(found)}")
    for key, value in found.items():
        if not _is_real_number(value):
            reason = f"must be one real number, not {_described(value)}"
            raise ConfigError(f"{key!r} of metrics() in {name} {reason}")
    return found.keys()


def _parts(plan: Plan) -> tuple[Any, Any]:
    """Returns what the experiment's `data` returns, if it is a training part and a test part."""
    name = plan.experiment.name
    settings = {key: _found(plan, key, x) for key, x in arguments(plan.config.data).items()}
    try:
        parts = plan.experiment.call("data", **settings, seed=plan.config.seed)
    except DataError as error:
        raise_problems(
            [plan.document.at_value(("data", *_blamed(plan, settings, error)), str(error))]
        )
    if not (isinstance(parts, tuple) and len(parts) == 2):
        raise ConfigError(
            f"data() in {name} must return a pair (train, test), not {_described(parts)}"
        )
    for part, called in zip(parts, ("training", "test"), strict=True):
        sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(part)}
        if len(sizes) != 1 or () in sizes or (0,) in sizes:
            reason = "must be arrays with the same number of examples, at least one"
            raise ConfigError(f"the {called} part that data() in {name} returns {reason}")
    return parts


def _found(plan: Plan, key: str, value: Any) -> Any:
    """Returns a setting; a path is looked for here, then beside the file that gives it."""
    if not isinstance(value, Path) or os.path.exists(value):
        return value
    written = Path(plan.document.at_value(("data", key), "").place.source)
    beside = written.parent / value
    return beside if written.is_file() and os.path.exists(beside) else value


def _blamed(plan: Plan, settings: dict[str, Any], error: DataError) -> Keys:
    """Returns the setting that names what an error is about, or else the one that is a path."""
    for key, value in settings.items():
        if not error.about or ("data", key) not in plan.document.value_places:
            continue
        if value == error.about:
            return (key,)
        if isinstance(value, list | tuple) and error.about in value:
            return (key, value.index(error.about))
    return next(((key,) for key, value in settings.items() if isinstance(value, Path)), ())


def _on_device(part: Any, precision: str) -> Any:
    """Returns the arrays of a part on the device, real ones in the given precision."""

    def move(leaf: Any) -> Array:
        leaf = np.asarray(leaf)
        return jnp.asarray(leaf, precision if np.issubdtype(leaf.dtype, np.floating) else None)

    return jax.tree.map(move, part)


def _array(leaf: Any) -> Array:
    """Returns a parameter, which may be a plain number, as an array with a dtype of its own."""
    return jnp.asarray(leaf, jnp.result_type(leaf))


def _steps(plan: Plan, steps_in_an_epoch: int) -> int:
    """Returns how many steps the run has: `steps` or `epochs`, whichever ends first."""
    training = plan.config.training
    epochs = None if training.epochs is None else training.epochs * steps_in_an_epoch
    return min(given for given in (training.steps, epochs) if given is not None)


def _is_real_number(value: Any) -> bool:
    """Says whether a shape and dtype are those of one real number."""
    kinds = ("real floating", "integral", "bool")
    return getattr(value, "shape", None) == () and jnp.isdtype(value.dtype, kinds)


def _described(value: Any) -> str:
    """Returns what a value is: dtype and shape of an array, else its type."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
