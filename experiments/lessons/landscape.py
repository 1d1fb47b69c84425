"""Descent on surfaces over a plane: four optimisers, their paths, and an animation."""

from collections.abc import Callable
from io import BytesIO
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, MinLen
from jax import lax
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

Point = Float[Array, "2"]


# -- the surfaces ---------------------------------------------------------------------------
def rosenbrock(p: Point) -> Float[Array, ""]:
    """Returns (1 - x)² + 100 (y - x²)², a curved valley; 0 at (1, 1)."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def himmelblau(p: Point) -> Float[Array, ""]:
    """Returns (x² + y - 11)² + (x + y² - 7)², with four minima of height 0."""
    return (p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2


def saddle(p: Point) -> Float[Array, ""]:
    """Returns 2 x² + y⁴/4 - y²/2: a saddle at (0, 0), minima of -1/4 at (0, 1) and (0, -1)."""
    return 2 * p[0] ** 2 + p[1] ** 4 / 4 - p[1] ** 2 / 2


class Surface(NamedTuple):
    """A function over the plane, and how it is walked and drawn.

    Attributes:
      height: the function.
      lowest: its least value.
      minima: where it takes it.
      start: where the walks begin.
      window: least x, most x, least y, most y of the picture.
      patience: how many times as many steps a walk here has.
    """

    height: Callable[[Point], Float[Array, ""]]
    lowest: float
    minima: tuple[tuple[float, float], ...]
    start: tuple[float, float]
    window: tuple[float, float, float, float]
    patience: int


FOUR = (
    (3.0, 2.0),
    (-2.8051180870, 3.1313125183),
    (-3.7793102534, -3.2831859913),
    (3.5844283403, -1.8481265270),
)

SURFACES = {
    "rosenbrock": Surface(
        rosenbrock,
        0.0,
        ((1.0, 1.0),),
        (-1.4, 2.0),
        (-2.0, 2.0, -0.9, 3.1),
        10,
    ),
    "himmelblau": Surface(
        himmelblau,
        0.0,
        FOUR,
        (-0.35, -0.85),
        (-5.2, 5.2, -5.2, 5.2),
        1,
    ),
    "saddle": Surface(
        saddle,
        -0.25,
        ((0.0, 1.0), (0.0, -1.0)),
        (-1.5, 1e-4),
        (-1.9, 1.9, -0.75, 1.6),
        1,
    ),
}

RATES = np.logspace(-4, -0.5, 22)
"""The learning rates that are tried, six in a decade."""

CLOSE = 1e-4
"""A walk has arrived when it is less than this above the lowest point."""

GROUND = LinearSegmentedColormap.from_list("ground", ("#ffffff", "#dfe4ec", "#aab4c4", "#76839a"))
"""Heights are pale, so that the paths stand out."""

OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "rmsprop": lambda rate: optax.rmsprop(rate, decay=0.9),
    "adam": optax.adam,
}
COLOUR_OF = dict(
    zip(OPTIMISERS, (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE), strict=True)
)

THICKNESS = dict(zip(OPTIMISERS, (3.2, 2.4, 1.7, 1.0), strict=True))
"""Where paths lie on top of each other all are seen."""


class Walk(NamedTuple):
    """The best walk of an optimiser, and how others did.

    Attributes:
      rate: the learning rate with which it arrives first.
      steps: after how many steps it has arrived; None if with no rate it does.
      path: where it is before and after each step.
      arrivals: after how many steps it has arrived with each of the `RATES`; NaN for never.
    """

    rate: float
    steps: int | None
    path: Float[np.ndarray, "steps 2"]
    arrivals: Float[np.ndarray, " rates"]


def walks(surface: Surface, name: str, steps: int) -> Float[np.ndarray, "rates steps 2"]:
    """Returns where an optimiser is before and after each step, with each of the `RATES`."""
    slope = bp.grad(surface.height)

    def walk(rate: Float[Array, ""]) -> Float[Array, "steps 2"]:
        optimiser = OPTIMISERS[name](rate)

        def step(state: tuple, _: None) -> tuple:
            p, memory = state
            update, memory = optimiser.update(slope(p), memory, p)
            p = optax.apply_updates(p, update)
            return (p, memory), p

        start = jnp.asarray(surface.start)
        path = lax.scan(step, (start, optimiser.init(start)), None, steps)[1]
        return jnp.concatenate([start[None], path])

    return np.asarray(jax.jit(jax.vmap(walk))(jnp.asarray(RATES)))


def best_walk(surface: Surface, name: str, steps: int) -> Walk:
    """Returns the walk that arrives first; if none does, the one that ends lowest."""
    paths = walks(surface, name, steps)
    above = np.asarray(jax.vmap(jax.vmap(surface.height))(jnp.asarray(paths))) - surface.lowest
    above = np.where(np.isfinite(above), above, np.inf)
    arrivals = np.array([arrival(one) for one in above])
    late = np.nan_to_num(arrivals, nan=np.inf)
    best = int(np.argmin(above[:, -1] if np.isinf(late).all() else late))
    steps_taken = None if np.isnan(arrivals[best]) else int(arrivals[best])
    return Walk(float(RATES[best]), steps_taken, paths[best], arrivals)


def arrival(above: Float[np.ndarray, " steps"]) -> float:
    """Returns after how many steps a walk is close to the lowest point; NaN for never."""
    close = np.flatnonzero(above < CLOSE)
    return float(close[0]) if close.size else float("nan")


# -- the pictures ---------------------------------------------------------------------------
def draw_surface(axes: Axes, name: str) -> None:
    """Draws the lines of equal height, closer where it is low, the start and the minima."""
    surface = SURFACES[name]
    left, right, low, high = surface.window
    x, y = np.meshgrid(style.over(left, right), style.over(low, high))
    height = np.asarray(surface.height(jnp.asarray([x, y]))) - surface.lowest
    levels = height.max() * np.linspace(0, 1, 19) ** 3
    axes.contourf(x, y, height, levels, cmap=GROUND)
    axes.contour(x, y, height, levels, colors="#8d98ab", linewidths=0.5, alpha=0.7)
    axes.plot(*np.transpose(surface.minima), "*", color="white", ms=13, mec=style.INK, mew=0.8)
    axes.plot(*surface.start, "o", color=style.INK, ms=6, mec="white", zorder=6)
    axes.grid(visible=False)
    axes.set(xlim=(left, right), ylim=(low, high), xlabel="x", ylabel="y")
    style.title(axes, name)


def paths_picture(found: dict[str, dict[str, Walk]]) -> Figure:
    """Returns the best paths over each surface, and below, the steps by learning rate."""
    figure, panels = style.panels(len(found), 2, width=4.5 * len(found), height=8.2)
    above, below = panels[: len(found)], panels[len(found) :]
    for axes, under, (name, best) in zip(above, below, found.items(), strict=True):
        draw_surface(axes, name)
        for optimiser, walk in best.items():
            colour = COLOUR_OF[optimiser]
            path = walk.path[: (walk.steps or len(walk.path)) + 1]
            axes.plot(*path.T, color=colour, lw=THICKNESS[optimiser], label=optimiser)
            axes.plot(*path[-1], "o", color=colour, ms=7, mec="white", zorder=7)
            under.plot(RATES, walk.arrivals, color=colour, label=optimiser, **style.PATH)
            if walk.steps:
                under.plot(walk.rate, walk.steps, color=colour, **style.DOT)
        under.set(xscale="log", yscale="log", xlabel="learning rate", xlim=(RATES[0], RATES[-1]))
        style.title(under, f"{name}: steps to arrive")
    below[0].set_ylabel("steps")
    style.legend(below[0])
    return figure


def animation(found: dict[str, dict[str, Walk]], frames: int) -> bytes:
    """Returns a GIF of the four walks over each surface, four points going their ways.

    Steps go by slowly first, then faster and faster: after a share t of the film, t³ of them.
    """
    figure, panels = style.panels(len(found), width=3.1 * len(found), height=3.1)
    canvas = FigureCanvasAgg(figure)
    moving = []
    for axes, (name, best) in zip(panels, found.items(), strict=True):
        draw_surface(axes, name)
        axes.set(xlabel="", ylabel="", xticks=[], yticks=[])
        for optimiser, walk in best.items():
            colour, path = COLOUR_OF[optimiser], walk.path
            (line,) = axes.plot([], [], color=colour, animated=True)
            line.set(lw=THICKNESS[optimiser], label=optimiser)
            (dot,) = axes.plot([], [], color=colour, animated=True, **style.DOT)
            moving.append((axes, line, dot, path))
    style.legend(panels[0], loc="upper center", ncols=2)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    images = []
    for share in np.linspace(0, 1, frames) ** 3:
        canvas.restore_region(still)
        for axes, line, dot, path in moving:
            end = 1 + round(share * (len(path) - 1))
            line.set_data(*path[:end].T)
            dot.set_data(*path[end - 1 : end].T)
            axes.draw_artist(line)
            axes.draw_artist(dot)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    palette = images[-1].quantize(200, dither=Image.Dither.NONE)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    film = BytesIO()
    spans = [90] * (len(flat) - 1) + [2500]
    flat[0].save(film, "GIF", save_all=True, append_images=flat[1:], duration=spans, loop=0)
    return film.getvalue()


# -- the page -------------------------------------------------------------------------------
TEXT = """\
A loss with two parameters is a landscape, and one can watch how a method finds its way down. All
of them see the same thing, the gradient (`bp.grad`) where they stand; they differ in what they
remember. The stars are the lowest points, the dark point is the start.

