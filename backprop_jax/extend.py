"""The second public page: the words to write a rule with, for people who bring primitives along.

    from jax.extend.core import Primitive
    from backprop_jax import extend

    my_square_p = Primitive("my_square")
    extend.elementwise(my_square_p, lambda g, x: g * (2 * x))

See `backprop_jax.engine.registry` for what the parameter names of a formula mean.
"""

from backprop_jax.engine.registry import bilinear as bilinear
from backprop_jax.engine.registry import dear_to_recompute as dear_to_recompute
from backprop_jax.engine.registry import elementwise as elementwise
from backprop_jax.engine.registry import linear as linear
from backprop_jax.engine.registry import missing as missing
from backprop_jax.engine.registry import piecewise_constant as piecewise_constant
from backprop_jax.engine.registry import pullback as pullback
from backprop_jax.engine.registry import structured as structured
