"""Programs that are long, wide or deep, of operations that are next to nothing each."""

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array

from benchmarks.workload import Function, Workload, gradient, normal


def chain() -> Workload:
    """200 elementwise operations on a million numbers."""

    def loss(x: Array) -> Array:
        for _ in range(50):
            x = jnp.tanh(jnp.sin(x) * 1.1) + 0.1
        return jnp.mean(x)

    return gradient(loss, normal(0, 1_000_000))


def leaves() -> Workload:
    """A tree of 2,000 leaves."""

    def loss(params: list, x: Array) -> Array:
        return sum(jnp.vdot(jnp.sin(p), x) for p in params)

    return gradient(loss, [normal(i, 16) for i in range(2_000)], normal(2_000, 16))


def equations() -> Workload:
    """5,000 equations of scalars: XLA would take minutes for a chain of these, with any engine."""

    def loss(at: tuple) -> Array:
        x, y = at
        total = x
        for i in range(1_250):
            total += jnp.sin(x * (0.001 * i)) * y
        return total

    return gradient(loss, tuple(map(jnp.float32, (0.3, 0.4))))


def nested() -> Workload:
    """50 functions, each compiled within the next."""

    def around(inner: Function) -> Function:
        return jax.jit(lambda x: 1.1 * jnp.sin(inner(x)))

    fun = reduce(lambda fun, _: around(fun), range(50), jnp.cos)
    return gradient(lambda x: jnp.mean(fun(x)), normal(0, 1_000))


def rows() -> Workload:
    """1,000 rows of a 1,000 × 1,000 array, read one by one."""

    def loss(x: Array) -> Array:
        return sum(jnp.sin(x[i]) for i in range(1_000)).mean()

    return gradient(loss, normal(0, 1_000, 1_000), eager=False)
