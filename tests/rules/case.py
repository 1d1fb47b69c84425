"""What a case is: a function that holds a primitive, and the operands to try it on."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import backprop_jax as bp


class Domain(NamedTuple):
    """Where operands are drawn from."""

    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def uniform(low: float, high: float) -> Domain:
    """Returns the domain of the numbers between two bounds."""
    return Domain(lambda rng, shape: rng.uniform(low, high, shape))


def integers(stop: int) -> Domain:
    """Returns the domain of the integers from 0 up to, not including, `stop`."""
    return Domain(lambda rng, shape: rng.integers(0, stop, shape, dtype=np.int32))


REAL = Domain(lambda rng, shape: rng.normal(size=shape))
POSITIVE = uniform(0.5, 2.5)
UNIT = uniform(-0.8, 0.8)
ABOVE_ONE = uniform(1.2, 3.0)
NONZERO = Domain(lambda rng, shape: rng.uniform(0.5, 2.5, shape) * rng.choice([-1, 1], shape))
COMPLEX = Domain(lambda rng, shape: rng.normal(size=shape) + 1j * rng.normal(size=shape))
BOOL = Domain(lambda rng, shape: rng.integers(0, 2, shape).astype(bool))


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One row of the table.

    Attributes:
      primitive: name of the primitive as it stands in a jaxpr.
      function: takes the operands, returns arrays.
      shapes: shape of each operand.
      domain: where the operands are drawn from: one for all, or one for each.
      note: what is special about this row, if there are several for the primitive.
      dtypes: the shorter dtypes to try, besides float64 or complex128.
      has_slope: False where the derivative is agreed upon and cannot be measured.
      jax_fails: what is wrong with JAX's own derivative of it, so that we are not compared with it.
      jax_of_ours_fails: why JAX cannot differentiate our pullback, though it has one of its own.
      not_batched: why JAX cannot run it under `vmap`.
      truth: takes operand and result of an elementwise function, as numbers of mpmath, and returns
        the slope, where that is defined otherwise than by moving the operand.
      rounding: relative error that the function makes on its way, where that is not float64's.
    """

    primitive: str
    function: Callable
    shapes: Sequence[tuple[int, ...]]
    domain: Domain | tuple[Domain, ...] = REAL
    note: str = ""
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    has_slope: bool = True
    jax_fails: str = ""
    jax_of_ours_fails: str = ""
    not_batched: str = ""
    truth: Callable | None = None
    rounding: float = 0.0

    @property
    def name(self) -> str:
        """The case as it is called in a report of pytest."""
        return f"{self.primitive}: {self.note}" if self.note else self.primitive

    def rng(self, purpose: str) -> np.random.Generator:
        """Returns random numbers that are the same in every run."""
        return np.random.default_rng(zlib.crc32(f"{self.name} {purpose}".encode()))

    @functools.cached_property
    def operands(self) -> list[np.ndarray]:
        """The operands, in double precision."""
        one = isinstance(self.domain, Domain)
        domains = [self.domain] * len(self.shapes) if one else self.domain
        rng = self.rng("operands")
        pairs = zip(domains, self.shapes, strict=True)
        return [np.asarray(domain.draw(rng, shape)) for domain, shape in pairs]

    @property
    def active(self) -> list[int]:
        """The positions of the operands that can have a gradient."""
        return [i for i, x in enumerate(self.operands) if is_inexact(x)]

    def run(self, *operands: Any) -> tuple:
        """Returns the function's results that can have a gradient, as a flat tuple."""
        return tuple(z for z in jax.tree.leaves(self.function(*operands)) if is_inexact(z))

    def of_active(self, operands: Sequence) -> Callable:
        """Returns the function of the active operands alone, the others held fixed."""

        def run(*values: Any) -> tuple:
            filled = list(operands)
            for i, value in zip(self.active, values, strict=True):
                filled[i] = value
            return self.run(*filled)

        return run

    def as_scalar(self) -> Callable:
        """Returns a scalar function of the active operands, curved where the case is linear."""
        run = self.of_active(self.operands)

        def scalar(*values: Any) -> Any:
            terms = [jnp.sum(jnp.sin(1.3 * curved(z) + 0.4)) for z in run(*values)]
            return sum(terms[1:], terms[0])

        return scalar


def curved(z: Any) -> Any:
    """Returns a real number for each element of a result, the imaginary part counted in."""
    return z.real + 0.7 * z.imag * z.real if jnp.iscomplexobj(z) else z


def is_inexact(x: Any) -> bool:
    """Returns whether an array can have a gradient."""
    return jax.dtypes.issubdtype(jax.typeof(x).dtype, np.inexact)


def draw_like(case: Case, arrays: Sequence, purpose: str) -> tuple:
    """Returns random arrays of the shapes and dtypes of the given ones."""
    rng = case.rng(purpose)
    drawn = []
    for array in arrays:
        aval = jax.typeof(array)
        values = rng.normal(size=aval.shape)
        if jax.dtypes.issubdtype(aval.dtype, np.complexfloating):
            values = values + 1j * rng.normal(size=aval.shape)
        drawn.append(jax.device_put(values.astype(aval.dtype)))
    return tuple(drawn)


def results_of(case: Case, *operands: Any) -> tuple:
    """Returns the shapes and dtypes of the results."""
    return jax.eval_shape(case.run, *operands)


def pull_ours(run: Callable, operands: Sequence, g: tuple) -> tuple:
    """Returns the cotangents of the operands by our own reverse pass."""
    return bp.vjp(run, *operands)[1](g)


def pull_jax(run: Callable, operands: Sequence, g: tuple) -> tuple:
    """Returns the cotangents of the operands by JAX's."""
    return jax.vjp(run, *operands)[1](g)


def assert_close(ours: Sequence, theirs: Sequence, rtol: float, what: str) -> None:
    """Raises AssertionError, which says which operand is wrong by how much.

    A difference counts relative to the element, or to a thousandth of the largest element.
    """
    assert len(ours) == len(theirs), f"{what}: {len(ours)} cotangents instead of {len(theirs)}"
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        a, b = wide(a), wide(b)
        where = f"{what}, operand {i}"
        assert a.shape == b.shape, f"{where}: shape {a.shape} instead of {b.shape}"
        assert (np.isfinite(a) == np.isfinite(b)).all(), f"{where}: got\n{a}\ninstead of\n{b}"
        floor = 1e-3 * np.max(np.abs(b), initial=0.0, where=np.isfinite(b)) + 1e-300
        with np.errstate(invalid="ignore"):
            error = np.nan_to_num(np.abs(a - b) / np.maximum(np.abs(b), floor), nan=0.0)
        worst = np.max(error, initial=0.0)
        assert worst <= rtol, f"{where}: off by {worst:.1e} relative, got\n{a}\ninstead of\n{b}"


def wide(x: Any) -> np.ndarray:
    """Returns an array as NumPy's, in double precision."""
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
