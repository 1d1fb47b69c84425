"""3x² + 2y + 5 on vectors: a cotangent of ones, and what a pullback is."""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
from annotated_types import MinLen
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import backprop_jax as bp
from backprop_jax.errors import ConfigError
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

Vector = Float[Array, " n"]
Numbers = Annotated[tuple[float, ...], MinLen(1)]

TEXT = """\
z = 3x² + 2y + 5 with vectors x and y is not one number but {count}, and each may depend on every
element of x and y. All those slopes together are two matrices, the *Jacobians* of z by x and by y.
Row i says how z[i] changes, column j what x[j] changes. Here both are diagonal, since z[i] depends
on x[i] and y[i] alone: 6x on the one diagonal, 2 on the other.

A gradient is that of one number. A *cotangent* g says of which: it is a weight for each element of
z, and what is differentiated is the weighted sum. What comes back is g times the Jacobian:

![The cotangent times the Jacobians by x and by y, with the products](pullback.png)

With a cotangent of ones that is the gradient of the sum of z: 6x for x, and 2 for each element of
y.

```python
z, pullback = bp.vjp(lambda x, y: 3 * x**2 + 2 * y + 5, x, y)
grad_x, grad_y = pullback(jnp.ones_like(z))
```

    x      = {x}
    y      = {y}
    z      = {z}
    grad_x = {grad_x}
    grad_y = {grad_y}

The matrices are drawn here to be seen; `pullback` never makes them. It multiplies the cotangent by
6x, element by element, which costs {count} multiplications and not {square}. That is what
reverse-mode rules are: not the Jacobian of a step, but the product of a cotangent with it. A
framework that calls this `z.backward(torch.ones_like(z))` means the same. A cotangent of (1, 0,
..., 0) would hand back the first rows, and with one such cotangent after the other `bp.jacobian`
collects them all.
"""


def f(x: Vector, y: Vector) -> Vector:
    """Returns 3 x² + 2 y + 5."""
    return 3 * x**2 + 2 * y + 5


def lesson(x: Numbers = (1.0, 2.0, 3.0, 4.0), y: Numbers = (5.0, 6.0, 7.0, 8.0)) -> Lesson:
    """Returns what a cotangent of ones pulls back.

    Args:
      x: a vector.
      y: another one, as long.
    """
    if len(x) != len(y):
        raise ConfigError(f"x has {len(x)} elements and y {len(y)}; they are added up")
    at = jnp.asarray(x), jnp.asarray(y)
    z, pullback = bp.vjp(f, *at)
    cotangent = jnp.ones_like(z)
    grad_x, grad_y = pullback(cotangent)
    jacobians = bp.jacobian(f, argnums=(0, 1))(*at)
    return Lesson(
        title="Vectors: a cotangent of ones",
        text=TEXT.format(
            count=len(x),
            square=len(x) ** 2,
            x=_row(x),
            y=_row(y),
            z=_row(z),
            grad_x=_row(grad_x),
            grad_y=_row(grad_y),
        ),
        numbers={
            "z": z,
            "gradient_of_x": grad_x,
            "gradient_of_y": grad_y,
            "ones_times_the_jacobian_by_x": cotangent @ jacobians[0],
            "ones_times_the_jacobian_by_y": cotangent @ jacobians[1],
        },
        pictures={"pullback.png": _pullback(cotangent, jacobians, (grad_x, grad_y))},
    )


def _row(values: object) -> str:
    """Returns numbers side by side."""
    return "".join(f"{float(one):>6g}" for one in np.asarray(values))


def _pullback(
    cotangent: Vector,
    jacobians: tuple[Float[Array, "n n"], ...],
    products: tuple[Vector, ...],
) -> Figure:
    """Returns g J = product as numbers in coloured cells, a row of the picture for each operand."""
    count = len(cotangent)
    figure = Figure(figsize=(9.0, 5.4), dpi=style.DPI, layout="constrained")
    grid = figure.subplots(2, 3)
    most = max(float(jnp.abs(one).max()) for one in jacobians)
    names = ("x", "y")
    for row, name, jacobian, product in zip(grid, names, jacobians, products, strict=True):
        _cells(row[0], np.asarray(cotangent)[None], most, "g, the cotangent of z")
        _cells(row[1], np.asarray(jacobian), most, f"Jacobian of z by {name}")
        _cells(row[2], np.asarray(product)[None], most, f"g J: gradient by {name}")
        for axes, sign in zip(row[:2], ("×", "="), strict=True):
            how = {"fontsize": 16, "color": style.INK, "ha": "center", "va": "center"}
            across = 1.16 if sign == "×" else 1.12
            axes.text(across, 0.5, sign, transform=axes.transAxes, **how)
        row[1].set_xlabel(f"element of {name}, 0 to {count - 1}", fontsize=style.SMALL)
        row[1].set_ylabel("element of z", fontsize=style.SMALL)
    return figure


def _cells(axes: Axes, values: np.ndarray, most: float, title: str) -> None:
    """Draws a matrix as numbers in coloured cells."""
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.6 * most)
    for (i, j), value in np.ndenumerate(values):
        colour = style.INK if value else style.PALE
        axes.text(j, i, f"{value:g}", ha="center", va="center", color=colour, fontsize=style.TEXT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(style.PALE)
    style.title(axes, title)
