"""A program run step by step while somebody looks on, within loops, branches and functions, too.

A step is known by its path: its place among the equations, with the places of those it is within in
front. A branch of several, too, has its number in a path.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Primitive, primitives, take_current_trace

from backprop_jax.dependence import arities
from backprop_jax.engine.jaxprs import as_function, bound, read
from backprop_jax.programs import run_on
from backprop_jax.rules.branches import take
from backprop_jax.rules.calls import composed_of, composite_p, inline_jit
from backprop_jax.rules.trips import in_lockstep

Path = tuple[int, ...]


class Visitor(Protocol):
    """Who looks on."""

    def enters(self, path: Path) -> bool:
        """Returns whether there is anything to see within the step."""
        ...

    def visit(
        self, path: Path, equation: Any, operands: list, results: list, given: dict
    ) -> tuple[list, list]:
        """Returns the results to go on with, and a list of what was seen: at most one row."""
        ...

    def nothing(self, path: Path) -> list:
        """Returns what is seen within a step that is not run: at most one row."""
        ...

    def first(self, before: list, now: list, level: int, count: list) -> list:
        """Returns what is seen in a loop, given what was seen before this trip and in it.

        `count` holds the number of trips before, if anything is seen.
        """
        ...


class Walk:
    """A program on its way, with a visitor.

    What is `given`, by a step's path and the number of a result, is sliced in a `scan` like its
    stacked operands: every trip gets its part. What is seen is a list of rows, pytrees of arrays
    with one entry for each step along the first axis, or is empty.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor

    def run(
        self, closed: Any, operands: Sequence, given: dict, path: Path = (), level: int = 0
    ) -> tuple[list, list]:
        """Returns the results of a closed jaxpr, and what was seen; `level`: how many loops up."""
        environment = bound(closed, operands)
        names = source_info_util.current_name_stack()
        seen: list = []
        for number, equation in enumerate(closed.jaxpr.eqns):
            here, source = (*path, number), equation.source_info
            values = [read(atom, environment) for atom in equation.invars]
            stack = names + source.name_stack
            with (
                source_info_util.user_context(source.traceback, name_stack=stack),
                equation.ctx.manager,
            ):
                if self.visitor.enters(here):
                    part = {at: x for at, x in given.items() if is_within(at[0], here)}
                    run = holders[equation.primitive].run
                    results, found = run(self, equation.params, values, part, here, level)
                    seen += found
                else:
                    results = run_plainly(equation, values)
                results, found = self.visitor.visit(here, equation, values, results, given)
                seen += found
            environment.update(zip(equation.outvars, results, strict=True))
        return [read(atom, environment) for atom in closed.jaxpr.outvars], joined(seen)


def run_plainly(equation: Any, values: list) -> list:
    """Returns the results of an equation."""
    primitive = equation.primitive
    with take_current_trace() as trace:
        params = primitive.get_bind_params(equation.params)
        result = run_on(trace, primitive, values, params)
    return list(result) if primitive.multiple_results else [result]


def is_within(path: Path, holder: Path) -> bool:
    """Returns whether a step stands within another."""
    return len(path) > len(holder) and path[: len(holder)] == holder


def joined(rows: list) -> list:
    """Returns the rows as one."""
    if len(rows) < 2:
        return rows
    return [jax.tree.map(lambda *parts: lax.concatenate(parts, 0), *rows)]


# -- what holds a jaxpr ----------------------------------------------------------------------------
def checkpoint(
    walk: Walk, params: dict, operands: list, given: dict, path: Path, level: int
) -> tuple[list, list]:
    """A function of which little is kept."""
    prevent, policy = params["prevent_cse"], params["policy"]
    closed = ClosedJaxpr(params["jaxpr"], ())

    def run(operands: list, given: dict) -> tuple[list, list]:
        return walk.run(closed, operands, given, path, level)

    prevent = any(prevent) if isinstance(prevent, tuple) else prevent
    return jax.checkpoint(run, prevent_cse=prevent, policy=policy)(operands, given)


def scan(
    walk: Walk, params: dict, operands: list, given: dict, path: Path, level: int
) -> tuple[list, list]:
    """A loop."""
    consts, carry = arities(params)
    fixed, start = operands[:consts], operands[consts : consts + carry]

    def trip(state: tuple, step: tuple) -> tuple:
        values, count, seen = state
        xs, given = step
        results, now = walk.run(params["jaxpr"], [*fixed, *values, *xs], given, path, level + 1)
        seen = walk.visitor.first(seen, now, level, count)
        return (results[:carry], [number + 1 for number in count], seen), results[carry:]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    state = start, *nothing_yet(walk, path)
    (values, _, seen), ys = lax.scan(trip, state, (operands[consts + carry :], given), **options)
    return [*values, *ys], seen


