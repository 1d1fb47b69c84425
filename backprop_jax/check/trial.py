"""One recorded step on trial: does its rule give the slope of what it computes?

Along a direction v of the operands x, with the cotangents g that met the step in the run,

    Σ c · v   =   d/dt Σ g · f(x + t v)      at t = 0,

where c is what the rule said. The right side is measured, in float64 if the step can be run there:
it knows no rule. At a kink the rule may say anything between the slopes on the two sides.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check import widened
from backprop_jax.check.difference import distance, same
from backprop_jax.check.gradients.sides import digits as digits_of
from backprop_jax.check.numerical.rounding import nudged
from backprop_jax.check.numerical.slopes import noise_of, slopes
from backprop_jax.check.numerical.steps import signs, sizes
from backprop_jax.check.numerical.vectors import Space, Vector
from backprop_jax.check.witnesses.witness import DoesNotApply
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.registry import Row
from backprop_jax.engine.reverse import pull
from backprop_jax.graph.recording import Step

#: Along how many random directions, beside the one the rule says is steepest.
DIRECTIONS = 2
#: The shortest step of an operand's element, as a part of what the typical one takes.
LEAST = 1e-3
#: What is not called wrong, as a part of what is measured: in float64, and where there is none.
SLIGHT = {True: 1e-7, False: 2e-2}
#: A slope is known well enough, if its error bar is at most this part of it.
CLEAR = 0.1
#: How often the dice of rounding are thrown again.
THROWS = 6

#: Whose derivative is agreed upon, and no slope in their operands: how they are differentiated.
BY_AGREEMENT = {
    "_custom_root": "as what it solves",
    "cholesky_update": "among triangular matrices",
    "custom_linear_solve": "as what it solves",
    "random_gamma": "at a fixed quantile",
    "reduce_precision": "as if it did not round",
    "scaled_dot": "as if it did not round",
}
#: Those whose vectors, if complex, may be turned; a loss that minds how they are has no slope.
TURNED = {"eig", "eigh", "svd", "schur"}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a trial found.

    Attributes:
      step: on trial.
      word: "ok", "guilty" or "undecided".
      reason: in words.
      operand: whose cotangent is wrong, None if it is no single one.
      said, slope, bar: along the direction where they are farthest apart.
    """

    step: Step
    word: str
    reason: str = ""
    operand: int | None = None
    said: float = math.nan
    slope: float = math.nan
    bar: float = math.nan


class Function(NamedTuple):
    """What a step computes, made ready: run on these operands, in numbers of so many digits."""

    run: Callable[..., Sequence]
    operands: list
    digits: int

    @property
    def eps(self) -> float:
        """What its numbers are rounded by."""
        return 2.0**-self.digits


class Court:
    """Tries steps; holds on to compiled functions, which steps alike share."""

    def __init__(self) -> None:
        self.compiled: dict[str, Callable] = {}

    def judge(self, step: Step) -> Finding:
        """Returns what is to be said of a step that the way back has passed."""
        places = [i for i, slot in enumerate(step.slots) if slot is not None]
        given = step.cotangents or ()
        if not all(map(is_finite, given)) or any(map(has_nan, [*step.values, *step.results])):
            return Finding(step, "undecided", "a number in it is not finite")
        name = step.name or str(step.primitive)
        if agreed := BY_AGREEMENT.get(name):
            return Finding(step, "undecided", f"'{name}' is differentiated {agreed}")
        if name in TURNED and any(map(np.iscomplexobj, step.results)):
            return Finding(step, "undecided", f"complex vectors of '{name}' may be turned")
        if not any(g is not None and np.any(np.asarray(g)) for g in step.cotangents or ()):
            return Finding(step, "undecided", "its cotangents are zero")
        with jax.enable_x64(True):
            try:
                function = self.ready(step)
            except Forward as error:
                return Finding(step, "guilty", str(error))
            except DoesNotApply as error:
                return Finding(step, "undecided", str(error))
            return verdict(step, function, places)

    def ready(self, step: Step) -> Function:
        """Returns the function of a step, in float64 if that computes the same.

        Raises:
          Forward: it does not give the value that the run has met.
        """
        try:
            function = self.in_float64(step)
            if agrees(function.run(*function.operands), step.results):
                return function
        except Exception:  # Anything a primitive says to types it does not know.
            function = None
        narrow = Function(step.function, step.values, digits(step))
        try:
            results = narrow.run(*narrow.operands)
        except Exception as error:
            name = type(error).__name__
            raise DoesNotApply(f"what it computes cannot be run alone ({name})") from error
        if not agrees(results, step.results):
            raise Forward("its forward half gives another value than the function itself")
        return narrow

    def in_float64(self, step: Step) -> Function:
        """Returns the function of a step with every float in it wider."""
        operands = [widened.wide(x) for x in step.values]
        if type(step.node.rule) is Row and step.params is step.node.params:
            run = functools.partial(self.primitive, step)
        else:
            closed = jax.make_jaxpr(step.function)(*step.values)
            run = self.compile(closed)
        return Function(run, operands, digits_of(np.float64))

    def primitive(self, step: Step, *operands: Any) -> list:
        """Runs the primitive of a step in float64."""
        return widened.WIDENED.equation(step.primitive, step.params, operands)

    def compile(self, closed: Any) -> Callable:
        """Returns a closed jaxpr, widened and compiled; one for all of the same text."""
        key = str(closed.jaxpr)
        if key not in self.compiled:

            def run(consts: list, *operands: Any) -> list:
                return widened.widened(closed.replace(consts=consts))(*operands)

            self.compiled[key] = jax.jit(run)
        return functools.partial(self.compiled[key], list(map(widened.wide, closed.consts)))


