# pyright: reportAttributeAccessIssue=false
"""The function itself in fifty digits, and its slopes there by differences.

No derivative is known to this witness: with fifty digits a step can be so small that a difference
is the derivative, to more digits than float64 has. At a kink the slopes ahead and behind differ;
half of that is the error bar.
"""

import itertools
from collections.abc import Callable

import mpmath
import numpy as np

from backprop_jax.check.witnesses import objects
from backprop_jax.check.witnesses.program import straight
from backprop_jax.check.witnesses.replay import answer, check, run, work
from backprop_jax.check.witnesses.witness import DoesNotApply, Question, Witness

DIGITS = 50
STEP = 1e-20
"""Of an operand; halfway between no difference left in fifty digits, and a curve seen."""

SMALLEST = 1e-10
"""The step of a smaller operand is as if it were this."""

MOST = 400_000
"""Operations in all: some seconds."""

m = mpmath.mp.clone()
m.dps = DIGITS


def of_matrices(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Returns a function of matrices as one of stacks of them."""

    def mapped(*stacks: np.ndarray) -> np.ndarray:
        shape = stacks[0].shape[:-2]
        found = np.empty((*shape, *stacks[-1].shape[-2:]), object)
        for index in np.ndindex(shape):
            found[index] = function(*(stack[index] for stack in stacks))
        return found

    return mapped


def cholesky(x: np.ndarray) -> np.ndarray:
    """Returns the lower triangle z of x = z zᵀ."""
    z = np.full(x.shape, m.mpf(0), object)
    for i, j in itertools.product(range(len(x)), repeat=2):
        if j <= i:
            rest = x[i, j] - sum(z[i, k] * z[j, k] for k in range(j))
            z[i, j] = m.sqrt(rest) if i == j else rest / z[j, j]
    return z


def triangular_solve(
    a: np.ndarray,
    b: np.ndarray,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> np.ndarray:
    """Returns the solution x of op(a) x = b, or x op(a) = b."""
    del conjugate_a  # The numbers are real.
    if transpose_a != (not left_side):
        a = a.swapaxes(-1, -2)
    first = lower != (transpose_a != (not left_side))  # The first unknown stands alone.

    def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        x = b.copy()
        rows = range(len(a)) if first else range(len(a) - 1, -1, -1)
        for i in rows:
            for k in range(i) if first else range(i + 1, len(a)):
                x[i] = x[i] - a[i, k] * x[k]
            x[i] = x[i] if unit_diagonal else x[i] / a[i, i]
        return x

    if left_side:
        return of_matrices(solve)(a, b)
    return of_matrices(solve)(a, b.swapaxes(-1, -2)).swapaxes(-1, -2)


# fmt: off
FUNCTIONS = {
    # -- arithmetic ----------------------------------------------------------------
    "add":       lambda x, y: x + y,         "add_any":   lambda x, y: x + y,
    "sub":       lambda x, y: x - y,         "mul":       lambda x, y: x * y,
    "div":       lambda x, y: x / y,         "neg":       lambda x: -x,
    "square":    lambda x: x * x,            "sqrt":      m.sqrt,
    "rsqrt":     lambda x: 1 / m.sqrt(x),    "cbrt":      lambda x: m.sign(x) * m.cbrt(abs(x)),
    "pow":       lambda x, y: x**y,          "abs":       abs,
    "max":       max,                        "min":       min,
    "clamp":     lambda a, x, b: min(max(a, x), b),
    "one_minus_square": lambda x: 1 - x * x,
    # -- exponentials --------------------------------------------------------------
    "exp":       m.exp,                      "exp2":      lambda x: m.mpf(2) ** x,
    "expm1":     m.expm1,                    "log":       m.log,
    "log1p":     m.log1p,                    "log2":      lambda x: m.log(x, 2),
    "logistic":  lambda x: 1 / (1 + m.exp(-x)),
    # -- circular, hyperbolic ------------------------------------------------------
    "sin":       m.sin,                      "cos":       m.cos,
    "tan":       m.tan,                      "asin":      m.asin,
    "acos":      m.acos,                     "atan":      m.atan,
    "atan2":     m.atan2,                    "sinh":      m.sinh,
    "cosh":      m.cosh,                     "tanh":      m.tanh,
    "asinh":     m.asinh,                    "acosh":     m.acosh,
    "atanh":     m.atanh,
    # -- special functions ---------------------------------------------------------
    "erf":       m.erf,                      "erfc":      m.erfc,
    "erf_inv":   m.erfinv,                   "lgamma":    lambda x: m.log(abs(m.gamma(x))),
    "digamma":   m.digamma,                  "polygamma": lambda n, x: m.psi(int(n), x),
    "bessel_i0e": lambda x: m.besseli(0, x) * m.exp(-abs(x)),
    "bessel_i1e": lambda x: m.besseli(1, x) * m.exp(-abs(x)),
}
# fmt: on

BACKEND = objects.backend("mpmath", m.mpf, FUNCTIONS, MOST)
BACKEND.table.update(cholesky=of_matrices(cholesky), triangular_solve=triangular_solve)


def gradient(question: Question) -> Witness:
    """Returns the slope of the function in each element of what is differentiated."""
    program = straight(question)
    if any(np.iscomplexobj(x) for x in program.inputs):
        raise DoesNotApply("the operands are complex")
    check(program, BACKEND)
    count = sum(x.size for x in program.inputs)
    size = 2 * count * sum(work(step) for step in program.steps)
    if size > MOST:
        raise DoesNotApply(f"too large: {size} operations on numbers, it takes {MOST}")
    point = [BACKEND.constant(x) for x in program.inputs]
    here = run(program, point, BACKEND).item()
    gradients, errors = [], []
    for i, x in enumerate(point):
        gradient, error = np.zeros(x.shape), np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            step = m.mpf(STEP) * max(abs(x[index]), m.mpf(SMALLEST))
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[index] += sign * step
                there = run(program, [*point[:i], moved, *point[i + 1 :]], BACKEND).item()
                ends.append(sign * (there - here) / step)
            if any(isinstance(end, m.mpc) for end in ends):
                raise DoesNotApply("the function is not real next to the operands")
            gradient[index] = float(sum(ends) / 2)
            error[index] = float(abs(ends[0] - ends[1]) / 2) + 2.0**-53 * abs(gradient[index])
        gradients.append(gradient)
        errors.append(error)
    return answer(question, "mpmath", gradients, errors, program.doubts)
