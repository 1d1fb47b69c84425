"""Primitives made of others, `jax.experimental.hijax`: each brings the rule of its user along."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.custom_derivatives import SymbolicZero
from jax.experimental import hijax
from jax.extend.core import Primitive, primitives, set_current_trace, valid_jaxtype

from backprop_jax.engine.custom import UserRule, with_zeros
from backprop_jax.engine.logs import log
from backprop_jax.engine.reading import cutting
from backprop_jax.engine.registry import always, doors
from backprop_jax.engine.units import Unit
from backprop_jax.partition.keeping import synonyms
from backprop_jax.rules import roots

HighPrimitive: Any = getattr(hijax, "HiPrim", None) or getattr(hijax, "VJPHiPrimitive", None)


class Same(HighPrimitive):
    """The least of them, to get to know their primitive by."""

    def __init__(self, x: Any) -> None:
        """Sets the type of what it takes and returns."""
        self.in_avals, self.out_aval, self.params = (jax.typeof(x),), jax.typeof(x), {}
        super().__init__()


call_hi_primitive_p = jax.make_jaxpr(lambda x: Same(x)(x))(0.0).eqns[0].primitive


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["residuals"], meta_fields=["function"]
)
@dataclasses.dataclass(frozen=True, slots=True)
class HighBackward:
    """A function of `jax.experimental.hijax`, with what its forward half handed over."""

    function: Any
    residuals: Any


def alone(function: Any) -> Any:
    """Returns a high primitive, or what one is that runs it for a whole batch."""
    while hasattr(function, "prim"):
        function = function.prim
    return function


def of_jax(function: Any) -> str:
    """Returns the name of a high primitive of JAX's own; an empty one if it is a user's."""
    kind = type(alone(function))
    return kind.__name__ if kind.__module__.startswith("jax.") else ""


def brings_rule(function: Any) -> bool:
    """Returns whether a high primitive has a user's reverse rule, not one that JAX derives."""
    return hasattr(alone(function), "bwd") or not of_jax(function)


class HighJVP(NamedTuple):
    """The forward rule of a high primitive, to be called as one of `jax.custom_jvp`."""

    function: Any

    def call_wrapped(self, *flat: Any) -> list:
        """Returns the results and their tangents, given operands and theirs."""
        count = len(flat) // 2
        tangents = [hijax.Zero(t.aval) if type(t) is SymbolicZero else t for t in flat[count:]]
        pair = map(self.function.in_tree.unflatten, (flat[:count], tangents))
        pair = map(self.function.out_tree.flatten_up_to, self.function.jvp(*pair))
        return list(itertools.chain(*pair))


def run_high_fwd(function: Any, values: Sequence, slots: Sequence) -> tuple[list, list, Any]:
    """Runs the forward half of a high primitive: results, which of them move, residuals."""
    unflatten = function.in_tree.unflatten
    moving = unflatten([slot is not None for slot in slots])
    result, residuals, *moved = function.vjp_fwd(moving, *unflatten(values))
    flat = function.out_tree.flatten_up_to(result)
    return flat, jax.tree.leaves(jax.tree.broadcast(moved[0] if moved else True, result)), residuals


def pull_high(node: Any, cotangents: list) -> list:
    """Returns what the reverse rule of a high primitive says, None for the zeros among it."""
    function = node.kept.function
    if of_jax(function):  # it makes of an absent cotangent what its user's rule asks for
        pairs = zip(cotangents, node.result_avals, strict=True)
        g = [hijax.Zero(aval.to_tangent_aval()) if g is None else g for g, aval in pairs]
    else:
        g = with_zeros(cotangents, node.result_avals, getattr(function, "symbolic_zeros", False))
    rule = getattr(function, "vjp_bwd_retval_logs", function.vjp_bwd_retval)
    gradients = rule(node.kept.residuals, function.out_tree.unflatten(g))
    if rule != function.vjp_bwd_retval:  # with what it logged
        gradients, entries = gradients
        log(entries)
    gradients = function.in_tree.flatten_up_to(gradients)
    return [gradient if valid_jaxtype(gradient) else None for gradient in gradients]


