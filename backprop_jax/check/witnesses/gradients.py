"""Programs that give a gradient: ours, a function, `jax.grad`, `jax.grad` in float64."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.api import grad
from backprop_jax.check.paths import Leaves, flatten
from backprop_jax.check.precision import (
    bits,
    canonical,
    canonical_array,
    is_inexact,
    narrowing,
    number,
    same_value,
    widen,
)
from backprop_jax.check.witnesses.witness import DoesNotApply, Question, Witness

Written = Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]]
"""A gradient written by hand: a function, or a pair forward, backward."""

NUDGES = 8
"""How often `nudged` asks: often enough that hardly ever is `jax.grad` lucky each time."""


def from_function(question: Question, gradient: Callable[..., Any], name: str) -> Witness:
    """Returns what `gradient(*args, **kwargs)` says."""
    answer = gradient(*question.args, **question.kwargs)
    return Witness(name, *flatten(answer, question.names))


def written(question: Question, gradient: Written, name: str = "") -> Witness:
    """Returns what a gradient written by hand says; it is called as it is, unless `name` is given.

    Of a pair, `forward(*args, **kwargs)` returns the value and what is kept, and
    `backward(kept, g)` the gradient times g, here 1.
    """
    if not isinstance(gradient, tuple):
        own = getattr(gradient, "__name__", "<lambda>")
        return from_function(question, gradient, name or ("gradient" if own == "<lambda>" else own))
    forward, backward = gradient

    def staged(*args: Any, **kwargs: Any) -> Any:
        value, kept = forward(*args, **kwargs)
        return backward(kept, jnp.ones_like(value))

    return from_function(question, staged, name or getattr(backward, "__name__", "backward"))


def ours(question: Question) -> Witness:
    """Returns what we say."""
    differentiated = grad(question.fun, **question.options)

    def alone(*args: Any, **kwargs: Any) -> Any:
        answer = differentiated(*args, **kwargs)
        return answer[0] if question.has_aux else answer

    return from_function(question, alone, "backprop_jax")


def jax_grad(question: Question) -> Witness:
    """Returns what `jax.grad` says."""
    return from_jax(question)[1]


def float64(question: Question) -> Witness:
    """Returns what `jax.grad` says with everything in float64; see `from_float64`."""
    value = question.value(question.leaves)
    source, notes = from_float64(question, value)
    if source is None:
        raise DoesNotApply(notes[0].removeprefix("float64: "))
    return source


def from_jax(question: Question, name: str = "jax.grad") -> tuple[Any, Witness]:
    """Returns the value of the function, and what `jax.grad` says."""
    differentiated = jax.value_and_grad(question.fun, **question.options)
    value, gradient = differentiated(*question.args, **question.kwargs)
    value = value[0] if question.has_aux else value
    return value, Witness(name, *flatten(gradient, question.names))


def from_float64(question: Question, value: Any) -> tuple[Witness | None, tuple[str, ...]]:
    """Returns what `jax.grad` says when everything is computed in float64, if that means anything.

    The operands are cast up, not read anew: both precisions differentiate at the same point.

    Args:
      question: in any precision.
      value: of the function, in that precision.

    Returns:
      The source, or None if it would be no finer, fails, or is of another function (random numbers
      drawn in float64 are not those drawn in float32); and notes for the reader.
    """
    dtypes = [jnp.asarray(x).dtype for x in jax.tree.leaves(question.operands) if is_inexact(x)]
    if not any(bits(dtype) < 64 for dtype in dtypes):
        return None, ("no finer reference: the operands are float64 already",)
    try:
        wide_value, source = _in_float64(question)
    except Exception as error:  # Anything the user's function raises.
        reason = (str(error).splitlines() or [""])[0][:60]
        return None, (f"float64: the function fails there ({type(error).__name__}: {reason})",)
    if not same_value(value, wide_value):
        return None, (
            f"float64: not used, the function's value is {number(wide_value):.6g} there and "
            f"{number(value):.6g} here (random draws and lost digits do that)",
        )
    wide = _widened(question)
    with jax.enable_x64(True):
        line = narrowing(wide.run, wide.operands)
    return source, (f"float64: rounded to less at {line}, so no finer there",) if line else ()


def nudged(question: Question, with_float64: bool) -> list[tuple[Leaves, Leaves | None]]:
    """Returns what `jax.grad` says at operands nearby, and what it says there in float64.

    That throws the dice of rounding again. With float64 to tell what the function itself does
    there, the operands move by up to half their digits; without, by up to `NUDGES` last bits.
    """
    generator = np.random.default_rng(0)

    def nudge(leaf: Any, part: float) -> Any:
        if not is_inexact(leaf):
            return leaf
        leaf = jnp.asarray(leaf)
        eps = float(jnp.finfo(leaf.dtype).eps)
        step = part * (math.sqrt(eps) if with_float64 else NUDGES * eps)
        signs = generator.choice([-1.0, 1.0], size=leaf.shape)
        return leaf * jnp.asarray(1 + step * signs, leaf.dtype)

    answers = []
    for i in range(NUDGES):
        change = functools.partial(nudge, part=(i + 1) / NUDGES)
        nearby = question.map(change, others=lambda leaf: leaf)
        finer = _in_float64(nearby)[1].leaves if with_float64 else None
        answers.append((from_jax(nearby)[1].leaves, finer))
    return answers


def _widened(question: Question) -> Question:
    """The question in float64, as JAX sees the operands now: to be answered with x64 enabled."""
    narrow = question.map(canonical, others=canonical_array)
    with jax.enable_x64(True):
        return narrow.map(widen, others=widen)


def _in_float64(question: Question) -> tuple[Any, Witness]:
    wide = _widened(question)
    with jax.enable_x64(True):
        return from_jax(wide, "float64")
