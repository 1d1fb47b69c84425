"""What several test files share: double precision, and a book that is as it was after a test."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from backprop_jax.engine.registry import book
from tests.quick import compiled_quickly

TESTS = Path(__file__).parent
OPTIMISED = (
    *("check/test_accuracy.py", "partition", "test_docs.py"),
    *("rules/test_edges.py", "runner/test_engines_agree.py", "runner/test_experiments.py"),
)
"""Where what XLA makes of a program matters: last digits, memory, and many steps of training."""


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def compiled_in_short(request: pytest.FixtureRequest) -> Iterator[None]:
    """Elsewhere a small program runs once, and compiling is all."""
    path = request.path.relative_to(TESTS)
    matters = any(path.is_relative_to(part) for part in OPTIMISED)
    with contextlib.nullcontext() if matters else compiled_quickly():
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """Runs a test in double precision, and leaves the setting of other tests alone."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def the_book_as_it_was() -> Iterator[None]:
    """Rules that a test adds are gone after it."""
    before = dict(book)
    yield
    book.clear()
    book.update(before)
