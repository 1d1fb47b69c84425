"""The words a rule is written in.

A rule says how the cotangent `g` of a result becomes the cotangents of the operands. The verb says
what kind of function the primitive is; the parameter names of each formula say what it reads:

    g          the cotangent of the result (a tuple of them for a primitive with several results)
    x, y, w    the first, second and third operand
    z          the result (a tuple for a primitive with several)
    i          the operands of integer dtype, a tuple: indices
    avals      shape and dtype of every operand
    needed     for every operand, whether its cotangent is wanted
    asked      for every result, whether it has a cotangent at all
    *, name    parameters of the primitive

What a formula reads is kept from the forward sweep, and nothing else. A verb may narrow what a name
means: to `linear` every operand is only its shape and dtype, so a linear rule cannot depend on a
value; to `bilinear` the operand whose cotangent is computed is.

    elementwise(lax.mul_p,   lambda g, y: g * y,   lambda g, x: g * x)
    linear(lax.rev_p,        lambda g, *, dimensions: lax.rev(g, dimensions))
"""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import Primitive

from backprop_jax.engine.cotangents import arrays, fit, instantiate, is_differentiable
from backprop_jax.engine.units import Structured, Unit, build_unit
from backprop_jax.meshes import surroundings, where_types_say
from backprop_jax.programs import Program

OPERANDS = ("x", "y", "w")
OTHERS = ("z", "i", "avals", "needed", "asked")


class Column(NamedTuple):
    """One formula of a row and what it reads: values kept, shapes, parameters of the primitive."""

    formula: Callable
    reads: tuple[str, ...]  # in the order of the formula's parameters, g left out
    shapes: frozenset[str]  # those of them that are read as shape and dtype only
    parameters: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a derivative that exists and is not written, in a row or as an answer."""

    reason: str
    error: Any = None  # the class of error, if a special one


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """The rule of a primitive that is run as it is: a formula for each operand, or one for all."""

    kind: str
    columns: tuple[Column | Missing | None, ...]

    def keep(self, operands: Sequence, result: Any, active: Sequence[bool]) -> dict[str, Any]:
        """Returns what the formulas of the active operands read, by name."""
        kept = {}
        for column in self.wanted(active):
            for name in column.reads:
                if name in column.shapes or name in kept:
                    continue
                if name == "z":
                    kept[name] = tuple(result) if isinstance(result, list) else result
                elif name == "i":
                    still = (x for x, a in zip(operands, active, strict=True) if not a)
                    kept[name] = tuple(x for x in still if not is_differentiable(jax.typeof(x)))
                else:
                    kept[name] = as_array(operands[OPERANDS.index(name)])
        return kept

    def wanted(self, active: Sequence[bool]) -> list[Column]:
        """Returns the formulas of the active operands."""
        if self.kind == "pullback":
            return list(self.columns)  # type: ignore[arg-type]
        return [c for c, a in zip(self.columns, active, strict=False) if a and type(c) is Column]

    @where_types_say
    def pull(self, node: Any, cotangents: list) -> list:
        """Returns the cotangents of the operands, None where there is none."""
        cotangents = arrays(cotangents)
        if self.kind == "pullback":
            g = tuple(instantiate(cotangents, node.result_avals))
            asked = tuple(g is not None for g in cotangents)
            g = g if node.primitive.multiple_results else g[0]
            gradients = call(self.columns[0], g, node, asked)
            gradients = list(gradients) if isinstance(gradients, list | tuple) else [gradients]
        else:
            (g,) = cotangents
            columns = itertools.chain(self.columns, itertools.repeat(None))
            gradients = [
                column if slot is None or type(column) is not Column else call(column, g, node)
                for slot, column in zip(node.operands, columns, strict=False)
            ]
        for i, slot in enumerate(node.operands):
            gradient = gradients[i]
            if slot is None or gradient is None:
                gradients[i] = None
            elif type(gradient) is Missing:
                raise node.missing_rule(gradient.reason, gradient.error)
            elif self.kind == "elementwise":
                gradients[i] = fit(gradient, node.operand_avals[i])
        return gradients


def as_array(operand: Any) -> Any:
    """Returns an operand as rules read it: with a shape and a dtype, Python's numbers too."""
    return operand if hasattr(operand, "dtype") else np.asarray(operand, jax.typeof(operand).dtype)


