# ruff: noqa: E501 (rows of a table stay rows)
"""How the package is built: layers, sizes, and that no derivative in it is JAX's."""

import ast
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.engine import units

PACKAGE = pathlib.Path(bp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

#: A module imports only from its own layer and from those before it.
LAYERS = [
    {"version", "tracebacks"},
    {"errors"},
    {"dtypes"},
    {"meshes", "dependence", "programs", "twins"},
    {"engine"},
    {"partition"},
    {"rules"},
    {"arguments"},
    {"staged"},
    {"taps"},
    {"pullbacks"},
    {"checkpoints"},
    {"proofs"},
    {"swaps"},
    {"api", "extend"},
    {"memory", "watching", "nonfinite"},
    {"products"},
    {"jacobians"},
    {"check", "graph"},
    {"data"},
    {"runner"},
    {"pytest"},
    {"cli"},
    {"__main__"},
]

#: Names by which JAX differentiates. `check` compares with them; the runner's engine switch hands
#: a run to one of them. Nothing else knows them.
DIFFERENTIATION = {
    "grad",
    "value_and_grad",
    "vjp",
    "vjp3",
    "jvp",
    "linearize",
    "linear_transpose",
    "jacfwd",
    "jacrev",
    "jacobian",
    "hessian",
    "fwd_and_bwd",
    "saved_input_vjp",
}
MODULES = ("jax.interpreters.ad", "jax._src", "jax.experimental.jet", "jax.example_libraries")
MAY_COMPARE = {"check"}
#: The one file that knows a private name of JAX, and that name.
PRIVATE = {"tracebacks.py": {"jax._src.traceback_util"}}
SWITCH = {"runner/gradients.py"}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))


def layer_of(name: str) -> int:
    """Returns the place of a module, named from the package's root, among the layers."""
    for place, layer in enumerate(LAYERS):
        if name in layer:
            return place
    raise AssertionError(f"{name} is in no layer; say in LAYERS where it stands")


def tree_of(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Yields every import with the full dotted name of what it imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"


def dotted(node: ast.AST) -> str:
    """Returns an attribute chain as text: `jax.nn.relu`; "" if it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


@every_file
def test_imports_point_one_way(path):
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if here == "__init__":
        return
    for node, name in imports(tree_of(path)):
        parts = name.split(".")
        if parts[0] != "backprop_jax":
            assert parts[0] not in ("tests", "experiments", "benchmarks"), f"line {node.lineno}"
            continue
        module = parts[1] if len(parts) > 1 else "api"
        if not (PACKAGE / module).is_dir() and not (PACKAGE / f"{module}.py").exists():
            module = "api"  # a public name, asked of the package itself
        assert layer_of(module) <= layer_of(here), (
            f"line {node.lineno}: {here} imports {name}, which stands to its right"
        )


@every_file
def test_the_engine_names_no_primitive(path):
    """`engine` says how a gradient is computed; which primitives there are is said in `rules`."""
    if path.parent.name != "engine":
        return
    # The sum of cotangents, and the only way to make a number weak.
    spared = {"add_jaxvals_p", "convert_element_type_p", "Primitive"}
    names = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    assert not {name for name in names if name.endswith("_p")} - spared


@every_file
def test_rules_use_lax_and_not_numpy(path):
    """`jnp` puts compiled functions into the reverse pass, and may promote dtypes."""
    if path.parent.name == "rules":
        assert "jax.numpy" not in {name for _, name in imports(tree_of(path))}


@every_file
def test_no_derivative_of_jax(path):
    place = path.relative_to(PACKAGE)
    tree = tree_of(path)
    for node, name in imports(tree):
        private = name in PRIVATE.get(str(place), ())
        assert private or not name.startswith(MODULES), f"line {node.lineno}: imports {name}"
        owner, _, last = name.rpartition(".")
        if owner.split(".")[0] == "jax":
            assert last not in DIFFERENTIATION, f"line {node.lineno}: imports {name}"
    if place.parts[0] in MAY_COMPARE or str(place) in SWITCH:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner, _, last = dotted(node).rpartition(".")
            if owner.split(".")[0] in ("jax", "lax"):
                assert last not in DIFFERENTIATION, f"line {node.lineno}: {owner}.{last}"
            assert last not in ("primitive_jvps", "primitive_transposes"), f"line {node.lineno}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not node.value.startswith(MODULES), f"line {node.lineno}: {node.value}"


@every_file
def test_no_import_within_a_function(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = [n.lineno for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not found, f"lines {found}, in {node.name}"


@every_file
def test_files_and_functions_are_short(path):
    lines = path.read_text().count("\n")
    assert lines <= 400, f"{lines} lines; 400 are a file a reader can hold"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{node.name}: {length} lines; a screen is 60"


@every_file
def test_no_switch_and_no_silence(path):
    """No `global`, no bare `except`."""
    for node in ast.walk(tree_of(path)):
        assert not isinstance(node, ast.Global), f"line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}"


def test_the_engine_is_small():
    lines = sum(code_lines(tree_of(path)) for path in (PACKAGE / "engine").glob("*.py"))
    assert lines <= 1000, f"{lines} lines of code in the engine; 1,000 are enough"


def code_lines(tree: ast.Module) -> int:
    """Returns how many lines hold code: no comment, no docstring, no blank line."""
    lines = {line for node in ast.walk(tree) for line in span(node)}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [
        n.body[0] for n in ast.walk(tree) if isinstance(n, documented) and ast.get_docstring(n)
    ]
    return len(lines - {line for text in texts for line in span(text)})


def span(node: ast.AST) -> range:
    """Returns the lines a statement or an expression stands on; none of a block's."""
    if not isinstance(node, ast.expr | ast.stmt) or hasattr(node, "body"):
        first = getattr(node, "lineno", None)
        return range(first, first + 1) if first else range(0)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def test_every_public_function_says_what_it_returns():
    names = "grad value_and_grad vjp jacrev hessian hvp compare bisect check_grads explain"
    for name in names.split():
        doc = getattr(bp, name).__doc__
        assert doc.startswith("Returns"), name
        assert "Args" in doc, name


# -- the public API with JAX's differentiation taken away ------------------------------
def refuse(name: str) -> Any:
    """Returns a function that raises, whatever it is called with."""

    def refused(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"{name} was called: that derivative would be JAX's")

    return refused


@pytest.fixture
def without_differentiation(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Takes JAX's differentiation away, and returns the names of what was taken."""
    taken = []
    for name in DIFFERENTIATION:
        for module in (jax, jax._src.api, jax._src.ad_util, jax._src.interpreters.ad):
            if callable(getattr(module, name, None)):
                monkeypatch.setattr(module, name, refuse(f"{module.__name__}.{name}"))
                taken.append(f"{module.__name__}.{name}")
    ad = jax._src.interpreters.ad
    for name in ("backward_pass", "backward_pass3", "jvp_jaxpr", "linearize_jaxpr", "jvpfun"):
        if hasattr(ad, name):
            monkeypatch.setattr(ad, name, refuse(f"ad.{name}"))
            taken.append(f"ad.{name}")
    for trace in ("JVPTrace", "LinearizeTrace"):
        for method in ("process_primitive", "process_custom_jvp_call", "process_custom_vjp_call"):
            monkeypatch.setattr(getattr(ad, trace), method, refuse(f"ad.{trace}.{method}"))
            taken.append(f"ad.{trace}.{method}")
    tables = (
        "primitive_jvps",
        "primitive_transposes",
        "fancy_transposes",
        "primitive_linearizations",
    )
    for table in tables:
        entries = getattr(ad, table, {})
        for primitive in list(entries):
            monkeypatch.setitem(entries, primitive, refuse(f"ad.{table}[{primitive}]"))
        taken += [table] * bool(entries)
    units.build_unit.cache_clear()
    jax.clear_caches()
    return taken


@jax.custom_vjp
def clipped(x: Any) -> Any:
    return x


clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1, 1),))


