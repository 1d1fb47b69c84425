"""What is said of values that are not finite: where they were born, and what usually helps."""

import dataclasses
import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from backprop_jax.partition.residuals import AGAIN
from backprop_jax.taps.births import Births
from backprop_jax.taps.steps import Step
from backprop_jax.taps.walk import holders

#: How many births after the first are listed.
LISTED = 5


class Operand(NamedTuple):
    """An operand of a step at a birth.

    Attributes:
      kind: dtype and shape.
      here: the number that went into what was born; NaN if it was not one number.
      least: of those that are finite.
      largest: of those that are finite.
      nans: how many there were.
      infinities: how many there were.
    """

    kind: str
    here: float
    least: float
    largest: float
    nans: int
    infinities: int

    def __str__(self) -> str:
        wild = [
            f"{count} {name}"
            for count, name in ((self.nans, "NaN"), (self.infinities, "infinite"))
            if count
        ]
        text = f"{self.kind}, from {self.least:.3g} to {self.largest:.3g}"
        return ", ".join([text if self.least <= self.largest else self.kind, *wild])


@dataclasses.dataclass(frozen=True)
class Birth:
    """A step that made what is not finite from what is, the first time it did.

    Attributes:
      kind: "NaN", "infinity", or "NaN and infinity".
      primitive: the step's.
      way: "forward", "back", or "again": forward once more, on the way back.
      derivative_of: on the way back, the primitives at that line, whose derivative this is.
      equation: as text.
      written_at: the user's file and line.
      iterations: of each loop around it, outer ones first, the trip, counted from 0 and in the
        order of the way forward, and the loop as text.
      operands: the first three.
      place: where in the result; None if not one place.
      slopes: of an elementwise step, its derivative in each operand there.
      advice: what usually helps.
      reached: results and gradients that are finite if what was born here is taken out.
    """

    kind: str
    primitive: str
    way: str
    derivative_of: tuple[str, ...]
    equation: str
    written_at: str
    iterations: tuple[tuple[int, str], ...]
    operands: tuple[Operand, ...]
    place: tuple[int, ...] | None
    slopes: tuple[float, ...]
    advice: str
    reached: tuple[str, ...]

    def __str__(self) -> str:
        lines = [("equation", self.equation), ("written at", self.written_at)]
        lines += [("iteration", f"{trip} of the {loop}") for trip, loop in self.iterations]
        if self.place is not None:
            numbers = ", ".join(f"{x.here:.3g}" for x in self.operands)
            where = f", at {list(self.place)}" if self.place else ""
            lines.append(("there", f"{self.primitive}({numbers}){where}"))
            lines.append(("slope there", ", ".join(f"{slope:.3g}" for slope in self.slopes)))
        lines += [("operand", str(x)) for x in self.operands]
        return "\n".join(f"  {name + ':':<13}{text}" for name, text in lines if text)

    @property
    def headline(self) -> str:
        """What was born, and where."""
        of = f" through {' or '.join(self.derivative_of)}" if self.derivative_of else ""
        way = {
            "forward": "on the way forward",
            "back": f"on the way back{of}",
            "again": "computed again, on the way back",
        }
        return f"{self.kind} born in '{self.primitive}', {way[self.way]}"


@dataclasses.dataclass(frozen=True)
class Report:
    """Where values of a function and of its way back stop being finite; printed, a text.

    Attributes:
      title: the function.
      births: the first few, in the order in which they happened.
      count: how many there were, of different steps.
      given: arguments that are not finite to begin with.
      reached: the results and gradients that are not finite in the end.
    """

    title: str
    births: tuple[Birth, ...]
    count: int
    given: tuple[str, ...]
    reached: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.births or self.given or self.reached)

    @property
    def cause(self) -> Birth:
        """The first birth without which a result or gradient is finite; else the first of all."""
        return next((birth for birth in self.births if birth.reached), self.births[0])

    def __str__(self) -> str:
        lines = []
        if self.given:
            lines.append(f"{self.title}: not finite to begin with: {', '.join(self.given)}")
        if not self.births:
            return "\n".join(lines or [f"{self.title}: all values and cotangents are finite"])
        cause = self.cause
        lines += [f"{self.title}: {cause.headline}", str(cause)]
        reached = cause.reached or self.reached
        end = f"reached {', '.join(reached)}" if reached else MASKED
        lines += [f"  {'in the end:':<13}{end}", f"  {'to go on:':<13}{cause.advice}"]
        at = self.births.index(cause)
        for when, others in (("before", self.births[:at]), ("after", self.births[at + 1 :])):
            if others:
                lines.append(f"{when} it{', of no effect alone' if when == 'before' else ''}:")
            for other in others:
                trips = "".join(f", iteration {trip}" for trip, _ in other.iterations)
                lines.append(f"  {other.headline}{trips}: {other.written_at}")
        if self.count > len(self.births):
            lines.append(f"  and in {self.count - len(self.births)} more steps")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


