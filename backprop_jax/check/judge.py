"""Is a rule the derivative? It is put to the test at random operands, against measured slopes."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context

from backprop_jax.engine.cotangents import is_differentiable
from backprop_jax.engine.reading import Reading
from backprop_jax.engine.sweep import sweep
from backprop_jax.proofs import CannotTell, judges
from backprop_jax.swaps import in_force

#: Where operands are drawn from. A function need not be finite on all of them.
DOMAINS: dict[str, Callable] = {
    "numbers of both signs": lambda rng, shape: rng.normal(size=shape),
    "numbers between -0.8 and 0.8": lambda rng, shape: rng.uniform(-0.8, 0.8, shape),
    "numbers between 0.2 and 0.9": lambda rng, shape: rng.uniform(0.2, 0.9, shape),
    "numbers between 1.2 and 3": lambda rng, shape: rng.uniform(1.2, 3.0, shape),
}
NAMES = ("x", "y", "w")


#: Part of a slope that may be missing before a rule is wrong, beyond what measuring leaves open.
RTOL = 1e-6


def judge(run: Callable, reading: Reading, avals: Sequence) -> str:
    """Returns what is wrong with the rule by which `run` is read, "" if nothing is.

    Operands are drawn from several domains, in double precision if `run` takes it. For each
    operand, and random directions v of it and g of the results, the slope is measured:

        ⟨g, (run(x + h v) - run(x - h v)) / (2 h)⟩ = ⟨gradient, v⟩

    Raises:
      CannotTell: it cannot be run on operands of these types, or has no finite slope.
    """
    told = 0
    with alone():
        for domain, draw in DOMAINS.items():
            rng = np.random.default_rng(0)
            operands = widened(run, [drawn(rng, draw, aval) for aval in avals])
            verdict = judged(run, reading, operands, rng)
            if verdict:
                return f"{verdict} ({domain})"
            told += verdict is not None
    if not told:
        raise CannotTell("no numbers were found at which its result has a slope")
    return ""


def judged(run: Callable, reading: Reading, operands: list, rng: Any) -> str | None:
    """Returns what is wrong at these operands, "" if nothing is, None if there is no slope."""

    def moving(*operands: Any) -> list:
        return [z for z in jax.tree.leaves(run(*operands)) if can_move(z)]

    results, active = moving(*operands), [can_move(x) for x in operands]
    if not results or not any(active):
        return ""
    g = [like(rng, z) for z in results]
    told = None
    gradients = None
    for i, x in enumerate(operands):
        if not active[i] or not x.size:
            continue
        v = like(rng, x)
        at = functools.partial(measured, moving, operands, i, v, g)
        slope, bar, scale = measure(at, x, results)
        if not np.isfinite(slope) or bar > 0.01 * scale:
            continue
        if gradients is None:
            gradients = sweep(moving, operands, active, reading)[1](g)
        gradient = gradients[i]
        ours = 0.0 if gradient is None else float(jnp.sum(gradient * v).real)
        told = ""
        if not abs(ours - slope) <= 3 * bar + RTOL * scale:
            name = NAMES[i] if i < len(NAMES) else f"operand {i + 1}"
            return (
                f"in {name}: along a random direction its slope is {slope:.6g}, it says {ours:.6g}"
            )
    return told


def measure(
    at: Callable[[float], tuple[float, float]], x: Any, results: Sequence
) -> tuple[float, float, float]:
    """Returns a slope, how far off it may be, and how large its terms are.

    Args:
      at: the value a step along the direction.
      x: the operand that moves: how far a step goes.
      results: their precision is that of the values.
    """
    eps = max(float(jnp.finfo(z.dtype).eps) for z in (x, *results))
    h = eps ** (1 / 3)
    (near, size), (far, _) = (difference(at, step) for step in (h, 2 * h))
    return near, abs(far - near) + 8 * eps * size / h, max(abs(near), size)


def difference(at: Callable[[float], tuple[float, float]], h: float) -> tuple[float, float]:
    """Returns the central difference of steps of this length, and how large its terms are."""
    (ahead, size), (behind, _) = at(h), at(-h)
    return (ahead - behind) / (2 * h), size


def measured(
    moving: Callable, operands: list, i: int, v: Any, g: list, step: float
) -> tuple[float, float]:
    """Returns ⟨g, run⟩ a step along v of operand i, and how large its terms are."""
    x = operands[i]
    moved = [*operands[:i], x + jnp.asarray(step, x.dtype) * v, *operands[i + 1 :]]
    terms = [np.asarray(h * z) for h, z in zip(g, moving(*moved), strict=True)]
    return sum(float(t.sum().real) for t in terms), sum(float(abs(t).sum()) for t in terms)


def widened(run: Callable, operands: list) -> list:
    """Returns the operands in double precision, or as they are if `run` does not take them so."""
    wide = [jnp.asarray(x, wider(x)) if can_move(x) else x for x in operands]
    for candidate in (wide, operands):
        try:
            results = jax.tree.leaves(run(*candidate))
        except Exception as error:  # whatever a primitive of the user's may raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if all(str(jax.typeof(z).dtype) == str(wider(z)) for z in results if can_move(z)):
            return candidate
        return operands
    raise CannotTell(f"run on numbers of these types, it raises {reason}")


def drawn(rng: Any, draw: Callable, aval: Any) -> Any:
    """Returns random values of a type: numbers of a domain, of whole ones 0 and 1."""
    if not hasattr(aval, "dtype") or jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):
        raise CannotTell(f"there are no numbers of type {aval}")
    if not can_move(aval):
        return jnp.asarray(rng.integers(0, 2, aval.shape), aval.dtype)
    values = draw(rng, aval.shape)
    if jnp.issubdtype(aval.dtype, jnp.complexfloating):
        values = values + 1j * draw(rng, aval.shape)
    return jnp.asarray(values, aval.dtype)


def like(rng: Any, x: Any) -> Any:
    """Returns a random direction for an array."""
    return drawn(rng, DOMAINS["numbers of both signs"], jax.typeof(x))


def can_move(x: Any) -> bool:
    """Returns whether values of this type can have a derivative."""
    return is_differentiable(x if hasattr(x, "dtype") else jax.typeof(x))


def wider(x: Any) -> Any:
    """Returns the double precision of an array's kind."""
    return jnp.dtype("complex128" if jnp.issubdtype(x.dtype, jnp.complexfloating) else "float64")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Puts what is traced around this aside, and other rules that are in force."""
    with eval_context(), jax.enable_x64(True), in_force(None):
        yield


judges.append(judge)
