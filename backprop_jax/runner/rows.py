"""Runs of one program, in rows: those of a row have seed and data in common.

So they have the same batches, and draw the same by chance, which is found once for the whole row:
what the key decides, their step and their key stand in a state once for each row. All else does for
each run.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from backprop_jax.runner.plan import Plan
from backprop_jax.runner.state import State
from backprop_jax.runner.task import Task

LONGEST = 64
"""Steps, at most, that are done without a look from outside."""

WITHIN = State._make((0, 0, None, None, 0, 0))
"""The axes of a row's state along which its runs stand."""


def in_rows(
    plans: Sequence[Plan], parts: Sequence[int], which: Iterable[int]
) -> Int[np.ndarray, "rows columns"]:
    """Returns the numbers of some runs, those with the same seed and data in one row.

    Where that makes no rectangle, each is a row by itself.

    Args:
      plans: of all runs.
      parts: which of the data sets is each one's own.
      which: the runs that are meant.
    """
    rows: dict[tuple[int, int], list[int]] = {}
    for number in which:
        rows.setdefault((plans[number].config.seed, parts[number]), []).append(number)
    even = len({len(row) for row in rows.values()}) == 1
    return np.array(list(rows.values()) if even else [[n] for row in rows.values() for n in row])


def laid(states: Sequence[State], height: int) -> State:
    """Returns the states of runs, row after row, as one in `height` rows."""
    alone = [state._replace(step=None, key=None) for state in states]
    firsts = states[:: len(states) // height]

    return jax.tree.map(lambda *leaves: stacked(leaves, height, -1), *alone)._replace(
        step=stacked([state.step for state in firsts], height),
        key=stacked([state.key for state in firsts], height),
    )


def stacked(leaves: Sequence[Any], *shape: int) -> jax.Array:
    """Returns arrays, or keys, as one; put together on the host, where nothing is compiled.

    Args:
      leaves: all of one shape.
      shape: how they stand in it.
    """

    def stack(parts: Sequence[Any]) -> jax.Array:
        whole = np.stack([np.asarray(part) for part in parts])
        return jnp.asarray(whole.reshape(*shape, *whole.shape[1:]))

    if not _is_random(leaves[0]):
        return stack(leaves)
    kind = jax.random.key_impl(leaves[0])
    return jax.random.wrap_key_data(stack([jax.random.key_data(x) for x in leaves]), impl=kind)


def fetched(states: State) -> list[State]:
    """Returns the state of each run, on the host; but for keys, which NumPy cannot hold."""
    leaves, structure = jax.tree.flatten(states._replace(step=None, key=None))
    each = zip(*(_apart(leaf, 2) for leaf in leaves), strict=True)
    rows = zip(_apart(states.step, 1), _apart(states.key, 1), strict=True)
    width = leaves[0].shape[1]
    common = [(step, key) for step, key in rows for _ in range(width)]
    return [
        jax.tree.unflatten(structure, own)._replace(step=step, key=key)
        for own, (step, key) in zip(each, common, strict=True)
    ]


def _apart(leaf: jax.Array, axes: int) -> list[Any]:
    """Returns the entries of an array, or of one of keys, along its first axes, on the host."""
    random = _is_random(leaf)
    whole = np.asarray(jax.random.key_data(leaf) if random else leaf)
    entries = whole.reshape(-1, *whole.shape[axes:])
    if not random:
        return list(entries)
    kind = jax.random.key_impl(leaf)
    return [jax.random.wrap_key_data(jnp.asarray(one), impl=kind) for one in entries]


def _is_random(leaf: Any) -> bool:
    """Says whether an array is one of keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def no_batches(task: Task, height: int, first: int) -> Int[np.ndarray, "steps rows batch"]:
    """Returns room for the batches of a block of steps, of which `first` are done."""
    return np.zeros((min(LONGEST, task.steps - first), height, task.batch_size), np.int32)
