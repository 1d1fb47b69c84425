"""What can go wrong, and how it is said.

Every message has the same four lines: what is wrong, the equation, where the *user* wrote it, and
what to do about it. No message names the machinery or prints a whole array.
"""

import os
from typing import Any

from jax.extend import source_info_util


class BackpropError(Exception):
    """Base of all errors raised by backprop_jax."""


def message(what: str, *, equation: str = "", written_at: str = "", to_go_on: str = "") -> str:
    """Returns the text of an error: `what` on the first line, then the lines that are known."""
    lines = [("equation", equation), ("written at", written_at), ("to go on", to_go_on)]
    return "\n".join([what, *(f"  {key + ':':<12}{text}" for key, text in lines if text)])


def written_at(source: Any) -> str:
    """Returns the user's line, file:line:column (function); seen from the working folder."""
    return source_info_util.summarize(source).removeprefix(os.getcwd() + os.sep)


def here() -> str:
    """Returns the user's line that is being run, see `written_at`."""
    return written_at(source_info_util.current())


class MissingRule(BackpropError, NotImplementedError):
    """A primitive without a rule stands between the result and an argument that needs a gradient.

    For example, with a primitive of your own that nobody has told backprop_jax about::

        MissingRule: no rule for primitive 'my_kernel'.
          equation:   float32[3] = my_kernel float32[3]
          written at: model.py:14:28 (log_likelihood)
          to go on:   add a rule with backprop_jax.extend, or wrap the call in lax.stop_gradient.

    It is raised only when the derivative is really needed: a value that does not reach the result,
    or reaches it through `lax.stop_gradient` alone, needs no rule.
    """


class MissingTranspose(MissingRule, TypeError):
    """A `custom_linear_solve` was not told how to solve the transposed system."""


class MissingReverse(MissingRule, ValueError):
    """What has no reverse, and where `jax.grad` raises a ValueError, too.

    A `jax.custom_batching.custom_vmap` function says how it is batched, not how to reverse it. What
    Python does in a callback nobody sees.
    """


class WrongRule(BackpropError, ValueError):
    """A rule that was given for a primitive or a function is not its derivative.

    For example, with a factor too many::

        WrongRule: the rule given for 'my_kernel' is wrong in x[0]: its slope is 2.4, it says 4.8
        (numbers of both signs).
          equation:   my_kernel float32[3]
          written at: model.py:14:28 (log_likelihood)
          to go on:   correct the rule; if it is meant to be no derivative, say check=False.
    """


class UncheckedRule(UserWarning):
    """A rule that was given could not be put to the test."""


class NotLinear(BackpropError, TypeError):
    """A `custom_jvp` rule is not linear in its tangents, so it has no reverse."""


class EscapedReference(BackpropError, TypeError):
    """A mutable reference (`jax.new_ref`) is used where its value cannot be followed.

    A value that is differentiated is written into a reference made outside of the function, a
    reference made within is returned, or it enters something that does not say what becomes of it.
    """


def lost(what: str, to_go_on: str) -> EscapedReference:
    """Returns the error to raise where what becomes of a value cannot be followed."""
    return EscapedReference(
        message(f"{what} cannot be followed.", written_at=here(), to_go_on=to_go_on)
    )


class BudgetTooSmall(BackpropError, ValueError):
    """A gradient cannot do with as few bytes as `remat=` allows."""


class UnknownStep(BackpropError, ValueError):
    """No step of a function is what a selector says."""


class NotWatched(BackpropError, ValueError):
    """The cotangents of a value cannot be handed over, since nobody knows how many there are."""


class BadHook(BackpropError, TypeError):
    """A hook returned what is no cotangent of the value it stands at."""


class ConfigError(BackpropError):
    """A configuration cannot be run. One line for each mistake, in the order of the file.

    For example::

        digits.yaml:6:3: model.activaton: unknown key; did you mean 'activation'?
        digits.yaml:9:18: optimizer.learning_rate: expected a number, got 'fast'
    """


class DataError(ConfigError):
    """A file with data is not what it is said to be.

    For example::

        visits.csv has no column 'prise'; did you mean 'price'?
        visits.csv, line 17, column 'price': missing or NaN

    Attributes:
      about: what is to blame, a column or the name of a data set. A run looks for it among the
        settings of the experiment's `data`, and puts the place of that in front of the message.
    """

    def __init__(self, text: str, about: str = "") -> None:
        super().__init__(text)
        self.about = about


class CannotPrint(BackpropError):
    """What is said cannot be printed: the disk is full, or whoever read it has closed it.

    Attributes:
      unread: whether it is the latter.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot print: {error.strerror or error}")
        self.unread = isinstance(error, BrokenPipeError)


class CannotWrite(BackpropError, OSError):
    """A result could not be written: the disk is full, or the folder is not to be written in.

    For example::

        CannotWrite: cannot write step-00000400.npz: No space left on device
          written at: runs/digits_mlp-20260728-101500-1/checkpoints
          to go on:   make room, then run the same command with --resume; what was there is whole
    """