class Forward(Exception):
    """A user's forward half and the function it belongs to differ."""


def verdict(step: Step, function: Function, places: Sequence[int]) -> Finding:
    """Returns the verdict on a step: all operands at once, and if that is bad one by one."""
    found = compare(step, function, places)
    if found.word != "guilty":
        return found
    alone = [compare(step, function, [i]) for i in places] if len(places) > 1 else []
    guilty = [each for each in alone if each.word == "guilty"]
    if len(guilty) == 1 or len(places) == 1:
        return guilty[0] if guilty else found
    return max(guilty, key=lambda each: abs(each.said - each.slope), default=found)


class Line(NamedTuple):
    """What the rule says along one direction, beside what is measured there.

    Attributes:
      said: Σ c · v. size: the root of the sum of the squares of its terms.
      low, high: the slope, or those on the two sides of a kink. bar: their error bar.
      directions: v, of each operand that moves.
    """

    said: float
    size: float
    low: float
    high: float
    bar: float
    directions: dict[int, np.ndarray]

    @property
    def slope(self) -> float:
        """The slope, in the middle of a kink."""
        return (self.low + self.high) / 2

    @property
    def scale(self) -> float:
        """How large the two sides are."""
        return self.size + abs(self.slope)

    @property
    def is_clear(self) -> bool:
        """Whether the slope is known well enough to say anything."""
        if not math.isfinite(self.bar):
            return False
        return not math.isfinite(self.size) or self.bar <= CLEAR * self.scale

    @property
    def distance(self) -> float:
        """How far what is said is from the slope, or from those on the two sides."""
        return max(self.low - self.said, self.said - self.high, 0.0)


def compare(step: Step, function: Function, places: Sequence[int]) -> Finding:
    """Returns the verdict on what the rule says of some of the operands."""
    lines = [line for line in along(step, function, places) if line.is_clear]
    if not lines:
        return Finding(step, "undecided", "its slope cannot be measured well enough")
    only = places[0] if len(places) == 1 else None
    if not all(is_finite(said_by(step)[i]) for i in places):
        return Finding(step, "guilty", "it is not finite, and the slope is", only)
    wrong = [line for line in lines if is_wrong(step, function, line)]
    if not wrong:
        return Finding(step, "ok")
    worst = max(wrong, key=lambda line: line.distance / line.scale)
    ratios = [line.said / line.slope for line in lines if line.slope]
    return Finding(step, "guilty", hint(ratios), only, worst.said, worst.slope, worst.bar)


def along(step: Step, function: Function, places: Sequence[int]) -> Iterator[Line]:
    """Yields the steepest direction, as the rule has it, and random ones."""
    generator = np.random.default_rng(step.number)
    operands = [function.operands[i] for i in places]
    space = Space.of(operands, list(map(str, places)))
    x, c = space.vector(operands), space.covector([said_by(step)[i] for i in places])
    size = np.concatenate([sizes(x[part], LEAST) for part in space.slices()])
    size = np.where(np.isfinite(x), size, 0.0)  # What is infinite, as a mask, stays where it is.
    g, f = of_results(step, function, space, places)
    noise = noise_of(f, x, size * signs(x.size, generator), max(function.digits, 15))
    told = np.sign(np.where(np.isfinite(c), c, 0.0))
    for number in range(DIRECTIONS + 1):
        v = size * (signs(x.size, generator) if number or not told.any() else told)
        with np.errstate(all="ignore"):  # Steps may leave the domain.
            low, high, bar = slopes(f, x, v, noise=noise, digits=function.digits).along(g)
            terms = c * v
        is_said = np.isfinite(terms).all()
        said = float(np.sum(terms)) if is_said else math.nan
        norm = float(np.linalg.norm(terms)) if is_said else math.nan
        parts = map(np.asarray, space.leaves(v))
        yield Line(said, norm, low, high, bar, dict(zip(places, parts, strict=True)))


