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
from jax.extend.core import ClosedJaxpr, Literal, Primitive, primitives

from backprop_jax.check.witnesses.witness import DoesNotApply
from backprop_jax.engine.jaxprs import held
from backprop_jax.rules.calls import composed_of, composite_p
from backprop_jax.rules.loops import arities

WIDE = {False: np.dtype("float64"), True: np.dtype("complex128")}


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
    return (
        x if wide_dtype(dtype) == dtype else jax.device_put(np.asarray(x).astype(wide_dtype(dtype)))
    )


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

    def run(*operands: Any) -> list:
        values = dict(zip(closed.jaxpr.constvars, map(wide, closed.consts), strict=True))
        values.update(zip(closed.jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> Any:
            if type(atom) is not Literal:
                return values[atom]
            return np.asarray(atom.val, wide_dtype(jax.typeof(atom.val).dtype))

        for equation in closed.jaxpr.eqns:
            found = step(equation.primitive, equation.params, [read(v) for v in equation.invars])
            values.update(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in closed.jaxpr.outvars]

    return run


def step(primitive: Primitive, params: dict, operands: Sequence) -> list:
    """Returns the results of one primitive, computed in float64."""
    if known := HOLDING.get(primitive):
        return known(params, operands)
    if primitive in BITS or held(params):
        raise DoesNotApply(f"'{primitive}' has no float64 form")
    if primitive is lax.reduce_precision_p:  # a rounding to fewer digits
        return list(operands)
    result = primitive.bind(*operands, **primitive.get_bind_params(wide_params(params)))
    return list(result) if primitive.multiple_results else [result]


def scan(params: dict, operands: Sequence) -> list:
    """A loop, its body in float64."""
    consts, carry = arities(params)
    body, start = widened(params["jaxpr"]), consts + carry

    def trip(state: list, xs: list) -> tuple[list, list]:
        results = body(*operands[:consts], *state, *xs)
        return results[:carry], results[carry:]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    state = [jnp.asarray(x) for x in operands[consts:start]]
    state, ys = lax.scan(trip, state, list(operands[start:]), **options)
    return [*state, *ys]


def while_loop(params: dict, operands: Sequence) -> list:
    """A loop that ends when it pleases."""
    of_cond, start = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    going_on, body = widened(params["cond_jaxpr"]), widened(params["body_jaxpr"])
    if params["cond_jaxpr"].out_avals[0].shape:
        raise DoesNotApply("a while_loop under vmap has no float64 form here")
    return lax.while_loop(
        lambda state: going_on(*operands[:of_cond], *state)[0],
        lambda state: body(*operands[of_cond:start], *state),
        [jnp.asarray(x) for x in operands[start:]],
    )


def cond(params: dict, operands: Sequence) -> list:
    """A choice."""
    if params.get("branches_platforms"):
        raise DoesNotApply("a branch for one platform has no float64 form here")
    return lax.switch(operands[0], [widened(b) for b in params["branches"]], *operands[1:])


def calling(jaxpr: Callable[[dict], Any]) -> Callable[[dict, Sequence], list]:
    """Returns what runs a function that is called, given where its jaxpr is."""
    return lambda params, operands: widened(jaxpr(params))(*operands)


#: Primitives that look at the bits of a number, which are others in float64.
BITS = {lax.bitcast_convert_type_p, lax.nextafter_p}

HOLDING: dict[Primitive, Callable[[dict, Sequence], list]] = {
    primitives.jit_p: calling(lambda params: params["jaxpr"]),
    primitives.closed_call_p: calling(lambda params: params["call_jaxpr"]),
    primitives.custom_jvp_call_p: calling(lambda params: params["call_jaxpr"]),
    primitives.custom_vjp_call_p: calling(lambda params: params["call_jaxpr"]),
    primitives.remat_p: calling(lambda params: ClosedJaxpr(params["jaxpr"], ())),
    composite_p: calling(composed_of),
    lax.scan_p: scan,
    lax.while_p: while_loop,
    lax.cond_p: cond,
}
