"""What is covered: every primitive of jax, its rule, or the reason it has none.

python -m backprop_jax.check.coverage        writes docs/coverage.md

Beside the page lies what it is made of: docs/coverage.json, to which each release of jax adds the
primitives that it alone has, and the tests what they try (`python -m tests.rules.tried`).
"""

import argparse
import json
import pathlib
import types
from collections.abc import Iterator

import jax
import jax.extend.core.primitives
from jax import lax
from jax.extend.core import Primitive

from backprop_jax import rules as rules  # the book is filled on import
from backprop_jax.check import corners
from backprop_jax.engine.registry import Column, Missing, Row, book

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "coverage.md"
NOTES = PAGE.with_suffix(".json")
RELEASE = ".".join(jax.__version__.split(".")[:2])

INTRODUCTION = """\
Every primitive that has a public name in jax {}, and some that have none. Written by
`python -m backprop_jax.check.coverage`. What a rule keeps is said for each operand: x, y, w are the
operands, z is the result, i the indices among the operands. Orders are those of the derivatives
tested, 1 to the number given: against `jax.grad`, or a difference quotient where it has none."""

CALLS = """\
Of the public functions in the table of `tests/survey`, tried at easy points and at hard corners,
these have no gradient here, or one that differs from a difference quotient:"""

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
    "reads or writes a mutable reference: a step of its own, on the tape": "get swap",
    "jax.grad has no rule either": "rng_uniform select_and_scatter",
    "calls Python, and says so: give the function that calls it a jax.custom_vjp": """
        io_callback pure_callback""",
    "says how a function is batched, not how it is reversed; jax.grad refuses it, too": """
        custom_vmap_call""",
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


def row(name: str, primitive: Primitive) -> list[str]:
    """Returns the kind of a primitive's rule and what it keeps, or nothing and the reason."""
    if primitive in book and reason(str(primitive)) is None:
        return [book[primitive].kind, kept(primitive)]
    return ["", reason(name) or "nobody has said"]


def notes() -> dict:
    """Returns what is known of all releases and of the tests, this release's part made anew.

    The oldest release has a row for each of its primitives; others, for those that older ones lack.
    """
    text = NOTES.read_text(encoding="utf-8") if NOTES.exists() else "{}"
    known = {"releases": {}, "tried": {}, **json.loads(text)}
    releases = known["releases"]
    older = [
        releases[r]["rows"] for r in sorted(releases, key=number) if number(r) < number(RELEASE)
    ]
    mine = primitives()
    releases[RELEASE] = {
        "names": sorted(mine),
        "rows": {n: row(n, p) for n, p in mine.items() if not any(n in rows for rows in older)},
    }
    known["releases"] = {r: releases[r] for r in sorted(releases, key=number)}
    return known


def number(release: str) -> tuple[int, ...]:
    """Returns a release as numbers, to be put in order."""
    return tuple(map(int, release.split(".")))


def page(known: dict) -> str:
    """Returns the text of docs/coverage.md."""
    releases, tried = known["releases"], known["tried"]
    rows = {n: cells for r in releases.values() for n, cells in r["rows"].items()}
    having = {n: cells for n, cells in sorted(rows.items()) if cells[0]}

    def jax_of(name: str) -> str:
        found = [r for r, part in releases.items() if name in part["names"]]
        return "all" if len(found) == len(releases) else ", ".join(found)

    def orders(name: str) -> str:
        constant = rows[name][0] == "piecewise constant"
        return "all are 0" if constant else str(tried.get(name, {}).get("orders", ""))

    return "\n".join(
        [
            "# Coverage",
            "",
            INTRODUCTION.format(" or ".join(releases)),
            "",
            "| primitive | kind of rule | keeps | orders | jax | where `jax.grad` has none |",
            "|---|---|---|---|---|---|",
            *(
                f"| `{n}` | {kind} | {keeps} | {orders(n)} | {jax_of(n)} "
                f"| {'; '.join(tried.get(n, {}).get('jax', []))} |"
                for n, (kind, keeps) in having.items()
            ),
            "",
            f"{len(having)} primitives have a rule. These have none, and the reason:",
            "",
            "| primitive | jax | reason |",
            "|---|---|---|",
            *(
                f"| `{n}` | {jax_of(n)} | {why} |"
                for n, (kind, why) in sorted(rows.items())
                if not kind
            ),
            "",
            "## Calls",
            "",
            CALLS,
            "",
            "| call | order | reason |",
            "|---|---|---|",
            *(f"| {call} | 1 | {why} |" for call, why in corners.FIRST.items()),
            *(f"| {call} | 2 | {why} |" for call, why in corners.SECOND.items()),
            "",
        ]
    )


if __name__ == "__main__":
    argparse.ArgumentParser(
        "python -m backprop_jax.check.coverage", description=__doc__
    ).parse_args()
    found = notes()
    NOTES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
