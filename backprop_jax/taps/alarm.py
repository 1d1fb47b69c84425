"""An alarm on a gradient: when it is not finite, somebody is told where that was born.

A gradient pays for the test whether it is finite, and for nothing else. When it is not, its
arguments are handed to the host, and there the function is looked at, in a program of its own. So
within `jax.jit`, too; but not in its way: the program goes on, and what is found is told when it
is, by a thread.
"""

import dataclasses
import functools
import operator
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr

from backprop_jax.arguments import Wanted, function_name
from backprop_jax.dtypes import default_float
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.rules.strong import any_of, is_wild
from backprop_jax.staged import Arguments
from backprop_jax.taps.births import is_number
from backprop_jax.taps.detector import examine
from backprop_jax.taps.report import Report, names_of

OnNonfinite = None | Literal["explain"] | Callable[[Report], Any]

CLOSED_OVER = "what the function closes over"


class NonFinite(UserWarning):
    """A gradient or its function is not finite; the text is that of a `Report`."""


def check_on_nonfinite(choice: Any) -> None:
    """Raises ValueError if the option is none of those there are."""
    if not (choice is None or choice == "explain" or callable(choice)):
        raise ValueError(
            f"on_nonfinite={choice!r} is not known; it may be None, 'explain', or a function that "
            "takes a report."
        )


@dataclasses.dataclass(frozen=True)
class Question:
    """Where do the values of a function stop being finite, for arguments like these?

    Attributes:
      name: of the function.
      closed: its jaxpr, of the arrays among its arguments.
      tree: structure of its results.
      given: the arguments.
      wanted: which of them are differentiated.
      vjp: (function, *primals) → result, pullback, and maybe more.
    """

    name: str
    closed: Any
    tree: Any
    given: Arguments
    wanted: Wanted
    vjp: Callable

    @classmethod
    def of(
        cls, fun: Callable, args: tuple, kwargs: dict, wanted: Wanted, vjp: Callable
    ) -> "Question":
        """Returns the question for a call."""
        given = Arguments.of(args, kwargs)
        return cls(function_name(fun), *given.stage(fun), given, wanted, vjp)

    @property
    def operands(self) -> list:
        """What the function closes over, and the arrays among the arguments."""
        return [*self.closed.consts, *self.given.arrays]

    def answer(self, operands: Sequence) -> Report:
        """Returns the answer, given numbers for the operands."""
        count = len(self.closed.consts)

        def forward(operands: list) -> tuple:
            run = as_function(ClosedJaxpr(self.closed.jaxpr, operands[:count]))

            def fun(*args: Any, **kwargs: Any) -> Any:
                return jax.tree.unflatten(self.tree, run(*Arguments.of(args, kwargs).arrays))

            chosen, fun = self.wanted.partial(fun, *self.given.filled(operands[count:]))
            return self.vjp(fun, *chosen)[:2]

        args, kwargs = self.given.filled(self.given.arrays)
        places = zip([*names_of(args, "args"), *names_of(kwargs, "kwargs")], strict=True)
        taken = {i for i, _ in self.given.others}
        names = [name for i, (name,) in enumerate(places) if i not in taken]
        given = [CLOSED_OVER] * count + names
        return examine(forward, operands, self.name, given, self.reached(args, kwargs))

    def reached(self, args: tuple, kwargs: dict) -> list[str]:
        """Returns the names of the leaves of the arguments that are differentiated."""
        places = [f"args[{i}]" for i in self.wanted.positions(len(args))]
        places += [f"kwargs[{name!r}]" for name in self.wanted.names_only()]
        chosen, _ = self.wanted.partial(print, args, kwargs)
        pairs = zip(places, chosen, strict=True)
        return [name for place, argument in pairs for name in names_of(argument, place)]


def explain(report: Report) -> None:
    """Warns of what a report says."""
    warnings.warn(str(report), NonFinite, stacklevel=2)


def watched(choice: OnNonfinite, outcome: Any, ask: Callable[[], Question]) -> None:
    """Sees to it that somebody is told if a result or a gradient is not finite.

    Args:
      choice: who.
      outcome: the result and the gradients.
      ask: returns the question to answer.
    """
    numbers = [x for x in jax.tree.leaves(outcome) if is_number(jax.typeof(x))]
    bad = functools.reduce(operator.or_, (any_of(is_wild(jax.numpy.asarray(x))) for x in numbers))
    tell = explain if choice == "explain" or choice is None else choice
    if not isinstance(bad, Tracer):
        if bad:
            question = ask()
            tell(question.answer(question.operands))
        return
    question = ask()
    operands = [as_data(lax.stop_gradient(x)) for x in question.operands]
    alarm = Alarm(question, tell, [is_key(x) for x in question.operands], x64=is_x64())

    def ring(*operands: Any) -> None:
        jax.debug.callback(alarm.heard, bad, *operands)

    lax.cond(bad, ring, lambda *operands: None, *operands)


class Alarm:
    """Answers a question, the first time it is rung for, in a thread."""

    def __init__(self, question: Question, tell: Callable, keys: list[bool], x64: bool) -> None:
        self.question, self.tell, self.keys, self.x64 = question, tell, keys, x64
        self.rung = threading.Lock()

    def heard(self, bad: Any, *operands: Any) -> None:
        """Starts to answer. A program must not be run from here, within another: so a thread."""
        if bad and self.rung.acquire(blocking=False):
            numbers = [np.array(x) for x in operands]
            thread = threading.Thread(target=self.answer, args=(numbers,), name=NAME)
            thread.start()

    def answer(self, numbers: list) -> None:
        """Answers."""
        with jax.enable_x64(self.x64):
            pairs = zip(numbers, self.keys, strict=True)
            operands = [jax.random.wrap_key_data(x) if key else x for x, key in pairs]
            self.tell(self.question.answer(operands))


#: The name of the threads that answer.
NAME = "backprop_jax on_nonfinite"


def wait() -> None:
    """Waits until all that is being looked at has been told of."""
    jax.effects_barrier()
    for thread in threading.enumerate():
        if thread.name == NAME:
            thread.join()


def is_x64() -> bool:
    """Returns whether double precision is on here; a thread starts with the default."""
    return default_float() == np.float64


def is_key(x: Any) -> bool:
    """Returns whether an array is one of random keys, which are not numbers to the host."""
    return jax.dtypes.issubdtype(jax.typeof(x).dtype, jax.dtypes.prng_key)


def as_data(x: Any) -> Any:
    """Returns an array as numbers."""
    return jax.random.key_data(x) if is_key(x) else x
