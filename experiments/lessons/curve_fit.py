"""A function with many results, its Jacobian, and the steps made with it: fitting a curve.

The residuals of a fit are a function from a few parameters to many numbers. Its Jacobian says how
each residual moves with each parameter. Gauss-Newton takes the residuals for linear and jumps to
where the sum of their squares would then be least; Levenberg-Marquardt does so within what it has
learnt to trust; gradient descent knows the sum of squares alone.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, MinLen
from jax import lax
from jaxtyping import Array, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import least_squares

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style
from experiments.lessons.measured import MEASURED, Measured

Residuals = Callable[[Float[Array, " parameters"]], Float[Array, " points"]]
Step = Callable[[tuple], tuple]

FOUND = 1e-9
"""A fit is found when its sum of squares is above the least by less than this share of it."""

FLOOR = 1e-12
"""What is less is rounding, and drawn here."""

SUBSCRIPTS = "₁₂₃₄₅₆₇"


class Fit(NamedTuple):
    """How a method went.

    Attributes:
      parameters: after each step, the first before any; (steps + 1, parameters).
      squares: the sum of squares, likewise.
    """

    parameters: np.ndarray
    squares: np.ndarray


class Fitted(NamedTuple):
    """What was found out about one curve.

    Attributes:
      data: the points and the curve.
      fits: by method and start.
      jacobian: of the residuals at the best fit.
      gradient_apart: largest relative difference between Jᵀ r and the gradient of half the sum of
        squares, at the far start.
      scipy_apart: relative difference between our least sum of squares and that of scipy.
      certified_apart: between ours and the one that is certified, likewise.
      condition: of Jᵀ J at the best fit, parameters in units of the far start.
    """

    data: Measured
    fits: dict[str, Fit]
    jacobian: np.ndarray
    gradient_apart: float
    scipy_apart: float
    certified_apart: float
    condition: float


# -- the steps --------------------------------------------------------------------------
def gauss_newton(residuals: Residuals) -> Step:
    """Returns a step to where the squares of r + J d would be least."""
    jacobian = bp.jacfwd(residuals)

    def step(state: tuple) -> tuple:
        (b,) = state
        return (b + jnp.linalg.lstsq(jacobian(b), -residuals(b))[0],)

    return step


def levenberg_marquardt(residuals: Residuals) -> Step:
    """Returns a step to the solution d of (Jᵀ J + λ diag Jᵀ J) d = -Jᵀ r, if that is lower.

    Then λ is divided by ten, else it is multiplied by ten, and nothing else is done.

    Source: Marquardt 1963, SIAM Journal on Applied Mathematics 11, 431-441.
    """
    jacobian = bp.jacfwd(residuals)

    def step(state: tuple) -> tuple:
        b, damping = state
        r, j = residuals(b), jacobian(b)
        normal = j.T @ j
        new = b - jnp.linalg.solve(normal + damping * jnp.diag(jnp.diag(normal)), j.T @ r)
        lower = squares_of(residuals, new) < jnp.sum(r * r)
        return jnp.where(lower, new, b), jnp.where(lower, damping / 10, damping * 10)

    return step


def descent(residuals: Residuals, unit: Float[Array, " parameters"]) -> Step:
    """Returns a step down the gradient, as far as it pays.

    The parameters are taken in units of `unit`. The length of a step is twice the one before,
    halved until the fall is at least half of what the gradient promises.
    """

    def half(u: Array) -> Array:
        return squares_of(residuals, u * unit) / 2

    slope = bp.value_and_grad(half)

    def step(state: tuple) -> tuple:
        b, rate = state
        u = b / unit
        value, g = slope(u)

        def too_long(rate: Array) -> Array:
            return ~(half(u - rate * g) <= value - rate * jnp.sum(g * g) / 2) & (rate > 0)

        rate = lax.while_loop(too_long, lambda rate: rate / 2, 2 * rate)
        return (u - rate * g) * unit, rate

    return step


def squares_of(residuals: Residuals, b: Float[Array, " parameters"]) -> Float[Array, ""]:
    """Returns the sum of squared residuals."""
    return jnp.sum(jnp.square(residuals(b)))


def walked(residuals: Residuals, step: Step, state: tuple, steps: int) -> Fit:
    """Returns what `steps` steps lead to, all of them compiled into one loop."""

    def body(state: tuple, _: None) -> tuple:
        new = step(state)
        return new, (new[0], squares_of(residuals, new[0]))

    after = jax.jit(lambda state: lax.scan(body, state, None, steps)[1])(state)
    before = (state[0], squares_of(residuals, state[0]))
    stacked = (np.concatenate([np.asarray(a)[None], b]) for a, b in zip(before, after, strict=True))
    return Fit(*stacked)


# -- the experiment -----------------------------------------------------------------------
def fitted(data: Measured, jacobian_steps: int, gradient_steps: int) -> Fitted:
    """Returns the fits of one curve, and what they are held against."""
    x, y = jnp.asarray(data.x, float), jnp.asarray(data.y)

    def residuals(b: Float[Array, " parameters"]) -> Float[Array, " points"]:
        return data.curve(b, x) - y

    far, near = (jnp.asarray(start) for start in data.starts)
    newton, marquardt = gauss_newton(residuals), levenberg_marquardt(residuals)
    fits = {
        "Gauss-Newton": walked(residuals, newton, (far,), jacobian_steps),
        "Gauss-Newton, started near": walked(residuals, newton, (near,), jacobian_steps),
        "Levenberg-Marquardt": walked(
            residuals, marquardt, (far, jnp.asarray(0.01)), jacobian_steps
        ),
        "gradient descent": walked(
            residuals, descent(residuals, far), (far, jnp.asarray(1.0)), gradient_steps
        ),
    }
    best = fits["Levenberg-Marquardt"].parameters[-1]
    jacobian = np.asarray(jax.jit(bp.jacrev(residuals))(best))
    start = jax.jit(lambda b: (bp.jacrev(residuals)(b).T @ residuals(b), half_slope(residuals)(b)))
    by_jacobian, by_gradient = map(np.asarray, start(far))
    jacobian_of: Any = jax.jit(bp.jacfwd(residuals))
    theirs = least_squares(
        jax.jit(residuals),
        data.starts[1],
        jac=jacobian_of,
        method="lm",
        xtol=1e-15,
        ftol=1e-15,
    )
    ours = fits["Levenberg-Marquardt"].squares[-1]
    return Fitted(
        data,
        fits,
        jacobian,
        float(np.max(np.abs(by_jacobian / by_gradient - 1))),
        float(abs(ours / (2 * theirs.cost) - 1)),
        float(abs(ours / data.squares - 1)),
        float(np.linalg.cond(jacobian * np.asarray(far)) ** 2),
    )


def half_slope(residuals: Residuals) -> Callable:
    """Returns the gradient of half the sum of squares."""
    return bp.grad(lambda b: squares_of(residuals, b) / 2)


def excess(fit: Fit, data: Measured) -> np.ndarray:
    """Returns how far the squares are above the least, as a share of it; infinite if not finite."""
    above = np.where(np.isfinite(fit.squares), fit.squares / data.squares - 1, np.inf)
    return np.maximum(above, 0)


def steps_to_find(fit: Fit, data: Measured) -> int | None:
    """Returns after how many steps the fit is found; None if it never is."""
    found = np.flatnonzero(excess(fit, data) < FOUND)
    return int(found[0]) if found.size else None


# -- the picture ---------------------------------------------------------------------------
COLOUR_OF = {
    "Gauss-Newton": style.ORANGE,
    "Gauss-Newton, started near": style.PURPLE,
    "Levenberg-Marquardt": style.GREEN,
    "gradient descent": style.BLUE,
}


def picture(results: dict[str, Fitted]) -> Figure:
    """Returns a row for each curve: the fit, how the methods got there, and the Jacobian."""
    figure, found = style.panels(3, len(results), width=13.5, height=0.3 + 3.9 * len(results))
    for row, (name, result) in enumerate(results.items()):
        curves, progress, matrix = found[3 * row : 3 * row + 3]
        draw_curves(curves, name, result)
        draw_progress(progress, result)
        draw_jacobian(matrix, result)
    return figure


def draw_curves(axes: Axes, name: str, result: Fitted) -> None:
    """Draws the points, and the curve at some steps of Levenberg-Marquardt."""
    data, fit = result.data, result.fits["Levenberg-Marquardt"]
    x = style.over(min(data.x), max(data.x))
    moved = np.flatnonzero(np.diff(fit.squares) < -0.01 * fit.squares[1:]) + 1
    shown = [0, *moved]
    shades = colormaps["Blues"](np.linspace(0.3, 0.75, len(shown)))
    for place, (step, shade) in enumerate(zip(shown, shades, strict=True)):
        y = np.asarray(data.curve(jnp.asarray(fit.parameters[step]), jnp.asarray(x)))
        label = {0: "start", 1: "on the way"}.get(place)
        axes.plot(x, y, color=shade, lw=1.2, label=label, ls="--" if step == 0 else "-")
    best = np.asarray(data.curve(jnp.asarray(fit.parameters[-1]), jnp.asarray(x)))
    axes.plot(x, best, color=style.GREEN, lw=2.2, label="best fit")
    axes.plot(data.x, data.y, "o", color=style.INK, ms=4, label="measured")
    reach = 0.12 * (max(data.y) - min(data.y))
    axes.set(ylim=(min(data.y) - reach, max(data.y) + reach))
    axes.set(xlabel=data.labels[0], ylabel=data.labels[1])
    style.title(axes, f"{name}: Levenberg-Marquardt on its way")
    style.legend(axes)


def draw_progress(axes: Axes, result: Fitted) -> None:
    """Draws how far above the least sum of squares each method is, after each step."""
    for name, fit in result.fits.items():
        above = np.maximum(excess(fit, result.data), FLOOR)
        end = next(iter(np.flatnonzero(~np.isfinite(above))), len(above))
        line = ":" if name.endswith("near") else "-"
        colour = COLOUR_OF[name]
        steps = np.arange(end) + 1
        axes.plot(steps, above[:end], line, color=colour, label=name, **style.LINE)
        if end < len(above):
            last = steps[-1], above[end - 1]
            axes.plot(*last, "x", color=colour, ms=9, mew=2.2)
            style.note(axes, "then infinite", last, colour, offset=(8, 6))
    axes.set(xscale="log", yscale="log", xlabel="step, counted from 1")
    axes.set(ylim=(FLOOR / 3, 30 * axes.get_ylim()[1]))
    style.title(axes, "sum of squares above the least, as a share of it")
    style.legend(axes, loc="upper right")


def draw_jacobian(axes: Axes, result: Fitted) -> None:
    """Draws the Jacobian at the best fit, each column over its largest number."""
    columns = result.jacobian / np.abs(result.jacobian).max(axis=0)
    count = columns.shape[1]
    axes.grid(visible=False)
    image = axes.imshow(columns, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(count), [f"b{SUBSCRIPTS[i]}" for i in range(count)])
    axes.set(ylabel="point")
    style.title(axes, "Jacobian at the best fit")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=style.INK, labelsize=style.SMALL)
    bar.set_label("over the largest of its column", color=style.INK, fontsize=style.SMALL)


# -- the page --------------------------------------------------------------------------------
TEXT = """\
A loss is one number, and its gradient says which way is down, but not how far to go. A fit knows
more: it has a residual r for each point, the difference between the curve and what was measured.
That is a function from a few parameters to many numbers, and its derivative is a matrix, the
Jacobian J, with a row for each point and a column for each parameter. Fitted here: {names}. These
are reference data of the U.S. National Institute of Standards and Technology; the best fits are
certified to eleven digits, and the starts are prescribed, one far from the best fit, one near.

