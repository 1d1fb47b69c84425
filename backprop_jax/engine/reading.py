"""How the book of rules is read: as it stands, or with a zero that stays zero.

A derivative is a sum over paths of products of factors. By IEEE arithmetic a path with a factor of
zero is NaN if another of its factors is infinite: the branch that `where` did not choose, the norm
of a zero vector. Read with a *strong zero*, a factor of exactly zero makes the whole path zero,
whatever the others are.
"""

import contextlib
import contextvars
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive

from backprop_jax.engine.custom import UserRule
from backprop_jax.engine.registry import Column, Row, Rule, lookup


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the rules are read along one tape, and in all that it meets.

    Attributes:
      strong_zero: whether 0 · inf and 0 · NaN are 0 on the way back.
    """

    strong_zero: bool = False

    def rule(self, primitive: Primitive) -> Rule | None:
        """Returns the rule of a primitive, or None."""
        rule = lookup(primitive)
        return strong(rule) if self.strong_zero and type(rule) is Row else rule

    def of_user(self, rule: UserRule) -> UserRule:
        """Returns the rule of a user's own `jax.custom_vjp`."""
        return rule._replace(pull=nothing_of_nothing(rule.pull)) if self.strong_zero else rule

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Makes this the reading of the tapes for inner jaxprs, which nobody else tells of it."""
        token = readings.set(self)
        try:
            yield
        finally:
            readings.reset(token)


AS_IT_STANDS = Reading()
readings: contextvars.ContextVar[Reading] = contextvars.ContextVar("reading", default=AS_IT_STANDS)


@functools.cache
def strong(rule: Row) -> Row:
    """Returns a rule in whose products a factor of zero wins."""
    guard = {
        "elementwise": in_each_place,
        "bilinear": in_each_sum,
        "pullback": in_all_places,
        "solve": in_all_places,
    }
    if rule.kind not in guard:  # a linear rule has no factor but the cotangent
        return rule
    columns = [guard[rule.kind](c) if type(c) is Column else c for c in rule.columns]
    return dataclasses.replace(rule, columns=tuple(columns))


def in_each_place(column: Column) -> Column:
    """The derivative at a place is the formula's answer to 1; it or `g` may be the zero."""

    def formula(g: Any, *values: Any, **params: Any) -> Any:
        gradient = column.formula(g, *values, **params)
        if gradient is None:
            return None
        zero = g == 0
        still = column.formula(lax.full_like(g, 1), *values, **params) == 0
        if jnp.iscomplexobj(g):
            still &= column.formula(lax.full_like(g, 1j), *values, **params) == 0
        return lax.select(zero | still, lax.full_like(gradient, 0), gradient)

    return column._replace(formula=formula)


def in_each_sum(column: Column) -> Column:
    """A sum of products: if one of them is not finite, they are counted as well as added up."""
    (name,) = (name for name in column.reads if name not in column.shapes)
    place = column.reads.index(name)

    def formula(g: Any, *values: Any, **params: Any) -> Any:
        def product(g: Any, y: Any) -> Any:
            return column.formula(g, *values[:place], y, *values[place + 1 :], **params)

        y = values[place]
        finite = jnp.isfinite(g).all() & jnp.isfinite(y).all()
        return lax.cond(finite, product, functools.partial(counted, product), g, y)

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
    infinite = jnp.where(
        signs == meetings, jnp.inf, jnp.where(signs == -meetings, -jnp.inf, jnp.nan)
    )
    return jnp.where(meetings == 0, product(a, b), infinite.astype(meetings.dtype))


def parts(x: Any) -> tuple[Any, Any, Any, Any]:
    """Returns finite values, ones where there is none, ones where it is not 0, and signs."""
    wild = ~jnp.isfinite(x)
    signless = wild if jnp.iscomplexobj(x) else jnp.isnan(x)
    signs = jnp.sign(jnp.where(signless, 0, x))
    return jnp.where(wild, 0, x), wild.astype(x.dtype), (~wild & (x != 0)).astype(x.dtype), signs


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
    comes = functools.reduce(operator.or_, [jnp.any(g != 0) for g in jax.tree.leaves(cotangents)])
    return [jnp.where(comes, h, 0) if isinstance(h, jax.Array) else h for h in gradients]
