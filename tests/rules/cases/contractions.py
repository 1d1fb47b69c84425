# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of products: matrices and convolutions."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.rules.case import COMPLEX, REAL, Case, Domain


def dot(contract: tuple, batch: tuple = ((), ()), **options: object) -> Callable:
    """Returns the product that contracts and batches the given axes of x and of y."""
    return lambda x, y: lax.dot_general(x, y, (contract, batch), **options)


def conv(stride: object, padding: object, layout: object = None, **options: object) -> Callable:
    """Returns the convolution of these settings."""
    return lambda x, y: lax.conv_general_dilated(
        x, y, stride, padding, dimension_numbers=layout, **options
    )


LAST = ("NHWC", "HWIO", "NHWC")
MIXED = ("HNWC", "OHWI", "CWNH")

#: Rows of each of two groups.
SIZES = Domain(lambda rng, shape: np.array([2, 4], np.int32))


def ragged(dims: tuple, row: int, group: tuple) -> Callable:
    """Returns a ragged product, its dimension numbers given."""
    numbers = lax.RaggedDotDimensionNumbers(dims, [row], group)
    return lambda x, y, sizes: lax.ragged_dot_general(x, y, sizes, numbers)


# fmt: off
CASES = [
    # -- matrices --------------------------------------------------------------------
    Case("dot_general", dot(((1,), (0,))),                              [(2, 3), (3, 4)]),
    Case("dot_general", dot(((0,), (1,))),                              [(3, 2), (4, 3)],             note="first by last"),
    Case("dot_general", dot(((0,), (0,))),                              [(3,), (3,)],                 note="vectors"),
    Case("dot_general", dot(((1,), (0,))),                              [(2, 3), (3,)],               note="matrix by vector"),
    Case("dot_general", dot(((), ())),                                  [(2,), (3,)],                 note="outer"),
    Case("dot_general", dot(((2,), (1,)), ((0,), (0,))),                [(2, 3, 4), (2, 4, 2)],       note="batched"),
    Case("dot_general", dot(((0,), (2,)), ((2,), (1,))),                [(4, 3, 2), (3, 2, 4)],       note="batched, axes anywhere"),
    Case("dot_general", dot(((3, 0), (1, 2)), ((1,), (3,))),            [(2, 3, 4, 5), (3, 5, 2, 3)], note="two contracted"),
    Case("dot_general", dot(((), ()), ((0, 1), (1, 0))),                [(2, 3), (3, 2)],             note="batched, none contracted"),
    Case("dot_general", dot(((1,), (0,)), preferred_element_type="float64"), [(2, 3), (3, 4)],        note="result in float64"),
    Case("dot_general", lambda x: x @ x.T,                              [(2, 3)],                     note="by its own transpose"),
    Case("dot_general", lambda x, y: jnp.einsum("bqhd,bkhd->bhqk", x, y), [(1, 2, 2, 3), (1, 3, 2, 3)], note="attention"),
    Case("dot_general", dot(((1,), (0,))),                              [(2, 3), (3, 2)],             COMPLEX, "of complex numbers", ("complex64",)),
    Case("dot_general", dot(((1,), (0,))),                              [(2, 0), (0, 3)],             note="nothing to sum"),
    # -- convolutions ----------------------------------------------------------------
    Case("conv_general_dilated", conv((1,), "VALID"),                   [(1, 2, 5), (3, 2, 2)],       note="1-D"),
    Case("conv_general_dilated", conv((2,), ((1, 2),)),                 [(2, 2, 6), (3, 2, 3)],       note="1-D, stride, padding"),
    Case("conv_general_dilated", conv((1,), ((-1, 0),)),                [(1, 1, 6), (1, 1, 2)],       note="1-D, negative padding"),
    Case("conv_general_dilated", conv((2,), ((1, 1),), lhs_dilation=(3,)), [(1, 2, 4), (2, 2, 3)],    note="1-D, dilated x"),
    Case("conv_general_dilated", conv((2,), ((1, 1),), rhs_dilation=(2,)), [(1, 2, 7), (2, 2, 3)],    note="1-D, dilated y"),
    Case("conv_general_dilated", conv((3,), ((2, 1),), lhs_dilation=(2,), rhs_dilation=(2,)), [(1, 1, 5), (1, 1, 3)], note="1-D, both dilated"),
    Case("conv_general_dilated", conv((1,), "SAME", feature_group_count=2), [(1, 4, 5), (6, 2, 3)],   note="1-D, feature groups"),
    Case("conv_general_dilated", conv((1,), "SAME", batch_group_count=2), [(4, 2, 5), (6, 2, 3)],     note="1-D, batch groups"),
    Case("conv_general_dilated", conv((1, 1), "SAME", LAST),            [(1, 4, 4, 2), (3, 3, 2, 3)], note="2-D, channels last"),
    Case("conv_general_dilated", conv((2, 1), ((1, 0), (0, 2)), LAST, rhs_dilation=(1, 2)), [(2, 4, 5, 2), (2, 2, 2, 3)], note="2-D, stride, padding, dilation"),
    Case("conv_general_dilated", conv((1, 2), "VALID", MIXED),          [(4, 2, 5, 2), (3, 2, 3, 2)], note="2-D, mixed layout"),
    Case("conv_general_dilated", conv((1, 1), "SAME", LAST, feature_group_count=2), [(1, 3, 3, 2), (2, 2, 1, 4)], note="2-D, depthwise"),
    Case("conv_general_dilated", conv((2, 2), "SAME", LAST, batch_group_count=2), [(2, 4, 4, 2), (2, 2, 2, 4)], note="2-D, batch groups, stride"),
    Case("conv_general_dilated", lambda x, y: lax.conv_transpose(x, y, (2, 2), "SAME"), [(1, 2, 3, 2), (3, 3, 2, 2)], note="2-D, transposed"),
    Case("conv_general_dilated", conv((1,), "VALID"),                   [(1, 1, 4), (1, 1, 2)],       COMPLEX, "of complex numbers", ("complex64",)),
    Case("scaled_dot", lambda x, y, u, v: lax.scaled_dot(x, y, lhs_scale=u, rhs_scale=v, preferred_element_type=np.float64), [(2, 4), (4, 3), (2, 2), (1, 3)], dtypes=("float32",), has_slope=False, jax_fails="no rule", note="it is rounded to bfloat16"),
    Case("scaled_dot", lambda x, y: lax.scaled_dot(x, y, preferred_element_type=np.float64), [(2, 2, 4), (2, 4, 3)], dtypes=("float32",), has_slope=False, jax_fails="no rule", note="without scales"),
    # -- ragged ----------------------------------------------------------------------
    Case("ragged_dot_general", lax.ragged_dot,                     [(6, 3), (2, 3, 4), (2,)], (REAL, REAL, SIZES), jax_fails="no second derivative"),
    Case("ragged_dot_general", ragged((((0,), (0,)), ((), ())), 0, ()),              [(6, 3), (6, 4), (2,)], (REAL, REAL, SIZES), "groups along the sum", dtypes=("float32",), jax_fails="no rule"),
    Case("ragged_dot_general", ragged((((2,), (1,)), ((0,), (0,))), 0, ()),          [(4, 2, 3), (4, 3, 2), (2,)], (REAL, REAL, SIZES), "groups of batches", dtypes=("float32",), jax_fails="no rule"),
    Case("ragged_dot_general", ragged((((1, 2), (1, 0)), ((), ())), 0, (2,)),        [(6, 3, 2), (2, 3, 2, 4), (2,)], (REAL, REAL, SIZES), "two sums", dtypes=("float32",), jax_fails="no second derivative"),
]
# fmt: on
