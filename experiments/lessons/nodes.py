"""(ab + c) f as a graph: each value a node, with what flows back to it."""

import jax.numpy as jnp
from jaxtyping import Array, Float

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson

Scalar = Float[Array, ""]

TEXT = """\
Every program that computes a number is a graph: values are nodes, and each operation joins the
values it takes with the one it makes. For L = (ab + c) f there are three operations, and between
them two values that nobody asked for, e = ab and d = e + c. `bp.explain` draws it:

![The graph of (ab + c) f with values and gradients](graph.svg)

Read it from left to right for the values. Then from right to left for the gradients: each node
holds how fast L changes with it. At L that is 1. Every operation hands back what it got, times its
own local derivative, the number at the edge:

- L = d f: d gets f, f gets d, each times 1. A product crosses over.
- d = e + c: both get what d has. A sum deals out.
- e = a b: a gets b, and b gets a, times what e has.

No node looks farther than its neighbours, and each edge is walked once forward and once back. Here
is the same in words, as `print(bp.explain(L, {operands}))` says it:

```
{text}
```

Does it hold? Move each operand against its gradient, by {rate:g} of it, and L should fall: it goes
from {value:g} to {after:.6g}. To first order it falls by {rate:g} times the sum of the squared
gradients, {fall:.6g}.
"""


def L(a: Scalar, b: Scalar, c: Scalar, f: Scalar) -> Scalar:
    """Returns (a b + c) f."""
    e = a * b
    d = e + c
    return d * f


def lesson(
    a: float = 2.0, b: float = -3.0, c: float = 10.0, f: float = -2.0, rate: float = 0.01
) -> Lesson:
    """Returns the graph with its gradients.

    Args:
      a: an operand.
      b: an operand.
      c: an operand.
      f: an operand.
      rate: of the step that is taken against the gradient.
    """
    at = [jnp.asarray(x) for x in (a, b, c, f)]
    found = bp.explain(L, *at)
    names = ("L", "d", "e", "f", "c", "b", "a")
    gradients = {f"dL/d{name}": float(found[name].cotangent) for name in names}
    gradient = [gradients[f"dL/d{name}"] for name in "abcf"]
    after = L(*(x - rate * slope for x, slope in zip(at, gradient, strict=True)))
    text = str(found)
    return Lesson(
        title="A computation as a graph: (ab + c) f",
        text=TEXT.format(
            operands=", ".join(f"{float(x):g}" for x in at),
            text=text[: text.index("\n\nd")].rstrip(),
            rate=rate,
            value=float(L(*at)),
            after=float(after),
            fall=rate * sum(slope**2 for slope in gradient),
        ),
        numbers={"L": float(L(*at)), "L_after_a_step": float(after), **gradients},
        pictures={"graph.svg": found},
    )
