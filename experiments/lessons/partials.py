"""ab + c: what each operand alone does to the result."""

from typing import Annotated

import jax.numpy as jnp
from annotated_types import Gt
from jaxtyping import Array, Float

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

Scalar = Float[Array, ""]

TEXT = """\
d = ab + c has three operands, here a = {a:g}, b = {b:g}, c = {c:g}, so d = {d:g}. A *partial
derivative* asks what d does when one of them moves and the other two stay where they are:

![d over each operand alone, with its slope](partials.png)

- If a grows by h, ab grows by bh: the slope is b, {b:g}. Where b is negative, more of a means less.
- If b grows by h, ab grows by ah: the slope is a, {a:g}. In a product each gets the other one.
- If c grows by h, so does d: the slope is 1, whatever a and b are. A sum hands its cotangent on as
  it is.

All three are straight lines, since d has no square of anything. That is why moving an operand by h
= {h:g} and looking, (d(a + h) - d(a)) / h and so on, gives the slopes to all digits but those that
rounding takes:

| operand | moved by h, d is | difference over h | `bp.grad` |
| --- | --- | --- | --- |
{rows}

The three together are the *gradient*, ({gradient}). `bp.grad(d, argnums=(0, 1, 2))` computes them
in one walk back, and would for a million operands; moving them one by one takes a run for each.
"""


def d(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """Returns a b + c."""
    return a * b + c


def lesson(
    a: float = 2.0, b: float = -3.0, c: float = 10.0, h: Annotated[float, Gt(0)] = 1e-4
) -> Lesson:
    """Returns the partial derivatives, by gradient and by difference.

    Args:
      a: the first factor.
      b: the second factor.
      c: the summand.
      h: how far an operand is moved to measure a slope.
    """
    at = {"a": jnp.asarray(a), "b": jnp.asarray(b), "c": jnp.asarray(c)}
    value = float(d(**at))
    gradient = [float(x) for x in bp.grad(d, argnums=(0, 1, 2))(*at.values())]
    moved = [float(d(**at | {name: at[name] + h})) for name in at]
    differences = [(one - value) / h for one in moved]
    rows = [
        f"| {name} | {one:.10g} | {difference:.10g} | {slope:g} |"
        for name, one, difference, slope in zip(at, moved, differences, gradient, strict=True)
    ]
    figure, panels = style.panels(3, width=9.6, height=3.4)
    colours = (style.BLUE, style.GREEN, style.ORANGE)
    reach = 2.0
    for axes, name, slope, colour in zip(panels, at, gradient, colours, strict=True):
        here = float(at[name])
        x = jnp.asarray(style.over(here - reach, here + reach, 5))
        axes.plot(x, d(**at | {name: x}), color=colour, **style.LINE)
        axes.plot(here, value, color=colour, **style.DOT)
        axes.set(xlabel=name, ylim=(value - 4 * reach, value + 4 * reach))
        others = ", ".join(f"{key} = {float(x):g}" for key, x in at.items() if key != name)
        style.title(axes, f"slope {slope:g}, at {others}")
    panels[0].set_ylabel("d = ab + c")
    return Lesson(
        title="Partial derivatives of ab + c",
        text=TEXT.format(
            a=a,
            b=b,
            c=c,
            d=value,
            h=h,
            rows="\n".join(rows),
            gradient=", ".join(f"{x:g}" for x in gradient),
        ),
        numbers={"value": value, "gradient": gradient, "differences": differences},
        pictures={"partials.png": figure},
    )
