"""How the book of rules is read: as it stands, or with another rule in the place of one."""

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax.extend.core import Primitive

from backprop_jax.engine.registry import lookup, on_trial
from backprop_jax.meshes import surroundings
from backprop_jax.twins import Replayed


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the rules are read along one tape, and in all that it meets.

    Attributes:
      change: takes a rule, of the book or a user's own `jax.custom_vjp`, and returns the one to go
        by. Default: the rule itself.
      keeping: which values inner jaxprs may keep for the way back, see `partition.keeping`.
      swaps: rules in the place of the book's, and of functions' own, see `backprop_jax.swaps`.
    """

    change: Callable[[Any], Any] | None = None
    keeping: Any = None
    swaps: Any = None

    def rule(self, primitive: Primitive, operands: Sequence, params: dict) -> Any:
        """Returns the rule of a primitive, or None; these are what it is run on."""
        tried_by, rule = on_trial, None
        if self.swaps is not None and (rule := self.swaps.of(primitive)) is not None:
            tried_by = self.swaps.on_trial
        elif (rule := lookup(primitive)) is None:
            return None
        if primitive in tried_by:
            tried_by[primitive](primitive, rule, operands, params)
        return self.of(rule)

    def swapped(self, fun: Any) -> Any:
        """Returns what runs a function that goes by another rule than its own, or None."""
        return None if self.swaps is None else self.swaps.of(fun.debug_info.func_src_info)

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

    def within(self, function: Callable) -> Callable:
        """Returns a function that reads this way, whenever it runs."""
        if self == AS_IT_STANDS:
            return function

        @functools.wraps(function)
        def reading(*args: Any) -> Any:
            with self.in_force():
                return function(*args)

        return reading

    def staged(self, function: Callable) -> Callable:
        """Returns a function that reads this way, as it is to be staged: see `Replayed`."""
        return Replayed(function, lambda: (surroundings(), cutting.get(), readings.get()))


AS_IT_STANDS = Reading()
readings: contextvars.ContextVar[Reading] = contextvars.ContextVar("reading", default=AS_IT_STANDS)
#: Whether what is being run will be cut in two.
cutting: contextvars.ContextVar[bool] = contextvars.ContextVar("cutting", default=False)