![Paths over the landscapes, and steps to arrive by learning rate](landscape.png)

- **sgd** goes down the gradient, by the learning rate times its length.
- **momentum** keeps 0.9 of its last step and adds to it: a ball that rolls.
- **rmsprop** divides each coordinate by the usual size of its gradient, so it goes as fast where it
  is flat as where it is steep.
- **adam** does both.

The paths are those with the learning rate, out of {rates} between {least:g} and {most:.2g}, with
which a method arrives first, less than {close:g} above the lowest point. The panels below show the
number of steps for every rate. A line ends on the right where the rate is too large, and on the
left where the steps were not enough.

{table}

**The rate matters as much as the method.** Where a line falls straight, ten times
the rate is a tenth of the steps; a bit further nothing works any more. The best rate of
sgd is just before the edge, and where the edge is the landscape decides, by its steepest bend. Adam
pays for a wrong rate least.

{stories}

The same walks as a film, slow at first and then faster and faster:

![Four points find their ways down](landscape.gif)
"""

STORIES = {
    "rosenbrock": """**rosenbrock** is a narrow curved valley with steep sides. The sides forbid \
large steps, the floor
hardly falls: sgd creeps. Momentum adds up what is the same step after step, the way along the
floor, and forgets what changes sign, the way across. Rmsprop makes steps of about its rate, however
small the gradient is, so with a constant rate it never comes to rest: it has to be slow to be
exact. (Elsewhere it arrives first, by passing close by; it does not stay there.)""",
    "himmelblau": """**himmelblau** has four lowest points, all of height 0. Which one a method \
