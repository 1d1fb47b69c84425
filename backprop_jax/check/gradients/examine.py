"""The questions put to a derivative, and which answers are wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from backprop_jax.check.difference import same
from backprop_jax.check.gradients.findings import GradsReport
from backprop_jax.check.gradients.sides import Side, digits, finest
from backprop_jax.check.numerical.slopes import TINY, Slopes, noise_of, roughness, slopes
from backprop_jax.check.numerical.steps import bins, direction, signs, sizes
from backprop_jax.check.numerical.vectors import Space, Vector
from backprop_jax.check.verdict import MARGIN, Tolerance, judge

DRAWS = 2
"""How many random directions: two errors that cancel in one do not in the other."""
NUDGES = 4
UNTIED = 16
"""At how many more points operands that are equal are made different."""
SEEN = 0.01
"""An answer is judged if the error bar is at most this part of it."""


Again = Callable[[Side, Vector], tuple[Vector, Vector]]
"""(side, operands) → what it says there, and float64."""


@dataclass(frozen=True)
class Allowed:
    """How far is too far, as the user says; None: what precision and error bars say."""

    rtol: float | None = None
    atol: float = 0.0

    def relative(self, digits: int) -> float:
        """Returns what a derivative computed with so many digits may be off, relative to it.

        Half of the digits in float64: what a derivative of few operations and little cancellation
        keeps with room to spare. In short precisions 64 units of the last place.
        """
        if self.rtol is not None:
            return self.rtol
        return min(2.0 ** (-digits / 2), 64 * 2.0**-digits) if digits < 52 else 2.0**-26


@dataclass(frozen=True)
class Answer:
    """An answer that is wrong.

    Attributes:
      mode: "fwd" or "rev".
      side: who gave it: in the user's precision, or in float64.
      v: the direction along which it is.
      c: the covector of the results; None for a slope.
      entry: which entry, of the operands ("rev") or of the results ("fwd"); None if not known yet.
      expected: what it should be, where another precision says so; None: ask for a slope.
    """

    mode: str
    side: Side
    v: Vector
    c: Vector | None = None
    entry: int | None = None
    expected: float | None = None


@dataclass
class Examination:
    """A function's derivatives, of one order, judged by measured slopes.

    In float64, wherever the function can be computed there, they are judged by slopes:
    <pull(c), v> = <c, slope along v>, and push(v) entry by entry. In the user's precision they are
    judged by those in float64, element by element. Nothing that is allowed grows with the size of
    an array, but as a sum of random numbers does.
    """

    narrow: Side
    modes: tuple[str, ...]
    allowed: Allowed
    report: GradsReport
    rng: np.random.Generator
    first: int | None = None

    def __post_init__(self) -> None:
        self.base, self.digits = finest(self.narrow, self.report.note, self._try_out)
        self.relative = self.allowed.relative(self.digits)
        self.fine = 6 if self.digits > 20 else 2

    def _try_out(self, side: Side) -> None:
        """Asks a side for its derivatives, to see whether it has them."""
        if "rev" in self.modes:
            side.pull([np.zeros(side.y.size)])
        if "fwd" in self.modes:
            side.push(np.zeros(side.x.size))

    def answers(self) -> Iterator[Answer]:
        """Yields the answers that are wrong."""
        if not (self.base.x.size and self.base.y.size):
            return
        self.cs = self._covectors()
        self.pulled = self.base.pull(self.cs) if "rev" in self.modes else []
        self.v = direction(self.base.x, self.rng, self.fine)
        yield from self.by_slopes()
        if self.base is not self.narrow:
            yield from self.by_precision()

    def _covectors(self) -> list[Vector]:
        """Covectors of the results: 1 for one number, else random ones, also of each leaf alone."""
        space, size = self.base.results, self.base.y.size
        if size == 1:
            return [np.ones(1)]
        drawn = [signs(size, self.rng, self.fine) for _ in range(DRAWS)]
        parts = space.slices()
        if 1 < len(parts) <= 4:
            for part in parts:
                alone = np.zeros(size)
                alone[part] = drawn[0][part]
                drawn.append(alone)
        return drawn

    # -- by slopes -----------------------------------------------------------------------------

    def by_slopes(self) -> Iterator[Answer]:
        """Yields what the slopes say is wrong."""
        base = self.base
        self.noise = noise_of(base.f, base.x, self.v, max(self.digits, 15))
        for v in self._directions():
            found = self.slopes(v)
            pushed = self._pushed(v)
            if pushed is not None:  # What is said not to move, and does not move, is exact.
                exact = found.still & (pushed == 0)
                found = replace(found, error=np.where(exact, 0.0, found.error))
            if "fwd" in self.modes and pushed is not None:
                yield from self.forward(v, found, pushed)
            for c, pulled in zip(self.cs if self.pulled else [], self.pulled, strict=True):
                yield from self.reverse(v, found, c, pulled)

    def slopes(self, v: Vector) -> Slopes:
        """Returns the slopes along v, measured."""
        base = self.base
        return slopes(base.f, base.x, v, noise=self.noise, digits=self.digits, first=self.first)

    def _pushed(self, v: Vector) -> Vector | None:
        """The engine's slopes along v, where they are asked for or tell what does not move."""
        if "fwd" in self.modes:
            return self.base.push(v)
        if self.base.y.size == 1 or self.base.engine.jvp is None:
            return None
        try:
            return self.base.push(v)
        except Exception:  # It was not asked for, and `jax.custom_vjp` refuses it.
            return None

    def _directions(self) -> Iterator[Vector]:
        x = self.base.x
        for draw in range(DRAWS):
            v = self.v if draw == 0 else direction(x, self.rng, self.fine)
            if not self.pulled:
                yield v
                continue
            gradient = self.pulled[min(draw, len(self.pulled) - 1)]
            finite = np.isfinite(gradient)
            for mask in bins((gradient * v)[finite]):
                part = np.zeros(v.shape, bool)
                part[finite] = mask
                yield np.where(part, v, 0.0)
            for entry in np.flatnonzero(~finite)[:2] if draw == 0 else ():
                yield np.where(np.arange(x.size) == entry, v, 0.0)

    def forward(self, v: Vector, found: Slopes, pushed: Vector) -> Iterator[Answer]:
        """Yields the entry that is farthest off, if it is farther off than is allowed."""
        size = np.nan_to_num(np.fmax(np.abs(pushed), np.abs(found.value)), posinf=0.0)
        apart = np.maximum(np.maximum(found.low - pushed, pushed - found.high), 0.0)
        far = self.relative * size + 2 * found.error + self.allowed.atol + 2**12 * TINY
        scale = np.maximum(size, 1e-3 * np.abs(self.base.y))
        seen = found.error <= SEEN * scale
        broken = ~np.isfinite(pushed) & seen & ~found.still & np.isfinite(found.value)
        if broken.any():
            limit = float(np.finfo(np.float64).max)
            # What is held still may be what has none: infinity times zero is not a number.
            every = np.where(v == 0, self.v, v)
            broken &= ~beyond(
                every, np.where(broken, scale, 0.0), limit, lambda v: self.slopes(v).value
            )
        disputed = np.asarray(apart > far) & np.isfinite(far) & np.isfinite(pushed)
        if disputed.any() and not broken.any():
            moved = [np.abs(self.base.push(v, x) - pushed) for x in self._nearby(self.base)]
            far = far + MARGIN * np.max(np.nan_to_num(moved), axis=0)
            far = far + 2 * roughness(self.base.f, self.base.x, v, self.digits)
            disputed &= np.asarray(apart > far)
        self._count(int(seen.sum()), len(seen), apart, far, found.error, scale)
        wrong = broken | disputed
        if wrong.any():
            entry = int(np.argmax(np.where(broken, np.inf, np.where(wrong, apart, -1.0))))
            yield Answer("fwd", self.base, v, entry=entry)

    def reverse(self, v: Vector, found: Slopes, c: Vector, pulled: Vector) -> Iterator[Answer]:
        """Yields the answer to <pull(c), v> = <c, slope along v>, if it is wrong."""
        apart, far, seen = self.distance(v, found, c, pulled)
        if far < apart < np.inf:
            steady = np.ones(v.shape, bool)
            moved = np.zeros(v.shape)
            for x in self._nearby(self.base):
                there = self.base.pull([c], x)[0]
                moved = np.maximum(moved, np.nan_to_num(np.abs(there - pulled), nan=np.inf))
            steady = moved <= 1e-3 * np.abs(pulled)
            if np.isfinite(pulled[v != 0]).all() and not steady[v != 0].all():
                v = np.where(steady, v, 0.0)  # A tie or a singularity: no slope to go by.
                if not v.any():
                    self.report.unjudged += 1
                    self.report.questions += 1
                    return
                found = self.slopes(v)
                apart, far, seen = self.distance(v, found, c, pulled)
            rough = c * roughness(self.base.f, self.base.x, v, self.digits)
            moved = MARGIN * np.where(v != 0, moved * v, 0.0)
            far += 6 * float(np.linalg.norm(moved) + 2 * np.linalg.norm(rough))
        scale, (_, _, bar) = self._scale(v, found, c, pulled), found.along(c)
        self._count(int(seen), 1, *map(np.array, (apart, far, bar, scale)))
        if apart > far:
            yield Answer("rev", self.base, v, c)

    def distance(
        self, v: Vector, found: Slopes, c: Vector, pulled: Vector
    ) -> tuple[float, float, bool]:
        """Returns how far <pull(c), v> is off, how far it may be, and whether the slope tells."""
        low, high, bar = found.along(c)
        moving = v != 0
        parts = pulled[moving] * v[moving]
        said = float(np.sum(parts))
        norm, spare = np.linalg.norm(parts), np.linalg.norm(self.allowed.atol * v)
        lost = TINY * (2**12 + np.linalg.norm(v))  # What XLA makes zero of.
        far = float(6 * (self.relative * norm + spare + lost) + 2 * bar)
        apart = max(low - said, said - high, 0.0)
        seen = bool(bar <= SEEN * self._scale(v, found, c, pulled))
        if not np.isfinite(said):
            middle, steps = (low + high) / 2, np.abs(v[moving])
            if len(steps) == 1 and said * middle > 0:  # Infinite, as it is beyond all numbers?
                right = np.isinf(said) and abs(middle) > float(np.finfo(np.float64).max) * steps[0]
                return (0.0 if right else np.inf if seen else 0.0), 0.0, seen
            return (np.inf if seen else 0.0), 0.0, seen
        return (apart, far, seen) if np.isfinite(far) else (0.0, 0.0, False)

    def _scale(self, v: Vector, found: Slopes, c: Vector, pulled: Vector) -> float:
        """How large a slope is, or would be if it mattered: what error bars are measured by."""
        low, high, _ = found.along(c)
        norms = [np.linalg.norm(z) for z in ((pulled * v)[v != 0], 1e-3 * c * self.base.y)]
        return float(np.max(np.nan_to_num([*norms, abs(low + high) / 2], posinf=0.0)))

    def _nearby(self, side: Side, step: float | None = None) -> Iterator[Vector]:
        """Points around the operands, as far off as a few of their last digits, or as said.

        Which of three equal operands is the middle one, of a sorted array or as a median, is for
        the function to choose: more points show that it is a choice.
        """
        x = side.x
        last = NUDGES * 2.0**-self.digits
        for k in range(NUDGES):
            far = (k + 1) / NUDGES * (last if step is None else step)
            yield x + far * np.abs(x) * self.rng.choice([-1.0, 1.0], x.size)
        if step is None and np.unique(x).size < x.size:
            for _ in range(UNTIED):
                yield x + last * np.abs(x) * self.rng.uniform(-1.0, 1.0, x.size)

    def _count(
        self, seen: int, asked: int, apart: Vector, far: Vector, error: Vector, size: Vector
    ) -> None:
        report = self.report
        report.questions += asked
        report.unjudged += asked - seen
        share = np.where(np.isfinite(apart) & np.isfinite(far) & (apart != 0), apart / far, 0.0)
        bar = np.nan_to_num(np.where(error == 0, 0.0, error / size), nan=0.0, posinf=0.0)
        report.worst = max(report.worst, float(np.max(share, initial=0.0)))
        if seen:
            report.error = max(report.error, float(np.median(bar)))

    # -- by precision --------------------------------------------------------------------------

    def by_precision(self) -> Iterator[Answer]:
        """Yields what float64 says is wrong in the user's precision."""
        narrow, base = self.narrow, self.base
        if np.any(np.isfinite(base.y) & ~np.isfinite(narrow.y)):
            self.report.note("judged in float64 alone: the function overflows in its precision")
            return
        if self.pulled:
            for c, truth in zip(self.cs, self.pulled, strict=True):
                ours = narrow.pull([c])[0]
                truth = np.where(self._flat(ours, truth), 0.0, truth)

                def pulls(side: Side, x: Vector, c: Vector = c) -> tuple[Vector, Vector]:
                    return side.pull([c], x)[0], base.pull([c], x)[0]

                for entry in self._apart(narrow.space, ours, truth, pulls):
                    yield Answer("rev", narrow, self.v, c, entry, truth[entry])
        if "fwd" in self.modes:
            v = direction(narrow.x, self.rng, 2)
            truth = base.push(v)

            def pushes(side: Side, x: Vector) -> tuple[Vector, Vector]:
                return side.push(v, x), base.push(v, x)

            slope, least = narrow.push(v), min(digits(leaf.dtype) for leaf in narrow.point)
            lost = np.abs(slope - truth) <= 16 * 2.0**-least * np.abs(base.y)  # 100 % of x moves y.
            lost |= (slope == 0) & self._unmoved(v)
            if (broken := ~np.isfinite(slope) & np.isfinite(truth)).any():
                limit = min(float(jnp.finfo(leaf.dtype).max) for leaf in narrow.point)
                size = np.where(broken, np.maximum(np.abs(truth), np.abs(base.y)), 0.0)
                lost |= beyond(v, size, limit, base.push)
            for entry in self._apart(narrow.results, np.where(lost, truth, slope), truth, pushes):
                yield Answer("fwd", narrow, v, None, entry, truth[entry])

    def _shaken(self, again: Again) -> list[tuple[Vector, Vector]]:
        """The same answers with all their roundings thrown anew, if they can be computed so."""
        narrow = self.narrow
        if narrow.engine.by_hand is not None:
            return []
        try:
            return [again(replace(narrow, throw=k), narrow.x) for k in range(NUDGES)]
        except Exception:  # It cannot be traced: it asks for values in Python.
            return []

    def _flat(self, ours: Vector, truth: Vector) -> np.ndarray:
        """Where a gradient of zero is right, as the user's precision is too short for another.

        All these operands together, moved the way that float64 says moves the results most, do not
        move them. So it is where `tanh` is 1 in all its digits.
        """
        zero = (ours == 0) & (truth != 0) & np.isfinite(truth)
        size = np.max(np.abs(truth), initial=0.0, where=zero)
        for some in (zero, zero & (np.abs(truth) > 2.0**-20 * size)):
            if not some.any():
                break
            if self._unmoved(np.where(some, np.sign(truth) * sizes(self.base.x), 0.0)).all():
                return some
        return np.zeros(zero.shape, bool)

    def _unmoved(self, v: Vector) -> np.ndarray:
        """Which results in the user's precision are the same to either side along v."""
        narrow = self.narrow
        h = 2.0 ** -(min(digits(leaf.dtype) for leaf in narrow.point) // 2)
        return np.all([same(narrow.f(narrow.x + s * v), narrow.y) for s in (h, -h)], axis=0)

    def _apart(self, space: Space, ours: Vector, truth: Vector, again: Again) -> Iterator[int]:
        """Yields of each leaf that is too far from float64 the entry that is farthest off."""
        answers: list[tuple[Vector, Vector]] = []

        def nearby() -> list[tuple[Vector, Vector]]:
            if not answers:
                least = min(digits(leaf.dtype) for leaf in self.narrow.point)
                for step in (NUDGES * 2.0**-least, 2.0 ** (-least / 2)):  # Last digits, or half.
                    for x in self._nearby(self.narrow, step):
                        x = self.narrow.space.vector(self.narrow.space.leaves(x))
                        answers.append(again(self.narrow, x))
                answers.extend(self._shaken(again))
            return answers

        for part, dtype in zip(space.slices(), space.dtypes, strict=True):
            real = jnp.finfo(dtype).dtype
            z, limit = truth[part], float(jnp.finfo(real).max) * (1 - float(jnp.finfo(real).eps))
            z = np.where(np.abs(z) > limit, np.sign(z) * np.inf, z)
            x = ours[part].astype(real)
            own = np.where(np.isfinite(z), ours[part] - z, 0.0)

            def scatter(part: slice = part, own: Vector = own) -> list:
                """What rounding makes of it nearby, less what is off here, and float64 there."""
                return [(a[part] - own, b[part]) for a, b in nearby()]

            tolerance = Tolerance.of(real, True, self.allowed.rtol, self.allowed.atol)
            verdict = judge(x, z, z, tolerance, scatter)
            size = float(np.max(np.abs(z), initial=0.0, where=np.isfinite(z)))
            apart = np.where(np.isfinite(own), np.abs(own), 0.0)
            far = np.array(tolerance.around(z, real))
            if verdict.word == "ok":
                self._count(x.size, x.size, apart, far, np.zeros(1), np.array(size))
            else:
                self._count(x.size, x.size, np.zeros(1), far, np.zeros(1), np.array(size))
            if not verdict.ok:
                broken = np.isfinite(z) & ~np.isfinite(ours[part])
                yield part.start + int(np.argmax(np.where(broken, np.inf, apart)))


def beyond(v: Vector, size: Vector, limit: float, along: Callable[[Vector], Vector]) -> np.ndarray:
    """Returns of which results one operand has a derivative that is larger than the largest number.

    As 1 / x has at 1e-200. Times a step as small as x it is a number again, but who computes the
    derivative first meets an infinity.

    Args:
      v: direction.
      size: of the slopes along v; zero of results that do not matter.
      limit: the largest number.
      along: the slopes along another direction.
    """
    small = (v != 0) & (np.abs(v) < np.max(size, initial=0.0) / limit)
    if not small.any():
        return np.zeros(size.shape, bool)
    parts = np.abs(along(np.where(small, v, 0.0)))
    return (size > 0) & (parts > limit * np.min(np.abs(v[small])))
