"""What a call of the survey is: a public function of JAX at a point, perhaps a hard corner."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.rules import case


class Draw(NamedTuple):
    """An operand that is drawn at random: where from, and its shape."""

    domain: case.Domain
    shape: tuple[int, ...]


def real(*shape: int) -> Draw:
    """Returns an operand of any real numbers."""
    return Draw(case.REAL, shape)


def positive(*shape: int) -> Draw:
    """Returns an operand between 0.5 and 2.5."""
    return Draw(case.POSITIVE, shape)


def unit(*shape: int) -> Draw:
    """Returns an operand between 0.1 and 0.9."""
    return Draw(case.uniform(0.1, 0.9), shape)


def between(low: float, high: float, *shape: int) -> Draw:
    """Returns an operand between two bounds."""
    return Draw(case.uniform(low, high), shape)


def cplx(*shape: int) -> Draw:
    """Returns an operand of complex numbers."""
    return Draw(case.COMPLEX, shape)


def definite(n: int) -> Draw:
    """Returns a symmetric matrix whose eigenvalues are above 1."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        a = rng.normal(size=shape)
        return a @ a.T / n + 2 * np.eye(n)

    return Draw(case.Domain(draw), (n, n))


def regular(n: int) -> Draw:
    """Returns a matrix that is far from singular."""
    return Draw(case.Domain(lambda rng, shape: rng.normal(size=shape) / 2 + 2 * np.eye(n)), (n, n))


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One row of the survey.

    Attributes:
      name: what is called, and what is special about it.
      function: takes the operands, returns arrays; all else is captured.
      operands: those that are differentiated: drawn, or numbers.
      orders: how many orders there are to measure: 0 where no slope can be measured at all (the
        gradient is only computed), 1 at a kink of the gradient.
      step: of the difference quotient.
      rtol: how far from it the gradient may be, relative to the sizes that are added up.
      heavy: takes XLA seconds to compile.
    """

    name: str
    function: Callable
    operands: tuple
    orders: int = 2
    step: float = 3e-5
    rtol: float = 1e-5
    heavy: bool = False

    def values(self) -> tuple:
        """Returns the operands, the same every time."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return tuple(
            jnp.asarray(x.domain.draw(rng, x.shape) if isinstance(x, Draw) else x)
            for x in self.operands
        )

    def direction(self, number: int) -> tuple:
        """Returns random directions for all operands."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()) + number)
        return tuple(random_like(rng, x) for x in self.values())

    def scalar(self, *values: Any) -> Any:
        """Returns a random real contraction of the results."""
        rng = np.random.default_rng(7)
        total = 0.0
        for z in jax.tree.leaves(self.function(*values)):
            if case.is_inexact(z):
                w = jnp.asarray(random_like(rng, z))
                total += jnp.sum((w * z).real.astype(float))
        return total


def random_like(rng: np.random.Generator, x: Any) -> np.ndarray:
    """Returns random numbers of an array's shape, complex where it is."""
    v = rng.uniform(0.3, 1.0, x.shape) * rng.choice([-1, 1], x.shape)
    return v + 1j * rng.normal(size=x.shape) if jnp.iscomplexobj(x) else v
