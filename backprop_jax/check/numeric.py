"""Slopes measured, not derived: the witness that knows no rule."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from backprop_jax.errors import BackpropError, message


class PrecisionError(BackpropError, TypeError):
    """A number has too few digits for what is asked of it."""


def slope(
    f: Callable[[Array], Array],
    x: Float[Array, "*shape"],
    v: Float[Array, "*shape"],
    step: float | None = None,
) -> Array:
    """Returns the slope of `f` at `x` along `v`, by central difference.

        (f(x + h v) - f(x - h v)) / (2 h)

    Args:
      f: maps an array of x's shape to an array of any shape.
      x: where to measure. float64.
      v: direction, same shape as x; its length is part of the answer.
      step: h, in units of x. Default: cbrt(eps) * max(1, max|x|), about 6e-6.

    Returns:
      Array of f(x)'s shape and dtype. Relative error about 4e-11 for smooth f.

    Raises:
      PrecisionError: x is not float64; rounding would drown the slope.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed., section 8.1.
    """
    if x.dtype != jnp.float64:
        what = f"PrecisionError: a slope in {x.dtype.name} drowns in rounding; x must be float64."
        raise PrecisionError(
            message(what, to_go_on="x.astype('float64'), under jax.enable_x64(True).")
        )
    if step is None:
        step = float(jnp.cbrt(jnp.finfo(x.dtype).eps) * jnp.max(jnp.abs(x), initial=1.0))
    return (f(x + step * v) - f(x - step * v)) / (2 * step)
