"""Pictures, laid out by Graphviz, which the wheel of pygraphviz brings along."""

import importlib
from typing import Any

from backprop_jax.errors import message


def draw(text: str, form: str) -> bytes:
    """Returns a picture of a graph in Graphviz's language.

    Args:
      text: the graph.
      form: "svg" or "png".

    Raises:
      ImportError: pygraphviz is not installed.
    """
    fine = "-Gdpi=144" if form == "png" else ""
    return graphviz().AGraph(string=text).draw(format=form, prog="dot", args=fine)


def graphviz() -> Any:
    """Returns pygraphviz.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module("pygraphviz")
    except ImportError:
        raise ImportError(
            message(
                "a picture wants Graphviz to lay it out, and pygraphviz is not installed.",
                to_go_on="pip install 'backprop-jax[graph]', or save as .txt, .dot or .html.",
            )
        ) from None
