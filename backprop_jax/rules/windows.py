"""Functions that draw numbers together window by window: pooling; and by a function of the user's.

A window is put on the array, padded and with gaps between its elements (`base_dilation`), at every
stride; its own elements may lie apart, too (`window_dilation`). A place in the window, over all
windows, is a strided slice of the padded array: a *view*. There are as many as the window has
places.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import (
    dear_to_recompute,
    linear,
    missing,
    pullback,
    structured,
)
from backprop_jax.engine.units import Unit
from backprop_jax.rules.contractions import dilated
from backprop_jax.rules.models import reverse_of
from backprop_jax.rules.shapes import of_padded, undo_slice

#: With more places in a window, its extremum is looked for by XLA's own loop. Up to here the views
#: are faster, and they share ties.
MOST_VIEWS = 64


PARAMETERS = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")


class Windows(NamedTuple):
    """Where windows lie. The names are those of `lax.reduce_window`'s parameters, in its order."""

    dimensions: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]

    @property
    def config(self) -> tuple[tuple[int, int, int], ...]:
        """The padding and the gaps, as `lax.pad` is told of them."""
        pairs = zip(self.padding, self.base_dilation, strict=True)
        return tuple((low, high, gap - 1) for (low, high), gap in pairs)

    def slices(self, shape: Sequence[int]) -> list[dict]:
        """Returns for every view what `lax.slice` is told; `shape` is that of the result."""
        found = []
        for place in np.ndindex(*self.dimensions):
            start = [k * step for k, step in zip(place, self.window_dilation, strict=True)]
            spans = [(n - 1) * step + 1 for n, step in zip(shape, self.strides, strict=True)]
            limit = [a + span for a, span in zip(start, spans, strict=True)]
            found.append({"start_indices": start, "limit_indices": limit, "strides": self.strides})
        return found


