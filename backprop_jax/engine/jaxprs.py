"""Reading, cutting and running the equations of a jaxpr."""

import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.ref as refs
from jax.extend import source_info_util
from jax.extend.core import Literal, Primitive, set_current_trace, take_current_trace

from backprop_jax.dtypes import enabling_for
from backprop_jax.programs import FOREIGN, copied, run_on


def variables(atoms: Iterable) -> list:
    """Returns those of the atoms that are variables, literals left out."""
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def among(atom: Any, group: set) -> bool:
    """Returns whether an atom is one of these variables; a literal is none."""
    return not isinstance(atom, Literal) and atom in group


def depending_on(sources: Iterable, equations: Sequence) -> set:
    """Returns the variables whose value depends on one of the sources, these among them."""
    moving = set(sources)
    for equation in equations:
        if not moving.isdisjoint(variables(equation.invars)):
            moving.update(equation.outvars)
    return moving


def needed_for(
    targets: Iterable, equations: Sequence, available: Iterable = (), also: Sequence = ()
) -> list:
    """Returns, in order, the equations to run for the targets when some variables are at hand.

    Those of `also` are among them whether or not their results are needed.
    """
    chosen_anyway = set(map(id, also))
    available = set(available)
    wanted = {v for v in variables(targets) if v not in available}
    chosen = []
    for equation in reversed(equations):
        if id(equation) in chosen_anyway or not wanted.isdisjoint(equation.outvars):
            wanted.update(v for v in variables(equation.invars) if v not in available)
            chosen.append(equation)
    return chosen[::-1]


def has_effects(equation: Any) -> bool:
    """Returns whether a run of the equation is seen from outside: it prints, or calls out."""
    return bool(equation.effects - UNSEEN)


# A reference that is made, used and let go within a function is nobody's business.
UNSEEN = jax.make_jaxpr(jax.jit(lambda x: refs.freeze(refs.new_ref(x))))(1.0).effects


def evaluate(equations: Sequence, environment: dict, outputs: Sequence, source: Any = None) -> list:
    """Runs the equations and returns the outputs; `environment`, variable → value, grows.

    `source`: where all of them were written. Default: where each of them was.
    """

    def place(equation: Any) -> tuple:
        own = equation.source_info
        return own.name_stack, (source or own).traceback

    names = source_info_util.current_name_stack()
    types = (v.aval for equation in equations for v in (*equation.invars, *equation.outvars))
    with take_current_trace() as trace, enabling_for(types):
        for context, alike in itertools.groupby(equations, operator.attrgetter("ctx")):
            with context.manager:
                for (stack, traceback), group in itertools.groupby(alike, place):
                    with source_info_util.user_context(traceback, name_stack=names + stack):
                        for equation in group:
                            run_equation(trace, equation, environment)
    return [read(atom, environment) for atom in outputs]


def read(atom: Any, environment: dict) -> Any:
    """Returns the value of a variable or a literal."""
    return atom.val if type(atom) is Literal else environment[atom]


def run_on_arrays(trace: Any, primitive: Primitive, operands: Sequence, params: dict) -> Any:
    """Does what `run_on` does for a user's primitive, which may take a number for a constant."""
    with set_current_trace(trace):
        arrays = [jnp.asarray(x) if type(x) in FOREIGN else x for x in operands]
        return primitive.bind(*arrays, **params)


def run_equation(trace: Any, equation: Any, environment: dict) -> None:
    """Runs one equation on a trace."""
    primitive = equation.primitive
    operands = [read(atom, environment) for atom in equation.invars]
    results = copied(trace, equation, operands)
    if results is None:
        results = run_on(trace, primitive, operands, primitive.get_bind_params(equation.params))
        results = results if primitive.multiple_results else [results]
    environment.update(zip(equation.outvars, results, strict=True))


def bound(closed: Any, operands: Sequence) -> dict:
    """Returns the values a closed jaxpr starts from, by variable."""
    variables = (*closed.jaxpr.constvars, *closed.jaxpr.invars)
    return dict(zip(variables, (*closed.consts, *operands), strict=True))


def as_function(closed: Any, source: Any = None) -> Callable:
    """Returns a closed jaxpr as a function of its operands that returns a list; see `evaluate`."""

    def run(*operands: Any) -> list:
        equations, outputs = closed.jaxpr.eqns, closed.jaxpr.outvars
        return evaluate(equations, bound(closed, operands), outputs, source)

    return run


def has_state(params: dict) -> bool:
    """Returns whether a primitive's jaxpr takes a mutable value of `jax.experimental.hijax`."""
    jaxpr: Any = getattr(params.get("jaxpr"), "jaxpr", None)
    return getattr(jaxpr, "is_high", False) and any(is_changing(v.aval) for v in jaxpr.invars)


def is_changing(aval: Any) -> bool:
    """Returns whether a type is of mutable values, which is there until jax 0.11."""
    return getattr(aval, "has_qdd", False)


def held(params: dict) -> list:
    """Returns the jaxprs among the parameters of an equation."""
    leaves = jax.tree.leaves(list(params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
    return [leaf for leaf in leaves if hasattr(leaf, "eqns")]
