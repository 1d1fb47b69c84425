"""What a cotangent says where a decomposition is an arbitrary choice.

Eigenvectors of equal eigenvalues are any orthonormal basis of a subspace. Turn that basis by a
small skew matrix, and the loss changes by the skew part of vᴴ v̄: where the loss does not depend on
the choice, that is zero, and the rule's quotient by the difference of the eigenvalues is 0 / 0.
Where it is not zero the loss has no derivative, and the quotient is infinite.

Numbers being rounded, zero means: at most TOLERANCE · n · eps, n the size of the matrix, relative
to the largest eigenvalue below, to the largest element of v̄ᴴ v above. Both must be that small:
a small gap alone is divided by as it is.

Within the subspace, x moves its eigenvalues, too, by a Hermitian matrix of which w̄ holds the
diagonal only. What is next to it depends on what the loss is:

    a function of the eigenvalues        vᴴ v̄ = 0              then it is 0
    of the subspace, a projection        w̄ = 0                 then it is 0
    of v φ(w) vᴴ, a function of x        w̄ = ρ diag(vᴴ v̄)      then it is ρ vᴴ v̄, as ρ = φ'/2φ

The first is known from v having no cotangent at all. The second is the third with ρ = 0. Where no
ρ fits, as for a sum of such losses, the cotangent does not tell, and neither do we: NaN; so, too,
where v has a cotangent of zero and w̄ is not zero, as at φ(w) = 0. Most second derivatives there are
NaN. What cannot be told is a sum for which one ρ happens to fit, as it does where all elements of
w̄ are equal and all of diag(vᴴ v̄): it is taken for the third. A loss of eigenvalues alone that tells
equal ones apart, as the largest, has a kink; what is returned is a subgradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.cotangents import convert
from backprop_jax.rules import matrices as m
from backprop_jax.rules.elementary import is_complex

TOLERANCE = 32.0


def bound(x: Any) -> float:
    """Returns the relative size of what is zero but for rounding."""
    return TOLERANCE * x.shape[-1] * float(np.finfo(x.dtype).eps)


def largest(x: Any, axes: int) -> Any:
    """Returns the largest absolute value of each matrix or vector, as a matrix of one element."""
    top = lax.reduce_max(lax.abs(x), tuple(range(x.ndim - axes, x.ndim)))
    return lax.expand_dims(top, (top.ndim, top.ndim + 1))


def is_small(x: Any, unit: Any, axes: int = 2) -> Any:
    """Returns where x is zero but for rounding, in units of the largest element of `unit`.

    What is said of zeros is constant: `unit` is a matrix, or a vector if `axes` is 1.
    """
    x, unit = lax.stop_gradient(x), lax.stop_gradient(unit)
    return lax.abs(x) <= bound(unit) * largest(unit, axes)


def quotient(a: Any, gap: Any, spectrum: Any, unit: Any) -> Any:
    """Returns a / gap, and 0 where both are zero but for rounding.

    The divisor is 0 in these places, so that the derivative of the quotient is not a number there.
    """
    gap = lax.broadcast_in_dim(gap, a.shape, tuple(range(a.ndim)))
    neither = is_small(a, unit) & is_small(gap, spectrum, axes=1)
    divisor = convert(lax.select(neither, lax.full_like(gap, 0), gap), a.dtype)
    return lax.select(neither, lax.full_like(a, 0), a / divisor)


def nan_unless(condition: Any, like: Any) -> Any:
    """Returns 0 for each matrix of which all elements meet the condition, NaN for the others."""
    met = lax.reduce_and(condition, (condition.ndim - 2, condition.ndim - 1))
    zero = lax.full(met.shape, 0, like.dtype)
    poison = lax.select(met, zero, lax.full_like(zero, np.nan))
    return lax.expand_dims(poison, (met.ndim, met.ndim + 1))


def is_asked(g: Any, asked: Sequence[bool]) -> Any:
    """Returns whether arrays of vectors have a cotangent: None if it is known that none has.

    In an inner jaxpr it is not known before the jaxpr is run. There, what depends on an absent
    cotangent alone is not computed and counts as zero: so what is one if it is computed tells.
    """
    found = None
    for each, known in zip(g, asked, strict=True):
        if known:
            one = lax.reduce_sum(0 * lax.stop_gradient(each), (each.ndim - 2, each.ndim - 1)) + 1
            here = lax.expand_dims(one != 0, (one.ndim, one.ndim + 1))
            found = here if found is None else found | here
    return found


def of_spectrum(a: Any, of_w: Any, w: Any, turn: Any, unit: Any, asked: Any) -> Any:
    """Returns what the Hermitian matrix p = vᴴ dx v gets, p moving eigenvalues and eigenvectors.

        diag(w̄) + (a - aᴴ)/2 / (w_j - w_i),     a = vᴴ v̄,

    with `turn` in the place of the differences on the diagonal. Where eigenvalues are equal, what
    the module's first lines say; `asked` says whether the vectors have a cotangent: see `is_asked`.
    """
    if asked is None:
        return m.diagonal_matrix(of_w, a.dtype)
    gap = m.row(w) - m.column(w)
    here = m.on_diagonal(gap)
    same = is_small(gap, w, axes=1)
    skew = (a - m.adjoint(a)) / 2
    tied = same & ~here & is_small(skew, unit)
    gap = lax.select(
        here, lax.broadcast_in_dim(m.row(turn), gap.shape, tuple(range(gap.ndim))), gap
    )
    inner = m.diagonal_matrix(of_w, a.dtype) + quotient(skew, gap, w, unit)
    return lax.select(tied, of_subspace(a, of_w, same, unit, asked), inner)


def of_subspace(a: Any, of_w: Any, same: Any, unit: Any, asked: Any) -> Any:
    """Returns ρ (a + aᴴ)/2 in each subspace of equal eigenvalues, NaN if the cotangent cannot tell.

    For a = 0 that is 0 if w̄ is, or if nothing is asked of the vectors.
    """
    a, of_w = lax.stop_gradient(a), lax.stop_gradient(of_w)
    x = m.diagonal(lax.real(a) if is_complex(a) else a)

    def total(values: Any) -> Any:
        spread = lax.broadcast_in_dim(m.row(values), same.shape, tuple(range(same.ndim)))
        kept = lax.select(same, spread, lax.full_like(spread, 0))
        return m.column(lax.reduce_sum(kept, (same.ndim - 1,)))

    def none(errors: Any) -> Any:
        return total(lax.abs(errors)) <= bound(unit) * largest(of_w, 1)

    rho = total(of_w * x) / total(x * x)
    fits = none(of_w - lax.squeeze(rho, (rho.ndim - 1,)) * x)
    told = fits & (total(lax.abs(x)) > bound(unit) * largest(unit, 2))
    hermitian = (a + m.adjoint(a)) / 2
    zero = is_small(hermitian, unit) & (none(of_w) | ~asked)
    nan = lax.full((), np.nan, a.dtype)
    known = lax.select(zero, lax.full_like(a, 0), hermitian * convert(rho, a.dtype))
    return lax.select(zero | told, known, lax.broadcast(nan, a.shape))