PULLBACK = UserRule("high", pull_high)

ldexp = jax.numpy.ldexp  # x 2^n; lax has none


def of_bits(function: Any) -> Unit | None:
    """Returns the halves of one of JAX's own that is made of bits, where no derivative shows."""
    kind = of_jax(function)
    if kind == "Ldexp":
        return Unit(
            lambda x, n: ([function(x, n)], n),
            lambda _, n, g: [ldexp(g[0], n), None],
            keeps=(),
            moving=(True,),
        )
    if kind == "Frexp":  # x = z 2^n, and n does not move
        return Unit(
            lambda x: (results := list(function(x)), results[1]),
            lambda _, n, g: [ldexp(g[0], -n)],
            keeps=(),
            moving=(True, False),
        )
    return None


def in_words(function: Any) -> tuple[Primitive, dict] | None:
    """Returns the primitive that says the same as a high one, which JAX has two ways of saying.

    A checkpoint and a name are either, by a flag of JAX's.
    """
    if of_jax(function) == "RematTraced":
        jaxpr = getattr(function.jaxpr, "jaxpr", function.jaxpr)
        fenced = getattr(function, "prevent_cse", None)  # jax 0.10 does not say
        params = {"jaxpr": jaxpr, "prevent_cse": fenced, "policy": function.policy}
        return primitives.remat_p, {**params, "differentiated": False}
    if of_jax(function) in ("CheckpointName", "CheckpointNameFwd"):
        return primitives.name_p, {"name": function.name}
    return None


def record(tape: Any, tracers: Sequence, params: dict) -> list:
    """Runs a high primitive with its user's rule, or else as the primitives it is made of.

    One that meets no recorded operand comes here as well: the slope of a function is ours to tell.
    """
    function = params["_prim"]
    values, slots = operands = tape.unwrap(tracers)
    if of_jax(function) == "_RootLinearMap":
        unit = roots.slope_along(function, [slot is not None for slot in slots])
        if unit is not None:
            return tape.step(call_hi_primitive_p, unit, tracers)
        with set_current_trace(tape):
            return roots.slope(function, tracers)
    if slots.count(None) == len(slots):
        with set_current_trace(tape.parent_trace):
            return call_hi_primitive_p.bind(*values, **params)
    if (plain := in_words(function)) is not None:
        results = tape.process_primitive(plain[0], tracers, plain[1])
        return results if plain[0].multiple_results else [results]
    jvps = {"CustomJVPTraced": HighJVP, "CustomRoot": roots.RootJVP}
    if (jvp := jvps.get(of_jax(function))) and not tape.linear:
        return tape.add_jvp(call_hi_primitive_p, jvp(function), operands, symbolic_zeros=True)
    if (unit := of_bits(function)) is not None:
        return tape.step(call_hi_primitive_p, unit, tracers)
    if tape.linear or not brings_rule(function):
        with set_current_trace(tape):
            return call_hi_primitive_p.to_lojax(*tracers, **params)  # type: ignore[attr-defined]
    with set_current_trace(tape.parent_trace):
        results, moved, residuals = run_high_fwd(function, values, slots)
        if getattr(function, "opt_remat", False) and cutting.get():
            # Asked for by its user: a checkpoint's way forward is the function, not that half.
            results = call_hi_primitive_p.bind(*values, **params)
    kept = HighBackward(function, residuals)
    rule = tape.reading.of(PULLBACK)
    return tape.add(call_hi_primitive_p, {}, rule, operands, results, kept, moved)


doors[call_hi_primitive_p] = record
always.add(call_hi_primitive_p)
synonyms[call_hi_primitive_p] = lambda params: in_words(params["_prim"])
