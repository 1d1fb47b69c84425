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
where v has a cotangent of zero and w̄ is not zero, as at φ(w) = 0. What cannot be told is a sum for
which one ρ happens to fit, as it does where all elements of w̄ are equal and all of diag(vᴴ v̄): it
is taken for the third. A loss of eigenvalues alone that tells equal ones apart, as the largest, has
a kink; what is returned is a subgradient.

Second derivatives. As x moves, so do w̄_i and (vᴴ v̄)_ii, and with them ρ: their cotangents arrive
at the eigenvectors once more and say what they say at first order. Of a loss of eigenvalues alone
they tell if it is a sum over them, else NaN: see `of_values`; and `decompositions.of_others` for
what other subspaces add. Third derivatives are NaN.
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


def is_small(x: Any, unit: Any, axes: int = 2, times: Any = 1.0) -> Any:
    """Returns where x is zero but for rounding, in units of the largest element of `unit`.

    What is said of zeros is constant: `unit` is a matrix, or a vector if `axes` is 1.
    """
    x, unit = lax.stop_gradient(x), lax.stop_gradient(unit)
    return lax.abs(x) <= bound(unit) * times * largest(unit, axes)


def doubt(w: Any) -> Any:
    """Returns, as a column, by how much cotangents are rounded more than eigenvalues are.

    Eigenvalues are rounded in units of the largest, and the slope of a loss, of a logarithm for
    one, may vary by the size of each. It is no more than leaves half of the digits. Of a second
    derivative of values alone, w̄ is of other vectors where eigenvalues are equal: to take that for
    one of unequal ones would be wrong, so the same holds for vᴴ v̄.
    """
    size = lax.abs(m.column(lax.stop_gradient(w)))
    top = largest(size, 2)
    least = top * (bound(w) / float(np.finfo(w.dtype).eps) ** 0.5)
    size = lax.max(size, spread(least, size))
    size = lax.max(size, lax.full_like(size, float(np.finfo(w.dtype).tiny)))
    return lax.max(lax.full_like(size, 1), top / size)


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


def still(a: Any) -> Any:
    """Returns zeros that move as a does."""
    return a - lax.stop_gradient(a)


def poison(a: Any, where: Any) -> Any:
    """Returns a with zeros at these places, of which the derivative is not a number."""
    zero = lax.full_like(a, 0)
    return lax.select(where, zero, a / lax.select(where, zero, lax.full_like(a, 1)))


def spread(a: Any, like: Any) -> Any:
    """Returns a row, a column or one element for each matrix, in the shape of matrices."""
    return lax.broadcast_in_dim(a, like.shape, tuple(range(like.ndim)))


def flat(a: Any) -> Any:
    """Returns the vector of a column."""
    return lax.squeeze(a, (a.ndim - 1,))


def of_spectrum(
    a: Any, of_w: Any, w: Any, turn: Any, unit: Any, asked: Any, beside: Any = None
) -> Any:
    """Returns what the Hermitian matrix p = vᴴ dx v gets, p moving eigenvalues and eigenvectors.

        diag(w̄) + (a - aᴴ)/2 / (w_j - w_i),     a = vᴴ v̄,

    with `turn` in the place of the differences on the diagonal. Where eigenvalues are equal, what
    the module's first lines say; `asked` says whether the vectors have a cotangent: see `is_asked`.

    `beside` makes, of a, of what is returned, of which pairs of eigenvalues are equal and of ρ, the
    zeros that are added where there is such a pair: they move as the rest of it does.
    """
    alone = of_values(of_w, w, a.dtype)
    if asked is None:
        return alone
    gap = m.row(w) - m.column(w)
    here = m.on_diagonal(gap)
    same = is_small(gap, w, axes=1)
    skew = (a - m.adjoint(a)) / 2
    many = doubt(w)
    many = lax.max(spread(many, same), spread(m.transposed(many), same))
    tied = same & ~here & is_small(skew, unit, times=many)
    gap = lax.select(here, spread(m.row(turn), gap), gap)
    gap = lax.select(tied, lax.full_like(gap, np.inf), gap)
    both = m.diagonal_matrix(of_w, a.dtype)
    inner = lax.select(spread(asked, both), both, alone) + quotient(skew, gap, w, unit)
    within, rho, whole = of_subspace(a, of_w, w, same, tied, unit, inner, asked)
    within = lax.select(tied & ~spread(asked, tied), alone, within)
    inner = lax.select(tied | whole, within, inner)
    if beside is None:
        return inner
    some = lax.reduce_or(tied, tuple(range(tied.ndim)))

    def none(a: Any, *_: Any) -> Any:
        return lax.full_like(a, 0)

    return inner + lax.cond(some, beside, none, a, inner, tied, rho)


def of_values(of_w: Any, w: Any, dtype: Any) -> Any:
    """Returns diag(w̄), of a loss that asks for no vectors.

    It moves with w̄ as if equal eigenvalues had the vectors that `turn` makes of theirs: what w̄ is
    told of x is then of a basis in which no element is like another by chance.
    """
    still_w = m.diagonal_matrix(lax.stop_gradient(of_w), dtype)

    def turned(change: Any) -> Any:
        q = turn(w, dtype)
        return m.product(m.product(q, m.diagonal_matrix(change, dtype)), m.adjoint(q))

    def as_it_is(change: Any) -> Any:
        return m.diagonal_matrix(change, dtype)

    return still_w + lax.cond(
        lax.reduce_or(meeting(w), tuple(range(w.ndim + 1))), turned, as_it_is, still(of_w)
    )


