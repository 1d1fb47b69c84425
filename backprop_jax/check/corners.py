"""Calls of public functions at a point where we have no gradient, and why: by order.

The names are those of the table in `tests/survey`, which tries them.
"""

FIRST: dict[str, str] = {
    "special.boxcox lambda 0": "JAX computes log x there, which does not depend on lambda",
    "lax.polygamma order": "its order is a whole number",
}

TAIL = "JAX chooses among formulas, and another one is NaN there"

SECOND: dict[str, str] = {
    "stats.truncnorm infinite": TAIL,
    "truncnorm one-sided tail": TAIL,
}
