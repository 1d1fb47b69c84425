"""x² + 4x + 4: the function, its gradient, and the tangent at a point."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

TEXT = """\
A gradient answers one question: if x moves a little, how much does f move? For f(x) = x² + 4x + 4
the answer at any x is f'(x) = 2x + 4. At {at:g} the function is {value:g} and its gradient
{slope:g}: a step of 0.01 to the right raises f by about {rise:.2g}.

![The function with its tangent, and the gradient over x](tangent.png)

On the left, the tangent is the straight line through the point ({at:g}, {value:g}) with just that
slope. Close to the point, curve and line cannot be told apart; after a step of 1 to either side
they are {gap:g} apart, since the slope itself has changed on the way. On the right is that slope
for every x: each point of the orange line is `bp.grad(f)` at one x. It is negative where f falls,
positive where f rises, and zero at {minimum:g}, where f is lowest.
"""


def f(x: Float[Array, ""]) -> Float[Array, ""]:
    """Returns x² + 4 x + 4, which is (x + 2)²."""
    return x**2 + 4 * x + 4


def lesson(at: float = 2.5, reach: float = 5.5) -> Lesson:
    """Returns the function and its gradient around the minimum.

    Args:
      at: where the tangent touches.
      reach: how far to each side of the minimum is drawn.
    """
    value, slope = map(float, bp.value_and_grad(f)(at))
    x = jnp.asarray(style.over(-2 - reach, -2 + reach))
    slopes = jax.vmap(bp.grad(f))(x)
    # The gradient is a straight line here, so one step of Newton's method ends at its zero.
    minimum = at - slope / float(bp.grad(bp.grad(f))(at))

    figure, (left, right) = style.panels(2, width=9.2)
    left.plot(x, f(x), color=style.BLUE, **style.LINE)
    near = style.over(at - 3.2, at + 1.6)
    left.plot(near, value + slope * (near - at), color=style.ORANGE, **style.LINE)
    left.plot(at, value, color=style.ORANGE, **style.DOT)
    style.note(left, f"slope {slope:g}", (at, value), style.ORANGE, offset=(-62, 4))
    style.title(left, "f(x) = x² + 4x + 4, and its tangent")
    right.axhline(0, color=style.INK, lw=0.8)
    right.plot(x, slopes, color=style.ORANGE, **style.LINE)
    right.plot(at, slope, color=style.ORANGE, **style.DOT)
    style.note(right, f"({at:g}, {slope:g})", (at, slope), style.ORANGE, offset=(-56, 4))
    right.plot(minimum, 0, color=style.GREEN, **style.DOT)
    style.note(right, f"lowest at {minimum:g}", (minimum, 0), style.GREEN, offset=(4, -16))
    style.title(right, "its gradient, f'(x) = 2x + 4")
    for axes in (left, right):
        axes.set_xlabel("x")
    rise, gap = 0.01 * slope, float(f(jnp.asarray(at + 1))) - value - slope
    return Lesson(
        title="A function, its gradient and a tangent",
        text=TEXT.format(at=at, value=value, slope=slope, rise=rise, gap=gap, minimum=minimum),
        numbers={"value": value, "gradient": slope, "zero_of_the_gradient": minimum},
        pictures={"tangent.png": figure},
    )
