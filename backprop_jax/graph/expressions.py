"""Small formulas as text: what scalar steps compute, and the derivatives that our rules say.

A formula is read off a jaxpr, equation by equation. Nothing is derived here: the derivative of a
step is what its rule computes from the cotangent one, read in the same way.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import Literal

from backprop_jax.engine.jaxprs import held

SUM, QUOTIENT, PRODUCT, POWER, ATOM = range(5)
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Expression:
    """A coefficient times a product of factors; or text that binds so tightly.

    Attributes:
      coefficient: the number in front.
      factors: (text, exponent), each text bound as tightly as an atom.
      text: of what is no product, a sum or a call; None for a product.
      binds: how tightly the text does.
    """

    coefficient: float = 1.0
    factors: tuple[tuple[str, int], ...] = ()
    text: str | None = None
    binds: int = ATOM

    def __str__(self) -> str:
        """The formula as a person would write it: `9(3x + 4y)²`."""
        if self.text is not None:
            return self.text
        if not self.factors:
            return number(self.coefficient)
        text = "·".join(powered(text, n) for text, n in self.factors)
        if abs(self.coefficient) == 1:
            return ("-" if self.coefficient < 0 else "") + text
        close = self.factors[0][0].startswith("(") or len(self.factors[0][0]) == 1
        return number(self.coefficient) + ("" if close else "·") + text

    @property
    def tightness(self) -> int:
        """How tightly it binds, as it is written."""
        if self.text is not None:
            return self.binds
        if not self.factors:
            return ATOM if self.coefficient >= 0 else SUM
        alone = self.coefficient == 1 and len(self.factors) == 1
        return PRODUCT if not alone else ATOM if self.factors[0][1] == 1 else POWER

    @property
    def is_number(self) -> bool:
        """Whether it is a number alone."""
        return self.text is None and not self.factors

    def within(self, tightness: int) -> str:
        """The text, in brackets if it binds less tightly than this."""
        return str(self) if self.tightness >= tightness else f"({self})"


def powered(text: str, exponent: int) -> str:
    """Returns a factor with its exponent."""
    return text if exponent == 1 else text + str(exponent).translate(SUPERSCRIPTS)


def number(x: Any) -> str:
    """Returns a number as text, to six digits."""
    x = complex(x)
    if x.imag:
        return f"({x:.6g})"
    return f"{x.real:.6g}"


def constant(x: Any) -> Expression:
    """Returns a number as a formula."""
    return Expression(coefficient=float(x))


def name(text: str) -> Expression:
    """Returns a variable as a formula."""
    return Expression(factors=((text, 1),))


def product(*terms: Expression) -> Expression:
    """Returns the product; numbers are multiplied, equal factors gathered."""
    coefficient, factors = 1.0, {}
    for term in terms:
        if term.text is None:
            coefficient *= term.coefficient
            pairs = term.factors
        else:
            pairs = ((term.within(ATOM), 1),)
        for text, exponent in pairs:
            factors[text] = factors.get(text, 0) + exponent
    if not coefficient:
        return constant(0)
    return Expression(coefficient, tuple((t, n) for t, n in factors.items() if n))


def power(x: Expression, exponent: int) -> Expression:
    """Returns an integer power."""
    if x.is_number:
        return constant(x.coefficient**exponent)
    if x.text is None and x.coefficient == 1:
        return Expression(factors=tuple((t, n * exponent) for t, n in x.factors if exponent))
    return Expression(factors=((x.within(ATOM), exponent),) if exponent else ())


def total(x: Expression, y: Expression, sign: int = 1) -> Expression:
    """Returns x + y, or x - y."""
    if x.is_number and y.is_number:
        return constant(x.coefficient + sign * y.coefficient)
    if y.is_number and not y.coefficient:
        return x
    if x.is_number and not x.coefficient:
        return y if sign > 0 else product(constant(-1), y)
    if y.text is None and y.coefficient < 0:
        y, sign = product(constant(-1), y), -sign
    right = y.within(QUOTIENT if sign < 0 else SUM)
    return Expression(text=f"{x} {'+' if sign > 0 else '-'} {right}", binds=SUM)


def quotient(x: Expression, y: Expression) -> Expression:
    """Returns x / y."""
    if y.is_number and y.coefficient:
        return product(constant(1 / y.coefficient), x)
    return Expression(text=f"{x.within(PRODUCT)} / {y.within(POWER)}", binds=QUOTIENT)


def called(what: str, *operands: Expression) -> Expression:
    """Returns a function by name."""
    return Expression(text=f"{what}({', '.join(map(str, operands))})", binds=ATOM)


def whole_power(x: Expression, **params: Any) -> Expression:
    """Returns `integer_pow`."""
    return power(x, params["y"])


def same(x: Expression, **params: Any) -> Expression:
    """Returns what a step leaves as it is."""
    del params
    return x


def plain(build: Callable) -> Callable:
    """Returns a builder that takes no parameters of the primitive."""
    return lambda *operands, **params: build(*operands)


WORDS: dict[str, Callable[..., Expression]] = {
    "add": plain(total),
    "add_any": plain(total),
    "sub": plain(lambda x, y: total(x, y, -1)),
    "neg": plain(lambda x: product(constant(-1), x)),
    "mul": plain(product),
    "div": plain(quotient),
    "integer_pow": whole_power,
    "square": plain(lambda x: power(x, 2)),
    "pow": plain(lambda x, y: Expression(text=f"{x.within(ATOM)}^{y.within(ATOM)}", binds=POWER)),
    "log": plain(lambda x: called("log", x)),
    "convert_element_type": same,
    "reshape": same,
    "broadcast_in_dim": same,
    "squeeze": same,
    "copy": same,
}

#: What is written in the same way for arrays.
PLACE_BY_PLACE = ("add", "add_any", "sub", "neg", "mul", "div", "integer_pow", "square", "pow")


def of_equation(primitive: Any, params: dict, operands: Sequence[Expression]) -> list[Expression]:
    """Returns the formulas of a step's results, given those of its operands."""
    inner = held(params)
    if inner and getattr(inner[0], "jaxpr", None) is not None:
        return of_jaxpr(inner[0].jaxpr, inner[0].consts, operands)
    if build := WORDS.get(str(primitive)):
        return [build(*operands, **params)]
    return [called(params.get("name") or str(primitive), *operands)]


def of_jaxpr(jaxpr: Any, consts: Sequence, operands: Sequence[Expression]) -> list[Expression]:
    """Returns the formulas of a jaxpr's results."""
    known = {v: constant(c) for v, c in zip(jaxpr.constvars, consts, strict=True)}
    known.update(zip(jaxpr.invars, operands, strict=True))

    def read(atom: Any) -> Expression:
        return constant(np.asarray(atom.val)) if type(atom) is Literal else known[atom]

    for equation in jaxpr.eqns:
        found = of_equation(equation.primitive, equation.params, [*map(read, equation.invars)])
        known.update(zip(equation.outvars, found, strict=False))
    return [read(atom) for atom in jaxpr.outvars]
