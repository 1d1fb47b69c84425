"""The chain rule with three travellers: a car, a bicycle and a walker."""

from typing import Annotated

import jax.numpy as jnp
from annotated_types import Gt
from jaxtyping import Array, Float

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

TEXT = """\
A car is {outer:g} times as fast as a bicycle, and the bicycle {inner:g} times as fast as a walker.
How much faster than the walker is the car? {outer:g} × {inner:g} = {whole:g} times. That is the
chain rule.

![Bicycle over walker, car over bicycle, car over walker: three lines and their slopes](slopes.png)

In terms of functions: the way of the bicycle depends on that of the walker, and the way of the car
on that of the bicycle,

    bicycle = {inner:g} · walker        d bicycle / d walker = {inner:g}
    car     = {outer:g} · bicycle       d car / d bicycle    = {outer:g}

and what the car does when the walker moves is the product of the two:

    d car / d walker = d car / d bicycle · d bicycle / d walker = {outer:g} · {inner:g} = {whole:g}

Each slope in the picture is measured by `bp.grad`, the third one on the composition
`car(bicycle(walker))`, without being told the other two. A slope is an exchange rate: metres of the
car for each metre of the walker. Rates multiply, however long the chain, and however crooked the
functions are, since close to a point every smooth function is a straight line.
"""


def lesson(
    car_over_bicycle: Annotated[float, Gt(0)] = 2.0,
    bicycle_over_walker: Annotated[float, Gt(0)] = 4.0,
) -> Lesson:
    """Returns the three rates.

    Args:
      car_over_bicycle: how many times faster the car is.
      bicycle_over_walker: how many times faster the bicycle is.
    """

    def bicycle(walker: Float[Array, ""]) -> Float[Array, ""]:
        return bicycle_over_walker * walker

    def car(bicycle: Float[Array, ""]) -> Float[Array, ""]:
        return car_over_bicycle * bicycle

    ways = {
        "bicycle over walker": (bicycle, style.BLUE),
        "car over bicycle": (car, style.GREEN),
        "car over walker": (lambda walker: car(bicycle(walker)), style.ORANGE),
    }
    slopes = {name: float(bp.grad(way)(jnp.ones(()))) for name, (way, _) in ways.items()}
    figure, row = style.panels(3, width=9.6, height=3.6)
    for axes, (name, (way, colour)) in zip(row, ways.items(), strict=True):
        ahead, _, behind = name.split()
        slope = slopes[name]
        x = jnp.asarray(style.over(0, 3, 4))
        axes.plot(x, way(x), color=colour, **style.LINE)
        axes.plot([1, 2, 2], [slope, slope, 2 * slope], color=style.INK, lw=1)
        style.note(axes, "1", (1.5, slope), offset=(-3, -13))
        style.note(axes, f"{slope:g}", (2, 1.5 * slope), offset=(5, -4))
        style.title(axes, f"{name}: {slope:g}")
        axes.set(xlabel=f"metres of the {behind}", ylabel=f"metres of the {ahead}")
        axes.set(xlim=(0, 3), ylim=(0, 3 * max(slopes.values())))
    inner, outer, whole = slopes.values()
    return Lesson(
        title="The chain rule: car, bicycle, walker",
        text=TEXT.format(inner=inner, outer=outer, whole=whole),
        numbers={
            "bicycle_over_walker": inner,
            "car_over_bicycle": outer,
            "car_over_walker": whole,
            "product": outer * inner,
        },
        pictures={"slopes.png": figure},
    )
