"""Functions that put an axis in order: sort and the largest few."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.engine.cotangents import zeros
from backprop_jax.engine.registry import dear_to_recompute, pullback, structured
from backprop_jax.engine.units import Unit
from backprop_jax.meshes import placed


def put_back(g: Any, places: Any, aval: Any, axis: int) -> Any:
    """Returns g among zeros of this type, each at its place along the axis."""
    others = tuple(i for i in range(g.ndim) if i != axis)
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(axis,),
        scatter_dims_to_operand_dims=(axis,),
        operand_batching_dims=others,
        scatter_indices_batching_dims=others,
    )
    indices = lax.expand_dims(places, (g.ndim,))
    options = {"unique_indices": True, "mode": "promise_in_bounds"}
    return lax.scatter_add(zeros(aval), indices, g, numbers, **options)


@structured(lax.sort_p)
def sort(active: tuple[bool, ...], *, dimension: int, is_stable: bool, num_keys: int) -> Unit:
    """All operands go where the keys send them; the way back sends them home.

    Of equal keys each keeps its own cotangent. The places, an array of integers, are all that is
    kept: they are sorted along.
    """

    def forward(*operands: Any) -> tuple[list, list]:
        shape, where = operands[0].shape, placed(jax.typeof(operands[0]))
        places = lax.broadcasted_iota(np.dtype("int32"), shape, dimension, out_sharding=where)
        options = {"dimension": dimension, "is_stable": is_stable, "num_keys": num_keys}
        *results, places = lax.sort((*operands, places), **options)
        return results, [places]

    def backward(operands: list, kept: list, cotangents: list) -> list:
        (places,) = kept
        return [
            put_back(g, places, jax.typeof(g), dimension) if wanted and g is not None else None
            for g, wanted in zip(cotangents, active, strict=True)
        ]

    return Unit(forward, backward, (), active)


@pullback(lax.top_k_p)
def top_k(g: tuple, z: tuple, avals: Sequence, *, axis: int) -> Any:
    """Each of the largest is put back where it was found."""
    return put_back(g[0], z[1], avals[0], axis)


@pullback(lax.approx_top_k_p)
def approx_top_k(g: tuple, z: tuple, avals: Sequence, *, reduction_dimension: int) -> Any:
    """Each of those found, perhaps not the largest, is put back where it was found."""
    return put_back(g[0], z[1], avals[0], reduction_dimension % len(avals[0].shape))


dear_to_recompute(lax.sort_p, lax.top_k_p, lax.approx_top_k_p)