MASKED = "masked: the result and all gradients asked for are finite"

#: Primitives whose derivative is infinite somewhere in, or at the end of, their domain.
SINGULAR = {"sqrt", "rsqrt", "log", "log1p", "log2", "div", "pow", "integer_pow", "cbrt", "asin"}
SINGULAR |= {"acos", "atanh", "acosh", "erf_inv", "logsumexp", "sort", "eigh", "svd", "cholesky"}

OVERFLOW = "numbers outgrow {dtype}: scale them down, normalize before, or use a wider dtype."
MASK = (
    "if a `where` is to mask it, mask the operand, too: f(where(ok, x, 1)) in the place of x; "
    'or grad(..., zero_times_inf="zero").'
)
ROOT = "add a small number under the root; the norm of zero has no slope: " + MASK
DOMAIN = "keep the operand in the domain: jnp.clip, jnp.maximum(x, eps), or where before it."

#: What usually helps: of the way back, by the primitives whose derivative it is; else by primitive.
#: The first that matches.
ADVICE_BACK: tuple[tuple[str, str], ...] = (
    ("sqrt|rsqrt|cbrt", ROOT),
    ("log|log1p|log2|div|pow|integer_pow|asin|acos|acosh|atanh|erf_inv", MASK),
    ("eigh|svd|qr|eig", "the derivative is infinite where eigenvalues or singular values meet."),
)
ADVICE: tuple[tuple[str, str], ...] = (
    ("sqrt|rsqrt|cbrt", "keep the operand above zero: jnp.sqrt(jnp.maximum(x, eps)), or x + eps."),
    ("log|log1p|log2|lgamma|digamma", DOMAIN + " Of a softmax, take jax.nn.log_softmax."),
    ("asin|acos|acosh|atanh|erf_inv|pow|integer_pow", DOMAIN),
    ("div|rem", "divide by jnp.where(y == 0, 1, y), or by y + eps."),
    ("exp|exp2|expm1|cosh|sinh", "subtract the largest first, as jax.nn.softmax and logsumexp do."),
    ("convert_element_type|reduce_precision", OVERFLOW),
    ("gather", "an index is out of bounds, and the gather fills in NaN: clip the index."),
    ("cholesky", "the matrix is not positive definite: add a small multiple of the identity."),
    ("triangular_solve|lu|custom_linear_solve", "the matrix is singular: add to its diagonal."),
    ("tan|sin|cos|scatter.*", DOMAIN),
)
INF_MINUS_INF = "inf - inf, or 0 * inf: find what is infinite before; of a mask, take a large "
INF_MINUS_INF += "number, such as -1e9, or `where` after."


def advice(step: Step, way: str, derivative_of: Sequence[str], operands: Sequence[Operand]) -> str:
    """Returns what usually helps."""
    names, table = ((step.primitive,), ADVICE) if way != "back" else (derivative_of, ADVICE_BACK)
    dtype = step.equation.outvars[0].aval.dtype
    if way != "back" and step.primitive in ("pow", "integer_pow") and abs(operands[0].here) > 1:
        return OVERFLOW.format(dtype=dtype)
    for pattern, text in table:
        if any(re.fullmatch(pattern, name) for name in names):
            return text.format(dtype=dtype)
    if any(x.infinities for x in operands):
        return INF_MINUS_INF
    return OVERFLOW.format(dtype=dtype)


def births_of(visitor: Births, seen: dict, back: bool) -> list[tuple[Step, np.ndarray]]:
    """Returns the steps that something was born in, and the trips, in the order it happened in."""
    fired = [(visitor.steps[i], seen["trips"][i]) for i in np.flatnonzero(seen["fired"])]
    return sorted(fired, key=lambda pair: moment(*pair, back))


