"""The perceptron, linear and logistic regression: three ways to learn a line, on real data.

Data, as they ship inside scikit-learn: irises (Fisher 1936), diabetes (Efron et al. 2004), breast
cancer (Wolberg et al., Wisconsin, 1995).
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from jax import lax
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

Weights = Float[Array, " columns"]
Loss = Callable[[Weights], Float[Array, ""]]


def with_ones(x: np.ndarray) -> np.ndarray:
    """Returns columns of mean 0 and variance 1, and one of ones, whose weight is the bias."""
    return np.column_stack([(x - x.mean(axis=0)) / x.std(axis=0), np.ones(len(x))])


def distances(path: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Returns how far weights are from the best ones, relative to the largest of these."""
    return np.max(np.abs(path - best), axis=-1) / np.max(np.abs(best))


def descent(loss: Loss, columns: int, rate: float, steps: int, memory: float = 0.0) -> np.ndarray:
    """Returns the weights before and after each step of gradient descent, from zero.

    Args:
      loss: of the weights.
      columns: how many weights there are.
      rate: the learning rate.
      steps: how many of them.
      memory: the share of the last step that is kept, `momentum`.
    """
    slope = bp.grad(loss)

    def step(state: tuple, _: None) -> tuple:
        w, last = state
        last = memory * last - rate * slope(w)
        return (w + last, last), w + last

    start = jnp.zeros(columns)
    path = jax.jit(lambda w: lax.scan(step, (w, jnp.zeros_like(w)), None, steps)[1])(start)
    return np.concatenate([np.zeros((1, columns)), path])


# -- the perceptron -------------------------------------------------------------------------
class Separated(NamedTuple):
    """How the perceptron learnt.

    Attributes:
      x: sepals' length and width, and a column of ones.
      side: 1 for the first kind of iris, -1 for the others.
      weights: after each flower that was shown, (shown, 3).
      mistakes: for each flower that was shown, whether it was on the wrong side.
      most: how many mistakes there can be, by the margin of the last weights.
    """

    x: np.ndarray
    side: np.ndarray
    weights: np.ndarray
    mistakes: np.ndarray
    most: float

    @property
    def wrong(self) -> int:
        """How many flowers are on the wrong side in the end."""
        return int(np.sum(self.side * (self.x @ self.weights[-1]) <= 0))


def missed_by(w: Weights, x: Float[Array, " columns"], side: Float[Array, ""]) -> Float[Array, ""]:
    """Returns how far a flower is on the wrong side of the line, 0 on the right one."""
    score = side * (x @ w)
    return jnp.where(score > 0, 0.0, -score)


def perceptron(rounds: int, seed: int) -> Separated:
    """Returns the perceptron's weights, shown one flower at a time.

    The gradient of `missed_by` is -side · x on the wrong side and 0 on the right one, so a step of
    length 1 down that gradient is Rosenblatt's rule.

    Source: Novikoff 1962, for the most mistakes there can be.
    """
    flowers, kind = load_iris(return_X_y=True)
    x, side = with_ones(flowers[:, :2]), np.where(kind == 0, 1.0, -1.0)
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(len(x)) for _ in range(rounds)])

    def step(w: Weights, shown: tuple) -> tuple:
        slope = bp.grad(missed_by)(w, *shown)
        return w - slope, (w - slope, jnp.any(slope != 0))

    shown = jnp.asarray(x[order]), jnp.asarray(side[order])
    _, (weights, moved) = jax.jit(lambda w: lax.scan(step, w, shown))(jnp.zeros(3))
    w = np.asarray(weights[-1])
    margin = np.min(side * (x @ w)) / np.linalg.norm(w)
    most = (np.linalg.norm(x, axis=1).max() / margin) ** 2 if margin > 0 else float("inf")
    return Separated(x, side, np.asarray(weights), np.asarray(moved), float(most))


