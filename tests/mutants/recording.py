"""One run of a case, step by step on a tape, whose way back can be walked with mistakes in it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import needed_for
from backprop_jax.engine.reading import AS_IT_STANDS
from backprop_jax.engine.reverse import Pullback
from backprop_jax.engine.sweep import sweep
from backprop_jax.proofs import Only
from backprop_jax.rules.calls import inline_jit
from tests.rules.case import Case, is_inexact
from tests.rules.jaxprs import equations


def evaluate(jaxpr: Any, consts: Sequence, operands: Sequence, step: Callable) -> list:
    """Runs the equations of a jaxpr that are needed; `step`: (place, equation, operands) → results.

    The place of an equation is its number.
    """
    environment = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *operands], strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else environment[atom]

    wanted = {id(e) for e in needed_for(jaxpr.outvars, jaxpr.eqns)}
    for place, equation in enumerate(jaxpr.eqns):
        if id(equation) in wanted:
            results = step(place, equation, [value(atom) for atom in equation.invars])
            environment.update(zip(equation.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def bind(equation: Any, operands: Sequence, params: dict | None = None) -> list:
    """Runs an equation, with other parameters if there are any; returns a list of results."""
    primitive = equation.primitive
    params = primitive.get_bind_params(equation.params if params is None else params)
    results = primitive.bind(*operands, **params)
    return list(results) if primitive.multiple_results else [results]


def spread_out(function: Callable, spared: str) -> Callable:
    """Returns a function whose compiled parts are run equation by equation, but for those spared.

    So that the steps of a case are on its tape, and not within one step.
    """

    def step(place: int, equation: Any, operands: Sequence) -> list:
        del place
        if str(equation.primitive) == "jit" != spared and inline_jit(equation.params):
            inner = equation.params["jaxpr"]
            return evaluate(inner.jaxpr, inner.consts, operands, step)
        return bind(equation, operands)

    def run(*operands: Any) -> list:
        closed = jax.make_jaxpr(function)(*operands)
        return evaluate(closed.jaxpr, closed.consts, operands, step)

    return run


def key_of(operands: Sequence) -> tuple:
    """Returns what tells these operands from others."""
    return tuple((str(jnp.asarray(x).dtype), jnp.asarray(x).tobytes()) for x in operands)


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A case, recorded once at every point it is asked for.

    Attributes:
      case: the case.
      runs: values and way back, by point.
      pulls: the way back of a step as a jaxpr, by step and by what is at hand.
    """

    case: Case
    runs: dict = dataclasses.field(default_factory=dict)
    pulls: dict = dataclasses.field(default_factory=dict)
    values: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def function(self) -> Callable:
        """The function of the active operands; what it was asked once it knows."""
        run = self.case.of_active([jnp.asarray(x) for x in self.case.operands])

        def remembered(*operands: Any) -> tuple:
            if any(isinstance(x, jax.core.Tracer) for x in operands):
                return run(*operands)
            key = key_of(operands)
            if key not in self.values:
                self.values[key] = run(*operands)
            return self.values[key]

        return remembered

    @functools.cached_property
    def operands(self) -> list:
        """The active operands."""
        return [jnp.asarray(self.case.operands[i]) for i in self.case.active]

    def at(self, operands: Sequence) -> tuple[list, Pullback]:
        """Returns values and way back at a point."""
        key = key_of(operands)
        if key not in self.runs:
            run = self.case.of_active([jnp.asarray(x) for x in self.case.operands])
            active = [True] * len(operands)
            spread = spread_out(run, self.case.primitive)
            self.runs[key] = sweep(spread, list(operands), active, AS_IT_STANDS)
        return self.runs[key]

    @functools.cached_property
    def places(self) -> list[int]:
        """Which steps are of the case's primitive; where it is within others, all of them."""
        nodes = self.at(self.operands)[1].nodes
        own = [i for i, node in enumerate(nodes) if node.primitive.name == self.case.primitive]
        return own or list(range(len(nodes)))

    def pull(self, place: int, node: Any, rule: Any, cotangents: list) -> tuple[Any, list, list]:
        """Returns a step's way back as a jaxpr, its operands, and which gradients it gives."""
        node = dataclasses.replace(node, rule=rule)
        present = [g for g in cotangents if g is not None]
        key = place, tuple(g is None for g in cotangents)
        kept, tree = jax.tree.flatten(node.kept)
        arrays = [i for i, x in enumerate(kept) if hasattr(x, "dtype")]
        if key not in self.pulls:
            given: list[int] = []

            def back(values: list, present: list) -> list:
                leaves = list(kept)
                for i, value in zip(arrays, values, strict=True):
                    leaves[i] = value
                rest = iter(present)
                again = dataclasses.replace(node, kept=jax.tree.unflatten(tree, leaves))
                cotangents_now = [None if g is None else next(rest) for g in cotangents]
                gradients = [ct.whole(g) for g in node.rule.pull(again, cotangents_now)]
                given[:] = [i for i, g in enumerate(gradients) if g is not None and is_inexact(g)]
                return [gradients[i] for i in given]

            closed = jax.make_jaxpr(back)([kept[i] for i in arrays], present)
            self.pulls[key] = closed, given
        closed, given = self.pulls[key]
        return closed, [*(kept[i] for i in arrays), *present], given

    def with_rule(self, operands: Sequence, rule_of: Callable) -> tuple[list, Callable]:
        """Returns values, and the way back with another rule: (place, node) → rule."""
        values, pullback = self.at(operands)
        places = set(self.places)
        nodes = [
            dataclasses.replace(node, rule=rule_of(i)) if i in places else node
            for i, node in enumerate(pullback.nodes)
        ]
        changed = Pullback(nodes, pullback.inputs, pullback.outputs)

        def pull(cotangents: Sequence) -> list:
            gradients = changed(list(cotangents))
            return ct.instantiate(gradients, list(map(jax.typeof, operands)))

        return values, pull


def with_constant_passing(recording: Recording, rule: Any, fun: Any, *operands: Any) -> tuple:
    """Returns values and way back, where a primitive of derivative zero has another rule."""
    del fun
    jaxpr = jax.make_jaxpr(recording.function)(*operands).jaxpr
    own = [e.primitive for e in equations(jaxpr) if str(e.primitive) == recording.case.primitive]
    reading = dataclasses.replace(AS_IT_STANDS, swaps=Only(own[0], rule))
    run = recording.case.of_active([jnp.asarray(x) for x in recording.case.operands])
    values, back = sweep(run, list(operands), [True] * len(operands), reading)
    avals = list(map(jax.typeof, operands))
    return values, lambda cotangents: ct.instantiate(back(list(cotangents)), avals)