ends in is decided by the
first steps, which are large since it is steep there: the methods do not agree, and with another
rate each may change its mind. A gradient knows of no other valley.""",
    "saddle": """**saddle**: the start is nearly on the ridge, 0.0001 off. Down to the saddle goes \
well; there the
gradient is almost zero, and the little that is left must grow by itself. Sgd and momentum slide
across the ridge, back and forth, until it has. Rmsprop and adam divide by the size of the gradient,
coordinate by coordinate, so that even a tiny one moves them from the first step on.""",
}


def lesson(
    surfaces: Annotated[tuple[Literal["rosenbrock", "himmelblau", "saddle"], ...], MinLen(1)] = (
        "rosenbrock",
        "himmelblau",
        "saddle",
    ),
    steps: Annotated[int, Ge(10)] = 1000,
    frames: Annotated[int, Ge(2)] = 72,
) -> Lesson:
    """Returns the walks of four optimisers over surfaces.

    Args:
      surfaces: which ones.
      steps: of each walk; on Rosenbrock's, ten times as many.
      frames: of the film.
    """
    found = {
        name: {
            optimiser: best_walk(SURFACES[name], optimiser, steps * SURFACES[name].patience)
            for optimiser in OPTIMISERS
        }
        for name in surfaces
    }
    numbers: dict[str, Any] = {}
    rows = ["| | sgd | momentum | rmsprop | adam |", "| --- | --- | --- | --- | --- |"]
    for name, best in found.items():
        for optimiser, walk in best.items():
            arrived = "never" if walk.steps is None else walk.steps
            numbers[f"{name}_{optimiser}_steps"] = arrived
            numbers[f"{name}_{optimiser}_rate"] = walk.rate
        cells = [
            f"{numbers[f'{name}_{one}_steps']} (rate {walk.rate:.2g})" for one, walk in best.items()
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    film = {
        one: {o: w._replace(path=w.path[: end(best)]) for o, w in best.items()}
        for one, best in found.items()
    }
    return Lesson(
        title="The landscape, and four ways down",
        text=TEXT.format(
            rates=len(RATES),
            least=RATES[0],
            most=RATES[-1],
            close=CLOSE,
            table="\n".join(rows),
            stories="\n\n".join(STORIES[name] for name in surfaces),
        ),
        numbers=numbers,
        pictures={
            "landscape.png": paths_picture(found),
            "landscape.gif": animation(film, frames),
        },
    )


def end(best: dict[str, Walk]) -> int:
    """Returns how many points are walked before all have arrived that do."""
    return max(walk.steps or len(walk.path) for walk in best.values()) + 1
