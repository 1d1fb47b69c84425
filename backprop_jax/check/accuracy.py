"""How far derivatives are from the truth: ours and jax.grad's, against mpmath, in ulp.

python -m backprop_jax.check.accuracy        writes docs/accuracy.md, or the page of another release
                                             of JAX beside it (some minutes)
"""

import argparse
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import backprop_jax as bp
from backprop_jax.check.measured import COMPOSED, ROWS, Measured
from backprop_jax.check.truth import DIGITS, m, slope_of
from backprop_jax.errors import BackpropError

RELEASE = ".".join(jax.__version__.split(".")[:2])
NAME = "accuracy.md" if RELEASE == "0.10" else f"accuracy-{RELEASE}.md"
PAGE = pathlib.Path(__file__).parents[2] / "docs" / NAME
DTYPES = (np.float32, np.float64)


class Finding(NamedTuple):
    """The errors of one derivative, in ulp, at all its points.

    Attributes:
      row: the function.
      operand: which operand moves.
      dtype: of operands and derivative.
      points: the operands.
      ours: error of each of our derivatives. jax: of `jax.grad`'s; None, where it has none.
    """

    row: Measured
    operand: int
    dtype: type
    points: list[np.ndarray]
    ours: np.ndarray | None
    jax: np.ndarray | None


def slopes(vjp: Callable, row: Measured, operand: int, operands: Sequence, order: int) -> Any:
    """Returns the slope of a row's function in one operand at every point, None if there is none.

    `order` 2 is the slope of that slope, in the same operand.
    """

    def function(x: jax.Array) -> jax.Array:
        return row.function(*operands[:operand], x, *operands[operand + 1 :])

    for _ in range(order):
        function = slope_function(vjp, function)
    try:
        return function(operands[operand])
    except (NotImplementedError, ValueError, BackpropError):
        return None


def slope_function(vjp: Callable, function: Callable) -> Callable:
    """Returns the function that has the slopes of another as its results."""

    def slope(x: jax.Array) -> jax.Array:
        z, pull = vjp(function, x)
        return pull(jnp.ones_like(z))[0]

    return slope


def find(row: Measured, dtype: type, order: int = 1, thin: int = 1) -> Iterator[Finding]:
    """Yields what was found of each operand of a row, at every point or every `thin`-th."""
    points = [x[::thin] for x in row.points(dtype, order == 2)]
    active = [i for i, slope in enumerate(row.slopes) if slope]

    @jax.jit
    def both(*operands: jax.Array) -> list:
        vjps = (bp.vjp, jax.vjp)
        return [[slopes(vjp, row, i, operands, order) for vjp in vjps] for i in active]

    with jax.enable_x64(dtype is np.float64):
        results = both(*map(jnp.asarray, points))
    for i, pair in zip(active, results, strict=True):
        true = truths(row, i, points, order)
        errors = [None if d is None else ulps(np.asarray(d), true, dtype) for d in pair]
        yield Finding(row, i, dtype, points, *errors)


def truths(row: Measured, operand: int, points: Sequence[np.ndarray], order: int) -> list:
    """Returns the true slope at every point, as numbers of mpmath."""
    slope: Any = row.slopes[operand]
    if order == 2:
        slope = slope_of(slope, operand)
    with m.workdps(DIGITS):
        return [slope(*(m.mpf(float(x)) for x in point)) for point in zip(*points, strict=True)]


def ulps(found: np.ndarray, true: Sequence, dtype: type) -> np.ndarray:
    """Returns the distance of each number from the truth, in units of the truth's last place.

    Where the truth is too large for the dtype, infinity is right, and where it is smaller than a
    thousand times the smallest normal number, zero is: XLA makes zero of smaller ones on the way.
    """
    info = np.finfo(dtype)
    tiny, largest, bits = 1024 * float(info.tiny), float(info.max), info.nmant
    errors = []
    with m.workdps(DIGITS):
        for x, truth in zip(found.tolist(), true, strict=True):
            size = abs(truth)
            if not m.isfinite(truth) or size > largest:
                right = not math.isfinite(x) or abs(x) > largest * (1 - 8 * float(info.eps))
                errors.append(0.0 if right else math.inf)
            elif not math.isfinite(x):
                errors.append(math.inf)
            elif size < tiny and abs(x) <= tiny:
                errors.append(0.0)
            else:
                place = m.ldexp(1, int(m.floor(m.log(max(size, tiny), 2))) - bits)
                errors.append(float(abs(m.mpf(x) - truth) / place))
    return np.array(errors)


# -- the page --------------------------------------------------------------------------------------

#: Elementwise primitives that are not measured, and why: reason → names.
UNMEASURED = {
    "hands on the cotangent, or a share of it: nothing is rounded": """
        abs add add_any clamp complex conj copy imag max min neg nextafter real sign sub""",
    "a random number; its slope is that of `igamma` over the density": "random_gamma",
}

#: Where ours is further from the truth than `LOOSE`: why, as far as it is known.
REASONS = {
    "tanh": "It keeps z alone: to keep x, too, would nearly double what a layer keeps. 1 - |z| has "
    "no digits left where z is near 1; the absolute error is at rounding level. As jax.grad.",
    "pow": "XLA's power in float64 loses digits for large exponents, as the function's value does.",
    "lgamma": "Near the zeros of digamma: XLA's has an absolute error at rounding level there.",
    "igamma": "Far in the tails the exponent is in the hundreds, and its rounding shows.",
    "igammac": "As igamma.",
    "igamma_grad_a": "As igamma.",
    "regularized_incomplete_beta": "Far in the tails the exponent is in the hundreds, and its "
    "rounding shows.",
    "zeta": "XLA's powers of large exponents lose digits, and its value with them.",
    "logistic": "Of the second order, near 0, where it is 0: an absolute error at rounding level.",
}
BY_STEPS = (
    "The program that JAX makes of it loses the digits on its way, and its steps are followed."
)

