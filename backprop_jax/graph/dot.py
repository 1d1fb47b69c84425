"""The picture as text for Graphviz."""

import html
from typing import Any

from backprop_jax.graph.picture import Edge, Node

#: A program of no more boxes, and no more one after the other, is drawn from left to right.
WIDE, LONG = 22, 11

COLOURS = {
    "operand": "#bbf7d0",
    "operands": "#bbf7d0",
    "value": "#dbeafe",
    "step": "#dbeafe",
    "operation": "#fde68a",
    "fold": "#e5e7eb",
}

HEAD = """\
digraph backward {
  rankdir=%s; ranksep=0.3; nodesep=0.2; bgcolor=white; fontname="Helvetica"; fontsize=11;
  node [fontname="Helvetica", fontsize=11, style="filled,rounded", penwidth=0.7];
  edge [fontname="Helvetica", fontsize=9, penwidth=0.7, arrowsize=0.6, color="#4b5563"];
"""


def text(explanation: Any) -> str:
    """Returns the picture in Graphviz's language, as it is folded at first."""
    nodes, edges = explanation.picture.seen()
    lines = inside("", nodes) + [edge(each) for each in edges]
    is_wide = len(nodes) <= WIDE and longest(nodes, edges) <= LONG
    head = HEAD % ("LR" if is_wide else "TB")
    return head + "".join(f"  {line}\n" for line in lines) + "}\n"


def longest(nodes: list[Node], edges: list[Edge]) -> int:
    """Returns how many boxes there are one after the other, at most."""
    depth: dict[str, int] = {}
    for node in nodes:
        before = (depth.get(e.start, 0) for e in edges if e.end == node.name and not e.again)
        depth[node.name] = 1 + max(before, default=0)
    return max(depth.values(), default=0)


def inside(parent: str, nodes: list[Node]) -> list[str]:
    """Returns what is in a fold, or outside of all."""
    open_folds = {node.parent for node in nodes}
    lines = []
    for node in nodes:
        if node.parent != parent:
            continue
        if node.name not in open_folds:
            lines.append(box(node))
            continue
        label = quoted(", ".join([node.title, *node.lines[:1]]))
        frame = f'style="rounded,filled"; fillcolor="#f9fafb"; color="#9ca3af"; label={label};'
        lines += [f"subgraph cluster_{node.name} {{ {frame}", *inside(node.name, nodes), "}"]
    return lines


def box(node: Node) -> str:
    """Returns a node."""
    color, tip = COLOURS[node.kind], quoted(tooltip(node))
    if node.kind == "step":
        return f"{node.name} [shape=plain, style=solid, label=<{table(node)}>, tooltip={tip}];"
    shape = "ellipse" if node.kind == "operation" else "box"
    label = quoted("\n".join([node.title, *node.lines]))
    width = ", penwidth=1.6" if node.is_result or node.kind in ("fold", "operands") else ""
    fill = f"shape={shape}, fillcolor={quoted(color)}"
    return f"{node.name} [{fill}, label={label}, tooltip={tip}{width}];"


def table(node: Node) -> str:
    """Returns the box of a step: the operation above, what it gives below."""
    rows = "<BR/>".join(html.escape(line) for line in node.lines)
    border = 2 if node.is_result else 1
    return (
        f'<TABLE BORDER="{border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="4" STYLE="ROUNDED">'
        f'<TR><TD BGCOLOR="{COLOURS["operation"]}">{html.escape(node.title)}</TD></TR>'
        f'<TR><TD BGCOLOR="{COLOURS["step"]}">{rows}</TD></TR></TABLE>'
    )


def tooltip(node: Node) -> str:
    """Returns where a box is written."""
    places = (text for key, text in node.details if key in ("written at", "begins at"))
    return next(filter(None, places), node.title)


def edge(each: Edge) -> str:
    """Returns an edge; what goes to the next trip of a loop is dashed."""
    options = f"label={quoted(each.label)}"
    if each.again:
        options += ', style=dashed, constraint=false, color="#7c3aed"'
    return f"{each.start} -> {each.end} [{options}];"


def quoted(text: str) -> str:
    """Returns text as Graphviz takes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