def of_results(
    step: Step, function: Function, space: Space, places: Sequence[int]
) -> tuple[Vector, Callable[[Vector], Vector]]:
    """Returns the cotangents of a step as one covector, and what it computes, as a map of vectors.

    Results that were infinite in the run, and are so still, are zero: they do not move.
    """
    pairs = enumerate(zip(step.cotangents or (), step.results, strict=True))
    g = {k: (g, z) for k, (g, z) in pairs if g is not None}
    results = Space.of([z for _, z in g.values()], list(map(str, g)))
    start = results.vector([z for _, z in g.values()])

    def f(x: Vector) -> Vector:
        operands = list(function.operands)
        for i, leaf in zip(places, space.leaves(x), strict=True):
            operands[i] = leaf
        found = function.run(*operands)
        z = results.vector([found[k] for k in g])
        return np.where(np.isinf(start) & (z == start), 0.0, z)

    return results.covector([g for g, _ in g.values()]), f


def is_wrong(step: Step, function: Function, line: Line) -> bool:
    """Returns whether what is said is farther from the slope than digits explain.

    How far the last digits of what the rule is told move it is asked only if it matters.
    """
    slight = SLIGHT[function.digits == digits_of(np.float64)] * line.scale
    rounding = 16 * max(2.0 ** -digits(step), function.eps) * line.size
    allowed = 2 * line.bar + slight + rounding
    if line.distance <= allowed:
        return False
    return line.distance > allowed + 16 * spread(step, line.directions, line.said)


def hint(ratios: Sequence[float]) -> str:
    """Returns what the ratios of what is said to the slope tell."""
    if not any(ratios):
        return "it is zero"
    middle = sorted(ratios)[len(ratios) // 2]
    if not all(abs(r - middle) <= 1e-2 * abs(middle - 1) for r in ratios):
        return "it is another vector"
    return "its sign is wrong" if abs(middle + 1) < 1e-3 else f"it is {middle:.4g} times the slope"


def said_by(step: Step) -> dict[int, np.ndarray]:
    """Returns what the rule says of each operand, in float64; of one it leaves out, zero."""
    wanted = zip(step.slots, step.contributions or (), step.values, strict=False)
    return {
        i: np.zeros(np.shape(x)) if g is None else as_wide(g)
        for i, (slot, g, x) in enumerate(wanted)
        if slot is not None
    }


def spread(step: Step, directions: dict[int, np.ndarray], said: float) -> float:
    """Returns how far what the rule says moves with the last digits of what it is told."""
    farthest = 0.0
    for throw in range(THROWS):
        change = functools.partial(nudged, throw=throw)
        kept = jax.tree.map(change, step.node.kept)
        cotangents = [None if g is None else change(g) for g in step.cotangents or ()]
        found = pull(dataclasses.replace(step.node, kept=kept), cotangents)
        parts = (
            np.sum(np.real(as_wide(ct.whole(found[i])) * v))
            for i, v in directions.items()
            if found[i] is not None
        )
        farthest = max(farthest, abs(float(sum(parts)) - said))
    return farthest


def digits(step: Step) -> int:
    """Returns the digits of the narrowest float among operands and results."""
    avals = [*step.node.operand_avals, *step.node.result_avals]
    return min(digits_of(aval.dtype) for aval in avals if ct.is_differentiable(aval))


def agrees(results: Sequence, expected: Sequence) -> bool:
    """Returns whether results are those of the run, up to half the digits of these."""
    for x, y in zip(results, expected, strict=True):
        if not ct.is_differentiable(jax.typeof(y)):
            continue
        x, z = as_wide(x), as_wide(y)
        there = np.isfinite(x) & np.isfinite(z)
        if not np.all(there | same(x, z)):
            return False
        apart, size = np.linalg.norm(distance(x, z)), np.linalg.norm(z[there])
        if apart > 2.0 ** (-digits_of(jnp.asarray(y).dtype) / 2) * size:
            return False
    return True


def as_wide(x: Any) -> np.ndarray:
    """Returns a value as a NumPy array of float64 or complex128."""
    return np.asarray(widened.wide(np.asarray(x)))


def is_finite(x: Any) -> bool:
    """Returns whether a value, if it holds floats, holds finite ones only."""
    return not can_move(x) or bool(np.all(np.isfinite(as_wide(x))))


def has_nan(x: Any) -> bool:
    """Returns whether a value holds a NaN. Infinities, as of a mask, stay where they are."""
    return can_move(x) and bool(np.any(np.isnan(as_wide(x))))


def can_move(x: Any) -> bool:
    """Returns whether a value is an array of floats."""
    return hasattr(x, "dtype") and ct.is_differentiable(jax.typeof(x))
