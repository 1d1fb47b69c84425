"""The picture of a larger program: what belongs together in one box, to be unfolded."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backprop_jax.graph.opening import opened
from backprop_jax.graph.picture import (
    Edge,
    Node,
    Picture,
    backward,
    brief,
    contributions,
    details,
    norm,
    sign,
    size,
    summaries,
    value,
    whole,
)
from backprop_jax.graph.summaries import summary
from backprop_jax.graph.tree import Fold, Row, variables_in
from backprop_jax.graph.values import Operation, Share, Variable

#: Boxes at first, if some are left out; steps up to which every one is seen.
BOXES, WHOLE = 20, 30


def picture(explanation: Any) -> Picture:
    """Returns the picture of an explanation."""
    if len(explanation.operations) <= WHOLE and explanation.is_scalar:
        return whole(explanation)
    return Folded(explanation).picture()


class Folded:
    """Makes the picture of a program that is folded."""

    def __init__(self, explanation: Any) -> None:
        self.root: Fold = explanation.tree
        self.opened = opened(self.root, BOXES, WHOLE)
        self.nodes: list[Node] = []
        self.home: dict[int, tuple[str, int]] = {}  # of a variable: its box and its value's number
        self.above: dict[str, list[str]] = {"": []}
        self.rows: list[tuple[str, Row]] = []

    def picture(self) -> Picture:
        """Returns it."""
        for child, count in zip(self.root.children, numbered(self.root.children), strict=True):
            self.add(child, "", count)
        edges, sums = self.edges()
        return Picture(self.nodes, edges, sums)

    def add(self, child: Any, parent: str, count: str = "") -> None:
        """Adds a box, and those in it."""
        if type(child) is Variable:
            node = value(child, parent)
            self.home[id(child)] = node.name, len(self.home)
        elif type(child) is Row:
            node = step(child, parent)
            self.rows.append((node.name, child))
            numbers: dict[int, int] = {}
            for operation in child.operations:
                for i, result in enumerate(operation.results):
                    self.home[id(result)] = node.name, numbers.setdefault(i, len(self.home))
        else:
            node = self.fold(child, parent)
            if count:
                node.title += f" · {count}"
        self.nodes.append(node)
        self.above[node.name] = [*self.above[parent], node.name]
        if type(child) is Fold:
            for inner, told in zip(child.children, numbered(child.children), strict=True):
                self.add(inner, node.name, told)

    def fold(self, fold: Fold, parent: str) -> Node:
        """Returns the box of a fold."""
        node = Node(f"g{len(self.nodes)}", parent, "fold", fold.title, [])
        node.opened = id(fold) in self.opened
        operations = [o for row in fold.rows() for o in row.operations]
        operands = variables_in(fold)
        gradient = norm(v.cotangent for v in operands if v.cotangent is not None)
        if fold.kind == "operands":
            node.kind, node.grad = "operands", gradient
            node.lines = [f"{len(operands)} arrays, grad |{gradient:.3g}|"]
            return node
        if fold.kind == "slices":
            node.kind = "operands"
        count = len(list(fold.rows()))
        arriving, leaving = flow(operations)
        node.grad = arriving
        if fold.kind == "loop" and fold.about != fold.title:
            node.lines.append(fold.about)
        arrays = f", {len(operands)} array{'s' * (len(operands) > 1)}" if operands else ""
        node.lines.append(f"{count} step{'s' * (count > 1)}{arrays}")
        node.lines.append(
            f"grad |{arriving:.3g}|" + (f", arrays |{gradient:.3g}|" * bool(operands))
        )
        kinds: dict[str, int] = {}
        for operation in operations:
            kinds[operation.name] = kinds.get(operation.name, 0) + 1
        most = sorted(kinds, key=lambda kind: -kinds[kind])[:5]
        node.details = [
            ("folded by", fold.about or FOLDED_BY.get(fold.kind, fold.kind)),
            ("begins at", fold.where),
            ("most of its steps", ", ".join(most)),
            ("gradient that arrives", f"|{arriving:.4g}|"),
            ("gradient that it hands on", f"|{leaving:.4g}|"),
        ]
        return node

    def edges(self) -> tuple[list[Edge], dict[tuple[int, str], float]]:
        """Returns the edges, and the sums of what flows back from within a fold."""
        order = {name: i for i, (name, _) in enumerate(self.rows)}
        flows: dict[tuple[str, str, int, bool], list[tuple[Variable, Operation, int]]] = {}
        for end, row in self.rows:
            for operation in row.operations:
                for place, operand in enumerate(operation.operands):
                    if type(operand) is Variable:
                        start, number = self.home[id(operand)]
                        again = order.get(start, -1) >= order[end]
                        key = start, end, number, again
                        flows.setdefault(key, []).append((operand, operation, place))
        found, users = [], {}
        for (start, end, number, again), uses in flows.items():
            if len(uses) == 1:
                label, total = backward(*uses[0])
            else:
                total = summed(uses)
                label = f"← |{total:.3g}|"
            found.append(Edge(start, end, number, total, label, again))
            for above in self.above[end][:-1]:
                if above not in self.above[start]:
                    users.setdefault((number, above), []).append(uses)
        sums = {
            key: summed([use for uses in each for use in uses])
            for key, each in users.items()
            if len(each) > 1
        }
        return found, sums


FOLDED_BY = {"call": "call of a function", "line": "line", "part": "lines in a row"}


def numbered(children: Sequence) -> list[str]:
    """Returns for each child its count among those of its title: `3 of 12`."""
    titles = [c.title if type(c) is Fold else None for c in children]
    return [
        f"{titles[: i + 1].count(title)} of {titles.count(title)}"
        if title is not None and titles.count(title) > 1
        else ""
        for i, title in enumerate(titles)
    ]


def flow(operations: Sequence[Operation]) -> tuple[float, float]:
    """Returns the norm of the cotangents that arrive at steps, and of those they hand on."""
    inside = {id(o) for o in operations}
    made = {id(v) for o in operations for v in o.results}
    arriving = [
        total([s for s in v.shares if id(s.operation) not in inside])
        for o in operations
        for v in o.results
    ]
    incoming = {
        id(x): x
        for o in operations
        for x in o.operands
        if type(x) is Variable and id(x) not in made
    }
    leaving = [total([s for s in x.shares if id(s.operation) in inside]) for x in incoming.values()]
    return norm(arriving), norm(leaving)


def total(shares: Sequence[Share]) -> Any:
    """Returns the sum of contributions."""
    return sum((np.asarray(s.value).astype(np.complex128) for s in shares), np.zeros(()))


def summed(uses: Sequence[tuple[Variable, Operation, int]]) -> float:
    """Returns the norm of what flows back by several uses; those of one variable are added."""
    chosen: dict[int, list[Share]] = {}
    for variable, operation, place in uses:
        chosen.setdefault(id(variable), []).extend(
            s for s in variable.shares if s.operation is operation and s.place == place
        )
    return norm(total(shares) for shares in chosen.values())


def step(row: Row, parent: str) -> Node:
    """Returns the box of a step: the operation above, what it gives below."""
    operation, trips = row.first, len(row.operations)
    result = operation.results[0]
    node = Node(f"s{operation.step.number}", parent, "step", sign(operation), [])
    values = [o.results[0].value for o in row.operations]
    cotangents = [o.results[0].cotangent for o in row.operations]
    known = [g for g in cotangents if g is not None]
    node.grad = norm(known) if known else None
    together = np.stack([np.asarray(x) for x in values]) if trips > 1 else values[0]
    back = np.stack([np.asarray(g) for g in known]) if trips > 1 and known else None
    back = back if trips > 1 else cotangents[0]
    node.lines = [
        f"{result.name}  {brief(values[0]) if trips == 1 else each(values)}".strip(),
        "grad 0" if back is None else f"grad {size(back)}",
    ]
    node.is_result = any(v.is_result for o in row.operations for v in o.results)
    node.summaries = summaries(together, back)
    node.details = details(operation)
    if trips > 1:
        node.trips = [0.0 if g is None else norm([g]) for g in cotangents]
        node.details.insert(0, ("trips", f"{trips}, drawn once"))
    else:
        node.details += contributions(result.shares)
    return node


def each(values: Sequence) -> str:
    """Returns the type and norm of the values of a loop's trips."""
    kind = summary(values[0]).kind if np.shape(values[0]) else str(np.asarray(values[0]).dtype)
    return f"{kind} × {len(values)} |{norm(values):.4g}|"
