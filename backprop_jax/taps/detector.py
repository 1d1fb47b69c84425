"""A function and its way back as one program that says where values stop being finite."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from backprop_jax.dtypes import is_inexact, of_tangents
from backprop_jax.engine import cotangents as ct
from backprop_jax.rules.strong import any_of, is_wild
from backprop_jax.taps.births import Births, is_number
from backprop_jax.taps.report import LISTED, Birth, Report, births_of, forward_primitives, told_of
from backprop_jax.taps.steps import every, level_of

#: A program that is run once is compiled with little optimization, which takes less time.
ONCE = {"xla_backend_optimization_level": 0}


class Found(NamedTuple):
    """What a run says: of the steps of both ways, and which arrays were not finite at its ends."""

    ahead: dict
    back: dict
    given: Any
    reached: Any


def examine(
    forward: Callable, arrays: Sequence, title: str, given: Sequence[str], wanted: Sequence[str]
) -> Report:
    """Returns where the values of a function and of its way back stop being finite.

    The program is compiled and run with every step looked at; and if there is something to tell,
    once more with a close look at the first few steps that something was born in.

    Args:
      forward: a list of arrays → the result, and a function from a cotangent of it to gradients.
      arrays: where to evaluate it.
      title: the function's name.
      given: names of the arrays.
      wanted: names of the gradients.
    """
    both = Ways.of(forward, arrays)
    found, first = both.look(arrays)
    told = LISTED + 1
    names = ["the result"] * both.results + [f"the gradient of {name}" for name in wanted]
    steps = first[0][:told], first[1][: max(0, told - len(first[0]))]
    births = both.look_closely(arrays, names, *steps)
    return Report(
        title,
        tuple(births),
        sum(map(len, first)),
        tuple(name for name, is_wild in zip(given, found.given, strict=True) if is_wild),
        tuple(dict.fromkeys(n for n, w in zip(names, found.reached, strict=True) if w)),
    )


@dataclasses.dataclass(frozen=True)
class Ways:
    """A function and its way back, as jaxprs.

    Attributes:
      ahead: operands → results, and what the way back keeps.
      back: what it keeps and cotangents of the results → gradients.
      value: types of the results.
    """

    ahead: Any
    back: Any
    value: list

    @classmethod
    def of(cls, forward: Callable, arrays: Sequence) -> "Ways":
        """Returns the ways of a function, see `examine`."""
        ahead, (value, pull) = jax.make_jaxpr(forward, return_shape=True)(list(arrays))

        def back(pull: Callable, g: Any) -> Any:
            return pull(g)

        g = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, of_tangents(x.dtype)), value)
        return cls(ahead, jax.make_jaxpr(back)(pull, g), jax.tree.leaves(value))

    @property
    def results(self) -> int:
        """How many results there are."""
        return len(self.value)

    @functools.cached_property
    def visitors(self) -> tuple[Births, Births]:
        """Those who look at every step that something may be born in."""
        return Births.of(self.ahead), Births.of(self.back)

    @functools.cached_property
    def compiled(self) -> Callable:
        """The program in which they look."""
        return jax.jit(functools.partial(self.run, *self.visitors), compiler_options=ONCE)

    def look(self, arrays: Sequence) -> tuple[Found, list[list]]:
        """Returns what a run says, and for each way the steps that something was born in."""
        found: Found = jax.device_get(self.compiled(arrays))
        ahead, back = self.visitors
        return found, [births_of(ahead, found.ahead, False), births_of(back, found.back, True)]

    def look_closely(self, arrays: Sequence, names: Sequence[str], *first: list) -> list[Birth]:
        """Returns what a run with a close look at some steps of each way has seen.

        It is run once more for each of them, with its results mended: what is finite then, it has
        reached. `names` are those of results and gradients.
        """
        if not any(first):
            return []
        ahead, back = (Births.closely([step for step, _ in births]) for births in first)
        count = len(ahead.steps)

        @functools.partial(jax.jit, compiler_options=ONCE)
        def run(arrays: Sequence, mended: Any) -> Found:
            here = dataclasses.replace(ahead, mended=mended)
            there = dataclasses.replace(back, mended=mended, offset=count)
            return self.run(here, there, arrays)

        found = jax.device_get(run(arrays, np.int32(-1)))
        reached = []
        for number in range(count + len(back.steps)):
            healed = found.reached & ~np.asarray(run(arrays, np.int32(number)).reached)
            reached.append(tuple(dict.fromkeys(n for n, h in zip(names, healed, strict=True) if h)))
        made_at = forward_primitives(every(level_of(self.ahead)))
        forward = told_of(ahead, found.ahead, reached[:count], None)
        return forward + told_of(back, found.back, reached[count:], made_at)

    def run(self, ahead: Births, back: Births, arrays: Sequence) -> Found:
        """Returns what these visitors say."""
        outs, seen_ahead = ahead.watch(self.ahead, arrays)
        results, kept = outs[: self.results], outs[self.results :]
        g = [ones(x) for x in self.value]
        gradients, seen_back = back.watch(self.back, [*kept, *g])
        return Found(seen_ahead, seen_back, wild(arrays), wild([*results, *gradients]))


def ones(x: Any) -> Any:
    """Returns the cotangent of a result in the sum of all results."""
    dtype = of_tangents(x.dtype)
    return lax.full(x.shape, 1, dtype) if is_inexact(dtype) else ct.zeros(x)


def wild(arrays: Sequence) -> Any:
    """Returns for each array whether it is not finite somewhere."""
    found = [
        any_of(is_wild(x)) if is_number(jax.typeof(x)) else lax.full((), False)
        for x in map(jax.numpy.asarray, arrays)
    ]
    return jax.numpy.stack(found) if found else lax.full((0,), False)


def is_any_wild(arrays: Sequence) -> Any:
    """Returns whether one of the arrays is not finite somewhere."""
    tests = (any_of(is_wild(x)) for x in arrays if is_number(jax.typeof(x)))
    return functools.reduce(lax.bitwise_or, tests, lax.full((), False))
