"""Rules that users bring are put to the test where they are met."""

import functools
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Primitive

from backprop_jax.engine.reading import Reading
from backprop_jax.errors import UncheckedRule, WrongRule, here, message

#: Who judges, see `check.judge`: (what is run, how rules are read there, types of its operands) →
#: what is wrong, "" if nothing is. Raises CannotTell.
judges: list[Callable[[Callable, Reading, Sequence], str]] = []


class CannotTell(Exception):
    """A rule cannot be put to the test: why."""


class Only(NamedTuple):
    """One rule in the place of another: for a primitive, or for the function of a line."""

    key: Any
    rule: Any

    on_trial = types.MappingProxyType({})

    def of(self, key: Any) -> Any:
        """Returns the rule if it is asked for, or None."""
        return self.rule if key == self.key else None


class Bound(NamedTuple):
    """A primitive with its parameters, as a function of its operands."""

    primitive: Primitive
    params: tuple

    def __call__(self, *operands: Any) -> Any:
        """Runs the primitive."""
        return self.primitive.bind(*operands, **dict(self.params))


def prove(primitive: Primitive, rule: Any, operands: Sequence, params: dict) -> None:
    """Raises WrongRule if a primitive's rule is not the derivative, at operands of these types."""
    run = Bound(primitive, tuple(params.items()))
    prove_as(primitive.name, run, Only(primitive, rule), operands)


def prove_as(name: str, run: Callable, only: Only, operands: Sequence) -> None:
    """Raises WrongRule if a rule is not the derivative, warns if that cannot be told.

    Args:
      name: of what the rule is given for.
      run: what that is, a function of its operands.
      only: the rule.
      operands: what it is met with; their types alone matter.
    """
    avals = tuple(map(jax.typeof, operands))
    wrong, unknown = judgement(run, only, avals)
    told = {
        "equation": f"{name} {' '.join(aval.str_short() for aval in avals)}",
        "written_at": here(),
    }
    if wrong:
        what = f"the rule given for '{name}' is wrong {wrong}."
        fix = "correct the rule; if it is meant to be no derivative, say check=False."
        raise WrongRule(message(what, **told, to_go_on=fix))
    if unknown:
        what = f"the rule given for '{name}' was not put to the test: {unknown}."
        fix = "if that is all right, say check=False."
        warnings.warn(message(what, **told, to_go_on=fix), UncheckedRule, stacklevel=2)


@functools.lru_cache(maxsize=4096)
def judgement(run: Callable, only: Only, avals: tuple) -> tuple[str, str]:
    """Returns what is wrong with a rule, and why that cannot be told; "" where nothing is."""
    try:
        return judges[-1](run, Reading(swaps=only), avals), ""
    except CannotTell as reason:
        return "", str(reason)
