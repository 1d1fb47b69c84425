"""Recurrent networks: a cell that is run along a sequence by `scan`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import Params, dense, dense_init

GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Recurrent:
    """Layers of LSTM or GRU cells, then a dense layer at each time.

    Attributes:
      cell: `lstm` or `gru`.
      width: length of the state.
      layers: number of cells on top of each other.

    Source: Hochreiter and Schmidhuber 1997, Neural Computation 9(8), with the forget gate of Gers
    et al. 2000; Cho et al. 2014, arXiv:1406.1078, in the form of PyTorch and cuDNN.
    """

    cell: Literal["lstm", "gru"] = "gru"
    width: Annotated[int, Ge(1)] = 64
    layers: Annotated[int, Ge(1)] = 1

    def init(self, key: PRNGKeyArray, shape: tuple[int, ...], outputs: int) -> Params:
        """Returns fresh parameters for sequences of `shape` (times, features)."""
        head, *keys = jax.random.split(key, self.layers + 1)
        inputs = [shape[-1], *[self.width] * (self.layers - 1)]
        return {
            "cells": [self._cell_init(*cell) for cell in zip(keys, inputs, strict=True)],
            "head": dense_init(head, self.width, outputs, gain=1.0),
        }

    def apply(
        self,
        params: Params,
        x: Float[Array, "batch times features"],
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "batch times outputs"]:
        """Returns the outputs after each time; nothing here is random, `key` is not used."""
        step, start = (_lstm, 2) if self.cell == "lstm" else (_gru, 1)
        x = jnp.moveaxis(x, 1, 0)
        for cell in params["cells"]:
            # What does not depend on the state is one product for all times.
            driven = dense(cell["input"], x)
            state = (jnp.zeros((x.shape[1], self.width), x.dtype),) * start

            def along(state: tuple, drive: Array, cell: Params = cell) -> tuple[tuple, Array]:
                state = step(cell, state, drive)
                return state, state[0]

            _, x = jax.lax.scan(along, state, driven)
        return dense(params["head"], jnp.moveaxis(x, 0, 1))

    def _cell_init(self, key: PRNGKeyArray, inputs: int) -> Params:
        """Returns fresh parameters of one cell."""
        first, second = jax.random.split(key)
        gates = GATES[self.cell] * self.width
        return {
            "input": dense_init(first, inputs, gates, gain=1.0),
            "state": dense_init(second, self.width, gates, gain=1.0),
        }


def _lstm(params: Params, state: tuple[Array, Array], drive: Array) -> tuple[Array, Array]:
    """Returns (h, c) a time later: c = f c + i u, h = o tanh(c). The forget gate begins open."""
    h, c = state
    i, f, o, u = jnp.split(drive + dense(params["state"], h), 4, axis=-1)
    c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(params: Params, state: tuple[Array], drive: Array) -> tuple[Array]:
    """Returns (h,) a time later: h = z h + (1 - z) tanh(u + r v)."""
    (h,) = state
    r, z, u = jnp.split(drive, 3, axis=-1)
    from_r, from_z, v = jnp.split(dense(params["state"], h), 3, axis=-1)
    r, z = jax.nn.sigmoid(r + from_r), jax.nn.sigmoid(z + from_z)
    return (z * h + (1 - z) * jnp.tanh(u + r * v),)