# -- linear regression ----------------------------------------------------------------------
class Solved(NamedTuple):
    """Weights on their way, and where they should end.

    Attributes:
      paths: by method, the weights before and after each step.
      best: the weights with the least loss.
      gap: how far our last weights are from the witness, relative to the largest.
      condition: of the matrix that bends the loss: its largest eigenvalue over its least.
    """

    paths: dict[str, np.ndarray]
    best: np.ndarray
    gap: float
    condition: float


def linear(steps: int) -> Solved:
    """Returns descent on the mean squared error, against the normal equations Xᵀ X w = Xᵀ y."""
    measured, progression = map(np.asarray, load_diabetes(return_X_y=True))
    x, y = with_ones(measured), (progression - progression.mean()) / progression.std()

    def loss(w: Weights) -> Float[Array, ""]:
        return jnp.mean(jnp.square(jnp.asarray(x) @ w - jnp.asarray(y))) / 2

    best = np.linalg.solve(x.T @ x, x.T @ y)
    most, least = np.linalg.eigvalsh(x.T @ x / len(x))[[-1, 0]]
    # The rates that are best for a parabola: Polyak 1964.
    root = (np.sqrt(most) - np.sqrt(least)) / (np.sqrt(most) + np.sqrt(least))
    heavy = 4 / (np.sqrt(most) + np.sqrt(least)) ** 2
    paths = {
        "gradient descent": descent(loss, x.shape[1], 2 / (most + least), steps),
        "with momentum": descent(loss, x.shape[1], heavy, steps, root**2),
    }
    gap = distances(paths["with momentum"][-1], best)
    return Solved(paths, best, float(gap), float(most / least))


