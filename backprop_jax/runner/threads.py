"""Threads: for what the cores do side by side, and for what waits for a disk."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import jax

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""How many there are for this process."""

WRITERS = 8
"""Files, at most, that are waited for at the same time."""


def computers(precision: str) -> Executor:
    """Returns a thread for each core, all in this precision."""

    def begin() -> None:
        # What JAX computes in belongs to a thread.
        jax.enable_x64(precision == "float64").__enter__()

    return ThreadPoolExecutor(CORES, "computer", begin)


def writers() -> Executor:
    """Returns threads that write files."""
    return ThreadPoolExecutor(WRITERS, "writer")


def each(items: Sequence[Any], write: Callable[[Any], Any]) -> None:
    """Has something written for each, many at the same time: most of it is to wait."""
    with writers() as threads:
        list(threads.map(write, items))
