"""How much memory a program takes at most, from its equations alone: what lives at the same time.

XLA fuses elementwise steps and so takes less; what is kept from the way forward to the way back,
which is what a partition decides on, it keeps as well.
"""

from collections.abc import Sequence
from typing import Any

import jax

from backprop_jax.dtypes import size_in_bytes
from backprop_jax.engine.jaxprs import held, variables
from backprop_jax.engine.logs import collecting
from backprop_jax.engine.sweep import sweep
from backprop_jax.partition.whole import Whole


def peak_bytes(jaxpr: Any) -> int:
    """Returns the most bytes that live at once, the jaxpr's own inputs and constants left out."""
    last: dict = {}
    for place, equation in enumerate(jaxpr.eqns):
        last.update((v, place) for v in variables(equation.invars))
    last.update((v, len(jaxpr.eqns)) for v in variables(jaxpr.outvars))
    given = {*jaxpr.invars, *jaxpr.constvars}
    ends: dict[int, list] = {}
    live = most = 0
    for place, equation in enumerate(jaxpr.eqns):
        made = sum(size_in_bytes(v.aval) for v in equation.outvars)
        within = max((peak_bytes(of_jaxpr(inner)) for inner in held(equation.params)), default=0)
        most = max(most, live + made + within)
        live += made
        for v in equation.outvars:
            ends.setdefault(last.get(v, place), []).append(v)
        live -= sum(size_in_bytes(v.aval) for v in ends.pop(place, ()) if v not in given)
    return most


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
