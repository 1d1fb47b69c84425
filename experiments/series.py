"""Numbers over time: what will the value be some months from now?

Data: the monthly number of sunspots since 1749, which comes with the package; or a column of a CSV
or Parquet file of your own.
"""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.figure import Figure

from backprop_jax import data as datasets
from backprop_jax.data.files import numbers
from backprop_jax.errors import DataError
from experiments.models.layers import Params
from experiments.models.recurrent import Recurrent

MODELS = {"recurrent": Recurrent}


class Stretches(NamedTuple):
    """Stretches of the series, and the value that comes so much later, at each time.

    Both with mean 0 and variance 1 over the part for training.
    """

    seen: Float[Array, "batch times 1"]
    later: Float[Array, "batch times 1"]


def data(
    seed: int,
    path: Path | None = None,
    column: str = "number",
    times: Annotated[int, Ge(2)] = 132,
    stride: Annotated[int, Ge(1)] = 6,
    ahead: Annotated[int, Ge(1)] = 12,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> tuple[Stretches, Stretches]:
    """Returns stretches of the series, those of its end for the test.

    Args:
      seed: decides nothing here.
      path: a CSV or Parquet file to take in the place of the sunspots.
      column: which one of it.
      times: in a stretch.
      stride: from the beginning of one stretch to that of the next.
      ahead: how many times later the value is that is to be told.
      test_fraction: share of the series that is kept for the test.
    """
    if path is None:
        series = datasets.arrays("sunspots")["number"].astype(np.float64)
    else:
        series = numbers(path, datasets.read_table(path, [column]), [column])[:, 0]
    whole, end = times + ahead, round((1 - test_fraction) * len(series))
    if min(end, len(series) - end) < whole:
        text = f"{len(series)} rows are too few for stretches of {whole} in both parts"
        raise DataError(f"{path}: {text}" if path else text, column)
    series = (series - series[:end].mean()) / series[:end].std()
    train, test = (datasets.windows(part, whole, stride) for part in np.split(series, [end]))
    return _parted(train, times), _parted(test, times)


def init(key: PRNGKeyArray, batch: Stretches, model: Recurrent) -> Params:
    """Returns fresh parameters."""
    return model.init(key, batch.seen.shape[1:], 1)


def loss(params: Params, batch: Stretches, model: Recurrent) -> Float[Array, ""]:
    """Returns the mean squared error at the times in the second half of each stretch."""
    return _error(model.apply(params, batch.seen), batch)


def metrics(params: Params, batch: Stretches, model: Recurrent) -> dict[str, Float[Array, ""]]:
    """Returns the loss, and the one of saying that nothing will change."""
    return {"loss": loss(params, batch, model), "loss_if_still": _error(batch.seen, batch)}


def results(params: Params, test: Stretches, model: Recurrent) -> dict[str, Any]:
    """Returns a picture: the last value of each stretch of the test part, and what was told."""
    told = np.asarray(model.apply(params, test.seen))[:, -1, 0]
    figure = Figure(figsize=(8, 3.2), dpi=144, layout="constrained")
    axes = figure.subplots()
    axes.plot(np.asarray(test.later)[:, -1, 0], color="0.4", lw=1.2, label="what came")
    axes.plot(told, color="C3", lw=1.2, label="what was told before")
    axes.set_xlabel("stretch of the test part, at its last time")
    axes.set_ylabel("standard deviations")
    axes.legend(frameon=False, fontsize=8)
    return {"forecast.png": figure}


def _parted(pieces: np.ndarray, times: int) -> Stretches:
    """Returns the beginnings of pieces, and their ends."""
    return Stretches(jnp.asarray(pieces[:, :times, None]), jnp.asarray(pieces[:, -times:, None]))


def _error(told: Float[Array, "batch times 1"], batch: Stretches) -> Float[Array, ""]:
    """Returns the mean squared error, once half of a stretch has been seen."""
    half = told.shape[1] // 2
    return jnp.mean(jnp.square(told - batch.later)[:, half:])
