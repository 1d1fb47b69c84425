"""What is wrong with how gradients flow, in words and with numbers."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from backprop_jax.runner.flow.history import Flow
from backprop_jax.runner.flow.layers import family

Kind = Literal["vanishing", "exploding", "nonfinite", "none", "dead", "small", "large"]

FEWEST = 3
"""Layers of a kind from which on there is a slope over depth, and looks from which on a habit."""

SPREAD = 100.0
"""What the gradient must lose or gain over all layers of a kind to be told of."""

STRAIGHT = 0.8
"""How well the logarithms of the norms must follow a line over depth: their correlation."""

OFTEN = 0.25
"""In which share of the looks."""

JUMP = 1000.0
"""How much larger than in the looks before a gradient must be to be told of."""

DEAD = 0.5
"""Share of dead units, in each of the last looks."""

USUAL, SMALL, LARGE = 1e-3, 1e-5, 3e-2
"""Updates relative to weights: what is usual, and what is far from it."""

MOST_NAMES = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something wrong.

    Attributes:
      kind: which.
      text: what a user reads, in one line.
      value: the figure that it is about: a factor, a norm, a share, a ratio.
      layers: where.
    """

    kind: Kind
    text: str
    value: float
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Slope:
    """How the norm of the gradient changes along layers of one kind.

    Attributes:
      layers: numbers of the layers.
      factors: by look, what the norm is multiplied by from layer to layer on the way back; NaN if
        it follows no line.
    """

    layers: tuple[int, ...]
    factors: np.ndarray


def findings(flow: Flow) -> list[Finding]:
    """Returns what is wrong with a flow: nothing, for most models that learn."""
    return [found for finder in FINDERS for found in finder(flow)]


def slopes(flow: Flow) -> list[Slope]:
    """Returns the slopes over depth, one for each kind of layer that there are enough of.

    Layers are of one kind if their names are the same but for numbers: `conv1`, `conv2`. If there
    is no kind with enough of them, all layers with units together are one.
    """
    kinds: dict[str, list[int]] = {}
    for number, name in enumerate(flow.layers):
        kinds.setdefault(family(name), []).append(number)
    groups = [numbers for numbers in kinds.values() if len(numbers) >= FEWEST]
    if not groups:
        groups = [np.flatnonzero(~np.isnan(flow.dead[-1])).tolist()]
    return [
        Slope(tuple(group), np.array([_factor(row[group]) for row in flow.gradient]))
        for group in groups
        if len(group) >= FEWEST
    ]


def _factor(norms: np.ndarray) -> float:
    """Returns what norms are multiplied by from layer to layer on the way back, by least squares.

    What has come to an exact zero has vanished already; it is left out here.
    """
    depth = np.flatnonzero(np.isfinite(norms) & (norms > 0))
    if len(depth) < FEWEST:
        return np.nan
    logs = np.log10(norms[depth])
    if np.ptp(logs) == 0:
        return 1.0
    straight = abs(np.corrcoef(depth, logs)[0, 1])
    return 10 ** -np.polyfit(depth, logs, 1)[0] if straight >= STRAIGHT else np.nan