# -- logistic regression --------------------------------------------------------------------
class Classified(NamedTuple):
    """A logistic regression.

    Attributes:
      solved: descent and Newton's method, and scikit-learn's weights.
      scores: of the tumours, by the last weights of Newton's method.
      benign: whether each is.
    """

    solved: Solved
    scores: np.ndarray
    benign: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of tumours on the right side."""
        return float(np.mean((self.scores > 0) == self.benign))


def logistic(steps: int, penalty: float) -> Classified:
    """Returns logistic regression with a penalty on the squared weights, but not on the bias.

    There is no closed form; the witness is scikit-learn's solver.
    """
    cells, benign = load_breast_cancer(return_X_y=True)
    x, sign = with_ones(cells), np.where(benign == 1, 1.0, -1.0)

    def loss(w: Weights) -> Float[Array, ""]:
        missed = jnp.mean(jax.nn.softplus(-jnp.asarray(sign) * (jnp.asarray(x) @ w)))
        return missed + penalty / 2 * jnp.sum(jnp.square(w[:-1]))

    slope, bend = bp.grad(loss), bp.hessian(loss)

    def newton(w: Weights, _: None) -> tuple:
        w = w - jnp.linalg.solve(bend(w), slope(w))
        return w, w

    columns = x.shape[1]
    jumps = jax.jit(lambda w: lax.scan(newton, w, None, NEWTON_STEPS)[1])(jnp.zeros(columns))
    jumps = np.concatenate([np.zeros((1, columns)), jumps])
    flat = np.linalg.eigvalsh(np.asarray(jax.jit(bend)(jnp.asarray(jumps[-1]))))
    # No bend of softplus is more than 1/4, so this rate never overshoots.
    most = np.linalg.eigvalsh(x.T @ x / len(x))[-1] / 4 + penalty
    theirs = LogisticRegression(
        C=1 / (len(x) * penalty), solver="newton-cholesky", tol=1e-14, max_iter=100
    ).fit(x[:, :-1], benign)
    best = np.append(theirs.coef_[0], theirs.intercept_)
    paths = {"gradient descent": descent(loss, columns, 1 / most, steps), "Newton": jumps}
    gap = distances(jumps[-1], best)
    solved = Solved(paths, best, float(gap), float(flat[-1] / flat[0]))
    return Classified(solved, x @ jumps[-1], benign == 1)


NEWTON_STEPS = 12

CLOSE = 1e-8
"""Weights have arrived when they are this close to the best ones."""

FLOOR = 1e-15
"""What is less is rounding, and drawn here."""


def steps_to(solved: Solved, method: str) -> int | str:
    """Returns after how many steps a method has arrived."""
    close = np.flatnonzero(distances(solved.paths[method], solved.best) < CLOSE)
    return int(close[0]) if close.size else f"more than {len(solved.paths[method]) - 1}"


# -- the pictures ---------------------------------------------------------------------------
COLOUR_OF = {
    "gradient descent": style.BLUE,
    "with momentum": style.ORANGE,
    "Newton": style.PURPLE,
}


def draw_line(axes: Axes, found: Separated) -> None:
    """Draws the flowers, and the line that parts them after each mistake."""
    kinds = [(found.side > 0, style.GREEN, "setosa"), (found.side < 0, style.GOLD, "the other two")]
    for which, colour, label in kinds:
        axes.plot(*found.x[which, :2].T, "o", color=colour, ms=4, alpha=0.7, label=label)
    over = np.array([-2.0, 2.7])
    turns = found.weights[np.flatnonzero(found.mistakes)]
    for place, w in enumerate(turns):
        last = place == len(turns) - 1
        look = {"color": style.BLUE, "lw": 2.2, "label": "the line"} if last else EARLIER
        if abs(w[1]) > 1e-9:
            axes.plot(over, -(w[0] * over + w[2]) / w[1], **look)
    axes.set(xlim=over, ylim=(-2.6, 3.3), xlabel="length of the sepals, standardised")
    axes.set(ylabel="width, standardised")
    style.title(axes, f"perceptron: the line after each of {len(turns)} mistakes")
    style.legend(axes, loc="lower right")


EARLIER = {"color": style.BLUE, "lw": 0.9, "alpha": 0.35}


def draw_way(axes: Axes, solved: Solved, name: str) -> None:
    """Draws how far the weights are from the best ones after each step."""
    for method, path in solved.paths.items():
        gap = np.maximum(distances(path, solved.best), FLOOR)
        steps = np.arange(len(gap)) + 1
        axes.plot(steps, gap, color=COLOUR_OF[method], label=method, **style.LINE)
    axes.set(xscale="log", yscale="log", ylim=(FLOOR / 1e4, 10), xlabel="step, counted from 1")
    style.title(axes, f"{name}: distance from the best weights")
    style.legend(axes, loc="lower left")


def draw_classes(axes: Axes, found: Classified) -> None:
    """Draws the probability over the score, and the tumours where their scores are."""
    reach = style.over(-12, 12)
    axes.plot(reach, 1 / (1 + np.exp(-reach)), color=style.PURPLE, **style.LINE)
    lift = np.random.default_rng(0).uniform(0, 0.09, len(found.scores))
    kinds = [
        (found.benign, 1.02 + lift, style.GREEN, "benign"),
        (~found.benign, -0.02 - lift, style.RED, "malignant"),
    ]
    for which, height, colour, label in kinds:
        scores = np.clip(found.scores[which], -12, 12)
        axes.plot(scores, height[which], ".", color=colour, ms=5, alpha=0.6, label=label)
    axes.axvline(0, color=style.INK, lw=0.8, ls=":")
    axes.set(xlabel="score, x · w", ylabel="probability that it is benign", xlim=(-12.4, 12.4))
    style.title(axes, f"logistic regression: {found.accuracy:.1%} on the right side")
    style.legend(axes, loc="center left")


# -- the page -------------------------------------------------------------------------------
TEXT = """\
All three have the same model, a weight for each thing measured and a bias: x · w. They differ in
the loss, and so in the gradient that teaches them.

![A perceptron, a linear regression and a logistic one](lines.png)

