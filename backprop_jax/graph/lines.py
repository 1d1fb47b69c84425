"""The document: each step beside what its rule computes on the way back, and what is kept."""

import html as markup
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from backprop_jax.engine.registry import OPERANDS
from backprop_jax.engine.registry import Row as Rule
from backprop_jax.graph.chain import differential
from backprop_jax.graph.expressions import (
    ATOM,
    PRODUCT,
    QUOTIENT,
    Expression,
    called,
    name,
    number,
    of_equation,
)
from backprop_jax.graph.picture import is_plain
from backprop_jax.graph.programs import program_of
from backprop_jax.graph.summaries import shown
from backprop_jax.graph.tree import Fold, Row
from backprop_jax.graph.values import Operation, Variable
from backprop_jax.memory import MemoryPlan, in_bytes

#: Steps of a fold that is open from the start, at most.
FEW = 6

COLUMNS = ("forward", "is", "backward", "kept, and why", "written at")


class Line(NamedTuple):
    """A step, forward and backward.

    Attributes:
      forward: `h = tanh(x)`.
      value: the summary of its result.
      backward: `dx += dh·(1 - h²)`, one for each operand.
      kept: bytes kept of its results for the way back, and why.
      place: where it is written.
    """

    forward: str
    value: str
    backward: list[str]
    kept: str
    place: str


def line_of(operation: Operation, plan: MemoryPlan | None) -> Line:
    """Returns the line of a step."""
    step, first = operation.step, operation.results[0]
    names = ", ".join(v.name or str(v.display) for v in operation.results)
    rules = backward(operation)
    told = [
        f"{differential(x)} += {rule}"
        for x, rule in zip(operation.operands, rules, strict=True)
        if type(x) is Variable and rule
    ]
    forward = f"{names} = {first.formula}" if names != str(first.formula) else names
    return Line(forward, shown(first.value), told, kept(operation, plan), step.where())


def kept(operation: Operation, plan: MemoryPlan | None) -> str:
    """Returns what of a step is kept by the plan; without one, what its rule asks for."""
    if plan is None:
        return operation.kept
    place, kind = operation.step.written_at, str(operation.step.primitive)
    found = [e for e in plan.kept if e.written_at == place and e.made_by == kind]
    return "; ".join(
        f"{each.kind}: {in_bytes(each.bytes)}{f' of {each.count}' * (each.count > 1)}, {each.why}"
        for each in found
    )


def backward(operation: Operation) -> list[str]:
    """Returns what each operand's cotangent gets, as the rule computes it; "" where not told."""
    step, node = operation.step, operation.step.node
    after = differential(operation.results[0])
    if any(factor is not None for factor in operation.factors):
        return ["" if factor is None else times(after, factor) for factor in operation.factors]
    told = [
        "" if slot is None else f"{operation.name}ᵀ({after})"  # What has no formula.
        for slot in step.slots
    ]
    kept = node.kept or {}
    if type(node.rule) is not Rule or len(operation.results) != 1 or type(kept) is not dict:
        return told
    shown_as = {letter: display(x) for letter, x in zip(OPERANDS, operation.operands, strict=False)}
    shown_as["z"] = str(operation.results[0].name or operation.results[0].display)
    if not set(kept) <= set(shown_as):
        return told
    closed, given = program_of(
        node, jax.ShapeDtypeStruct(node.result_avals[0].shape, ct_type(node))
    )
    operands = [*(name(shown_as[letter]) for letter in kept), name(after)]
    for place, formula in zip(given, read(closed.jaxpr, operands), strict=True):
        if len(formula) <= LONGEST:
            told[place] = formula
    return told


#: A formula that is longer is not written out.
LONGEST = 90


def ct_type(node: Any) -> Any:
    """Returns the dtype of the cotangent of a step's result."""
    return node.result_avals[0].dtype


def times(after: str, factor: Any) -> str:
    """Returns a cotangent times a factor."""
    text = str(factor)
    text = f"({text})" if " " in text or text.startswith("-") else text
    return after if text == "1" else f"{after} · {text}"


