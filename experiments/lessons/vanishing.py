"""Gradients that vanish or explode: how they change from layer to layer, and what helps.

A network of equal layers reads real digits. What is measured is the slope of the loss along the
output of each layer: what arrives there on the way back.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, MinLen
from jax import lax
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson
from experiments.lessons import style

WIDTH = 64
"""Of every layer, and so many pixels has an image."""

TEST = 360
"""How many images are never trained on."""

SCALES = np.logspace(-2, 2, 25, base=2)
"""The weights are drawn with this over the square root of the width."""

REACH = 1e8
"""The ends of the scale of colours."""

Activation = Literal["relu", "tanh", "sigmoid"]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}


class Network(NamedTuple):
    """The parameters, and how the layers are put together; all of them arrays.

    Attributes:
      layers: a square weight for each.
      last: the weight from the last layer to the ten digits.
      residual: 1 where a layer adds to what it was given, 0 where it takes its place.
      norm: 1 where a layer is given mean 0 and variance 1, 0 where it is given what there is.
    """

    layers: Float[Array, "depth 64 64"]
    last: Float[Array, "64 10"]
    residual: Float[Array, ""]
    norm: Float[Array, ""]


def scores(
    network: Network, nudges: Float[Array, "depth n 64"], x: Float[Array, "n 64"], activation: str
) -> Float[Array, "n 10"]:
    """Returns the scores of the digits.

    The nudges are added to the outputs of the layers. They are zero: the slope along them is the
    slope along these outputs.
    """

    def layer(h: Array, of: tuple) -> tuple:
        w, nudge = of
        centred = h - jnp.mean(h, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        given = jnp.where(network.norm > 0, centred * lax.rsqrt(variance + 1e-12), h)
        return network.residual * h + ACTIVATIONS[activation](given @ w) + nudge, None

    h, _ = lax.scan(layer, x, (network.layers, nudges))
    return h @ network.last


def loss(
    network: Network,
    nudges: Float[Array, "depth n 64"],
    x: Float[Array, "n 64"],
    digit: Int[Array, " n"],
    activation: str,
) -> Float[Array, ""]:
    """Returns the mean of -log of the probability of what is shown."""
    chances = jax.nn.log_softmax(scores(network, nudges, x, activation))
    return -jnp.mean(jnp.take_along_axis(chances, digit[:, None], axis=1))


def arriving(
    network: Network, x: Float[Array, "n 64"], digit: Int[Array, " n"], activation: str
) -> Float[Array, " depth"]:
    """Returns the norm of the slope along each layer's output, over that of the last layer."""
    nudges = jnp.zeros((len(network.layers), *x.shape))
    slope = bp.grad(loss, argnums=1)(network, nudges, x, digit, activation)
    norms = jnp.sqrt(jnp.sum(jnp.square(slope), axis=(1, 2)))
    return norms / norms[-1]


def factor(norms: np.ndarray) -> float:
    """Returns by how much a norm changes from one layer to the one before, on average."""
    return float((norms[0] / norms[-1]) ** (1 / (len(norms) - 1)))


# -- what is drawn at random ----------------------------------------------------------------
class Digits(NamedTuple):
    """Images as rows of 64 grey levels of mean 0 and variance 1, and what they show."""

    x: Float[Array, "n 64"]
    digit: Int[Array, " n"]

    @property
    def test(self) -> "Digits":
        """Those that are never trained on."""
        return Digits(self.x[:TEST], self.digit[:TEST])


def digits(seed: int) -> Digits:
    """Returns all images in a random order."""
    pixels, digit = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(seed).permutation(len(digit))
    x = (pixels[order] - pixels.mean()) / pixels.std()
    return Digits(jnp.asarray(x), jnp.asarray(digit[order]))


def plain(layers: np.ndarray, last: np.ndarray) -> Network:
    """Returns the network of these layers, one after the other."""
    return Network(jnp.asarray(layers), jnp.asarray(last), jnp.zeros(()), jnp.zeros(()))


