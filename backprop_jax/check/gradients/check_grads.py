"""`check_grads`: raises where a derivative is wrong, and says where and by how much."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check.gradients.engines import (
    JAX,
    JAX_LINEARIZED,
    Engine,
    engine_of,
    written_by_hand,
)
from backprop_jax.check.gradients.examine import Allowed, Examination
from backprop_jax.check.gradients.findings import GradsReport
from backprop_jax.check.gradients.guilty import blame
from backprop_jax.check.gradients.sides import Mismatch, Side
from backprop_jax.check.numerical.steps import signs
from backprop_jax.check.numerical.vectors import Moving
from backprop_jax.check.paths import operand_names

MODES = ("fwd", "rev", "lin")
Tolerances = float | Mapping[Any, float] | None


def check_grads(
    fun: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: str | Sequence[str] = ("fwd", "rev"),
    atol: Tolerances = None,
    rtol: Tolerances = None,
    eps: float | None = None,
    *,
    engine: Any = "backprop_jax",
    gradient: Callable[..., Any] | None = None,
    seed: int = 0,
    watch: Callable[[GradsReport], Any] | None = None,
) -> GradsReport:
    """Returns what it found if the derivatives of `fun` at `args` are right, and raises if not.

        check_grads(loss, (params, batch), order=2)

    Called as `jax.test_util.check_grads` is. Derivatives are judged in float64, by measured slopes
    that bring their own error bars; and in the dtypes of `args` by those in float64, element by
    element. So one element that is wrong is seen in a large array, rounding is not taken for an
    error, and what is allowed does not grow with the size of the array.

    Args:
      fun: maps arrays and pytrees of them to the same. Operands that are integers are held fixed.
      args: tuple of its arguments.
      order: derivatives up to this order are checked.
      modes: "fwd", "rev", or both; "lin" is `jax.linearize`, with JAX as the engine.
      atol: what is allowed besides, of each element of a gradient or slope. Default: 0.
      rtol: what is allowed, relative to the largest element of a leaf, in the place of what the
        dtype and the error bars say. Like atol a number, or a mapping from dtypes to numbers.
      eps: the longest step, relative to the size of the element that moves; default 1/32. Shorter
        ones are tried as needed.
      engine: who is judged: "backprop_jax", "jax", or what has functions `vjp` and `jvp`.
      gradient: a gradient written by hand, to be judged in the place of an engine's:
        `gradient(*args)` returns a tuple with the gradient in each of the arguments, or the one
        gradient if there is one argument. The result of `fun` is one number, and order is 1.
      seed: of the random directions.
      watch: told what was found, also where that is an error.

    Returns:
      A `GradsReport`: how many answers were judged, and how close they were.

    Raises:
      AssertionError: a derivative is wrong; the text names the element, what each side says of it,
        and how sure that is. Or nothing could be measured: the text says why.
      ValueError: order, modes or engine are something else.
    """
    __tracebackhide__ = True  # pytest then shows the line that asked, and not this page of ours.
    begun = time.perf_counter()
    args = tuple(args)
    modes = _modes(modes)
    judged = engine_of(engine) if gradient is None else written_by_hand(gradient)
    if gradient is not None:
        if order != 1:
            raise ValueError("a gradient written by hand is of order 1")
        modes = ("rev",)
    if "lin" in modes:
        judged = JAX_LINEARIZED if judged is JAX else judged
        modes = tuple(dict.fromkeys("fwd" if mode == "lin" else mode for mode in modes))
    missing = [mode for mode in modes if not judged.derives(mode)]
    if missing:
        raise ValueError(f"{judged.name} has no derivatives of mode {missing[0]!r}")
    if order < 1:
        raise ValueError(f"order must be 1 or more; got {order}")
    name = getattr(fun, "__name__", type(fun).__name__)
    report = GradsReport(name, judged.name)
    moving = Moving.of(fun, args, operand_names(fun, len(args)))
    side = Side.of(moving, judged)
    report.leaves, report.elements = len(side.point), int(side.x.size)
    dtypes = [leaf.dtype for leaf in side.point]
    allowed = Allowed(_largest(rtol, dtypes), _largest(atol, dtypes) or 0.0)
    first = None if eps is None else int(np.floor(np.log2(eps)))
    try:
        with np.errstate(all="ignore"):  # Steps may leave the domain; that is dealt with.
            _orders(moving, judged, modes, order, 1, allowed, report, seed, first)
    except Mismatch as error:
        report.broken = str(error)
    report.seconds = time.perf_counter() - begun
    if watch is not None:
        watch(report)
    if not report.ok:
        raise AssertionError(str(report))
    return report


def _orders(
    moving: Moving,
    engine: Engine,
    modes: tuple[str, ...],
    left: int,
    order: int,
    allowed: Allowed,
    report: GradsReport,
    seed: int,
    first: int | None,
) -> None:
    """Examines the derivatives of one order, then those of these derivatives."""
    rng = np.random.default_rng([seed, order])
    side = Side.of(moving, engine)
    exam = Examination(side, modes, allowed, report, rng, first)
    answers = {}
    for answer in exam.answers():  # Of each mode and precision one is told.
        answers.setdefault((answer.mode, bool(answer.side.wide)), answer)
    seen = set()
    for (mode, _), answer in sorted(answers.items(), key=lambda item: not item[0][1]):
        if mode in seen:
            continue
        if (wrong := blame(answer, exam, order)) is None:
            report.unjudged += 1
            continue
        report.wrong.append(wrong)
        seen.add(mode)
    if left == 1 or report.wrong:
        return
    for mode in modes:
        derived = _derivative(side, mode, rng)
        _orders(derived, engine, modes, left - 1, order + 1, allowed, report, seed, first)


def _derivative(side: Side, mode: str, rng: np.random.Generator) -> Moving:
    """Returns the pullback or the slope as a function of operands and cotangents or tangents."""
    moving, engine, count = side.moving, side.engine, len(side.point)
    if mode == "rev":
        c = np.ones(1) if side.y.size == 1 else signs(side.y.size, rng, 2)
        given = side.results.leaves(c)
        labels = tuple(f"gradient of {path}" for path in side.space.paths)
        names = tuple(f"cotangent of {path}" for path in side.results.paths)

        def derivative(*leaves: Any) -> list:
            values, pullback = engine.pullback(moving, *leaves[:count])
            like = zip(leaves[count:], values, strict=True)
            return list(pullback([jnp.asarray(c, z.dtype) for c, z in like]))
    else:
        given = side.space.leaves(signs(side.x.size, rng, 2))
        labels = tuple(f"slope of {path}" for path in side.results.paths)
        names = tuple(f"tangent of {path}" for path in side.space.paths)

        def derivative(*leaves: Any) -> list:
            return list(engine.slope(moving, leaves[:count], leaves[count:]))

    leaves = (*side.point, *given)
    tree = jax.tree.structure(leaves)
    paths = (*side.space.paths, *names)
    return Moving(derivative, tree, leaves, tuple(range(len(leaves))), paths, labels)


def _modes(modes: str | Sequence[str]) -> tuple[str, ...]:
    """The modes, in order, or ValueError."""
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    wrong = [mode for mode in modes if mode not in MODES]
    if wrong or not modes:
        raise ValueError(f"modes must be some of {', '.join(MODES)}; got {wrong or modes}")
    return modes


def _largest(tolerance: Tolerances, dtypes: Sequence[Any]) -> float | None:
    """The tolerance of the shortest dtype, of a mapping; of one number that number."""
    if not isinstance(tolerance, Mapping):
        return tolerance
    by_dtype = {jnp.dtype(dtype): value for dtype, value in tolerance.items()}
    found = [by_dtype[dtype] for dtype in dtypes if dtype in by_dtype]
    return max(found, default=None)
