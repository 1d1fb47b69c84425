"""Programs that are put, as they are, into one that is being staged.

To bind a primitive means to find the trace, to look at the parameters and to ask for the types of
the results. Of an equation that was staged once all this is known: it is copied.
"""

import contextlib
import functools
import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray, Trace
from jax.extend import source_info_util
from jax.extend.core import (
    Literal,
    Primitive,
    primitives,
    set_current_trace,
    take_current_trace,
)

#: Types of numbers that are not JAX's own: `bind` converts them, a trace does not take them.
FOREIGN = {bool, int, float, complex, np.ndarray, *np.sctypeDict.values()}

#: What a trace that stages has a method `emit_eqn` for, as of jax 0.10 to 0.12.
EQUATION = "self, in_tracers, out_avals, primitive, params, effects, source_info, ctx"


def at(source: Any) -> contextlib.AbstractContextManager:
    """Returns a context in which what is staged was written where this was."""
    return source_info_util.user_context(source.traceback, name_stack=source.name_stack)


def run_on(trace: Any, primitive: Primitive, operands: Sequence, params: dict) -> Any:
    """Runs a primitive on a trace, without the detour that `bind` takes to find it."""
    if FOREIGN.isdisjoint(map(type, operands)):
        return primitive.bind_with_trace(trace, operands, list(map(jax.typeof, operands)), params)
    with set_current_trace(trace):
        return primitive.bind(*operands, **params)


@functools.cache
def can_copy(kind: type[Trace]) -> bool:
    """Returns whether an equation can be added to what a trace of this class stages."""
    add = getattr(kind, "emit_eqn", None)
    return add is not None and ", ".join(inspect.signature(add).parameters) == EQUATION


def add(
    trace: Any,
    operands: list,
    types: list,
    primitive: Primitive,
    params: dict,
    source: Any,
    context: Any = None,
) -> list:
    """Adds an equation to what a trace stages, and returns its results.

    The one number that JAX computes while it stages, of another type, is left to it.
    """
    if primitive is lax.convert_element_type_p and type(operands[0].val) is Literal:
        return [run_on(trace, primitive, operands, params)]
    return trace.emit_eqn(operands, types, primitive, params, NOTHING, source, context)


def copied(trace: Any, equation: Any, operands: Sequence) -> list | None:
    """Returns the results of an equation that is copied to what a trace stages, or None.

    It is where there is no such trace, where the operands are of other types, and where types do
    not tell all.
    """
    if not can_copy(type(trace)) or equation.effects:
        return None
    source, read = source_info_util.current(), []
    for atom, x in zip(equation.invars, operands, strict=True):
        if type(atom) is Literal:
            read.append(trace.new_const(x, source, atom.aval))
        elif type(x) in FOREIGN or jax.typeof(x) != atom.aval or type(atom.aval) is not ShapedArray:
            return None
        else:
            read.append(trace.to_jaxpr_tracer(x, source))
    primitive, types = equation.primitive, [v.aval for v in equation.outvars]
    if primitive.is_high(*(v.aval for v in equation.invars), **equation.params):
        return None
    return add(trace, read, types, primitive, equation.params, source)


class Program:
    """The equations of a closed jaxpr, made ready to be run as if they stood where it is called.

    Args:
      closed: a closed jaxpr.
      call: the parameters of a `jit` that is bound where the equations cannot be copied. Then they
        keep what they were staged with: the names of scopes, and what is said of how to compile
        them. Default: each is run, and they take what there is where they are put.
      around: what was said of how to compile what is staged, where this was. Then they keep the
        lines they were written at, too, and what is said within.
    """

    __slots__ = ("call", "consts", "equations", "plain", "results")

    def __init__(self, closed: Any, call: dict | None = None, around: Any = None) -> None:
        jaxpr = closed.jaxpr
        place = {v: i for i, v in enumerate([*jaxpr.constvars, *jaxpr.invars])}

        def at(atom: Any) -> Any:
            return atom if isinstance(atom, Literal) else place[atom]

        self.call = call
        self.consts = closed.consts
        self.plain = not closed.effects and not getattr(jaxpr, "is_high", False)
        self.equations = []
        for e in jaxpr.eqns:
            operands = list(map(at, e.invars))
            place.update(zip(e.outvars, itertools.count(len(place)), strict=False))
            types = [v.aval for v in e.outvars]
            own, context = None, None
            if around is not None:
                own, context = e.source_info, None if e.ctx == around else e.ctx
            elif call:
                names = e.source_info.name_stack
                own, context = e.source_info.replace(traceback=None) if names else None, e.ctx
            self.equations.append((e.primitive, e.params, operands, types, own, context))
        self.results = list(map(at, jaxpr.outvars))

    def __call__(self, *operands: Any) -> list:
        """Returns the results; all runs on the current trace."""
        with take_current_trace() as trace:
            values = [*self.consts, *operands]
            if self.plain and can_copy(type(trace)) and FOREIGN.isdisjoint(map(type, values)):
                self.copy(trace, values)
            elif self.call is None:
                self.run(trace, values)
            else:
                return run_on(trace, primitives.jit_p, operands, self.call)
        return [values[i] if type(i) is int else i.val for i in self.results]

    def copy(self, trace: Any, values: list) -> None:
        """Adds the equations to what a trace stages, and the results of each to the values."""
        source = source_info_util.current()
        values[:] = [trace.to_jaxpr_tracer(x, source) for x in values]
        for primitive, params, operands, types, own, context in self.equations:
            here = within(source, own) if own else source
            read = [
                values[i] if type(i) is int else trace.new_const(i.val, here, i.aval)
                for i in operands
            ]
            values += add(trace, read, types, primitive, params, here, context)

    def run(self, trace: Any, values: list) -> None:
        """Runs the equations on a trace, and adds the results of each to the values."""
        for primitive, params, operands, *_ in self.equations:
            read = [values[i] if type(i) is int else i.val for i in operands]
            results = run_on(trace, primitive, read, primitive.get_bind_params(params))
            values.extend(results if primitive.multiple_results else [results])


def within(source: Any, own: Any) -> Any:
    """Returns where a step was written that is put into a program that was written at a source."""
    names = source.name_stack + own.name_stack
    return own.replace(traceback=own.traceback or source.traceback, name_stack=names)


NOTHING: frozenset = frozenset()


#: What tells `jax.jit` to write a program's steps where it is called; jax 0.12 would do it late.
IN_PLACE: Any = getattr(getattr(jax, "Inline", None), "JAX_EARLY", True)


def runs_in_place(params: dict) -> bool:
    """Returns whether JAX itself would run a `jit` in the place of its call.

    jax 0.10 says yes or no, jax 0.12 who does it and when, and `AUTO`, which says nothing.
    """
    inline = params.get("inline", False)
    return inline is True or getattr(inline, "name", "") in ("JAX_EARLY", "JAX_LATE")
