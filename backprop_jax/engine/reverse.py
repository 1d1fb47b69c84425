"""The sweep back over a tape."""

from collections.abc import Iterable, Sequence
from typing import Any

from jax.extend import source_info_util

from backprop_jax.engine import cotangents as ct


def reverse(nodes: Sequence, seeds: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    """Walks the nodes back and returns the cotangents that arrive where no node made the value.

    Args:
      nodes: the steps, in the order they were taken.
      seeds: pairs of a slot and a cotangent of that value. A slot may come several times.
    """
    pending: dict[int, Any] = {}
    for slot, g in seeds:
        pending[slot] = ct.add(pending[slot], g) if slot in pending else g
    for node in reversed(nodes):
        cotangents = [pending.pop(slot, None) for slot in node.results]
        if all(g is None for g in cotangents):
            continue
        source = node.source
        if node.rule is None:
            raise node.missing_rule()
        with source_info_util.user_context(source.traceback, name_stack=source.name_stack):
            gradients = node.rule.pull(node, cotangents)
            for slot, gradient in zip(node.operands, gradients, strict=True):
                if slot is not None and gradient is not None:
                    pending[slot] = ct.add(pending[slot], gradient) if slot in pending else gradient
    return pending
