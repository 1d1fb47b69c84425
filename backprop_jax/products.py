"""Products with derivatives: a Jacobian or a Hessian times a vector; linear functions transposed.

There are no forward rules. A pullback is a linear function, and its own pullback is the way
forward: two times back is forth.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import set_current_trace

from backprop_jax.api import one, vjp
from backprop_jax.arguments import (
    Argnums,
    PyTree,
    Wanted,
    check_argument,
    check_callable,
    check_reduce_axes,
    check_result,
    check_scalar,
    check_tangents,
    is_a,
)
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function, evaluate, needed_for, variables
from backprop_jax.engine.sweep import sweep, transposed
from backprop_jax.engine.tape import Tape
from backprop_jax.errors import NotLinear, message
from backprop_jax.meshes import full
from backprop_jax.rules.loops import trip_by_trip
from backprop_jax.swaps import Rules, held
from backprop_jax.tracebacks import boundary, within


@boundary
def jvp(
    fun: Callable,
    primals: Sequence,
    tangents: Sequence,
    has_aux: bool = False,
    *,
    rules: Rules | None = None,
) -> tuple:
    """Returns `fun(*primals)` and its slope along the tangents, as `jax.jvp` does.

    The slope is the transpose of the pullback, that is the pullback of the pullback: it needs no
    rule but those of `grad`, and goes through a `jax.custom_vjp`, of whose reverse rule it is the
    transpose at small cotangents. Compiled, it costs what the slope costs and no reverse pass.

    Args:
      fun: maps arrays and pytrees of them to the same.
      primals: tuple or list of the arguments of `fun`.
      tangents: tuple or list of the directions, of the same structure, shapes and dtypes; `float0`
        for integers.
      has_aux: `fun` returns a pair of its result and anything else, which is passed on.
      rules: as in `grad`; the slope is the transpose of what they say.

    Returns:
      A pair of the result and the slope, of the result's structure; with `has_aux`, a third
      element: the auxiliary value.

    Raises:
      TypeError, ValueError: the tangents do not match the primals.
      MissingRule: the slope would pass through a primitive without a rule.

    Example:
      >>> import backprop_jax as bp
      >>> y, slope = bp.jvp(lambda x, y: x * y, (3.0, 4.0), (1.0, 0.5))
      >>> print(y, slope)
      12.0 5.5
    """
    check_callable(fun)
    check_tangents("jvp", primals, tangents)
    result, push, *aux = pushforward(fun, primals, has_aux, rules)
    return (result, push(*tangents), *aux)


def pushforward(
    fun: Callable, primals: Sequence, has_aux: bool = False, rules: Rules | None = None
) -> tuple:
    """Returns `fun(*primals)`, the function from tangents to the slope, and what is auxiliary."""
    result, pull, *aux = within(vjp)(fun, *primals, has_aux=has_aux, rules=rules)
    forward = transposed(pull.pullback, pull.result_avals)

    def push(*tangents: PyTree) -> PyTree:
        found = forward(jax.tree.leaves(tangents))
        return jax.tree.unflatten(pull.result_tree, ct.presented(found, pull.result_avals))

    return (result, push, *aux)


@boundary
def hvp(
    fun: Callable,
    primals: Sequence,
    tangents: Sequence,
    argnums: Argnums = 0,
    *,
    rules: Rules | None = None,
) -> PyTree:
    """Returns the product of the Hessian of `fun` with a vector, without the Hessian.

        d/dt grad(fun, argnums)(*(primals + t tangents)) at t = 0

    computed as the pullback of the gradient, at `tangents`: about four times the cost of `fun`,
    where the Hessian costs as many gradients as there are numbers in the arguments.

    Args:
      fun: maps arrays and pytrees of them to a real scalar.
      primals: sequence of the arguments of `fun`.
      tangents: sequence of the directions, of the same structure, shapes and dtypes.
      argnums: as in `grad`.
      rules: as in `grad`; both derivatives go by them.

    Returns:
      The product, of the structure that `grad(fun, argnums)` has.

    Raises:
      TypeError, ValueError: the tangents do not match the primals.

    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.

    Example:
      >>> import backprop_jax as bp
      >>> print(bp.hvp(lambda x: x**3, (2.0,), (10.0,)))
      120.0
    """
    primals, tangents = tuple(primals), tuple(tangents)
    check_tangents("hvp", primals, tangents)

    def gradients(*args: PyTree) -> tuple:
        value, pullback = within(vjp)(fun, *args)
        check_scalar(value)
        check_result("hvp", value, holomorphic=False)
        return pullback(one(value))

    wanted = Wanted.of(fun, argnums, None)
    chosen, run = wanted.partial(gradients, primals, {})
    for leaf in jax.tree.leaves(chosen):
        check_argument("hvp", leaf, holomorphic=False, allow_int=False)
    with held(rules):
        _, pullback = within(vjp)(run, *chosen)
        return wanted.arrange(pullback(tangents))


NOT_LINEAR = message(
    "linear_transpose of a function that is not linear in its arguments.",
    to_go_on="let every argument enter the result as a factor, once; or use vjp.",
)


class WholeTape(Tape):
    """The tape of a linear function of whole numbers: these have whole cotangents."""

    __slots__ = ()

    @staticmethod
    def can_move(aval: Any) -> bool:
        """Returns whether values of this type are numbers."""
        return is_a(aval.dtype, np.number)

    def process_structured(
        self, primitive: Any, rule: Any, tracers: Sequence, params: dict
    ) -> list:
        """Runs a loop as its trips, one after the other: its rule knows floating numbers only."""
        if primitive is not lax.scan_p:
            return super().process_structured(primitive, rule, tracers, params)
        with set_current_trace(self):
            return trip_by_trip(*tracers, **params)


@boundary
def linear_transpose(fun: Callable, *primals: PyTree, reduce_axes: Sequence[str] = ()) -> Callable:
    """Returns the transpose of a linear function, as `jax.linear_transpose` does.

    `fun` is never run: it is read once, and its way back once more for each call.

    Args:
      fun: maps arrays and pytrees of them, floating or complex, to the same, or integers to
        integers; it is linear in all of its arguments together.
      *primals: arguments of `fun`, or `jax.ShapeDtypeStruct`s, read as shape and dtype.
      reduce_axes: there must be none, as in JAX.

    Returns:
      A function from a cotangent of the result to a tuple with a cotangent for each of the primals.

    Raises:
      TypeError: arguments and results are not all floating or complex, nor all integers; the
        cotangent does not match the result.
      NotLinear: `fun` is not linear; a `TypeError`, raised when the transpose is called.

    Example:
      >>> import backprop_jax as bp
      >>> transpose = bp.linear_transpose(lambda x, y: 3 * x - y, 1.0, 1.0)
      >>> print([float(g) for g in transpose(2.0)])
      [6.0, -2.0]
    """
    check_callable(fun)
    check_reduce_axes("transpose", reduce_axes)
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*primals)
    tree, result_tree = jax.tree.structure(primals), jax.tree.structure(shapes)
    avals = [*closed.in_avals, *closed.out_avals]
    whole = all(is_a(aval.dtype, np.integer) for aval in avals)
    if not whole and not all(map(ct.is_differentiable, avals)):
        raise TypeError(
            "linear_transpose only supports [float or complex] -> [float or complex] and integer "
            f"-> integer functions, but got {names(closed.in_avals)} -> {names(closed.out_avals)}."
        )
    make = WholeTape if whole else Tape
    function, active = as_function(closed), [True] * len(closed.in_avals)

    def back(operands: list, g: list) -> list:
        return sweep(function, operands, active, linear=NOT_LINEAR, make=make)[1](g)

    @boundary
    def transposed(cotangent: PyTree) -> tuple:
        g = matching(cotangent, result_tree, closed.out_avals)
        way, found = jax.make_jaxpr(back, return_shape=True)(closed.in_avals, g)
        steps = needed_for(way.jaxpr.outvars, way.jaxpr.eqns)
        operands = way.jaxpr.invars[: len(active)]
        read = {v for e in steps for v in variables(e.invars)} | set(variables(way.jaxpr.outvars))
        if not read.isdisjoint(operands):
            raise NotLinear(NOT_LINEAR)
        at_hand = dict(zip(way.jaxpr.constvars, way.consts, strict=True))
        at_hand.update(zip(way.jaxpr.invars[len(active) :], g, strict=True))
        values = iter(evaluate(steps, at_hand, way.jaxpr.outvars))
        pairs = zip(found, closed.in_avals, strict=True)
        gradients = [full(v.shape, 0, v.dtype) if s is None else next(values) for s, v in pairs]
        return jax.tree.unflatten(tree, ct.presented(gradients, closed.in_avals))

    return transposed


def matching(cotangent: PyTree, tree: Any, avals: Sequence) -> list:
    """Returns the leaves of a cotangent; raises TypeError if they do not match a result."""
    leaves, given = jax.tree.flatten(cotangent)
    if given != tree:
        raise TypeError(
            f"cotangent tree does not match function output, expected {tree} but got {given}"
        )
    types = [jax.typeof(leaf) for leaf in leaves]
    if any(t.shape != a.shape or t.dtype != a.dtype for t, a in zip(types, avals, strict=True)):
        raise TypeError(
            f"cotangent type does not match function output, expected {names(avals)} "
            f"but got {names(types)}"
        )
    return leaves


def names(avals: Sequence) -> str:
    """Returns what to call types in a message."""
    return ", ".join(aval.str_short() for aval in avals) or "nothing"
