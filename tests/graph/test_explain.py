"""`explain`: the textbook's numbers on the object, in the text and in the picture."""

import re
import runpy
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.graph import lines, tree
from backprop_jax.graph.values import Variable


def L(a: Any, b: Any, c: Any, f: Any) -> Any:
    e = a * b
    d = e + c
    return d * f


def network(x1: Any, x2: Any, w11: Any, w12: Any, w21: Any, w22: Any, v1: Any, v2: Any) -> Any:
    h1 = w11 * x1 + w12 * x2
    h2 = w21 * x1 + w22 * x2
    y = v1 * h1 + v2 * h2
    return y


def mlp(p: dict, x: Any) -> Any:
    h = jnp.tanh(x @ p["w"] + p["b"])
    return jnp.mean((h @ p["v"] - x) ** 2) + 0.1 * jnp.sum(h)


P = {"w": jnp.full((3, 4), 0.1), "b": jnp.zeros(4), "v": jnp.ones((4, 3))}


def textbook() -> Any:
    return bp.explain(L, 2.0, -3.0, 10.0, -2.0)


def cubed() -> Any:
    return bp.explain(lambda x, y: (3 * x + 4 * y) ** 3, 1.0, 2.0)


def test_values_and_gradients_by_name():
    found = textbook()
    values = {"a": 2, "b": -3, "c": 10, "f": -2, "e": -6, "d": 4, "L": -8}
    gradients = {"a": 6, "b": -4, "c": -2, "f": 4, "e": -2, "d": -2, "L": 1}
    assert {name: float(found[name].value) for name in values} == values
    assert {name: float(found[name].cotangent) for name in gradients} == gradients
    assert found.result is found["L"]
    assert [v.name for v in found.operands] == ["a", "b", "c", "f"]
    with pytest.raises(KeyError, match="there are a, b, c, f, e, d, L"):
        found["g"]


def test_statements_that_share_a_line(tmp_path):
    (tmp_path / "y.py").write_text("def y(x):\n    h = 2.0 * x; k = 3.0 * x\n    return h * k\n")
    found = bp.explain(runpy.run_path(str(tmp_path / "y.py"))["y"], 1.0)
    assert (float(found["h"].value), float(found["k"].value)) == (2.0, 3.0)


def test_what_is_kept_is_asked_for_where_double_precision_is_off():
    with jax.enable_x64(True):
        found = bp.explain(lambda x: jnp.sin(jnp.float64(2) * x), 1.0)
    with jax.enable_x64(False):
        assert "float64[]" in str(found.memory)


def test_factors_on_the_edges():
    e, d, result = textbook().operations
    assert [f.value for f in e.factors] == [-3, 2]
    assert [f.value for f in d.factors] == [1, 1]
    assert [f.value for f in result.factors] == [-2, 4]
    assert [str(f) for f in result.factors] == ["f", "d"]


def test_factors_and_product_as_formulas():
    (path,) = cubed().paths("x")
    assert [str(f) for f in path.factors] == ["3(3x + 4y)²", "1", "3"]
    assert str(path.formula) == "9(3x + 4y)²"
    assert path.product == 9 * 11**2
    (path,) = cubed().paths("y")
    assert str(path.formula) == "12(3x + 4y)²"


def test_a_line():
    text = str(bp.explain(lambda x: 2 * x + 4, 3.0))
    backward = text[text.index("backward") :].splitlines()[1:4]
    assert [line.rpartition(" ")[2] for line in backward] == ["1", "1", "2"]
    assert backward[2] == "  df/dx = df/d(2x) · 2 = 1 · 2 = 2"


def test_a_gradient_is_the_sum_of_its_paths():
    found = bp.explain(network, 1.0, 2.0, 0.5, -1.0, 0.25, 2.0, 3.0, -0.5)
    one, other = found.paths("x2")
    assert {str(one.formula), str(other.formula)} == {"v1·w12", "v2·w22"}
    assert {one.product, other.product} == {-3.0, -1.0}
    assert float(found["x2"].cotangent) == -4
    assert "  dy/dx2 = (-1) + (-3) = -4" in str(found).splitlines()
    assert sorted(float(s.value) for s in found["x2"].shares) == [-3, -1]


