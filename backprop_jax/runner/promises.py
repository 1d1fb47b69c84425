"""What a configuration promises of the numbers of its run, and whether they keep it.

The section `expected` of a file:

    expected:
      minimum: -2.0                            # within 1e-6, of it or of 1, whichever is larger
      distance: {value: 0.34, within: 0.01}
      accuracy: {least: 0.97}
      error: {most: 1e-9}
      outcome: diverged
      gradient: [-4.0, -4.0, 3.0]
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from annotated_types import Ge
from pydantic import TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from backprop_jax.runner.document import Document, Problem, raise_problems
from backprop_jax.runner.explain import explain
from backprop_jax.runner.schema import STRICT
from backprop_jax.runner.words import hint

WITHIN = 1e-6


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Promise:
    """What one number must be."""

    value: float | None = None
    """About this."""

    within: Annotated[float, Ge(0)] | None = None
    """How far from `value` it may be."""

    least: float | None = None
    """Not less."""

    most: float | None = None
    """Not more."""

    @model_validator(mode="after")
    def says_something(self) -> Self:
        """Checks that something is promised."""
        if (self.value, self.least, self.most) == (None, None, None):
            raise ValueError("say what is promised: value, least or most")
        if self.within is not None and self.value is None:
            raise ValueError("within wants a value")
        return self

    def kept_by(self, x: Any) -> bool:
        """Returns whether a number is what was promised."""
        if isinstance(x, bool | str | list):
            return False
        bounds = [self.least is None or x >= self.least, self.most is None or x <= self.most]
        return all(bounds) and (self.value is None or _close(x, self.value, self.within))

    def __str__(self) -> str:
        """The promise in a few words."""
        within = "" if self.within is None else f" ± {self.within:g}"
        said = [
            None if self.value is None else f"{self.value:g}{within}",
            None if self.least is None else f"at least {self.least:g}",
            None if self.most is None else f"at most {self.most:g}",
        ]
        return ", ".join(one for one in said if one)


Promises = Mapping[str, Any]
"""By the name of a number: a `Promise`, or the value itself."""


def promises(expected: Mapping[str, Any], document: Document) -> tuple[Promises, list[Problem]]:
    """Returns what a section `expected` promises, and the mistakes in it."""
    found, problems = {}, []
    adapter = TypeAdapter(Promise)
    for name, said in expected.items():
        found[name] = said
        if said is None:
            problems.append(document.at_value(("expected", name), "expected a value, got null"))
        elif isinstance(said, dict):
            try:
                found[name] = adapter.validate_python(said)
            except ValidationError as error:
                told = explain(error, document, adapter.json_schema(), said)
                problems += [
                    document.at_key(("expected", name, *one.keys), one.text) for one in told
                ]
    return found, problems


def broken(expected: Promises, numbers: Mapping[str, Any], document: Document) -> list[str]:
    """Returns a line for each promise that the numbers do not keep.

    Raises:
      ConfigError: a number is promised that there is not.
    """
    unknown = [
        document.at_key(("expected", name), f"there is no such number{hint(name, numbers)}")
        for name in expected
        if name not in numbers
    ]
    raise_problems(unknown)
    return [
        f"{name} is {inline(numbers[name], 12)}, promised {inline(said, 12)}"
        for name, said in expected.items()
        if not kept(said, numbers[name])
    ]


def kept(said: Any, x: Any) -> bool:
    """Returns whether a number, a text or a list is what was promised."""
    match said:
        case Promise():
            return said.kept_by(x)
        case list():
            same = isinstance(x, list) and len(x) == len(said)
            return same and all(kept(one, item) for one, item in zip(said, x, strict=True))
        case bool() | str():
            return type(x) is type(said) and x == said
    return isinstance(x, int | float) and not isinstance(x, bool) and _close(x, said, None)


def inline(value: Any, digits: int = 6) -> str:
    """Returns a number, text, list or promise in a few characters."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.{digits}g}"
        case list():
            return f"[{', '.join(inline(one, digits) for one in value)}]"
    return str(value)


def _close(x: float, value: float, within: float | None) -> bool:
    """Returns whether a number is about another one."""
    if math.isnan(value) or math.isinf(value):
        return x == value or (math.isnan(value) and math.isnan(x))
    return abs(x - value) <= (WITHIN * max(1.0, abs(value)) if within is None else within)
