"""`find_nonfinite`: where values stop being finite, on the way forward or back."""

from collections.abc import Callable
from typing import Any

from backprop_jax.api import vjp
from backprop_jax.arguments import Argnames, Argnums, Wanted
from backprop_jax.taps.alarm import NonFinite as NonFinite
from backprop_jax.taps.alarm import Question
from backprop_jax.taps.alarm import wait as wait
from backprop_jax.taps.report import Report
from backprop_jax.tracebacks import boundary


@boundary
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
    question = Question.of(fun, args, kwargs, Wanted.of(fun, argnums, argnames), vjp)
    return question.answer(question.operands)
