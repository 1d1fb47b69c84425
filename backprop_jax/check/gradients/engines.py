"""Who differentiates: ours, JAX, or a gradient written by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from backprop_jax.api import vjp
from backprop_jax.products import jvp


@dataclass(frozen=True)
class Engine:
    """Who differentiates.

    Attributes:
      name: what to call it in a report.
      vjp: (function, *operands) → its result and its pullback, as `jax.vjp`; None if it has none.
      jvp: (function, operands, tangents) → result and slope, as `jax.jvp`; None if it has none.
      by_hand: returns the gradient at operands, of the structure of all arguments; for a function
        whose result is one number, in the place of the other two.
    """

    name: str
    vjp: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | None = None
    by_hand: Callable[..., Any] | None = None

    def derives(self, mode: str) -> bool:
        """Returns whether the engine has derivatives of this mode."""
        if mode == "rev":
            return self.vjp is not None or self.by_hand is not None
        return self.jvp is not None

    def pullback(self, fun: Callable, *operands: Any) -> tuple:
        """Returns the result of a function and its pullback."""
        assert self.vjp is not None
        return self.vjp(fun, *operands)

    def slope(self, fun: Callable, operands: Sequence, tangents: Sequence) -> Any:
        """Returns the slope of a function along tangents."""
        assert self.jvp is not None
        return self.jvp(fun, tuple(operands), tuple(tangents))[1]


def linearized(fun: Callable, operands: Any, tangents: Any) -> tuple:
    """Returns the result and the slope, by `jax.linearize`."""
    value, push = jax.linearize(fun, *operands)
    return value, push(*tangents)


OURS = Engine("backprop_jax", vjp, jvp)
JAX = Engine("jax", jax.vjp, jax.jvp)
JAX_LINEARIZED = Engine("jax", jax.vjp, linearized)
ENGINES = {"backprop_jax": OURS, "ours": OURS, "jax": JAX}


def engine_of(engine: Any) -> Engine:
    """Returns the engine of this name, or of what has functions `vjp` and `jvp`, as modules have.

    Raises:
      ValueError: there is no engine of this name.
      TypeError: it has neither.
    """
    if isinstance(engine, Engine):
        return engine
    if isinstance(engine, str):
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}")
        return ENGINES[engine]
    found = Engine(
        getattr(engine, "__name__", type(engine).__name__),
        getattr(engine, "vjp", None),
        getattr(engine, "jvp", None),
    )
    if not (found.vjp or found.jvp):
        raise TypeError(f"an engine has a function vjp or jvp; {found.name} has neither")
    return found


def written_by_hand(gradient: Callable[..., Any]) -> Engine:
    """Returns the engine that knows one gradient, which the user has written."""
    name = getattr(gradient, "__name__", "<lambda>")
    return Engine("gradient" if name == "<lambda>" else name, by_hand=gradient)


def single(values: list) -> Any:
    """Returns the one number that is all of a result, or raises TypeError."""
    if len(values) != 1 or jnp.size(values[0]) != 1 or jnp.iscomplexobj(values[0]):
        shapes = ", ".join(jax.typeof(v).str_short() for v in values) or "nothing"
        raise TypeError(f"a gradient written by hand is of one real number; fun returns {shapes}")
    return values[0]
