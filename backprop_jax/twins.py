"""Programs that are staged anew and were staged before: a loop's body is a new function each time.

What becomes of a program is remembered for as long as the program is the same object. One that is
written the same, line by line, is the same; so the first of them stands for all that come later.
And what is staged of it, at the same line for operands of the same types, is copied.
"""

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend import source_info_util
from jax.extend.core import Literal, take_current_trace

from backprop_jax.programs import FOREIGN, Program, can_copy

#: For a program the first that is written as it is. That it is itself nobody may hold here, or it
#: would never be let go.
firsts: weakref.WeakKeyDictionary[Any, weakref.ref] = weakref.WeakKeyDictionary()


class Written:
    """A program as it is written: equal to another that does the same at the same lines.

    Args:
      program: a jaxpr, closed or not.

    Raises:
      TypeError: it holds something that cannot be compared.
    """

    __slots__ = ("hash", "program", "text")

    def __init__(self, program: Any) -> None:
        self.program, self.text = program, text_of(program)
        self.hash = hash(self.text)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and self.text == other.text


def first_of(program: Any) -> Any:
    """Returns the first program that was written as this one is, or the program itself.

    One that is seen from outside, holds arrays of its own, or what cannot be compared, has no twin.
    """
    found = firsts.get(program, missing)()
    if found is None:
        try:
            found = known(Written(program)).program if may_have_twin(program) else program
        except TypeError:  # a parameter that has no hash: nothing can be said of it
            found = program
        firsts[program] = weakref.ref(found)
    return found


def missing() -> None:
    """Stands for the reference to what is not there."""


@functools.lru_cache(maxsize=2048)
def known(written: Written) -> Written:
    """Returns the first that was equal to this."""
    return written


def may_have_twin(program: Any) -> bool:
    """Returns whether all there is to a program is written in its equations."""
    jaxpr = getattr(program, "jaxpr", program)
    seen = program.effects or getattr(program, "consts", ()) or getattr(jaxpr, "is_high", False)
    return not seen


def text_of(program: Any) -> tuple:
    """Returns all that is written in a program, its variables by numbers."""
    jaxpr = getattr(program, "jaxpr", program)
    start = [*jaxpr.constvars, *jaxpr.invars]
    numbers = {v: i for i, v in enumerate(start)}

    def atom(x: Any) -> Any:
        return (bits(x.val), x.aval) if isinstance(x, Literal) else numbers[x]

    lines = []
    for e in jaxpr.eqns:
        read = tuple(map(atom, e.invars))
        for v in e.outvars:
            numbers[v] = len(numbers)
        place = e.source_info.traceback, e.source_info.name_stack, e.ctx
        made = tuple([v.aval for v in e.outvars])
        lines.append((e.primitive, exact(said_by(e)), read, made, place))
    types = tuple([v.aval for v in start])
    return type(program), types, tuple(lines), tuple(map(atom, jaxpr.outvars))


def said_by(equation: Any) -> dict:
    """Returns an equation's parameters; for a `custom_jvp` rule, a new object each time, whose.

    That is known of JAX's own alone, if they take nothing that a rule is told besides operands. A
    user's function of the same lines may have another rule, which closes over something else.
    """
    params = equation.params
    if RULE not in params:
        return params
    source = getattr(params["call_jaxpr"], "jaxpr").debug_info.func_src_info  # noqa: B009
    return {**params, RULE: own_function(source or "") or params[RULE]}


@functools.lru_cache(maxsize=1024)
def own_function(source: str) -> Any:
    """Returns JAX's own function with a rule that was written there, or None."""
    name, _, place = source.partition(" at ")
    for module in [m for key, m in sys.modules.items() if key.startswith("jax.")]:
        found = getattr(module, name, None)
        if isinstance(found, jax.custom_jvp) and not found.nondiff_argnums:
            code = inspect.unwrap(found.fun).__code__
            if place == f"{code.co_filename}:{code.co_firstlineno}":
                return found
    return None