def normal(depth: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights with variance 1 / 64, of the layers and of the last one."""
    generator = np.random.default_rng(seed)
    draw = generator.normal(scale=WIDTH**-0.5, size=(depth, WIDTH, WIDTH))
    return draw, generator.normal(scale=WIDTH**-0.5, size=(WIDTH, 10))


def remedies(depth: int, seed: int) -> dict[str, Network]:
    """Returns networks that start from different weights, or are put together differently.

    Source: Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852; Saxe et al. 2014,
    arXiv:1312.6120, for orthogonal weights.
    """
    layers, last = normal(depth, seed)
    small, on = plain(0.5 * layers, last), jnp.ones(())
    return {
        "too small (0.5)": small,
        "too large (3)": plain(3 * layers, last),
        "Glorot": plain(layers, last),  # variance 2 / (64 in + 64 out)
        "orthogonal": plain(np.linalg.qr(layers).Q, last),
        "He": plain(2**0.5 * layers, last),  # variance 2 / 64 in
        "too small, residual": small._replace(residual=on),
        "too small, normalised": small._replace(norm=on),
        "too small, both": small._replace(residual=on, norm=on),
    }


# -- the experiments ------------------------------------------------------------------------
def over_scales(depth: int, activation: str, images: Digits, seed: int) -> np.ndarray:
    """Returns what arrives at each layer, for each of the `SCALES`, (scales, depth)."""
    one = plain(*normal(depth, seed))

    def at(scale: Array) -> Array:
        return arriving(one._replace(layers=scale * one.layers), *images.test, activation)

    return np.asarray(jax.jit(jax.vmap(at))(jnp.asarray(SCALES)))


def stacked(networks: dict[str, Network]) -> Network:
    """Returns the networks as one, to be mapped over."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks.values())


def of_remedies(networks: Network, images: Digits, activation: str) -> np.ndarray:
    """Returns what arrives at each layer of each network."""
    return np.asarray(jax.jit(jax.vmap(lambda n: arriving(n, *images.test, activation)))(networks))


def trained(networks: Network, images: Digits, steps: int, seed: int) -> np.ndarray:
    """Returns the share of unseen images that each relu network reads rightly after training."""
    generator = np.random.default_rng(seed)
    rows = jnp.asarray(generator.integers(TEST, len(images.digit), (steps, 64)))
    x, digit = images
    optimiser = optax.adam(1e-3)
    nudges = jnp.zeros((networks.layers.shape[1], 1, WIDTH))

    def share(one: Network) -> Array:
        def put(weights: tuple) -> Network:
            return one._replace(layers=weights[0], last=weights[1])

        def step(state: tuple, rows: Array) -> tuple:
            weights, memory = state
            slope = bp.grad(lambda w: loss(put(w), nudges, x[rows], digit[rows], "relu"))(weights)
            update, memory = optimiser.update(slope, memory, weights)
            return (optax.apply_updates(weights, update), memory), None

        start = one.layers, one.last
        (weights, _), _ = lax.scan(step, (start, optimiser.init(start)), rows)
        said = jnp.argmax(scores(put(weights), nudges, x[:TEST], "relu"), axis=1)
        return jnp.mean(said == digit[:TEST])

    return np.asarray(jax.jit(jax.vmap(share))(networks))


# -- the pictures ---------------------------------------------------------------------------
def maps(found: dict[tuple[int, str], np.ndarray]) -> Figure:
    """Returns a heat map for each depth and activation: scale of the weights × layer."""
    depths = list(dict.fromkeys(depth for depth, _ in found))
    activations = list(dict.fromkeys(name for _, name in found))
    figure, panels = style.panels(
        len(activations), len(depths), width=3.9 * len(activations) + 1, height=3.5 * len(depths)
    )
    for axes, (depth, name) in zip(panels, found, strict=True):
        image = axes.pcolormesh(
            np.arange(depth) + 1,
            SCALES,
            np.clip(found[depth, name], 1 / REACH, REACH),
            cmap="RdBu_r",
            norm=LogNorm(1 / REACH, REACH),
            rasterized=True,
        )
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(visible=False)
        axes.axhline(1, color=style.INK, lw=0.8, ls=":")
        axes.set(xlabel="layer")
        style.title(axes, f"{name}, {depth} layers")
    for axes in panels[:: len(activations)]:
        axes.set_ylabel("scale of the weights")
    bar = figure.colorbar(image, ax=panels, aspect=40, shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=style.INK, labelsize=style.SMALL)
    bar.set_label("gradient at a layer, over that at the last one", color=style.INK)
    return figure


LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.BLUE, "ls": ":"},
    {"color": style.RED, "ls": ":"},
    {"color": style.GOLD},
    {"color": style.PURPLE},
    {"color": style.GREEN},
    {"color": style.BLUE, "ls": "--"},
    {"color": style.INK, "ls": "--"},
    {"color": style.ORANGE},
)


def draw_remedies(axes: Axes, found: dict[str, np.ndarray], activation: str) -> None:
    """Draws what arrives at each layer, a line for each remedy."""
    for (name, norms), look in zip(found.items(), LOOKS, strict=True):
        layers = np.arange(len(norms)) + 1
        label = f"{name}: × {factor(norms):.2f}"
        axes.plot(layers, np.clip(norms, 1e-14, 1e14), label=label, **style.LINE, **look)
    axes.axhline(1, color=style.INK, lw=0.8)
    axes.set(yscale="log", xlabel="layer", ylim=(1e-14, 1e20))
    axes.set_ylabel("gradient, over that at the last layer")
    style.title(axes, f"{activation}: what helps, and the factor per layer")
    axes.set_yticks([10.0**power for power in range(-12, 13, 4)])
    axes.minorticks_off()
    style.legend(axes, ncols=2, loc="upper center")


