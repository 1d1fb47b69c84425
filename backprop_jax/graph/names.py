"""What the user calls the values: the name that is assigned on the line, if that can be read."""

import ast
import functools
import linecache
import re
import sys
from collections.abc import Sequence

from backprop_jax.graph.recording import Step

Place = tuple[int, int]
"""A line and a column of a file, as `ast` counts."""


def assigned(steps: Sequence[Step]) -> dict[int, str]:
    """Returns names of results, by the number of their step: of what a statement runs, the last.

    Several values of one name are told apart by a count: `x`, `x#2`.
    """
    found: dict[int, str] = {}
    for step, following in zip(steps, [*steps[1:], None], strict=False):
        place = statement(step)
        if place is None or (following is not None and statement(following) == place):
            continue
        found[step.number] = place[-1]
    return found


def statement(step: Step) -> tuple | None:
    """Returns what tells the statement of a step from others, the name it assigns last."""
    file, line = step.line
    text, column = linecache.getline(file, line), re.match(r".*?:\d+:(\d+)\b", step.written_at)
    # What tells no column is taken for the first statement of its line.
    place = line, int(column[1]) if column else len(text) - len(text.lstrip())
    target = target_at(file, place, step.source_function.endswith("<lambda>"))
    return None if target is None else (file, target[0], step.scopes, target[1])


def target_at(file: str, place: Place, in_lambda: bool) -> tuple[Place, str] | None:
    """Returns where the statement at a place begins and the one name it assigns, if it does."""
    inside = [
        s for s in statements("".join(linecache.getlines(file))) if start(s) <= place < end(s)
    ]
    if not inside:
        return None
    innermost = max(inside, key=start)
    if isinstance(innermost, ast.Assign) and len(innermost.targets) == 1:
        target = innermost.targets[0]
    elif isinstance(innermost, ast.AugAssign | ast.AnnAssign):
        target = innermost.target
    else:
        return None
    if not isinstance(target, ast.Name):
        return None
    if in_lambda and not isinstance(innermost.value, ast.Lambda):
        return None  # What is assigned is not what the lambda returns.
    return start(innermost), target.id


def start(statement: ast.stmt) -> Place:
    """Returns where a statement begins."""
    return statement.lineno, statement.col_offset


def end(statement: ast.stmt) -> Place:
    """Returns where a statement has ended."""
    return statement.end_lineno or statement.lineno, statement.end_col_offset or sys.maxsize


@functools.lru_cache(maxsize=64)
def statements(text: str) -> list[ast.stmt]:
    """Returns the statements of a file; none if it is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
