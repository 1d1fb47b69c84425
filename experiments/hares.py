"""Hares and lynxes: where do their numbers go from here?

Data: pelts traded by the Hudson's Bay Company, 1900 to 1920, which come with the package. The
logarithms of both numbers follow a differential equation, and a network is its right-hand side.
"""

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backprop_jax import data as datasets
from experiments.models.flow import Flow
from experiments.models.layers import Params

MODELS = {"flow": Flow}

FIRST = 1900


class Years(NamedTuple):
    """Logarithms of both numbers, in thousands, in years that follow each other."""

    logs: Float[Array, "batch years 2"]


def data(
    seed: int,
    until: Annotated[int, Ge(1906), Le(1919)] = 1914,
    years: Annotated[int, Ge(2), Le(6)] = 5,
) -> tuple[Years, Years]:
    """Returns all stretches of so many years that end by a year, and those that end after it.

    Args:
      seed: decides nothing here.
      until: the last year of the training part.
      years: in a stretch; the first is the start, the others are to be told.
    """
    found = datasets.arrays("hares_and_lynxes")
    logs = np.log(np.stack([found["hares"], found["lynxes"]], axis=1))
    pieces = datasets.windows(logs, years, 1)
    inside = np.arange(len(pieces)) + FIRST + years - 1 <= until
    return Years(jnp.asarray(pieces[inside])), Years(jnp.asarray(pieces[~inside]))


def init(key: PRNGKeyArray, model: Flow) -> Params:
    """Returns fresh parameters."""
    return model.init(key, 2)


def loss(params: Params, batch: Years, model: Flow) -> Float[Array, ""]:
    """Returns the mean squared error of the logarithms."""
    return jnp.mean(jnp.square(_told(params, batch, model) - batch.logs[:, 1:]))


def metrics(params: Params, batch: Years, model: Flow) -> dict[str, Float[Array, ""]]:
    """Returns the loss, and the one of saying that nothing will change."""
    still = jnp.mean(jnp.square(batch.logs[:, :1] - batch.logs[:, 1:]))
    return {"loss": loss(params, batch, model), "loss_if_still": still}


def results(params: Params, train: Years, test: Years, model: Flow) -> dict[str, Any]:
    """Returns a picture: both numbers over the years, and the flow from two of them."""
    every = np.concatenate([train.logs[:, 0], test.logs[:, 0], test.logs[-1, 1:]])
    starts = {0: "from 1900", len(train.logs) + train.logs.shape[1] - 2: "from the last year known"}
    figure = Figure(figsize=(8, 3.6), dpi=144, layout="constrained")
    axes = figure.subplots()
    for column, (name, colour) in enumerate([("hares", "C0"), ("lynxes", "C3")]):
        seen = FIRST + np.arange(len(every))
        axes.plot(seen, np.exp(every[:, column]), "o", ms=4, color=colour, label=name)
        for (first, said), style in zip(starts.items(), ("-", "--"), strict=True):
            after = model.apply(params, jnp.asarray(every[None, first]), len(every) - 1 - first)[0]
            path = np.exp(np.concatenate([every[None, first], np.asarray(after)])[:, column])
            axes.plot(seen[first:], path, style, color=colour, lw=1.2, label=f"{name}, {said}")
    axes.axvline(seen[max(starts)], color="0.7", lw=0.8)
    axes.set_ylabel("pelts, thousands")
    axes.set_title(
        "the flow, and what was counted; trained on what is left of the line", fontsize=9
    )
    figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return {"years.png": figure}


def _told(params: Params, batch: Years, model: Flow) -> Float[Array, "batch later 2"]:
    """Returns the logarithms that the flow reaches in the years after the first."""
    return model.apply(params, batch.logs[:, 0], batch.logs.shape[1] - 1)
