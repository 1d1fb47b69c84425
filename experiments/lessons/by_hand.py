"""A whole backward pass by hand: two layers, softmax and cross-entropy, on real digits.

Every gradient is written out in NumPy. While the network trains with ours, all three, by hand,
ours and `jax.grad`, are asked at the same parameters, and compared leaf by leaf.
"""

import inspect
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from sklearn.datasets import load_digits

from backprop_jax.runner.gradients import ENGINES
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

TEST = 360
"""How many images are never trained on."""

LEAVES = ("w1", "b1", "w2", "b2")

Params = dict[str, Array]
Gradient = dict[str, np.ndarray]


class Forward(NamedTuple):
    """What the way back needs of the way there.

    Attributes:
      a: before the tanh, x w1 + b1.
      h: after it.
      p: the probability of each digit, softmax(h w2 + b2).
    """

    a: np.ndarray
    h: np.ndarray
    p: np.ndarray


def loss(params: Params, x: Float[Array, "n 64"], digit: Int[Array, " n"]) -> Float[Array, ""]:
    """Returns the mean of -log of the probability of what is shown."""
    h = jnp.tanh(x @ params["w1"] + params["b1"])
    scores = h @ params["w2"] + params["b2"]
    shown = jnp.take_along_axis(jax.nn.log_softmax(scores), digit[:, None], axis=1)
    return -jnp.mean(shown)


def there(w: Gradient, x: np.ndarray) -> Forward:
    """Returns the way there, step by step."""
    a = x @ w["w1"] + w["b1"]
    h = np.tanh(a)
    s = h @ w["w2"] + w["b2"]
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return Forward(a, h, e / e.sum(axis=1, keepdims=True))


def back(w: Gradient, x: np.ndarray, digit: np.ndarray, kept: Forward) -> Gradient:
    """Returns the gradient of the loss, each line the chain rule once.

    A name g_s stands for the slope of the loss along s.
    """
    count = len(x)
    # loss = -mean log p[shown], and p = softmax(s): the two together leave p minus what is shown.
    g_s = kept.p.copy()
    g_s[np.arange(count), digit] -= 1
    g_s /= count
    # s = h w2 + b2
    g_w2 = kept.h.T @ g_s
    g_b2 = g_s.sum(axis=0)
    g_h = g_s @ w["w2"].T
    # h = tanh(a), whose slope is 1 - tanh²
    g_a = g_h * (1 - kept.h**2)
    # a = x w1 + b1
    g_w1 = x.T @ g_a
    g_b1 = g_a.sum(axis=0)
    return {"w1": g_w1, "b1": g_b1, "w2": g_w2, "b2": g_b2}


# -- the experiment -------------------------------------------------------------------------
class Trained(NamedTuple):
    """What was seen while it trained.

    Attributes:
      looks: the steps at which the gradients were compared.
      apart: by pair and leaf, the largest difference at each look, over the leaf's largest number.
      losses: at each look.
      hand: the gradient by hand at the last look.
      ours: ours, likewise.
      right: the share of the test part that is read rightly in the end.
    """

    looks: np.ndarray
    apart: dict[str, dict[str, np.ndarray]]
    losses: np.ndarray
    hand: Gradient
    ours: Gradient
    right: float


PAIRS = {
    "hand and ours": ("hand", "ours"),
    "hand and jax.grad": ("hand", "jax"),
    "ours and jax.grad": ("ours", "jax"),
}


