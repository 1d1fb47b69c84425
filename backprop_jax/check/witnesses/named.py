"""All witnesses by name.

A row says in which module a witness is and what it is called there; the module is imported when it
is first asked, so that nobody pays for a framework that is not.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from backprop_jax.check.witnesses.gradients import written
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
    "numerical":    Row("numerical:extrapolated", "differences, extrapolated"),
    "central":      Row("numerical:central",  "central differences, one step"),
    "forward":      Row("numerical:forward",  "forward differences, one step"),
    "complex":      Row("numerical:complex_step", "the complex step"),
    "directions":   Row("numerical:directions", "slopes along random directions"),
    "taylor":       Row("numerical:taylor",   "the rate at which Taylor's remainder falls"),
    "mpmath":       Row("digits:gradient",    "the function in fifty digits",      "symbolic"),
    "sympy":        Row("symbolic:gradient",  "sympy, from the function itself",   "symbolic"),
    "torch":        Row("pytorch:gradient",   "PyTorch, step by step",             "torch"),
    "tensorflow":   Row("gradient_tape:gradient", "TensorFlow, step by step",      "tensorflow"),
}

OF_FUNCTIONS = {
    "torch":        Row("pytorch:of_function",       "a function of tensors", "torch"),
    "tensorflow":   Row("gradient_tape:of_function", "a function of tensors", "tensorflow"),
}
# fmt: on


Witnesses = Sequence[str] | Mapping[str, Any]


def named(witnesses: Witnesses) -> dict[str, Any]:
    """Returns the witnesses asked for: names, and the function that the user gave for it, or None.

    Raises:
      ValueError: there is no witness of a name.
    """
    given = witnesses if isinstance(witnesses, Mapping) else dict.fromkeys(witnesses)
    for name, own in given.items():
        if own is None and name not in WITNESSES:
            close = get_close_matches(name, WITNESSES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(WITNESSES)}"
            raise ValueError(f"no witness {name!r}; {hint}")
    return dict(given)


def ask(question: Question, name: str, own: Any = None) -> Witness:
    """Returns what the witness of this name says, or why it does not apply.

    Args:
      question: what is asked.
      name: of a witness.
      own: a function of the user's: of tensors for "torch" and "tensorflow", else a gradient.
    """
    if own is not None and name not in OF_FUNCTIONS:
        return written(question, own, name)
    row = WITNESSES[name] if own is None else OF_FUNCTIONS[name]
    try:
        answer = witness(row)
    except DoesNotApply as reason:
        return Witness(name, why_not=str(reason))
    try:
        return answer(question) if own is None else answer(question, own)
    except DoesNotApply as reason:
        return Witness(name, why_not=str(reason))
    except (
        Exception
    ) as error:  # Anything that another system, or the user's function there, raises.
        first = (str(error).splitlines() or [""])[0][:90]
        return Witness(name, why_not=f"it fails there ({type(error).__name__}: {first})")


def witness(row: Row) -> Callable[..., Witness]:
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