def call(column: Any, g: Any, node: Any, asked: tuple[bool, ...] = ()) -> Any:
    """Returns what a formula says of the cotangent `g`, given what was kept."""
    values = []
    for name in column.reads:
        if name == "avals":
            values.append(node.operand_avals)
        elif name == "needed":
            values.append(tuple(slot is not None for slot in node.operands))
        elif name == "asked":
            values.append(asked)
        elif name in column.shapes:
            values.append(node.operand_avals[OPERANDS.index(name)])
        else:
            values.append(node.kept[name])
    params = {name: node.params[name] for name in column.parameters if name in node.params}
    if node.rule.kind == "elementwise":
        return call_elementwise(column.formula, params, (g, *values))
    return column.formula(g, *values, **params)


def call_elementwise(formula: Callable, params: dict, arrays: tuple) -> Any:
    """Returns what a formula says, from its jaxpr: a formula is read once for any shapes it meets.

    For speed alone: numbers run it compiled, a program that is staged gets its equations as is.
    """
    types = tuple(map(jax.typeof, arrays))
    program, compiled = trace_formula(formula, tuple(params.items()), types, surroundings())
    if any(isinstance(array, Tracer) for array in arrays):
        return (program(*arrays) or [None])[0]
    return compiled(*arrays)


@functools.lru_cache(maxsize=8192)
def trace_formula(
    formula: Callable, params: tuple, avals: tuple, around: tuple
) -> tuple[Program, Callable]:
    """Returns a formula's program for arrays of these types, and the formula compiled."""
    del around  # the surroundings, part of the key
    formula = functools.partial(formula, **dict(params))
    return Program(jax.make_jaxpr(formula)(*avals)), jax.jit(formula)


class Constant(NamedTuple):
    """The rule of a primitive whose derivative is zero wherever it exists."""

    kind: str = "piecewise constant"


Rule = Row | Structured | Constant

book: dict[Primitive, Rule] = {}
#: Rules of users' that are put to the test where they are met, and by whom.
on_trial: dict[Primitive, Callable[[Primitive, Any, Sequence, dict], None]] = {}
accesses: dict[Primitive, Callable] = {}
touching: set[Primitive] = set()
#: Primitives whose results are kept rather than computed twice; and which of them within a loop.
dear: dict[Primitive, Callable[..., bool]] = {}
reruns: dict[Primitive, Callable] = {}
#: Primitives that bring their rule along: who runs one and writes it down, given the tape.
doors: dict[Primitive, Callable[[Any, Sequence, dict], list]] = {}
#: Primitives with a rule that may be recorded as something else: who does so, or returns None.
detours: dict[Primitive, Callable[[Any, Sequence, dict], list | None]] = {}
always: set[Primitive] = set()  # those with a door that come to it with no operand recorded, too
#: Primitives of libraries, by name: who tells the rule of one that is met for the first time.
strangers: dict[str, Callable[[Primitive], Rule | None]] = {}


def lookup(primitive: Primitive) -> Rule | None:
    """Returns the rule of a primitive, or None."""
    return book.get(primitive) or strangers.get(primitive.name, book.get)(primitive)


def register(primitive: Primitive, rule: Rule) -> None:
    """Adds a rule to the book, which holds one for each primitive.

    Raises:
      ValueError: the primitive has a rule already.
    """
    if primitive in book:
        raise ValueError(f"primitive '{primitive}' has a rule already: {book[primitive].kind}.")
    book[primitive] = rule
    build_unit.cache_clear()  # what was made without the rule


def row(kind: str, formulas: Sequence[Callable | Missing | None]) -> Row:
    """Returns the rule of a kind that these formulas make; see the verb of that name."""
    own = {"linear": [OPERANDS] * len(formulas), "bilinear": [("x",), ("y",)]}
    shapes = own.get(kind, [()] * len(formulas))
    return Row(kind, tuple(read(f, names) for f, names in zip(formulas, shapes, strict=True)))


