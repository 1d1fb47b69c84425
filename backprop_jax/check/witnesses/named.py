"""All witnesses by name.

A row says in which module a witness is and what it is called there; the module is imported when it
is first asked, so that nobody pays for a framework that is not.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from backprop_jax.check.witnesses.witness import DoesNotApply, Question, Witness

HERE = "backprop_jax.check.witnesses."


class Row(NamedTuple):
    """A witness.

    Attributes:
      place: `module:function`; the function takes a `Question` and returns a `Witness`, or raises
        `DoesNotApply`.
      about: what it is, in a few words.
      extra: the extra of this package that brings what it needs.
    """

    place: str
    about: str
    extra: str = ""


# fmt: off
WITNESSES = {
    "backprop_jax": Row("gradients:ours",     "this package"),
    "jax":          Row("gradients:jax_grad", "jax.grad"),
    "float64":      Row("gradients:float64",  "jax.grad, everything in float64"),
}
# fmt: on


def ask(question: Question, name: str) -> Witness:
    """Returns what the witness of this name says, or why it does not apply."""
    row = WITNESSES[name]
    try:
        return witness(row)(question)
    except DoesNotApply as reason:
        return Witness(name, why_not=str(reason))


def witness(row: Row) -> Callable[[Question], Witness]:
    """Returns the function that a row names.

    Raises:
      DoesNotApply: it needs a package that is not installed.
    """
    module, _, function = row.place.partition(":")
    try:
        return getattr(importlib.import_module(HERE + module), function)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if not row.extra or package == "backprop_jax":
            raise
        why = f"{package} is not installed: pip install 'backprop-jax[{row.extra}]'"
        raise DoesNotApply(why) from None
