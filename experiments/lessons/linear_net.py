"""A linear network of two layers: the gradient as a sum over paths."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import diagram, style

Pair = tuple[float, float]
Scalar = Float[Array, ""]

TEXT = """\
Two numbers x1 and x2 go into two units h1 and h2, and these into y. Every arrow multiplies by its
weight, every node adds up what arrives:

    h1 = {w11} x1 + {w12} x2
    h2 = {w21} x1 + {w22} x2
    y  = {v1} h1 + {v2} h2

![The network with its weights, and the paths from y to x1 and to x2](paths.png)

If x2 moves, h1 *and* h2 move, and y hears of it twice. Along one path the factors multiply; what
arrives over several paths is added. That is the chain rule for a graph that branches:

{sums}

The way back does not list paths. It goes node by node: h1 has {v1}, h2 has {v2}, and x2 gets from
each of them what it has times the weight between them, and adds the two up. A node that is used
twice gets two contributions; forgetting to add them is the classic mistake of whoever writes a
backward pass by hand.

Here there are {count} paths. In a network with 10 layers of 100 units there are 100¹⁰ of them, and
the way back still takes one multiplication for each weight. Written with matrices the sum over
paths *is* the product of matrices, row times matrix: y = V W x, so the gradient is V W =
({gradient}).
"""


class Route(NamedTuple):
    """One way from y to an input.

    Attributes:
      operand: the input, 0 or 1.
      unit: the hidden unit it goes through, 0 or 1.
      factors: the two weights on it.
    """

    operand: int
    unit: int
    factors: Pair

    @property
    def product(self) -> float:
        """What arrives over this way."""
        return self.factors[0] * self.factors[1]


def lesson(
    inputs: Pair = (1.0, 2.0),
    first: tuple[Pair, Pair] = ((0.5, -1.5), (0.25, 2.0)),
    second: Pair = (3.0, -0.5),
) -> Lesson:
    """Returns the gradient by the inputs, and the paths that it is the sum of.

    Args:
      inputs: x1 and x2.
      first: the weights of the first layer, a row for each hidden unit.
      second: the weights of the second layer.
    """
    weights, last = jnp.asarray(first), jnp.asarray(second)

    def y(x: Float[Array, "2"]) -> Scalar:
        return last @ (weights @ x)

    gradient = bp.grad(y)(jnp.asarray(inputs))
    routes = [Route(i, u, (second[u], first[u][i])) for i in (0, 1) for u in (0, 1)]
    sums = [sum(one.product for one in routes if one.operand == i) for i in (0, 1)]
    (w11, w12), (w21, w22) = first
    return Lesson(
        title="A linear network: paths multiplied and summed",
        text=TEXT.format(
            w11=_number(w11),
            w12=_number(w12),
            w21=_number(w21),
            w22=_number(w22),
            v1=_number(second[0]),
            v2=_number(second[1]),
            sums="\n\n".join(_sum(i, routes, sums[i]) for i in (0, 1)),
            count=len(routes),
            gradient=", ".join(f"{float(one):g}" for one in gradient),
        ),
        numbers={
            "y": y(jnp.asarray(inputs)),
            "gradient": gradient,
            "paths_summed": sums,
            "paths": [one.product for one in routes],
            "product_of_matrices": last @ weights,
        },
        pictures={"paths.png": _picture(inputs, routes, weights, last)},
    )


def _sum(operand: int, routes: list[Route], whole: float) -> str:
    """Returns the gradient by an input, written out."""
    mine = [one for one in routes if one.operand == operand]
    words = [f"dy/dh{one.unit + 1} · dh{one.unit + 1}/dx{operand + 1}" for one in mine]
    factors = [f"{_number(one.factors[0])} · {_number(one.factors[1])}" for one in mine]
    products = [_number(one.product) for one in mine]
    head = f"    dy/dx{operand + 1} = "
    lines = [" + ".join(words), " + ".join(factors), f"{' + '.join(products)} = {whole:g}"]
    return head + f"\n{' ' * (len(head) - 2)}= ".join(lines)


def _number(x: float) -> str:
    """Returns a number as it stands in a sum."""
    return f"({x:g})" if x < 0 else f"{x:g}"


def _picture(
    inputs: Pair, routes: list[Route], weights: Float[Array, "2 2"], last: Float[Array, "2"]
) -> Figure:
    """Returns the network, and beside it the paths to each input."""
    hidden = weights @ jnp.asarray(inputs)
    values = [f"x{i + 1} = {x:g}" for i, x in enumerate(inputs)]
    values += [f"h{i + 1} = {float(h):g}" for i, h in enumerate(hidden)]
    values += [f"y = {float(last @ hidden):g}"]
    places = [(0.0, 1.0), (0.0, 0.0), (1.2, 1.0), (1.2, 0.0), (2.4, 0.5)]
    figure, row = style.panels(3, width=12, height=3.1)
    for axes in row:
        diagram.empty(axes, (-0.5, 2.9), (-0.25, 1.25))
    _network(row[0], places, values, routes)
    for operand, axes in enumerate(row[1:]):
        _routes(axes, places, operand, routes)
    return figure


def _network(axes: Axes, places: list[Pair], values: list[str], routes: list[Route]) -> None:
    """Draws the way forward, with the weights at the arrows."""
    for place, value in zip(places, values, strict=True):
        diagram.box(axes, place, value)
    for one in routes:
        begin, end = places[one.operand], places[2 + one.unit]
        diagram.arrow(axes, begin, end, style.BLUE, shrinkA=30, shrinkB=30)
        across, up = _between(begin, end, 0.36)
        # On the arrow where it is steep, above it where it is flat and short.
        here = (0.5 * (begin[0] + end[0]), up + 0.1) if begin[1] == end[1] else (across, up)
        diagram.word(axes, here, f"{one.factors[1]:g}", style.BLUE)
        if one.operand == 0:
            end, begin = places[4], places[2 + one.unit]
            diagram.arrow(axes, begin, end, style.BLUE, shrinkA=30, shrinkB=30)
            diagram.word(axes, _between(begin, end, 0.5), f"{one.factors[0]:g}", style.BLUE)
    style.title(axes, "forward")


def _routes(axes: Axes, places: list[Pair], operand: int, routes: list[Route]) -> None:
    """Draws the ways back from y to an input."""
    names = ("x1", "x2", "h1", "h2", "y")
    colours = (style.ORANGE, style.GREEN)
    mine = [one for one in routes if one.operand == operand]
    for index, (place, name) in enumerate(zip(places, names, strict=True)):
        dim = index < 2 and index != operand
        diagram.box(axes, place, name, style.PALE if dim else style.BLUE)
    for one in mine:
        for begin, end, factor in (
            (places[4], places[2 + one.unit], one.factors[0]),
            (places[2 + one.unit], places[operand], one.factors[1]),
        ):
            diagram.arrow(axes, begin, end, colours[one.unit], shrinkA=18, shrinkB=18)
            diagram.word(axes, _between(begin, end, 0.5), f"× {factor:g}", colours[one.unit])
    told = " + ".join(_number(one.product) for one in mine)
    whole = sum(one.product for one in mine)
    style.title(axes, f"back to x{operand + 1}: {told} = {whole:g}")


def _between(begin: Pair, end: Pair, share: float) -> Pair:
    """Returns the point a share of the way from one to another."""
    return begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])
