"""What the user calls the values: the name that is assigned on the line, if that can be read."""

import ast
import functools
import linecache
from collections.abc import Sequence

from backprop_jax.graph.recording import Step


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
    target = target_at(file, line, step.source_function.endswith("<lambda>"))
    return None if target is None else (file, target[0], step.scopes, target[1])


def target_at(file: str, line: int, in_lambda: bool) -> tuple[int, str] | None:
    """Returns where the statement on a line begins and the one name it assigns, if it does."""
    inside = [
        s
        for s in statements("".join(linecache.getlines(file)))
        if s.lineno <= line <= (s.end_lineno or s.lineno)
    ]
    if not inside:
        return None
    innermost = max(inside, key=lambda s: (s.lineno, -(s.end_lineno or s.lineno)))
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
    return innermost.lineno, target.id


@functools.lru_cache(maxsize=64)
def statements(text: str) -> list[ast.stmt]:
    """Returns the statements of a file; none if it is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
