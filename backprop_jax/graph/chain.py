"""The way back as text: the chain rule factor by factor for numbers, a table for arrays."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from backprop_jax.graph.expressions import PRODUCT, Expression, number, product
from backprop_jax.graph.summaries import described, shown
from backprop_jax.graph.values import Factor, Share, Variable

#: Paths that are written out for one operand, and steps that are listed one by one.
MOST, LISTED = 16, 100


@dataclasses.dataclass(frozen=True)
class Path:
    """One way from the result to an operand.

    Attributes:
      variables: from the result to the operand.
      factors: the derivative of each by the next.
    """

    variables: tuple[Variable, ...]
    factors: tuple[Factor, ...]

    @property
    def product(self) -> float | complex:
        """The product of the factors."""
        return math.prod(f.value for f in self.factors)

    @property
    def formula(self) -> Expression | None:
        """The product as a formula, None if that of a factor is not known."""
        texts = [f.formula for f in self.factors]
        known = [text for text in texts if text is not None]
        return product(*known) if len(known) == len(texts) else None


def paths(result: Variable, operand: Variable, most: int = MOST) -> list[Path]:
    """Returns the paths from the result to an operand, as many at most.

    Raises:
      ValueError: a step on one of them is of arrays, and has no single number as derivative.
    """
    found: list[Path] = []

    def follow(way: list[Variable], factors: list[Factor]) -> None:
        if way[-1] is result:
            found.append(Path(tuple(reversed(way)), tuple(reversed(factors))))
        for share in way[-1].shares:
            if share.operation is None or len(found) >= most:
                continue
            if share.factor is None:
                raise ValueError(f"'{share.operation.name}' is of arrays: it has no single factor.")
            follow([*way, share.operation.results[0]], [*factors, share.factor])

    follow([operand], [])
    return found


def count(operand: Variable) -> int:
    """Returns how many paths there are, without walking them."""
    known: dict[int, int] = {}

    def to(variable: Variable) -> int:
        if variable.number not in known:
            ahead = (s.operation.results[0] for s in variable.shares if s.operation)
            starts = sum(s.operation is None for s in variable.shares)
            known[variable.number] = starts + sum(map(to, ahead))
        return known[variable.number]

    return to(operand)


def slope(of: Variable, by: Variable) -> str:
    """Returns `dz/dx`; with brackets where a name is a formula."""
    return f"{differential(of)}/{differential(by)}"


def differential(x: Variable) -> str:
    """Returns `dx`, `d(3x + 4y)`."""
    text = x.name or str(x.display)
    return f"d{text}" if x.name or re.fullmatch(r"[^\W\d]\w*", text) else f"d({text})"


def document(explanation: Any) -> str:
    """Returns the explanation as text."""
    if not explanation.is_scalar:
        return "\n".join(["forward", *forward(explanation), "", "backward", *table(explanation)])
    lines = ["forward", *forward(explanation), "", "backward"]
    for variable in reversed(explanation.variables):
        lines += [f"  {line}" for line in summed(explanation.result, variable)]
    for operand in explanation.operands:
        lines += ["", *written_out(explanation.result, operand)]
    return "\n".join(lines)


def forward(explanation: Any) -> Iterator[str]:
    """Yields a line for each value: what it is made of, what it is, and where it is written."""
    lines = explanation.operands, explanation.operations
    for variable in lines[0]:
        yield f"  {variable.name} = {described(variable.value)}"
    if len(lines[1]) > LISTED:
        yield from outline(explanation)
        return
    rows, arrays = [], not explanation.is_scalar
    for operation in lines[1]:
        for variable in operation.results:
            formula, value = str(variable.formula), described(variable.value)
            left = variable.name or str(variable.display)
            text = value if left == formula else f"{formula} = {value}"
            keeps = f", keeps {operation.kept}" if operation.kept and arrays else ""
            rows.append((f"  {left} = {text}", operation.step.where() + keeps))
    width = min(72, max((len(text) for text, _ in rows), default=0))
    yield from (f"{text:<{width}}  {place}".rstrip() for text, place in rows)


def outline(explanation: Any) -> Iterator[str]:
    """Yields the picture of a large program as lines, folded as it is there."""
    depth = {"": 0}
    for node in explanation.picture.seen()[0]:
        depth[node.name] = depth[node.parent] + 1
        if node.kind != "operand":
            yield "  " * depth[node.name] + ": ".join([node.title, ", ".join(node.lines)])


def summed(result: Variable, variable: Variable) -> Iterator[str]:
    """Yields the lines that say of what contributions a cotangent is the sum."""
    if variable.cotangent is None:
        yield f"{slope(result, variable)} = 0"
        return
    start = slope(result, variable)
    terms, numbers = [], []
    for share in variable.shares:
        if share.operation is None:
            terms.append("1")
            numbers.append("1")
            continue
        after = share.operation.results[0]
        terms.append(f"{slope(result, after)} · {factor(share)}")
        told = bracketed(number(share.factor.value)) if share.factor else "?"
        numbers.append(f"{bracketed(shown(after.cotangent))} · {told}")
    value = shown(variable.cotangent)
    if terms == ["1"]:
        yield f"{start} = 1"
        return
    steps = [" + ".join(terms), " + ".join(numbers), value]
    if len(terms) > 1:
        steps.insert(2, " + ".join(bracketed(shown(s.value)) for s in variable.shares))
    yield start + " = " + " = ".join(dict.fromkeys(steps))


def factor(share: Share) -> str:
    """Returns the factor of a share as it stands in a product."""
    told = share.factor
    if told is None or told.formula is None:
        return "?" if told is None else bracketed(str(told))
    return told.formula.within(PRODUCT)


def bracketed(text: str) -> str:
    """Returns a negative number in brackets."""
    return f"({text})" if text.startswith("-") else text


def written_out(result: Variable, operand: Variable) -> Iterator[str]:
    """Yields the chain rule for one operand: every path, its factors, its product, and the sum."""
    found, total = paths(result, operand), count(operand)
    yield f"{slope(result, operand)}, {total} path{'s' * (total != 1)}"
    products = []
    for path in found:
        pairs = list(zip(path.variables, path.variables[1:], strict=False))
        yield "  " + " → ".join(v.name or str(v.display) for v in path.variables)
        slopes = [slope(of, by) for of, by in pairs] or ["1"]
        formulas = [f.formula.within(PRODUCT) if f.formula else str(f) for f in path.factors]
        numbers = [bracketed(number(f.value)) for f in path.factors]
        whole = [] if path.formula is None else [str(path.formula)]
        told = [" · ".join(x) for x in (slopes, formulas)] + whole + [" · ".join(numbers)]
        value = number(path.product)
        steps = [step for step in dict.fromkeys([*told, value]) if step]
        yield "    " + "\n      = ".join(steps)
        products.append(value)
    if len(found) < total:
        yield f"  and {total - len(found)} more"
    if total != 1:
        dots = " + …" if len(found) < total else ""
        terms = " + ".join(map(bracketed, products)) + dots
        value = number(0) if operand.cotangent is None else shown(operand.cotangent)
        yield f"  {slope(result, operand)} = {terms} = {value}" if terms else f"  = {value}"


def table(explanation: Any) -> Iterator[str]:
    """Yields a line for each cotangent, the result's first, with what it is the sum of."""
    variables = explanation.variables
    if len(explanation.operations) > LISTED:
        variables = explanation.operands
    for variable in reversed(variables):
        if variable.cotangent is None:
            continue
        yield f"  {differential(variable)}: {described(variable.cotangent)}"
        if len(variable.shares) > 1:
            for share in variable.shares:
                user = share.operation.name if share.operation else "the result"
                yield f"      + {shown(share.value)}, from {user}"
