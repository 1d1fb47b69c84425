"""The page of a comparison: one file that fetches nothing, as the report of a run is."""

import re

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from backprop_jax.check.report import Report
from backprop_jax.runner.report.page import POLICY, TEMPLATES
from backprop_jax.runner.report.pictures import svg

EMPHASIS = re.compile(r"(?<!\w)\*(\S[^*]*)\*(?!\w)")


def comparison_page(
    title: str, report: Report, text: str = "", steps: str = "", picture: Figure | None = None
) -> str:
    """Returns a comparison as a page of HTML.

    Args:
      title: its headline.
      report: what was found.
      text: paragraphs above it.
      steps: a table of slopes over the length of the step; "" for none.
      picture: of the same.
    """
    head, *rows = report.cells()
    return TEMPLATES.get_template("comparison.html").render(
        policy=POLICY,
        title=title,
        text=[
            Markup(EMPHASIS.sub(r"<em>\1</em>", str(escape(part))))
            for part in text.split("\n\n")
            if part.strip()
        ],
        ok=report.ok,
        head=[cell.strip() for cell in head],
        rows=[[row[0].lstrip("> "), *row[1:]] for row in rows],
        words=report.words(),
        steps=steps,
        picture=None if picture is None else svg(picture, "error of the slope over the step"),
    )
