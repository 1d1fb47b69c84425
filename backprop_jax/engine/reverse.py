"""The sweep back over a tape."""

from collections.abc import Iterable, Sequence
from typing import Any

from jax.extend import source_info_util
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from backprop_jax.engine import cotangents as ct
from backprop_jax.errors import MissingRule


def reverse(
    nodes: Sequence, seeds: Iterable[tuple[int, Any]], postpone: bool = False
) -> dict[int, Any]:
    """Walks the nodes back and returns the cotangents that arrive where no node made the value.

    Args:
      nodes: the steps, in the order they were taken.
      seeds: pairs of a slot and a cotangent of that value. A slot may come several times.
      postpone: whether a missing derivative becomes part of the program, an error when it runs.
    """
    pending: dict[int, Any] = {}
    for slot, g in seeds:
        pending[slot] = ct.add(pending[slot], g) if slot in pending else g
    for node in reversed(nodes):
        cotangents = [pending.pop(slot, None) for slot in node.results]
        if all(g is None for g in cotangents):
            continue
        source = node.source
        with source_info_util.user_context(source.traceback, name_stack=source.name_stack):
            try:
                gradients = pull(node, cotangents)
            except MissingRule as error:
                if not postpone:
                    raise
                gradients = postponed(error, node, cotangents)
            for slot, gradient in zip(node.operands, gradients, strict=True):
                if slot is not None and gradient is not None:
                    pending[slot] = ct.add(pending[slot], gradient) if slot in pending else gradient
    return pending


def pull(node: Any, cotangents: list) -> list:
    """Returns the cotangents of a step's operands."""
    if node.rule is None:
        raise node.missing_rule()
    return node.rule.pull(node, cotangents)


# A derivative that is missing within a loop, a branch or a compiled function may turn out not to
# be needed: its cotangent is zero, or nobody asks for what depends on it. So it stands in their
# program as an equation, which is an error only where it is compiled.
missing_p = Primitive("missing_derivative")
missing_p.multiple_results = True


@missing_p.def_abstract_eval
def missing_avals(*cotangents: Any, avals: tuple, error: MissingRule) -> list:
    """Returns the types of the cotangents that are missing."""
    del cotangents, error
    return list(avals)


def raise_missing(*cotangents: Any, error: MissingRule, **params: Any) -> list:
    """Raises the error that was postponed."""
    raise error


missing_p.def_impl(raise_missing)
mlir.register_lowering(missing_p, raise_missing)
batching.primitive_batchers[missing_p] = raise_missing


def postponed(error: MissingRule, node: Any, cotangents: list) -> list:
    """Returns cotangents of a step's operands that nobody can compute."""
    wanted = [slot is not None for slot in node.operands]
    avals = tuple(aval for aval, w in zip(node.operand_avals, wanted, strict=True) if w)
    given = [g for g in cotangents if g is not None]
    made = iter(missing_p.bind(*given, avals=avals, error=error))
    return [next(made) if w else None for w in wanted]
