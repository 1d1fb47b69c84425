"""Slopes measured: by differences, by the complex step, along directions, by Taylor's remainder.

They know no derivative. The elements are moved one by one, or, where there are too many for that,
many at once along random directions. All is computed in float64 if the function can be.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check.gradients.engines import OURS
from backprop_jax.check.gradients.sides import Side, finest
from backprop_jax.check.numerical import ways
from backprop_jax.check.numerical.slopes import noise_of, slopes
from backprop_jax.check.numerical.steps import direction, sizes
from backprop_jax.check.numerical.vectors import Moving, Vector
from backprop_jax.check.paths import Leaves
from backprop_jax.check.precision import canonical, canonical_array, is_inexact, widen
from backprop_jax.check.witnesses.witness import DoesNotApply, Question, Witness

MOST = 2000
"""Elements that are moved one by one."""
DRAWS = 4
"""Directions for each leaf."""

Measure = Callable[[Vector, Vector], tuple[Vector, Vector]]
"""(operands, direction) → slope of each entry of the result, and error bar."""


def extrapolated(question: Question) -> Witness:
    """Returns the gradient by central differences, extrapolated to step zero.

    Of more than `MOST` elements: slopes along random directions.
    """
    side, digits, notes = _side(question)
    if side.x.size > MOST:
        many = f"{side.x.size} elements are too many to move one by one: moved along directions"
        return _along(question, "numerical", side, digits, (*notes, many))
    noise = noise_of(side.f, side.x, direction(side.x, _rng()), max(digits, 15))

    def measure(x: Vector, v: Vector) -> tuple[Vector, Vector]:
        found = slopes(side.f, x, v, noise=noise, digits=digits)
        return found.value, found.error + (found.high - found.low) / 2

    return _one_by_one(question, "numerical", side, measure, notes)


def forward(question: Question) -> Witness:
    """Returns the gradient by forward differences, with one step, the best for one difference."""
    return _by_difference(question, "forward")


def central(question: Question) -> Witness:
    """Returns the gradient by central differences, with one step, the best for two sides."""
    return _by_difference(question, "central")


def directions(question: Question) -> Witness:
    """Returns slopes along random directions, for each leaf some in which it alone moves."""
    side, digits, notes = _side(question)
    return _along(question, "directions", side, digits, notes)


def complex_step(question: Question) -> Witness:
    """Returns the gradient by the complex step, f(x + i h) = f(x) + i h f'(x) + ..., to all digits.

    Source: Squire and Trapp 1998, SIAM Review 40(1).
    """
    side, digits, notes = _side(question)
    if any(jnp.iscomplexobj(leaf) for leaf in side.point):
        raise DoesNotApply("the operands are complex already")
    if side.x.size > MOST:
        raise DoesNotApply(f"{side.x.size} elements are too many to move one by one")
    if digits < 52:
        raise DoesNotApply("the function is not computed in float64")
    with side.precision():
        point = [jnp.asarray(leaf, jnp.complex128) for leaf in side.point]
        try:
            jaxpr = jax.make_jaxpr(side.moving)(*point)
        except Exception as error:  # Whatever the function does with a complex operand.
            first = (str(error).splitlines() or [""])[0][:80]
            raise DoesNotApply(f"it does not take complex numbers: {first}") from None
    if step := ways.not_analytic(jaxpr.jaxpr):
        raise DoesNotApply(f"not analytic: {step}")
    compiled = jax.jit(side.moving)

    def f(z: np.ndarray) -> np.ndarray:
        with side.precision():
            parts = zip(side.space.slices(), side.space.shapes, strict=True)
            (value,) = compiled(*(jnp.asarray(z[part].reshape(shape)) for part, shape in parts))
            return np.asarray(value).reshape(-1)

    here = np.real(f(side.x + 2.0**-60 * 1j * sizes(side.x)))
    if not np.allclose(here, side.y, rtol=2.0**-40, atol=2.0**-40):
        raise DoesNotApply("its value for complex operands is another one: a branch cut")

    def measure(x: Vector, v: Vector) -> tuple[Vector, Vector]:
        steps = 2.0**-60, 1.37 * 2.0**-64
        slope, other = (ways.ONE_STEP["complex"](lambda t: f(x + t * v), h) for h in steps)
        return slope, 2 * np.abs(slope - other) + 32 * 2.0**-52 * np.abs(slope)

    return _one_by_one(question, "complex", side, measure, notes)


def taylor(question: Question) -> Witness:
    """Returns the power of h with which f(x + h v) - f(x) - h <g, v> falls: 2, if g is right.

    With a g that is wrong it is 1. It is a rate, so there is no tolerance to choose: what remains
    counts while it is above what rounding makes of f, and of g in its own dtype.
    """
    if question.holomorphic:
        raise DoesNotApply("the result is complex")
    side, digits, notes = _side(question)
    x, rng = side.x, _rng()
    vs = [direction(x, rng) for _ in range(DRAWS)]
    h = 2.0 ** np.arange(-3.0, -11.0, -1.0)
    key = "rate of Taylor's remainder"
    moving = [leaf for leaf in question.leaves.values() if is_inexact(leaf)]
    least = max(float(jnp.finfo(leaf.dtype).eps) for leaf in moving)

    def sees(leaves: Leaves) -> Leaves:
        g = _covector(side, leaves)
        rates = []
        for v in vs:
            left = ways.remainders(side.f, x, v, np.ones(1), float(g @ v), h)
            of_value = 64 * 2.0**-digits * np.abs(side.y).sum()
            of_gradient = 16 * least * float(np.linalg.norm(g * v))
            rate = ways.rate(h, left, of_value + h * of_gradient)
            rates.append(2.0 if np.isnan(rate) else min(rate, 2.0))  # Nothing left: it is right.
        return {key: np.array(rates)}

    return Witness("taylor", {key: np.full(DRAWS, 2.0)}, None, {key: 0.25}, notes=notes, sees=sees)


# -- what they share -------------------------------------------------------------------------------


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _side(question: Question) -> tuple[Side, int, tuple[str, ...]]:
    """The function of the leaves that are differentiated, in float64 if that works."""
    narrow = question.map(canonical, others=canonical_array)
    with jax.enable_x64(True):
        wide = narrow.map(widen, others=widen)

    def run(given: Any) -> Any:
        doubles = (np.float64, np.complex128)
        is_wide = any(getattr(z, "dtype", None) in doubles for z in jax.tree.leaves(given))
        asked = wide if is_wide else narrow
        operands = (given,) if isinstance(question.argnums, int) else given
        result = asked.run(*operands)
        return result[0] if question.has_aux else result

    moving = Moving.of(run, (narrow.differentiated,), ["x"])
    paths = [path for path, leaf in question.leaves.items() if is_inexact(leaf)]
    moving = Moving(run, moving.tree, moving.leaves, moving.active, tuple(paths))
    notes: list[str] = []
    side, digits = finest(Side.of(moving, OURS), notes.append, lambda side: None)
    if not side.x.size:
        raise DoesNotApply("there is nothing to move")
    return side, digits, tuple(note.replace("judged", "measured") for note in notes)


def _one_by_one(
    question: Question, name: str, side: Side, measure: Measure, notes: tuple[str, ...]
) -> Witness:
    """The gradient, each element moved alone."""
    x = side.x
    step = sizes(x)
    slope, error = np.zeros((x.size, side.y.size)), np.zeros((x.size, side.y.size))
    with np.errstate(all="ignore"):
        for i in range(x.size):
            found, bar = measure(x, np.where(np.arange(x.size) == i, step, 0.0))
            slope[i], error[i] = found / step[i], bar / step[i]
    gradient, bars = slope[:, 0], error[:, 0]
    leaves, errors = {}, {}
    for path, shape, part, dtype in zip(
        side.space.paths, side.space.shapes, side.space.slices(), side.space.dtypes, strict=True
    ):
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            leaves[path], errors[path] = gradient[part].reshape(shape), bars[part].reshape(shape)
            continue
        if question.holomorphic:  # The slope along the real axis is the derivative.
            z = slope[part][0::2] @ np.array([1, 1j])
        else:
            z = gradient[part][0::2] - 1j * gradient[part][1::2]
        leaves[path], errors[path] = z.reshape(shape), np.hypot(*_pairs(bars[part])).reshape(shape)
    return Witness(name, leaves, None, errors, notes=notes)


def _pairs(entries: Vector) -> Sequence[Vector]:
    return entries[0::2], entries[1::2]


def _by_difference(question: Question, name: str) -> Witness:
    side, digits, notes = _side(question)
    if side.x.size > MOST:
        raise DoesNotApply(f"{side.x.size} elements are too many to move one by one")

    def measure(x: Vector, v: Vector) -> tuple[Vector, Vector]:
        return ways.one_step(name, side.f, x, v, 2.0**-digits)

    return _one_by_one(question, name, side, measure, notes)


def _covector(side: Side, leaves: Leaves) -> Vector:
    return side.space.covector([leaves[path] for path in side.space.paths])


def _along(
    question: Question, name: str, side: Side, digits: int, notes: tuple[str, ...]
) -> Witness:
    """Slopes along random directions in which one leaf moves."""
    if question.holomorphic:
        raise DoesNotApply("the result is complex")
    x, rng = side.x, _rng()
    vs: dict[str, list[Vector]] = {}
    with np.errstate(all="ignore"):
        noise = noise_of(side.f, x, direction(x, rng), max(digits, 15))
        found, errors = {}, {}
        for path, part in zip(side.space.paths, side.space.slices(), strict=True):
            key = f"{path} along {DRAWS} directions"
            vs[key] = []
            for _ in range(DRAWS):
                v = np.zeros(x.size)
                v[part] = direction(x[part], rng)
                vs[key].append(v)
            each = [slopes(side.f, x, v, noise=noise, digits=digits) for v in vs[key]]
            found[key] = np.array([s.value[0] for s in each])
            errors[key] = np.array([s.error[0] + (s.high[0] - s.low[0]) / 2 for s in each])

    def sees(leaves: Leaves) -> Leaves:
        g = _covector(side, leaves)
        seen = {}
        for key, path in zip(vs, side.space.paths, strict=True):
            dtype = jnp.finfo(leaves[path].dtype).dtype  # The tolerance is that of the gradient.
            seen[key] = np.array([g @ v for v in vs[key]]).astype(dtype)
        return seen

    return Witness(name, found, None, errors, notes=notes, sees=sees)
