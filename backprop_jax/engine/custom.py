"""Rules that users bring along: `jax.custom_vjp` and `jax.custom_jvp`.

A `custom_vjp` rule is a reverse rule and is called as one. A `custom_jvp` rule maps tangents to
tangents, linearly; its reverse is our own reverse pass over the rule, with the tangents as what is
recorded.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import set_current_trace, valid_jaxtype

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.logs import log
from backprop_jax.engine.reverse import Pullback


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["residuals"],
    meta_fields=["bwd", "symbolic_zeros"],
)
@dataclasses.dataclass(frozen=True, slots=True)
class Backward:
    """A user's reverse rule with what its forward half handed over."""

    bwd: Any
    residuals: list
    symbolic_zeros: bool


class UserRule(NamedTuple):
    """How the cotangents of such a step are found."""

    kind: str
    pull: Callable[[Any, list], list]


def run_jvp(
    tape: Any, jvp: Any, values: Sequence, slots: Sequence, symbolic_zeros: bool
) -> tuple[list, list[bool], Pullback]:
    """Runs a `custom_jvp` rule at zero tangents, those of recorded operands on a linear tape.

    Returns the results, which of them move with the tangents, and the linear function. The
    tangents' values do not matter, only the way they take; compiled, their computation is dead
    code.
    """
    inputs, tangents = [], []
    with set_current_trace(tape.parent_trace):
        for value, slot in zip(values, slots, strict=True):
            aval = jax.typeof(value)
            if slot is not None:
                tangent = tape.record(ct.zeros(aval))
                inputs.append(tangent.slot)
            else:
                tangent = SymbolicZero(aval.to_tangent_aval()) if symbolic_zeros else ct.zeros(aval)
                inputs.append(None)
            tangents.append(tangent)
    with set_current_trace(tape):
        outs = jvp.call_wrapped(*values, *tangents)
    results, tangents = outs[: len(outs) // 2], outs[len(outs) // 2 :]
    _, outputs = tape.unwrap(tangents)
    tape.invalidate()
    return results, [slot is not None for slot in outputs], Pullback(tape.nodes, inputs, outputs)


def pull_jvp(node: Any, cotangents: list) -> list:
    """Returns the cotangents of the tangents' places: the linear function, run backwards."""
    return node.kept(cotangents)


def flagged(values: Sequence, slots: Sequence) -> list:
    """Returns what the forward half of a `custom_vjp` rule is called with."""
    return [x for value, slot in zip(values, slots, strict=True) for x in (value, slot is not None)]


def handed_over(outs: list, values: Sequence, out_trees: Callable) -> tuple[list, list]:
    """Returns the results of such a half, and what it hands over to the other."""
    _, residual_tree, forwarded = out_trees()
    count = residual_tree.num_leaves - sum(f is not None for f in forwarded)
    computed = iter(outs[:count])
    residuals = [next(computed) if f is None else values[f] for f in forwarded]
    return outs[count:], residuals


def pull_vjp(node: Any, cotangents: list) -> list:
    """Returns what the user's reverse rule says, None for the zeros among it."""
    rule = node.kept
    g = with_zeros(cotangents, node.result_avals, rule.symbolic_zeros)
    gradients = rule.bwd.call_wrapped(*map(as_handed_over, rule.residuals), *g)
    if LOGS:  # a pair with what the rule logged
        gradients, entries = gradients
        log(entries)
    return [gradient if valid_jaxtype(gradient) else None for gradient in gradients]


def with_zeros(cotangents: list, avals: list, symbolic: bool) -> list:
    """Returns the cotangents with the zeros that a user's rule asks for in place of absent ones."""
    if not symbolic:
        return ct.instantiate(cotangents, avals)
    pairs = zip(cotangents, avals, strict=True)
    return [SymbolicZero(aval.to_tangent_aval()) if g is None else g for g, aval in pairs]


def as_handed_over(residual: Any) -> Any:
    """Returns what a forward half hands over as the other may use it: arrays are JAX's own."""
    foreign = isinstance(residual, np.ndarray) and residual.dtype != ct.float0
    return jnp.asarray(residual) if foreign else residual


#: Functions of JAX's own that are run another way than by their `custom_jvp` rule, by their source:
#: who runs one, given the tape, the primitive, the function, its rule and the operands. None: all
#: other functions.
functions: dict[str | None, Callable[..., list]] = {}


def other_way(fun: Any, symbolic_zeros: bool) -> Callable[..., list] | None:
    """Returns who runs a function with a `custom_jvp` rule, if somebody does."""
    run = functions.get(fun.debug_info.func_src_info) or functions.get(None)
    return None if symbolic_zeros else run


LOGS = hasattr(jax.custom_vjp, "defvjp_with_logs")  # since jax 0.11
JVP = UserRule("custom_jvp", pull_jvp)
VJP = UserRule("custom_vjp", pull_vjp)


@functools.cache
def may_have_derivative() -> Any:
    """Returns a tracer of JAX's own that stands for a number of which a derivative may be taken.

    `jax.closure_convert` hoists from a closure what holds one of those, and of no other class.
    """
    found: list = []
    with jax.check_tracer_leaks(False):
        jax.make_jaxpr(found.append)(0.0)
    return found[0]
