"""Runs of one program, in rows: those of a row have seed and data in common.

So they have the same batches, and draw the same by chance, which is found once for the whole row:
what the key decides, their step and their key stand in a state once for each row. All else does for
each run.

On a processor, as many rows are a group as the caches of a core hold, and each core takes a block
of steps with one group after the other: to have all states from memory at each step takes longer,
and so do the cores together over one small product. Elsewhere all rows are one group.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from backprop_jax.runner.numbers import Numbers
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.state import State
from backprop_jax.runner.task import Rows, Task, batches
from backprop_jax.runner.threads import CORES

LONGEST = 64
"""Steps, at most, that are done without a look from outside."""

CACHE = 4 * 2**20
"""Bytes of states, about, that a core's caches hold with what a step needs besides."""

WITHIN = State._make((0, 0, None, None, 0, 0))
"""The axes of a row's state along which its runs stand."""


@dataclass
class Group:
    """Rows that are gone on with at once, in all of these the first axis.

    Attributes:
      states: of the runs.
      numbers: in which they differ.
      parts: which of the data sets is each row's own.
      keys: of their seeds.
      orders: the batches of each row, one after the other.
      batches: room for those of a block of steps.
    """

    states: State
    numbers: Numbers
    parts: Int[np.ndarray, " rows"]
    keys: PRNGKeyArray
    orders: Sequence[Iterator[Rows]]
    batches: Int[np.ndarray, "steps rows batch"]


def fitting(state: State, runs: int) -> int | None:
    """Returns how many of some runs with a state like this are a group; None for all."""
    if jax.default_backend() != "cpu":
        return None
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return max(1, min(CACHE // size, math.ceil(runs / CORES)))


def in_rows(
    plans: Sequence[Plan], parts: Sequence[int], which: Iterable[int], at_once: int | None
) -> Int[np.ndarray, "groups rows columns"]:
    """Returns the numbers of some runs, those with the same seed and data in one row, by groups.

    Where that makes no rectangle, each is a row by itself. A row that is too long for a group is
    cut.

    Args:
      plans: of all runs.
      parts: which of the data sets is each one's own.
      which: the runs that are meant.
      at_once: how many may be a group, None for all.
    """
    rows: dict[tuple[int, int], list[int]] = {}
    for number in which:
        rows.setdefault((plans[number].config.seed, parts[number]), []).append(number)
    even = len({len(row) for row in rows.values()}) == 1
    found = np.array(list(rows.values()) if even else [[n] for row in rows.values() for n in row])
    width = _part_of(found.shape[1], at_once or found.size)
    found = found.reshape(-1, width)
    height = _part_of(len(found), (at_once or found.size) // width)
    return found.reshape(-1, height, width)


def _part_of(whole: int, most: int) -> int:
    """Returns the largest number up to `most` of which `whole` is a multiple."""
    return next(part for part in range(min(whole, most), 0, -1) if whole % part == 0)


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


def laid_numbers(numbers: Numbers, rows: Int[np.ndarray, "rows columns"]) -> Numbers:
    """Returns the numbers of some runs as these stand in rows; on the host, as `stacked`."""
    return {key: np.asarray(x)[rows] for key, x in numbers.items()}


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


def group_of(
    plans: Sequence[Plan],
    task: Task,
    states: Sequence[State],
    numbers: Numbers,
    parts: Sequence[int],
    rows: Int[np.ndarray, "rows columns"],
) -> Group:
    """Returns runs that are at the same step as a group.

    Args:
      plans: of all runs, as `states`, `numbers` and `parts` are.
      task: of one of them.
      states: where each is.
      numbers: in which they differ.
      parts: which of the data sets is each one's own.
      rows: the numbers of the runs that are meant.
    """
    step, height = int(states[rows[0, 0]].step), len(rows)
    seeds = [plans[first].config.seed for first in rows[:, 0]]
    return Group(
        laid([states[number] for number in rows.flat], height),
        laid_numbers(numbers, rows),
        np.array([parts[first] for first in rows[:, 0]], np.int32),
        stacked([jax.random.key(seed) for seed in seeds], height),
        [batches(seed, task.size, task.batch_size, step) for seed in seeds],
        no_batches(task, height, step),
    )
