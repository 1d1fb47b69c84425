"""Functions that are run as they are and reversed as something else that computes the same."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive

from backprop_jax.engine.registry import structured
from backprop_jax.engine.units import Unit
from backprop_jax.partition.residuals import split


def reverse_of(
    bind: Callable, model: Callable[..., list], active: Sequence[bool], count: int
) -> Unit:
    """Returns the unit of a function that is run as it is and reversed as its model is.

    Args:
      bind: the function, of all operands; it returns a list.
      model: computes the same from the same operands, of steps that have rules.
      active: which operands can have a gradient.
      count: number of results.
    """

    def backward(operands: list, kept: list, cotangents: list) -> list:
        return split(jax.make_jaxpr(model)(*operands), tuple(active)).pull(operands, cotangents)

    def forward(*operands: Any) -> tuple[list, list]:
        return bind(*operands), []

    return Unit(forward, backward, tuple(range(len(active))), (True,) * count)


def primitive_of(function: Callable, *operands: Any) -> Primitive:
    """Returns the primitive that a function consists of, where it has no public name."""
    return jax.make_jaxpr(function)(*operands).eqns[-1].primitive


scaled_dot_p = primitive_of(lambda x: lax.scaled_dot(x, x), jax.ShapeDtypeStruct((2, 2), "float32"))


def scaled(x: Any, scale: Any, axes: Sequence[int], dtype: Any) -> Any:
    """Returns x times its scale; along the axes one number of the scale serves several of x."""
    for axis in axes:
        shape = list(scale.shape)
        count = x.shape[axis] // shape[axis]
        wide = [*shape[: axis + 1], count, *shape[axis + 1 :]]
        places = [i for i in range(len(wide)) if i != axis + 1]
        shape[axis] *= count
        scale = lax.reshape(lax.broadcast_in_dim(scale, wide, places), shape)
    return lax.convert_element_type(x, dtype) * lax.convert_element_type(scale, dtype)


@structured(scaled_dot_p)
def scaled_dot(
    active: tuple[bool, ...], *, dimension_numbers: tuple, preferred_element_type: Any
) -> Unit:
    """The product of x and y, each times a scale of its own. jax.grad has no rule.

    It is computed in bfloat16, or narrower where the machine can; its reverse in what it returns.
    """

    def bind(*operands: Any) -> list:
        return [
            scaled_dot_p.bind(
                *operands,
                dimension_numbers=dimension_numbers,
                preferred_element_type=preferred_element_type,
            )
        ]

    def model(x: Any, y: Any, scale_x: Any, scale_y: Any) -> list:
        (of_x, of_y), _ = dimension_numbers
        dtype = preferred_element_type
        product = lax.dot_general(
            scaled(x, scale_x, of_x, dtype), scaled(y, scale_y, of_y, dtype), dimension_numbers
        )
        return [product]

    return reverse_of(bind, model, active, 1)
