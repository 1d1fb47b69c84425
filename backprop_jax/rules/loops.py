"""Loops: `scan`, which `lax.map` and `fori_loop` with a known number of trips become, too."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from backprop_jax.dependence import arities
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import (
    among,
    as_function,
    bound,
    depending_on,
    evaluate,
    needed_for,
)
from backprop_jax.engine.logs import collecting, log
from backprop_jax.engine.registry import dear_to_recompute, rerun, structured
from backprop_jax.engine.sweep import sweep
from backprop_jax.engine.units import Unit
from backprop_jax.meshes import full
from backprop_jax.partition.keeping import CHEAPEST, in_force, within
from backprop_jax.partition.residuals import Split, split
from backprop_jax.partition.sums import after_last, before_first
from backprop_jax.partition.whole import Whole


def carried_activity(jaxpr: Any, active: Sequence[bool], consts: int, carry: int) -> list[bool]:
    """Returns the activity of the body's operands: a carry is active if a trip makes it so.

    What a carry is computed from says which ones may be; the rules, which ones are. A step may
    let nothing through (a rounding, `stop_gradient`) or let each of its operands through to one
    result only (a call), and code that must not be differentiated would be.
    """
    active = list(active)
    while True:
        possible = reached_carry(jaxpr, active, consts, carry)
        if not any(possible):
            return active
        moving = moving_results(jaxpr, tuple(active))
        found = [p and m for p, m in zip(possible, moving, strict=False)]
        if not any(found):
            return active
        active[consts : consts + carry] = [
            a or f for a, f in zip(active[consts:], found, strict=False)
        ]


def reached_carry(jaxpr: Any, active: Sequence[bool], consts: int, carry: int) -> list[bool]:
    """Returns which carries that are not active are computed from what is."""
    sources = [v for v, a in zip(jaxpr.jaxpr.invars, active, strict=True) if a]
    reached = depending_on(sources, jaxpr.jaxpr.eqns)
    return [
        not active[consts + i]
        and among(jaxpr.jaxpr.outvars[i], reached)
        and ct.is_differentiable(jaxpr.in_avals[consts + i])
        for i in range(carry)
    ]


def moving_results(jaxpr: Any, active: tuple[bool, ...]) -> list[bool]:
    """Returns for every result whether it moves with an active operand, as the rules have it."""
    moving: list[bool] = []

    def results(*operands: Any) -> list:
        values, pullback = sweep(as_function(jaxpr), operands, active, make=Whole)
        moving[:] = [slot is not None for slot in pullback.outputs]
        return values

    jax.make_jaxpr(results)(*jaxpr.in_avals)
    return moving


class Loop:
    """The two loops that a scan becomes.

    Args:
      body: the body, cut in two.
      consts: number of constants of the loop.
      carry: number of carried values.
      length, reverse, unroll: as in `lax.scan`.
    """

    def __init__(
        self, body: Split, consts: int, carry: int, length: int, reverse: bool, unroll: int
    ) -> None:
        self.body, self.carry = body, carry
        self.options: dict[str, Any] = {"length": length, "unroll": unroll}
        self.reverse = reverse
        start = consts + carry
        self.consts = body.operands[:consts]
        self.carried, self.xs = body.operands[consts:start], body.operands[start:]
        kept = set(body.kept)
        stays = [i for i in range(len(body.operands)) if not consts <= i < start]
        self.keeps = tuple(i for i in stays if body.operands[i] in kept)
        self.kept_consts = [v for v in self.consts if v in kept]
        self.kept_xs = [v for v in self.xs if v in kept]
        self.kept_before = [v for v in body.before if v in kept]
        elsewhere = {*self.consts, *self.xs, *body.before}
        self.stacked = [v for v in body.kept if v not in elsewhere]

    def forward(self, *operands: Any) -> tuple[list, tuple[list, list]]:
        """Returns the results, and what is kept: values from before the loop, and of every trip."""
        starts = len(self.consts), len(self.consts) + self.carry
        known = dict(zip(self.consts, operands[: starts[0]], strict=True))
        known.update(zip(self.body.before, self.body.run(known, self.body.before), strict=True))

        def trip(carry: list, xs: list) -> tuple[list, tuple[list, list]]:
            at_hand = {**known, **dict(zip([*self.carried, *self.xs], [*carry, *xs], strict=True))}
            results, kept = self.body.forward(at_hand, self.stacked)
            return results[: self.carry], (results[self.carry :], kept)

        carry, xs = list(operands[starts[0] : starts[1]]), list(operands[starts[1] :])
        carry, (ys, stacked) = lax.scan(trip, carry, xs, reverse=self.reverse, **self.options)
        return [*carry, *ys], ([known[v] for v in self.kept_before], stacked)

    def backward(self, operands: list, kept: tuple[list, list], cotangents: list) -> list:
        """Returns the operands' cotangents."""
        before, stacked = kept
        consts, xs = operands[: len(self.kept_consts)], operands[len(self.kept_consts) :]
        variables = [*self.kept_consts, *self.kept_before]
        known = dict(zip(variables, [*consts, *before], strict=True))
        g_ys = cotangents[self.carry :]
        of_consts, of_carry = self.nonzero(cotangents)

        def trip(sums: tuple[list, list], step: tuple[list, list, list]) -> tuple[tuple, tuple]:
            totals, g_carry = sums
            xs, stacked, g_ys = step
            at_hand = dict(zip([*self.kept_xs, *self.stacked], [*xs, *stacked], strict=True))
            with collecting() as found:
                gradients = self.body.backward({**known, **at_hand}, [*g_carry, *g_ys])
            of_consts, of_carry, of_xs = self.parts(gradients)
            totals = [
                None if g is None else ct.add(t, g) for t, g in zip(totals, of_consts, strict=True)
            ]
            of_carry = [
                zero_if(g is not None, h, v)
                for g, h, v in zip(g_carry, of_carry, self.carried, strict=True)
            ]
            return (totals, of_carry), (of_xs, found)

        g_carry = [
            zero_if(wanted, g, v)
            for wanted, g, v in zip(of_carry, cotangents, self.carried, strict=False)
        ]
        totals = [
            before_first(v, h) if wanted else None
            for wanted, v, h in zip(of_consts, self.consts, self.body.gradient_of(), strict=False)
        ]
        options = {**self.options, "reverse": not self.reverse}
        steps = xs, stacked, g_ys
        (totals, g_carry), (g_xs, found) = lax.scan(trip, (totals, g_carry), steps, **options)
        log(found)
        return [*after_last(totals, self.consts), *g_carry, *g_xs]

    def nonzero(self, cotangents: list) -> tuple[list[bool], list[bool]]:
        """Returns which cotangents of constants and of the carry are not zero in every trip."""
        present = [g is not None for g in cotangents]
        while True:
            of_consts, of_carry, _ = self.parts(self.body.nonzero(present))
            after = [p or f for p, f in zip(present, of_carry, strict=False)]
            if after == present[: self.carry]:
                return of_consts, after
            present[: self.carry] = after

    def parts(self, values: list) -> tuple[list, list, list]:
        """Returns values of the body's operands in three: constants, carried, stacked."""
        start = len(self.consts)
        return values[:start], values[start : start + self.carry], values[start + self.carry :]


