"""Calls of public functions at a point where we have no gradient, and why: by order.

The names are those of the table in `tests/survey`, which tries them.
"""

INTEGER = "JAX's custom_jvp rule of xlogy multiplies by the tangent of an integer; so in jax.grad"
ORDER = "JAX's own custom_jvp rule leaks a tracer, its order n, at second order; so in jax.grad"
MEETING = "the rule of the rule divides by a difference of eigenvalues or singular values that meet"

FIRST: dict[str, str] = {
    "special.boxcox lambda 0": "JAX computes log x there, which does not depend on lambda",
    "lax.polygamma order": "its order is a whole number",
    **{f"stats.gumbel_{side}.{f}": INTEGER for side in "lr" for f in ("pdf", "logpdf", "ppf")},
}

SECOND: dict[str, str] = {
    **{f"special.{name}": ORDER for name in ("exp1", "exp1 large", "expn", "expn 1", "expn large")},
    "special.fresnel at whole numbers": "JAX's own custom_jvp rule has kinks where x² is even",
    "np.linalg.eigh repeated, function": MEETING,
    "np.linalg.eigh identity function": MEETING,
    "np.linalg.svd repeated polar": MEETING,
}
