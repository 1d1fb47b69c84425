"""How much memory a program takes at most, from its equations alone: what lives at the same time.

XLA fuses elementwise steps and so takes less; what is kept from the way forward to the way back,
which is what a partition decides on, it keeps as well.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import jax
from jax import lax

from backprop_jax.dtypes import size_in_bytes
from backprop_jax.engine.jaxprs import among, held, variables
from backprop_jax.engine.logs import collecting
from backprop_jax.engine.sweep import sweep
from backprop_jax.partition.whole import Whole

LOOPS = {lax.scan_p, lax.while_p}


def peak_bytes(jaxpr: Any, spent: Collection = ()) -> int:
    """Returns the most bytes that live at once, the jaxpr's own inputs and constants left out.

    Inputs that are spent count as long as they are read: nobody else will read them.
    """
    last: dict = dict.fromkeys(spent, -1)
    for place, equation in enumerate(jaxpr.eqns):
        last.update((v, place) for v in variables(equation.invars))
    last.update((v, len(jaxpr.eqns)) for v in variables(jaxpr.outvars))
    given = {*jaxpr.invars, *jaxpr.constvars}.difference(spent)
    most = total(spent)
    live = total(v for v in spent if last[v] >= 0)
    for place, equation in enumerate(jaxpr.eqns):
        over = {v for v in variables(equation.invars) if last[v] == place} - given
        made = total(equation.outvars)
        most = max(most, live + within(equation, made, over))
        live += made - total(over) - total(v for v in equation.outvars if v not in last)
    return most


def within(equation: Any, made: int, over: set) -> int:
    """Returns what lives while an equation runs besides all that lived before.

    Of a function that is called once, what nobody reads after the call goes while it runs.
    """
    inner = [of_jaxpr(each) for each in held(equation.params)]
    if equation.primitive in LOOPS or any(len(e.invars) > len(equation.invars) for e in inner):
        return made + max(map(peak_bytes, inner), default=0)
    found = made
    for each in inner:
        pairs = zip(reversed(each.invars), reversed(equation.invars), strict=False)
        spent = {w: v for v, w in pairs if among(w, over)}
        found = max(found, peak_bytes(each, spent.values()) - total(spent))
    return found


def total(group: Iterable) -> int:
    """Returns the bytes of some variables."""
    return sum(size_in_bytes(v.aval) for v in group)


def of_jaxpr(inner: Any) -> Any:
    """Returns a jaxpr, of a closed one or itself."""
    return getattr(inner, "jaxpr", inner)


def peak_of_gradient(run: Any, avals: Sequence, active: Sequence[bool]) -> int:
    """Returns the peak of a function of arrays and its way back, one after the other."""

    def both(operands: list, cotangents: list) -> tuple[list, list]:
        results, pullback = sweep(run, operands, active, make=Whole)
        slots = zip(pullback.outputs, results, strict=True)
        given = iter(cotangents)
        g = [next(given) if slot is not None else None for slot, _ in slots]
        with collecting():
            return results, [h for h in pullback(g, postpone=True) if h is not None]

    def seeds(*operands: Any) -> list:
        results, pullback = sweep(run, operands, active, make=Whole)
        return [r for r, slot in zip(results, pullback.outputs, strict=True) if slot is not None]

    cotangents = [x.update(weak_type=False) for x in jax.make_jaxpr(seeds)(*avals).out_avals]
    return peak_bytes(jax.make_jaxpr(both)(list(avals), cotangents).jaxpr)
