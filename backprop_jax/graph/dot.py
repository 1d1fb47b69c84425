"""The picture as text for Graphviz: values and operations, and what flows back between them."""

from typing import Any

from backprop_jax.graph import folding
from backprop_jax.graph.expressions import number
from backprop_jax.graph.values import Operation, Variable, shown

#: Boxes at most; a program of more operations is folded. One of fewer is drawn from left to right.
BOXES, WIDE = 60, 8
VALUE, OPERAND, OPERATION, FOLDED = "#dbeafe", "#bbf7d0", "#fde68a", "#e5e7eb"

HEAD = """\
digraph backward {
  rankdir=%s; ranksep=0.3; nodesep=0.2; bgcolor=white;
  node [fontname="Helvetica", fontsize=11, style="filled,rounded", penwidth=0.7];
  edge [fontname="Helvetica", fontsize=9, penwidth=0.7, arrowsize=0.6, color="#4b5563"];
"""


def text(explanation: Any, linked: bool = False) -> str:
    """Returns the picture in Graphviz's language.

    `linked`: each box of a folded program is a link to where the page lists its steps.
    """
    whole = len(explanation.operations) <= BOXES // 2
    lines = drawn(explanation) if whole else drawn_folded(explanation, linked)
    head = HEAD % ("LR" if len(explanation.operations) <= WIDE else "TB")
    return head + "".join(f"  {line}\n" for line in lines) + "}\n"


def drawn(explanation: Any) -> list[str]:
    """Returns every value and every operation."""
    lines = [value(variable) for variable in explanation.variables]
    for operation in explanation.operations:
        me = f"op{operation.step.number}"
        lines.append(f"{me} [shape=ellipse, fillcolor={quoted(OPERATION)}, {about(operation)}];")
        for place, operand in enumerate(operation.operands):
            if type(operand) is Variable:
                told = backward(operand, operation, place)
                lines.append(f"v{operand.number} -> {me} [label={quoted(told)}];")
        lines += [f"{me} -> v{variable.number};" for variable in operation.results]
    return lines


def value(variable: Variable) -> str:
    """Returns the box of a value: what it is called, the value, the gradient and its sum."""
    gradient = "grad 0" if variable.cotangent is None else f"grad {size(variable.cotangent)}"
    shares = [s.value for s in variable.shares if s.operation is not None]
    if len(shares) > 1:
        gradient += " = " + " + ".join(map(size, shares))
    rows = [variable.label, brief(variable.value), gradient]
    color = OPERAND if variable.operation is None else VALUE
    label = quoted("\n".join(row for row in rows if row))
    return f"v{variable.number} [shape=box, fillcolor={quoted(color)}, label={label}];"


def brief(x: Any) -> str:
    """Returns a number, or of an array its type and norm."""
    kind, _, rest = shown(x).partition(" ")
    return f"{kind} {size(x)}" if rest else kind


def size(x: Any) -> str:
    """Returns a number, or of an array its norm."""
    if "norm " not in (text := shown(x)):
        return text
    return f"|{text.partition('norm ')[2]}|"


def about(operation: Operation) -> str:
    """Returns the label of an operation, and where it is written as its tip."""
    constants = [
        number(x)
        for x in operation.operands
        if type(x) is not Variable and not getattr(x, "shape", ()) and is_plain(x)
    ]
    label = SIGNS.get(operation.name, operation.name)
    if operation.name == "integer_pow":
        label = f"^{operation.step.params['y']}"
    label = " ".join([label, *constants])
    return f"label={quoted(label)}, tooltip={quoted(operation.step.where())}"


SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−", "dot_general": "dot"}


def is_plain(x: Any) -> bool:
    """Returns whether a constant is a number that can be shown."""
    return isinstance(x, int | float) or getattr(getattr(x, "dtype", None), "kind", "") in "iuf"


def backward(operand: Variable, operation: Operation, place: int) -> str:
    """Returns the label of an edge: the local derivative, and what flows back."""
    for share in operand.shares:
        if share.operation is operation and share.place == place:
            if share.factor is None:
                return f"← {size(share.value)}"
            return f"× {number(share.factor.value)}\n← {size(share.value)}"
    return ""


def drawn_folded(explanation: Any, linked: bool) -> list[str]:
    """Returns groups of steps in the place of steps, and arguments in the place of their leaves."""
    found = folding.folded(explanation.operations, BOXES - 10)
    home = {id(o): f"g{i}" for i, group in enumerate(found) for o in group.operations}
    lines = []
    for i, group in enumerate(found):
        arriving, leaving = group.flow
        flow = f"grad |{arriving:.3g}| in, |{leaving:.3g}| out"
        trips = [part for part in group.path[:-2] if " trip " in part]
        label = quoted("\n".join([*trips, *group.path[-2:], group.about, flow]))
        tip = "tooltip=" + quoted(group.operations[0].step.where())
        tip += f', URL="#g{i}"' if linked else ""
        lines.append(f"g{i} [shape=box, fillcolor={quoted(FOLDED)}, label={label}, {tip}];")
    arguments: dict[str, list[Variable]] = {}
    for variable in explanation.operands:
        arguments.setdefault(variable.name.partition("[")[0], []).append(variable)
    ends = {v.number: f"a{i}" for i, each in enumerate(arguments.values()) for v in each}
    for i, (title, each) in enumerate(arguments.items()):
        norm = folding.norm([v.cotangent for v in each if v.cotangent is not None])
        arrays = f"{len(each)} arrays" if len(each) > 1 else brief(each[0].value)
        label = quoted(f"{title}\n{arrays}\ngrad |{norm:.4g}|")
        lines.append(f"a{i} [shape=box, fillcolor={quoted(OPERAND)}, label={label}];")
    lines += edges(found, home, ends)
    last = explanation.result
    lines += [value(last), f"{home[id(last.operation)]} -> v{last.number};"]
    return lines


def edges(found: list, home: dict, ends: dict) -> list[str]:
    """Returns what flows between groups and from arguments, with the norm of what comes back."""
    flows: dict[tuple[str, str], list] = {}
    for group in found:
        me = home[id(group.operations[0])]
        inside = {id(o) for o in group.operations}
        for variable in group.incoming:
            made = variable.operation
            start = ends[variable.number] if made is None else home[id(made)]
            told = [s.value for s in variable.shares if id(s.operation) in inside]
            flows.setdefault((start, me), []).extend(told)
    return [
        f"{start} -> {end} [label={quoted(f'← |{folding.norm(told):.3g}|')}];"
        for (start, end), told in flows.items()
    ]


def quoted(text: str) -> str:
    """Returns text as Graphviz takes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