**The perceptron** (top left) asks whether an iris is a setosa, by length and width of its sepals.
Its loss is how far a flower is on the wrong side of the line, and nothing if it is on the right
side. So the gradient (`bp.grad`) of a flower is ± the flower itself, or zero, and one step down is
Rosenblatt's rule of 1958: add what you got wrong. It is shown one flower at a time and makes
{mistakes} mistakes; the faint lines are those before. Then {wrong} of the {flowers} flowers is on
the wrong side, no gradient is left, and it stops anywhere between the two kinds. That it stops at
all is a theorem: with this margin there can be no more than {most} mistakes.

**Linear regression** (top right) foretells how far diabetes goes within a year. Its loss, the mean
square of the error, is a bowl, and the bottom of a bowl is known in closed form: Xᵀ X w = Xᵀ y, the
normal equations. Descent ends at the same weights, to {linear_gap:.0e} with momentum. How long it
takes is the shape of the bowl: some of the blood tests all but repeat one another, and the bowl
bends {condition:.0f} times as much one way as another. Plain descent, with the best rate there is,
loses a factor of {factor:.4f} of its distance a step; with momentum it is {momentum_factor:.3f}.

**Logistic regression** (below) asks whether a tumour is benign, by {cells} measurements of its
cells. The score is squeezed to a probability, and the loss is minus the logarithm of the
probability of what is true. It has no closed form, but it has a second derivative (`bp.hessian`),
and Newton's method jumps to the bottom of the parabola that fits there: after a few jumps the
digits double each time. After {newton} jumps it is within {close:g} of the weights of scikit-learn,
in the end within {logistic_gap:.0e}. Descent is within {close:g} after {descent} steps.
"""


def lesson(
    rounds: Annotated[int, Ge(1)] = 10,
    steps: Annotated[int, Ge(1)] = 20_000,
    penalty: Annotated[float, Gt(0)] = 1e-2,
    seed: int = 0,
) -> Lesson:
    """Returns the three, each with what it is held against.

    Args:
      rounds: how often the perceptron is shown all the flowers.
      steps: of gradient descent.
      penalty: on the squared weights of logistic regression, over two.
      seed: decides the order of the flowers.
    """
    parted, fitted, classified = perceptron(rounds, seed), linear(steps), logistic(steps, penalty)
    figure, panels = style.panels(2, 2, width=11.2, height=8.4)
    draw_line(panels[0], parted)
    draw_way(panels[1], fitted, "linear")
    draw_classes(panels[2], classified)
    draw_way(panels[3], classified.solved, "logistic")
    condition = fitted.condition
    plain = distances(fitted.paths["gradient descent"][-1], fitted.best)
    steps_of = {method: steps_to(classified.solved, method) for method in classified.solved.paths}
    numbers = {
        "perceptron_mistakes": int(parted.mistakes.sum()),
        "perceptron_most_mistakes": parted.most,
        "perceptron_wrong_in_the_end": parted.wrong,
        "linear_condition": condition,
        "linear_apart_from_normal_equations": fitted.gap,
        "linear_apart_without_momentum": float(plain),
        "logistic_newton_steps": steps_of["Newton"],
        "logistic_descent_steps": steps_of["gradient descent"],
        "logistic_accuracy": classified.accuracy,
        "logistic_apart_from_sklearn": classified.solved.gap,
    }
    text = TEXT.format(
        mistakes=numbers["perceptron_mistakes"],
        flowers=len(parted.x),
        most=f"{parted.most:,.0f}",
        linear_gap=fitted.gap,
        condition=condition,
        factor=(condition - 1) / (condition + 1),
        momentum_factor=(condition**0.5 - 1) / (condition**0.5 + 1),
        cells=classified.solved.best.size - 1,
        newton=numbers["logistic_newton_steps"],
        descent=numbers["logistic_descent_steps"],
        close=CLOSE,
        wrong=f"{parted.wrong or 'none'}",
        logistic_gap=classified.solved.gap,
    )
    return Lesson(
        title="Perceptron, linear and logistic regression",
        text=text,
        numbers=numbers,
        pictures={"lines.png": figure},
    )
