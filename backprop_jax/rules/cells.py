"""A reference made while recording, a cell, in a function with a reverse rule of the user's.

Such a rule says what the cotangent of the value is that the cell holds.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.ref as refs
from jax.extend.core import primitives, set_current_trace, take_current_trace

from backprop_jax.engine.custom import VJP, Backward, flagged, handed_over
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import with_references
from backprop_jax.engine.tape import Cell, Tape
from backprop_jax.errors import EscapedReference, lost
from backprop_jax.rules.references import refill


@with_references(primitives.custom_vjp_call_p)
def custom_vjp_call(
    tape: Tape, tracers: Sequence, *, subfuns: tuple, out_trees: Callable, symbolic_zeros: bool
) -> list:
    """A function with a reverse rule of the user's, which says the cotangent of what a cell holds.

    Its forward half may read the cell. It is an error if it writes there: what then becomes of the
    value no rule says. So it is if the other half is handed the cell, when that half is run.
    """
    fun, fwd, bwd = subfuns
    cells = {id(x): x for x in tracers if tape.made(x)}
    values, slots = unwrapped = tape.unwrap(
        [cells[id(x)].contents if id(x) in cells else x for x in tracers]
    )
    given = dict(zip(map(id, tracers), values, strict=True))
    if all(slot is None for slot in slots):
        options = {"out_trees": out_trees, "symbolic_zeros": symbolic_zeros}
        run = functools.partial(primitives.custom_vjp_call_p.bind, subfuns=subfuns, **options)
        results, after = unmoved(tape, fun, run, [id(x) for x in tracers], given, cells)
        refill(list(cells.values()), after)
        return results
    inner = Tape(tape.parent_trace, tape.reading)
    copies = {key: Cell(inner, cell.aval, given[key]) for key, cell in cells.items()}
    handed = [copies.get(id(x), value) for x, value in zip(tracers, values, strict=True)]
    with set_current_trace(inner):
        outs = fwd.call_wrapped(*flagged(handed, slots))
    results, residuals = handed_over(outs, handed, out_trees)
    written = any(copy.contents is not given[key] for key, copy in copies.items())
    if written or tape.linear or tape.reading.swapped(fun):
        tape.check_references(primitives.custom_vjp_call_p, tracers)
    if any(inner.made(x) for x in residuals):
        what = "a reference made in the function goes to a reverse rule, and what it holds then"
        bwd, residuals = Lost(lost(what, "hand over the value that is read there.")), []
    kept = Backward(bwd, residuals, symbolic_zeros)
    rule = tape.reading.of(VJP)
    return tape.add(primitives.custom_vjp_call_p, {}, rule, unwrapped, results, kept)


def unmoved(
    tape: Tape, fun: Any, run: Callable, keys: Sequence, given: dict, cells: dict
) -> tuple[list, list]:
    """Runs a function of which nothing is recorded, its operands and the cells known by keys.

    Returns its results and what the cells hold then, where that can be seen the very value that
    they held if it only reads. `run` lets the trace below see the rule; at the bottom is nobody.
    """
    parent = tape.parent_trace

    if isinstance(parent, Tape) or type(parent) is BOTTOM:
        inner = parent if isinstance(parent, Tape) else Tape(parent, tape.reading)
        copies = {key: Cell(inner, cell.aval, given[key]) for key, cell in cells.items()}
        with set_current_trace(inner):
            call = run if inner is parent else fun.call_wrapped
            results = call(*(copies.get(key, given[key]) for key in keys))
        return results, [copy.contents for copy in copies.values()]

    def staged(values: dict) -> tuple[list, list]:
        made = {key: refs.new_ref(values[key]) for key in cells}
        results = run(*(made.get(key, values[key]) for key in keys))
        return results, list(map(refs.freeze, made.values()))

    with set_current_trace(parent):
        if not tape.staged:
            return staged(given)
        closed, shapes = jax.make_jaxpr(staged, return_shape=True)(given)
        outs = as_function(closed)(*jax.tree.leaves(given))
    results, after = jax.tree.unflatten(jax.tree.structure(shapes), outs)
    (step,) = (e for e in closed.eqns if e.primitive is primitives.custom_vjp_call_p)
    only_read = {type(effect) for effect in step.effects} <= READS
    return results, [given[key] for key in cells] if only_read else after


def looked_at(x: Any) -> Any:
    """Returns what a compiled function reads."""
    return jax.jit(lambda ref: ref[...])(refs.new_ref(x))


#: The effects of a step that writes no reference.
READS = {type(effect) for effect in jax.make_jaxpr(looked_at)(1.0).eqns[-1].effects}


with jax.ensure_compile_time_eval(), take_current_trace() as bottom:
    #: What a trace is that runs everything, and that nobody differentiates.
    BOTTOM = type(bottom)


class Lost(NamedTuple):
    """Stands for a reverse rule that cannot be run."""

    error: EscapedReference

    def call_wrapped(self, *operands: Any) -> list:
        """Raises the error."""
        raise self.error