def extremum(
    g: Any,
    x: Any,
    z: Any,
    *,
    window_dimensions: tuple,
    window_strides: tuple,
    padding: tuple,
    base_dilation: tuple,
    window_dilation: tuple,
    worst: float,
    select: Any,
) -> Any:
    """Returns equal shares of g at the places in each window that are its extremum z.

    Padding never is: it is filled with what cannot be z. jax.grad gives the first place all, has no
    rule for windows with gaps, and halves the digits at second order where XLA cannot reduce pairs.
    """
    windows = Windows(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    whole = set(window_dilation) <= {1}
    if whole and math.prod(window_dimensions) > MOST_VIEWS:
        padded = lax.pad(x, lax.full((), worst, x.dtype), windows.config)
        unpadded = ((0, 0),) * x.ndim
        shares = to_the_first(g, padded, select, window_dimensions, window_strides, unpadded)
        return of_padded(shares, x, padding_config=windows.config)
    padded = lax.pad(x, lax.full((), -worst, x.dtype), windows.config)
    slices = windows.slices(z.shape)
    met = [lax.slice(padded, **options) == z for options in slices]
    count = sum((lax.convert_element_type(m, x.dtype) for m in met), lax.full_like(z, 0))
    share = g / lax.max(count, lax.full_like(count, 1))
    zero = lax.full_like(share, 0)
    parts = [
        undo_slice(
            lax.select(m, share, zero),
            padded,
            start_indices=options["start_indices"],
            strides=options["strides"],
        )
        for m, options in zip(met, slices, strict=True)
    ]
    return of_padded(sum(parts[1:], parts[0]), x, padding_config=windows.config)


def to_the_first(
    g: Any, x: Any, select: Any, dimensions: tuple, strides: tuple, padding: tuple
) -> Any:
    """Returns g at the first place of each window of x that is chosen; sums where windows meet."""
    return lax.select_and_scatter_add_p.bind(
        g,
        x,
        select_prim=select,
        window_dimensions=dimensions,
        window_strides=strides,
        padding=padding,
    )


pullback(lax.reduce_window_max_p)(
    functools.partial(extremum, worst=-math.inf, select=lax.ge_p),
)
pullback(lax.reduce_window_min_p)(
    functools.partial(extremum, worst=math.inf, select=lax.le_p),
)


def sum_of_windows(
    g: Any,
    x: Any,
    *,
    window_dimensions: tuple,
    window_strides: tuple,
    padding: tuple,
    base_dilation: tuple,
    window_dilation: tuple,
) -> Any:
    """Returns the sum of g over the windows each element is in: a sum over windows of g.

    With stride s, padding a and window dilation d, z[n] is the sum over k of x[n s - a + k d], so
    x[m] gets that of g[(m + a - k d) / s]: g dilated by s, and x's own gaps become the strides.
    """
    config = []
    rows = zip(x.shape, g.shape, padding, window_dimensions, strict=True)
    steps = zip(window_strides, base_dilation, window_dilation, strict=True)
    for (x_size, g_size, (before, _), k), (s, e, d) in zip(rows, steps, strict=True):
        low = dilated(k, d) - 1 - before
        high = dilated(x_size, e) + dilated(k, d) - 1 - dilated(g_size, s) - low
        config.append((low, high, s - 1))
    return lax.reduce_window_sum_p.bind(
        lax.pad(g, lax.full((), 0, g.dtype), config),
        window_dimensions=window_dimensions,
        window_strides=base_dilation,
        padding=((0, 0),) * g.ndim,
        base_dilation=(1,) * g.ndim,
        window_dilation=window_dilation,
    )


linear(lax.reduce_window_sum_p, sum_of_windows)


@pullback(lax.select_and_scatter_add_p)
def select_and_scatter_add(
    g: Any,
    y: Any,
    needed: tuple,
    *,
    select_prim: Any,
    window_dimensions: tuple,
    window_strides: tuple,
    padding: tuple,
) -> tuple:
    """Each x went to the chosen place of its window of y; it gets g from there."""
    if not needed[0]:
        return None, None
    ones = (1,) * g.ndim
    of_x = lax.select_and_gather_add_p.bind(
        g,
        y,
        select_prim=select_prim,
        window_dimensions=window_dimensions,
        window_strides=window_strides,
        padding=padding,
        base_dilation=ones,
        window_dilation=ones,
    )
    return of_x, None


@pullback(lax.select_and_gather_add_p)
def select_and_gather_add(
    g: Any,
    y: Any,
    needed: tuple,
    *,
    select_prim: Any,
    window_dimensions: tuple,
    window_strides: tuple,
    padding: tuple,
    base_dilation: tuple,
    window_dilation: tuple,
) -> tuple:
    """Each z is the x at the chosen place of its window of y, and gives its g back there."""
    if not needed[0]:
        return None, None
    if set(window_dilation) != {1}:
        return missing("with gaps in its windows it comes of jax.grad only; use ours"), None
    windows = Windows(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    worst = -math.inf if select_prim is lax.ge_p else math.inf
    padded = lax.pad(y, lax.full((), worst, y.dtype), windows.config)
    unpadded = ((0, 0),) * y.ndim
    of_x = to_the_first(g, padded, select_prim, window_dimensions, window_strides, unpadded)
    return of_padded(of_x, y, padding_config=windows.config), None


# -- by a function of two numbers ------------------------------------------------------------------


def reduce_in_pairs(run: Callable, inits: Sequence, operands: list) -> list:
    """Returns the operands reduced along their first axis: neighbours first, so order is kept."""

    def together(left: list, right: list) -> list:
        shape = left[0].shape
        flat = [lax.reshape(v, (v.size,)) for v in (*left, *right)]
        return [lax.reshape(v, shape) for v in jax.vmap(run)(*flat)]

    while (count := operands[0].shape[0]) > 1:
        even = count - count % 2
        left, right = ([lax.slice_in_dim(v, start, even, 2) for v in operands] for start in (0, 1))
        last = [lax.slice_in_dim(v, even, count) for v in operands]
        paired = together(left, right)
        operands = [lax.concatenate(pair, 0) for pair in zip(paired, last, strict=True)]
    shape = operands[0].shape[1:]
    start = [lax.broadcast(init, shape) for init in inits]
    if not count:
        return start
    return together(start, [lax.squeeze(v, (0,)) for v in operands])


@structured(lax.reduce_p)
def reduce(active: tuple[bool, ...], *, jaxpr: Any, dimensions: tuple, **params: Any) -> Unit:
    """A reduction by any function: on the way back it is taken apart, pair by pair.

    XLA leaves open how often the initial values enter; here it is once. jax.grad refuses these.
    """
    count = len(active) // 2
    run = as_function(jaxpr)
    bind = functools.partial(lax.reduce_p.bind, jaxpr=jaxpr, dimensions=dimensions, **params)

    def model(*operands: Any) -> list:
        kept = [i for i in range(operands[0].ndim) if i not in dimensions]
        shape = [math.prod(operands[0].shape[i] for i in dimensions)]
        shape += [operands[0].shape[i] for i in kept]
        order = (*dimensions, *kept)
        rows = [lax.reshape(lax.transpose(x, order), shape) for x in operands[:count]]
        return reduce_in_pairs(run, operands[count:], rows)

    return reverse_of(bind, model, active, count)


@structured(lax.reduce_window_p)
def reduce_window(
    active: tuple[bool, ...],
    *,
    jaxpr: Any,
    consts: tuple,
    window_dimensions: tuple,
    window_strides: tuple,
    padding: tuple,
    base_dilation: tuple,
    window_dilation: tuple,
) -> Unit:
    """Windows reduced by any function: on the way back the views are, pair by pair."""
    count = len(active) // 2
    run = as_function(ClosedJaxpr(jaxpr, consts))
    where = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    windows = Windows(*where)
    bind = functools.partial(
        lax.reduce_window_p.bind,
        jaxpr=jaxpr,
        consts=consts,
        **dict(zip(PARAMETERS, where, strict=True)),
    )

    def model(*operands: Any) -> list:
        avals = jax.eval_shape(bind, *operands)
        inits, rows = operands[count:], []
        for x, init in zip(operands[:count], inits, strict=True):
            padded = lax.pad(x, init, windows.config)
            views = [lax.slice(padded, **options) for options in windows.slices(avals[0].shape)]
            rows.append(lax.concatenate([lax.expand_dims(v, (0,)) for v in views], 0))
        return reduce_in_pairs(run, inits, rows)

    return reverse_of(bind, model, active, count)


dear_to_recompute(
    lax.reduce_window_sum_p,
    lax.reduce_window_max_p,
    lax.reduce_window_min_p,
    lax.reduce_window_p,
    lax.reduce_p,
    lax.select_and_scatter_add_p,
    lax.select_and_gather_add_p,
)
