"""2x + 4 and (3x + 4y)³ as computational graphs, with the paths back through them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson

Scalar = Float[Array, ""]

TEXT = """\
The smallest program that is worth a graph is y = 2x + 4: a product and a sum.

![The graph of 2x + 4](line.svg)

There is one path from y back to x, over the sum (its factor is 1) and the product (its factor is
2), so dy/dx = 1 · 2 = {line:g}. The numbers 2 and 4 are constants: nobody asks how y changes with
them, so nothing flows to them, and no gradient is computed there. At x = {x:g}, y is
{line_value:g}.

Now z = (3x + 4y)³. Two operands meet in a sum, and what is made of them goes through a cube:

![The graph of (3x + 4y)³](cube.svg)

Call the sum s = 3x + 4y; here it is {inner:g}. From z there is one path to each operand, and both
begin with the same factor, dz/ds = 3s² = {outer:g}. The way back computes it once and hands it to
both:

    dz/dx = {x_factors}
          = {x_formula} = {dx:g}

    dz/dy = {y_factors}
          = {y_formula} = {dy:g}

That is the whole economy of the reverse mode: what paths have in common is walked once.
Differentiating from the operands forward would walk through the cube twice, once for x and once for
y. With a thousand operands it would do so a thousand times.
"""


def y(x: Scalar) -> Scalar:
    """Returns 2 x + 4."""
    return 2 * x + 4


line = y
"""Another name for it, where y is an operand."""


def z(x: Scalar, y: Scalar) -> Scalar:
    """Returns (3 x + 4 y)³."""
    s = 3 * x + 4 * y
    return s**3


def lesson(x: float = 1.0, y: float = 2.0) -> Lesson:
    """Returns the two graphs and the factors along their paths.

    Args:
      x: the first operand, of both.
      y: the second one, of the cube.
    """
    one, two = jnp.asarray(x), jnp.asarray(y)
    straight, cube = bp.explain(line, one), bp.explain(z, one, two)
    (by_x,), (by_y,) = cube.paths("x"), cube.paths("y")
    return Lesson(
        title="Two computational graphs: 2x + 4 and (3x + 4y)³",
        text=TEXT.format(
            x=x,
            line=float(straight["x"].cotangent),
            line_value=float(line(one)),
            inner=float(cube["s"].value),
            outer=float(cube["s"].cotangent),
            x_factors=" · ".join(map(str, by_x.factors)),
            x_formula=by_x.formula,
            dx=by_x.product,
            y_factors=" · ".join(map(str, by_y.factors)),
            y_formula=by_y.formula,
            dy=by_y.product,
        ),
        numbers={
            "line": line(one),
            "line_gradient": straight["x"].cotangent,
            "cube": z(one, two),
            "cube_gradient_by_x": cube["x"].cotangent,
            "cube_gradient_by_y": cube["y"].cotangent,
            "product_of_factors_by_x": by_x.product,
            "product_of_factors_by_y": by_y.product,
        },
        pictures={"line.svg": straight, "cube.svg": cube},
    )
