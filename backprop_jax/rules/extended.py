"""What makes values of JAX's extended dtypes, and what takes them apart."""

import types
from typing import Any

import jax
import numpy as np
from jax import lax

from backprop_jax.dtypes import of_tangents
from backprop_jax.engine.registry import linear, missing

# Random keys are of such a dtype, but are not converted: what is has to be made for the purpose.
Extended: Any = type(jax.eval_shape(jax.random.key, 0).dtype).__base__


class Example(Extended):
    """A dtype made of numbers of 32 bits."""

    name = "example"
    type = jax.dtypes.extended
    _rules = types.SimpleNamespace(
        allow_conversion=True,
        physical_element_aval=lambda dtype: jax.typeof(np.float32(0)),
    )


def there_and_back(x: Any) -> Any:
    """Returns a number, which has been of another dtype in between."""
    return lax.convert_element_type(lax.convert_element_type(x, Example()), np.float32)


def same_numbers(g: Any, x: Any) -> Any:
    """Returns g in the dtype of cotangents of x, if it is as long."""
    g = lax.convert_element_type(g, of_tangents(x.dtype))
    return g if g.shape == x.shape else missing("its tangents are not made of what it is made of")


for equation in jax.make_jaxpr(there_and_back)(np.float32(0)).eqns:
    linear(equation.primitive, same_numbers)
