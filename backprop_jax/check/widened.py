"""A jaxpr in float64: the same equations, every float in them wider.

A function that is traced in float32 has float32 written all over: in constants, in casts, in what
a product is accumulated in. Here all of that is float64, so that slopes can be measured.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive

from backprop_jax.check.rerun import Rerun
from backprop_jax.check.witnesses.witness import DoesNotApply
from backprop_jax.engine.jaxprs import held

WIDE = {False: np.dtype("float64"), True: np.dtype("complex128")}
#: Primitives that look at the bits of a number, which are others in float64.
BITS = {lax.bitcast_convert_type_p, lax.nextafter_p}


def wide_dtype(dtype: Any) -> Any:
    """Returns float64 or complex128 for what is a float or a complex number, else the dtype."""
    if dtype == jax.dtypes.float0 or not jnp.issubdtype(dtype, np.inexact):
        return dtype
    return WIDE[bool(jnp.issubdtype(dtype, np.complexfloating))]


def wide(x: Any) -> Any:
    """Returns a value in float64 or complex128; whole numbers, keys and the like as they are."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        return np.asarray(x, np.float64) if isinstance(x, float) else x
    if dtype == jax.dtypes.float0 or jnp.issubdtype(dtype, jax.dtypes.extended):
        return x
    return x if wide_dtype(dtype) == dtype else np.asarray(x).astype(wide_dtype(dtype))


def wide_params(params: dict) -> dict:
    """Returns the parameters of an equation with wide dtypes in the place of narrow ones."""
    return {name: wide_dtype(x) if is_dtype(x) else x for name, x in params.items()}


def is_dtype(x: Any) -> bool:
    """Returns whether a parameter is a dtype of floats."""
    if not isinstance(x, np.dtype) and not (isinstance(x, type) and issubclass(x, np.generic)):
        return False
    return x != jax.dtypes.float0 and bool(jnp.issubdtype(x, np.inexact))


def widened(closed: Any) -> Callable[..., list]:
    """Returns a closed jaxpr as a function of wide operands that computes in float64.

    To be called under `jax.enable_x64(True)`.

    Raises:
      DoesNotApply: when it runs; it looks at the bits of a number, or holds what is not known here.
    """
    return WIDENED.of(closed)


def step(primitive: Primitive, params: dict, operands: Sequence) -> list:
    """Returns the results of one primitive, computed in float64."""
    if primitive in BITS or held(params):
        raise DoesNotApply(f"'{primitive}' has no float64 form")
    if primitive is lax.reduce_precision_p:  # a rounding to fewer digits
        return list(operands)
    result = primitive.bind(*operands, **primitive.get_bind_params(wide_params(params)))
    return list(result) if primitive.multiple_results else [result]


WIDENED = Rerun(step, wide)
