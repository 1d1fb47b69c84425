"""What reverse rules of users log on the way back, beside the cotangents (`defvjp_with_logs`)."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

logs: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("logs", default=None)


@contextlib.contextmanager
def collecting() -> Iterator[dict[str, Any]]:
    """Gathers what is logged meanwhile, by name; whoever gathers further out hears nothing of it.

    So no value leaves the loop or the compiled function it belongs to but as a result of that.
    """
    found: dict[str, Any] = {}
    token = logs.set(found)
    try:
        yield found
    finally:
        logs.reset(token)


def paired(backward: Callable) -> Callable:
    """Returns a function as one that returns a pair, what was logged meanwhile the second."""

    @functools.wraps(backward)
    def pair(*args: Any) -> tuple[Any, dict[str, Any]]:
        with collecting() as found:
            return backward(*args), found

    return pair


def log(entries: Mapping[str, Any] | None) -> None:
    """Hands entries to whoever gathers them.

    Raises:
      ValueError: there is an entry of such a name already, of this way back.
    """
    found = logs.get()
    if found is None or not entries:
        return
    for name in entries:
        if name in found:
            raise ValueError(
                f"Duplicate backward-pass log key {name!r}: each must be unique within a way back."
            )
    found.update(entries)