def meeting(w: Any) -> Any:
    """Returns which pairs of eigenvalues are equal but for rounding, none with itself."""
    gap = m.row(w) - m.column(w)
    return is_small(gap, w, axes=1) & ~m.on_diagonal(gap)


def turn(w: Any, dtype: Any) -> Any:
    """Returns a unitary matrix that mixes vectors of equal eigenvalues, and no others.

    It is the Cayley transform of a skew matrix of such numbers as nothing else is made of.
    """
    same = meeting(w)
    i, j = (lax.broadcasted_iota(w.dtype, same.shape, same.ndim - k) for k in (2, 1))
    x = lax.sin(1.3 * i * i + 2.7 * j + 0.9)
    k = x - m.transposed(x)
    if np.issubdtype(dtype, np.complexfloating):
        k = lax.complex(k, x + m.transposed(x))
    k = lax.select(same, k, lax.full_like(k, 0))
    one = m.identity(k)
    return m.solve(one + k, one - k)


def of_subspace(
    a: Any, of_w: Any, w: Any, same: Any, tied: Any, unit: Any, beside: Any, asked: Any
) -> tuple[Any, Any, Any]:
    """Returns ρ (a + aᴴ)/2 in each subspace of equal eigenvalues, NaN if the cotangent cannot tell.

    For a = 0 that is 0 if w̄ is, or if nothing is asked of the vectors. Besides, returns ρ, a column
    with one element for each eigenvalue, 0 where it is not known, and which diagonals are not w̄:
    those of a second derivative of values alone, whose w̄ is of other vectors, see `of_values`.

    As x moves, so does ρ, the mean of w̄_i / a_ii and w̄_j / a_jj. Where that cannot be had, as for
    a = 0, the derivative of what is returned is NaN, and so is the second one everywhere.
    """
    moving, moving_w = a, of_w
    a, of_w = lax.stop_gradient(a), lax.stop_gradient(of_w)
    most = lax.max(largest(of_w, 1), largest(lax.stop_gradient(beside), 2))

    def total(values: Any) -> Any:
        wide = spread(m.row(values), same)
        return m.column(
            lax.reduce_sum(lax.select(same, wide, lax.full_like(wide, 0)), (same.ndim - 1,))
        )

    def none(errors: Any) -> Any:
        return total(lax.abs(errors)) <= bound(unit) * doubt(w) * most

    def fitting(x: Any) -> tuple[Any, Any]:
        square = total(x * x)
        some = total(lax.abs(x)) > bound(unit) * largest(unit, 2)
        rho = total(of_w * x) / lax.select(some, square, lax.full_like(square, 1))
        some &= none(of_w - flat(rho) * x)
        return some, lax.select(some, rho, lax.full_like(rho, 0))

    def turned(a: Any) -> Any:
        q = turn(w, a.dtype)
        return real_diagonal(m.product(m.product(m.adjoint(q), a), q))

    x = real_diagonal(a)
    some, rho = fitting(x)
    met = lax.reduce_or(tied, (tied.ndim - 1,))
    other, other_rho = fitting(
        lax.cond(lax.reduce_or(met, tuple(range(met.ndim))), turned, real_diagonal, a)
    )
    whole = same & spread(m.column(met) & other & ~some, same)
    told = tied & spread(some, tied)
    weak = lax.abs(x) <= bound(unit) * flat(largest(unit, 2))
    moved = still(moving_w - flat(rho) * real_diagonal(moving))
    moved = moved / lax.select(weak, lax.full_like(x, 1), x)
    moved = poison(moved, weak & lax.reduce_or(told, (told.ndim - 1,)))
    hermitian = (moving + m.adjoint(moving)) / 2
    known = hermitian * convert((m.row(moved) + m.column(moved)) / 2 + rho, a.dtype)
    zero = tied & is_small(hermitian, unit) & (spread(none(of_w), tied) | spread(~asked, tied))
    nothing = poison(lax.full_like(a, 0) * hermitian, zero & ~told & spread(asked, tied))
    nan = lax.full(a.shape, np.nan, a.dtype)
    known = known + zeros_up_to(2, hermitian, told)
    again = hermitian * convert(other_rho, a.dtype) + zeros_up_to(1, hermitian, whole)
    known = lax.select(told, known, lax.select(zero, nothing, nan))
    return lax.select(whole, again, known), rho, whole & m.on_diagonal(whole)


def zeros_up_to(order: int, a: Any, where: Any = None) -> Any:
    """Returns zeros, of which the derivative of this order is not a number where `where` holds."""
    zeros = still(lax.real(a) if is_complex(a) else a)
    where = lax.full_like(zeros, True, np.bool_) if where is None else where
    base = lax.select(where, zeros, lax.full_like(zeros, 1))
    power = lax.pow(base, lax.full_like(base, order - 0.5))
    return convert(lax.select(where, power, zeros), a.dtype)


def real_diagonal(a: Any) -> Any:
    """Returns the real part of the diagonal."""
    return m.diagonal(lax.real(a) if is_complex(a) else a)
