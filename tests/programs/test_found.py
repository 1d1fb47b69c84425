"""Programs that once went wrong, or that JAX gets wrong: each found among the generated ones."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import opt_einsum
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.engine import registry
from tests.programs.judge import (
    AGREES,
    BETTER,
    INVALID,
    MISSING,
    NO_JAX,
    WRONG,
    judge,
)

VECTOR = np.array([0.3, -0.7, 0.5, 0.9])
TABLE = np.array([-0.5, 0.1, 0.6])
WEIGHTS = np.array([[1.0, 2.0], [3.0, 4.0]])


class Found(NamedTuple):
    """A program written out; it is judged as a generated one is, by all checks.

    Attributes:
      function: takes who differentiates within it, `jax` or `backprop_jax`, and the arguments.
      arguments: the arguments.
      verdict: of its first derivative.
    """

    function: Callable
    arguments: tuple
    verdict: str = AGREES

    checks = frozenset({"first", "eager", "second", "hvp", "mixed", "vmap"})
    seed = 0

    def load(self, ad: Any) -> tuple[Callable, tuple]:
        """Returns the function and its arguments."""
        arguments = jax.tree.map(jnp.asarray, self.arguments)
        return functools.partial(self.function, ad), arguments

    def source(self) -> str:
        """Returns the program as Python."""
        return inspect.getsource(self.function)

    def narrow(self) -> list[str]:
        """Returns the short dtypes that occur: none."""
        return []


def solved_in_a_custom_rule(ad, x):
    """The step is linear in the right side alone, and its formula is one for all operands."""

    def plain(x):
        d = 0.2 * x
        return lax.linalg.tridiagonal_solve(d, d + 3, d, x[:, None])

    solved = jax.custom_jvp(plain)
    solved.defjvp(lambda p, t: jax.jvp(plain, p, t))
    return solved(jnp.sin(x))


def searched_in_a_custom_rule(ad, x):
    """The tangent goes into the loop of a search, and nothing comes of it there."""

    def plain(x):
        return 1.5 * x + jnp.searchsorted(TABLE, x)

    searched = jax.custom_jvp(plain)
    searched.defjvp(lambda p, t: jax.jvp(plain, p, t))
    return searched(jnp.sin(x))


def loop_of_stopped_values(ad, x, n):
    """The body reads what moves, its result does not."""

    def body(state):
        i, y = state
        return i + 1, lax.stop_gradient(jnp.sin(y) * jnp.sum(x))

    return x * lax.while_loop(lambda s: s[0] < n, body, (0, lax.stop_gradient(x)))[1]


def product_with_a_start(ad, x):
    """jax.grad forgets the start of the product, 0.5."""
    return lax.reduce(jnp.tanh(x), np.float64(0.5), lambda a, b: a * b, (0,))


def loop_counted_at_run_time(ad, x, n):
    """jax.grad has no reverse of it."""
    return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, jnp.sin(s[1]) * x), (0, x))[1]


def multiplied_in_a_custom_rule(ad, x):
    """The tangent is multiplied in a place, as the number is: a linear step."""

    def plain(x):
        return x.at[np.array([0])].multiply(x[1], unique_indices=True)

    multiplied = jax.custom_jvp(plain)
    multiplied.defjvp(lambda p, t: jax.jvp(plain, p, t))
    return multiplied(jnp.sin(x))


FOUND = [
    Found(multiplied_in_a_custom_rule, (VECTOR,)),
    Found(solved_in_a_custom_rule, (VECTOR,)),
    Found(searched_in_a_custom_rule, (VECTOR,)),
    Found(loop_of_stopped_values, (VECTOR, 2)),
    Found(product_with_a_start, (VECTOR,), BETTER),
    Found(loop_counted_at_run_time, (VECTOR, 3), NO_JAX),
]


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.function.__name__)
def test_found(found, x64):
    verdicts = judge(found)
    assert verdicts[0].kind == found.verdict, verdicts[0].text
    allowed = {AGREES, found.verdict}
    assert all(v.kind in allowed for v in verdicts), verdicts


def test_a_rule_slightly_wrong_is_noticed(monkeypatch, x64):
    wrong = registry.read(lambda g, x: g * lax.cos(x) * 1.00001)
    monkeypatch.setitem(registry.book, lax.sin_p, registry.Row("elementwise", (wrong,)))
    verdicts = judge(Found(lambda ad, x: lax.sin(x), (VECTOR,)))
    assert {v.check: v.kind for v in verdicts}["first"] == WRONG


def test_a_rule_that_is_not_there_is_noticed(monkeypatch, x64):
    monkeypatch.delitem(registry.book, lax.sin_p)
    verdicts = judge(Found(lambda ad, x: lax.sin(x), (VECTOR,)))
    assert verdicts[0].kind == MISSING


def test_a_program_that_does_not_run_is_none(x64):
    """Both branches are compiled. It can be traced, so JAX's first error is of a derivative."""

    def pushed(ad, x):
        scaled = jax.custom_vjp(lambda x: 2 * x)
        scaled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
        return lax.switch(0, [jnp.sin, lambda x: jax.jvp(scaled, (x,), (x,))[1]], x)

    (verdict,) = judge(Found(pushed, (0.3,)))
    assert verdict.kind == INVALID
    with pytest.raises(TypeError, match="to a custom_vjp function") as theirs:
        pushed(jax, 0.3)
    assert str(theirs.value) in verdict.text


def test_exponential_integral_under_vmap_and_jit():
    """There it is another function by the same name, and no compiled one. d/dx E₁ = -e⁻ˣ/x."""
    slope = jax.jit(jax.vmap(bp.grad(jax.scipy.special.exp1)))
    x = np.float32([0.5, 1.5, 4.0])
    np.testing.assert_allclose(slope(x), -np.exp(-x) / x, rtol=1e-5)


def test_second_derivative_of_the_exponential_integral(x64):
    """On jax 0.10 JAX's rule leaks the order it is of into its own derivative, and has none.

    Here as a constant of a gradient, of size 1, under vmap along its axes, and of JAX's first.
    """
    exp1 = jax.scipy.special.exp1

    def both(x):
        inner = bp.grad(lambda p: jnp.sum(exp1(x[0, :1]) * p))(1.0)
        return inner + jnp.sum(jax.vmap(jax.vmap(exp1), 1)(x) * WEIGHTS)

    x = np.array([[0.5, 1.5], [2.5, 4.0]])
    true = np.exp(-x) * (1 + x) / x**2
    second = jax.jit(bp.grad(lambda x: jnp.sum(bp.grad(both)(x))))(x)
    np.testing.assert_allclose(second, (WEIGHTS.T + np.diag([1, 0])) * true, rtol=1e-12)
    of_jax = bp.grad(jax.grad(jax.checkpoint(jax.jit(exp1))))(x[0, 0])
    np.testing.assert_allclose(of_jax, true[0, 0], rtol=1e-12)


def test_libraries_know_what_is_recorded_for_an_array_of_jax():
    """opt_einsum, as autoray for PennyLane, goes by the class. ∂tr(waw)/∂w = (aw + wa)ᵀ."""
    w, a = jnp.asarray(WEIGHTS), jnp.asarray(WEIGHTS[::-1])
    slope = bp.grad(lambda w: opt_einsum.contract("ij,jk,ki->", w, a, w))(w)
    np.testing.assert_allclose(slope, (a @ w + w @ a).T, rtol=1e-6)
