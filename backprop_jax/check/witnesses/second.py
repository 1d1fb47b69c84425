"""Second derivatives as first ones: of the gradient along a direction."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.witness import Question


def along(question: Question, gradient: Callable[..., Any]) -> Question:
    """Returns the question for the derivative of the gradient's product with a fixed direction.

    The gradient of the new function is the second derivative times the direction, so each witness
    answers as it does for the first. The direction has entries of either sign, between 1/2 and 3/2.

    Args:
      question: about a real function without aux.
      gradient: `jax.grad`, or ours: who takes the first derivative.
    """
    generator = np.random.default_rng(0)

    def entries(leaf: Any) -> np.ndarray:
        drawn = generator.uniform(0.5, 1.5, np.shape(leaf)) * generator.choice(
            [-1.0, 1.0], np.shape(leaf)
        )
        return np.asarray(drawn, jnp.asarray(leaf).dtype) if is_inexact(leaf) else drawn

    directions = jax.tree.map(entries, question.differentiated)
    first = gradient(question.fun, **question.options)

    def sloped(*args: Any, **kwargs: Any) -> Any:
        found = jax.tree.leaves(first(*args, **kwargs))
        pairs = zip(found, jax.tree.leaves(directions), strict=True)
        parts = [jnp.sum(jnp.real(x * v)) for x, v in pairs if is_inexact(x)]
        return sum(parts[1:], parts[0])

    sloped.__signature__ = signature_of(question.fun)
    return replace(question, fun=sloped)


def signature_of(fun: Callable[..., Any]) -> Any:
    """Returns the signature of a function, for the names of its operands."""
    try:
        return inspect.signature(fun)
    except (TypeError, ValueError):
        return inspect.signature(lambda *args: None)
