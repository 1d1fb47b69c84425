"""Is a rule the derivative? It is put to the test at random operands, against measured slopes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context

from backprop_jax.check.gradients.engines import Engine
from backprop_jax.check.gradients.examine import Allowed, Examination
from backprop_jax.check.gradients.findings import GradsReport
from backprop_jax.check.gradients.guilty import blame
from backprop_jax.check.gradients.sides import Side
from backprop_jax.check.numerical.vectors import Moving
from backprop_jax.engine.cotangents import instantiate, is_differentiable
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


def judge(run: Callable, reading: Reading, avals: Sequence) -> str:
    """Returns what is wrong with the rule by which `run` is read, "" if nothing is.

    Operands are drawn from one domain after the other, in double precision if `run` takes it, until
    there is one where its slopes can be measured; there the rule is examined as by `check_grads`.

    Raises:
      CannotTell: it cannot be run on operands of these types, or has no slope that can be measured.
    """
    with alone():
        for domain, draw in DOMAINS.items():
            rng = np.random.default_rng(0)
            operands = widened(run, [drawn(rng, draw, aval) for aval in avals])
            report = examined(run, reading, operands, rng)
            if report.wrong:
                (wrong,) = report.wrong
                ours, *_, measured = wrong.said.values()
                both = f"its slope is {measured:.6g}, it says {ours:.6g}"
                return f"in {wrong.where}: {both} ({domain})"
            if report.ok:
                return ""
    raise CannotTell("no numbers were found at which its result has a slope")


def examined(run: Callable, reading: Reading, operands: Sequence, rng: Any) -> GradsReport:
    """Returns what is found of the derivative that `run` has if it is read this way."""

    def vjp(fun: Callable, *point: Any) -> tuple:
        values, pullback = sweep(fun, point, [True] * len(point), reading)
        avals = list(map(jax.typeof, point))
        return values, lambda cotangents: instantiate(pullback(cotangents), avals)

    names = [NAMES[i] if i < len(NAMES) else f"operand {i + 1}" for i in range(len(operands))]
    engine = Engine("the rule", vjp)
    report = GradsReport("the primitive", engine.name)
    with np.errstate(all="ignore"):  # steps may leave the domain; that is dealt with
        side = Side.of(Moving.of(run, operands, names), engine)
        finite = all(np.isfinite(z).all() for z in (side.x, side.y))
        if not finite:  # not judged
            report.questions = report.unjudged = 1
            return report
        exam = Examination(side, ("rev",), Allowed(), report, rng)
        for answer in exam.answers():
            if (wrong := blame(answer, exam, 1)) is not None:
                report.wrong.append(wrong)
                break
            report.unjudged += 1
    return report


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
