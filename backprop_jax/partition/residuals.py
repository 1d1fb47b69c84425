"""What is kept between a jaxpr's forward run and its way back: one place decides.

The *joint* jaxpr maps operands and cotangents to results and gradients. What depends on a cotangent
is the way back; the rest is forward. The values that cross are kept or computed again, whichever
costs less memory, but nothing dear is computed twice: a minimum cut (see `cut`).
"""

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import zip_longest
from typing import Any

import jax
from jax import lax

from backprop_jax.dtypes import is_number, size_in_bytes
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import (
    among,
    as_function,
    depending_on,
    evaluate,
    has_effects,
    is_changing,
    needed_for,
    variables,
)
from backprop_jax.engine.logs import collecting, log
from backprop_jax.engine.registry import reruns
from backprop_jax.engine.sweep import sweep
from backprop_jax.engine.tape import Tape
from backprop_jax.engine.units import Unit
from backprop_jax.errors import lost
from backprop_jax.meshes import of_cotangents
from backprop_jax.partition.choice import (
    as_made,
    calls_back,
    choose,
    is_reference,
    of_back,
    unchanging,
)
from backprop_jax.partition.fence import covering, fence, keep, pin, to_be_cut
from backprop_jax.partition.keeping import (
    AS_MADE,
    NOTHING,
    Keeping,
    in_force,
    is_elsewhere,
    places,
    within,
)
from backprop_jax.partition.sums import is_in_parts, put_off
from backprop_jax.partition.whole import Whole

#: The name, in profiles and programs, of what is computed once more on the way back.
AGAIN = "rematted_computation"


