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
import jax.scipy.special
import numpy as np
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
    "hypot": Known(jax.numpy.hypot, (leg(0), leg(1))),
    "i0": Known(jax.numpy.i0, (bessel_i1,)),
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
    return jax.dtypes.issubdtype(aval.dtype, np.floating)


def unit_of(function: Known, active: Sequence[bool], run: Callable) -> Unit:
    """Returns the unit of a function with a rule of its own; `run` is the function, as a whole."""

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


# -- the dilogarithm -------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def is_spence(name: str, jaxpr: Any) -> bool:
    """Returns whether this is what `jax.scipy.special.spence` consists of, a choice of formulas."""
    if name != "_piecewise" or not is_floating(x := jaxpr.in_avals[0]):
        return False
    theirs = jax.scipy.special.spence
    for _ in range(len(x.shape) + 1):  # under no vmap, under one, ...
        if str(jax.make_jaxpr(theirs)(x).eqns[-1].params.get("jaxpr")) == str(jaxpr):
            return True
        theirs = jax.vmap(theirs)
    return False


def dilogarithm(active: Sequence[bool], run: Callable) -> Unit:
    """Returns the unit of `spence`, of which jax.grad says NaN for 1 < x ≤ 2.

    There log(1 - x), of a formula that is not chosen, is NaN, and so is its product with zero.
    """
    if any(active[1:]):
        raise MissingRule(message("no rule for spence in its constants."))

    def backward(operands: list, kept: list, cotangents: list) -> list:
        slope = spence_slope(operands[0])
        return [fit(cotangents[0] * slope, jax.typeof(operands[0])), *[None] * len(active[1:])]

    return Unit(lambda *operands: (run(*operands), []), backward, (0,), (True,))


def spence_slope(x: Any) -> Any:
    """Returns log(x) / (1 - x).

    Around 1, with s = (x - 1) / (x + 1), it is -2 / (x + 1) (1 + s²/3 + s⁴/5 + ···).

    Source: DLMF 4.6.4, 25.12.2.
    """
    close = lax.abs(x - 1) < 0.5
    near, far = (lax.select(b, x, lax.full_like(x, c)) for b, c in ((close, 1), (~close, 2)))
    square, total = lax.square((near - 1) / (near + 1)), lax.full_like(x, 0)
    for k in reversed(range(1, 37, 2)):
        total = total * square + 1 / k
    return lax.select(close, -2 / (near + 1) * total, lax.log(far) / (1 - far))


# -- eigenvalues found by bisection ----------------------------------------------------------------


def is_eigh_tridiagonal(name: str, jaxpr: Any) -> bool:
    """Returns whether a compiled function is `jax.scipy.linalg.eigh_tridiagonal`."""
    source = jaxpr.jaxpr.debug_info.func_src_info or ""
    return name == "eigh_tridiagonal" and "jax/_src/scipy/linalg.py" in source.replace("\\", "/")


def tridiagonal(d: Any, e: Any) -> Any:
    """Returns the Hermitian matrix with d on its diagonal and e below it."""
    n = d.size
    row, column = (lax.broadcasted_iota(np.dtype("int32"), (n, n), axis) for axis in (0, 1))

    def along(x: Any, where: Any) -> Any:
        wide = lax.broadcast(lax.convert_element_type(x, e.dtype), (n,))
        return lax.select(where, wide, lax.full_like(wide, 0))

    below = along(lax.pad(e, lax.full((), 0, e.dtype), [(0, 1, 0)]), row == column + 1)
    above = lax.transpose(below, (1, 0))
    above = lax.conj(above) if is_complex(e) else above
    return along(d, row == column) + below + above


def is_complex(x: Any) -> bool:
    """Returns whether an array is complex."""
    return np.issubdtype(x.dtype, np.complexfloating)


def eigenvalues(jaxpr: Any, active: Sequence[bool], run: Callable) -> Unit:
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

    if len(jaxpr.out_avals) > 1:
        raise MissingRule(
            message(
                "no rule for the eigenvectors of eigh_tridiagonal, found by iteration.",
                to_go_on="jnp.linalg.eigh of the matrix.",
            )
        )

    def model(d: Any, e: Any, *rest: Any) -> list:
        z = lax.stop_gradient(as_function(jaxpr)(d, e, *rest)[0])
        values = lax.linalg.eigh(tridiagonal(d, e), symmetrize_input=False)[1]
        if z.size == values.size:
            return [values]
        distance = lax.abs(lax.expand_dims(z, (1,)) - lax.expand_dims(values, (0,)))
        nearest = lax.expand_dims(lax.argmin(distance, 1, np.dtype("int32")), (1,))
        chosen = lax.broadcasted_iota(nearest.dtype, distance.shape, 1) == nearest
        spread = lax.broadcast(values, (z.size,))
        return [lax.reduce_sum(lax.select(chosen, spread, lax.full_like(spread, 0)), (1,))]

    return reverse_of(run, model, active, 1)


def own_rule(name: str, jaxpr: Any) -> Callable[[Sequence[bool], Callable], Unit] | None:
    """Returns what makes the unit of a compiled function that has a rule as a whole, or None."""
    if is_eigh_tridiagonal(name, jaxpr):
        return functools.partial(eigenvalues, jaxpr)
    if is_spence(name, jaxpr):
        return dilogarithm
    own = known(name, jaxpr)
    return None if own is None else functools.partial(unit_of, own)
