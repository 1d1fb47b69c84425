"""Norms of gradient, weights and update, and dead units: measured within the compiled step."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from backprop_jax.runner.flow.layers import Layers, Leaf

DIGITS = 7
"""Of each figure that is written down."""

FIGURES = ("gradient", "weight", "update", "dead")

Measured = dict[str, Float[Array, " rows"]]


def measuring(layers: Layers) -> Callable[[Any, Any, Any], Measured]:
    """Returns the function that measures parameters, their gradient and their update.

    It may be compiled. `written` makes a record of what it returns.
    """

    def measure(params: Any, gradient: Any, updates: Any) -> Measured:
        trees = {"gradient": gradient, "weight": params, "update": updates}
        found = {name: _of_leaves(_norms, layers, tree) for name, tree in trees.items()}
        return found | {"dead": _of_leaves(_dead, layers, gradient)}

    return measure


def written(layers: Layers, measured: Any) -> dict[str, Any]:
    """Returns, for each layer, what was measured of its leaves: plain numbers, None for unknown.

    The norm of several leaves is that of all their elements; of shares of dead units the largest.
    """
    rows = np.cumsum([0, *(math.prod(leaf.trips) for leaf in layers.leaves)])
    known = [leaf.units is not None for leaf in layers.leaves]
    record: dict[str, Any] = {"layers": list(layers.names)}
    for name in FIGURES:
        record[name], values = [], measured[name]
        for parts in layers.parts:
            if name == "dead":
                parts = [part for part in parts if known[part.leaf]]
            found = [float(values[rows[part.leaf] + part.row]) for part in parts]
            figure = max(found, default=None) if name == "dead" else math.hypot(*found)
            record[name].append(None if figure is None else float(f"{figure:.{DIGITS}g}"))
    return record


def _of_leaves(
    measure: Callable[[Array, Leaf], Array], layers: Layers, tree: Any
) -> Float[Array, " rows"]:
    """Returns a figure for every row of every leaf."""
    leaves = zip(jax.tree.leaves(tree), layers.leaves, strict=True)
    found = [measure(x, leaf).reshape(-1) for x, leaf in leaves]
    kind = jnp.result_type(*found)
    return jnp.concatenate([x.astype(kind) for x in found])


def _norms(x: Array, leaf: Leaf) -> Float[Array, "*trips"]:
    """Returns the Euclidean norm of each row of a leaf.

        m √(Σ |x/m|²),  m = max |x|

    A vanishing gradient is there to be seen: without m its squares would be zero in float32.
    """
    x = jnp.abs(x)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(len(leaf.trips), x.ndim))
    largest = jnp.max(x, axis=axes, keepdims=True, initial=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return jnp.squeeze(scale, axes) * jnp.sqrt(jnp.sum((x / scale) ** 2, axis=axes))


def _dead(gradient: Array, leaf: Leaf) -> Float[Array, "*trips"]:
    """Returns the share of units to whose weights no gradient has come; 0 if these are not known.

    That is exactly zero where the cotangent of a unit is zero for the whole batch: a ReLU that is
    off for every example.
    """
    count = len(leaf.trips)
    if leaf.units is None:
        return jnp.zeros(leaf.trips)
    axes = tuple(at for at in range(count, gradient.ndim) if at not in leaf.units)
    dead = jnp.all(gradient == 0, axis=axes)
    return jnp.mean(dead, axis=tuple(range(count, dead.ndim)))
