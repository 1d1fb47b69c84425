# pyright: reportMissingImports=false, reportOperatorIssue=false
"""The function as an expression, differentiated by sympy."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np

from backprop_jax.check.witnesses import objects
from backprop_jax.check.witnesses.program import straight
from backprop_jax.check.witnesses.replay import answer, check, run
from backprop_jax.check.witnesses.witness import DoesNotApply, Question, Witness


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Lets sympy 1.12 ask mpmath 1.4 for names that will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


with forgiving():
    import sympy

DIGITS = 50

MOST = 20_000
"""Operations of the expression."""

MOST_TERMS = 100_000
"""Nodes of the expression when what occurs twice is written twice, as sympy goes through it."""


class Step(sympy.Function):
    """1 above 0, 0 below, and one half at 0."""

    def fdiff(self, argindex: int = 1) -> Any:
        """The slope, where there is one."""
        return sympy.Integer(0)


class Magnitude(sympy.Function):
    """|x| of a real x; sympy's own asks whether x is real, which it cannot always tell."""

    def fdiff(self, argindex: int = 1) -> Any:
        """The sign."""
        (x,) = self.args
        return Step(x) - Step(-x)


class Larger(sympy.Function):
    """The larger of two; half the slope each if they are equal."""

    def fdiff(self, argindex: int = 1) -> Any:
        """1 for the larger."""
        x, y = self.args
        return Step(x - y if argindex == 1 else y - x)


def larger(x: Any, y: Any) -> Any:
    """Returns the larger of two."""
    return Larger(x, y)


def smaller(x: Any, y: Any) -> Any:
    """Returns the smaller of two."""
    return -Larger(-x, -y)


NUMERIC = {
    "Step": lambda x: (1 + mpmath.sign(x)) / 2,
    "Magnitude": abs,
    "Larger": max,
    "polygamma": lambda n, x: mpmath.psi(int(n), x),
    "erfinv": mpmath.erfinv,
}
"""What the printer of sympy has no word for in mpmath."""

# fmt: off
FUNCTIONS = {
    # -- arithmetic ----------------------------------------------------------------
    "add":       lambda x, y: x + y,         "add_any":   lambda x, y: x + y,
    "sub":       lambda x, y: x - y,         "mul":       lambda x, y: x * y,
    "div":       lambda x, y: x / y,         "neg":       lambda x: -x,
    "square":    lambda x: x**2,             "sqrt":      sympy.sqrt,
    "rsqrt":     lambda x: 1 / sympy.sqrt(x),
    "cbrt":      lambda x: x / Magnitude(x) ** sympy.Rational(2, 3),
    "pow":       lambda x, y: x**y,          "abs":       lambda x: Magnitude(x),
    "max":       larger,                     "min":       smaller,
    "clamp":     lambda a, x, b: smaller(larger(a, x), b),
    "one_minus_square": lambda x: 1 - x**2,
    # -- exponentials --------------------------------------------------------------
    "exp":       sympy.exp,                  "exp2":      lambda x: 2**x,
    "expm1":     lambda x: sympy.exp(x) - 1, "log":       sympy.log,
    "log1p":     lambda x: sympy.log(1 + x), "log2":      lambda x: sympy.log(x) / sympy.log(2),
    "logistic":  lambda x: 1 / (1 + sympy.exp(-x)),
    # -- circular, hyperbolic ------------------------------------------------------
    "sin":       sympy.sin,                  "cos":       sympy.cos,
    "tan":       sympy.tan,                  "asin":      sympy.asin,
    "acos":      sympy.acos,                 "atan":      sympy.atan,
    "atan2":     sympy.atan2,                "sinh":      sympy.sinh,
    "cosh":      sympy.cosh,                 "tanh":      sympy.tanh,
    "asinh":     sympy.asinh,                "acosh":     sympy.acosh,
    "atanh":     sympy.atanh,
    # -- special functions ---------------------------------------------------------
    "erf":       sympy.erf,                  "erfc":      sympy.erfc,
    "erf_inv":   sympy.erfinv,               "digamma":   sympy.digamma,
    "lgamma":    lambda x: sympy.log(Magnitude(sympy.gamma(x))),
    "polygamma": lambda n, x: sympy.polygamma(sympy.Integer(n), x),
}
# fmt: on


def number(value: float) -> Any:
    """Returns a float as sympy's number, all its bits."""
    return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value, DIGITS)


BACKEND = objects.backend("sympy", number, FUNCTIONS, MOST)


@forgiving()
def gradient(question: Question) -> Witness:
    """Returns sympy's derivative of the function, evaluated in fifty digits."""
    program = straight(question)
    if any(np.iscomplexobj(x) for x in program.inputs):
        raise DoesNotApply("the operands are complex")
    check(program, BACKEND)
    named = [
        objects.each(symbol(i))(np.arange(x.size).reshape(x.shape))
        for i, x in enumerate(program.inputs)
    ]
    expression = sympy.sympify(run(program, named, BACKEND).item())
    if (count := terms(expression)) > MOST_TERMS:
        raise DoesNotApply(f"the expression has {count:.1g} terms")
    symbols = [entry for names in named for entry in names.ravel()]
    slopes = [sympy.diff(expression, entry) for entry in symbols]
    evaluate = sympy.lambdify(symbols, slopes, modules=[NUMERIC, "mpmath"], cse=True)
    point = [x for array in program.inputs for x in array.astype(np.float64).ravel().tolist()]
    with mpmath.workdps(DIGITS):
        found = iter([float(mpmath.mpf(x)) for x in evaluate(*map(mpmath.mpf, point))])
    gradients = [
        np.array([next(found) for _ in range(x.size)]).reshape(x.shape) for x in program.inputs
    ]
    return answer(
        question, "sympy", gradients, [2.0**-53 * abs(x) for x in gradients], program.doubts
    )


def symbol(i: int) -> Callable[[int], Any]:
    """Returns what names the elements of an input."""
    return lambda k: sympy.Symbol(f"x{i}_{k}", real=True)


def terms(expression: Any) -> int:
    """Returns the nodes of an expression as a tree, without going through it as one."""
    sizes: dict[Any, int] = {}
    stack = [expression]
    while stack:
        node = stack[-1]
        waiting = [child for child in node.args if child not in sizes]
        if waiting:
            stack += waiting
        else:
            sizes[stack.pop()] = 1 + sum(sizes[child] for child in node.args)
    return sizes[expression]
