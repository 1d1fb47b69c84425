"""What rounding makes of a computation: the same steps again, their last digits up or down."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.rerun import Rerun

#: Odd numbers that spread what bits differ over all places.
MIXING = np.uint32(0x9E3779B1), np.uint32(0x85EBCA77)
#: Steps whose result is rounded; what all others give are the numbers they are given.
ROUNDED = set(
    "add sub mul div rem pow integer_pow square sqrt rsqrt cbrt exp exp2 expm1 log log1p logistic "
    "sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc erf_inv lgamma "
    "digamma polygamma igamma igammac zeta bessel_i0e bessel_i1e regularized_incomplete_beta "
    "dot_general conv_general_dilated reduce_sum reduce_prod cumsum cumprod cumlogsumexp add_any "
    "scatter-add reduce_window_sum fft cholesky triangular_solve".split()
)


def nudged(x: Any, throw: Any) -> Any:
    """Returns floats moved by two last digits, up or down as the dice for their value fall.

    Equal numbers stay equal: a rule may ask which elements are the largest.

    Args:
      x: an array, of NumPy or JAX; all that is not of floats is returned as it is.
      throw: which throw of the dice, a whole number.
    """
    if not (hasattr(x, "dtype") and is_inexact(x)):
        return x
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        real, imaginary = (nudged(part, throw) for part in (x.real, x.imag))
        return jax.lax.complex(real, imaginary)
    up, down = (np.asarray(1 + s * jnp.finfo(x.dtype).eps, x.dtype) for s in (2, -2))
    with np.errstate(over="ignore"):  # whole numbers, which wrap around
        bits = x.view(f"uint{8 * x.dtype.itemsize}")
        if x.dtype.itemsize == 8:
            bits = bits ^ (bits >> np.uint64(32))
        dice = (bits.astype("uint32") + jnp.uint32(throw)) * MIXING[0]
        dice = (dice ^ (dice >> np.uint32(15))) * MIXING[1]
        return x * jnp.where(dice >> np.uint32(31), up, down)


def shaken(function: Callable[..., list]) -> Callable[..., list]:
    """Returns a function that computes as another one does, each rounded result nudged.

    Its first operand says which throw of the dice. What its results differ by is what rounding may
    make of them, whatever cancels on the way and however long a loop adds it up.

    Source: Vignes 1993, A stochastic arithmetic for reliable scientific computation.
    """

    def run(throw: Any, *args: Any) -> list:
        def step(primitive: Primitive, params: dict, operands: Sequence) -> list:
            result = primitive.bind(*operands, **primitive.get_bind_params(params))
            found = list(result) if primitive.multiple_results else [result]
            return [nudged(z, throw) for z in found] if primitive.name in ROUNDED else found

        closed = jax.make_jaxpr(function)(*args)
        return Rerun(step, same_trips=True).of(closed)(*jax.tree.leaves(args))

    return run
