# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions that draw numbers together: sums, maxima, running totals, orders, windows."""

from collections.abc import Callable

import jax
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


def hypotenuse(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns a reduction that XLA has no name for."""
    return lax.sqrt(x * x + y * y)


def reduced(function: Callable, init: float, axes: tuple) -> Callable:
    """Returns the function that reduces axes of an array."""
    return lambda x: lax.reduce(x, np.asarray(init, x.dtype), function, axes)


def larger_of_pairs(x: jax.Array, y: jax.Array) -> tuple:
    """Returns along the last axis the largest x, and the y at its place."""

    def larger(left: tuple, right: tuple) -> tuple:
        first = left[0] >= right[0]
        return tuple(lax.select(first, a, b) for a, b in zip(left, right, strict=True))

    inits = np.asarray(-INFINITY, x.dtype), np.asarray(0, x.dtype)
    return lax.reduce((x, y), inits, larger, (1,))


def scattered(select: object) -> Callable:
    """Returns the function that puts x at a place of each 2 by 2 window of y."""
    where = {"window_dimensions": (2, 2), "window_strides": (2, 2), "padding": ((0, 0), (0, 0))}
    return lambda x, y: lax.select_and_scatter_add_p.bind(x, y, select_prim=select, **where)


def gathered(select: object, gaps: tuple) -> Callable:
    """Returns the function that takes x from a place of each 2 by 2 window of y."""
    where = {"window_dimensions": (2, 2), "window_strides": (2, 1), "padding": ((0, 0), (1, 0))}
    where |= {"base_dilation": gaps, "window_dilation": (1, 1)}
    return lambda x, y: lax.select_and_gather_add_p.bind(x, y, select_prim=select, **where)


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
    Case("sort",             lambda x: lax.sort(x, dimension=0, is_stable=False), [(5,)], REAL, "not stable"),
    Case("sort",             lambda x: lax.sort(x, dimension=0),        [(4,)],      COMPLEX,  "of complex numbers", ("complex64",)),
    Case("sort",             lambda x: jnp.median(x, axis=1),           [(2, 5)],    REAL,     "median"),
    Case("top_k",            lambda x: lax.top_k(x, 2)[0],              [(2, 5)],    REAL),
    Case("top_k",            lambda x: lax.top_k(x, 2, axis=0),         [(5, 2)],    REAL,     "along the first axis"),
    Case("approx_top_k",     lambda x: lax.approx_max_k(x, 2)[0],       [(2, 5)],    REAL,     dtypes=("float32",)),
    Case("approx_top_k",     lambda x: lax.approx_min_k(x, 2, reduction_dimension=0)[0], [(5, 2)], REAL, "of the least", dtypes=("float32",)),
    # -- windows ---------------------------------------------------------------------
    Case("reduce_window_sum", windows(0.0, lax.add, (2, 2), (1, 1), "VALID"), [(3, 4)], REAL),
    Case("reduce_window_sum", windows(0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"), [(1, 3, 4, 2)], REAL, "average pooling"),
    Case("reduce_window_sum", windows(0.0, lax.add, (3,), (2,), ((1, 2),), base_dilation=(2,), window_dilation=(2,)), [(6,)], REAL, "dilated"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (2, 2), (1, 1), "VALID"), [(3, 4)], REAL),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"), [(1, 3, 4, 2)], REAL, "max pooling"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (3,), (2,), ((1, 1),)), [(6,)], REAL, "overlapping, padded"),
    Case("reduce_window_min", windows(INFINITY, lax.min, (2,), (1,), "VALID"),    [(5,)], REAL),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (9, 8), (1, 1), "VALID"), [(10, 9)], REAL, "large windows"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (66,), (2,), ((1, 1),), base_dilation=(2,)), [(40,)], REAL, "large windows, with gaps in x"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (2, 3), (2, 1), ((1, 0), (2, 1)), base_dilation=(2, 1)), [(4, 5)], REAL, "gaps in x"),
    Case("reduce_window_max", windows(-INFINITY, lax.max, (2, 3), (1, 2), ((1, 0), (2, 1)), window_dilation=(2, 2)), [(5, 6)], REAL, "gaps in the windows", jax_fails="no rule"),
    Case("reduce_window_min", windows(INFINITY, lax.min, (2,), (1,), ((-1, 1),)), [(5,)],     REAL, "negative padding", jax_fails="wrong size"),
    Case("reduce_window_sum", windows(0.0, lax.add, (2,), (1,), ((-1, 1),)),      [(5,)],     REAL, "negative padding"),
    Case("select_and_scatter_add", scattered(lax.ge_p),                 [(2, 2), (4, 4)], REAL),
    Case("select_and_scatter_add", scattered(lax.le_p),                 [(2, 2), (4, 4)], REAL, "of the least"),
    Case("select_and_gather_add", gathered(lax.ge_p, (1, 1)),           [(4, 4), (4, 4)], REAL, dtypes=("float32",)),
    Case("select_and_gather_add", gathered(lax.le_p, (2, 1)),           [(4, 4), (4, 4)], REAL, "of the least, with gaps", dtypes=("float32",)),
    # -- by any function of two numbers ------------------------------------------------
    Case("reduce",           reduced(hypotenuse, 0.0, (1,)),            [(2, 5)],    POSITIVE),
    Case("reduce",           reduced(hypotenuse, 0.0, (0, 2)),          [(2, 3, 2)], POSITIVE, "two axes"),
    Case("reduce",           larger_of_pairs,                           [(3, 4), (3, 4)], REAL, "pairs", jax_fails="at second order a reshape meets a symbolic zero"),
    Case("reduce_window",    windows(0.0, hypotenuse, (3,), (2,), ((1, 2),)), [(6,)], POSITIVE, jax_fails="cannot transpose its own jvp"),
    Case("reduce_window",    windows(0.0, hypotenuse, (2, 2), (1, 1), "VALID", window_dilation=(1, 2)), [(3, 4)], POSITIVE, "with gaps", jax_fails="cannot transpose its own jvp"),
    Case("reduce_sum",       lambda x: jnp.sqrt(jnp.sum(x * x)),        [(3,)],      POSITIVE, "norm"),
]
# fmt: on