def trained(hidden: int, steps: int, every: int, rate: float, seed: int) -> Trained:
    """Returns what was seen while a network trained on our gradients."""
    generator = np.random.default_rng(seed)
    pixels, digit = map(np.asarray, load_digits(return_X_y=True))
    order = generator.permutation(len(digit))
    dtype = np.dtype(jnp.zeros(()).dtype)
    x, digit = (pixels[order] / 16).astype(dtype), digit[order]
    params = {
        "w1": jnp.asarray(generator.normal(size=(64, hidden)) / 8, dtype),
        "b1": jnp.zeros(hidden),
        "w2": jnp.asarray(generator.normal(size=(hidden, 10)) / hidden**0.5, dtype),
        "b2": jnp.zeros(10),
    }
    ours, theirs = (jax.jit(ENGINES[name](loss)) for name in ("backprop_jax", "jax"))
    looks, losses, found = [], [], {pair: {leaf: [] for leaf in LEAVES} for pair in PAIRS}
    gradients: dict[str, Gradient] = {}
    for step in range(steps + 1):
        rows = generator.choice(np.arange(TEST, len(digit)), size=128, replace=False)
        value, slope = ours(params, x[rows], digit[rows])
        if step % every == 0 or step == steps:
            w = {leaf: np.asarray(params[leaf]) for leaf in LEAVES}
            gradients = {
                "hand": back(w, x[rows], digit[rows], there(w, x[rows])),
                "ours": {leaf: np.asarray(slope[leaf]) for leaf in LEAVES},
                "jax": jax.tree.map(np.asarray, theirs(params, x[rows], digit[rows])[1]),
            }
            looks.append(step)
            losses.append(float(value))
            for pair, (one, other) in PAIRS.items():
                for leaf in LEAVES:
                    found[pair][leaf].append(apart(gradients[one][leaf], gradients[other][leaf]))
        params = jax.tree.map(lambda w, g: w - rate * g, params, slope)
    w = {leaf: np.asarray(params[leaf]) for leaf in LEAVES}
    right = np.mean(there(w, x[:TEST]).p.argmax(axis=1) == digit[:TEST])
    as_arrays = {p: {leaf: np.array(f) for leaf, f in of.items()} for p, of in found.items()}
    return Trained(
        np.array(looks),
        as_arrays,
        np.array(losses),
        gradients["hand"],
        gradients["ours"],
        float(right),
    )


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the largest difference, over the largest number."""
    return float(np.max(np.abs(one - other)) / np.max(np.abs(other)))


# -- the picture ----------------------------------------------------------------------------
def draw_apart(axes: Axes, found: Trained, eps: float) -> None:
    """Draws how far hand and ours are apart while it trains, leaf by leaf."""
    for leaf, colour in zip(LEAVES, style.COLOURS, strict=False):
        away = found.apart["hand and ours"][leaf]
        axes.plot(found.looks, np.maximum(away, eps / 4), color=colour, label=leaf, **style.LINE)
    axes.axhline(eps, color=style.INK, lw=0.9, ls=":")
    style.note(axes, "one rounding", (found.looks[-1], eps), offset=(-4, -12), ha="right")
    axes.set(yscale="log", xlabel="step", ylim=(eps / 6, 400 * eps))
    style.title(axes, "hand and ours: largest difference, relative")
    style.legend(axes, ncols=4, loc="upper center")


def draw_loss(axes: Axes, found: Trained) -> None:
    """Draws the loss at each look."""
    axes.plot(found.looks, found.losses, color=style.BLUE, **style.LINE)
    axes.set(xlabel="step", yscale="log")
    style.title(axes, f"loss; {found.right:.1%} of the test part are read rightly")


def draw_points(axes: Axes, found: Trained) -> None:
    """Draws each number of the gradient by hand against ours."""
    for leaf, colour in zip(LEAVES, style.COLOURS, strict=False):
        axes.plot(
            found.hand[leaf].ravel(), found.ours[leaf].ravel(), ".", color=colour, ms=4, label=leaf
        )
    ends = axes.get_xlim()
    axes.plot(ends, ends, color=style.INK, lw=0.7, zorder=0)
    axes.set(xlabel="by hand, in NumPy", ylabel="ours")
    axes.ticklabel_format(style="sci", scilimits=(-2, 2))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    count = sum(leaf.size for leaf in found.hand.values())
    style.title(axes, f"all {count:,} numbers of the last gradient")
    style.legend(axes, loc="upper left")


def draw_weights(axes: Axes, gradient: np.ndarray, title: str) -> None:
    """Draws the gradient of the first layer: for each hidden unit, a slope for each pixel."""
    rows = columns = 4
    tiles = gradient[:, : rows * columns].T.reshape(rows, columns, 8, 8)
    gap = np.full((rows, columns, 9, 9), np.nan)
    gap[..., :8, :8] = tiles
    whole = gap.transpose(0, 2, 1, 3).reshape(9 * rows, 9 * columns)[:-1, :-1]
    reach = np.nanmax(np.abs(whole))
    axes.imshow(whole, cmap="RdBu_r", vmin=-reach, vmax=reach)
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    style.title(axes, title)


# -- the page -------------------------------------------------------------------------------
TEXT = """\
Backpropagation is the chain rule, from the loss back to the weights, one line for each line of the
way there. Here is all of it for a network of two layers that reads digits, 64 pixels → {hidden}
hidden units → 10 digits, in NumPy, without any automatic differentiation:

