"""How many operations a step takes: additions and multiplications, near enough to compare."""

import math
from collections.abc import Callable
from typing import Any

from jax import lax

from backprop_jax.engine.jaxprs import held, variables


def elements(aval: Any) -> int:
    """Returns the number of elements of a type."""
    return math.prod(getattr(aval, "shape", ()))


def of_product(equation: Any) -> int:
    """Returns the operations of a contraction."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    terms = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
    return 2 * terms * elements(equation.outvars[0].aval)


def of_convolution(equation: Any) -> int:
    """Returns the operations of a convolution."""
    kernel = equation.invars[1].aval
    channels = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * elements(equation.outvars[0].aval) * elements(kernel) // channels


COSTS: dict[Any, Callable[[Any], int]] = {
    lax.dot_general_p: of_product,
    lax.conv_general_dilated_p: of_convolution,
}


def operations(equation: Any) -> int:
    """Returns the operations of an equation, and of those within it; a loop counts its trips.

    A loop whose trips are not known counts one. Anything but a product or a convolution takes one
    for each element that it reads or makes, whichever are more.
    """
    if inner := held(equation.params):
        trips = equation.params["length"] if equation.primitive is lax.scan_p else 1
        return trips * sum(operations(e) for each in inner for e in each.eqns)
    if equation.primitive in COSTS:
        return COSTS[equation.primitive](equation)
    read = sum(elements(v.aval) for v in variables(equation.invars))
    return max(read, sum(elements(v.aval) for v in equation.outvars))
