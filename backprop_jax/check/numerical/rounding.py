"""What rounding makes of a computation: the same steps again, their last digits up or down."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.widened import wide

#: An odd number that spreads what bits differ over all places.
MIXING = 0x9E3779B97F4A7C15
#: Steps whose result is rounded; what all others give are the numbers they are given.
ROUNDED = set(
    "add sub mul div rem pow integer_pow square sqrt rsqrt cbrt exp exp2 expm1 log log1p logistic "
    "sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc erf_inv lgamma "
    "digamma polygamma igamma igammac zeta bessel_i0e bessel_i1e regularized_incomplete_beta "
    "dot_general conv_general_dilated reduce_sum reduce_prod cumsum cumprod cumlogsumexp add_any "
    "scatter-add reduce_window_sum fft cholesky triangular_solve".split()
)


def nudged(x: Any, throw: int) -> Any:
    """Returns floats moved by two last digits, up or down as the dice for their value fall.

    Equal numbers stay equal: a rule may ask which elements are the largest.
    """
    if not (hasattr(x, "dtype") and is_inexact(x)):
        return x
    exact = np.asarray(wide(x))
    bits = np.ascontiguousarray(exact[..., None]).view(np.uint64)  # two numbers of a complex one
    dice = (bits * np.uint64(MIXING + 2 * throw)) >> np.uint64(40)
    signs = 1.0 - 2.0 * (np.bitwise_xor.reduce(dice, -1) & np.uint64(1))
    return jnp.asarray(exact * (1 + 2 * float(jnp.finfo(x.dtype).eps) * signs), x.dtype)


def shaken(function: Callable[..., list], throw: int) -> Callable[..., list]:
    """Returns a function that computes as another one does, each rounded result nudged.

    What its results differ by is what rounding may make of them, whatever cancels on the way.
    Loops and branches are one step, nudged at their end.

    Source: Vignes 1993, A stochastic arithmetic for reliable scientific computation.
    """

    def run(*args: Any) -> list:
        closed = jax.make_jaxpr(function)(*args)
        return steps(closed.jaxpr, closed.consts, jax.tree.leaves(args), throw)

    return run


def steps(jaxpr: Any, consts: Sequence, operands: Sequence, throw: int) -> list:
    """Returns the results of a jaxpr, its steps nudged."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *operands], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    nudge = functools.partial(nudged, throw=throw)
    for equation in jaxpr.eqns:
        primitive, given = equation.primitive, [read(v) for v in equation.invars]
        if primitive.name == "jit":
            inner = equation.params["jaxpr"]
            found = steps(inner.jaxpr, inner.consts, given, throw)
        else:
            result = primitive.bind(*given, **primitive.get_bind_params(equation.params))
            found = list(result) if primitive.multiple_results else [result]
            if primitive.name in ROUNDED:
                found = list(map(nudge, found))
        values.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
