"""A table: what stands in one column, told from the others?

Data: `doctor_visits`, which comes with the package: how often somebody saw a doctor in a year; or
a CSV or Parquet file of your own.
"""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Array, Float, PRNGKeyArray

from backprop_jax import data as datasets
from backprop_jax.data.files import Table, numbers
from backprop_jax.errors import DataError
from experiments.losses import accuracy, cross_entropy
from experiments.models.layers import Params
from experiments.models.mlp import Mlp

MODELS = {"mlp": Mlp}


class Measured(NamedTuple):
    """Inputs and a target, each with mean 0 and variance 1 over the training part."""

    inputs: Float[Array, "batch columns"]
    target: Float[Array, "batch 1"]


class Counted(NamedTuple):
    """Inputs with mean 0 and variance 1, and a target that counts: 0, 1, 2, ..."""

    inputs: Float[Array, "batch columns"]
    target: Float[Array, "batch 1"]


class Sorted(NamedTuple):
    """Inputs with mean 0 and variance 1, and a target that is one of several words or numbers."""

    inputs: Float[Array, "batch columns"]
    target: Float[Array, "batch classes"]


Rows = Measured | Counted | Sorted

KINDS = {"measured": Measured, "counted": Counted, "sorted": Sorted}


def data(
    seed: int,
    path: Path | None = None,
    target: str = "mdvis",
    kind: Literal["measured", "counted", "sorted"] = "counted",
    inputs: tuple[str, ...] | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> tuple[Rows, Rows]:
    """Returns the rows split at random into training and test part.

    Args:
      seed: decides the split.
      path: a CSV or Parquet file to take in the place of `doctor_visits`.
      target: the column to be told.
      kind: what stands in it: numbers that are measured, counts, or one of several words.
      inputs: the columns to tell it from; null for all others.
      test_fraction: share of all rows that is kept for the test.
    """
    asked = None if inputs is None else [target, *inputs]
    where = Path("doctor_visits") if path is None else path
    table = _included(where, asked) if path is None else datasets.read_table(path, asked)
    if target not in table:
        raise DataError(f"{where} has no column {target!r}; it has: {', '.join(table)}", target)
    names = [name for name in table if name != target] if inputs is None else list(inputs)
    if not names or target in names:
        raise DataError(f"{where}: no columns are left to tell {target!r} from", target)
    told = _target(where, table, target, kind)
    train, test = datasets.split(seed, len(told), test_fraction)
    known = _standard(numbers(where, table, names), train)
    told = _standard(told, train) if kind == "measured" else told
    of = KINDS[kind]
    return (
        of(jnp.asarray(known[train]), jnp.asarray(told[train])),
        of(jnp.asarray(known[test]), jnp.asarray(told[test])),
    )


def init(key: PRNGKeyArray, batch: Rows, model: Mlp) -> Params:
    """Returns fresh parameters."""
    return model.init(key, batch.inputs.shape[1:], batch.target.shape[1])


def loss(params: Params, batch: Rows, key: PRNGKeyArray, model: Mlp) -> Float[Array, ""]:
    """Returns half the squared error, or -log of the probability of the target, averaged."""
    return _loss(model.apply(params, batch.inputs, key), batch)


def metrics(params: Params, batch: Rows, model: Mlp, train: Rows) -> dict[str, Float[Array, ""]]:
    """Returns the loss, and how good that is.

    `r2` is the share of variance explained; `explained` that of the deviance from the mean of the
    training part, for counts; `accuracy` the share of right answers.
    """
    scores = model.apply(params, batch.inputs)
    found = {"loss": _loss(scores, batch)}
    match batch:
        case Measured():
            spread = jnp.mean(jnp.square(batch.target - jnp.mean(batch.target)))
            return found | {"r2": 1 - 2 * found["loss"] / spread}
        case Counted():
            mean = jnp.log(jnp.mean(train.target))
            best = jnp.mean(batch.target - jax.scipy.special.xlogy(batch.target, batch.target))
            without = _loss(jnp.full_like(scores, mean), batch)
            return found | {"explained": (without - found["loss"]) / (without - best)}
    return found | {"accuracy": accuracy(scores, jnp.argmax(batch.target, axis=-1))}


def _loss(scores: Float[Array, "batch outputs"], batch: Rows) -> Float[Array, ""]:
    """Returns the loss of scores: means, logarithms of means (Poisson), or scores of classes."""
    match batch:
        case Measured():
            return 0.5 * jnp.mean(jnp.square(scores - batch.target))
        case Counted():
            return jnp.mean(jnp.exp(scores) - batch.target * scores)
    return cross_entropy(scores, jnp.argmax(batch.target, axis=-1))


def _included(where: Path, columns: list[str] | None) -> Table:
    """Returns columns of the package's table."""
    table = datasets.arrays(where.name)
    for name in columns or ():
        if name not in table:
            raise DataError(f"{where} has no column {name!r}; it has: {', '.join(table)}", name)
    return {name: table[name].astype(np.float64) for name in columns or table}


def _target(where: Path, table: Table, target: str, kind: str) -> np.ndarray:
    """Returns the column to be told, as one column of numbers or a column for each class."""
    if kind == "sorted":
        classes, label = np.unique(table[target], return_inverse=True)
        if len(classes) > len(label) / 2:
            text = f"{len(classes)} different values in {len(label)} rows are no classes"
            raise DataError(f"{where}, column {target!r}: {text}", target)
        return np.eye(len(classes))[label]
    told = numbers(where, table, [target])
    if kind == "counted" and (np.any(told < 0) or np.any(told != np.round(told))):
        text = f"{told[(told < 0) | (told != np.round(told))][0]:g} is no count"
        raise DataError(f"{where}, column {target!r}: {text}", target)
    return told


def _standard(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the values with mean 0 and variance 1 over `rows`; constant columns become 0."""
    spread = values[rows].std(axis=0)
    return (values - values[rows].mean(axis=0)) / np.where(spread > 0, spread, 1)