def _over_depth(flow: Flow) -> Iterator[Finding]:
    """Yields gradients that vanish or explode from layer to layer."""
    sides: tuple[tuple[Kind, str, Callable], ...] = (
        ("vanishing", "falls", lambda total: total < 1 / SPREAD),
        ("exploding", "grows", lambda total: total > SPREAD),
    )
    for slope in slopes(flow):
        with np.errstate(over="ignore"):
            totals = slope.factors ** (len(slope.layers) - 1)
        for kind, does, is_far in sides:
            looks = np.flatnonzero(is_far(totals))
            if len(looks) < max(1, OFTEN * len(flow.steps)):
                continue
            # The look in the middle of those is an example of all.
            look = looks[np.argsort(slope.factors[looks])[len(looks) // 2]]
            factor, (first, *_, last) = float(slope.factors[look]), slope.layers
            ends = [f"{flow.gradient[look, at]:.1e}" for at in (last, first)]
            text = (
                f"gradient norm {does} by a factor of {factor:.2g} per layer from "
                f"{flow.layers[last]} back to {flow.layers[first]} ({ends[0]} to {ends[1]} at step "
                f"{flow.steps[look]}): {kind}{_in_looks(len(looks), flow)}"
            )
            yield Finding(kind, text, factor, tuple(flow.layers[at] for at in slope.layers))


def _jumps(flow: Flow) -> Iterator[Finding]:
    """Yields the first gradient that is not finite, and else the largest jump of one."""
    bad = np.argwhere(~np.isfinite(flow.gradient))
    if len(bad):
        look, layer = bad[0]
        value, name = float(flow.gradient[look, layer]), flow.layers[layer]
        text = f"gradient norm of {name} is {value} at step {flow.steps[look]}"
        yield Finding("nonfinite", text, value, (name,))
        return
    found = None
    for look in range(FEWEST, len(flow.steps)):
        before = np.median(flow.gradient[:look], axis=0)
        times = flow.gradient[look] / np.where(before > 0, before, np.inf)
        layer = int(np.argmax(times))
        if times[layer] > JUMP and (found is None or times[layer] > found[0]):
            found = float(times[layer]), look, layer, float(before[layer])
    if found:
        times, look, layer, before = found
        text = (
            f"gradient norm of {flow.layers[layer]} jumps to {flow.gradient[look, layer]:.1e} at "
            f"step {flow.steps[look]}, {times:.2g} times the median before it, {before:.1e}: "
            "exploding"
        )
        yield Finding("exploding", text, times, (flow.layers[layer],))


def _without(flow: Flow) -> Iterator[Finding]:
    """Yields the layers that no gradient comes to."""
    layers = np.flatnonzero((flow.gradient == 0).all(axis=0))
    if len(layers):
        text = f"no gradient comes to {_listed([flow.layers[at] for at in layers])}: exactly zero"
        text += _in_looks(len(flow.steps), flow)
        yield Finding("none", text, 0.0, tuple(flow.layers[at] for at in layers))


def _dead(flow: Flow) -> Iterator[Finding]:
    """Yields the layers with many dead units."""
    # Without any gradient all units would be dead, and that is said elsewhere.
    shares = np.where(flow.gradient > 0, flow.dead, np.nan)[-FEWEST:]
    least = np.where(np.isnan(shares).any(axis=0), 0, np.nan_to_num(shares).min(axis=0))
    layers = np.flatnonzero(least >= DEAD)
    if len(layers):
        worst = layers[np.argmax(shares[-1, layers])]
        said = [f"{shares[-1, at]:.0%} in {flow.layers[at]}" for at in layers[:MOST_NAMES]]
        text = (
            f"dead units, without gradient for the whole batch: {', '.join(said)}"
            f"{_more(len(layers))} at step {flow.steps[-1]}"
        )
        if len(flow.steps) > 1:
            text += f"; {flow.dead[0, worst]:.0%} in {flow.layers[worst]} at step {flow.steps[0]}"
        value = float(shares[-1, worst])
        yield Finding("dead", text, value, tuple(flow.layers[at] for at in layers))


def _updates(flow: Flow) -> Iterator[Finding]:
    """Yields layers whose updates are far too small, from the first on, or too large as a rule."""
    ratio = np.where(np.isfinite(flow.ratio), flow.ratio, np.nan)
    known = ~np.isnan(ratio).all(axis=0) & (flow.gradient > 0).any(axis=0)
    filled = np.where(known, ratio, USUAL)
    sides: tuple[tuple[Kind, np.ndarray, Callable, str], ...] = (
        ("small", np.nanmax(filled, axis=0), lambda x: x < SMALL, "at most "),
        ("large", np.nanmedian(filled, axis=0), lambda x: x > LARGE, ""),
    )
    for kind, figures, is_far, how in sides:
        layers = np.flatnonzero(is_far(figures))
        if len(layers):
            ranked = layers[np.argsort(figures[layers] * (1 if kind == "small" else -1))]
            said = [f"{figures[at]:.1e} in {flow.layers[at]}" for at in ranked[:MOST_NAMES]]
            text = (
                f"updates are too {kind} relative to the weights: {how}{', '.join(said)}"
                f"{_more(len(layers))}; {USUAL:g} is usual"
            )
            names = tuple(flow.layers[at] for at in ranked)
            yield Finding(kind, text, float(figures[ranked[0]]), names)


FINDERS = (_over_depth, _jumps, _without, _dead, _updates)


def _in_looks(looks: int, flow: Flow) -> str:
    """Returns in how many of the looks something was so, if there was more than one."""
    return f", in {looks} of {len(flow.steps)} looks" if len(flow.steps) > 1 else ""


def _listed(names: Sequence[str]) -> str:
    """Returns the first few names."""
    return ", ".join(names[:MOST_NAMES]) + _more(len(names))


def _more(count: int) -> str:
    """Returns how many more there are than are named."""
    return f" and {count - MOST_NAMES} more" if count > MOST_NAMES else ""