def elementwise(primitive: Primitive, *formulas: Callable | Missing | None) -> None:
    """Registers a function applied place by place, with a formula for each operand.

    `g` has the shape of the result, and so may the answer: an operand of rank 0 or of narrower
    dtype is taken care of. `None` stands for an operand that is not differentiable.
    """
    register(primitive, row("elementwise", formulas))


def linear(primitive: Primitive, *formulas: Callable | Missing | None) -> None:
    """Registers a function linear in its operands, which are read as shape and dtype."""
    register(primitive, row("linear", formulas))


def bilinear(primitive: Primitive, of_x: Callable, of_y: Callable) -> None:
    """Registers a function linear in each of two; a formula reads its own as shape and dtype."""
    register(primitive, row("bilinear", (of_x, of_y)))


def pullback(primitive: Primitive) -> Callable[[Callable], Callable]:
    """Registers the decorated function: all operands in one formula.

    It returns the operand's cotangent, or for several operands a tuple with None where there is
    none. Absent cotangents of results come as zeros.
    """

    def decorate(formula: Callable) -> Callable:
        register(primitive, row("pullback", (formula,)))
        return formula

    return decorate


def piecewise_constant(*primitives: Primitive) -> None:
    """Registers functions whose derivative is zero wherever it exists."""
    for primitive in primitives:
        register(primitive, Constant())


def structured(
    primitive: Primitive,
    inline: Callable[[dict], Callable | None] = lambda params: None,
    remember: Callable[..., Unit | None] = lambda *_: None,
) -> Callable[[Callable], Callable]:
    """Registers the decorated function, which makes a `Unit` of a primitive that holds a jaxpr."""

    def decorate(build: Callable) -> Callable:
        register(primitive, Structured(build, inline, remember))
        return build

    return decorate


def with_references(primitive: Primitive, always: bool = False) -> Callable[[Callable], Callable]:
    """Registers the decorated function, run for a primitive that meets a mutable reference.

    It takes the tape, the operands, a `Cell` in the place of every reference made on that tape, and
    the parameters. It is run with the tape as current trace and returns the results. `always`: also
    where there is no such cell.
    """

    def decorate(run: Callable) -> Callable:
        accesses[primitive] = run
        if always:
            touching.add(primitive)
        return run

    return decorate


def rerun(primitive: Primitive) -> Callable[[Callable], Callable]:
    """Registers the decorated function, which runs a primitive again with some results at hand.

    It takes those results, by their place, the operands and the parameters, and returns all.
    """

    def decorate(run: Callable) -> Callable:
        reruns[primitive] = run
        return run

    return decorate


def missing(reason: str, error: Any = None) -> Missing:
    """Returns the entry of a row whose derivative exists and is not written: needed, it raises."""
    return Missing(reason, error)


def dear_to_recompute(
    *primitives: Primitive, in_loops: Callable[..., bool] = lambda *avals, **params: True
) -> None:
    """Says that results of these primitives are kept rather than computed twice.

    Args:
      *primitives: dear to compute.
      in_loops: (*avals, **params) → whether that holds within a loop, too, where a result is kept
        for every trip.
    """
    dear.update(dict.fromkeys(primitives, in_loops))


def read(formula: Callable | Missing | None, shapes: Sequence[str] = ()) -> Column | Missing | None:
    """Returns a formula with the names it reads.

    Raises:
      ValueError: the formula has a parameter that means nothing here.
    """
    if formula is None or isinstance(formula, Missing):
        return formula
    parameters = inspect.signature(formula).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    unknown = [name for name in names[1:] if name not in OPERANDS + OTHERS]
    if names[:1] != ["g"] or unknown:
        raise ValueError(
            f"a formula reads g, then any of {', '.join(OPERANDS + OTHERS)}; "
            f"this one reads {names}."
        )
    return Column(
        formula,
        tuple(names[1:]),
        frozenset({*shapes, "avals", "needed", "asked"} & set(names)),
        tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY),
    )