def told_of(
    visitor: Births,
    seen: dict,
    reached: Sequence[tuple[str, ...]],
    made_at: Callable[[Step], Sequence[str]] | None,
) -> list[Birth]:
    """Returns the births that a close look has seen, in the order in which they happened.

    `reached`: of each step, what it has reached. `made_at`: of the way back; a step → the
    primitives whose derivative it may be.
    """
    births = []
    for step, _ in births_of(visitor, seen, made_at is not None):
        i = visitor.steps.index(step)
        row = {name: np.asarray(values[i]) for name, values in seen.items()}
        births.append(birth(step, row, reached[i], made_at))
    return births


def moment(step: Step, trips: np.ndarray, back: bool) -> tuple[int, ...]:
    """Returns what births are put in order by: the path, with the trips of loops in between.

    A loop that says the number of the trip itself counts down on the way back.
    """
    pairs = zip(step.loops, map(int, trips), strict=False)
    at = {loop.at: -trip if back and loop.numbered else trip for loop, trip in pairs}
    key: list[int] = []
    for i, number in enumerate(step.path, 1):
        key += [number, at[i]] if i in at else [number]
    return tuple(key)


def iterations(step: Step, trips: np.ndarray) -> tuple[tuple[int, str], ...]:
    """Returns for each of the user's loops around a step the trip, and the loop as text.

    The way back through a `while` is several loops, one in the other, written at one line; the
    innermost says the number.
    """
    pairs = list(zip(step.loops, map(int, trips), strict=False))
    found = []
    for i, (loop, trip) in enumerate(pairs):
        following = pairs[i + 1][0] if i + 1 < len(pairs) else None
        if loop.length is None and following and following.written_at == loop.written_at:
            continue
        if loop.length is not None and loop.reverse:
            trip = loop.length - 1 - trip
        found.append((trip, f"{loop.primitive} at {loop.written_at}"))
    return tuple(found)


def birth(
    step: Step,
    row: dict,
    reached: tuple[str, ...],
    made_at: Callable[[Step], Sequence[str]] | None,
) -> Birth:
    """Returns a birth from what was seen of a step."""
    way = "forward" if made_at is None else "again" if AGAIN in step.scope else "back"
    atoms = [v.aval for v in step.equation.invars]
    operands = tuple(
        Operand(aval.str_short(), float(here), float(least), float(most), int(nans), int(wilds))
        for aval, (least, most, nans, wilds, here) in zip(atoms, row["operands"], strict=False)
    )
    nans, infinities = row["result"]
    kinds = [name for name, count in (("NaN", nans), ("infinity", infinities)) if count]
    derivative_of = tuple(made_at(step)) if made_at and way == "back" else ()
    shape = step.equation.outvars[0].aval.shape
    single = not any(math.isnan(x.here) and not x.nans for x in operands)
    place = tuple(int(k) for k in np.unravel_index(int(row["place"]), shape)) if single else None
    results = ", ".join(step.results)
    return Birth(
        " and ".join(kinds),
        step.primitive,
        way,
        derivative_of,
        f"{results} = {step.primitive} {' '.join(aval.str_short() for aval in atoms)}",
        step.written_at,
        iterations(step, row["trips"]),
        operands,
        place,
        tuple(map(float, row["slopes"][: len(atoms)])),
        advice(step, way, derivative_of, operands),
        reached,
    )


def forward_primitives(steps: Iterable[Step]) -> Callable[[Step], list[str]]:
    """Returns the function from a step of the way back to the primitives it may be the reverse of.

    They are known by the calls that led to them; those with a singular derivative, if there is one.
    """
    made: dict[Any, dict[str, None]] = {}
    for step in steps:
        if step.equation.primitive not in holders and step.primitive != "convert_element_type":
            made.setdefault(key(step), {})[step.primitive] = None

    def made_at(step: Step) -> list[str]:
        names = list(made.get(key(step), ()))
        return [name for name in names if name in SINGULAR] or names

    return made_at


def key(step: Step) -> tuple:
    """Returns what steps of one line have in common."""
    return step.written_at, step.frames[:3]


def names_of(tree: Any, root: str) -> list[str]:
    """Returns the leaves of a tree as a user writes them."""
    return [root + jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]
