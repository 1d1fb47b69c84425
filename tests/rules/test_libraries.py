"""Primitives of libraries: our rules against those the libraries tell JAX, and against slopes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jax.extend.core import Primitive

import backprop_jax as bp
from backprop_jax.errors import MissingRule

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
SQUARE = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
TALL, WIDE = RNG.normal(size=(4, 2)), RNG.normal(size=(2, 4))
SIDE, LONG = RNG.normal(size=3), RNG.normal(size=4)


class Use(NamedTuple):
    """A function of arrays that meets a primitive of a library.

    `orders`: up to which order jax.grad is a witness.
    """

    name: str
    function: Callable
    operands: tuple
    orders: int = 1


def solution(solver: Any, *tags: object, of: Callable = lambda a: a) -> Callable:
    """Returns the solution of a linear system as a function of matrix and right side."""

    def solve(a: Any, b: Any) -> Any:
        return lx.linear_solve(lx.MatrixLinearOperator(of(a), *tags), b, solver).value

    return solve


def by_function(a: Any, b: Any) -> Any:
    shape = jax.ShapeDtypeStruct(b.shape, b.dtype)
    return lx.linear_solve(lx.FunctionLinearOperator(lambda x: a @ x, shape), b, lx.LU()).value


def twice(x: Any) -> Any:
    a = lx.DiagonalLinearOperator(x)
    return lx.linear_solve(a, 1 + x * x, lx.Diagonal()).value


def of_rank_two(a: Any, b: Any) -> Any:
    return solution(lx.SVD(rcond=1e-8))(a @ WIDE[:, :3], b)


def in_loop(kind: str) -> Callable:
    """Returns a loop that writes into a buffer."""

    def run(x: Any) -> Any:
        def body(carry: tuple) -> tuple:
            i, x, buffer = carry
            return i + 1, jnp.sin(x) * 1.1, buffer.at[i].set(x)

        start = (0, x, jnp.zeros((4, 3)))
        *_, x, buffer = eqxi.while_loop(
            lambda carry: carry[0] < 3,
            body,
            start,
            max_steps=4,
            kind=kind,
            buffers=lambda carry: carry[2],
        )
        return x, jnp.cos(buffer)

    return run


@eqxi.noinline
def apart(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


USES = [
    Use("twice", twice, (SIDE,), 2),
    Use("lu", solution(lx.LU()), (SQUARE, SIDE)),
    Use("complex", solution(lx.LU()), (SQUARE + 1j * SQUARE.T, SIDE + 1j), 1),
    Use("least squares", solution(lx.QR()), (TALL, LONG)),
    Use("least norm", solution(lx.SVD()), (WIDE, LONG[:2])),
    Use("singular", of_rank_two, (TALL, LONG)),
    Use("singular and complex", of_rank_two, (TALL * (1 + 0.3j), LONG + 0.5j)),
    Use(
        "cholesky",
        solution(lx.Cholesky(), lx.positive_semidefinite_tag, of=lambda a: a @ a.T),
        (SQUARE, SIDE),
    ),
    Use("operator is a function", by_function, (SQUARE, SIDE)),
    Use("vmap over right sides", jax.vmap(solution(lx.LU()), (None, 0)), (SQUARE, SQUARE)),
    Use(
        "vmap over operators",
        jax.vmap(solution(lx.LU()), (2, None)),
        (np.stack([SQUARE, SQUARE.T], 2), SIDE),
    ),
    Use("noinline", apart, (SIDE, SIDE + 1)),
    Use("noinline twice", lambda x: apart(apart(x, x), x), (SIDE,)),
    Use("bounded loop", in_loop("bounded"), (SIDE,)),
    Use("bounded loop under vmap", jax.vmap(in_loop("bounded")), (SQUARE,)),
    Use("checkpointed loop", in_loop("checkpointed"), (SIDE,)),
    Use("announce", lambda x: eqx.debug.announce_transform(x, announce=len) ** 2, (SIDE,)),
    Use(
        "guard that no cotangent reaches",
        lambda x: x + jax.lax.stop_gradient(eqxi.nondifferentiable_backward(x)),
        (SIDE,),
    ),
]


def scalar(function: Callable) -> Callable:
    """Returns a real number that depends on all of a function's results."""

    def total(*operands: Any) -> Any:
        leaves = jax.tree.leaves(function(*operands))
        return sum(jnp.sum(jnp.cos(z.real) + z.imag**2) for z in leaves)

    return total


@pytest.mark.slow
@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
def test_agrees_with_the_rule_of_the_library(use):
    operands = tuple(map(jnp.asarray, use.operands))
    ours = theirs = scalar(use.function)
    numbers = tuple(range(len(operands)))
    for _ in range(use.orders):
        ours, theirs = bp.grad(ours, numbers), jax.grad(theirs, numbers)
        pairs = zip(jax.jit(ours)(*operands), jax.jit(theirs)(*operands), strict=True)
        for g, h in pairs:
            np.testing.assert_allclose(g, h, rtol=1e-9, atol=1e-11)
        ours, theirs = scalar(ours), scalar(theirs)


def test_second_order_of_what_is_compiled_apart():
    """jax.grad has none."""
    inner = lambda x: jnp.sum(bp.grad(lambda x: jnp.sum(apart(x, x)))(x))  # noqa: E731
    expected = 2 * jnp.cos(SIDE) - SIDE * jnp.sin(SIDE)
    np.testing.assert_allclose(bp.grad(inner)(jnp.asarray(SIDE)), expected, rtol=1e-12)


def test_a_loop_that_jax_cannot_reverse():
    loop = scalar(in_loop("lax"))
    expected = jax.grad(scalar(in_loop("bounded")))(jnp.asarray(SIDE))
    np.testing.assert_allclose(bp.grad(loop)(jnp.asarray(SIDE)), expected, rtol=1e-12)


def test_what_must_not_be_differentiated_says_so():
    def guarded(x: Any) -> Any:
        return eqxi.nondifferentiable_backward(x, msg="not here") * x

    with pytest.raises(MissingRule, match="not here"):
        bp.grad(guarded)(1.0)
    with pytest.raises(RuntimeError, match="Detected differentiation of this"):
        bp.grad(lambda x: eqxi.nontraceable(x, name="this"))(jnp.asarray(1.0))


def test_the_identity_that_may_not_be_batched():
    assert bp.grad(lambda x: eqxi.nonbatchable(x) ** 2)(jnp.asarray(3.0)) == 6


def test_a_primitive_of_the_same_name_is_another_one():
    other_p = Primitive("select_if_vmap")
    other_p.def_impl(lambda x: 2 * x)
    other_p.def_abstract_eval(lambda x: x)
    with pytest.raises(MissingRule, match="select_if_vmap"):
        bp.grad(other_p.bind)(1.0)
