"""What several test files share: double precision, and a book that is as it was after a test."""

from collections.abc import Iterator

import jax
import pytest

from backprop_jax.engine.registry import book


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
