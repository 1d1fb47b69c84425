"""A gradient before any set of witnesses: leaf × witness, each with its own error bar."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check.difference import distance, largest, scale_of, wide
from backprop_jax.check.leaf import LeafReport, Opinion
from backprop_jax.check.paths import Leaves
from backprop_jax.check.precision import is_inexact
from backprop_jax.check.verdict import MARGIN, Tolerance, Verdict, moved
from backprop_jax.check.witnesses.gradients import from_float64, from_jax, nudged
from backprop_jax.check.witnesses.witness import Question, Witness

Mask = np.ndarray
FAR = "farther apart than error bar and rounding explain"


@dataclass(frozen=True)
class Said:
    """What a witness says of one leaf.

    Attributes:
      name: of the witness.
      leaf: what it says, in float64 or complex128.
      error: how far that may be off, for each element; infinite where nobody knows.
    """

    name: str
    leaf: np.ndarray
    error: np.ndarray


def judged_by(
    question: Question,
    judged: Witness,
    witnesses: Sequence[Witness],
    rtol: float | None,
    atol: float,
    mismatch: Callable[[np.ndarray | None, np.ndarray | None], str | None],
) -> tuple[LeafReport, ...]:
    """Returns a report on each leaf, and on each thing besides that a witness sees.

    Args:
      question: what was asked.
      judged: the gradient that is judged.
      witnesses: those that apply.
      rtol: the tolerance, if the user has chosen one.
      atol: what is allowed besides.
      mismatch: says what is wrong with the type of a leaf, given what it is and what it should be.
    """
    excuse = Excuse(question)
    expected = {path: gradient_type(leaf) for path, leaf in question.leaves.items()}
    seen = [w.sees(judged.leaves) if w.sees else judged.leaves for w in witnesses]
    besides = {path: None for w in witnesses for path in w.leaves if path not in expected}
    reports = []
    for path in dict.fromkeys([*expected, *judged.leaves, *besides]):
        views = [(w, leaves[path]) for w, leaves in zip(witnesses, seen, strict=True)
                 if path in w.leaves and path in leaves]  # fmt: skip
        ours = judged.leaves.get(path, views[0][1] if views else None)
        problem = None if path in besides else mismatch(ours, expected.get(path))
        if problem or ours is None or ours.dtype == jax.dtypes.float0:
            leaf = expected.get(path) if ours is None else ours
            reports.append(unmeasured(path, leaf, problem))
            continue
        tolerance = Tolerance.of(ours.dtype, True, rtol, atol)
        report = measured(path, ours, views, tolerance, excuse)
        if not views and besides:
            verdict = Verdict("seen", "judged with others, by witnesses that see a part of them")
            report = replace(report, verdict=verdict)
        reports.append(report)
    return tuple(reports)


def measured(
    path: str,
    ours: np.ndarray,
    views: Sequence[tuple[Witness, np.ndarray]],
    tolerance: Tolerance,
    excuse: "Excuse",
) -> LeafReport:
    """Returns the report on one leaf, given the witnesses and what each of them sees of ours."""
    heard = {
        witness.name: said(witness, path, seen, tolerance.strict)
        for witness, seen in views
        if witness.leaves[path].shape == seen.shape
    }
    opinions = []
    for witness, seen in views:
        if (mine := heard.get(witness.name)) is None:
            shapes = f"it has the shape {witness.leaves[path].shape}, ours {seen.shape}"
            opinions.append(Opinion(witness.name, Verdict("skipped", shapes)))
            continue
        others = [s for s in heard.values() if s is not mine and s.leaf.shape == seen.shape]
        verdict = weigh(seen, mine, others, tolerance, path, excuse)
        opinions.append(opinion(seen, mine, tolerance, verdict))
    return LeafReport(
        path,
        ours.shape,
        ours.dtype.name,
        whole([opinion.verdict for opinion in opinions]),
        tolerance.relative,
        nonfinite=int(np.sum(~np.isfinite(ours))),
        opinions=tuple(opinions),
    )


def opinion(ours: np.ndarray, witness: Said, tolerance: Tolerance, verdict: Verdict) -> Opinion:
    """Returns what a witness says, shown where it is farthest beyond what is allowed.

    Where it is nowhere apart, the largest element is shown.
    """
    if not ours.size:
        return Opinion(witness.name, verdict)
    x, y = wide(ours), witness.leaf
    gap = distance(x, y)
    allowed = witness.error + tolerance.around(y, ours.dtype)
    beyond = np.where(np.isfinite(x) == np.isfinite(y), gap - allowed, np.inf)
    if not gap.any() and np.isfinite(beyond).all():
        beyond = np.abs(y)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(beyond)), y.shape))
    return Opinion(
        witness.name,
        verdict,
        index,
        ours=x[index].item(),
        says=y[index].item(),
        difference=float(abs(x[index] - y[index])),
        error=float(witness.error[index]),
        allowed=float(np.broadcast_to(allowed, y.shape)[index]),
    )


def said(witness: Witness, path: str, ours: np.ndarray, strict: bool) -> Said:
    """Returns what a witness says of a leaf.

    Of a witness that brings no error bar it is what a gradient in its dtype may be off: 4096 eps of
    the largest element, at most half the digits. With a tolerance of the user's own, that is all.
    """
    leaf = witness.leaves[path]
    error = witness.errors.get(path)
    if error is None:
        dtype = leaf.dtype if leaf.dtype.itemsize else ours.dtype
        relative = Tolerance.of(dtype, False, None, 0.0).relative
        error = 0.0 if strict else relative * scale_of(wide(leaf))
    bar = np.broadcast_to(np.asarray(error, np.float64), leaf.shape)
    return Said(witness.name, wide(leaf), np.where(np.isnan(bar), np.inf, bar))


def weigh(
    ours: np.ndarray,
    witness: Said,
    others: Sequence[Said],
    tolerance: Tolerance,
    path: str,
    excuse: "Excuse",
) -> Verdict:
    """Returns what is said of a gradient on one leaf, beside one witness.

    Right is an element that lies within the error bar of the witness, and the tolerance, which is
    that of the dtype. The others are right if a finer witness bears them out, or if rounding
    explains them. Elements of which the witness says nothing finite are left to others.
    """
    x, y = wide(ours), witness.leaf
    spoken = np.isfinite(y) & np.isfinite(witness.error)
    if ours.size and not spoken.any():
        agree = bool(np.all(np.isnan(x) == np.isnan(y))) and not np.isfinite(x).any()
        return (
            Verdict("ok", "not finite in both")
            if agree
            else Verdict("skipped", "it has no finite answer")
        )
    broken = ~np.isfinite(x) & spoken
    if broken.any():
        return Verdict("BAD", f"{broken.sum()} elements are not finite, and are for {witness.name}")
    bar = tolerance.around(y, ours.dtype)
    disputed = np.asarray((distance(x, y) > bar + witness.error) & spoken)
    if not disputed.any():
        return Verdict("ok", f"agrees with {witness.name}")
    for other in others:
        near = distance(x, other.leaf) <= bar + other.error
        if np.all((near & (MARGIN * other.error <= witness.error))[disputed]):
            return Verdict("overruled", f"{other.name}, which is finer, agrees with the gradient")
    fine = bool(np.all(witness.error[disputed] <= bar))
    if not tolerance.strict and excuse.covers(path, x, witness, disputed, fine):
        return Verdict("rounding", "apart by no more than rounding explains")
    return Verdict("BAD", FAR)


class Excuse:
    """How far rounding carries a gradient of this function; found out only when there is a dispute.

    As in `verdict.judge`: how far `jax.grad` lies from float64, and how far it moves when the
    operands do, less what float64 moves.
    """

    def __init__(self, question: Question) -> None:
        self.question = question

    @functools.cached_property
    def found(self) -> tuple[Leaves, Leaves | None, list[tuple[Leaves, Leaves | None]]] | None:
        """What `jax.grad` and float64 say, here and nearby; None where `jax.grad` fails."""
        try:
            value, witness = from_jax(self.question)
            truth, _ = from_float64(self.question, value)
            nearby = nudged(self.question, with_float64=truth is not None)
        except Exception:  # A function that jax.grad cannot differentiate; then it says nothing.
            return None
        return witness.leaves, truth.leaves if truth else None, nearby

    def covers(self, path: str, x: np.ndarray, witness: Said, disputed: Mask, fine: bool) -> bool:
        """Returns whether rounding explains the disputed elements of a leaf.

        Where float64 is of no use, a witness that is `fine`, finer than the dtype, takes its place.
        """
        if self.found is None or path not in self.found[0]:
            return False
        leaves, truth, nearby = self.found
        y = wide(leaves[path])
        if y.shape != disputed.shape:
            return False
        z = witness.leaf if truth is None and fine else y if truth is None else wide(truth[path])
        limit = math.sqrt(float(jnp.finfo(leaves[path].dtype).eps)) * scale_of(witness.leaf)
        y, z = y[disputed], z[disputed]
        seen = min(MARGIN * largest(distance(y, z)), limit)
        far = MARGIN * max(
            moved(y, z, a[path], b[path] if b else None, disputed) for a, b in nearby
        )
        apart = (distance(x, witness.leaf) - witness.error)[disputed]
        return float(np.max(apart)) <= max(seen, far)


def whole(verdicts: Sequence[Verdict]) -> Verdict:
    """Returns the verdict on a leaf of which witnesses say so much."""
    for word in ("BAD", "rounding", "ok", "overruled"):
        for verdict in verdicts:
            if verdict.word == word:
                return verdict
    return Verdict("unjudged", "no witness says anything of it")


def gradient_type(leaf: np.ndarray) -> np.ndarray:
    """Returns an array of the type that the gradient of a leaf has."""
    return leaf if is_inexact(leaf) else np.zeros(leaf.shape, jax.dtypes.float0)


def unmeasured(path: str, leaf: np.ndarray | None, problem: str | None) -> LeafReport:
    """Returns the report on a leaf of the wrong type, or on one that has no gradient."""
    shape = () if leaf is None else leaf.shape
    dtype = (
        "nothing"
        if leaf is None
        else "float0"
        if leaf.dtype == jax.dtypes.float0
        else leaf.dtype.name
    )
    if problem:
        return LeafReport(path, shape, dtype, Verdict("BAD", problem))
    return LeafReport(path, shape, dtype, Verdict("skipped", "an integer has no gradient"))
