"""The picture as data: boxes within boxes, and what flows back between them.

A small program is drawn in full, values and operations as nodes of their own. Of a larger one every
step is one node, operation and value together, and what belongs together is folded; `seen` says
what is drawn while some folds are open and others are not. The page does the same by a script.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from backprop_jax.graph.expressions import number
from backprop_jax.graph.summaries import Summary, shown, summary
from backprop_jax.graph.values import Operation, Share, Variable

#: What stands for a primitive, in the place of its name; and those whose constants are shown.
SIGNS = {
    "add": "+",
    "sub": "−",
    "mul": "×",
    "div": "÷",
    "neg": "−",
    "dot_general": "dot",
    "reduce_sum": "sum",
    "reduce_max": "max",
    "reduce_min": "min",
    "broadcast_in_dim": "broadcast",
    "select_n": "where",
    "dynamic_slice": "slice",
    "convert_element_type": "cast",
}
WITH_CONSTANTS = ("add", "sub", "mul", "div", "max", "min", "pow", "atan2", "rem")


@dataclasses.dataclass(eq=False)
class Node:
    """A box.

    Attributes:
      name: that edges know it by.
      parent: the name of the fold that it is in; "" for none.
      kind: `operand`, `value`, `operation`, `step` or `fold`.
      title: its first line.
      lines: the others.
      details: what else is known, as pairs of texts.
      summaries: of its value and its cotangent.
      trips: the norm of the cotangent in each trip of the loop it is in.
      grad: the norm of the cotangent; None if there is none.
      opened: whether a fold is open at first.
      is_result: whether it is what the function returns.
    """

    name: str
    parent: str
    kind: str
    title: str
    lines: list[str]
    details: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    summaries: list[tuple[str, Summary]] = dataclasses.field(default_factory=list)
    trips: list[float] = dataclasses.field(default_factory=list)
    grad: float | None = None
    opened: bool = False
    is_result: bool = False


@dataclasses.dataclass(frozen=True)
class Edge:
    """What a box hands to another, and what flows back.

    Attributes:
      start, end: names of boxes.
      value: a number that tells what is handed on from other things of the same box.
      norm: of what flows back.
      label: of the edge, where it is drawn as it is.
      again: whether it goes to the next trip of a loop.
    """

    start: str
    end: str
    value: int
    norm: float
    label: str
    again: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """The boxes, in the order of the way forward, and the edges.

    Attributes:
      nodes, edges: what is drawn with all folds open.
      sums: for a value and a fold with several users of it, the norm of what flows back in all.
    """

    nodes: list[Node]
    edges: list[Edge]
    sums: dict[tuple[int, str], float]

    def seen(self, opened: Iterable[str] | None = None) -> tuple[list[Node], list[Edge]]:
        """Returns the boxes and edges if these folds are open; default: those that are at first.

        An open fold is among the boxes: it is drawn as a frame.
        """
        chosen = {n.name for n in self.nodes if n.opened} if opened is None else set(opened)
        stands_for: dict[str, str] = {"": ""}
        drawn = []
        for node in self.nodes:
            holder = stands_for[node.parent]
            hidden = holder not in ("", node.parent) or (holder and holder not in chosen)
            stands_for[node.name] = holder if hidden else node.name
            if not hidden:
                drawn.append(node)
        flows: dict[tuple[str, str, bool], dict[int, list[Edge]]] = {}
        for edge in self.edges:
            start, end = stands_for[edge.start], stands_for[edge.end]
            if start != end:
                values = flows.setdefault((start, end, edge.again), {})
                values.setdefault(edge.value, []).append(edge)
        return drawn, [self.together(*key, values) for key, values in flows.items()]

    def together(self, start: str, end: str, again: bool, values: dict) -> Edge:
        """Returns the edge that stands for several."""
        each = [edge for edges in values.values() for edge in edges]
        if len(each) == 1:
            return dataclasses.replace(each[0], start=start, end=end)
        parts = [
            edges[0].norm
            if len(edges) == 1
            else self.sums.get((value, end), norm([e.norm for e in edges]))
            for value, edges in values.items()
        ]
        total = norm(parts)
        return Edge(start, end, each[0].value, total, f"← |{total:.3g}|", again)


def whole(explanation: Any) -> Picture:
    """Returns every value and every operation."""
    nodes, edges = [value(variable) for variable in explanation.variables], []
    for operation in explanation.operations:
        me = f"op{operation.step.number}"
        nodes.append(Node(me, "", "operation", sign(operation), [], details(operation)))
        for place, operand in enumerate(operation.operands):
            if type(operand) is Variable:
                told, size = backward(operand, operation, place)
                edges.append(Edge(f"v{operand.number}", me, operand.number, size, told))
        for result in operation.results:
            edges.append(Edge(me, f"v{result.number}", result.number, 0.0, ""))
    return Picture(nodes, edges, {})


def value(variable: Variable, parent: str = "") -> Node:
    """Returns the box of a value: what it is called, the value, the gradient and its sum."""
    told = "grad 0" if variable.cotangent is None else f"grad {size(variable.cotangent)}"
    shares = [s.value for s in variable.shares if s.operation is not None]
    if len(shares) > 1 and len(shares) <= 6:
        told += " = " + " + ".join(map(size, shares))
    elif len(shares) > 6:
        told += f", the sum of {len(shares)}"
    lines = [brief(variable.value), told]
    kind = "operand" if variable.operation is None else "value"
    title = variable.label
    if not title:
        title, *lines = lines
    node = Node(f"v{variable.number}", parent, kind, title, lines)
    node.is_result = variable.is_result
    node.summaries = summaries(variable.value, variable.cotangent)
    node.details = [("value", shown(variable.value)), ("gradient", shown(variable.cotangent))]
    node.details += contributions(variable.shares)
    node.grad = None if variable.cotangent is None else norm([variable.cotangent])
    return node


def contributions(shares: Sequence[Share]) -> list[tuple[str, str]]:
    """Returns what a cotangent is the sum of, where it is a sum."""
    told = [
        (f"from {s.operation.name} at {s.operation.step.written_at}", shown(s.value))
        for s in shares
        if s.operation is not None
    ]
    return told if len(told) > 1 else []


def summaries(value: Any, cotangent: Any) -> list[tuple[str, Summary]]:
    """Returns the summaries of an array and its cotangent; none of a number."""
    pairs = [("value", value), ("gradient", cotangent)]
    return [(name, summary(x)) for name, x in pairs if x is not None and np.shape(x)]


def brief(x: Any) -> str:
    """Returns a number, or of an array its type and norm."""
    kind, _, rest = shown(x).partition(" ")
    return f"{kind} {size(x)}" if rest else kind


def size(x: Any) -> str:
    """Returns a number, or of an array its norm."""
    if "norm " not in (text := shown(x)):
        return text
    return f"|{text.partition('norm ')[2]}|"


def norm(values: Iterable) -> float:
    """Returns the norm of several arrays together."""
    squares = (np.abs(np.asarray(x).astype(np.complex128)) ** 2 for x in values)
    return float(np.sqrt(sum(float(s.sum()) for s in squares)))


def sign(operation: Operation) -> str:
    """Returns what stands for an operation: `×`, `^3`, `tanh`; with its constants."""
    constants = [
        number(x)
        for x in operation.operands
        if type(x) is not Variable and not getattr(x, "shape", ()) and is_plain(x)
    ]
    if operation.name not in WITH_CONSTANTS:
        constants = []
    label = SIGNS.get(operation.name, operation.name)
    if operation.name == "integer_pow":
        label = f"^{operation.step.params['y']}"
    return " ".join([label, *constants])


def is_plain(x: Any) -> bool:
    """Returns whether a constant is a number that can be shown."""
    return isinstance(x, int | float) or getattr(getattr(x, "dtype", None), "kind", "") in "iuf"


def details(operation: Operation) -> list[tuple[str, str]]:
    """Returns what else is known of an operation."""
    pairs = [
        ("written at", operation.step.where()),
        ("operation", operation.step.equation()),
        ("formula", "; ".join(str(v.formula) for v in operation.results)),
        ("kept for the way back", operation.kept),
    ]
    return [pair for pair in pairs if pair[1]]


def backward(operand: Variable, operation: Operation, place: int) -> tuple[str, float]:
    """Returns the label of an edge, the local derivative and what flows back; and its norm."""
    for share in operand.shares:
        if share.operation is operation and share.place == place:
            told = f"← {size(share.value)}"
            if share.factor is not None:
                told = f"× {number(share.factor.value)}\n{told}"
            return told, norm([share.value])
    return "", 0.0
