# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions that draw numbers together: sums, maxima, running totals, orders, windows."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.rules.case import COMPLEX, NONZERO, POSITIVE, REAL, Case, integers


def windows(
    init: float, op: Callable, size: tuple, strides: tuple, padding: object, **options: object
) -> Callable:
    """Returns the function that reduces windows of an array."""
    return lambda x: lax.reduce_window(
        x, np.asarray(init, x.dtype), op, size, strides, padding, **options
    )


def running(function: Callable, axis: int, reverse: bool) -> Callable:
    """Returns a running total along an axis."""
    return lambda x: function(x, axis=axis, reverse=reverse)


INFINITY = float("inf")

# fmt: off
CASES = [
    # -- over axes -------------------------------------------------------------------
    Case("reduce_sum",       lambda x: jnp.sum(x),                      [(2, 3)],    REAL,     "all"),
    Case("reduce_sum",       lambda x: jnp.sum(x, axis=(0, 2)),         [(2, 3, 2)], REAL,     "axes"),
    Case("reduce_sum",       lambda x: jnp.sum(x, 1, keepdims=True),    [(2, 3)],    REAL,     "keepdims"),
    Case("reduce_sum",       lambda x: jnp.sum(x, axis=0),              [(2, 3)],    COMPLEX,  "of complex numbers", ("complex64",)),
    Case("reduce_sum",       lambda x: jnp.mean(x, axis=0),             [(2, 3)],    REAL,     "mean"),
    Case("reduce_sum",       lambda x: jnp.var(x, axis=0),              [(4, 3)],    REAL,     "variance"),
    Case("reduce_max",       lambda x: jnp.max(x, axis=1),              [(2, 3)],    REAL),
    Case("reduce_max",       lambda x: jnp.max(x),                      [(2, 3)],    REAL,     "all"),
    Case("reduce_min",       lambda x: jnp.min(x, axis=(0, 2)),         [(2, 3, 2)], REAL),
    Case("reduce_prod",      lambda x: jnp.prod(x, axis=1),             [(2, 4)],    NONZERO),
    Case("reduce_prod",      lambda x: jnp.prod(x, axis=(0, 2)),        [(2, 3, 2)], NONZERO,  "axes"),
    Case("reduce_prod",      lambda x: jnp.prod(x * np.array([1, 0, 1])), [(3,)],    NONZERO,  "with a zero"),
    Case("argmax",           lambda x: x * lax.argmax(x, 0, "int32"),   [(3,)],      REAL),
    Case("argmin",           lambda x: x * lax.argmin(x, 0, "int32"),   [(3,)],      REAL),
    Case("reduce_and",       lambda x: x * jnp.all(x > 0),              [(3,)],      REAL),
    Case("reduce_or",        lambda x: x * jnp.any(x > 0),              [(3,)],      REAL),
    # -- running totals --------------------------------------------------------------
    Case("cumsum",           running(lax.cumsum, 0, False),             [(3, 2)],    REAL),
    Case("cumsum",           running(lax.cumsum, 1, True),              [(2, 3)],    REAL,     "from the end"),
    Case("cumprod",          running(lax.cumprod, 0, False),            [(4,)],      NONZERO),
    Case("cumprod",          running(lax.cumprod, 1, True),             [(2, 3)],    NONZERO,  "from the end"),
    Case("cumlogsumexp",     running(lax.cumlogsumexp, 0, False),       [(4,)],      REAL),
    Case("cumlogsumexp",     running(lax.cumlogsumexp, 1, True),        [(2, 3)],    REAL,     "from the end"),
    Case("cummax",           running(lax.cummax, 0, False),             [(5,)],      REAL),
    Case("cummax",           running(lax.cummax, 1, True),              [(2, 4)],    REAL,     "from the end"),
    Case("cummin",           running(lax.cummin, 0, False),             [(5,)],      REAL),
    Case("cummin",           running(lax.cummin, 1, True),              [(2, 4)],    REAL,     "from the end"),
    # -- orders ----------------------------------------------------------------------
    Case("sort",             lambda x: lax.sort(x, dimension=0),        [(4, 2)],    REAL),
    Case("sort",             lambda x, y: lax.sort((x, y), num_keys=1), [(2, 4), (2, 4)], REAL, "a key and a companion"),
    Case("sort",             lambda x, y: lax.sort((x, y), num_keys=1), [(4,), (4,)], (integers(3), REAL), "an integer key"),
    Case("sort",             lambda x, y: lax.sort((x, y), num_keys=2), [(4,), (4,)], REAL,    "two keys"),
    Case("sort",             lambda x: x[jnp.argsort(x)],               [(4,)],      REAL,     "argsort"),
    # -- windows ---------------------------------------------------------------------
    Case("reduce_window_sum", windows(0.0, lax.add, (2, 2), (1, 1), "VALID"), [(3, 4)], REAL),
    Case("reduce_window_sum", windows(0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"), [(1, 3, 4, 2)], REAL, "average pooling"),
    Case("reduce_window_sum", windows(0.0, lax.add, (3,), (2,), ((1, 2),), base_dilation=(2,), window_dilation=(2,)), [(6,)], REAL, "dilated"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (2, 2), (1, 1), "VALID"), [(3, 4)], REAL),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"), [(1, 3, 4, 2)], REAL, "max pooling"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (3,), (2,), ((1, 1),)), [(6,)], REAL, "overlapping, padded"),
    Case("reduce_window_min", windows(INFINITY, lax.min, (2,), (1,), "VALID"),    [(5,)], REAL),
    Case("reduce_sum",       lambda x: jnp.sqrt(jnp.sum(x * x)),        [(3,)],      POSITIVE, "norm"),
]
# fmt: on
