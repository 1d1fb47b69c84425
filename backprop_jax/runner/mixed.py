"""Training in two precisions: numbers of 16 bits to compute with, of 32 to add up in.

The parameters, their gradients, the optimizer and what is measured stay in the run's precision. The
loss sees both parameters and batch in the one to compute with; the cast back is part of it, so that
its gradient comes out in the run's precision.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from backprop_jax.runner.gradients import Engine
from backprop_jax.runner.schema import Training

FIRST_SCALE = 2.0**15

GROW_AFTER = 2000
"""Steps with finite gradients after which a dynamic scale is doubled."""


class Scale(NamedTuple):
    """A dynamic loss scale.

    Attributes:
      factor: what the loss is multiplied by, 1 or more.
      good: steps since it was changed, all with finite gradients.
    """

    factor: Float[Array, ""]
    good: Int[Array, ""]


def lowered(tree: Any, dtype: str | None) -> Any:
    """Returns a pytree with its real arrays in the precision to compute with, if there is one."""
    if dtype is None:
        return tree

    def cast(x: Any) -> Any:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)


def first_scale(training: Training) -> Scale | None:
    """Returns the state of a dynamic loss scale, None where there is none."""
    if training.loss_scale != "dynamic":
        return None
    return Scale(jnp.float32(FIRST_SCALE), jnp.int32(0))


def scaled(engine: Engine, loss: Callable[..., Any], factor: Any) -> Callable[..., tuple[Any, Any]]:
    """Returns `engine(loss)`, found by way of the loss times `factor`, None for no such way.

    What is small in float16 is zero there, unless it is larger on the way back.
    """
    if factor is None:
        return engine(loss)

    def both(*given: Any) -> tuple[Any, Any]:
        value, gradient = engine(lambda *inner: loss(*inner) * factor)(*given)
        return value / factor, jax.tree.map(lambda g: g / factor, gradient)

    return both


def adjusted(scale: Scale, gradient: Any) -> tuple[Bool[Array, ""], Scale]:
    """Returns whether a step is to be taken, and the scale of the next one.

    A step whose gradient is not finite is left out and halves the scale; at 1 there is nothing to
    halve, and it is taken, so that the run ends with an error. After `GROW_AFTER` good steps it is
    doubled.
    """
    finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(gradient)]).all()
    good = jnp.where(finite, scale.good + 1, 0)
    grow = good == GROW_AFTER
    change = jnp.where(finite, jnp.where(grow, 2.0, 1.0), 0.5)
    factor = jnp.clip(scale.factor * change, 1.0, 2.0**24).astype(scale.factor.dtype)
    return finite | (scale.factor <= 1), Scale(factor, jnp.where(grow, 0, good))
