"""Frames of ours are left out of a user's traceback wherever JAX leaves out its own.

JAX has no public name for this: the list of paths that it leaves out, and the boundary below which
it does, are its own. This is the one file that knows a private name of JAX. To filter by ourselves
would not do: an error passes boundaries of JAX's (`jax.jit`, `jax.vmap`) around ours and within,
the outermost alone filters, and it goes by JAX's list. With a jax that has the names no more,
tracebacks are whole.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

try:
    from jax._src import traceback_util
except ImportError:
    traceback_util = None

Function = TypeVar("Function", bound=Callable)

mark: Callable | None = getattr(traceback_util, "api_boundary", None)
leave_out: Callable | None = getattr(traceback_util, "register_exclusion", None)

if leave_out is not None:
    leave_out(os.path.dirname(__file__))


def boundary(fun: Function) -> Function:
    """Returns a function that users call: no frame of ours is in the traceback of its errors.

    `jax_traceback_filtering` says how; with "off" all are there. Where ours call ours, they call
    `within`: the outermost boundary does the work, and each costs a call.
    """
    made: Any = fun if mark is None else mark(fun)
    return made


def within(fun: Function) -> Function:
    """Returns what a boundary was put around."""
    return fun if mark is None else fun.__wrapped__  # type: ignore[attr-defined]