@dataclasses.dataclass(frozen=True)
class Split:
    """A jaxpr cut in two: what runs forward, and what runs on the way back.

    Attributes:
      joint: the closed jaxpr of operands and cotangents to results and gradients.
      operands: its variables for the operands.
      cotangents: its variables for the cotangents of the results; None where there can be none.
      results: its outputs that are results.
      gradients: its outputs that are gradients of the active operands.
      given: for every operand, whether there is a gradient for it.
      logs: its outputs that users' reverse rules log, and `log_tree`, their structure.
      moving: for every result, whether it depends on an active operand.
      before: values that depend on the operands `fixed` from one run to the next alone.
      kept: the values kept, in the order of their making, operands among them.
      called: equations of the way back that print, call out, read or write a reference.
      in_parts: whether an operand's gradient was put together of parts that were read.
      asked: those that a policy has asked to keep.
      moved: for those that are moved while they are kept, where to, and back.
    """

    joint: Any
    operands: list
    cotangents: list
    results: list
    gradients: list
    given: list[bool]
    logs: list
    log_tree: Any
    moving: list[bool]
    before: list
    kept: list
    called: list
    asked: set
    moved: dict
    in_parts: bool

    def run(self, at_hand: dict, targets: Sequence, also: Sequence = ()) -> list:
        """Returns the target variables' values, computed from those at hand; runs some also."""
        jaxpr = self.joint.jaxpr
        at_hand = {**dict(zip(jaxpr.constvars, self.joint.consts, strict=True)), **at_hand}
        return evaluate_knowing(needed_for(targets, jaxpr.eqns, at_hand, also), at_hand, targets)

    def calls(self, zero: set | None = None) -> list:
        """Returns the equations that print or call out: of the way forward, or of that back.

        The latter are asked for by the variables that are `zero` there: nothing is said of those.
        """
        if zero is None:
            there = set(map(id, self.called))
            return [e for e in self.joint.jaxpr.eqns if has_effects(e) and id(e) not in there]
        pairs = [(e, self.back.intersection(variables(e.invars))) for e in self.called]
        return [e for e, read in pairs if not read or read - zero]

    def forward(self, at_hand: dict, kept: Sequence) -> tuple[list, list]:
        """Returns the results and the values to keep."""
        values = self.run(at_hand, [*self.results, *kept], self.calls())
        return values[: len(self.results)], values[len(self.results) :]

    def backward(self, at_hand: dict, cotangents: Sequence) -> list:
        """Returns the operands' gradients: None for one that is not active or zero."""
        equations = self.joint.jaxpr.eqns
        pairs = [(v, g) for v, g in zip(self.cotangents, cotangents, strict=True) if v is not None]
        at_hand = {**at_hand, **{v: g for v, g in pairs if g is not None}}
        zero = self.zero([v for v, g in pairs if g is None])
        wanted = [*(v for v in self.gradients if not among(v, zero)), *self.logs]
        calls = self.calls(zero)
        used = needed_for(wanted, equations, {*at_hand, *zero}, calls)
        read = {v for atoms in [self.logs, *(e.invars for e in used)] for v in variables(atoms)}
        read &= zero
        at_hand.update((v, ct.zeros(v.aval)) for v in read)
        with jax.named_scope(AGAIN):
            at_hand.update(self.run_again(used, at_hand))
        found = iter(self.run(at_hand, wanted, calls))
        values = iter([None if among(v, zero) else next(found) for v in self.gradients])
        log(jax.tree.unflatten(self.log_tree, list(found)))
        return [next(values) if given else None for given in self.given]

    def pull(self, operands: Sequence, cotangents: Sequence) -> list:
        """Returns the operands' gradients, nothing but the operands being kept."""
        return self.backward(dict(zip(self.operands, operands, strict=True)), cotangents)

    def run_again(self, used: Sequence, at_hand: dict) -> dict:
        """Returns the values, by variable, of those of these equations that made the results."""
        jaxpr = self.joint.jaxpr
        at_hand = {**dict(zip(jaxpr.constvars, self.joint.consts, strict=True)), **at_hand}
        evaluate_knowing([e for e in used if id(e) in self.ahead], at_hand, ())
        return at_hand

    @functools.cached_property
    def ahead(self) -> set[int]:
        """The equations that make the results, each by its id."""
        return set(map(id, needed_for(self.results, self.joint.eqns)))

    @functools.cached_property
    def back(self) -> set:
        """The variables that depend on a cotangent, or on what the way back has read."""
        return depending_on(of_back(self.cotangents, self.called), self.joint.eqns)

    def zero(self, absent: Sequence) -> set:
        """Returns the variables that are zero when these cotangents are.

        The way back is linear in the cotangents: an equation gives zero if all that it reads of
        what depends on them is zero. A comparison of cotangents is no number, so it is never zero.
        """
        zero = set(absent)
        for equation in self.joint.jaxpr.eqns if zero else ():
            read = self.back.intersection(variables(equation.invars))
            if read and read <= zero:
                zero.update(v for v in equation.outvars if is_number(v.aval))
        return zero

    def nonzero(self, present: Sequence[bool]) -> list[bool]:
        """Returns for every operand whether it has a gradient when these cotangents are present."""
        pairs = zip(self.cotangents, present, strict=True)
        zero = self.zero([v for v, p in pairs if v is not None and not p])
        found = iter(self.gradients)
        return [given and not among(next(found), zero) for given in self.given]

    def gradient_of(self) -> list:
        """Returns for every operand its gradient among the outputs, or None."""
        found = iter(self.gradients)
        return [next(found) if given else None for given in self.given]

    def again(self) -> list:
        """Returns the equations of the way forward that the way back runs once more."""
        jaxpr = self.joint.jaxpr
        targets, at_hand = [*self.gradients, *self.logs], {*self.kept, *jaxpr.constvars}
        run = needed_for(targets, jaxpr.eqns, at_hand, self.called)
        moving = depending_on(of_back(self.cotangents, self.called), run)
        return [e for e in run if moving.isdisjoint(e.outvars)]

    def move(self, v: Any, x: Any, way: int) -> Any:
        """Returns the value of a variable where it is kept (way 0), or back from there (way 1)."""
        return jax.device_put(x, self.moved[v][way]) if v in self.moved else x

    def unit(self, fenced: Sequence[bool] = (), pinned: str = "") -> Unit:
        """Returns the two halves for a jaxpr that is run once.

        Args:
          fenced: for a jaxpr that is to be computed again, for every operand whether it may be
            hidden from the compiler on the way back. Else: nothing.
          pinned: whether all that may be is to stand behind a barrier, though nothing is computed
            again from it: with a "cotangent", or "alone", and then it has no other fence.
        """
        chosen, given = set(self.kept), set(self.operands)
        keeps = tuple(i for i, v in enumerate(self.operands) if v in chosen)
        computed = [v for v in self.kept if v not in given]
        held = [*(self.operands[i] for i in keeps), *computed]
        hidden, seen = [], {v for v, f in zip(self.operands, fenced, strict=False) if not f}
        if fenced and pinned != "alone":
            # What was moved comes back as another value: it is its own fence.
            order = sorted(
                held, key=lambda v: (v not in self.moved, v in seen, size_in_bytes(v.aval))
            )
            hidden = [v for v in covering(order, self.again()) if v not in self.moved]
        unpinned = {*hidden, *seen, *self.moved}
        pins = [v for v in held if pinned and v not in unpinned]

        def forward(*operands: Any) -> tuple[list, list]:
            at_hand = dict(zip(self.operands, operands, strict=True))
            results, kept = self.forward(at_hand, computed)
            kept = [keep(x) if v in self.asked else x for v, x in zip(computed, kept, strict=True)]
            return results, [self.move(v, x, 0) for v, x in zip(computed, kept, strict=True)]

        def backward(operands: Sequence, kept: Sequence, cotangents: Sequence) -> list:
            kept = [self.move(v, x, 1) for v, x in zip(computed, kept, strict=True)]
            at_hand = dict(zip(held, [*operands, *kept], strict=True))
            for firm in (True, False):
                group = [v for v in hidden if (v not in seen) == firm]
                behind, cotangents = fence([at_hand[v] for v in group], cotangents, firm)
                at_hand.update(zip(group, behind, strict=True))
            behind = pin([at_hand[v] for v in pins], () if pinned == "alone" else cotangents)
            at_hand.update(zip(pins, behind, strict=True))
            return self.backward(at_hand, cotangents)

        return Unit(forward, backward, keeps, tuple(self.moving))


