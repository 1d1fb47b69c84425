"""Operands in float64, and whether a function computes the same thing there."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import source_info_util


def is_inexact(leaf: Any) -> bool:
    """Returns whether a leaf is a float or complex array or number."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, (float, complex))
    return jnp.issubdtype(dtype, jnp.inexact)


def bits(dtype: Any) -> float:
    """Returns the bits of a real number: 32 for complex64; infinity for what is no float."""
    is_float = dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
    return float(jnp.finfo(dtype).bits) if is_float else math.inf


def canonical(leaf: Any) -> Any:
    """Returns the leaf as JAX sees it: NumPy's float64 is float32 unless x64 is enabled."""
    return jnp.asarray(leaf) if is_inexact(leaf) else leaf


def canonical_array(leaf: Any) -> Any:
    """Returns the same for arrays; numbers, which may be sizes and options, as they are."""
    return canonical(leaf) if isinstance(leaf, (jax.Array, np.ndarray)) else leaf


def widen(leaf: Any) -> Any:
    """Returns a float or complex JAX array in float64 or complex128, and anything else as it is."""
    if not (isinstance(leaf, jax.Array) and is_inexact(leaf)):
        return leaf
    is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
    return leaf.astype(jnp.complex128 if is_complex else jnp.float64)


def number(value: Any) -> complex | float:
    """Returns a scalar array as a Python number."""
    scalar = complex(np.asarray(value).astype(np.complex128))
    return scalar if np.iscomplexobj(value) else scalar.real


def same_value(narrow: Any, wide: Any) -> bool:
    """Returns whether two values of a function share half the digits of the narrower."""
    x, y = number(narrow), number(wide)
    if not (np.isfinite(x) and np.isfinite(y)):
        return True  # An overflow says nothing about the function.
    eps = float(jnp.finfo(jnp.asarray(narrow).dtype).eps)
    return abs(x - y) <= math.sqrt(eps) * max(abs(x), abs(y))


def narrowing(fun: Callable[..., Any], operands: Sequence[Any]) -> str | None:
    """Returns the first line of `fun` that takes float64 and gives less, if it can be traced."""
    try:
        closed = jax.make_jaxpr(fun)(*operands)
    except Exception:  # Python control flow on values: it runs, but it cannot be traced.
        return None
    steps = (step for step, _ in narrowings(closed.jaxpr, 64))
    return next((source_info_util.summarize(step.source_info) for step in steps), None)


def narrowings(jaxpr: Any, above: int) -> Iterator[tuple[Any, Any]]:
    """Yields the equations that take floats of so many bits and give shorter ones, with the dtype.

    Those within others, too.
    """
    for eqn in jaxpr.eqns:
        params = jax.tree.leaves(list(eqn.params.values()))
        bodies = [body for p in params if hasattr(body := getattr(p, "jaxpr", p), "eqns")]
        for body in bodies:
            yield from narrowings(body, above)
        taken, given = (
            [getattr(v.aval, "dtype", None) for v in side] for side in (eqn.invars, eqn.outvars)
        )
        if not bodies and above in map(bits, taken):
            yield from ((eqn, dtype) for dtype in given if bits(dtype) < above)
