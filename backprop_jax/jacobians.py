"""Jacobians and Hessians: a pullback or a pushforward along every unit vector."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backprop_jax.api import vjp, wraps
from backprop_jax.arguments import (
    Argnames,
    Argnums,
    PyTree,
    Wanted,
    ZeroTimesInf,
    check_argument,
    check_moved,
    check_result,
    check_zero_times_inf,
)
from backprop_jax.dtypes import enabling
from backprop_jax.meshes import varying_as
from backprop_jax.products import pushforward
from backprop_jax.swaps import Rules, held
from backprop_jax.tracebacks import boundary, within


@boundary
def jacrev(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    argnames: Argnames | None = None,
    chunk_size: int | None = None,
    zero_times_inf: ZeroTimesInf = "nan",
    rules: Rules | None = None,
) -> Callable:
    """Returns a function that computes the Jacobian of `fun`, row by row, as `jax.jacrev` does.

    Args:
      fun: maps arrays and pytrees of them to the same.
      argnums: position, or positions, of the arguments to differentiate. Default: 0, or none if
        `argnames` is given.
      has_aux: `fun` returns a pair of its result and anything else, which is passed on.
      holomorphic: `fun` is holomorphic; arguments and result are complex.
      allow_int: integer arguments may be named, too; their Jacobian is zero, of dtype `float0`.
      argnames: name, or names, of keyword arguments to differentiate.
      chunk_size: how many rows to compute at a time. What the way back needs is then there for so
        many rows only, and the blocks come one after the other. Default: all rows at once.
      zero_times_inf: as in `grad`.
      rules: as in `grad`.

    Returns:
      A function of the same arguments. It returns, for every leaf of the result and in it for every
      leaf of the argument, an array of shape (*result's shape, *argument's shape).

    Raises:
      TypeError: a result or an argument is not real.
      ValueError: `chunk_size` is not a positive integer.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> print(bp.jacrev(lambda x: x**2)(jnp.array([1.0, 2.0])))
      [[2. 0.]
       [0. 4.]]
    """
    wanted, swapped = Wanted.of(fun, argnums, argnames), held(rules)
    check_zero_times_inf(zero_times_inf)
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(f"chunk_size must be a positive integer or None, but got {chunk_size!r}.")

    @wraps(fun, "Jacobian")
    def jacobian_of(*args: Any, **kwargs: Any) -> PyTree:
        chosen, run = wanted.partial(fun, args, kwargs)
        for leaf in jax.tree.leaves(chosen):
            check_argument("jacrev", leaf, holomorphic, allow_int)
        with swapped:
            options: dict = {"has_aux": has_aux, "zero_times_inf": zero_times_inf}
            result, pull, *aux = within(vjp)(run, *chosen, **options)
        for leaf in jax.tree.leaves(result):
            check_result("jacrev", leaf, holomorphic)
        rows = along_each(result, lambda unit: wanted.arrange(pull(unit)), chunk_size)
        blocks = jax.tree.map(lambda block: parts(block, result, 0), rows)
        outer, inner = jax.tree.structure(rows), jax.tree.structure(result)
        jacobian = jax.tree.transpose(outer, inner, blocks)
        return (jacobian, *aux) if has_aux else jacobian

    return jacobian_of


jacobian = jacrev


@boundary
def jacfwd(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    argnames: Argnames | None = None,
    rules: Rules | None = None,
) -> Callable:
    """Returns a function that computes the Jacobian of `fun` by columns, as `jax.jacfwd` does.

    It is the better of the two where the argument has fewer numbers than the result. A column is
    the slope along a unit vector, see `jvp`. Args and what it returns are those of `jacrev`.

    Raises:
      TypeError: an argument is not real; with `holomorphic`, an argument or a result not complex.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> print(bp.jacfwd(lambda t: jnp.stack([t, t**2, t**3]))(2.0))
      [ 1.  4. 12.]
    """
    wanted, swapped = Wanted.of(fun, argnums, argnames), held(rules)

    @wraps(fun, "Jacobian")
    def jacobian_of(*args: Any, **kwargs: Any) -> PyTree:
        chosen, run = wanted.partial(fun, args, kwargs)
        for leaf in jax.tree.leaves(chosen):
            check_moved(leaf, holomorphic)
        with swapped:
            result, push, *aux = pushforward(run, chosen, has_aux)
        if holomorphic:
            for leaf in jax.tree.leaves(result):
                check_result("jacfwd", leaf, holomorphic)
        columns = along_each(chosen, lambda unit: push(*unit))
        jacobian = jax.tree.map(
            lambda block: wanted.arrange(parts(jnp.moveaxis(block, 0, -1), chosen, -1)), columns
        )
        return (jacobian, *aux) if has_aux else jacobian

    return jacobian_of


def along_each(example: PyTree, fun: Callable, chunk_size: int | None = None) -> PyTree:
    """Returns `fun` of every unit vector of the space of `example`, stacked along a new axis."""
    leaves, tree = jax.tree.flatten(example)
    avals = [jax.typeof(leaf) for leaf in leaves]
    starts = np.cumsum([0, *(aval.size for aval in avals)])

    def of_unit_vector(i: Any) -> PyTree:
        pairs = zip(starts, avals, strict=False)
        unit = [unit_vector(i, int(start), aval.shape, aval.dtype) for start, aval in pairs]
        return fun(jax.tree.unflatten(tree, list(map(varying_as, unit, avals))))

    if starts[-1] == 1:  # a number: its Jacobian is a gradient
        return jax.tree.map(lambda x: x.reshape(1, *x.shape), of_unit_vector(0))
    if chunk_size is None:
        return jax.vmap(of_unit_vector)(jnp.arange(starts[-1]))
    return lax.map(of_unit_vector, jnp.arange(starts[-1]), batch_size=chunk_size)


@functools.partial(jax.jit, static_argnums=(1, 2, 3), inline=True)
def unit_vector(i: Any, start: int, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Returns zeros, but a one at place `i` of these, the first of which has the number `start`."""
    numbers = jnp.arange(start, start + math.prod(shape))
    with enabling([dtype]):
        return (i == numbers).astype(dtype).reshape(shape)


def parts(block: jax.Array, example: PyTree, axis: int) -> PyTree:
    """Returns a stack of rows or columns in the structure and shapes of what they stand for."""
    leaves, tree = jax.tree.flatten(example)
    shapes = [jnp.shape(leaf) for leaf in leaves]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    pieces = jnp.split(block, ends[:-1], axis) if len(leaves) > 1 else [block]
    rest = block.shape[1:] if axis == 0 else block.shape[:-1]
    found = [
        piece.reshape((*shape, *rest) if axis == 0 else (*rest, *shape))
        for piece, shape in zip(pieces, shapes, strict=True)
    ]
    return jax.tree.unflatten(tree, found)


@boundary
def hessian(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    argnames: Argnames | None = None,
    zero_times_inf: ZeroTimesInf = "nan",
    rules: Rules | None = None,
) -> Callable:
    """Returns a function that computes the Hessian of `fun`, as `jax.hessian` does.

    Args and errors are those of `jacrev`, of which it is twice; so is the structure of what it
    returns: for a result of shape r and an argument of shape s, an array of shape (*r, *s, *s).

    Example:
      >>> import backprop_jax as bp
      >>> print(bp.hessian(lambda x: x**3)(2.0))
      12.0
    """
    options: dict = {"argnames": argnames, "zero_times_inf": zero_times_inf, "rules": rules}
    rows = within(jacrev)(fun, argnums, has_aux, holomorphic, **options)
    return within(jacrev)(rows, argnums, has_aux, holomorphic, **options)