![The fits, how fast the methods get there, and the Jacobians](curve_fit.png)

**The Jacobian** is on the right; each column is drawn over its largest number. It can be read:
the weight of an onion in the end is b₁, so the last points move with b₁ and with nothing else,
while b₂ and b₃, which say when and how fast it grows, matter in the middle. Columns that look like
one another in some mixture are parameters that can make up for each other. The gradient of half
the sum of squares is Jᵀ r; computed both ways, it is the same to {gradient_apart:.0e} (relative).

**Gauss-Newton** takes the residuals for straight lines, r + J d, and jumps to the d that would make
the sum of their squares least. Near the best fit the lines are true, and a few jumps do: see the
dotted line. From afar they are not. {newton}

**Levenberg-Marquardt** adds λ to the diagonal of JᵀJ. With a large λ the step is short and points
down the gradient; with a small one it is that of Gauss-Newton. A step that makes things worse is
not taken, and λ grows tenfold; after a good one it shrinks tenfold. Flat parts of the green line
are steps refused. From the far start it is at the best fit, within a billionth of its sum of
squares, after {marquardt} steps. What it finds differs from `scipy.optimize.least_squares` by
{scipy_apart:.0e}, and from the certified sum of squares by {certified_apart:.0e}, which is as far
as the certified digits go.

