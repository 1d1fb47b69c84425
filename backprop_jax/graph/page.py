"""The explanation as a page of HTML that needs nothing else: no network, all of it in one file."""

import base64
import functools
import hashlib
import html as markup
import json
import math
from pathlib import Path
from typing import Any

from backprop_jax.graph import lines
from backprop_jax.graph.picture import Edge, Node, Picture
from backprop_jax.graph.summaries import Summary

ASSETS = Path(__file__).parent / "assets"


def html(explanation: Any) -> str:
    """Returns the page: the picture, which unfolds on a click, the steps, and the text."""
    title = f"Backward pass of {escaped(explanation.function)}"
    parts = [f"<h1>{title}</h1>", *fragment(explanation.picture)]
    plan = explanation.memory
    parts += ["<h2>Forward and backward</h2>", *lines.document(explanation.tree, plan)]
    if plan is not None:
        parts += ["<h2>Kept for the way back</h2>", f"<pre>{escaped(str(plan))}</pre>"]
    parts += ["<h2>Step by step</h2>", f"<pre>{escaped(str(explanation))}</pre>"]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
        '\n<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"\n<style>\n{asset('page.css')}</style>\n</head>\n"
        f'<body>\n<div class="bp ready bp-page">\n{body}\n</div>\n</body>\n</html>\n'
    )


def notebook(explanation: Any) -> str:
    """Returns the page in a frame, so that it and the notebook do not meddle with each other."""
    height = 300 if len(explanation.picture.seen()[0]) < 10 else 720
    return (
        f'<iframe sandbox="allow-scripts" style="width:100%;height:{height}px;border:0;resize:'
        f'vertical" title="Backward pass" srcdoc="{escaped(html(explanation))}"></iframe>'
    )


def fragment(picture: Picture) -> list[str]:
    """Returns the picture as a part of a page: style, script and data, nothing to be fetched."""
    return [
        f"<style>\n{asset('picture.css')}</style>",
        f'<div class="bp"><script type="application/json">{data(picture)}</script>'
        "<noscript>The picture is drawn by a script.</noscript></div>",
        f"<script>{script()}</script>",
    ]


@functools.cache
def script() -> str:
    """Returns the script that draws pictures: that which lays out, and ours."""
    licence = f"/*!\ndagre, https://github.com/dagrejs/dagre\n{asset('dagre.LICENSE.txt')}*/"
    return f"\n{licence}\n{layout()}\n{asset('picture.js')}"


def script_hash() -> str:
    """Returns by what a Content-Security-Policy allows the script, and no other."""
    digest = hashlib.sha256(script().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@functools.cache
def asset(name: str) -> str:
    """Returns a file that goes into the page."""
    return (ASSETS / name).read_text(encoding="utf-8")


@functools.cache
def layout() -> str:
    """Returns the library that lays out; without its last lines, which name files to be fetched."""
    code = asset("dagre.min.js")
    return code[: code.rindex("})();") + len("})();")]


def data(picture: Picture) -> str:
    """Returns a picture as JSON that may stand in a page."""
    told = {
        "nodes": [of_node(node) for node in picture.nodes],
        "edges": [of_edge(edge) for edge in picture.edges],
        "sums": {f"{value} {fold}": plain(x) for (value, fold), x in picture.sums.items()},
    }
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # What ends a script or begins a comment cannot stand in the page as it is.
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def of_node(node: Node) -> dict:
    """Returns a box as plain values."""
    return {
        "name": node.name,
        "parent": node.parent,
        "kind": node.kind,
        "title": node.title,
        "lines": node.lines,
        "details": node.details,
        "summaries": [[name, *of_summary(each)] for name, each in node.summaries],
        "trips": [plain(x) for x in node.trips],
        "grad": plain(node.grad),
        "opened": node.opened,
        "result": node.is_result,
    }


def of_summary(each: Summary) -> list:
    """Returns a summary as plain values."""
    return [x if isinstance(x, str | tuple) else plain(x) for x in each]


def of_edge(edge: Edge) -> list:
    """Returns an edge as plain values."""
    return [edge.start, edge.end, edge.value, plain(edge.norm), edge.label, edge.again]


def plain(x: float | None) -> float | str | None:
    """Returns a number as JSON has it: six digits, what is not finite as text."""
    if x is None or isinstance(x, bool | int):
        return x
    return float(f"{x:.6g}") if math.isfinite(x) else str(x)


def escaped(text: str) -> str:
    """Returns text that cannot be taken for markup."""
    return markup.escape(text)