def test_the_text():
    lines = str(textbook()).splitlines()
    assert lines[5].split("  ")[1] == "e = a·b = -6"
    assert "test_explain.py:" in lines[5]
    assert lines[8:22] == [
        "",
        "backward",
        "  dL/dL = 1",
        "  dL/dd = dL/dL · f = 1 · (-2) = -2",
        "  dL/de = dL/dd · 1 = (-2) · 1 = -2",
        "  dL/df = dL/dL · d = 1 · 4 = 4",
        "  dL/dc = dL/dd · 1 = (-2) · 1 = -2",
        "  dL/db = dL/de · a = (-2) · 2 = -4",
        "  dL/da = dL/de · b = (-2) · (-3) = 6",
        "",
        "dL/da, 1 path",
        "  L → d → e → a",
        "    dL/dd · dd/de · de/da",
        "      = f · 1 · b",
    ]


# fmt: off
ONE = {
    "exp":       (lambda x: jnp.exp(x) * x,                 0.7),
    "quotient":  (lambda x: (x - 1) / (x + 2),              0.7),
    "roots":     (lambda x: jnp.sqrt(x) + 1 / jnp.sqrt(x),  0.7),
    "many":      (lambda x: jnp.tanh(x) * jax.nn.sigmoid(x) - jnp.log(x) ** 2, 0.7),
    "a loop":    (lambda x: lax.fori_loop(0, 3, lambda i, c: c * x, x), 0.7),
    "a branch":  (lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x), 0.7),
    "a rule":    (lambda x: jax.nn.silu(x) * jax.nn.relu(x), 0.7),
    "not used":  (lambda x: 2.0 + 0 * jnp.floor(x),          0.7),
}
# fmt: on


@pytest.mark.parametrize("what", ONE)
def test_the_products_of_all_paths_add_up(what):
    fun, x = ONE[what]
    found = bp.explain(fun, x)
    total = sum(path.product for path in found.paths("x", most=1000))
    np.testing.assert_allclose(total, jax.grad(fun)(x), rtol=1e-5)
    for path in found.paths("x"):
        numbers = {"exp": np.exp, "sqrt": np.sqrt, "tanh": np.tanh, "x": x}
        for factor in path.factors:
            text = "" if factor.formula is None else str(factor.formula)
            if text.isidentifier() or text.replace(".", "").isdigit():
                np.testing.assert_allclose(eval(text, numbers), factor.value, rtol=1e-6)


def test_arrays_are_summed_up():
    found = bp.explain(mlp, P, jnp.ones((2, 3)), argnums=0)
    assert not found.is_scalar
    h = found["h"]
    assert str(h.formula).startswith("tanh(")
    assert {s.operation.name for s in h.shares} == {"reduce_sum", "dot_general"}
    np.testing.assert_allclose(h.cotangent, sum(s.value for s in h.shares), rtol=1e-6)
    expected = jax.grad(mlp)(P, jnp.ones((2, 3)))
    np.testing.assert_allclose(found["p['w']"].cotangent, expected["w"], rtol=1e-5)
    assert "dot_general(x, p['w'])" in str(found)
    assert h.operation.kept == "the result: 32 bytes"
    assert "keeps the result: 32 bytes" in str(found)
    with pytest.raises(ValueError, match="is of arrays"):
        found.paths("p['w']")


@pytest.mark.parametrize("way", ["scanned", "unrolled", "compiled"])
def test_folds_within_folds(way):
    def mix(x: Any, w: Any) -> Any:
        return jnp.sin(x * w) + x

    def layer(x: Any, w: Any) -> tuple:
        with jax.named_scope("attention"):
            x = mix(x, w)
        return jnp.tanh(x) * w, None

    def deep(first: Any, ws: list) -> Any:
        x = first
        if way == "scanned":
            return jnp.sum(lax.scan(layer, x, jnp.stack(ws))[0])
        for w in ws:
            x, _ = layer(x, w)
        return jnp.sum(x)

    run = jax.jit(deep) if way == "compiled" else deep
    found = bp.explain(run, jnp.ones(3), [jnp.full(3, 0.1 * i) for i in range(1, 8)])
    assert len(found.operations) > 30
    folds = {each.title: each for each in tree.folds_in(found.tree.children)}
    if way == "scanned":
        loop = folds["layer"]
        assert (loop.kind, loop.about) == ("loop", "scan, 7 trips")
        assert {len(row.operations) for row in loop.rows()} == {7}
        layers = [loop]
    else:
        layers = tree.folds_in(found.tree.children)
        assert [each.title for each in layers] == ["layer"] * 7
        assert [v.name for v in layers[2].children if type(v) is Variable] == ["ws[2]"]
    for each in layers:
        (inner,) = (f for f in tree.folds_in(each.children) if f.kind == "name")
        assert inner.title == "attention"
        assert [row.first.name for row in inner.rows()] == ["mul", "sin", "add"]
    rows = [id(o) for row in found.tree.rows() for o in row.operations]
    assert sorted(rows) == sorted(map(id, found.operations))
    nodes, edges = found.picture.seen()
    assert sum(node.parent == "" for node in nodes) <= len(nodes) <= 60
    names = {node.name for node in nodes}
    assert {end for e in edges for end in (e.start, e.end)} <= names
    assert any(e.again for e in edges) == (way == "scanned")