**Gradient descent** was given all help: each parameter in units of its start, each step as long as
pays. It falls quickly at first, and then it creeps along the floor of a narrow valley. {descent}
How narrow the valley is, the Jacobian says too: along its floor the sum of squares bends less than
across by a factor of {conditions} (the condition of JᵀJ). A gradient has no way of knowing that.
A Jacobian costs more than a gradient, one sweep for each of its columns (`bp.jacfwd`) or rows
(`bp.jacrev`). With few parameters that is the bargain of this page; with a million there is no such
matrix, and descent it is.
"""


def lesson(
    data: Annotated[tuple[Literal["onions", "electrons"], ...], MinLen(1)] = (
        "onions",
        "electrons",
    ),
    jacobian_steps: Annotated[int, Ge(1)] = 60,
    gradient_steps: Annotated[int, Ge(1)] = 100_000,
) -> Lesson:
    """Returns fits of measured curves by three methods.

    Args:
      data: names of measured curves.
      jacobian_steps: how many of Gauss-Newton and of Levenberg-Marquardt.
      gradient_steps: how many of gradient descent.
    """
    results = {name: fitted(MEASURED[name], jacobian_steps, gradient_steps) for name in data}
    numbers: dict[str, Any] = {}
    for name, result in results.items():
        for method, fit in result.fits.items():
            key = f"{name}_{method.lower().replace(', ', '_').replace(' ', '_').replace('-', '_')}"
            found = steps_to_find(fit, result.data)
            numbers[f"{key}_steps"] = "not found" if found is None else found
        numbers[f"{name}_gradient_descent_excess"] = float(
            excess(result.fits["gradient descent"], result.data)[-1]
        )
        numbers[f"{name}_apart_from_scipy"] = result.scipy_apart
        numbers[f"{name}_apart_from_certified"] = result.certified_apart
        numbers[f"{name}_gradient_apart"] = result.gradient_apart
        numbers[f"{name}_condition"] = result.condition
    return Lesson(
        title="A function with many results, its Jacobian, and the steps made with it",
        text=TEXT.format(**said(results)),
        numbers=numbers,
        pictures={"curve_fit.png": picture(results)},
    )


def said(results: dict[str, Fitted]) -> dict[str, Any]:
    """Returns what the page says of the results, in words."""
    newton, descents, marquardt = [], [], []
    for name, result in results.items():
        fit = result.fits["Gauss-Newton"]
        if not np.isfinite(fit.squares[-1]):
            when = int(np.flatnonzero(~np.isfinite(fit.squares))[0])
            newton.append(f"On the {name} jump {when} ends where the curve is infinite.")
        elif steps_to_find(fit, result.data) is None:
            newton.append(
                f"On the {name} it goes round in circles, {excess(fit, result.data)[-1]:.1f} times "
                "the least sum of squares above it."
            )
        marquardt.append(f"{steps_to_find(result.fits['Levenberg-Marquardt'], result.data)}")
        fit = result.fits["gradient descent"]
        found, last = steps_to_find(fit, result.data), len(fit.squares) - 1
        descents.append(
            f"On the {name} it takes {found:,} steps to get there."
            if found
            else f"On the {name}, after {last:,} steps, it is still "
            f"{excess(fit, result.data)[-1]:.2g} times the least sum of squares above it."
        )
    every = list(results.values())
    return {
        "names": " and ".join(f"{r.data.labels[1]} over {r.data.labels[0]}" for r in every),
        "gradient_apart": max(result.gradient_apart for result in every),
        "scipy_apart": max(result.scipy_apart for result in every),
        "certified_apart": max(result.certified_apart for result in every),
        "newton": " ".join(newton),
        "marquardt": " and ".join(marquardt),
        "descent": " ".join(descents),
        "conditions": " and ".join(f"{result.condition:,.0f}" for result in every),
    }
