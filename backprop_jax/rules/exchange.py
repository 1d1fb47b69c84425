"""Pieces of run-time size that instances of a program send each other: `lax.ragged_all_to_all`.

Piece k of an instance, rows `starts[k]` to `starts[k] + sizes[k]` of x, goes to the instance whose
turn k is and is written over the rows of its y from `places[k]` on; `received[k]` rows come in.
So the cotangent of x comes back the same way, and that of y is g in the rows nobody wrote.

A row may be sent to several, as a token is to several experts. What comes back then has to be
added, and an exchange writes: pieces that overlap come back in turns. Two pieces that are written
over the same rows have no order, so no derivative either. jax.grad's rule keeps one of the copies
that come back; it loses count of rows where an empty piece begins with another, and of groups.
"""

from typing import Any

import numpy as np
from jax import lax
from jax.extend.core.primitives import ragged_all_to_all_p

from backprop_jax.engine.cotangents import zeros
from backprop_jax.engine.registry import linear


def swapped(pieces: Any, axis_name: Any, groups: Any) -> Any:
    """Returns what every partner says of the pieces it has from here or sends here."""
    return lax.all_to_all(pieces, axis_name, 0, 0, axis_index_groups=groups, tiled=True)


def in_turns(starts: Any, sizes: Any) -> tuple[Any, Any]:
    """Returns for every piece a turn, so that no two of one turn overlap, and how many there are.

    In order of their starts, a piece and those that begin within it stand side by side. So if there
    are as many turns as the most that do, and pieces take them one after the other, all are apart.
    """
    begins = lax.select(sizes > 0, starts, lax.full_like(starts, np.iinfo(starts.dtype).max))
    this, other = lax.expand_dims(begins, [1]), lax.expand_dims(begins, [0])
    end = lax.expand_dims(starts + sizes, [1])
    earlier = np.tri(len(begins), k=-1, dtype=bool)
    place = count((other < this) | ((other == this) & earlier))
    turns = lax.max(lax.reduce_max(count((other >= this) & (other < end)), [0]), np.int32(1))
    return lax.rem(place, lax.full_like(place, turns)), turns


def count(true: Any) -> Any:
    """Returns how many are true in each row."""
    return lax.reduce_sum(lax.convert_element_type(true, np.int32), [1])


def of_sent(g: Any, x: Any, i: tuple, *, axis_name: Any, axis_index_groups: Any) -> Any:
    """Returns the sum of what comes back of every row."""
    starts, sizes, places, received = i
    turn, turns = in_turns(starts, sizes)
    starts_there, places_here, turn_there = (
        swapped(pieces, axis_name, axis_index_groups) for pieces in (starts, places, turn)
    )
    names = {"axis_name": axis_name, "axis_index_groups": axis_index_groups}

    def back(k: Any) -> Any:
        now = lax.select(turn == k, sizes, lax.full_like(sizes, 0))
        now_there = lax.select(turn_there == k, received, lax.full_like(received, 0))
        pieces = places_here, now_there, starts_there, now
        return lax.ragged_all_to_all(g, zeros(x), *pieces, **names)

    # All take as many turns as the one that needs most: an exchange waits for everyone.
    most = lax.pmax(turns, axis_name)
    return lax.fori_loop(1, most, lambda k, total: total + back(k), back(0))


def of_written_over(g: Any, i: tuple, *, axis_name: Any, axis_index_groups: Any) -> Any:
    """Returns g in the rows that nothing was written over."""
    _, _, places, received = i
    here = swapped(places, axis_name, axis_index_groups)
    row = lax.broadcasted_iota(here.dtype, (len(g), len(here)), 0)
    written = lax.reduce_or((row >= here) & (row < here + received), [1])
    written = lax.broadcast_in_dim(written, g.shape, [0])
    return lax.select(written, lax.full_like(g, 0), g)


linear(ragged_all_to_all_p, of_sent, of_written_over)