@jax.custom_jvp
def cube(x: Any) -> Any:
    return x**3


cube.defjvps(lambda t, z, x: 3 * x**2 * t)

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def mlp(p: dict, x: Any) -> Any:
    h = jax.nn.gelu(x @ p["w"] + p["b"])
    return jnp.mean(jax.nn.logsumexp(clipped(h) @ p["w"], axis=-1) + cube(h).mean())


def convnet(p: dict, x: Any) -> Any:
    h = lax.conv_general_dilated(
        x, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    h = jax.nn.relu(h)
    h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jnp.sum(jax.nn.softmax(h.reshape(h.shape[0], -1))[:, 0])


def recurrent(p: dict, x: Any) -> Any:
    def step(h: Any, x: Any) -> tuple:
        h = jnp.tanh(h @ p["w"] + x)
        return h, h.sum()

    h, y = lax.scan(step, p["b"], x)
    return jnp.sum(h) + jnp.sum(y[::2]) + jnp.max(y)


MLP = {"w": normal(3, 3), "b": normal(3)}
CONV = {"k": normal(3, 3, 1, 2)}

# fmt: off
WORK = {
    "grad":             lambda: bp.grad(mlp)(MLP, normal(4, 3)),
    "value_and_grad":   lambda: bp.value_and_grad(mlp)(MLP, normal(4, 3)),
    "jit":              lambda: jax.jit(bp.grad(mlp))(MLP, normal(4, 3)),
    "conv":             lambda: bp.grad(convnet)(CONV, normal(2, 4, 4, 1)),
    "conv, compiled":   lambda: jax.jit(bp.grad(convnet))(CONV, normal(2, 4, 4, 1)),
    "scan":             lambda: bp.grad(recurrent)(MLP, normal(5, 3)),
    "scan, compiled":   lambda: jax.jit(bp.grad(jax.jit(recurrent)))(MLP, normal(5, 3)),
    "vjp":              lambda: bp.vjp(mlp, MLP, normal(4, 3))[1](jnp.float32(1)),
    "jacrev":           lambda: bp.jacrev(lambda x: jnp.sort(x) * x)(normal(3)),
    "hessian":          lambda: bp.hessian(lambda x: mlp(MLP, x))(normal(1, 3)),
    "hvp":              lambda: bp.hvp(lambda x: mlp(MLP, x), (normal(4, 3),), (normal(4, 3),)),
    "vmap":             lambda: jax.vmap(bp.grad(lambda x: mlp(MLP, x)))(normal(2, 4, 3)),
    "third order":      lambda: bp.grad(bp.grad(bp.grad(lambda x: jnp.sin(x) * cube(x))))(2.0),
    "second, scan":     lambda: bp.grad(lambda p: jnp.sum(bp.grad(recurrent)(p, normal(5, 3))["w"] ** 2))(MLP),
}
# fmt: on


@pytest.mark.parametrize("what", WORK)
def test_works_with_the_differentiation_of_jax_taken_away(what, without_differentiation):
    assert len(without_differentiation) > 20, "JAX keeps its differentiation somewhere else now"
    gradients = WORK[what]()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_what_was_taken_away_is_what_jax_needs(without_differentiation):
    """If JAX still could, the test above would show nothing."""
    del without_differentiation
    for call in (
        lambda: jax.grad(jnp.sin)(1.0),
        lambda: jax.jacfwd(jnp.sin)(1.0),
        lambda: jax.jvp(jnp.sin, (1.0,), (1.0,)),
    ):
        with pytest.raises(AssertionError, match="would be JAX's"):
            call()
