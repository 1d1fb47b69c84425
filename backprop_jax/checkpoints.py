"""What to keep for the way back, said by the user: `checkpoint`, and the option `remat=`."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from backprop_jax.arguments import check_callable, function_name
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.errors import BudgetTooSmall, message
from backprop_jax.partition.keeping import CHEAPEST, NOTHING, ROOT, Keeping, Partition, choices
from backprop_jax.partition.peak import peak_of_gradient
from backprop_jax.partition.segments import segmented
from backprop_jax.staged import changed
from backprop_jax.tracebacks import boundary

Remat = None | str | int | Callable[..., Any]

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS.update({f"{unit}i": 1024**power for power, unit in enumerate("KMGT", 1)})


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to keep less: what is kept of straight code, and of each trip of a loop."""

    here: Keeping
    loops: Keeping

    def segments(self, count: int | None) -> "Choice":
        """Returns the same, with only so many carries of a loop kept; see `Keeping`."""
        return dataclasses.replace(self, loops=dataclasses.replace(self.loops, carries=count))


AUTO = Choice(CHEAPEST, CHEAPEST)
FULL = Choice(NOTHING, NOTHING)

#: What a budget is tried with, the least computed again first. None: nothing is.
TRIED = (None, AUTO, Choice(CHEAPEST, NOTHING), FULL, FULL.segments(ROOT))


@boundary
def checkpoint(
    fun: Callable,
    *,
    prevent_cse: bool | Sequence[bool] = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | tuple[int, ...] = (),
    static_argnames: str | Iterable[str] = (),
    remat: Remat = None,
    segments: int | None = None,
) -> Callable:
    """Returns `fun` as one whose way back keeps less and computes more again.

    Without `remat` and `segments` it is `jax.checkpoint`, its policies included: nothing is kept of
    the inside of `fun` but what the policy allows.

    Args:
      fun: a function of arrays and pytrees of them.
      prevent_cse: as in `jax.checkpoint`.
      policy: as in `jax.checkpoint`.
      static_argnums: as in `jax.checkpoint`.
      static_argnames: as in `jax.checkpoint`.
      remat: "auto": `fun` is cut in segments, and of each what is dear to compute is kept (products
        of matrices, convolutions, decompositions, loops), and otherwise what takes least memory.
        "full": of a segment what enters it is kept, and of a loop its carries, nothing else. A
        number of bytes, or a text such as "512MiB": as little as possible is computed again, so
        that the values that live at the same time, arguments left out, take no more than that. Or
        a policy of `jax.checkpoint_policies`.
      segments: of a `scan` only so many carries are kept, at even distances; from there the trips
        are run again, each once more. With √T of T the memory is that of 2 √T trips. Of a
        `while_loop` as many are kept, at least 2, where 8 to 64 are by default: a trip is run again
        once if there are no more than k² for k carries, and 2.7 times of 100,000 for 32. On the way
        back 1.5 k more are held. What a policy allows is then kept of straight code alone.

    Returns:
      A function of the same arguments. It is traced once for each combination of their shapes, as
      `jax.jit` does. Within `jax.jit`, what is computed again is fenced, so XLA does not keep the
      values after all, on processors and accelerators alike.

    Raises:
      ValueError: `remat` is something else, or two options exclude each other.
      BudgetTooSmall: there is no way to do with so few bytes; it says what is needed.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> def f(x):
      ...     for _ in range(100):
      ...         x = jnp.tanh(x) + 0.3 * x
      ...     return x.sum()
      >>> x = jnp.linspace(-1, 1, 3)
      >>> print(jnp.allclose(bp.grad(f)(x), bp.grad(bp.checkpoint(f, remat="auto"))(x)))
      True
    """
    check_callable(fun)
    if policy is not None and remat is not None:
        raise ValueError("policy and remat say the same thing; give one of them.")
    if remat is None and segments is None:
        return jax.checkpoint(
            fun,
            prevent_cse=prevent_cse,
            policy=policy,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
        )
    static = static_argnums != () or static_argnames != ()
    if static or prevent_cse is not True or policy is not None:
        raise ValueError(
            "policy, static_argnums, static_argnames and prevent_cse do not go with segments or "
            "remat."
        )
    if segments is not None and (not isinstance(segments, int) or segments < 1):
        raise ValueError(f"segments={segments!r} is not a number of segments; 1 is the least.")
    return boundary(rematerialized(fun, "auto" if remat is None else remat, segments))


def rematerialized(fun: Callable, remat: Remat, segments: int | None = None) -> Callable:
    """Returns `fun` with its way back as the option `remat=` has it; None changes nothing."""
    check_callable(fun)
    if remat is None:
        return fun
    return changed(fun, functools.partial(planned, fun, parsed(remat), segments))


def parsed(remat: Any) -> Choice | int | Callable:
    """Returns what `remat=` says: a choice, a number of bytes, or a policy.

    Raises:
      ValueError: it is none of these.
    """
    if callable(remat):
        return remat
    if isinstance(remat, str) and remat in ("auto", "full"):
        return AUTO if remat == "auto" else FULL
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?|)B?\s*", str(remat))
    if isinstance(remat, bool) or not isinstance(remat, str | int) or not number:
        raise ValueError(
            f"remat={remat!r} is not known; it may be None, 'auto', 'full', a number of bytes, a "
            "text such as '512MiB', or a policy of jax.checkpoint_policies."
        )
    return int(float(number[1]) * UNITS[number[2]])


def planned(
    fun: Callable, remat: Any, segments: int | None, closed: Any, active: tuple[bool, ...]
) -> Callable:
    """Returns a function's jaxpr with the partition that is asked for, or that fits the budget."""
    if callable(remat):
        policy: Any = remat
        if segments:
            here, loops = choices(policy)
            policy = Partition(here, dataclasses.replace(loops, carries=segments))
        return jax.checkpoint(as_function(closed), policy=policy)
    if isinstance(remat, Choice):
        return made(closed, remat.segments(segments))
    if not any(active):
        active = tuple(map(ct.is_differentiable, closed.in_avals))
    least = None
    for choice in TRIED:
        if choice and segments:
            choice = choice.segments(segments)
        run = made(closed, choice)
        peak = peak_of_gradient(run, closed.in_avals, active)
        if peak <= remat:
            return run
        least = peak if least is None else min(peak, least)
    raise BudgetTooSmall(
        message(
            f"remat={remat} is too few bytes for the gradient of "
            f"{function_name(fun)}: it needs {least}, its arguments left out.",
            to_go_on="allow that much, or take less of the input at a time.",
        )
    )


def made(closed: Any, choice: Choice | None) -> Callable:
    """Returns a closed jaxpr as a function that keeps what a choice lets it."""
    return segmented(closed, choice.here, choice.loops) if choice else as_function(closed)
