"""What was measured of the layers over the steps, as arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from backprop_jax.api import grad
from backprop_jax.runner.flow.layers import layers_of
from backprop_jax.runner.flow.measuring import FIGURES, measuring, written

Table = np.ndarray
"""A figure for each step and layer; NaN where there is none."""

HEAD = ("layer", "gradient", "weight", "update", "update/weight", "dead")


@dataclasses.dataclass(frozen=True)
class Flow:
    """How gradients flowed through a model. Printed, it is a table of the last look.

    Attributes:
      steps: at which steps was looked.
      layers: names, the one nearest to the data first.
      gradient: norm of the gradient, by look and layer.
      weight: norm of the weights.
      update: norm of the update; NaN if there was none.
      dead: share of units to whose weights no gradient came; NaN for layers without units.
    """

    steps: np.ndarray
    layers: tuple[str, ...]
    gradient: Table
    weight: Table
    update: Table
    dead: Table

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> "Flow | None":
        """Returns what the lines of metrics.jsonl say of it; None if they say nothing.

        Of a run that went on with other layers, what it says of the last ones.
        """
        records = [record for record in records if record["kind"] == "flow"]
        if not records:
            return None
        layers = records[-1]["layers"]
        records = [record for record in records if record["layers"] == layers]
        tables = (
            np.array([record[name] for record in records], float).reshape(len(records), -1)
            for name in FIGURES
        )
        return cls(np.array([record["step"] for record in records]), tuple(layers), *tables)

    @property
    def ratio(self) -> Table:
        """Update over weight; NaN where the weights are zero."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.update / np.where(self.weight > 0, self.weight, np.nan)

    def rows(self, look: int = -1) -> list[list[str]]:
        """Returns a look as text, a row for each layer, as `HEAD` says."""
        columns = [self.gradient, self.weight, self.update, self.ratio, self.dead]
        formats = ("{:.2e}", "{:.2e}", "{:.2e}", "{:.1e}", "{:.0%}")
        return [
            [name, *map(_shown, formats, (table[look, at] for table in columns))]
            for at, name in enumerate(self.layers)
        ]

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
        sides = (str.ljust, *[str.rjust] * (len(HEAD) - 1))
        lines = (zip(sides, row, widths, strict=True) for row in [HEAD, *rows])
        return "\n".join("  ".join(side(x, w) for side, x, w in row).rstrip() for row in lines)


def gradient_flow(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    optimizer: optax.GradientTransformation | None = None,
    gradient: Callable[[Callable], Callable] = grad,
) -> Flow:
    """Returns how the gradient of a loss flows through its model, at one point.

    Args:
      loss: maps parameters, and whatever else there is, to a number.
      params: a pytree of arrays.
      args: the rest of its arguments.
      optimizer: of optax; with it, its first update is looked at, too.
      gradient: what makes a function of the gradient of the loss.

    Example:
      >>> import jax.numpy as jnp
      >>> def loss(weights, x):
      ...     for w in weights:
      ...         x = jnp.tanh(x @ w)
      ...     return jnp.sum(x)
      >>> print(gradient_flow(loss, [0.1 * jnp.eye(4)] * 3, jnp.ones((8, 4))))
      layer      gradient    weight  update  update/weight  dead
      params[0]  3.17e-01  2.00e-01                           0%
      params[1]  3.19e-01  2.00e-01                           0%
      params[2]  3.19e-01  2.00e-01                           0%
    """
    layers = layers_of(loss, params, *args)
    slopes = gradient(loss)(params, *args)
    updates = slopes
    if optimizer is not None:
        updates, _ = optimizer.update(slopes, optimizer.init(params), params)
    measured = jax.device_get(jax.jit(measuring(layers))(params, slopes, updates))
    record = written(layers, measured)
    if optimizer is None:
        record["update"] = [None] * len(layers.names)
    flow = Flow.of([{"kind": "flow", "step": 0} | record])
    assert flow is not None, "there is one look"
    return flow


def _shown(form: str, value: float) -> str:
    """Returns a figure as text, nothing for NaN."""
    return "" if np.isnan(value) else form.format(value)