def split(
    jaxpr: Any,
    active: tuple[bool, ...],
    free: Sequence[bool] = (),
    fixed: Sequence[bool] = (),
    keeping: Keeping | None = None,
    repeated: bool = False,
) -> Split:
    """Returns the jaxpr cut in two where keeping costs the least memory.

    Args:
      jaxpr: a closed jaxpr.
      active: for every operand, whether its gradient is wanted.
      free: for every operand, whether it is at hand on the way back for nothing. Default: none is.
      fixed: for every operand, whether it is the same in every run of a loop. Default: none is. Of
        its gradient a sum may be put off, see `sums`.
      keeping: which values may be kept. Default: as what this is part of has it.
      repeated: whether the jaxpr is the body of a loop.
    """
    with within(dataclasses.replace(in_force(), repeated=True)) if repeated else nullcontext():
        joint, moving, given, log_tree, in_parts, turn = trace_joint(jaxpr, active, keeping)
    count, start = len(jaxpr.in_avals), len(jaxpr.out_avals)
    of_fixed = [f for f, known in zip_longest(fixed, given) if known]
    joint = put_off(joint, [start + i for i, f in enumerate(of_fixed) if f])
    operands, rest = joint.jaxpr.invars[:count], iter(joint.jaxpr.invars[count:])
    g = [next(rest) if ct.is_differentiable(aval) else None for aval in jaxpr.out_avals]
    results, back = joint.jaxpr.outvars[:start], joint.jaxpr.outvars[start:]
    gradients, logs = back[: sum(given)], back[sum(given) :]
    before = unchanging(joint.jaxpr, [v for v, f in zip(operands, fixed, strict=False) if f])
    at_hand = {v for v, f in zip(operands, free, strict=False) if f} | set(before)
    called = calls_back(joint.jaxpr, g, turn)
    if keeping is AS_MADE:
        kept = as_made(joint.jaxpr, results, back, operands, called)
    else:
        start = of_back(g, called)
        kept = choose(
            joint.jaxpr, back, start, operands, at_hand, keeping or in_force(), repeated, called
        )
    # What a loop or a branch keeps is marked and moved as a whole, by the one whose policy it is.
    asked = keeping.asked(joint.jaxpr.eqns) if keeping else {}
    moved = {v: places(answer) for v, answer in asked.items() if is_elsewhere(answer)}
    halves = results, gradients, given, logs, log_tree, moving, before, kept, called
    return Split(joint, operands, g, *halves, set(asked), moved, in_parts)


