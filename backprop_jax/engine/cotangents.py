"""What flows back: cotangents, their sum, their absence, and the values that have none.

An absent cotangent is `None`: a zero that nobody has computed, and nobody will. It becomes an array
of zeros in two places only: where a user is given a gradient, and where a rule with several results
wants all of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives

from backprop_jax.dtypes import can_move, float0
from backprop_jax.meshes import filled, of_cotangents

FOREIGN = (float, complex, np.ndarray, np.generic)


def is_differentiable(aval: Any) -> bool:
    """Returns whether a value of this type has a cotangent; integers, booleans, keys have none."""
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and can_move(dtype)


def add(g: Any, h: Any) -> Any:
    """Returns the sum of two contributions to one value."""
    return primitives.add_jaxvals_p.bind(g, h)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A cotangent that is zero but in the part of an array that was read.

    Attributes:
      place: what `together` knows it by.
      alone: returns the whole of it.
      together: (places, the rest or None) → the whole of all parts of one array, and the rest.
    """

    place: Any
    alone: Callable[[], Any]
    together: Callable[[Sequence, Any], Any]


class Sum:
    """The contributions to one cotangent. Parts wait for each other; the others are added in pairs.

    So the sum is a balanced tree of which it holds, for n terms, log n branches at a time.
    """

    def __init__(self, *terms: Any) -> None:
        self.branches: list[tuple[int, Any]] = []  # number of terms, their sum
        self.parts: list[Part] = []
        for g in terms:
            self.add(g)

    def add(self, g: Any) -> None:
        """Adds a contribution."""
        if type(g) is Part:
            self.parts.append(g)
            return
        count = 1
        while self.branches and self.branches[-1][0] == count:
            g = add(self.branches.pop()[1], g)
            count *= 2
        self.branches.append((count, g))

    def total(self) -> Any:
        """Returns the sum."""
        branches = [g for _, g in self.branches]
        rest = functools.reduce(lambda g, h: add(h, g), reversed(branches)) if branches else None
        if not self.parts:
            return rest
        return self.parts[0].together([part.place for part in self.parts], rest)


def whole(g: Any) -> Any:
    """Returns a cotangent as one array, or None, whatever it has been so far."""
    return g.alone() if type(g) is Part else g.total() if type(g) is Sum else g


def zeros(aval: Any) -> Any:
    """Returns the zero cotangent of a value of this type; `float0` if it can have no other."""
    if not is_differentiable(aval):
        return np.zeros(aval.shape, float0)
    return filled(of_cotangents(aval), 0)


def weaken(gradient: Any, aval: Any) -> Any:
    """Returns the gradient of a Python number as one: it does not widen what it meets."""
    if not aval.weak_type or jax.typeof(gradient).weak_type:
        return gradient
    options = {"new_dtype": aval.dtype, "weak_type": True, "sharding": None}
    return lax.convert_element_type_p.bind(gradient, **options)


def presented(gradients: Sequence, avals: Sequence) -> list:
    """Returns gradients as a user is given them: zeros for absent ones, weak where numbers were."""
    pairs = zip(gradients, avals, strict=True)
    return [zeros(aval) if g is None else weaken(g, aval) for g, aval in pairs]


def instantiate(cotangents: list, avals: list) -> list:
    """Returns the cotangents with zeros in the places of the absent ones."""
    return [zeros(aval) if g is None else g for g, aval in zip(cotangents, avals, strict=True)]


def arrays(cotangents: list) -> list:
    """Returns the cotangents as arrays of JAX's, whatever a user has given."""
    return [jnp.asarray(g) if isinstance(g, FOREIGN) else g for g in cotangents]


def fit(gradient: Any, aval: Any) -> Any:
    """Returns the gradient of an elementwise operand in the operand's own shape and dtype.

    An operand of rank 0, or of size 1 along an axis, was broadcast against the others: its gradient
    is the sum over all places. An operand of narrower dtype takes its gradient in that dtype.
    """
    shape = aval.shape
    if gradient.shape != shape:
        axes = [i for i, n in enumerate(gradient.shape) if not shape or n != shape[i]]
        gradient = lax.reduce_sum(gradient, axes)
        gradient = gradient if gradient.shape == shape else lax.reshape(gradient, shape)
    return gradient if gradient.dtype == aval.dtype else convert(gradient, aval.dtype)


def convert(g: Any, dtype: Any) -> Any:
    """Returns `g` in another inexact dtype; the imaginary part has no place in a real one."""
    if g.dtype == dtype:
        return g
    if jnp.iscomplexobj(g) and not jax.dtypes.issubdtype(dtype, np.complexfloating):
        g = lax.real(g)
    return lax.convert_element_type(g, dtype)
