"""A whole function in segments, each computed again on the way back from what enters it.

A chain of n steps in segments of √n keeps what enters them, and of one segment at a time what is
within: 2 √n values in the place of n, for one more run of the way forward. The segments are those
of `jax.checkpoint`, so the way back of each is a partition like any other.

Source: Griewank and Walther 2008, Evaluating Derivatives, ch. 12; Chen et al. 2016, "Training deep
nets with sublinear memory cost".
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import source_info_util
from jax.extend.core import Literal

from backprop_jax.dtypes import size_in_bytes
from backprop_jax.engine.jaxprs import bound, evaluate, held, variables
from backprop_jax.engine.registry import OPERANDS, Constant, Row, lookup
from backprop_jax.engine.units import Structured
from backprop_jax.partition.choice import is_dear
from backprop_jax.partition.keeping import Keeping, Partition
from backprop_jax.programs import runs_in_place

#: How many segments are tried.
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def opened(equation: Any) -> Any:
    """Returns the closed jaxpr of an equation that only groups others, or None."""
    rule = lookup(equation.primitive)
    if type(rule) is not Structured or rule.inline(equation.params) is None:
        return None
    return held(equation.params)[0]


def flattened(closed: Any) -> Any:
    """Returns a closed jaxpr with the equations of inner functions in the place of their calls."""

    def run(closed: Any, source: Any, *operands: Any) -> list:
        at_hand = bound(closed, operands)
        for equation in closed.jaxpr.eqns:
            if (inner := opened(equation)) is None:
                evaluate([equation], at_hand, (), source)
                continue
            own = equation.source_info
            stack = source_info_util.current_name_stack() + own.name_stack
            # What JAX's own functions consist of is written where they are called.
            line = source or (own if runs_in_place(equation.params) else None)
            with source_info_util.user_context(None, name_stack=stack):
                results = run(inner, line, *evaluate([], at_hand, equation.invars))
            at_hand.update(zip(equation.outvars, results, strict=True))
        return evaluate([], at_hand, closed.jaxpr.outvars)

    return jax.make_jaxpr(functools.partial(run, closed, None))(*closed.in_avals)


def is_loop(equation: Any) -> bool:
    """Returns whether an equation keeps values for its own way back: it holds dear ones."""
    return bool(held(equation.params)) and is_dear(equation)


def read_back(equations: Sequence) -> set:
    """Returns the variables that the rules of these equations read, or what those are made of.

    What is made of one value and needs nothing for its own way back, as `x + 1`, costs no memory:
    the compiler makes it once more wherever it is read.
    """
    source: dict = {}
    found: set = set()
    for equation in equations:
        read = reads_of(equation)
        operands = variables(equation.invars)
        found.update(source.get(v, v) for v in read)
        if not read and len(operands) == len(equation.outvars) == 1 and not is_dear(equation):
            (x,), (z,) = operands, equation.outvars
            if size_in_bytes(x.aval) <= size_in_bytes(z.aval):
                source[z] = source.get(x, x)
    return found


def reads_of(equation: Any) -> list:
    """Returns the variables that the rule of an equation reads: all, if it does not say which."""
    rule = lookup(equation.primitive)
    if not isinstance(rule, Row):
        return [] if isinstance(rule, Constant) else variables(equation.invars)
    active = [not isinstance(atom, Literal) for atom in equation.invars]
    names = {n for column in rule.wanted(active) for n in set(column.reads) - column.shapes}
    read = [v for n, v in zip(OPERANDS, equation.invars, strict=False) if n in names]
    return variables([*read, *(equation.outvars if "z" in names else ())])


@dataclasses.dataclass(frozen=True)
class Lifetimes:
    """Which values a list of equations makes, and where each is read last.

    Attributes:
      made, read, size: of every value, in order: the place of the equation that makes it, of the
        last one that reads it, and its bytes.
      dear: whether it is dear to compute.
      asked: whether the way back of these equations reads it.
    """

    made: np.ndarray
    read: np.ndarray
    size: np.ndarray
    dear: np.ndarray
    asked: np.ndarray

    @classmethod
    def of(cls, equations: Sequence, outputs: Sequence) -> "Lifetimes":
        """Returns those of the values that the equations make; the outputs are read at the end."""
        made, size, costly = {}, {}, {}
        for place, equation in enumerate(equations):
            for v in equation.outvars:
                made[v], size[v], costly[v] = place, size_in_bytes(v.aval), is_dear(equation)
        read = dict(made)
        for place, equation in enumerate(equations):
            read.update((v, place) for v in variables(equation.invars) if v in made)
        read.update((v, len(equations)) for v in variables(outputs) if v in made)
        asked = read_back(equations)
        columns = [[each[v] for v in made] for each in (made, read, size, costly)]
        return cls(*map(np.array, [*columns, [v in asked for v in made]]))

    def boundaries(self, count: int, keeping: Keeping) -> list[int]:
        """Returns where to cut into a number of segments: where little crosses, about evenly."""
        length = int(self.made[-1]) + 1
        crossing = np.zeros(length + 1)
        np.add.at(crossing, self.made, self.size)
        np.subtract.at(crossing, np.minimum(self.read, length), self.size)
        crossing = np.cumsum(crossing)[:length]
        within = np.cumsum(np.bincount(self.made, self.inner(keeping), length))
        found: list[int] = []
        for number in range(1, count):
            low, high = (
                int(np.searchsorted(within, within[-1] * (number + half) / count))
                for half in (-0.4, 0.4)
            )
            place = low + int(np.argmin(crossing[low : high + 1]))
            if place < length - 1 and place not in found:
                found.append(place)
        return [place + 1 for place in found]

    def inner(self, keeping: Keeping) -> np.ndarray:
        """Returns the bytes of every value that is there again, zero for one that is kept."""
        again = np.where(self.asked, self.size, 0)
        return np.where(self.dear, 0, again) if keeping.cheapest else again

    def bytes(self, boundaries: Sequence[int], keeping: Keeping) -> int:
        """Returns what is kept, and what the largest segment computes again, together."""
        kept = self.dear & keeping.cheapest
        for place in boundaries:
            kept = kept | ((self.made < place) & (self.read >= place))
        segment = np.searchsorted(boundaries, self.made, side="right")
        again = np.where(kept | ~self.asked, 0, self.size)
        again = np.bincount(segment, again, len(boundaries) + 1)
        return int(self.size[kept].sum() + again.max())


def cut_points(equations: Sequence, outputs: Sequence, keeping: Keeping) -> list[int]:
    """Returns the places where to begin segments, of those that are tried the best for memory."""
    lifetimes = Lifetimes.of(equations, outputs)
    if not len(lifetimes.made):
        return []
    tried = [lifetimes.boundaries(n, keeping) for n in COUNTS if n <= len(equations)]
    return min(tried, key=lambda places: lifetimes.bytes(places, keeping))


def groups(equations: Sequence, outputs: Sequence, here: Keeping) -> list[list]:
    """Returns the equations in segments; a loop is one by itself."""
    found: list[list] = []
    straight: list = []

    def flush(later: Sequence) -> None:
        ends = variables(outputs) + [v for e in later for v in variables(e.invars)]
        places = [0, *cut_points(straight, ends, here), len(straight)]
        found.extend(straight[a:b] for a, b in itertools.pairwise(places) if a < b)
        straight.clear()

    for place, equation in enumerate(equations):
        if is_loop(equation):
            flush(equations[place:])
            found.append([equation])
        else:
            straight.append(equation)
    flush([])
    return found


@dataclasses.dataclass(frozen=True)
class Segment:
    """A few equations under a checkpoint: what they read of others, what others read of them."""

    run: Callable
    reads: list
    makes: list

    @classmethod
    def of(cls, equations: Sequence, wanted: set, policy: Partition, fenced: bool) -> "Segment":
        """Returns the segment of some equations that makes those of the wanted values it can."""
        made = {v for e in equations for v in e.outvars}
        reads = list(dict.fromkeys(v for e in equations for v in variables(e.invars)))
        reads = [v for v in reads if v not in made]
        makes = [v for e in equations for v in e.outvars if v in wanted]

        def run(*values: Any) -> list:
            return evaluate(equations, dict(zip(reads, values, strict=True)), makes)

        return cls(jax.checkpoint(run, policy=policy, prevent_cse=fenced), reads, makes)


def segmented(closed: Any, here: Keeping, loops: Keeping) -> Callable:
    """Returns a closed jaxpr as a function of its operands that is differentiated in segments.

    Args:
      closed: a closed jaxpr.
      here: what may be kept of a segment.
      loops: what may be kept of a trip of a loop.
    """
    closed = flattened(closed)
    jaxpr, policy = closed.jaxpr, Partition(here, loops)
    wanted = set(variables(jaxpr.outvars))
    segments: list[Segment] = []
    for group in reversed(groups(jaxpr.eqns, jaxpr.outvars, here)):
        loop = len(group) == 1 and is_loop(group[0])
        own = dataclasses.replace(policy, here=Keeping()) if loop else policy
        segments.append(Segment.of(group, wanted, own, not loop))
        wanted.update(segments[-1].reads)

    def run(*operands: Any) -> list:
        at_hand = bound(closed, operands)
        for segment in reversed(segments):
            values = segment.run(*(at_hand[v] for v in segment.reads))
            at_hand.update(zip(segment.makes, values, strict=True))
        return evaluate([], at_hand, jaxpr.outvars)

    return run
