"""`find_nonfinite`: where values stop being finite, on the way forward or back."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import valid_jaxtype

from backprop_jax.api import vjp
from backprop_jax.arguments import Argnames, Argnums, Wanted, function_name
from backprop_jax.taps.detector import examine
from backprop_jax.taps.report import Report, names_of


def find_nonfinite(
    fun: Callable,
    *args: Any,
    argnums: Argnums | None = None,
    argnames: Argnames | None = None,
    **kwargs: Any,
) -> Report:
    """Returns where the values of `fun`, or the cotangents of its way back, stop being finite.

    Function and way back are run once, compiled as one program in which every step that can make
    what is not finite from what is has been looked at: an infinity from finite operands, a NaN from
    operands without one. Of each such step the first time is known: in which iteration of which
    loops, with which operands.

    Args:
      fun: maps arrays and pytrees of them to the same; a result that is no scalar is summed.
      *args: its arguments.
      argnums: as in `grad`.
      argnames: as in `grad`.
      **kwargs: its keyword arguments.

    Returns:
      A `Report`: true if there is anything to say; printed, it names primitive, file and line,
      iteration, operands, local derivative, what it reached, and what usually helps. Its `births`
      hold the same to be read by programs, in the order in which they happened.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> report = bp.find_nonfinite(lambda x: jnp.sum(jnp.sqrt(x)), jnp.array([1.0, 0.0]))
      >>> print(report.births[0].headline)
      infinity born in 'div', on the way back through sqrt
    """
    wanted = Wanted.of(fun, argnums, argnames)
    leaves, tree = jax.tree.flatten((args, kwargs))
    moving = [i for i, leaf in enumerate(leaves) if valid_jaxtype(leaf)]

    def forward(arrays: list) -> tuple:
        full = list(leaves)
        for i, x in zip(moving, arrays, strict=True):
            full[i] = x
        chosen, run = wanted.partial(fun, *jax.tree.unflatten(tree, full))
        return vjp(run, *chosen)

    arrays = [leaves[i] for i in moving]
    chosen, _ = wanted.partial(fun, args, kwargs)
    names = [*names_of(args, "args"), *names_of(kwargs, "kwargs")]
    given, reached = [names[i] for i in moving], wanted_names(wanted, chosen, len(args))
    return examine(forward, arrays, function_name(fun), given, reached)


def wanted_names(wanted: Wanted, chosen: tuple, count: int) -> list[str]:
    """Returns the names of the leaves of the arguments that are differentiated."""
    places = [*(f"args[{i}]" for i in wanted.positions(count))]
    places += [f"kwargs[{name!r}]" for name in wanted.names_only()]
    pairs = zip(places, chosen, strict=True)
    return [name for place, argument in pairs for name in names_of(argument, place)]
