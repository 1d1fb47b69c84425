"""Rules in the place of others, for a while: `rules`, and the option `rules=` of `grad`."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
from jax.extend.core import Primitive, set_current_trace

from backprop_jax.engine.reading import AS_IT_STANDS, Reading
from backprop_jax.engine.registry import Constant, Row, Rule
from backprop_jax.engine.units import Structured
from backprop_jax.errors import BackpropError, here, message
from backprop_jax.proofs import Only, prove, prove_as
from backprop_jax.rules.functions import is_same, line_of
from backprop_jax.rules.strong import strong_zero

STRONG = Reading(strong_zero)

#: What is in force now. JAX knows of it: what it compiled under other rules, it compiles again.
in_force = jax.make_user_context()


class Entered(threading.local):
    """The contexts that a thread has entered, the last one last."""

    def __init__(self) -> None:
        self.contexts: list = []


entered = Entered()


@dataclasses.dataclass(frozen=True)
class Swaps:
    """Rules in the place of others. A context manager, and what the option `rules=` takes.

    Attributes:
      rules: pairs of a primitive, or the line a function is written at, and its rule.
      checked: which of them are put to the test where they are met.
    """

    rules: frozenset[tuple[Any, Any]]
    checked: frozenset = frozenset()

    @functools.cached_property
    def table(self) -> dict:
        """The rules by what they are for."""
        return dict(self.rules)

    def of(self, key: Any) -> Any:
        """Returns the rule of a primitive, or what runs the function of this line, or None."""
        return self.table.get(key)

    @functools.cached_property
    def on_trial(self) -> dict:
        """Who puts them to the test."""
        return dict.fromkeys(self.checked, prove)

    def __enter__(self) -> "Swaps":
        outer = in_force.value
        both = self if outer is None else outer.with_inner(self)
        context = in_force(both)
        context.__enter__()
        entered.contexts.append(context)
        return self

    def with_inner(self, inner: "Swaps") -> "Swaps":
        """Returns both; of two rules for the same the inner."""
        rules = frozenset({**self.table, **inner.table}.items())
        return Swaps(rules, (self.checked - set(inner.table)) | inner.checked)

    def __exit__(self, *exception: Any) -> None:
        entered.contexts.pop().__exit__(*exception)


Rules = Mapping[Any, Rule] | Swaps


def rules(swapped: Rules, *, check: bool = True) -> Swaps:
    """Returns other rules, to go by for a while: a context manager, and an option of `grad`.

    They hold for every gradient that is taken within, or with that option: inside of `jit`, `scan`
    and `cond`, in functions with a rule of their own, and in all orders of derivative. What JAX has
    compiled with other rules, it compiles again. Within a `with` in a `with` both hold; of two
    rules for one primitive the inner.

    Args:
      swapped: by primitive (`lax.round_p`), or by function with a `jax.custom_jvp` or
        `jax.custom_vjp` rule (`jax.nn.relu`), the rule to go by: what the verbs of
        `backprop_jax.extend` return if they are not told for which primitive. For a function, `x`,
        `y`, `w` are its arguments, arrays all of them, and `z` is its result.
      check: whether to put each rule to the test, where it is met, at operands of the types it is
        met with. False for one that is meant to be no derivative.

    Raises:
      TypeError: a key is neither, or a rule is none.
      WrongRule: while a gradient is taken: a rule is not the derivative.

    A function is known by the line it is written at. Where `jax.vmap` is within the gradient, what
    is met is another function, of more axes: there an elementwise rule of one operand is used, and
    any other is an error. Primitives know no such bound.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> from backprop_jax import extend
      >>> from jax import lax
      >>> straight_through = {lax.round_p: extend.elementwise(lambda g: g)}
      >>> with bp.rules(straight_through, check=False):
      ...     print(bp.grad(lambda x: jnp.round(x) ** 2)(2.7))
      6.0
    """
    if isinstance(swapped, Swaps):
        return swapped
    entries = frozenset(entry(key, rule, check) for key, rule in swapped.items())
    return Swaps(entries, frozenset(key for key, _ in entries) if check else frozenset())


def held(swapped: Rules | None) -> AbstractContextManager:
    """Returns the context in which these rules are gone by, as by the option `rules=`."""
    return contextlib.nullcontext() if swapped is None else rules(swapped)


def entry(key: Any, rule: Any, check: bool) -> tuple[Any, Any]:
    """Returns what a rule is for, as a tape meets it, and the rule."""
    function = with_own_rule(key)
    name = getattr(key, "name", None) or getattr(key, "__name__", repr(key))
    if not isinstance(key, Primitive) and function is None:
        raise TypeError(
            message(
                f"rules: {name} is neither a primitive nor a function with a rule of its own.",
                to_go_on="jax.make_jaxpr(f)(x) shows primitives, such as lax.max_p for 'max'; "
                "or give the function a jax.custom_vjp rule.",
            )
        )
    if not isinstance(rule, Row | Constant | (Structured if function is None else Row)):
        raise TypeError(
            message(
                f"rules: what is given for {name} is no rule but {rule!r}.",
                to_go_on="name its kind, as in extend.elementwise(lambda g, x: g * x).",
            )
        )
    if function is None:
        return key, rule
    return line_of(function), Swapped(function, name, rule, check)


def with_own_rule(key: Any) -> Any:
    """Returns the `jax.custom_jvp` or `jax.custom_vjp` that a function is, or None."""
    while not isinstance(key, jax.custom_jvp | jax.custom_vjp):
        if (key := getattr(key, "__wrapped__", None)) is None:
            return None
    return key


@dataclasses.dataclass(frozen=True)
class Swapped:
    """A function with a rule of its own, and the rule to go by."""

    function: Any
    name: str
    rule: Any
    check: bool

    def __call__(
        self, tape: Any, primitive: Primitive, fun: Any, params: dict, tracers: Sequence
    ) -> list:
        """Runs the function as one step on the tape; returns its results."""
        values, slots = operands = tape.unwrap(tracers)
        place_by_place = self.rule.kind == "elementwise" and len(values) == 1
        if not place_by_place and not self.is_met(fun, values):
            raise self.is_another()
        if self.check:
            alone = dataclasses.replace(self, check=False)
            prove_as(self.name, self.function, Only(line_of(self.function), alone), values)
        with set_current_trace(tape.parent_trace):
            results = primitive.bind(*values, **params)
        rule = tape.reading.of(self.rule)
        if type(rule) is Constant:
            return results
        step = Primitive(self.name)
        step.multiple_results = len(results) > 1
        active = [slot is not None for slot in slots]
        kept = rule.keep(values, results if step.multiple_results else results[0], active)
        return tape.add(step, {}, rule, operands, results, kept)

    def is_met(self, fun: Any, values: Sequence) -> bool:
        """Returns whether what is called is the function as it is written."""
        try:
            return is_same(self.function, fun, values)
        except Exception:  # the user's function, called with what it may not be called with
            return False

    def is_another(self) -> BackpropError:
        """Returns the error to raise where it is not."""
        return BackpropError(
            message(
                f"the rule given for '{self.name}' cannot be used: under jax.vmap, or with "
                "arguments that are no arrays, this is another function.",
                written_at=here(),
                to_go_on="take the gradient within: jax.vmap(bp.grad(f)); hand over arrays.",
            )
        )


def reading_of(zero_times_inf: str = "nan") -> Reading:
    """Returns how rules are read in what is differentiated now."""
    reading = AS_IT_STANDS if zero_times_inf == "nan" else STRONG
    swaps = in_force.value
    return reading if swaps is None else dataclasses.replace(reading, swaps=swaps)
