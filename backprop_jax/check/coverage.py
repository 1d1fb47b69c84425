"""What is covered: every primitive of the installed jax, its rule, or the reason it has none.

python -m backprop_jax.check.coverage        writes docs/coverage.md
"""

import pathlib
import types
from collections.abc import Iterator

import jax
import jax.extend.core.primitives
from jax import lax
from jax.extend.core import Primitive

from backprop_jax import rules as rules  # the book is filled on import
from backprop_jax.engine.registry import Column, Missing, Row, book

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "coverage.md"

#: Why a primitive needs no rule, or has none yet: reason → names.
REASONS = {
    "its results are integers or booleans, which have no cotangent": """
        and axis_index clz mulhi not or population_count reduce_and
        reduce_or reduce_xor shift_left shift_right_arithmetic shift_right_logical xor""",
    "random bits and keys: nothing differentiable goes in or comes out": """
        random_bits random_clone random_fold_in random_seed random_split random_unwrap random_wrap
        rng_bit_generator threefry2x32""",
    "no operand, or none that moves a number": "after_all create_token dce_sink empty2 iota",
    "the user's own rule, run by the tape itself": "custom_jvp_call custom_vjp_call",
    "calls a function: the tape runs it in place": "call",
    "comes of JAX's own differentiation, never of a program": "custom_lin stage",
    "reads and writes a reference that may change: not yet": "get swap",
    "jax.grad has no rule either": "rng_uniform select_and_scatter cholesky_update",
    "talks to other instances in pieces of run-time size: not yet": "ragged_all_to_all",
    "calls Python: give it a rule with jax.custom_vjp": "io_callback pure_callback",
}


def primitives() -> dict[str, Primitive]:
    """Returns every primitive that has a public name, and those of the book, by their own names."""
    modules = (lax, lax.linalg, jax.extend.core.primitives)
    found = {p for module in modules for p in members(module)} | set(book)
    return {str(p): p for p in sorted(found, key=str)}


def members(module: types.ModuleType) -> Iterator[Primitive]:
    """Yields the primitives that a module names."""
    for name in dir(module):
        if name.endswith("_p") and isinstance(member := getattr(module, name), Primitive):
            yield member


def reason(name: str) -> str | None:
    """Returns why a primitive has no rule, None where nobody has said."""
    return next((why for why, names in REASONS.items() if name in names.split()), None)


def kept(primitive: Primitive) -> str:
    """Returns what the primitive's rule keeps, as a cell of the table."""
    rule = book[primitive]
    if not isinstance(rule, Row):
        return "what its parts keep" if rule.kind == "structured" else "nothing"
    cells = []
    for column in rule.columns:
        if isinstance(column, Column):
            names = [name for name in column.reads if name not in {*column.shapes, "needed"}]
            cells.append(" ".join(names) or "nothing")
        else:
            cells.append(f"missing: {column.reason}" if isinstance(column, Missing) else "no slope")
    return ", ".join(cells)


def uncovered() -> list[str]:
    """Returns the primitives with neither a rule nor a reason."""
    return [name for name, p in primitives().items() if p not in book and reason(name) is None]


def page() -> str:
    """Returns the text of docs/coverage.md for the installed jax."""
    rows = primitives()
    having = {name: p for name, p in rows.items() if p in book}
    lines = [
        "# Coverage",
        "",
        f"Every primitive of jax {jax.__version__} that has a public name. Written by",
        "`python -m backprop_jax.check.coverage`. What a rule keeps is said for each operand:",
        "x, y, w are the operands, z is the result, i the indices among the operands.",
        "",
        "| primitive | kind of rule | keeps |",
        "|---|---|---|",
        *(f"| `{name}` | {book[p].kind} | {kept(p)} |" for name, p in having.items()),
        "",
        f"{len(having)} primitives have a rule. These have none, and the reason:",
        "",
        "| primitive | reason |",
        "|---|---|",
        *(
            f"| `{name}` | {reason(name) or 'nobody has said'} |"
            for name in rows
            if name not in having
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
