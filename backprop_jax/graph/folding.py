"""Large programs made small: steps that belong together become one box.

What a step belongs to is a path: loops and compiled functions around it, the user's named scopes,
the function its line is in, the line. Steps that follow each other and share the first parts of
their paths are one group; as many parts count as leave no more groups than wanted.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from backprop_jax.graph.values import Operation, Variable


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Steps that follow each other and belong together.

    Attributes:
      path: what they belong to, the outermost first.
      operations: the steps.
    """

    path: tuple[str, ...]
    operations: tuple[Operation, ...]

    @property
    def title(self) -> str:
        """What it is called: the last part of what its steps belong to."""
        alone = self.operations[0]
        return " / ".join(self.path) or (alone.name if len(self.operations) == 1 else "all")

    @property
    def about(self) -> str:
        """How many steps, and of which kinds the most."""
        kinds: dict[str, int] = {}
        for operation in self.operations:
            kinds[operation.name] = kinds.get(operation.name, 0) + 1
        most = sorted(kinds, key=lambda kind: -kinds[kind])[:3]
        steps = len(self.operations)
        return f"{steps} step{'s' * (steps > 1)}: {', '.join(most)}"

    @property
    def incoming(self) -> list[Variable]:
        """The variables that come from outside."""
        made = {v.number for o in self.operations for v in o.results}
        found = {x.number: x for o in self.operations for x in o.operands if type(x) is Variable}
        return [x for number, x in found.items() if number not in made]

    @property
    def flow(self) -> tuple[float, float]:
        """The norm of the cotangents that arrive, and of those that it hands on."""
        inside = {id(o) for o in self.operations}
        arriving = [
            s.value
            for o in self.operations
            for v in o.results
            for s in v.shares
            if id(s.operation) not in inside
        ]
        leaving = [s.value for v in self.incoming for s in v.shares if id(s.operation) in inside]
        return norm(arriving), norm(leaving)

    @property
    def told(self) -> str:
        """That in words."""
        return "cotangents of norm {:.4g} in, {:.4g} out".format(*self.flow)


def norm(values: Sequence) -> float:
    """Returns the norm of several arrays together."""
    squares = (np.abs(np.asarray(x).astype(np.complex128)) ** 2 for x in values)
    return float(np.sqrt(sum(float(s.sum()) for s in squares)))


def belongs_to(operation: Operation) -> tuple[str, ...]:
    """Returns what a step belongs to, the outermost first."""
    step = operation.step
    names = tuple(part for part in step.names.split("/") if part)
    function = step.source_function.rpartition("<locals>.")[2]
    file, line = step.line
    where = f"{file.rpartition('/')[2]}:{line}"
    return (*map(str, step.scopes), *names, function, where)


def groups(operations: Sequence[Operation], depth: int) -> list[Group]:
    """Returns the groups if so many parts of the paths count."""
    runs = itertools.groupby(operations, lambda o: belongs_to(o)[:depth])
    return [Group(path, tuple(run)) for path, run in runs]


def folded(operations: Sequence[Operation], most: int) -> list[Group]:
    """Returns the finest groups of which there are no more than this."""
    if len(operations) <= most:
        return [Group((), (o,)) for o in operations]
    deepest = max(len(belongs_to(o)) for o in operations)
    for depth in range(deepest, 0, -1):
        if len(found := groups(operations, depth)) <= most:
            return found
    return groups(operations, 0)
