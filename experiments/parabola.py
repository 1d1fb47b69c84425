"""A parabola, the first function whose slope one measures."""

from jaxtyping import Array, Float


def f(x: Float[Array, ""]) -> Float[Array, ""]:
    """Returns 3 x² - 4 x + 5; its slope at 3 is 14."""
    return 3 * x**2 - 4 * x + 5
