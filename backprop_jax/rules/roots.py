"""`jax.lax.custom_root` as jax 0.12 has it: a root is differentiated, not the way it was found.

    f(p, x) = 0   so   dx = - (D_x f)⁻¹ D_p f dp

What the user's solver of the linear system is given of D_x f is a primitive, too, the *slope*: it
applies D_x f(p, x), or the transpose, to a vector. Both are told here by our own sweeps: a pullback
is the transpose, and the pullback of that the slope itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.custom_derivatives import SymbolicZero

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.sweep import sweep, transposed
from backprop_jax.engine.units import Unit


def pushed(fun: Callable[..., list], operands: Sequence, tangents: Sequence) -> list:
    """Returns how the results of `fun` move if the operands move so; None for one that does not."""
    active = [v is not None and ct.is_differentiable(jax.typeof(v)) for v in tangents]
    results, pull = sweep(fun, operands, active)
    return transposed(pull, list(map(jax.typeof, results)))(tangents)


def of_leaves(fun: Callable, tree: Any) -> Callable[..., list]:
    """Returns a function of a pytree as one of its leaves, which returns leaves."""
    return lambda *leaves: jax.tree.leaves(fun(jax.tree.unflatten(tree, leaves)))


class RootJVP(NamedTuple):
    """How a root moves, to be called as a rule of `jax.custom_jvp` with symbolic zeros."""

    function: Any

    def call_wrapped(self, *flat: Any) -> list:
        """Returns the root and its tangent, given operands and theirs."""
        function, count = self.function, len(flat) // 2
        primals = function.in_tree.unflatten(flat[:count])
        moving = [None if type(t) is SymbolicZero else t for t in flat[count:]]
        _, _, p, tangent_p = primals
        found = function(*primals)
        root, aux = found if function.has_aux else (found, ())
        leaves, tree = jax.tree.flatten(p)
        first = len(jax.tree.leaves(primals[:2]))
        run = of_leaves(lambda p: function.f(p, root), tree)
        pairs = zip(
            pushed(run, leaves, moving[first : first + len(leaves)]),
            jax.tree.leaves(root),
            strict=True,
        )
        residual = [ct.zeros(jax.typeof(x)) if v is None else v for v, x in pairs]
        residual = jax.tree.unflatten(jax.tree.structure(root), residual)
        tangents = jax.tree.leaves(function.tangent_solve(tangent_p, root, residual))
        still = [ct.zeros(jax.typeof(x)) for x in jax.tree.leaves(aux)]
        return [*jax.tree.leaves(found), *(-v for v in tangents), *still]


def slope(function: Any, operands: Sequence) -> list:
    """Returns D_x f(p, x) v, or the transpose, by our own sweeps on whatever trace is current."""
    p, x, vector = function.in_tree.unflatten(list(operands))
    leaves, tree = jax.tree.flatten(x)
    run, given = of_leaves(lambda x: function.f(p, x), tree), jax.tree.leaves(vector)
    types = [jax.typeof(leaf) for leaf in leaves]
    if function.transposed:
        _, pull = sweep(run, leaves, [ct.is_differentiable(aval) for aval in types])
        return ct.presented(pull(given), types)
    return ct.presented(pushed(run, leaves, given), function.out_avals_flat)


def slope_along(function: Any, moving: Sequence[bool]) -> Unit | None:
    """Returns the halves of a slope where v alone moves: its way back is the transposed one."""
    *point, vector = function.in_tree.unflatten(list(moving))
    if any(jax.tree.leaves(point)):
        return None
    p, x, v = function.in_avals
    types = (p, x, function.out_aval), v
    other = type(function)(function.f, *types, function.effects, not function.transposed)
    count = len(moving) - len(jax.tree.leaves(vector))

    def forward(*operands: Any) -> tuple[list, list]:
        return slope(function, operands), list(operands[:count])

    def backward(_: list, point: list, cotangents: list) -> list:
        g = ct.instantiate(cotangents, function.out_avals_flat)
        return [None] * count + slope(other, [*point, *g])

    return Unit(forward, backward, (), (True,) * len(function.out_avals_flat))