RULE = "jvp_jaxpr_fun"  # as JAX has it among the parameters


def exact(x: Any) -> Any:
    """Returns what is equal for two values only if nothing tells one from the other.

    1 and 1.0 and True are equal, 0.0 and -0.0 are, and NaN is not equal to itself.
    """
    if isinstance(x, (float, complex, np.generic)):
        return bits(x)
    if isinstance(x, dict):
        return tuple([(name, exact(value)) for name, value in x.items()])
    if isinstance(x, (tuple, list)):
        return type(x), tuple(map(exact, x))
    return first_of(x) if is_program(x) else (type(x), x)


def bits(x: Any) -> tuple:
    """Returns a number as its bits, and what it is a number of."""
    return type(x), np.asarray(x).tobytes()


def first_of_all(params: dict) -> dict:
    """Returns parameters with the first of its kind in the place of every program in them."""

    def first(x: Any) -> Any:
        return first_of(x) if is_program(x) else x

    def firsts(x: Any) -> Any:
        several = isinstance(x, tuple) and any(map(is_program, x))
        return jax.tree.map(first, x, is_leaf=is_program) if several else first(x)

    return {name: firsts(x) for name, x in params.items()}


def is_program(x: Any) -> bool:
    """Returns whether something is a jaxpr, closed or not."""
    return hasattr(x, "eqns")


PLACES = 256  # of how many lines and types what is staged is remembered


class Replayed:
    """A function that is staged once for operands of the same types, and copied from then on.

    To stage one takes as long as to copy it ten times; so it is run the first time, and staged only
    if it is met again. It is run, too, where there is no program to copy it to.

    Args:
      function: of pytrees of arrays, and of nothing else but its surroundings.
      surroundings: () → what it depends on besides.
    """

    __slots__ = ("function", "known", "met", "surroundings")

    def __init__(self, function: Callable, surroundings: Callable[[], Hashable]) -> None:
        self.function, self.surroundings = function, surroundings
        self.met: set[Hashable] = set()
        self.known: dict[Hashable, tuple[Program, Any] | None] = {}

    def __call__(self, *operands: Any) -> Any:
        """Returns what the function does."""
        if (found := self.staged(operands)) is None:
            return self.function(*operands)
        program, tree = found
        return jax.tree.unflatten(tree, program(*jax.tree.leaves(operands)))

    def staged(self, operands: tuple) -> tuple[Program, Any] | None:
        """Returns the program for such operands, and the structure of its results, if it is met."""
        leaves, tree = jax.tree.flatten(operands)
        with take_current_trace() as trace:
            if not (can_copy(type(trace)) and FOREIGN.isdisjoint(map(type, leaves))):
                return None
        source = source_info_util.current().traceback
        key = tree, tuple(map(jax.typeof, leaves)), source, self.surroundings()
        if key not in self.known:
            if key not in self.met:
                if len(self.met) == PLACES:  # who makes a new line for each call, as `exec` does
                    self.met.clear()
                    self.known.clear()
                self.met.add(key)
                return None
            with source_info_util.user_context(source):
                self.known[key] = program_of(self.function, operands)
        return self.known[key]


def program_of(function: Callable, operands: tuple) -> tuple[Program, Any] | None:
    """Returns a function's program and the structure of its results; None if there is more to it.

    There is, where it is seen from outside, or holds what belongs to somebody else's program.
    """
    (mark,) = jax.make_jaxpr(lambda: lax.create_token())().eqns  # new, for what is said here

    def new(*operands: Any) -> Any:  # or JAX would hand out what it was at another line
        return function(*operands)

    closed, results = jax.make_jaxpr(new, return_shape=True)(*operands)
    lent = any(isinstance(x, Tracer) for x in closed.consts)
    if lent or closed.effects or getattr(closed.jaxpr, "is_high", False):
        return None
    return Program(closed, around=mark.ctx), jax.tree.structure(results)
