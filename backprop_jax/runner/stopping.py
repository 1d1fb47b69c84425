"""Being asked to stop: Ctrl-C and SIGTERM end a run after the step it is at, its progress saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = "interrupted from the keyboard", "terminated"

SIGNALS = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


@contextmanager
def stop_when_asked() -> Iterator[Callable[[], str | None]]:
    """Yields a function that says by what the run has been asked to stop, None if it has not.

    A second Ctrl-C or SIGTERM does what it always does. Only the main thread can be asked.
    """
    asked: list[str] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(SIGNALS[signal.Signals(number)])
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before: dict[int, Callable[[int, FrameType | None], None] | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        before.update({number: signal.signal(number, ask) for number in SIGNALS})
    try:
        yield lambda: asked[0] if asked else None
    finally:
        restore()
