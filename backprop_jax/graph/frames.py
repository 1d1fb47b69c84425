"""Which calls of the user's functions a step is made in, told apart, the outermost first."""

import os
import sys
import sysconfig
from types import CodeType, FrameType
from typing import Any, NamedTuple

import jax
from jax.extend import source_info_util

#: Whose functions are not the user's.
LIBRARIES = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (jax.__file__, os.path.dirname(__file__))
)
STANDARD = sysconfig.get_paths()["stdlib"] + os.sep
#: What Python calls the frames that stand for no call.
NO_CALL = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


class Frame(NamedTuple):
    """A call that is under way.

    Attributes:
      function: its name.
      line: the line of it that is being run.
      call: a number that tells it from other calls of the same function; None if that is not
        known, as of what has been traced.
    """

    function: str
    line: int
    call: int | None = None


class Calls:
    """Tells the calls of the user's functions apart. It holds on to them: drop it at the end."""

    def __init__(self, until: CodeType) -> None:
        """`until`: what runs the user's function; what has called that does not count."""
        self.until = until
        self.known: dict[int, tuple[FrameType, int]] = {}

    def live(self) -> tuple[Frame, ...]:
        """Returns the calls that are under way."""
        found, frame = [], sys._getframe(1)
        while frame is not None and frame.f_code is not self.until:
            if by_user(frame.f_code.co_filename, frame.f_code.co_name):
                _, number = self.known.setdefault(id(frame), (frame, len(self.known)))
                name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
                found.append(Frame(short(name), frame.f_lineno, number))
            frame = frame.f_back
        return tuple(reversed(found))


def by_user(file: str, function: str) -> bool:
    """Returns whether a function is the user's, and a call of its own."""
    standard = file.startswith(STANDARD) and "site-packages" not in file
    return not (
        standard or file.startswith(LIBRARIES) or file.startswith("<frozen") or function in NO_CALL
    )


def within(around: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Returns the calls within the function whose jaxpr is being run, as it was traced.

    The first is of that function itself. `around` are the calls that it is in.
    """
    traceback = source_info_util.current().traceback
    frames = [] if traceback is None else traceback.frames
    found = [
        Frame(short(f.function_name), f.line_num)
        for f in reversed(frames)
        if by_user(f.file_name, f.function_name.rpartition(".")[2])
    ]
    # What a loop does itself, such as to take a trip's part, is written where the loop is.
    last = [each[:2] for each in found[-len(around) :]]
    if around and last == [each[:2] for each in around]:
        return ()
    return tuple(each._replace(call=None if i else 0) for i, each in enumerate(found))


def short(name: str) -> str:
    """Returns the name of a function without that of the function it is defined in."""
    return name.rpartition("<locals>.")[2]


def named() -> tuple[Any, ...]:
    """Returns the `jax.named_scope`s, one object for each time that one is entered."""
    return tuple(source_info_util.current_name_stack().stack)
