"""Slopes over the length of the step, as a picture: the V of truncation and rounding."""

import numpy as np
from matplotlib.figure import Figure

from backprop_jax.check.differences import Steps
from backprop_jax.runner.curves import COLOURS, INK, dress

LABELS = {
    "forward": "forward difference",
    "central": "central difference",
    "complex": "complex step",
}


def draw_steps(steps: Steps, title: str) -> Figure:
    """Returns a picture of how far slopes are off, over the length of the step.

    An error of zero is drawn at the rounding of the slope itself, half a unit in the last place.
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=144, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    axes = figure.subplots()
    floor = 2.0**-53 * max(abs(steps.exact), np.finfo(float).tiny)
    for colour, way in zip(COLOURS, steps.slopes, strict=False):
        errors = np.maximum(steps.errors(way), floor)
        axes.loglog(
            steps.lengths, errors, color=colour, label=LABELS[way], lw=1.4, marker="o", ms=3
        )
    axes.axhline(floor, color=INK, lw=0.8, ls=":", label="rounding of the slope itself")
    axes.set_xlabel("step h", color=INK)
    axes.set_title("how far the slope is off", loc="left", fontsize=10, color=INK)
    dress(axes)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure
