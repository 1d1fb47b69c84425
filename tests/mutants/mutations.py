"""The mistakes that are put into a rule, one at a time.

A rule, at the operands of a case, is a jaxpr: what it reads and the cotangents, to gradients. A
mistake is made in one of its equations, also in the body of a loop, or in one of the gradients.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from backprop_jax.engine.cotangents import is_differentiable
from backprop_jax.engine.jaxprs import needed_for
from tests.mutants.recording import bind, evaluate
from tests.rules.case import is_inexact

#: Equations that only arrange numbers: a mistake of scale or sign is made before or after.
ARRANGING = {
    *("reshape", "broadcast_in_dim", "convert_element_type", "squeeze", "expand_dims", "copy"),
    *("transpose", "slice", "concatenate", "pad", "rev", "dynamic_slice", "gather", "iota"),
    *("copy_p", "optimization_barrier", "real", "imag", "complex", "split", "device_put"),
}
COMMUTE = {"add", "add_any", "mul", "max", "min", "eq", "ne", "and", "or", "xor"}
#: Parameters in which an equation holds jaxprs whose equations are changed, too.
BODIES = ("jaxpr", "branches", "body_jaxpr", "call_jaxpr")


class Mutation(NamedTuple):
    """A mistake: what it is, and in which equation. A gradient's place is its number, alone."""

    what: str
    place: tuple
    equation: str

    def __str__(self) -> str:
        where = "gradient" if self.equation == "" else f"equation {list(self.place)}"
        return f"{self.what} {where} {self.equation or list(self.place)}".strip()


def one_off(z: Any) -> Any:
    """Returns an array with one element off by 1 %: the largest."""
    place = np.argmax(np.abs(z))
    return np.where(np.arange(z.size).reshape(z.shape) == place, 1.01 * np.asarray(z), z)


#: Of a result. NumPy's where there are numbers: nothing is compiled.
OF_RESULTS: dict[str, Callable] = {
    "scale by 1.01": lambda z: (1.01 * z).astype(z.dtype),
    "flip the sign of": lambda z: -z,
    "drop": lambda z: 0 * z,
    "one element 1.01 times": one_off,
    "transpose": lambda z: z.swapaxes(-1, -2),
    "conjugate": lambda z: z.conj(),
}


def spoilt(what: str, z: Any) -> Any:
    """Returns a result with a mistake."""
    if isinstance(z, jax.core.Tracer):
        return OF_RESULTS[what](z)
    return jnp.asarray(OF_RESULTS[what](np.asarray(z)))


def applies(what: str, aval: Any) -> bool:
    """Returns whether a mistake can be made in an array of this type."""
    if what == "transpose":
        return aval.ndim > 1 and aval.shape[-1] == aval.shape[-2] > 1
    if what == "conjugate":
        return jnp.issubdtype(aval.dtype, jnp.complexfloating)
    return what != "one element 1.01 times" or aval.size > 1


def like(x: Any, z: Any) -> Any:
    """Returns an operand in the shape of the result."""
    return jnp.broadcast_to(x, z.shape).astype(z.dtype)


#: Of an equation, by its primitive: (bind, operands) → results.
TERMS: dict[str, Callable] = {
    "flip the sign within": lambda sign, run, x, y: run(x, sign * y),
    "drop the first term of": lambda sign, run, x, y: sign * like(y, run(x, y)),
    "drop the second term of": lambda sign, run, x, y: like(x, run(x, y)),
}
SIGNS = {"add": 1, "add_any": 1, "sub": -1}


def of_gradients(avals: Sequence) -> Iterator[Mutation]:
    """Yields the mistakes in gradients of these types."""
    for i, aval in enumerate(avals):
        yield from (Mutation(w, (i,), "") for w in OF_RESULTS if applies(w, aval))
    for i, j in itertools.combinations(range(len(avals)), 2):
        if avals[i].shape == avals[j].shape and avals[i].dtype == avals[j].dtype:
            yield Mutation("swap", (i, j), "")


