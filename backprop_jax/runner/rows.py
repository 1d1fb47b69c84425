"""Runs of one program, in rows: those of a row have seed and data in common.

So they have the same batches, and draw the same by chance, which is found once for the whole row:
what the key decides, their step and their key stand in a state once for each row. All else does for
each run.
"""

from collections.abc import Iterable, Sequence

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
    return jax.tree.map(lambda *x: jnp.stack(x).reshape(height, -1, *x[0].shape), *alone)._replace(
        step=jnp.stack([state.step for state in firsts]),
        key=jnp.stack([state.key for state in firsts]),
    )


def fetched(states: State) -> State:
    """Returns the states, run after run, on the host; but for keys, which NumPy cannot hold."""

    def fetch(leaf: jax.Array) -> jax.Array | np.ndarray:
        random = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (leaf if random else np.asarray(leaf)).reshape(-1, *leaf.shape[2:])

    alone = jax.tree.map(fetch, states._replace(step=None, key=None))
    height, width = jax.tree.leaves(states.params)[0].shape[:2]
    row = np.repeat(np.arange(height), width)
    return alone._replace(step=np.asarray(states.step)[row], key=states.key[row])


def no_batches(task: Task, height: int, first: int) -> Int[np.ndarray, "steps rows batch"]:
    """Returns room for the batches of a block of steps, of which `first` are done."""
    return np.zeros((min(LONGEST, task.steps - first), height, task.batch_size), np.int32)
