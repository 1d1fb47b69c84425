"""f(g(h(i(j(x))))): five functions in a row, walked back factor by factor."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import diagram, style

Scalar = Float[Array, ""]

FUNCTIONS: dict[str, tuple[str, Callable[[Scalar], Scalar]]] = {
    "j": ("x²", jnp.square),
    "i": ("3x", lambda x: 3 * x),
    "h": ("sin x", jnp.sin),
    "g": ("exp x", jnp.exp),
    "f": ("ln(1 + x)", jnp.log1p),
}
"""In the order in which they are applied: name, formula, function."""

TEXT = """\
Put five functions in a row, each taking what the one before it returns:

    y = f(g(h(i(j(x)))))        {formulas}

The way forward computes {count} values from left to right. The way back starts at y with the
cotangent 1 (y changes by 1 if y changes by 1), and goes from right to left. At each function it
multiplies by the slope of that function alone, at the value that went into it:

![Values on the way forward, factors and cotangents on the way back](chain.png)

    dy/dx = f'(g) · g'(h) · h'(i) · i'(j) · j'(x)
          = {factors}
          = {gradient:.6g}

Nothing more is needed of a function than its own slope: no function has to know what stands around
it. That is why one rule for each primitive is enough to differentiate every program made of them.
Below is each function by itself, with the tangent at the value it was given. The product of the
five slopes of these tangents is the gradient.

![Each of the five functions with its tangent](factors.png)

Why from right to left? The product is the same in either order, for numbers. For vectors the
factors are matrices, and starting at y, where there is one number, every product is of a row with a
matrix and never of two matrices. That is what makes the way back cheap.

In code, the two ways are two loops over `bp.vjp`, which returns a function's value and its
pullback, and the pullback multiplies a cotangent by the slope:

```python
pullbacks = []
for function in (j, i, h, g, f):
    x, pullback = bp.vjp(function, x)
    pullbacks.append(pullback)
cotangent = 1.0
for pullback in reversed(pullbacks):
    (cotangent,) = pullback(cotangent)
```
"""


class Ways(NamedTuple):
    """One run, forward and back.

    Attributes:
      values: x, then what each function returns.
      factors: the slope of each function where it was.
      cotangents: dy/d(value), for each of the values.
    """

    values: list[float]
    factors: list[float]
    cotangents: list[float]


def lesson(at: float = 0.8) -> Lesson:
    """Returns the factors of the gradient of the composition.

    Args:
      at: the x where the chain begins.
    """
    ways = forward_and_back(at)

    def composed(x: Scalar) -> Scalar:
        for _, function in FUNCTIONS.values():
            x = function(x)
        return x

    gradient = float(bp.grad(composed)(jnp.asarray(at)))
    backwards = list(reversed(ways.factors))
    return Lesson(
        title="The chain rule, factor by factor",
        text=TEXT.format(
            formulas=", ".join(f"{name} = {formula}" for name, (formula, _) in FUNCTIONS.items()),
            count=len(FUNCTIONS),
            factors=" · ".join(f"({x:.4g})" if x < 0 else f"{x:.4g}" for x in backwards),
            gradient=gradient,
        ),
        numbers={
            "value": ways.values[-1],
            "factors_from_the_result_back": backwards,
            "product": ways.cotangents[0],
            "gradient": gradient,
        },
        pictures={"chain.png": _chain(ways), "factors.png": _factors(ways)},
    )


def forward_and_back(at: float) -> Ways:
    """Returns values, factors and cotangents of the chain at a point."""
    x = jnp.asarray(at)
    values, pullbacks = [x], []
    for _, function in FUNCTIONS.values():
        x, pullback = bp.vjp(function, x)
        values.append(x)
        pullbacks.append(pullback)
    factors = [pullback(jnp.ones_like(x))[0] for pullback in pullbacks]
    cotangents = [jnp.ones_like(x)]
    for pullback in reversed(pullbacks):
        cotangents.append(pullback(cotangents[-1])[0])
    found = (values, factors, reversed(cotangents))
    return Ways(*([float(one) for one in each] for each in found))


def _chain(ways: Ways) -> Figure:
    """Returns the chain as boxes: forward above, back below."""
    figure, (axes,) = style.panels(width=9.6, height=2.5)
    diagram.empty(axes, (-0.45, len(FUNCTIONS) + 0.45), (-0.75, 1.75))
    for place, (value, cotangent) in enumerate(zip(ways.values, ways.cotangents, strict=True)):
        name = ["x", *FUNCTIONS][place]
        diagram.box(axes, (place, 1), f"{name} = {value:.4g}")
        diagram.box(axes, (place, 0), f"{cotangent:.4g}", style.ORANGE)
    for place, (name, (formula, _)) in enumerate(FUNCTIONS.items()):
        diagram.arrow(axes, (place, 1), (place + 1, 1), style.BLUE, shrinkA=32, shrinkB=32)
        diagram.word(axes, (place + 0.5, 1.32), f"{name}: {formula}", style.BLUE)
        diagram.arrow(axes, (place + 1, 0), (place, 0), style.ORANGE, shrinkA=26, shrinkB=26)
        diagram.word(axes, (place + 0.5, -0.32), f"× {ways.factors[place]:.4g}", style.ORANGE)
    axes.text(-0.45, 1.75, "forward: values", color=style.BLUE, fontsize=style.TEXT, va="top")
    axes.text(-0.45, -0.75, "back: dy/d(value)", color=style.ORANGE, fontsize=style.TEXT)
    return figure


def _factors(ways: Ways) -> Figure:
    """Returns each function with its tangent."""
    figure, row = style.panels(len(FUNCTIONS), width=11, height=2.7)
    for place, (axes, name) in enumerate(zip(row, FUNCTIONS, strict=True)):
        formula, function = FUNCTIONS[name]
        here, slope, value = ways.values[place], ways.factors[place], ways.values[place + 1]
        x = jnp.asarray(style.over(here - 0.8, here + 0.8))
        axes.plot(x, jax.vmap(function)(x), color=style.BLUE, **style.LINE)
        near = style.over(here - 0.5, here + 0.5)
        axes.plot(near, value + slope * (near - here), color=style.ORANGE, **style.LINE)
        axes.plot(here, value, color=style.ORANGE, **style.DOT)
        style.title(axes, f"{name} = {formula}")
        axes.set_xlabel(f"slope {slope:.4g}", color=style.ORANGE)
    return figure