def of_equations(jaxpr: Any, within: tuple = ()) -> Iterator[Mutation]:
    """Yields the mistakes in the equations of a jaxpr, and of those it holds."""
    wanted = {id(e) for e in needed_for(jaxpr.outvars, jaxpr.eqns)}
    for number, equation in enumerate(jaxpr.eqns):
        if id(equation) not in wanted:
            continue
        place, name = (*within, number), str(equation.primitive)
        held = list(bodies(equation))
        for parameter, i, body in held:
            yield from of_equations(body.jaxpr, (*place, (parameter, i)))
        avals = [v.aval for v in equation.outvars]
        if not held and name not in ARRANGING and all(map(is_differentiable, avals)):
            yield Mutation("scale by 1.01", place, name)
            yield Mutation("flip the sign of", place, name)
            yield from (
                Mutation("transpose", place, name) for a in avals if applies("transpose", a)
            )
        if name in SIGNS and is_differentiable(avals[0]):
            yield from (Mutation(what, place, name) for what in TERMS)
        if name not in COMMUTE and can_swap(equation):
            yield Mutation("swap the operands of", place, name)


def can_swap(equation: Any) -> bool:
    """Returns whether the last two operands are of one type, of a primitive that has an order.

    Whole numbers stay as they are: a loop might never end.
    """
    ordered = {"sub", "div", "pow", "atan2", "rem", "lt", "le", "gt", "ge", "select_n", "complex"}
    if str(equation.primitive) not in ordered | {"dot_general", "nextafter"}:
        return False
    x, y = (v.aval for v in equation.invars[-2:])
    return x.shape == y.shape and x.dtype == y.dtype and is_differentiable(x)


def bodies(equation: Any) -> Iterator[tuple[str, int, ClosedJaxpr]]:
    """Yields the jaxprs an equation holds: parameter, number, jaxpr."""
    for name in BODIES:
        held = equation.params.get(name)
        for i, body in enumerate(held if isinstance(held, tuple | list) else [held]):
            if isinstance(body, ClosedJaxpr):
                yield name, i, body


def step_with(mutation: Mutation, depth: int = 0) -> Callable:
    """Returns how equations are run with the mistake in one of them; see `recording.evaluate`."""

    def step(place: int, equation: Any, operands: Sequence) -> list:
        rest = mutation.place[depth:]
        if place != rest[0]:
            return bind(equation, operands)
        if len(rest) == 1:
            return changed(mutation.what, equation, operands)
        parameter, number = rest[1]
        held = equation.params[parameter]
        body = held[number] if isinstance(held, tuple | list) else held
        run = functools.partial(
            evaluate, body.jaxpr, body.consts, step=step_with(mutation, depth + 2)
        )
        again = jax.make_jaxpr(lambda *x: run(x))(*body.in_avals)
        if isinstance(held, tuple | list):
            again = type(held)(again if i == number else b for i, b in enumerate(held))
        return bind(equation, operands, {**equation.params, parameter: again})

    return step


def changed(what: str, equation: Any, operands: Sequence) -> list:
    """Runs one equation with a mistake."""
    if what in TERMS:
        sign = SIGNS[str(equation.primitive)]
        run = lambda *operands: bind(equation, operands)[0]  # noqa: E731
        if what == "flip the sign within":
            x, y = operands
            return [run(x, -y)]
        return [TERMS[what](sign, run, *operands)]
    if what.startswith("swap"):
        *first, x, y = operands
        return bind(equation, [*first, y, x])
    results = bind(equation, operands)
    return [spoilt(what, z) if is_inexact(z) else z for z in results]


class Mutant(NamedTuple):
    """A rule with a mistake in it, for the steps whose way back is the same jaxpr."""

    recording: Any
    place: int
    rule: Any
    mutation: Mutation
    text: str

    @property
    def kind(self) -> str:
        """What the tape asks of a rule."""
        return self.rule.kind

    def pull(self, node: Any, cotangents: list) -> list:
        """Returns the cotangents of the operands, with the mistake."""
        closed, operands, given = self.recording.pull(self.place, node, self.rule, cotangents)
        if str(closed.jaxpr) != self.text:
            return self.rule.pull(dataclasses.replace(node, rule=self.rule), cotangents)
        if self.mutation.equation:
            found = evaluate(closed.jaxpr, closed.consts, operands, step_with(self.mutation))
        else:
            found = evaluate(closed.jaxpr, closed.consts, operands, lambda _, e, x: bind(e, x))
            i, *j = self.mutation.place
            if j:
                found[i], found[j[0]] = found[j[0]], found[i]
            else:
                found[i] = spoilt(self.mutation.what, found[i])
        gradients: list = [None] * len(node.operands)
        for i, gradient in zip(given, found, strict=True):
            gradients[i] = gradient
        return gradients