def display(x: Any) -> str:
    """Returns what stands for an operand."""
    if type(x) is Variable:
        return str(x.name or x.display)
    return number(x) if not getattr(x, "shape", ()) and is_plain(x) else "…"


def read(jaxpr: Any, operands: Sequence[Expression]) -> list[str]:
    """Returns the formulas of the results of a rule's program; what is no number in it is `…`."""
    known: dict = {v: name("…") for v in jaxpr.constvars}
    known.update(zip(jaxpr.invars, operands, strict=True))

    def atom(x: Any) -> Expression:
        if type(x) is not Literal:
            return known[x]
        return Expression(coefficient=float(x.val)) if jax.numpy.isrealobj(x.val) else name("…")

    for equation in jaxpr.eqns:
        kind = str(equation.primitive)
        inputs = [atom(x) for x in equation.invars]
        if kind == "dot_general":
            found = [dot(inputs, equation)]
        elif kind == "transpose" and len(equation.invars[0].aval.shape) == 2:
            found = [turned(inputs[0])]
        elif kind == "reduce_sum":
            found = [called("sum", inputs[0])]
        elif any(getattr(p, "jaxpr", None) is not None for p in equation.params.values()):
            found = [Expression(text=f"{equation.params.get('name', kind)}(…)")]
        else:
            found = of_equation(equation.primitive, equation.params, inputs)
        known.update(zip(equation.outvars, found, strict=False))
    return [str(atom(x)) for x in jaxpr.outvars]


def dot(operands: Sequence[Expression], equation: Any) -> Expression:
    """Returns a product of matrices as `dz @ wᵀ`; any other as a call."""
    (left, right), batched = equation.params["dimension_numbers"]
    shapes = [len(v.aval.shape) for v in equation.invars]
    if shapes != [2, 2] or len(left) != 1 or any(batched):
        return called("dot_general", *operands)
    x, y = operands
    x, y = (turned(x) if left[0] == 0 else x), (turned(y) if right[0] == 1 else y)
    return Expression(text=f"{x.within(PRODUCT)} @ {y.within(ATOM)}", binds=QUOTIENT)


def turned(x: Expression) -> Expression:
    """Returns a matrix transposed."""
    return name(f"{x.within(ATOM)}ᵀ")


def table(rows: Sequence[Row], plan: MemoryPlan | None) -> str:
    """Returns steps as a table of HTML."""
    head = "".join(f"<th>{title}</th>" for title in COLUMNS)
    lines = []
    for row in rows:
        line = line_of(row.first, plan)
        trips = f" ({len(row.operations)} trips)" if len(row.operations) > 1 else ""
        texts = [[line.forward], [line.value], line.backward, [line.kept], [line.place + trips]]
        cells = ["<br>".join(markup.escape(text) for text in cell) for cell in texts]
        forward, value, back, kept, place = cells
        lines.append(
            f"<tr><td><code>{forward}</code></td><td>{value}</td><td><code>{back}</code></td>"
            f'<td>{kept}</td><td class="where">{place}</td></tr>'
        )
    return f"<table><tr>{head}</tr>\n" + "\n".join(lines) + "\n</table>"


def document(root: Fold, plan: MemoryPlan | None) -> list[str]:
    """Returns the steps as HTML, forward beside backward, folded as in the picture."""
    rows = [child for child in root.children if type(child) is Row]
    parts = [table(rows, plan)] if rows else []
    for child in root.children:
        if type(child) is Fold and child.kind != "operands":
            about = f" · {markup.escape(child.about)}" if child.about else ""
            inner = "\n".join(document(child, plan))
            head = f"<summary>{markup.escape(child.title)}{about}</summary>"
            few = " open" * (sum(1 for _ in child.rows()) <= FEW)
            parts.append(f"<details{few}>{head}\n{inner}\n</details>")
    return parts