def trace_joint(jaxpr: Any, active: tuple[bool, ...], keeping: Keeping | None) -> tuple:
    """Returns the joint jaxpr, two masks, the structure of what is logged, an answer and a number.

    The joint jaxpr takes the operands and a cotangent for each differentiable result, and returns
    the results, the gradients and what is logged. The masks say for every result whether it depends
    on an active operand, and for every operand whether there is a gradient. The answer: whether a
    gradient was in parts that could have been joined with others. The number: of equations before
    the way back, if a reference is among the operands: what reads it does not depend on cotangents.
    """
    if any(map(is_changing, jaxpr.in_avals)):
        what = "what becomes of a mutable value in a loop, a branch or a checkpoint"
        raise lost(what, "read it before, and hand over what it holds.")
    moving, given, trees, in_parts = ([] for _ in range(4))

    def joint(operands: list, cotangents: list) -> tuple[list, list, dict]:
        with nullcontext() if keeping is AS_MADE else to_be_cut():
            make = Tape if keeping == NOTHING else Whole  # which has to see all there is to keep
            results, pullback = sweep(as_function(jaxpr), operands, active, make=make)
        moving[:] = [slot is not None for slot in pullback.outputs]
        if any(map(is_reference, jaxpr.in_avals)):
            lax.create_token()
        seeds = iter(cotangents)
        g = [next(seeds) if ct.is_differentiable(aval) else None for aval in jaxpr.out_avals]
        with collecting() as found:
            contributions = pullback.contributions(g, postpone=True)
        gradients = list(map(ct.whole, contributions))
        in_parts[:] = [any(map(is_in_parts, contributions))]
        trees[:] = [jax.tree.structure(found)]
        given[:] = [gradient is not None for gradient in gradients]
        return results, [gradient for gradient in gradients if gradient is not None], found

    cotangents = [of_cotangents(aval) for aval in jaxpr.out_avals if ct.is_differentiable(aval)]
    closed = jax.make_jaxpr(joint)(list(jaxpr.in_avals), cotangents)
    turns = [i for i, e in enumerate(closed.eqns) if e.primitive is lax.create_token_p]
    return closed, moving, given, trees[0], in_parts[0], max(turns, default=len(closed.eqns))


def evaluate_knowing(equations: Sequence, at_hand: dict, targets: Sequence) -> list:
    """Runs the equations and returns the targets; `at_hand`, variable → value, grows.

    A loop or a branch some of whose results are at hand runs without what made those.
    """
    straight: list = []
    for equation in equations:
        known = {i: at_hand[v] for i, v in enumerate(equation.outvars) if v in at_hand}
        if not known or equation.primitive not in reruns:
            straight.append(equation)
            continue
        operands = evaluate(straight, at_hand, equation.invars)
        straight.clear()
        results = reruns[equation.primitive](known, *operands, **equation.params)
        at_hand.update(zip(equation.outvars, results, strict=True))
    return evaluate(straight, at_hand, targets)
