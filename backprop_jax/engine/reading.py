"""How the book of rules is read: as it stands, or with another rule in the place of one."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from jax.extend.core import Primitive

from backprop_jax.engine.registry import lookup


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the rules are read along one tape, and in all that it meets.

    Attributes:
      change: takes a rule, of the book or a user's own `jax.custom_vjp`, and returns the one to go
        by. Default: the rule itself.
      keeping: which values inner jaxprs may keep for the way back, see `partition.keeping`.
    """

    change: Callable[[Any], Any] | None = None
    keeping: Any = None

    def rule(self, primitive: Primitive) -> Any:
        """Returns the rule of a primitive, or None."""
        rule = lookup(primitive)
        return rule if rule is None else self.of(rule)

    def of(self, rule: Any) -> Any:
        """Returns the rule to go by in the place of this one."""
        return rule if self.change is None else self.change(rule)

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Makes this the reading of the tapes for inner jaxprs, which nobody else tells of it."""
        token = readings.set(self)
        try:
            yield
        finally:
            readings.reset(token)


AS_IT_STANDS = Reading()
readings: contextvars.ContextVar[Reading] = contextvars.ContextVar("reading", default=AS_IT_STANDS)
