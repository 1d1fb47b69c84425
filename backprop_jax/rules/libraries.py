"""Primitives that other libraries define: equinox, and lineax, optimistix and diffrax on top of it.

No library is imported. A primitive is known by its name and by where it stands in a module that is
there already, so a user's primitive of the same name is another one. Its rule is written into the
book when it is met for the first time.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
from jax import lax
from jax.extend.core import Primitive, set_current_trace

from backprop_jax.engine.cotangents import instantiate, is_differentiable
from backprop_jax.engine.custom import UserRule
from backprop_jax.engine.registry import (
    Rule,
    book,
    dear_to_recompute,
    doors,
    linear,
    pullback,
    strangers,
)
from backprop_jax.engine.sweep import sweep


def of_library(module: str, name: str) -> Callable[[Callable], Callable]:
    """Registers the decorated function, which writes down the rule of a library's primitive.

    Args:
      module: where the primitive is defined.
      name: its name there, which is its own and `_p`, perhaps after a `_`.
    """

    def decorate(introduce: Callable[[Primitive], None]) -> Callable:
        def meet(primitive: Primitive) -> Rule | None:
            same = getattr(sys.modules.get(module), name, None) is primitive
            if same and primitive not in doors:
                introduce(primitive)
            return book.get(primitive)

        strangers[name.removeprefix("_").removesuffix("_p")] = meet
        return introduce

    return decorate


# -- equinox: identities, and what guards them -----------------------------------------------------


@of_library("equinox.internal._nontraceable", "nonbatchable_p")
def nonbatchable(primitive: Primitive) -> None:
    """The identity, an error under vmap. jax.grad has no rule."""
    linear(primitive, lambda g: g)


@of_library("equinox.internal._nontraceable", "nontraceable_p")
def nontraceable(primitive: Primitive) -> None:
    """The identity, an error under any transformation."""

    def refuse(tape: Any, tracers: Sequence, params: dict) -> NoReturn:
        raise RuntimeError(f"Detected differentiation of {params['name']}")

    doors[primitive] = refuse


@of_library("equinox.internal._nontraceable", "nondifferentiable_backward_p")
def nondifferentiable_backward(primitive: Primitive) -> None:
    """The identity, an error where a cotangent arrives, or if asked one that is not zero."""

    def refuse(node: Any, cotangents: list) -> list:
        if node.params["symbolic"]:
            raise node.missing_rule(node.params["msg"])
        (g,) = cotangents
        error_if = sys.modules["equinox"].error_if
        return [error_if(g, lax.reduce_or(g != 0, tuple(range(g.ndim))), node.params["msg"])]

    doors[primitive] = as_it_is(primitive, UserRule("guard", refuse))


@of_library("equinox.debug._announce_transform", "announce_jaxpr_p")
def announce_jaxpr(primitive: Primitive) -> None:
    """The identity, that tells of transformations."""

    def pass_on(node: Any, cotangents: list) -> list:
        stack = (*node.params["stack"], "transpose")
        g = instantiate(cotangents, node.result_avals)
        return list(primitive.bind(*g, **(node.params | {"stack": stack})))

    doors[primitive] = as_it_is(primitive, UserRule("announcement", pass_on))


def as_it_is(primitive: Primitive, rule: UserRule) -> Callable:
    """Returns the door of a primitive that is run as it is, and whose rule keeps no values."""

    def record(tape: Any, tracers: Sequence, params: dict) -> Any:
        operands = tape.unwrap(tracers)
        with set_current_trace(tape.parent_trace):
            results = primitive.bind(*operands[0], **params)
        results = results if primitive.multiple_results else [results]
        outs = tape.add(primitive, params, tape.reading.of(rule), operands, results, None)
        return outs if primitive.multiple_results else outs[0]

    return record


# -- equinox: loops over buffers -------------------------------------------------------------------


@of_library("equinox.internal._loop.common", "select_if_vmap_p")
def select_if_vmap(primitive: Primitive) -> None:
    """A choice: z = y where x holds, else w; with no vmap over x, which holds there, z = y."""

    @pullback(primitive)
    def choice(g: Any, x: Any, needed: tuple) -> tuple:
        zero = lax.full_like(g, 0)
        return (
            None,
            primitive.bind(x, g, zero) if needed[1] else None,
            primitive.bind(x, zero, g) if needed[2] else None,
        )


@of_library("equinox.internal._loop.common", "maybe_set_p")
def maybe_set(primitive: Primitive) -> None:
    """An array with some places written; it is differentiated as the steps it is made of."""

    def inline(tape: Any, tracers: Sequence, params: dict) -> list:
        with set_current_trace(tape):
            return primitive.impl(*tracers, **params)

    doors[primitive] = inline


# -- equinox: batches and calls --------------------------------------------------------------------


@of_library("equinox.internal._primitive", "_vprim_p")
def vprim(primitive: Primitive) -> None:
    """A primitive under vmap: its way there and its way back are put under one, too."""

    def mapped(function: Callable, in_axes: Any, params: dict) -> Callable:
        size, name = params["__axis_size"], params["__axis_name"]
        return jax.vmap(function, in_axes, axis_size=size, axis_name=name)

    def record(tape: Any, tracers: Sequence, params: dict) -> list:
        values, slots = operands = tape.unwrap(tracers)
        active = [slot is not None for slot in slots]

        def one(*xs: Any) -> tuple:
            inner = dict(params["params"])
            run = lambda *xs: params["prim"].bind(*xs, **inner)  # noqa: E731
            return sweep(run, xs, active, tape.reading, tape.linear)

        with set_current_trace(tape.parent_trace):
            results, back = mapped(one, params["__batch_axes"], params)(*values)
        moving = [slot is not None for slot in back.outputs]
        return tape.add(primitive, params, rule, operands, results, back, moving)

    def pull(node: Any, cotangents: list) -> list:
        run = mapped(lambda back, g: back(g), 0, node.params)
        return [
            None if g is None else in_place(g, axis)
            for g, axis in zip(run(node.kept, cotangents), node.params["__batch_axes"], strict=True)
        ]

    def in_place(g: Any, axis: int | None) -> Any:
        """Moves the batch to where the operand has it; adds up where it has none."""
        if axis is None:
            return lax.reduce_sum(g, (0,))
        axes = [*range(1, axis + 1), 0, *range(axis + 1, g.ndim)]
        return lax.transpose(g, axes)

    rule = UserRule("vprim", pull)
    doors[primitive] = record


def arguments(params: dict, values: Sequence) -> tuple:
    """Returns the arguments of a primitive whose arguments are trees, given their arrays."""
    leaves = sys.modules["equinox.internal._primitive"]._combine(values, params["static"])
    return jax.tree.unflatten(params["treedef"], leaves)


class Place(NamedTuple):
    """Stands for an array among arguments: which one it is."""

    number: int


def places(params: dict, values: Sequence, argument: int) -> list[int]:
    """Returns which of the arrays of such a primitive are part of one argument."""
    numbered = arguments(params, [Place(i) for i in range(len(values))])[argument]
    leaves = jax.tree.leaves(numbered, is_leaf=lambda x: type(x) is Place)
    return [x.number for x in leaves if type(x) is Place]


def bind(primitive: Primitive, *arguments: Any) -> Any:
    """Returns what such a primitive says of trees."""
    return sys.modules["equinox.internal"].filter_primitive_bind(primitive, *arguments)


@of_library("equinox.internal._noinline", "noinline_p")
def noinline(primitive: Primitive) -> None:
    """A function that is compiled on its own, and so is its reverse."""

    def record(tape: Any, tracers: Sequence, params: dict) -> list:
        operands = values, _ = tape.unwrap(tracers)
        with set_current_trace(tape.parent_trace):
            results = primitive.bind(*values, **params)
        if tape.linear:
            tape.check_linear(values, operands, results)
        return tape.add(primitive, params, rule, operands, results, values)

    def pull(node: Any, cotangents: list) -> list:
        index, abstract, transforms, operands = arguments(node.params, node.kept)
        g = instantiate(cotangents, node.result_avals)
        both = (operands, g)
        gradients = iter(bind(primitive, index, abstract, [*transforms, reversed_call], both))
        return [next(gradients) if is_differentiable(x) else None for x in node.operand_avals]

    rule = UserRule("noinline", pull)
    doors[primitive] = record


def reversed_call(function: Callable) -> Callable:
    """Returns the reverse of a function of a tree: (tree, cotangents) → those of its arrays."""
    is_array = sys.modules["equinox"].is_array

    def run_back(both: tuple) -> list:
        operands, g = both
        leaves, tree = jax.tree.flatten(operands)
        moving = [i for i, x in enumerate(leaves) if is_array(x) and is_differentiable(x)]

        def run(*xs: Any) -> list:
            for i, x in zip(moving, xs, strict=True):
                leaves[i] = x
            return [z for z in jax.tree.leaves(function(tree.unflatten(leaves))) if is_array(z)]

        xs = [leaves[i] for i in moving]
        gradients = sweep(run, xs, [True] * len(xs))[1](g)
        return instantiate(gradients, list(map(jax.typeof, xs)))

    return run_back


# -- lineax ----------------------------------------------------------------------------------------


@of_library("lineax._solve", "linear_solve_p")
def linear_solve(primitive: Primitive) -> None:
    """The solution x = A⁺ b, where A is any linear operator, perhaps singular or not square.

    With h = A⁺ᵀ g, found by the same solver, b gets h, and A gets what flows back to it from

        h · (-A x + A⁺ᴴ Aᴴ (b - A x) - A y) + g · y,    y = Aᴴ A⁺ᴴ x,

    through the first A x and each Aᴴ; all else is held fixed. The second term is zero where rows
    are independent, those with y are where columns are.

    Source: Golub and Pereyra 1973, SIAM J. Numer. Anal. 10, 413-432, equation 4.12.
    """
    dear_to_recompute(primitive)

    def record(tape: Any, tracers: Sequence, params: dict) -> list:
        values, slots = operands = tape.unwrap(tracers)
        with set_current_trace(tape.parent_trace):
            results = primitive.bind(*values, **params)
        count = jax.tree.structure(arguments(params, values)[0].in_structure()).num_leaves
        x = results[:count]
        if all(slots[i] is None for i in places(params, values, 0)):  # linear in b
            x = None
            values = [v if slot is None else None for v, slot in zip(*operands, strict=True)]
        if tape.linear:
            tape.check_linear(jax.tree.leaves((values, x)), operands, results)
        moving = [i < count for i in range(len(results))]
        reading = tape.reading.of(rule)
        return tape.add(primitive, params, reading, operands, results, (values, x), moving)

    def solve(*problem: Any) -> Any:
        return bind(primitive, *problem, True)[0]

    def pull(node: Any, cotangents: list) -> list:
        values, x = node.kept
        operator, state, _, options, solver, _ = arguments(node.params, values)
        of_x = jax.tree.structure(operator.in_structure())
        g = instantiate(cotangents, node.result_avals)[: of_x.num_leaves]
        back_state, back_options = solver.transpose(state, options)
        h = solve(operator.transpose(), back_state, of_x.unflatten(g), back_options, solver)
        gradients = dict(zip(places(node.params, values, 2), jax.tree.leaves(h), strict=True))
        if x is not None:
            moving = [i for i in places(node.params, values, 0) if node.operands[i] is not None]

            def sides(*leaves: Any) -> list:
                moved = dict(zip(moving, leaves, strict=True))
                live = [moved.get(i, v) for i, v in enumerate(values)]
                live = arguments(node.params, live)[0]
                return right_sides(solve, live, arguments(node.params, values), of_x.unflatten(x))

            leaves = [values[i] for i in moving]
            back = sweep(sides, leaves, [True] * len(leaves))[1]
            seeds = [*jax.tree.leaves(h), *g]
            gradients.update(zip(moving, back(seeds[: len(back.outputs)]), strict=True))
        return [gradients.get(i) for i in range(len(values))]

    rule = UserRule("linear solve", pull)
    doors[primitive] = record


def right_sides(solve: Callable, live: Any, problem: tuple, x: Any) -> list:
    """Returns what h and g of `linear_solve` are multiplied by, as a function of the operator."""
    operator, state, b, options, solver, _ = problem
    adjoint, full = sys.modules["lineax"].conj(live).transpose(), solver.assume_full_rank()
    of_h, of_g = jax.tree.map(lax.neg, live.mv(x)), []
    rows, columns = operator.out_size(), operator.in_size()

    def solve_adjoint(side: Any) -> Any:
        back_state, back_options = solver.transpose(*solver.conj(state, options))
        fixed = sys.modules["lineax"].conj(operator).transpose()
        return solve(fixed, back_state, side, back_options, solver)

    if not (full and rows <= columns):
        rest = jax.tree.map(lax.sub, b, operator.mv(x))
        of_h = jax.tree.map(lax.add, of_h, solve_adjoint(adjoint.mv(rest)))
    if not (full and columns <= rows):
        y = adjoint.mv(solve_adjoint(x))
        of_h = jax.tree.map(lax.sub, of_h, operator.mv(y))
        of_g = jax.tree.leaves(y)
    return [*jax.tree.leaves(of_h), *of_g]
