"""Functions of JAX's own with a `custom_jvp` rule, run as compiled ones.

To run such a rule, in Python and on a tape of its own, takes longer than all else that is done for
a `relu`. Of a compiled function JAX hands out the same jaxpr each time, and what becomes of that
is remembered. A user's function is run by its rule each time: it may be another one by then.
"""

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import set_current_trace

from backprop_jax.engine.custom import functions
from backprop_jax.programs import IN_PLACE


class Given(threading.local):
    """The primitive, the function and its rule, new objects at each call, that are at hand."""

    now: tuple = ()


@functools.lru_cache(maxsize=256)
def compiled(f: Callable, transforms: tuple, params: tuple) -> tuple[Callable, Given, dict]:
    """Returns what calls a function of JAX's as a compiled one, and with what, and what it told.

    What is told, beside the results, is their structure: kept by the operands' types.
    """
    del f, transforms, params
    given = Given()

    def call(*operands: Any) -> list:
        primitive, *subfuns = given.now
        return primitive.bind(*operands, subfuns=tuple(subfuns), symbolic_zeros=False)

    return jax.jit(call, inline=IN_PLACE), given, {}


def of(fun: Any) -> tuple[Callable, Given, dict] | None:
    """Returns the same for a function; None if it has an argument that cannot be looked up."""
    try:
        return compiled(fun.f, fun.transforms, fun.params)
    except TypeError:
        return None


def is_own(fun: Any, jvp: Any) -> bool:
    """Returns whether a function stands in a module of JAX's, with this rule: it is no closure."""
    module, name = (getattr(fun.f, key, None) or "" for key in ("__module__", "__name__"))
    found = getattr(sys.modules.get(module), name, None) if module.startswith("jax.") else None
    own = isinstance(found, jax.custom_jvp)
    return own and found.fun is fun.f and found.jvp is jvp.f


def by_programs(tape: Any, primitive: Any, fun: Any, jvp: Any, tracers: Sequence) -> list:
    """Runs a function with a rule; one of JAX's own, staged, as a compiled function.

    JAX hands out the same jaxpr for it each time, so what the rule says is found once.
    """
    wanted = tape.staged and not jax.config.jax_disable_jit  # type: ignore[attr-defined]
    found = of(fun) if wanted and is_own(fun, jvp) else None
    if found is None:
        return tape.add_jvp(primitive, jvp, tape.unwrap(tracers), False)
    call, given, told = found
    types = tuple(map(jax.typeof, tracers))
    given.now = primitive, fun, jvp
    try:
        with set_current_trace(tape):
            results = call(*tracers)
    finally:
        given.now = ()
    if any(fun.stores):  # it was run, and has told; and so has the rule, if it was, in its place
        told[types] = fun.stores
        for store in filter(None, jvp.stores):
            store.reset()
    else:
        fun.populate_stores(told[types])
    return results


functions[None] = by_programs
