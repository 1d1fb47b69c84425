"""Functions within functions: `jit` and its like."""

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import io_callback, xla_metadata
from jax.extend.core import ClosedJaxpr, Primitive, primitives, set_current_trace
from jax.extend.source_info_util import current

from backprop_jax.engine.cotangents import instantiate
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.logs import log, paired
from backprop_jax.engine.reading import cutting
from backprop_jax.engine.registry import (
    Missing,
    Rule,
    book,
    doors,
    linear,
    missing,
    pullback,
    strangers,
    structured,
)
from backprop_jax.engine.tape import written_at
from backprop_jax.engine.units import Unit
from backprop_jax.errors import MissingReverse, here, message
from backprop_jax.partition.keeping import choices, within
from backprop_jax.partition.remembered import remembered
from backprop_jax.partition.residuals import Split, split
from backprop_jax.programs import runs_in_place
from backprop_jax.rules.functions import own_rule
from backprop_jax.rules.models import primitive_of

logger = logging.getLogger(__name__)

PLACEMENT = ("in_shardings", "out_shardings", "in_layouts", "out_layouts")


def inline_jit(params: dict) -> Callable | None:
    """Returns the function to run in the place of a `jit` that only groups equations.

    One that says where its values live or how to compile it stays whole, and one with its own rule.
    What JAX itself would run in place, and functions of JAX's own, like `jax.numpy`'s, are written
    where they are called.
    """
    placed = any(map(says_where, map(params.__getitem__, PLACEMENT)))
    own = own_rule(params["name"], params["jaxpr"])
    if placed or params["compiler_options_kvs"] or own:
        return None
    here = runs_in_place(params) or is_written_nowhere(params["jaxpr"])
    return as_function(params["jaxpr"], current() if here else None)


@functools.lru_cache
def is_written_nowhere(jaxpr: ClosedJaxpr) -> bool:
    """Returns whether no line of a user's is known for any equation of a compiled function."""
    return not any(written_at(equation.source_info) for equation in jaxpr.eqns)


@functools.lru_cache
def says_where(places: tuple) -> bool:
    """Returns whether an entry says where a value lives."""
    return any(x is not None and type(x).__name__ != "UnspecifiedValue" for x in places)


def remember_jit(
    active: tuple[bool, ...], params: dict, reading: Any, may_call: bool
) -> Unit | None:
    """Returns what is remembered of a `jit` that only groups equations.

    What is written where it is called is put there; other functions are called, which leaves them
    the lines they were written at.
    """
    closed = params["jaxpr"]

    def options() -> dict | None:
        if inline_jit(params) is None:
            return None
        here = runs_in_place(params) or is_written_nowhere(closed)
        return {**params, "inline": in_place(params)} if here else params if may_call else None

    rest = {**params, "jaxpr": None}  # what is remembered of a jaxpr must not hold it
    return remembered(closed, active, (rest, may_call), reading, options)


def in_place(params: dict) -> Any:
    """Returns what a `jit` says for JAX to run it in the place of its call."""
    kind: Any = type(params["inline"])
    return True if kind is bool else kind["JAX_EARLY"]


@structured(primitives.jit_p, inline_jit, remember_jit)
def jit(active: tuple[bool, ...], **params: Any) -> Unit:
    """A compiled function: forward and back are compiled likewise, each on its own."""
    if own := own_rule(params["name"], params["jaxpr"]):
        return own(active, lambda *operands: primitives.jit_p.bind(*operands, **params))
    return split(params["jaxpr"], active).unit()


@structured(primitives.closed_call_p, lambda params: as_function(params["call_jaxpr"]))
def closed_call(active: tuple[bool, ...], *, call_jaxpr: Any) -> Unit:
    """A function called."""
    return split(call_jaxpr, active).unit()


def composed_of(params: dict) -> ClosedJaxpr:
    """Returns the jaxpr that is called; its name differs between jax 0.10 and 0.12."""
    return params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]


def meet_eval_jaxpr(primitive: Primitive) -> Rule | None:
    """Writes down the rule of `eval_jaxpr`, which no program that JAX stages shows, when it is met.

    What `jax.jit(f).trace(x)` returns calls it on jax 0.12.
    """
    if primitive.impl.__module__.startswith("jax.") and primitive not in book:
        run = structured(primitive, lambda params: as_function(composed_of(params)))
        run(lambda active, **params: split(composed_of(params), active).unit())
    return book.get(primitive)


