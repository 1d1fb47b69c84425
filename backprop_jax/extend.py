"""The second public page: the words to write a rule with, for people who bring primitives along.

    from jax.extend.core import Primitive
    from backprop_jax import extend

    my_square_p = Primitive("my_square")
    extend.elementwise(my_square_p, lambda g, x: g * (2 * x))

A rule is put to the test where it is first met, and again for other types of operands: a slope is
measured at random numbers and compared. It is an error if it is wrong; `check=False` leaves it out.

A verb that is not told for which primitive returns the rule, for `backprop_jax.rules` to go by for
a while: `extend.elementwise(lambda g: g)`.

See `backprop_jax.engine.registry` for what the parameter names of a formula mean.
"""

from collections.abc import Callable
from typing import Any

from jax.extend.core import Primitive

from backprop_jax.engine.registry import Constant, Missing, on_trial, register, row
from backprop_jax.engine.registry import dear_to_recompute as dear_to_recompute
from backprop_jax.engine.registry import missing as missing
from backprop_jax.engine.units import Structured
from backprop_jax.proofs import prove

Formula = Callable | Missing | None


def elementwise(*formulas: Primitive | Formula, check: bool = True) -> Any:
    """Registers a function applied place by place, with a formula for each operand.

    `g` has the shape of the result, and so may the answer: an operand of rank 0 or of narrower
    dtype is taken care of. `None` stands for an operand that is not differentiable.
    """
    return say("elementwise", formulas, check)


def linear(*formulas: Primitive | Formula, check: bool = True) -> Any:
    """Registers a function linear in its operands, which are read as shape and dtype."""
    return say("linear", formulas, check)


def bilinear(*formulas: Primitive | Formula, check: bool = True) -> Any:
    """Registers a function linear in each of two; a formula reads its own as shape and dtype."""
    return say("bilinear", formulas, check)


def pullback(of: Primitive | Callable, check: bool = True) -> Any:
    """Registers the decorated function: all operands in one formula.

    It returns the operand's cotangent, or for several operands a tuple with None where there is
    none. Absent cotangents of results come as zeros.
    """
    if not isinstance(of, Primitive):
        return row("pullback", (of,))

    def decorate(formula: Callable) -> Callable:
        say("pullback", (of, formula), check)
        return formula

    return decorate


def structured(
    of: Primitive | Callable,
    inline: Callable[[dict], Callable | None] = lambda params: None,
    check: bool = True,
) -> Any:
    """Registers the decorated function, which makes a `Unit` of a primitive that holds a jaxpr."""
    if not isinstance(of, Primitive):
        return Structured(of, inline)

    def decorate(build: Callable) -> Callable:
        enter(of, Structured(build, inline), check)
        return build

    return decorate


def piecewise_constant(*primitives: Primitive, check: bool = True) -> Any:
    """Registers functions whose derivative is zero wherever it exists."""
    for primitive in primitives:
        enter(primitive, Constant(), check)
    return None if primitives else Constant()


def say(kind: str, words: tuple, check: bool) -> Any:
    """Registers the rule of a kind if its first word is a primitive, else returns it."""
    if not isinstance(words[0], Primitive):
        return row(kind, words)
    enter(words[0], row(kind, words[1:]), check)
    return None


def enter(primitive: Primitive, rule: Any, check: bool) -> None:
    """Adds a rule to the book."""
    register(primitive, rule)
    if check:
        on_trial[primitive] = prove
