# pyright: reportAttributeAccessIssue=false
"""The function itself in fifty digits, and its slopes there by differences.

No derivative is known to this witness: with fifty digits a step can be so small that a difference
is the derivative, to more digits than float64 has. At a kink the slopes ahead and behind differ;
half of that is the error bar.
"""

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