def nothing_yet(walk: Walk, path: Path) -> tuple[list, list]:
    """Returns what has been seen before a loop, and its count of trips, if anybody wants that."""
    seen = walk.visitor.nothing(path)
    return [lax.full((), 0, "int32")] * bool(seen), seen


def while_loop(
    walk: Walk, params: dict, operands: list, given: dict, path: Path, level: int
) -> tuple[list, list]:
    """A loop that ends when it pleases. Every trip is given the same."""
    body, going_on = body_in_lockstep(params), as_function(params["cond_jaxpr"])
    fixed_for_cond = operands[: params["cond_nconsts"]]
    carry = len(body.out_avals)
    start, of_body = operands[len(operands) - carry :], len(body.in_avals) - carry
    fixed = operands[len(operands) - carry - of_body : len(operands) - carry]

    def goes_on(state: tuple) -> Any:
        (on,) = going_on(*fixed_for_cond, *state[0])
        return lax.reduce_or(on, tuple(range(on.ndim)))

    def trip(state: tuple) -> tuple:
        values, count, seen = state
        results, now = walk.run(body, [*fixed, *values], given, path, level + 1)
        seen = walk.visitor.first(seen, now, level, count)
        return results, [number + 1 for number in count], seen

    state = start, *nothing_yet(walk, path)
    values, _, seen = lax.while_loop(goes_on, trip, state)
    return values, seen


def cond(
    walk: Walk, params: dict, operands: list, given: dict, path: Path, level: int
) -> tuple[list, list]:
    """A choice. Of the branches not taken nothing is seen."""
    branches = params["branches"]

    def taken(number: int) -> Callable:
        def run(operands: list, given: dict) -> tuple[list, list]:
            results, now = walk.run(branches[number], operands, given, (*path, number), level)
            seen = [walk.visitor.nothing((*path, i)) for i in range(len(branches))]
            seen[number] = now
            return results, joined(list(itertools.chain(*seen)))

        return run

    index, *operands = operands
    runs = [taken(number) for number in range(len(branches))]
    return take(index, runs, params.get("branches_platforms"), operands, given)


def body_in_lockstep(params: dict) -> Any:
    """Returns the body of a `while`; of several under `vmap`, one that stands still when done."""
    going_on, body = params["cond_jaxpr"], params["body_jaxpr"]
    together = going_on.out_avals[0].shape
    return in_lockstep(going_on, params["cond_nconsts"], body) if together else body


class Holder(NamedTuple):
    """What holds a jaxpr.

    Attributes:
      bodies: params → the jaxprs within, none if it must stay whole.
      run: (walk, params, operands, given, path, level) → results, and what was seen.
      branches: whether only one of the bodies is run; then its number is in the path.
      loop: whether the body is run again and again.
    """

    bodies: Callable[[dict], Sequence[Any]]
    run: Callable[[Walk, dict, list, dict, Path, int], tuple[list, list]]
    branches: bool = False
    loop: bool = False

    def within(self, params: dict, path: Path) -> list[tuple[Path, Any]]:
        """Returns the jaxprs within a step at this path, each with what paths there start with."""
        bodies = self.bodies(params)
        return [((*path, i) if self.branches else path, body) for i, body in enumerate(bodies)]


def in_place(bodies: Callable[[dict], Sequence[Any]]) -> Holder:
    """Returns what groups equations and no more: they are run where it stands."""

    def run(walk: Walk, params: dict, *where: Any) -> tuple[list, list]:
        return walk.run(bodies(params)[0], *where)

    return Holder(bodies, run)


holders: dict[Primitive, Holder] = {
    primitives.jit_p: in_place(lambda params: [params["jaxpr"]] if inline_jit(params) else []),
    primitives.closed_call_p: in_place(lambda params: [params["call_jaxpr"]]),
    composite_p: in_place(lambda params: [composed_of(params)]),
    primitives.remat_p: Holder(lambda params: [ClosedJaxpr(params["jaxpr"], ())], checkpoint),
    lax.scan_p: Holder(lambda params: [params["jaxpr"]], scan, loop=True),
    lax.while_p: Holder(lambda params: [body_in_lockstep(params)], while_loop, loop=True),
    lax.cond_p: Holder(lambda params: params["branches"], cond, branches=True),
}
