"""What several test files share: double precision, for the tests that ask for it."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    """Runs a test in double precision, and leaves the setting of other tests alone."""
    with jax.enable_x64(True):
        yield
