"""Diabetes progression: how far has the disease gone a year after ten measurements?

Data: 442 patients, Efron et al. 2004, "Least Angle Regression", as they ship inside scikit-learn.
The model is linear, so the best parameters are known in closed form, and `metrics` says how far
training still is from them.
"""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Array, Float
from sklearn.datasets import load_diabetes

from backprop_jax import data as datasets

Params = dict[str, Array]


class Patients(NamedTuple):
    """Measurements and progression, both with mean 0 and variance 1 over the training part."""

    measured: Float[Array, "batch features"]
    progression: Float[Array, " batch"]


def data(
    seed: int,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    noise: Annotated[float, Ge(0)] = 0.0,
) -> tuple[Patients, Patients]:
    """Returns the patients split at random into training and test part.

    Args:
      seed: decides the split, and the noise.
      test_fraction: share of all patients that is kept for the test.
      noise: standard deviation of what is added to the measurements of the training part.
    """
    measured, progression = map(np.asarray, load_diabetes(return_X_y=True))
    train, test = datasets.split(seed, len(progression), test_fraction)
    measured, progression = _standard(measured, train), _standard(progression, train)
    added = np.random.default_rng((seed, *b"noise")).normal(size=measured[train].shape)
    noisy = measured[train] + noise * added
    return (
        Patients(jnp.asarray(noisy), jnp.asarray(progression[train])),
        Patients(jnp.asarray(measured[test]), jnp.asarray(progression[test])),
    )


def init(batch: Patients) -> Params:
    """Returns zeros: the loss is convex, so any start will do."""
    return {"w": jnp.zeros(batch.measured.shape[1]), "b": jnp.zeros(())}


def loss(params: Params, batch: Patients) -> Float[Array, ""]:
    """Returns half the mean squared error."""
    return 0.5 * jnp.mean(jnp.square(predict(params, batch) - batch.progression))


def metrics(params: Params, batch: Patients, train: Patients) -> dict[str, Float[Array, ""]]:
    """Returns the loss, the share of variance explained, and the distance from the optimum.

    The optimum is the least-squares fit of the training part; `excess_loss` is how much higher the
    training loss still is, at best 0.
    """
    error = predict(params, batch) - batch.progression
    spread = batch.progression - jnp.mean(batch.progression)
    return {
        "loss": loss(params, batch),
        "r2": 1 - jnp.sum(jnp.square(error)) / jnp.sum(jnp.square(spread)),
        "excess_loss": loss(params, train) - loss(optimum(train), train),
    }


def predict(params: Params, batch: Patients) -> Float[Array, " batch"]:
    """Returns the progression that the line predicts."""
    return batch.measured @ params["w"] + params["b"]


def optimum(train: Patients) -> Params:
    """Returns the parameters with the least squared error."""
    columns = jnp.concatenate([train.measured, jnp.ones_like(train.measured[:, :1])], axis=1)
    *weights, bias = jnp.linalg.lstsq(columns, train.progression)[0]
    return {"w": jnp.stack(weights), "b": bias}


def _standard(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the values with mean 0 and variance 1 over `rows`."""
    return (values - values[rows].mean(axis=0)) / values[rows].std(axis=0)
