"""Calls of public functions at a point where we have no gradient, and why: by order.

The names are those of the table in `tests/survey`, which tries them.
"""

MEETING = "the rule of the rule divides by a difference of eigenvalues or singular values that meet"

FIRST: dict[str, str] = {
    "special.boxcox lambda 0": "JAX computes log x there, which does not depend on lambda",
    "linalg det of 0x0": "JAX's own custom_jvp rule takes the first of no elements; so in jax.grad",
    "lax.polygamma order": "its order is a whole number",
}

SECOND: dict[str, str] = {
    "svd values repeated sum of squares": MEETING,
    "nuclear norm of identity": MEETING,
    "lstsq of low rank": MEETING,
    "det 5x5 rank 3": "JAX's own custom_jvp rule divides by two zeros on the diagonal of a factor",
    "truncnorm one-sided tail": "JAX chooses among formulas, and another one is NaN there",
}
