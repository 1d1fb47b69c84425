"""Functions within functions: `jit` and its like."""

from collections.abc import Callable
from typing import Any

from jax.extend.core import primitives

from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import Unit, structured
from backprop_jax.engine.residuals import split

PLACEMENT = ("in_shardings", "out_shardings", "in_layouts", "out_layouts")


def inline_jit(params: dict) -> Callable | None:
    """Returns the function to run in the place of a `jit` that only groups equations.

    One that says where its values live or how to compile it stays whole.
    """
    placed = any(
        item is not None and type(item).__name__ != "UnspecifiedValue"
        for name in PLACEMENT
        for item in params[name]
    )
    if placed or params["compiler_options_kvs"]:
        return None
    return as_function(params["jaxpr"])


@structured(primitives.jit_p, inline_jit)
def jit(active: tuple[bool, ...], *, jaxpr: Any, **params: Any) -> Unit:
    """A compiled function: forward and back are compiled likewise, each on its own."""
    del params
    return split(jaxpr, active).unit()
