"""Functions of JAX's own, of several steps, that have a rule as a whole.

A few functions lose a derivative on the way: |x| has none at 0, so what is made of it has no second
one there, even if it is smooth; and what bisection finds has none at all. Such a function is known
by its name, and by what it consists of or where it stands: a user's function of the same name is
another one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from backprop_jax.engine.cotangents import convert, fit
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import Unit
from backprop_jax.errors import MissingRule, message
from backprop_jax.rules.models import reverse_of


class Known(NamedTuple):
    """A function of JAX's and a formula for each operand: (g, operands, result) → cotangent."""

    function: Callable
    formulas: tuple[Callable, ...]


def leg(number: int) -> Callable:
    """Returns the formula of hypot for one of its operands; 0 at the corner, where z is 0."""

    def formula(g: Any, operands: Sequence, z: Any) -> Any:
        x = convert(operands[number], z.dtype)
        return g * (x / lax.select(z == 0, lax.full_like(z, 1), z))

    return formula


def bessel_i1(g: Any, operands: Sequence, z: Any) -> Any:
    """Returns g I₁(x). JAX says 0 where x is 0, and so of its slope."""
    (x,) = operands
    return g * (lax.exp(lax.abs(x)) * lax.bessel_i1e(x))


KNOWN = {
    "hypot": Known(jnp.hypot, (leg(0), leg(1))),
    "i0": Known(jnp.i0, (bessel_i1,)),
}


@functools.lru_cache(maxsize=1024)
def known(name: str, jaxpr: Any) -> Known | None:
    """Returns the function that a compiled one of this name is, None where it is another one.

    Operands are of one shape and floating, or it is left alone: under `vmap` each may have its
    batch somewhere else.
    """
    candidate = KNOWN.get(name)
    avals = jaxpr.in_avals
    if candidate is None or len(candidate.formulas) != len(avals):
        return None
    if any(aval.shape != avals[0].shape or not is_floating(aval) for aval in avals):
        return None
    theirs = jax.make_jaxpr(candidate.function)(*avals).eqns[-1].params.get("jaxpr")
    return candidate if str(theirs) == str(jaxpr) else None


def is_floating(aval: Any) -> bool:
    """Returns whether values of this type are real numbers that can move."""
    return jax.dtypes.issubdtype(aval.dtype, jnp.floating)


def unit_of(function: Known, jaxpr: Any, active: Sequence[bool]) -> Unit:
    """Returns the unit of a function with a rule of its own."""
    run = as_function(jaxpr)

    def forward(*operands: Any) -> tuple[list, list]:
        results = run(*operands)
        return results, results

    def backward(operands: list, kept: list, cotangents: list) -> list:
        (g,), (z,) = cotangents, kept
        return [
            fit(formula(g, operands, z), jax.typeof(x)) if wanted else None
            for formula, x, wanted in zip(function.formulas, operands, active, strict=True)
        ]

    return Unit(forward, backward, tuple(range(len(active))), (True,))


# -- eigenvalues found by bisection ----------------------------------------------------------------


def is_eigh_tridiagonal(name: str, jaxpr: Any) -> bool:
    """Returns whether a compiled function is `jax.scipy.linalg.eigh_tridiagonal`."""
    source = jaxpr.jaxpr.debug_info.func_src_info or ""
    return name == "eigh_tridiagonal" and "jax/_src/scipy/linalg.py" in source.replace("\\", "/")


def eigenvalues(jaxpr: Any, active: Sequence[bool]) -> Unit:
    """Returns the unit of `eigh_tridiagonal`: reversed, it is `eigh` of the whole matrix.

    Bisection compares and halves, so its own steps have no slope; jax.grad has no rule. Of a part
    of the eigenvalues, each is the one nearest to what was found.
    """
    diagonal, *_ = jaxpr.in_avals
    if len(diagonal.shape) != 1:
        raise MissingRule(
            message(
                "no rule for eigh_tridiagonal under vmap, where the gradient is taken outside.",
                to_go_on="jax.vmap(bp.grad(f)), or jnp.linalg.eigvalsh of the matrix.",
            )
        )

    def model(d: Any, e: Any, *rest: Any) -> list:
        z = lax.stop_gradient(as_function(jaxpr)(d, e, *rest)[0])
        below = jnp.diag(e, -1)
        dense = jnp.diag(d).astype(below.dtype) + below + below.conj().T
        values = lax.linalg.eigh(dense, symmetrize_input=False)[1]
        if z.size == values.size:
            return [values]
        return [values[jnp.argmin(jnp.abs(z[:, None] - values), axis=1)]]

    return reverse_of(as_function(jaxpr), model, active, 1)


def own_rule(name: str, jaxpr: Any) -> Callable[[Sequence[bool]], Unit] | None:
    """Returns what makes the unit of a compiled function that has a rule as a whole, or None."""
    if is_eigh_tridiagonal(name, jaxpr):
        return functools.partial(eigenvalues, jaxpr)
    own = known(name, jaxpr)
    return None if own is None else functools.partial(unit_of, own, jaxpr)
