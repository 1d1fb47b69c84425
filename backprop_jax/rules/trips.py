"""Loops that end when they please: `while_loop`, and `fori_loop` with bounds known at run time.

The way back wants the carry before every trip, the last one first, and nobody knows how many there
will be. So a fixed number of places holds carries of some of the trips, and the others are computed
again from the nearest one before. jax.grad has no rule: it would keep all.

The trips are taken in blocks of K, and K places hold the carries from before some of the blocks,
at even distances: on the way forward, when all are taken, every second is given up. Half as many
more serve the way back, and hold what it computes again.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from backprop_jax.dtypes import enabling_for, size_in_bytes
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.logs import collecting
from backprop_jax.engine.registry import dear_to_recompute, structured
from backprop_jax.engine.tape import Recorded
from backprop_jax.engine.units import Unit
from backprop_jax.partition.choice import refuse_references
from backprop_jax.partition.keeping import in_force
from backprop_jax.partition.residuals import Split, split
from backprop_jax.partition.sums import after_last, before_first
from backprop_jax.rules.loops import carried_activity

#: As many places as fit in this, between the fewest and the most.
BYTES = 2**25
FEWEST, MOST = 8, 64

INTEGER = np.dtype("int32")

#: What the number of the trip is called in the body of a loop, for whoever looks at the program.
TRIP = "backprop_jax.trip"


def fixed(number: int) -> Any:
    """Returns a whole number as the loops here count."""
    return lax.full((), number, INTEGER)


def numbered(trip: Any) -> None:
    """Says which trip a body is at, where the loop is none of trips one after the other."""
    checkpoint_name(trip, TRIP)


def blanks(count: int, carry: list) -> list:
    """Returns room for so many carries."""
    with enabling_for(map(jax.typeof, carry)):
        return [lax.broadcast(lax.full_like(x, 0), (count,)) for x in carry]


def written(arrays: list, place: Any, carry: list) -> list:
    """Returns the stacked arrays with a carry written at a place."""
    pairs = zip(arrays, carry, strict=True)
    return [lax.dynamic_update_index_in_dim(a, x, place, 0) for a, x in pairs]


def read(arrays: list, place: Any) -> list:
    """Returns the carry at a place of the stacked arrays."""
    return [lax.dynamic_index_in_dim(a, place, 0, keepdims=False) for a in arrays]


def held(carry: Sequence, asked: int | None) -> int:
    """Returns how many places to have for carries like this: as many as asked for, or that fit."""
    if asked is None:
        size = sum(map(size_in_bytes, carry))
        asked = max(FEWEST, min(MOST, BYTES // max(size, 1)))
    return max(2, asked - asked % 2)


def run_and_keep(trip: Callable, goes_on: Callable, start: list, places: "Places") -> tuple:
    """Runs a loop; returns the carry at its end, the number of trips, and what is held of them.

    The places hold the carries before trips 0, d, 2 d, ...; d is a number of blocks, which doubles
    when all are taken.

    Args:
      trip: carry → the carry after one more trip.
      goes_on: carry → whether there is one more.
      start: the carry before trip 0.
      places: where they are held.
    """
    count = places.kept

    def thinned(taken: Any, arrays: list) -> list:
        """Returns the arrays with every second carry; if not all places are taken, as they are."""
        left = lax.select(taken == count, fixed(count // 2), fixed(0))

        def move(state: tuple) -> tuple:
            place, arrays = state
            return place + 1, written(arrays, place, read(arrays, 2 * place))

        return lax.while_loop(lambda state: state[0] < left, move, (fixed(1), arrays))[1]

    def once(state: tuple) -> tuple:
        trips, end, carry = state
        numbered(trips)
        return trips + 1, end, trip(carry)

    def to_next(state: tuple) -> tuple:
        trips, taken, distance, carry, arrays = state
        arrays = thinned(taken, arrays)
        distance = lax.select(taken == count, 2 * distance, distance)
        taken = lax.select(taken == count, fixed(count // 2), taken)
        arrays = written(arrays, taken, carry)

        def within(state: tuple) -> Any:
            return lax.bitwise_and(state[0] < state[1], goes_on(state[2]))

        end = trips + distance * count
        trips, _, carry = lax.while_loop(within, once, (trips, end, carry))
        return trips, taken + 1, distance, carry, arrays

    state = fixed(0), fixed(0), fixed(1), start, blanks(places.count, start)
    state = lax.while_loop(lambda state: goes_on(state[3]), to_next, state)
    trips, taken, distance, carry, arrays = state
    return carry, trips, (taken, distance, arrays)


def run_and_count(trip: Callable, goes_on: Callable, start: list) -> tuple[list, Any]:
    """Runs a loop; returns the carry at its end and the number of trips."""

    def once(state: tuple) -> tuple:
        trips, carry = state
        return trips + 1, trip(carry)

    trips, carry = lax.while_loop(lambda state: goes_on(state[1]), once, (fixed(0), start))
    return carry, trips


class Places:
    """Where carries are held: a stack, of the blocks they come before, and of each array of them.

    Args:
      kept: how many are filled on the way forward, an even number, and how many trips a block has.
    """

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.count = kept + max(1, kept // 2)

    def first(self, carry: list) -> tuple[Any, tuple]:
        """Returns the top of a stack with the carry before trip 0 at the bottom, and the stack."""
        stack = lax.full((self.count,), 0, INTEGER), blanks(self.count, carry)
        return fixed(0), self.put(stack, fixed(0), fixed(0), carry)

    def filled(self, taken: Any, distance: Any, arrays: list) -> tuple[Any, tuple]:
        """Returns the top of a stack that was filled on the way forward, and the stack."""
        blocks = lax.iota(INTEGER, self.count) * distance
        return lax.max(taken - 1, fixed(0)), (blocks, arrays)

    def put(self, stack: tuple, top: Any, block: Any, carry: list) -> tuple[Any, list]:
        """Returns the stack with the carry before a block written at a place."""
        blocks, arrays = stack
        return written([blocks], top, [block])[0], written(arrays, top, carry)

    def get(self, stack: tuple, top: Any) -> tuple[Any, list]:
        """Returns the block and the carry before it that a place holds."""
        blocks, arrays = stack
        return read([blocks], top)[0], read(arrays, top)

    def stride(self, top: Any, distance: Any) -> Any:
        """Returns how many blocks lie between the place on top and the next, on the way ahead.

        With s places, of which one is taken, and r runs of every block, as many as

            reach(s, r) = (s + r)! / (s! r!)

        blocks go back. Of l blocks, the fewest runs are made if the next place has at most
        reach(s - 1, r) before it. No place left, the block itself goes to the last one there is.

        Source: Griewank and Walther, Algorithm 799: revolve, ACM TOMS 26 (2000).
        """
        places, count = fixed(self.count - 1) - top, distance + 1
        reach = np.asarray(self.reach(), INTEGER)
        own = lax.dynamic_index_in_dim(reach, places, 0, keepdims=False)
        less = lax.dynamic_index_in_dim(reach, lax.max(places - 1, fixed(0)), 0, keepdims=False)
        runs = lax.reduce_sum(lax.convert_element_type(own < count, INTEGER), (0,))

        def at(row: Any, r: Any) -> Any:
            return lax.dynamic_index_in_dim(row, lax.max(r, fixed(0)), 0, keepdims=False)

        ahead = lax.max(at(own, runs - 2), count - at(less, runs))
        return lax.select(places > 1, lax.clamp(fixed(1), ahead, distance), distance)

    def reach(self) -> list[list[int]]:
        """Returns how many blocks go back with so many places (rows) and runs (columns)."""
        most, runs = np.iinfo(INTEGER).max, 40
        return [[min(math.comb(s + r, s), most) for r in range(runs)] for s in range(self.count)]


def reverse_trips(
    trip: Callable,
    pull: Callable,
    places: Places,
    start: tuple[Any, tuple],
    count: Any,
    gradients: tuple,
) -> tuple:
    """Returns the gradients pulled back through `count` trips.

    A block's turn come, its K trips are run once more, every carry is held, and the gradients are
    pulled through one after the other. The place on top holds the carry from before the block, or
    from earlier; then carries nearer to it are put on top until it is the one.

    So a trip is run again once with its block, and before, with m = n / K blocks of n trips, at
    most r times: r is the smallest number with (K - 1 + r)! / ((K - 1)! r!) >= m, and of these runs
    the way forward has made the first, if it has filled the places. With K = 32 that is once in all
    for n = 1,000, 2.7 times for n = 100,000 and 3.4 times for n = 1,000,000; one more if the places
    are empty. Memory is that of 2.5 K carries, whatever n is.

    Args:
      trip: carry → the carry after one more trip.
      pull: (carry before a trip, gradients) → gradients.
      places: where carries are held.
      start: top of the stack of places, and the stack.
      count: number of trips.
      gradients: any pytree of arrays.
    """
    (top, stack), block = start, places.kept

    def advance(carry: list, blocks: Any) -> list:
        """Returns the carry so many blocks later."""

        def once(state: tuple) -> tuple:
            done, carry = state
            return done + 1, trip(carry)

        trips = blocks * block
        return lax.while_loop(lambda state: state[0] < trips, once, (fixed(0), carry))[1]

    def pull_block(number: Any, carry: list, gradients: tuple) -> tuple:
        """Returns the gradients pulled back through the trips of a block."""
        trips = lax.min(count - number * block, fixed(block))

        def once(state: tuple) -> tuple:
            done, carry, stack = state
            return done + 1, trip(carry), written(stack, done, carry)

        def back(state: tuple) -> tuple:
            left, gradients = state
            numbered(number * block + left - 1)
            return left - 1, pull(read(stack, left - 1), gradients)

        state = (fixed(0), carry, blanks(block, carry))
        _, last, stack = lax.while_loop(lambda state: state[0] < trips - 1, once, state)
        numbered(number * block + trips - 1)
        gradients = pull(last, gradients)
        state = (trips - 1, gradients)
        return lax.while_loop(lambda state: state[0] > 0, back, state)[1]

    def ahead(state: tuple) -> tuple:
        last, top, stack = state
        before, carry = places.get(stack, top)
        before += (distance := places.stride(top, last - before))
        return last, top + 1, places.put(stack, top + 1, before, advance(carry, distance))

    def back(state: tuple) -> tuple:
        last, top, stack, gradients = state

        def elsewhere(state: tuple) -> Any:
            return places.get(state[2], state[1])[0] != last

        last, top, stack = lax.while_loop(elsewhere, ahead, (last, top, stack))
        gradients = pull_block(last, places.get(stack, top)[1], gradients)
        return last - 1, lax.max(top - 1, fixed(0)), stack, gradients

    state = (lax.div(count + (block - 1), fixed(block)) - 1, top, stack, gradients)
    return lax.while_loop(lambda state: state[0] >= 0, back, state)[3]


def nonzero(body: Split, consts: int, cotangents: list) -> list[bool]:
    """Returns which cotangents of constants and carry some trip makes, or has, not zero."""
    present = [g is not None for g in cotangents]
    while True:
        found = body.nonzero(present)
        after = [p or f for p, f in zip(present, found[consts:], strict=True)]
        if after == present:
            return [*found[:consts], *after]
        present = after


@structured(lax.while_p)
def while_loop(
    active: tuple[bool, ...],
    *,
    cond_jaxpr: Any,
    cond_nconsts: int,
    body_jaxpr: Any,
    body_nconsts: int,
) -> Unit:
    """A loop: its derivative is that of the trips there were; their number has none.

    Kept are the operands, that number, and the carries before some trips, see `run_and_keep`; not
    these within another loop, where they were kept for each of its trips.
    """
    refuse_references(body_jaxpr)
    going_on, fixed_for_cond = as_function(cond_jaxpr), cond_nconsts
    if cond_jaxpr.out_avals[0].shape:
        body_jaxpr = in_lockstep(cond_jaxpr, cond_nconsts, body_jaxpr)
        body_nconsts, cond_nconsts = body_nconsts + cond_nconsts, 0
    count = len(body_jaxpr.in_avals) - body_nconsts
    moving = tuple(carried_activity(body_jaxpr, active[cond_nconsts:], body_nconsts, count))
    body = split(body_jaxpr, moving, [True] * len(moving), [True] * body_nconsts + [False] * count)
    run, keeping = as_function(body_jaxpr), in_force()
    places = Places(held(body_jaxpr.in_avals[body_nconsts:], keeping.carries))

    def forward(*operands: Any) -> tuple[list, tuple]:
        of_cond, rest = operands[:fixed_for_cond], operands[cond_nconsts:]
        consts, start = rest[:body_nconsts], list(rest[body_nconsts:])

        def goes_on(carry: list) -> Any:
            (on,) = going_on(*of_cond, *carry)
            return lax.reduce_or(on, tuple(range(on.ndim)))

        def trip(carry: list) -> list:
            return run(*consts, *carry)

        # What is differentiated again is one loop better than loops that fill places.
        if keeping.repeated or any(isinstance(x, Recorded) for x in operands):
            carry, trips = run_and_count(trip, goes_on, start)
            return carry, (trips, ())
        carry, trips, kept = run_and_keep(trip, goes_on, start, places)
        return carry, (trips, kept)

    def backward(operands: list, kept: tuple, cotangents: list) -> list:
        consts, start = list(operands[:body_nconsts]), list(operands[body_nconsts:])
        trips, filled_places = kept
        wanted = nonzero(body, body_nconsts, cotangents)
        of_consts, of_carry = wanted[:body_nconsts], wanted[body_nconsts:]

        def trip(carry: list) -> list:
            return run(*consts, *carry)

        def pull(carry: list, gradients: tuple) -> tuple:
            totals, g = gradients
            with collecting():  # there is no array for what an unknown number of trips logs
                found = body.pull([*consts, *carry], g)
            sums = [
                None if t is None else ct.add(t, h)
                for t, h in zip(totals, found[:body_nconsts], strict=True)
            ]
            return sums, filled(found[body_nconsts:], start, of_carry)

        variables = body.operands[:body_nconsts]
        totals = [
            before_first(v, h) if w else None
            for v, h, w in zip(variables, body.gradient_of(), of_consts, strict=False)
        ]
        g = filled(cotangents, start, of_carry)
        stack = places.filled(*filled_places) if filled_places else places.first(start)
        totals, g = reverse_trips(trip, pull, places, stack, trips, (totals, g))
        return [None] * cond_nconsts + after_last(totals, variables) + g

    keeps = tuple(range(cond_nconsts, len(active)))
    return Unit(forward, backward, keeps, moving[body_nconsts:])


def in_lockstep(cond_jaxpr: Any, cond_nconsts: int, body_jaxpr: Any) -> Any:
    """Returns the body of loops that run together, as under `vmap`: one that is done stands still.

    It takes the constants of the condition before its own.
    """
    going_on, run = as_function(cond_jaxpr), as_function(body_jaxpr)
    count = len(body_jaxpr.out_avals)

    def body(*operands: Any) -> list:
        of_cond, rest = operands[:cond_nconsts], operands[cond_nconsts:]
        carry = rest[len(rest) - count :]
        (on,) = going_on(*of_cond, *carry)

        def still(x: Any, new: Any) -> Any:
            return lax.select(lax.broadcast_in_dim(on, x.shape, range(on.ndim)), new, x)

        return [still(x, new) for x, new in zip(carry, run(*rest), strict=True)]

    return jax.make_jaxpr(body)(*cond_jaxpr.in_avals[:cond_nconsts], *body_jaxpr.in_avals)


def filled(cotangents: list, values: list, wanted: list[bool]) -> list:
    """Returns the cotangents of the values that are wanted, zeros for those that are absent."""
    return [
        (ct.zeros(jax.typeof(x)) if g is None else g) if w else None
        for g, x, w in zip(cotangents, values, wanted, strict=True)
    ]


dear_to_recompute(lax.while_p)
