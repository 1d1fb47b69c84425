"""Two measured curves whose best fit is known to eleven digits.

Data, models, starts and best fits: "Statistical Reference Datasets", nonlinear regression, of the
U.S. National Institute of Standards and Technology (itl.nist.gov/div898/strd), in the public
domain. Both are of its higher level of difficulty.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Curve = Callable[[Float[Array, " parameters"], Float[Array, " points"]], Float[Array, " points"]]


class Measured(NamedTuple):
    """Points, a curve to lay through them, and how well it can lie.

    Attributes:
      x: where it was measured.
      y: what was measured.
      curve: maps the parameters and x to what y should be.
      starts: two places to start from; the second one is near the best fit.
      best: the parameters of the best fit, to eleven digits.
      squares: the sum of its squared residuals, to eleven digits.
      labels: what x and y are.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    curve: Curve
    starts: tuple[tuple[float, ...], tuple[float, ...]]
    best: tuple[float, ...]
    squares: float
    labels: tuple[str, str]


def growth(b: Float[Array, "4"], x: Float[Array, " points"]) -> Float[Array, " points"]:
    """Returns b₁ / (1 + exp(b₂ - b₃ x))^(1 / b₄), a growth that levels off at b₁."""
    return b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3])


def mobility(b: Float[Array, "7"], x: Float[Array, " points"]) -> Float[Array, " points"]:
    """Returns (b₁ + b₂ x + b₃ x² + b₄ x³) / (1 + b₅ x + b₆ x² + b₇ x³)."""
    above = b[0] + x * (b[1] + x * (b[2] + x * b[3]))
    return above / (1 + x * (b[4] + x * (b[5] + x * b[6])))


# fmt: off
ONIONS = Measured(
    x=tuple(range(1, 16)),
    y=(16.08, 33.83, 65.80, 97.20, 191.55, 326.20, 386.87, 520.53, 590.03, 651.92, 724.93, 699.56,
       689.96, 637.56, 717.41),
    curve=growth,
    starts=((100.0, 10.0, 1.0, 1.0), (700.0, 5.0, 0.75, 1.3)),
    best=(6.9964151270e2, 5.2771253025, 7.5962938329e-1, 1.2792483859),
    squares=8.7864049080e3,
    labels=("time", "dry weight of an onion"),
)
"""Ratkowsky, Nonlinear Regression Modeling, 1983, pages 62 and 88; NIST's Rat43."""

ELECTRONS = Measured(
    x=(-3.067, -2.981, -2.921, -2.912, -2.840, -2.797, -2.702, -2.699, -2.633, -2.481, -2.363,
       -2.322, -1.501, -1.460, -1.274, -1.212, -1.100, -1.046, -0.915, -0.714, -0.566, -0.545,
       -0.400, -0.309, -0.109, -0.103, 0.010, 0.119, 0.377, 0.790, 0.963, 1.006, 1.115, 1.572,
       1.841, 2.047, 2.200),
    y=(80.574, 84.248, 87.264, 87.195, 89.076, 89.608, 89.868, 90.101, 92.405, 95.854, 100.696,
       101.060, 401.672, 390.724, 567.534, 635.316, 733.054, 759.087, 894.206, 990.785, 1090.109,
       1080.914, 1122.643, 1178.351, 1260.531, 1273.514, 1288.339, 1327.543, 1353.863, 1414.509,
       1425.208, 1421.384, 1442.962, 1464.350, 1468.705, 1447.894, 1457.628),
    curve=mobility,
    starts=((1000.0, 1000.0, 400.0, 40.0, 0.7, 0.3, 0.03),
            (1300.0, 1500.0, 500.0, 75.0, 1.0, 0.4, 0.05)),
    best=(1.2881396800e3, 1.4910792535e3, 5.8323836877e2, 7.5416644291e1, 9.6629502864e-1,
          3.9797285797e-1, 4.9727297349e-2),
    squares=5.6427082397e3,
    labels=("logarithm of the density", "mobility of electrons"),
)
"""Thurber, Semiconductor electron mobility modeling, 1979; NIST's Thurber."""
# fmt: on

MEASURED = {"onions": ONIONS, "electrons": ELECTRONS}