```python
{code}
```

Three habits make it short. A name `g_s` is the slope of the loss along `s` and has the shape of
`s`. Each line of the way there, read from the last to the first, gives the slopes along what it
used: a product `h @ w2` gives `h.T @ g_s` along `w2` and `g_s @ w2.T` along `h`, and a bias that
was added to every row gets the sum over the rows. And softmax with cross-entropy is done in one
go: what is left of the two is p minus what is shown, the best known line of all of them.

![By hand and ours: every number, and how far they are apart while it trains](by_hand.png)

The network trains on our gradients, {steps:,} steps of 128 images, until it reads {right:.1%} of
the digits it has never seen. On the way, at {looks} steps, `back` is asked for the same gradient at
the same weights. The largest difference in a leaf, over the leaf's largest number, was

{table}

One rounding of a number is {eps:.1e} (the dotted line). Sums in another order differ by some of
those. That the lines rise while the loss falls is rounding, too: the surer the network is, the
nearer is p to 1, and the fewer digits are left of p - 1. Otherwise hand and machine compute the
same numbers. Top right are all {count:,} of the last step, each a point: by hand across, ours up.
Below them is what these numbers are: for the first sixteen hidden units, the slope of the loss
along the weight of each pixel. A red pixel says that the loss would grow with that weight.
"""


def lesson(
    hidden: Annotated[int, Ge(16)] = 32,
    steps: Annotated[int, Ge(1)] = 2000,
    every: Annotated[int, Ge(1)] = 20,
    rate: Annotated[float, Gt(0)] = 0.5,
    seed: int = 0,
) -> Lesson:
    """Returns the comparison of gradients by hand, ours and JAX's, while a network trains.

    Args:
      hidden: units of the hidden layer.
      steps: of gradient descent.
      every: how many steps lie between two comparisons.
      rate: the learning rate.
      seed: decides the first weights, the split and the batches.
    """
    found = trained(hidden, steps, every, rate, seed)
    eps = float(np.finfo(found.ours["w1"].dtype).eps)
    figure, panels = style.panels(2, 2, width=11.2, height=8.6)
    draw_apart(panels[0], found, eps)
    draw_points(panels[1], found)
    draw_loss(panels[2], found)
    draw_weights(panels[3], found.hand["w1"], "the last gradient of w1, by hidden unit")
    worst = {pair: {leaf: max(of[leaf]) for leaf in LEAVES} for pair, of in found.apart.items()}
    rows = [f"| | {' | '.join(LEAVES)} |", "| --- " * (len(LEAVES) + 1) + "|"]
    rows += [f"| {p} | {' | '.join(f'{x:.1e}' for x in of.values())} |" for p, of in worst.items()]
    numbers = {
        f"{pair.replace(' and ', '_').replace('.', '_')}_{leaf}": x
        for pair, of in worst.items()
        for leaf, x in of.items()
    }
    first, last = float(found.losses[0]), float(np.mean(found.losses[-5:]))
    text = TEXT.format(
        hidden=hidden,
        code=inspect.getsource(there) + "\n\n" + inspect.getsource(back).rstrip(),
        steps=steps,
        right=found.right,
        looks=len(found.looks),
        table="\n".join(rows),
        eps=eps,
        count=sum(leaf.size for leaf in found.hand.values()),
    )
    return Lesson(
        title="A whole backward pass by hand",
        text=text,
        numbers=numbers | {"first_loss": first, "last_loss": last, "accuracy": found.right},
        pictures={"by_hand.png": figure},
    )