def test_the_document_tells_of_both_ways_and_what_is_kept():
    found = bp.explain(mlp, P, jnp.ones((2, 3)), argnums=0)
    told = [lines.line_of(o, found.memory) for o in found.operations]
    back = {line.forward.split(" = ")[-1]: line.backward for line in told}
    assert back["dot_general(h, p['v'])"] == ["dh += dv7 @ p['v']ᵀ", "dp['v'] += hᵀ @ dv7"]
    assert back["tanh(v5)"] == ["dv5 += dh·(1 + h)·(1 - h)"]
    assert back["v3 + v4"] == ["dv3 += dv5", "dv4 += sum(dv5)"]
    assert told[3].kept == "float32[2,4]: 32 B, read on the way back"
    assert found.memory is not None and found.memory.bytes == 56
    page = found.render("html")
    assert "<h2>Forward and backward</h2>" in page and "memory plan of" in page
    branching = bp.explain(lambda x: x * x if x > 0 else -x, 2.0)
    assert branching.memory is None and "<h2>Forward and backward</h2>" in branching.render("html")


def test_the_picture_for_graphviz():
    text = textbook().render("dot")
    for label in (r"a\n2\ngrad 6", r"e\n-6\ngrad -2", r"L\n-8\ngrad 1", r"× -3\n← 6"):
        assert f'label="{label}"' in text
    assert text.count("shape=ellipse") == 3
    fan = bp.explain(lambda x: x * x + x, 3.0).render("dot")
    assert r"x\n3\ngrad 7 = 1 + 3 + 3" in fan


def test_save(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    found = bp.explain(lambda x: x * x, 3.0)
    for ending in ("txt", "dot", "html"):
        found.save(tmp_path / f"x.{ending}")
        assert (tmp_path / f"x.{ending}").read_text() == found.render(ending)
    with pytest.raises(ImportError, match=r"pip install 'backprop-jax\[graph\]'"):
        found.save(tmp_path / "x.svg")
    with pytest.raises(ValueError, match="cannot save as 'pdf'; there are txt, dot, svg, png"):
        found.save(tmp_path / "x.pdf")
    assert not (tmp_path / "x.svg").exists()


def test_pictures_are_laid_out_by_graphviz(monkeypatch, tmp_path):
    class AGraph:
        def __init__(self, string: str) -> None:
            self.text = string

        def draw(self, format: str, prog: str, args: str) -> bytes:
            return f"<?xml?><svg>{prog} {format}{args}</svg>".encode()

    monkeypatch.setitem(sys.modules, "pygraphviz", types.SimpleNamespace(AGraph=AGraph))
    found = bp.explain(lambda x: x * x, 3.0)
    found.save(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == b"<?xml?><svg>dot png-Gdpi=144</svg>"
    assert found._repr_svg_() == "<?xml?><svg>dot svg</svg>"


def test_a_function_of_one_line_goes_by_its_name_and_a_long_chain_downwards():
    def wave(x):
        return jnp.sin(2 * x) * x + 1

    def waves(count):
        def run(x):
            for _ in range(count):
                x = wave(x)
            return jnp.sum(x)

        return bp.explain(run, jnp.ones(3))

    found = waves(13)
    titles = [child.title for child in found.tree.children if hasattr(child, "title")]
    assert titles == ["wave"] * 13
    assert "rankdir=TB" in str(found.render("dot"))
    assert "rankdir=LR" in str(waves(2).render("dot"))


def test_the_page_needs_nothing_else_and_escapes():
    page = bp.explain(lambda p: p["<script>"] ** 2, {"<script>": 3.0}).render("html")
    assert "p['<script>']" not in page
    assert "&lt;script&gt;" in page
    assert "p['\\u003cscript>']" in page
    assert re.findall(r"(?:src|href|url|import|fetch)[=(]", page) == ["url("]
    frame = bp.explain(lambda x: x * x, 3.0)._repr_html_()
    assert frame.count("<") == 2 and 'sandbox="allow-scripts"' in frame


def test_errors():
    with pytest.raises(TypeError, match="scalar"):
        bp.explain(lambda x: x * jnp.ones(3), 2.0)
    with pytest.raises(TypeError, match="wants numbers"):
        jax.jit(lambda x: bp.explain(jnp.sin, x).result.value)(1.0)
