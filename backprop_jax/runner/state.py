"""What changes while training: where it begins, and how one step after the other changes it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from backprop_jax.runner.mixed import Scale
from backprop_jax.runner.task import batches


class State(NamedTuple):
    """All that changes during training; the step maps one to the next."""

    params: Any
    optimizer: Any
    step: Int[Array, ""]
    key: PRNGKeyArray
    ema: Any = None
    scale: Scale | None = None

    @property
    def looked_at(self) -> Any:
        """The parameters that are measured: their moving average, where there is one."""
        return self.params if self.ema is None else self.ema


def begin(
    params: Any,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    *,
    ema: bool = False,
    scale: Scale | None = None,
) -> State:
    """Returns the state before the first step.

    Args:
      params: a pytree of arrays.
      optimizer: of optax.
      key: decides all chance of the steps.
      ema: whether a moving average of the parameters is kept; it begins with them.
      scale: a dynamic loss scale.
    """
    average = params if ema else None
    state = State(params, optimizer.init(params), jnp.int32(0), key, average, scale)
    # A donated buffer may not appear twice, and some optimizers start from the parameters. A
    # checkpoint cannot say that a number is weakly typed, so none is.
    return jax.tree.map(lambda x: jax.lax.convert_element_type(jnp.copy(x), x.dtype), state)


def each_step(
    step: Callable[[State, Any, Any], tuple[State, Float[Array, ""]]],
    state: State,
    train: Any,
    until: int,
    *,
    seed: int,
    batch_size: int,
) -> Iterator[tuple[State, Float[Array, ""]]]:
    """Yields the state after each step, and its loss, from where the state is to step `until`.

    Args:
      step: what `make_step` returns, compiled.
      state: where to begin; one that was saved goes on with the batch that came next.
      train: the training part, a pytree of arrays whose first axis counts the examples.
      until: the last step.
      seed: decides the order of the examples, another one in each epoch.
      batch_size: examples in a step.
    """
    size, first = len(jax.tree.leaves(train)[0]), int(state.step)
    for rows in islice(batches(seed, size, batch_size, first), max(0, until - first)):
        state, loss = step(state, train, rows)
        yield state, loss