def zero_if(wanted: bool, g: Any, variable: Any) -> Any:
    """Returns g, or if it is absent and wanted a zero in its place."""
    return ct.zeros(variable.aval) if g is None and wanted else g


@structured(lax.scan_p)
def scan(
    active: tuple[bool, ...], *, jaxpr: Any, length: int, reverse: bool, unroll: int, **params: Any
) -> Unit:
    """A loop: the cotangent of the carry goes back through the trips, the last one first.

        (c_t+1, y_t) = body(k, c_t, x_t)      k the constants, c the carry, x and y stacked

    Every trip of the way back takes the cotangents of c_t+1 and y_t, and what trip t kept, to those
    of c_t and x_t; the ones of k are added up. What depends on k alone is computed once, before the
    loop. Constants and stacked operands are at hand anyway; what is kept of a trip is stacked.
    """
    consts, carry = arities(params)
    stacked = len(jaxpr.in_avals) - consts - carry
    keeping = in_force()
    if (count := keeping.segments(length)) < length:
        shape = consts, carry, length, reverse, unroll
        with within(dataclasses.replace(keeping, carries=None)):
            # The carries that enter the segments are kept, whatever may be kept of a trip.
            return split(in_segments(jaxpr, shape, count), active, keeping=CHEAPEST).unit()
    body_active = tuple(carried_activity(jaxpr, active, consts, carry))
    free = [True] * consts + [False] * carry + [True] * stacked
    fixed = [True] * consts + [False] * (carry + stacked)
    body = split(jaxpr, body_active, free, fixed, repeated=True)
    loop = Loop(body, consts, carry, length, reverse, unroll)
    moving = (*body_active[consts : consts + carry], *body.moving[carry:])
    return Unit(loop.forward, loop.backward, loop.keeps, moving)


