"""Functions that sum up an axis, all of it or as far as each place."""

import math
from typing import Any

from jax import lax

from backprop_jax.engine.registry import dear_to_recompute, linear, pullback


def spread(g: Any, x: Any, axes: tuple) -> Any:
    """Returns g, copied along the axes it was reduced over, in the shape of x."""
    kept = tuple(i for i in range(len(x.shape)) if i not in axes)
    return lax.broadcast_in_dim(g, x.shape, kept)


def recurrence(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """Returns s, s_k = b_k + a_k s_{k-1} along an axis; k+1 if `reverse`. The first a is not read.

    Steps compose, (a, b) then (c, d) to (c a, d + c b), so a parallel scan computes all of them.
    """

    def compose(first: tuple, then: tuple) -> tuple:
        (a, b), (c, d) = first, then
        return c * a, d + c * b

    return lax.associative_scan(compose, (a, b), reverse=reverse, axis=axis)[1]


def neighbour(x: Any, fill: float, axis: int, reverse: bool) -> Any:
    """Returns x moved one place along the axis: place k holds x_{k-1}; x_{k+1} if `reverse`."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (-1, 1, 0) if reverse else (1, -1, 0)
    return lax.pad(x, lax.full((), fill, x.dtype), config)


# fmt: off
linear(lax.reduce_sum_p,    lambda g, x, *, axes: spread(g, x, axes))
linear(lax.cumsum_p,        lambda g, *, axis, reverse: lax.cumsum(g, axis, reverse=not reverse))
# fmt: on


def shared_extremum(g: Any, x: Any, z: Any, *, axes: tuple) -> Any:
    """Returns equal shares of g at the places of x that are the extremum."""
    places = lax.convert_element_type(x == spread(z, x, axes), x.dtype)
    share = g / lax.reduce_sum(places, axes)
    return spread(share, x, axes) * places


pullback(lax.reduce_max_p)(shared_extremum)
pullback(lax.reduce_min_p)(shared_extremum)


@pullback(lax.reduce_prod_p)
def reduce_prod(g: Any, x: Any, *, axes: tuple) -> Any:
    """∂z/∂x_k is the product of all the others: of those before it times of those after it.

    Division by x_k would do for x_k ≠ 0 only.
    """
    if not axes:
        return g
    kept = [i for i in range(x.ndim) if i not in axes]
    order = [*kept, *axes]
    last = len(kept)
    together = [*(x.shape[i] for i in kept), math.prod(x.shape[i] for i in axes)]
    rows = lax.reshape(lax.transpose(x, order), together)
    before = lax.cumprod(neighbour(rows, 1, last, reverse=False), last)
    after = lax.cumprod(neighbour(rows, 1, last, reverse=True), last, reverse=True)
    others = lax.reshape(before * after, [x.shape[i] for i in order])
    return spread(g, x, axes) * lax.transpose(others, sorted(range(x.ndim), key=order.__getitem__))


@pullback(lax.cumprod_p)
def cumprod(g: Any, x: Any, z: Any, *, axis: int, reverse: bool) -> Any:
    """The cotangent of x_j is z_{j-1} s_j, where s_j = g_j + x_{j+1} s_{j+1}.

    s_j is the sum over k ≥ j of g_k x_{j+1} ··· x_k, found without a division.
    """
    s = recurrence(neighbour(x, 1, axis, not reverse), g, axis, not reverse)
    return neighbour(z, 1, axis, reverse) * s


@pullback(lax.cumlogsumexp_p)
def cumlogsumexp(g: Any, x: Any, z: Any, *, axis: int, reverse: bool) -> Any:
    """The cotangent of x_j is exp(x_j - z_j) s_j, where s_j = g_j + exp(z_j - z_{j+1}) s_{j+1}.

    s_j is the sum over k ≥ j of g_k exp(z_j - z_k). No exponent is positive, since z does not fall.
    What is subtracted is 0 where z is -inf, as all x up to there are: the weights are 0, not NaN.
    """
    finite = lax.select(z == -math.inf, lax.full_like(z, 0), z)
    a = lax.exp(z - neighbour(finite, math.inf, axis, not reverse))
    return lax.exp(x - finite) * recurrence(a, g, axis, not reverse)


def running_extremum(g: Any, x: Any, z: Any, *, axis: int, reverse: bool) -> Any:
    """Returns equal shares of each g_k at the places up to k that are the extremum z_k.

    z is constant on runs. Within a run the extremum is met at c_k places up to k, so place j of the
    run gets the sum over k ≥ j of g_k / c_k.
    """
    met = lax.convert_element_type(x == z, x.dtype)
    same_as_before = lax.convert_element_type(z == neighbour(z, 0, axis, reverse), x.dtype)
    same_as_after = lax.convert_element_type(z == neighbour(z, 0, axis, not reverse), x.dtype)
    count = recurrence(same_as_before, met, axis, reverse)
    return met * recurrence(same_as_after, g / count, axis, not reverse)


pullback(lax.cummax_p)(running_extremum)
pullback(lax.cummin_p)(running_extremum)

dear_to_recompute(lax.cumsum_p, lax.cumprod_p, lax.cumlogsumexp_p, lax.cummax_p, lax.cummin_p)
