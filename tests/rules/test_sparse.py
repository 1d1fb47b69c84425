"""Matrices of `jax.experimental.sparse`: our gradients are JAX's, and are there if it has none."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

import backprop_jax as bp

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
VALUES, DENSE, WIDE = RNG.normal(size=4), RNG.normal(size=(3, 3)), RNG.normal(size=(3, 2))
PLACES = np.array([[0, 1], [1, 0], [2, 2], [0, 1]])  # one of them twice
ROWS, COLUMNS, STARTS = np.array([0, 1, 2]), np.array([1, 0, 2]), np.array([0, 1, 2, 3])


def bcoo(d: Any) -> Any:
    """Returns a square matrix of these values."""
    return sparse.BCOO((d, jnp.asarray(PLACES)), shape=(3, 3))


def bcsr(d: Any) -> Any:
    """Returns a matrix of rows one after the other."""
    return sparse.BCSR((d[:3], jnp.asarray(COLUMNS), jnp.asarray(STARTS)), shape=(3, 3))


def coo(d: Any) -> Any:
    """Returns a matrix without batches, by rows and columns."""
    return sparse.COO((d[:3], jnp.asarray(ROWS), jnp.asarray(COLUMNS)), shape=(3, 3))


def csr(d: Any) -> Any:
    """Returns a matrix without batches, of rows one after the other."""
    return sparse.CSR((d[:3], jnp.asarray(COLUMNS), jnp.asarray(STARTS)), shape=(3, 3))


#: Functions of values d, a dense matrix y and one of two columns, w.
FUNCTIONS: dict[str, Callable] = {
    "product": lambda d, y, w: (bcoo(d) @ w, w.T @ bcoo(d), bcoo(d).T @ w[:, 0]),
    "dense": lambda d, y, w: (bcoo(d).todense(), sparse.todense(bcoo(d)), bcsr(d).todense()),
    "sum": lambda d, y, w: (bcoo(d).sum(0).todense(), (bcoo(d) + bcoo(d * d)).todense()),
    "elementwise": lambda d, y, w: (bcoo(d) * y).todense(),
    "from dense": lambda d, y, w: sparse.BCOO.fromdense(y, nse=9) @ w,
    "order": lambda d, y, w: (bcoo(d).sort_indices().data, bcoo(d).sum_duplicates(nse=3).data),
    "sampled": lambda d, y, w: sparse.bcoo_dot_general_sampled(
        y, y, jnp.asarray(PLACES), dimension_numbers=(([1], [0]), ([], []))
    ),
    "parts": lambda d, y, w: (bcoo(d)[:2].todense(), bcoo(d).reshape(9).todense()),
    "rows": lambda d, y, w: bcsr(d) @ w,
    "coo": lambda d, y, w: (coo(d) @ w, coo(d) @ w[:, 0], coo(d).todense()),
    "csr": lambda d, y, w: (csr(d) @ w, csr(d) @ w[:, 0], csr(d).todense()),
    "sparsify": lambda d, y, w: sparse.sparsify(lambda a, b: a @ b)(bcoo(d), y),
    "scan": lambda d, y, w: jax.lax.scan(lambda c, _: (bcoo(d) @ c, None), w, None, length=2)[0],
}


def loss_of(function: Callable) -> Callable:
    """Returns a loss of what a function returns."""
    return lambda *x: sum(jnp.sum(jnp.sin(z)) for z in jax.tree.leaves(function(*x)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_jax(name):
    loss = loss_of(FUNCTIONS[name])

    @jax.jit
    def both(*operands: jax.Array) -> list:
        return [grad(loss, (0, 1, 2))(*operands) for grad in (bp.grad, jax.grad)]

    ours, theirs = both(VALUES, DENSE, WIDE)
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


def test_second_order_and_jit():
    def curvature(grad: Callable) -> Any:
        first = grad(loss_of(FUNCTIONS["product"]))
        y, w = map(jnp.asarray, (DENSE, WIDE))
        return jax.jit(grad(lambda d: jnp.sum(first(d, y, w) ** 2)))(VALUES)

    np.testing.assert_allclose(curvature(bp.grad), curvature(jax.grad), rtol=1e-12)


def test_a_product_of_sparse_matrices_has_a_gradient_where_jax_has_none():
    product = lambda d: jnp.sum(DENSE * (bcoo(d) @ bcoo(d)).todense())  # noqa: E731
    with pytest.raises(NotImplementedError):
        jax.grad(product)(jnp.asarray(VALUES))
    dense = lambda d: jnp.sum(DENSE * (bcoo(d).todense() @ bcoo(d).todense()))  # noqa: E731
    ours, theirs = (jax.jit(g)(VALUES) for g in (bp.grad(product), jax.grad(dense)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_a_sparse_solve_to_second_order():
    columns, starts = jnp.array([1, 0, 2, 0, 2], jnp.int32), jnp.array([0, 1, 3, 5], jnp.int32)
    places = np.array([0, 1, 1, 2, 2]), np.asarray(columns)
    d, b = jnp.array([2.0, 1.5, 0.3, -0.4, 1.7]), jnp.array([1.0, -2.0, 0.5])

    def solved(d: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(sparse.linalg.spsolve(d, columns, starts, b)))

    def dense(d: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(jnp.linalg.solve(jnp.zeros((3, 3)).at[places].add(d), b)))

    def both(grad: Callable, loss: Callable) -> tuple:
        first = grad(loss, (0, 1))
        again = grad(lambda *x: sum(jnp.sum(v**2) for v in first(*x)), (0, 1))
        return *first(d, b), *again(d, b)

    for ours, theirs in zip(both(bp.grad, solved), both(jax.grad, dense), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
