"""Hooks from a configuration: what becomes of a cotangent at some place on its way back.

    gradient:
      hooks:
        dense: {scale: 0.5}           # times a number
        "layers.py:34": reverse       # times -1
        tanh: {clip: 1.0}             # every element between -1 and 1
        dropout: {clip_norm: 10.0}    # made as short as that, if it is longer
        attention: mine.py:told       # a function from cotangent to cotangent

The key says where, as in `hooks` of `backprop_jax.grad`: by a function, a line, a primitive, a
`jax.named_scope` or a `checkpoint_name`.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import AfterValidator, WithJsonSchema

from backprop_jax.runner.words import hint


def scale(number: float, g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns g times a number."""
    return g * number


def clip(largest: float, g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns g with every element between -largest and largest."""
    return jnp.clip(g, -largest, largest)


def clip_norm(longest: float, g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns g, made as short as `longest` if it is longer."""
    norm = jnp.sqrt(jnp.sum(jnp.square(g)))
    return g * jnp.where(norm > longest, longest / norm, 1)


Hooks = Mapping[str, Callable[[Any], Any]]
"""What becomes of a cotangent, by where."""

REVERSE = "reverse"

WAYS: dict[str, Callable[[float, Any], Any]] = {
    "scale": scale,
    "clip": clip,
    "clip_norm": clip_norm,
}
"""What a hook with a number does, by its key."""

EXPECTED = f"expected {REVERSE}, a function file.py:name, or one of {', '.join(WAYS)} with a number"


def known(said: Any) -> Any:
    """Returns what a configuration says of a hook.

    Raises:
      ValueError: it means nothing.
    """
    match said:
        case str():
            place, _, name = said.rpartition(":")
            if said != REVERSE and not (place and name):
                raise ValueError(f"unknown hook {said!r}{hint(said, [REVERSE])}; {EXPECTED}")
        case dict() if len(said) == 1:
            ((way, number),) = said.items()
            if way not in WAYS:
                raise ValueError(f"unknown hook {way!r}{hint(way, WAYS)}")
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"{way}: expected a number, got {number!r}")
            if not math.isfinite(number) or (way != "scale" and number <= 0):
                above = " above 0" if way != "scale" else ""
                raise ValueError(f"{way}: expected a finite number{above}, got {number!r}")
        case _:
            raise ValueError(EXPECTED)
    return said


Hook = Annotated[
    Any,
    AfterValidator(known),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                *(
                    {
                        "type": "object",
                        "properties": {way: {"type": "number"}},
                        "required": [way],
                        "additionalProperties": False,
                    }
                    for way in WAYS
                ),
            ]
        }
    ),
]
"""A hook in a configuration."""


def hook_of(said: Any, load: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Returns the function that a configuration means.

    Args:
      said: what it says.
      load: finds the function of a name `file.py:name`.
    """
    if isinstance(said, str):
        return functools.partial(scale, -1.0) if said == REVERSE else load(said)
    ((way, number),) = said.items()
    return functools.partial(WAYS[way], float(number))
