"""A strong zero: rules under which 0 · inf and 0 · NaN are 0.

A derivative is a sum over paths of products of factors. By IEEE arithmetic a path with a factor of
zero is NaN if another of its factors is infinite: the branch that `where` did not choose, the norm
of a zero vector. With a strong zero, a factor of exactly zero makes the whole path zero.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.engine.custom import UserRule
from backprop_jax.engine.registry import Column, Row
from backprop_jax.rules.elementary import is_complex


def strong_zero(rule: Any) -> Any:
    """Returns a rule in whose products a factor of zero wins."""
    if isinstance(rule, UserRule):
        return rule._replace(pull=nothing_of_nothing(rule.pull))
    return strong(rule) if type(rule) is Row else rule


@functools.cache
def strong(rule: Row) -> Row:
    """Returns the rule of a primitive that is run as it is, with a strong zero."""
    guards = {"elementwise": in_each_place, "bilinear": in_each_sum, "pullback": in_all_places}
    if rule.kind not in guards:  # a linear rule has no factor but the cotangent
        return rule
    guard = guards[rule.kind]
    return Row(rule.kind, tuple(guard(c) if type(c) is Column else c for c in rule.columns))


def in_each_place(column: Column) -> Column:
    """The derivative at a place is the formula's answer to 1; it or `g` may be the zero."""

    def formula(g: Any, *values: Any, **params: Any) -> Any:
        gradient = column.formula(g, *values, **params)
        if gradient is None:
            return None
        zero = column.formula(lax.full_like(g, 1), *values, **params) == 0
        if is_complex(g):
            zero &= column.formula(lax.full_like(g, 1j), *values, **params) == 0
        return where((g == 0) | zero, 0, gradient)

    return column._replace(formula=formula)


def in_each_sum(column: Column) -> Column:
    """A sum of products: if one of them is not finite, they are counted as well as added up."""
    (name,) = (name for name in column.reads if name not in column.shapes)
    place = column.reads.index(name)

    def formula(g: Any, *values: Any, **params: Any) -> Any:
        def product(g: Any, y: Any) -> Any:
            return column.formula(g, *values[:place], y, *values[place + 1 :], **params)

        y = values[place]
        wild = any_of(is_wild(g)) | any_of(is_wild(y))
        return lax.cond(wild, functools.partial(counted, product), product, g, y)

    return column._replace(formula=formula)


def counted(product: Callable, g: Any, y: Any) -> Any:
    """Returns a bilinear product of arrays that are not finite everywhere, with 0 · inf = 0.

    It is the product of the finite parts, unless a factor that is not finite meets one that is not
    zero. Such meetings the product itself counts: how many there are of them, and by the signs of
    the factors how many more give +inf than -inf. NaN and complex numbers have no sign.
    """
    a, wild_a, tame_a, sign_a = parts(g)
    b, wild_b, tame_b, sign_b = parts(y)
    meetings = product(wild_a, wild_b + tame_b) + product(tame_a, wild_b)
    signs = product(wild_a * sign_a, sign_b) + product(tame_a * sign_a, wild_b * sign_b)
    infinite = where(signs == meetings, np.inf, where(signs == -meetings, -np.inf, nan(signs)))
    return lax.select(meetings == 0, product(a, b), infinite)


def parts(x: Any) -> tuple[Any, Any, Any, Any]:
    """Returns finite values, ones where there is none, ones where it is not 0, and signs."""
    wild = is_wild(x)
    signs = where(wild if is_complex(x) else x != x, 0, lax.sign(x))
    ones = lax.full_like(x, 1)
    return where(wild, 0, x), where(~wild, 0, ones), where(wild | (x == 0), 0, ones), signs


def in_all_places(column: Column) -> Column:
    """A formula for all operands: nothing flows back where nothing comes."""

    def formula(g: Any, *values: Any, **params: Any) -> Any:
        gradients = column.formula(g, *values, **params)
        several = isinstance(gradients, list | tuple)
        guarded = if_any(g, gradients if several else [gradients])
        return guarded if several else guarded[0]

    return column._replace(formula=formula)


def nothing_of_nothing(pull: Callable) -> Callable:
    """Returns a user's rule under which nothing flows back where nothing comes."""
    return lambda node, cotangents: if_any(cotangents, pull(node, cotangents))


def if_any(cotangents: Any, gradients: Sequence) -> list:
    """Returns the gradients, arrays of zeros if the cotangents are."""
    comes = functools.reduce(operator.or_, (any_of(g != 0) for g in jax.tree.leaves(cotangents)))
    return [
        where(lax.broadcast(~comes, h.shape), 0, h) if isinstance(h, jax.Array) else h
        for h in gradients
    ]


def where(predicate: Any, number: float, x: Any) -> Any:
    """Returns x with a number in the places where a predicate of its shape holds."""
    return lax.select(predicate, lax.full_like(x, number), x)


def nan(x: Any) -> Any:
    """Returns an array like x that is no number anywhere."""
    return lax.full_like(x, np.nan)


def any_of(predicate: Any) -> Any:
    """Returns whether a predicate holds anywhere."""
    return lax.reduce_or(predicate, tuple(range(predicate.ndim)))


def is_wild(x: Any) -> Any:
    """Returns where an array is not finite."""
    finite = [
        lax.is_finite(part) for part in ((lax.real(x), lax.imag(x)) if is_complex(x) else (x,))
    ]
    return ~functools.reduce(operator.and_, finite)
