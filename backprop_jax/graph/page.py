"""The explanation as a page of HTML that needs nothing else: no network, no script."""

import html as markup
from typing import Any

from backprop_jax.graph import dot, drawing, folding
from backprop_jax.graph.values import Operation, shown

STYLE = """\
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: #111827; }
pre { background: #f3f4f6; padding: 12px; overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 4px 0 8px 16px; }
td, th { border-bottom: 1px solid #e5e7eb; padding: 2px 10px; text-align: left; }
details { margin: 4px 0 4px 12px; } summary { cursor: pointer; }
.picture { overflow-x: auto; }
.where { color: #6b7280; }
"""

COLUMNS = ("value", "is", "cotangent", "kept for the way back", "written at")


def html(explanation: Any, alone: bool = True) -> str:
    """Returns the page: the picture if Graphviz is there, the steps to unfold, and the text.

    `alone`: as a whole document, not as a part of one.
    """
    parts = [f"<h1>Backward pass of {escaped(explanation.function)}</h1>", picture(explanation)]
    parts += ["<h2>Steps</h2>", *steps(explanation)]
    parts += ["<h2>Step by step</h2>", f"<pre>{escaped(str(explanation))}</pre>"]
    body = "\n".join(parts)
    if not alone:
        return f"<style>{STYLE}</style>\n{body}"
    title = f"Backward pass of {escaped(explanation.function)}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
        f"\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def picture(explanation: Any) -> str:
    """Returns the picture, or how to get it."""
    try:
        drawn = drawing.draw(dot.text(explanation, linked=True), "svg").decode()
    except ImportError as error:
        return f'<p class="where">{escaped(str(error))}</p>'
    return f'<div class="picture">{drawn[drawn.index("<svg") :]}</div>'


def steps(explanation: Any) -> list[str]:
    """Returns the steps, those that belong together folded."""
    operations = explanation.operations
    if len(operations) <= dot.BOXES // 2:
        return [rows(operations)]
    return [
        f"<details><summary>{escaped(group.title)}: {escaped(group.about)}; "
        # A box of the picture links here, which opens what is folded.
        f'{escaped(group.told)}</summary>\n<a id="g{i}"></a>{rows(group.operations)}\n</details>'
        for i, group in enumerate(folding.folded(operations, dot.BOXES - 10))
    ]


def rows(operations: Any) -> str:
    """Returns a table with a line for each value."""
    head = "".join(f"<th>{title}</th>" for title in COLUMNS)
    return f"<table><tr>{head}</tr>\n" + "\n".join(map(row, operations)) + "\n</table>"


def row(operation: Operation) -> str:
    """Returns the line of one step."""
    lines = []
    for variable in operation.results:
        made = f"{variable.name or variable.display} = {variable.formula}"
        gradient = shown(variable.cotangent)
        if len(variable.shares) > 1:
            gradient += " = " + " + ".join(shown(s.value) for s in variable.shares)
        cells = [made, shown(variable.value), gradient, operation.kept]
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in cells)
        place = escaped(operation.step.where())
        lines.append(f'<tr>{cells}<td class="where">{place}</td></tr>')
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Returns text that cannot be taken for markup."""
    return markup.escape(text)