# -- the page -------------------------------------------------------------------------------
TEXT = """\
On the way back a gradient passes through every layer, and each multiplies it: by its weights, and
by the slope of its activation. A factor a little below one, thirty times over, leaves nothing; a
factor a little above one leaves far too much. The picture shows it for networks of equal layers,
{width} units wide, that read real digits. A row of a map is a network whose weights are drawn at
random with that scale over the root of the width; from right to left its colour says what is left
of the gradient on the way from the last layer to the first. White is as it was, blue is less, red
is more, up to a factor of a hundred million.

![Heat maps of what arrives at each layer](maps.png)

**relu** lets about half of the numbers pass, so that a layer multiplies the gradient by the scale
over √2. At a scale of 1 that is {expected:.3f}; measured, {relu:.3f}. The white row is at √2, and
that is He's initialisation. **tanh** has a slope of at most 1, and less the larger the weights are,
since its units saturate: too small weights make gradients vanish, but large ones explode less than
with relu. **sigmoid** has a slope of at most 1/4: no row here is white, and this is why deep
networks of sigmoids did not learn. More layers change no factor, only how often it counts.

![What helps: gradient by layer](remedies.png)

What helps, in networks of {depth} layers; each with its factor per layer, on the right for tanh:

- **Initialisation** chooses the scale so that the factor is about one: He's for relu, Glorot's or
  an orthogonal matrix for tanh. Glorot's weights under relu lose three tenths at every layer.
- **Residual connections** add the layer to what it was given, h + f(h). The gradient has a way
  past every layer, and even weights that are too small do no harm.
- **Normalisation** divides by the size of what a layer is given, so the size of the weights cancels
  in part: the factor is nearer to one, but on its own not one.
- **Both together** make the layers of a transformer.

The relu networks were trained for {steps} steps of Adam. Of the digits they had not seen, they read

{table}

A network whose first layers are sent no gradient does not learn, however good its gradient is: all
of these are right to the last digits, they are just very small. To see the same for a network of
your own, add `gradient: {{flow_every: 50}}` to its configuration: norms by layer, while it trains.
"""


def lesson(
    depths: Annotated[tuple[Annotated[int, Ge(2)], ...], MinLen(1)] = (8, 32),
    activations: Annotated[tuple[Activation, ...], MinLen(1)] = ("relu", "tanh", "sigmoid"),
    depth: Annotated[int, Ge(2)] = 32,
    steps: Annotated[int, Ge(1)] = 150,
    seed: int = 0,
) -> Lesson:
    """Returns what arrives at each layer by scale, depth and activation, and what helps.

    Args:
      depths: of the networks of the maps.
      activations: of these.
      depth: of the networks that are helped.
      steps: for which these are trained.
      seed: decides weights and batches.
    """
    images = digits(seed)
    mapped = {(d, a): over_scales(d, a, images, seed) for d in depths for a in activations}
    networks = remedies(depth, seed)
    together = stacked(networks)
    figure, panels = style.panels(2, width=12.6, height=5.2)
    numbers: dict[str, float] = {}
    one = int(np.argmin(np.abs(SCALES - 1)))
    for (deep, name), norms in mapped.items():
        if deep == max(depths):
            numbers[f"{name}_factor_at_1"] = factor(norms[one])
    for axes, name in zip(panels, ("relu", "tanh"), strict=True):
        found = dict(zip(networks, of_remedies(together, images, name), strict=True))
        draw_remedies(axes, found, name)
        numbers |= {f"{name}_{key_of(which)}": factor(norms) for which, norms in found.items()}
    shares = dict(zip(networks, trained(together, images, steps, seed), strict=True))
    numbers |= {f"accuracy_{key_of(which)}": float(share) for which, share in shares.items()}
    rows = ["| weights | factor per layer | read rightly |", "| --- | --- | --- |"]
    rows += [
        f"| {which} | {numbers[f'relu_{key_of(which)}']:.3f} | {share:.1%} |"
        for which, share in shares.items()
    ]
    text = TEXT.format(
        width=WIDTH,
        expected=0.5**0.5,
        relu=numbers.get("relu_factor_at_1", float("nan")),
        depth=depth,
        steps=steps,
        table="\n".join(rows),
    )
    return Lesson(
        title="Gradients that vanish and explode",
        text=text,
        numbers=numbers,
        pictures={"maps.png": maps(mapped), "remedies.png": figure},
    )


def key_of(which: str) -> str:
    """Returns the name of a remedy as one of a number."""
    kept = "".join(letter if letter.isalnum() else " " for letter in which.lower())
    return "_".join(kept.split())
