"""Figures as SVG within a page: they take on its colours, and scale with it."""

import io
import re
import threading
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from backprop_jax.runner.curves import INK, PALE

COLOURS = {INK: "currentColor", PALE: "var(--pale)"}
"""What a picture has in common with the page is as dark or light as that is."""

WHITE = "#ffffff"
"""The ground of axes that have none of their own."""

NAMES = re.compile(r' id="[\w.]+_\d+"')
"""Names that matplotlib gives to the parts of a picture, the same ones in each."""

DRAWING = threading.Lock()
"""Held by who draws: settings of matplotlib are those of all threads."""

SIZE = re.compile(r'<svg [^>]*?viewBox="([\d. ]+)"[^>]*>')


def svg(figure: Figure, label: str) -> Markup:
    """Returns a figure as an SVG element; `label` is what is read to who cannot see it."""
    content = io.StringIO()
    for axes in figure.axes:
        if to_hex(axes.get_facecolor()) == WHITE:
            axes.set_facecolor("none")
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": label}
    with DRAWING, mpl.rc_context(options):
        figure.savefig(content, format="svg", facecolor="none", metadata=nothing)
    text = NAMES.sub("", content.getvalue())
    for colour, instead in COLOURS.items():
        text = text.replace(colour, instead)
    begin = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{escape(label)}"'
    )
    text = SIZE.sub(lambda found: f'{begin} viewBox="{found[1]}">', text[text.index("<svg") :], 1)
    return Markup(text)