strangers["eval_jaxpr"] = meet_eval_jaxpr

composite_p = primitive_of(lax.composite(lambda x: -x, name="backprop_jax.name"), 0.0)


@structured(composite_p, lambda params: as_function(composed_of(params)))
def composite(active: tuple[bool, ...], **params: Any) -> Unit:
    """A function with a name for the compiler; differentiated, it is what it consists of.

    jax.grad has no rule.
    """
    return split(composed_of(params), active).unit()


linear(primitive_of(lambda x: xla_metadata.set_xla_metadata(x, to="be"), 0.0), lambda g: g)

if hasattr(xla_metadata, "xla_metadata_call2"):  # since jax 0.11
    tagged: Any = getattr(xla_metadata, "xla_metadata_call2")  # noqa: B009

    @structured(primitive_of(tagged(lambda x: -x, {"name": "backprop_jax"}), 0.0))
    def metadata_call(
        active: tuple[bool, ...], *, jaxpr: Any, xla_metadata: tuple, ad_metadata: Any
    ) -> Unit:
        """A function whose operations are tagged; back, they have the tags chosen for derivatives.

        Run as steps of the whole it would lose them, so it stays one.
        """
        back = dict(xla_metadata if ad_metadata == "same" else ad_metadata)
        unit = split(jaxpr, active).unit()
        forward = tagged(unit.forward, dict(xla_metadata), ad_metadata=back)
        return unit._replace(forward=forward, backward=tagged(unit.backward, back))

else:
    tagged = import_module("jax.experimental.scheduling_groups").xla_metadata_call

    @structured(primitive_of(tagged(lambda x: -x, name="backprop_jax"), 0.0))
    def tagged_call(active: tuple[bool, ...], *, jaxpr: Any, **tags: str) -> Unit:
        """A function that is tagged as one; so is its way back."""
        unit = split(jaxpr, active).unit()
        forward, backward = (tagged(half, **tags) for half in (unit.forward, unit.backward))
        return unit._replace(forward=forward, backward=backward)


if find_spec("jax.experimental.overlap"):  # since jax 0.12
    program_order: Any = import_module("jax.experimental.overlap").program_order

    @structured(primitive_of(program_order(lambda x: -x, enforce=False), 0.0))
    def in_program_order(
        active: tuple[bool, ...],
        *,
        call_jaxpr: Any,
        enforce: bool,
        strict_in: bool,
        strict_out: bool,
        exclude_mask: tuple,
    ) -> Unit:
        """A function whose operations run in the order they are written in; and so they do back.

        Which operands do not count for the order, `exclude_mask`, is a hint for the function alone.
        """
        del exclude_mask
        unit = split(call_jaxpr, active).unit()
        ordered = program_order(enforce=enforce, strict_in_out=enforce and (strict_in, strict_out))
        return unit._replace(forward=ordered(unit.forward), backward=ordered(unit.backward))


@structured(primitives.remat_p)
def checkpoint(
    active: tuple[bool, ...], *, jaxpr: Any, prevent_cse: Any, policy: Any, **params: Any
) -> Unit:
    """A function that keeps its operands, and what the policy allows; all else is computed again.

    The operands pass a fence on the way back, or XLA would find what it computed before and keep it
    for us. All of them may, or those that `prevent_cse` names; these do even if nothing is computed
    again. If it is None, all pass XLA's own barrier alone, which that for processors takes away.
    """
    del params
    here, loops = choices(policy)
    with within(loops):
        cut = split(ClosedJaxpr(jaxpr, ()), active, keeping=here)
    log_kept(cut)
    if prevent_cse is None:
        return checkpointed(cut.unit(pinned="alone"), policy)
    alone = getattr(jax.config, "jax_remat_barrier_no_cotangents", False)  # since jax 0.11
    named = isinstance(prevent_cse, tuple)
    fenced = prevent_cse if named else [prevent_cse] * len(active)
    unit = cut.unit(fenced, "alone" if alone and prevent_cse else "cotangent" if named else "")
    return checkpointed(unit, policy)


