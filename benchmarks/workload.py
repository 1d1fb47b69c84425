"""What a workload is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.engines import Engine

Function = Callable[..., Any]


class Workload(NamedTuple):
    """A program to run with each of the engines.

    Attributes:
      forward: the function that is differentiated, in its first argument.
      at: its arguments.
      derivative: engine → the function of the same arguments that is run without `jax.jit`.
      program: engine → the function that is traced, compiled and timed.
      arguments: its arguments.
      needs: which of an engine's derivatives.
      eager: whether it is run without `jax.jit`: not if that compiles a thousand operations.
      jax_can: whether `jax.grad` has a derivative of it.
    """

    forward: Function
    at: tuple
    derivative: Callable[[Engine], Function]
    program: Callable[[Engine], Function]
    arguments: tuple
    needs: str = "value_and_grad"
    eager: bool = True
    jax_can: bool = True


def derived(
    forward: Function, derivative: Callable[[Engine], Function], *at: Any, **facts: Any
) -> Workload:
    """Returns the workload of a function's derivative."""
    return Workload(forward, at, derivative, derivative, at, **facts)


def gradient(loss: Function, *at: Any, **facts: Any) -> Workload:
    """Returns the workload of a loss and its gradient, no optimizer."""
    return derived(loss, lambda engine: engine.value_and_grad(loss), *at, **facts)


def normal(key: int, *shape: int) -> Float[Array, "*shape"]:
    """Returns random numbers; NumPy's, which compile nothing."""
    return jnp.asarray(np.random.default_rng(key).normal(size=shape), "float32")


def weights(key: int, *shape: int) -> Float[Array, "*shape"]:
    """Returns random weights that keep the size of what they multiply."""
    scale = np.prod(shape[:-1]) ** -0.5
    return jnp.asarray(scale * np.asarray(normal(key, *shape)))