def in_segments(jaxpr: Any, shape: tuple[int, int, int, bool, int], count: int) -> Any:
    """Returns the jaxpr of a scan as one of segments, each run again on the way back as a whole.

    Args:
      jaxpr: of the body.
      shape: number of constants, of carries, of trips, and `reverse` and `unroll` of the scan.
      count: number of segments; a shorter one takes the trips that are left, the last of them.
    """
    consts, carry, length, reverse, unroll = shape
    size = -(-length // count)
    whole = length - length % size
    body = as_function(jaxpr)

    def run(*operands: Any) -> list:
        fixed, xs = list(operands[:consts]), list(operands[consts + carry :])

        def segment(trips: int, state: list, xs: list) -> tuple[list, list]:
            def trip(state: list, xs: list) -> tuple[list, list]:
                results = body(*fixed, *state, *xs)
                return results[:carry], results[carry:]

            return lax.scan(trip, state, xs, length=trips, reverse=reverse, unroll=unroll)

        again = jax.checkpoint(segment, prevent_cse=False, static_argnums=0)

        def main(state: list) -> tuple[list, list]:
            folded = [lax.reshape(x[:whole], (whole // size, size, *x.shape[1:])) for x in xs]
            one = functools.partial(again, size)
            state, ys = lax.scan(one, state, folded, whole // size, reverse=reverse)
            return state, [lax.reshape(y, (whole, *y.shape[2:])) for y in ys]

        def rest(state: list) -> tuple[list, list]:
            return again(length - whole, state, [x[whole:] for x in xs])

        state = list(operands[consts : consts + carry])
        if whole == length:
            state, ys = main(state)
            return [*state, *ys]
        (state, first), order = (rest(state), main) if reverse else (main(state), rest)
        state, second = order(state)
        pairs = zip(second, first, strict=True) if reverse else zip(first, second, strict=True)
        return [*state, *(lax.concatenate(pair, 0) for pair in pairs)]

    return jax.make_jaxpr(run)(*jaxpr_operands(jaxpr, consts + carry, length))


def jaxpr_operands(jaxpr: Any, start: int, length: int) -> list:
    """Returns the types of the operands of a scan with this body: from `start` on, stacked."""
    avals = jaxpr.in_avals
    stacked = [aval.update(shape=(length, *aval.shape)) for aval in avals[start:]]
    return [*avals[:start], *stacked]


dear_to_recompute(lax.scan_p)


def trip_by_trip(*operands: Any, jaxpr: Any, length: int, reverse: bool, **params: Any) -> list:
    """Returns the results of a scan, its trips written out one after the other."""
    consts, carry = arities(params)
    fixed, stacked = operands[:consts], operands[consts + carry :]
    state, rows = list(operands[consts : consts + carry]), []
    for t in reversed(range(length)) if reverse else range(length):
        step = [lax.index_in_dim(x, t, 0, keepdims=False) for x in stacked]
        results = as_function(jaxpr)(*fixed, *state, *step)
        state = results[:carry]
        rows.append([lax.expand_dims(y, (0,)) for y in results[carry:]])
    if not rows:
        return [*state, *(full((0, *y.shape), 0, y.dtype) for y in jaxpr.out_avals[carry:])]
    columns = zip(*(reversed(rows) if reverse else rows), strict=True)
    return [*state, *(lax.concatenate(column, 0) for column in columns)]


@rerun(lax.scan_p)
def scan_knowing(
    known: dict[int, Any],
    *operands: Any,
    jaxpr: Any,
    length: int,
    reverse: bool,
    unroll: int,
    **params: Any,
) -> list:
    """A loop, some of whose stacked results are at hand: a trip reads its part of them."""
    consts, carry = arities(params)
    start = consts + carry
    variables_of = {jaxpr.jaxpr.outvars[i]: stack for i, stack in known.items() if i >= carry}
    unknown = [i for i in range(len(jaxpr.out_avals)) if i not in known or i < carry]

    def trip(state: list, step: tuple[list, list]) -> tuple[list, list]:
        xs, given = step
        at_hand = bound(jaxpr, [*operands[:consts], *state, *xs])
        at_hand.update(zip(variables_of, given, strict=True))
        targets = [jaxpr.jaxpr.outvars[i] for i in unknown]
        values = evaluate(needed_for(targets, jaxpr.eqns, at_hand), at_hand, targets)
        return values[:carry], values[carry:]

    steps = list(operands[start:]), list(variables_of.values())
    options: dict[str, Any] = {"length": length, "reverse": reverse, "unroll": unroll}
    state, ys = lax.scan(trip, list(operands[consts:start]), steps, **options)
    found = dict(zip(unknown, [*state, *ys], strict=True))
    return [found[i] if i in found else known[i] for i in range(len(jaxpr.out_avals))]
