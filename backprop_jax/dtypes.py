"""Which values have a derivative, as their dtype says, and of what dtype it is.

It is their own dtype, except for JAX's extended dtypes, which may say another: numbers of 8 bits,
say, with tangents of bfloat16. And where numbers of 64 bits can be made.
"""

import contextlib
import functools
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray

from backprop_jax.errors import here, message

float0 = jax.dtypes.float0


@functools.cache
def is_inexact(dtype: Any) -> bool:
    """Returns whether these are numbers, floating or complex ones: they can move a little."""
    return jax.dtypes.issubdtype(dtype, np.inexact)


def is_number(aval: Any) -> bool:
    """Returns whether a value of this type is made of such numbers."""
    return is_inexact(getattr(aval, "dtype", float0))


@functools.cache
def is_extended(dtype: Any) -> bool:
    """Returns whether a dtype is none of NumPy's kind but says by rules of its own what it is."""
    return jax.dtypes.issubdtype(dtype, jax.dtypes.extended)


@functools.cache
def of_tangents(dtype: Any) -> Any:
    """Returns the dtype of derivatives of what has this one; `float0` if there are none.

    Raises:
      TypeError: it is an extended dtype that does not say.
    """
    if not is_extended(dtype):
        return dtype if is_inexact(dtype) else float0
    try:
        return ShapedArray((), dtype).to_tangent_aval().dtype
    except AttributeError as error:
        raise TypeError(
            message(
                f"the extended dtype {dtype} does not say of what dtype its tangents are.",
                written_at=here(),
                to_go_on="give its rules a tangent_dtype (float0 if it has none), or wrap what is "
                "converted to it in lax.stop_gradient.",
            )
        ) from error


@functools.cache
def can_move(dtype: Any) -> bool:
    """Returns whether what has this dtype has derivatives."""
    return of_tangents(dtype) != float0


def zero(aval: Any) -> Any:
    """Returns the zero of an extended dtype, as its rules have it, in all places.

    The sum of cotangents of such a dtype is what its rules say, and so is what changes no sum. JAX
    has no public name for it.
    """
    return jnp.broadcast_to(aval.dtype._rules.zero(aval.dtype), aval.shape)


def default_float() -> Any:
    """Returns the dtype that a Python float has now: float64 if x64 is enabled, else float32."""
    return jax.dtypes.canonicalize_dtype(float)


WIDE = frozenset(map(np.dtype, ("int64", "uint64", "float64", "complex128")))
AS_IT_IS = contextlib.nullcontext()


def enabling(dtypes: Iterable) -> contextlib.AbstractContextManager:
    """Returns a context in which x64 is enabled if one of these dtypes has 64 bits."""
    enabled: bool = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    return AS_IT_IS if enabled or WIDE.isdisjoint(dtypes) else jax.enable_x64(True)


def enabling_for(avals: Iterable) -> contextlib.AbstractContextManager:
    """Returns a context in which x64 is enabled if one of these types has 64 bits.

    A function may enable it for some of its steps only. What is made for those elsewhere, on the
    way back or in a program of them, would have 32 bits.
    """
    return enabling(getattr(aval, "dtype", None) for aval in avals)


def size_in_bytes(aval: Any) -> int:
    """Returns how much memory a value of this type takes; one byte if it is the host's."""
    if getattr(aval, "memory_space", None) is jax.memory.Space.Host:
        return 1
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 4)
    return max(1, math.prod(getattr(aval, "shape", ())) * itemsize)