#: From how many ulp on a row is among those that fall short.
LOOSE = 50


def measure(rows: Sequence[Measured], order: int = 1) -> list[Finding]:
    """Returns what was found of all rows, in both dtypes."""
    rows = [row for row in rows if order == 1 or row.second]
    return [finding for row in rows for dtype in DTYPES for finding in find(row, dtype, order)]


def table(findings: Sequence[Finding]) -> list[str]:
    """Returns the lines of a table."""
    return [
        "| function | operand | dtype | points "
        "| ours: worst | median | at | jax: worst | median | at |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| `{f.row.name}` | {'xyw?'[f.operand]} | {np.dtype(f.dtype)} | {len(f.points[0])} "
            f"| {cells(f, f.ours)} | {cells(f, f.jax)} |"
            for f in findings
        ),
    ]


def cells(finding: Finding, errors: np.ndarray | None) -> str:
    """Returns worst error, median and where the worst is, as three cells."""
    if errors is None:
        return "none | | "
    k = int(np.argmax(errors))
    where = ", ".join(f"{x[k]:.6g}" for x in finding.points)
    worst, median = (number(e, finding.dtype) for e in (errors[k], np.median(errors)))
    return f"{worst} | {median} | {where}"


def number(ulp: float, dtype: type) -> str:
    """Returns an error in ulp; `wrong` where not one bit is right."""
    if ulp >= 2.0 ** (np.finfo(dtype).nmant - 1):
        return "**wrong**"
    return f"{ulp:.1f}" if ulp < 999.5 else f"{ulp:.0e}"


def shortfalls(findings: Sequence[Finding]) -> list[str]:
    """Returns lines about the functions of which ours is off by more than `LOOSE`."""
    worst: dict[str, float] = {}
    for finding in findings:
        if finding.ours is not None:
            name = finding.row.name
            worst[name] = max(worst.get(name, 0.0), float(np.max(finding.ours)))
    names = [name for name, ulp in worst.items() if ulp > LOOSE]
    known = [(name, REASONS.get(name.split(" (")[0])) for name in names]
    return [
        *(f"- `{name}`: {why}" for name, why in known if why),
        f"- {', '.join(f'`{name}`' for name, why in known if not why)}: {BY_STEPS}",
    ]


def behind(findings: Sequence[Finding], slack: float = 2.0) -> list[str]:
    """Returns lines about where ours, at worst, is further from the truth than jax.grad."""
    return [
        f"- `{f.row.name}`, {'xyw?'[f.operand]}, {np.dtype(f.dtype)}: "
        f"{number(np.max(f.ours), f.dtype)} against {number(np.max(f.jax), f.dtype)}"
        for f in findings
        if f.ours is not None
        and f.jax is not None
        and np.max(f.ours) > 1.25 * np.max(f.jax) + slack
    ] or ["Nowhere."]


def introduction(every: Sequence[Finding]) -> list[str]:
    """Returns the lines that say what is measured, and the sum of it."""
    better = sum(
        f.jax is not None and f.ours is not None and np.max(f.jax) > 2 * np.max(f.ours) + 2
        for f in every
    )
    none = sum(f.jax is None for f in every)
    return [
        "# Accuracy",
        "",
        f"How far derivatives are from the truth, of our `grad` and of `jax.grad`, on jax "
        f"{jax.__version__} ({jax.default_backend()}, compiled). Written by",
        "`python -m backprop_jax.check.accuracy`, which takes some minutes and needs mpmath.",
        "",
        "The truth is the slope of the function itself, not of the program that computes it, at "
        "exactly the numbers that were the operands,",
        f"by mpmath in {DIGITS} digits. The error is in **ulp**, units in the last place of the "
        "truth: half of one is the least there can be,",
        "and a few are what a handful of operations make. The points are the same in every run: "
        "magnitudes from the smallest to the largest,",
        "both signs, and steps ever closer to where something happens. `wrong` means that not one "
        "bit is right, `none` that there is no derivative.",
        "Where the truth overflows, infinity is right; where it is less than 1024 times the "
        "smallest normal number, zero is, too.",
        "",
        f"Of {len(every)} slopes, ours is better by more than a factor of 2 in {better}, and the "
        f"only one in {none}. At worst it is worse, by more than a quarter and 2 ulp:",
        "",
        *behind(every),
        "",
    ]


def page() -> str:
    """Returns the text of docs/accuracy.md, as measured here and now."""
    primitives, composed = measure(ROWS), measure(COMPOSED)
    second = measure([*ROWS, *COMPOSED], 2)
    every = [*primitives, *composed]
    lines = [
        *introduction(every),
        "## Primitives",
        "",
        *table(primitives),
        "",
        "Not measured:",
        "",
        *(
            f"- {', '.join(f'`{name}`' for name in names.split())}: {why}."
            for why, names in UNMEASURED.items()
        ),
        "",
        "## Functions made of them",
        "",
        "Those with a rule of JAX's own (`jax.custom_jvp`) and those whose program rounds on its "
        "way have the same errors with either.",
        "",
        *table(composed),
        "",
        "## Second order",
        "",
        "The slope of the slope in the same operand, at fewer points. Near the zero of a second "
        "derivative the error counts in very small units.",
        "",
        *table(second),
        "",
        "At worst worse, by more than a quarter and 10 ulp:",
        "",
        *behind(second, 10.0),
        "",
        "## Where ours falls short",
        "",
        f"More than {LOOSE} ulp somewhere, at first or second order:",
        "",
        *shortfalls([*every, *second]),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    argparse.ArgumentParser(
        "python -m backprop_jax.check.accuracy", description=__doc__
    ).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