def checkpointed(unit: Unit, policy: Any) -> Unit:
    """Returns a unit whose way back is a checkpoint, too, for those who differentiate it.

    Within a loop, a branch or another checkpoint it need not be: their way back is cut as a whole.
    """
    pull = jax.checkpoint(paired(unit.backward), policy=policy)

    def backward(*kept: Any) -> list:
        if cutting.get():
            return unit.backward(*kept)
        gradients, entries = pull(*kept)
        log(entries)
        return gradients

    return unit._replace(backward=backward)


def log_kept(cut: Split) -> None:
    """Logs what a checkpoint keeps, as JAX does: a warning with `jax_log_checkpoint_residuals`."""
    level = logging.WARNING if jax.config.jax_log_checkpoint_residuals else logging.DEBUG  # type: ignore[attr-defined]
    if not logger.isEnabledFor(level):
        return
    inputs = [f"\n  {v.aval.str_short()}" for v in cut.kept if v in set(cut.operands)]
    computed = [
        f"\n  {v.aval.str_short()} output of {e.primitive} from {written_at(e.source_info)}"
        for e in cut.joint.jaxpr.eqns
        for v in e.outvars
        if v in set(cut.kept)
    ]
    parts = ["saving inputs with shapes:" + "".join(inputs)] if inputs else []
    parts += ["saving these intermediates:" + "".join(computed)] if computed else []
    logger.log(level, "remat-decorated function %s", "\nand ".join(parts) or "saving nothing")


batched_p = primitive_of(jax.custom_batching.sequential_vmap(lambda x: -x), 0.0)


@pullback(batched_p)
def batched_by_user(g: tuple) -> None:
    """Says that a function with a batching rule of the user's has no derivative, as in JAX.

    That of the function as it stands need not be the one of what the rule makes of it.
    """
    del g
    raise MissingReverse(
        message(
            f"no rule for primitive '{batched_p}': jax.custom_batching.custom_vmap says how the "
            "function is batched, and nothing of its derivative (Linearization failed to produce "
            "known values for all output primals, as jax.grad puts it).",
            written_at=here(),
            to_go_on="give the function a rule for it: jax.custom_vjp around jax's custom_vmap.",
        )
    )


def half(r: Any, x: Any) -> Any:
    """An example of a function with a transpose of its own."""
    return jax.custom_derivatives.linear_call(lambda r, x: r * x, lambda r, g: r * g, r, x)


linear_call_p = primitive_of(half, 0.5, 1.0)


def record_linear(tape: Any, tracers: Sequence, params: dict) -> list:
    """Runs a function whose user says how it is transposed; back, that is called, likewise.

    Where something moves that it need not be linear in, it is run step by step (jax.grad: an
    assertion fails).
    """
    fixed = params["num_callee_consts"] + params["num_res"]
    if any(slot is not None for slot in tape.unwrap(tracers)[1][:fixed]):
        with set_current_trace(tape):
            return as_function(params["callee"])(*tracers)

    def forward(*operands: Any) -> tuple[list, list]:
        return linear_call_p.bind(*operands, **params), []

    def backward(held: Sequence, _: Any, cotangents: list) -> list:
        transposed, consts = params["transpose_thunk"]()
        residuals, g = held[fixed - params["num_res"] :], params["callee"].out_avals
        gradients = linear_call_p.bind(
            *(*consts, *residuals, *instantiate(cotangents, g)),
            callee=transposed,
            transpose_thunk=lambda: (params["callee"], held[: params["num_callee_consts"]]),
            num_callee_consts=len(consts),
            num_res=params["num_res"],
        )
        return [*[None] * fixed, *gradients]

    moving = (True,) * len(params["callee"].out_avals)
    return tape.step(linear_call_p, Unit(forward, backward, tuple(range(fixed)), moving), tracers)


doors[linear_call_p] = record_linear


def calls_python(kind: str, g: tuple, needed: tuple) -> list[Missing]:
    """Says that what Python does with the numbers nobody sees."""
    del g
    rules = "give the function that calls it a jax.custom_vjp rule, or one of jax.custom_jvp"
    reason = f"{kind} callbacks do not support JVP, nor its reverse: it calls Python; {rules}"
    return [missing(reason, MissingReverse)] * len(needed)


number = jax.ShapeDtypeStruct((), "float32")
for kind, callback in {"Pure": jax.pure_callback, "IO": io_callback}.items():
    primitive = primitive_of(functools.partial(callback, np.sin, number), number)
    pullback(primitive)(functools.partial(calls_python, kind))
