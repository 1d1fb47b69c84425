"""Calls of public functions at a point where we have no gradient, and why: by order.

The names are those of the table in `tests/survey`, which tries them.
"""

MEETING = "the rule of the rule divides by a difference of eigenvalues or singular values that meet"

FIRST: dict[str, str] = {
    "special.boxcox lambda 0": "JAX computes log x there, which does not depend on lambda",
    "lax.polygamma order": "its order is a whole number",
}

SECOND: dict[str, str] = {
    "np.linalg.eigh repeated, function": MEETING,
    "np.linalg.eigh identity function": MEETING,
    "np.linalg.svd repeated polar": MEETING,
}
