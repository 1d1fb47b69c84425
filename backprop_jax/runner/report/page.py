"""The pages of runs, lessons and sweeps: what stands on them, and what they are made with."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backprop_jax.graph.page import script_hash
from backprop_jax.runner.curves import Line, draw_panel, panels_of
from backprop_jax.runner.flow import pictures as flow_pictures
from backprop_jax.runner.flow.history import HEAD, Flow
from backprop_jax.runner.lesson import Lesson
from backprop_jax.runner.pages import QUESTION, rows_of
from backprop_jax.runner.pages import head as page_head
from backprop_jax.runner.plan import origins
from backprop_jax.runner.report.markdown import HTML, kind_of, rendered
from backprop_jax.runner.report.pictures import svg
from backprop_jax.runner.training import Record

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the browser is told to refuse: everything that is not in the page."""

PANEL = (4.6, 3.4)
"""Width and height of a curve, in inches."""

MARGINS = {"left": 0.16, "right": 0.98, "bottom": 0.14, "top": 0.92}
"""Around a curve. To find them by what stands there takes as long as to draw it."""

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    # All values are escaped; the style is ours.
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def run_page(
    plan: Any,
    summary: Mapping[str, Any],
    records: Sequence[Record],
    environment: Mapping[str, Any],
    *,
    title: str,
    question: str = "",
    chosen: str = "",
    nonfinite: str = "",
    graph: str = "",
    undrawn: str = "",
) -> str:
    """Returns the page of a run as HTML that needs nothing else.

    Args:
      plan: what was run, of any kind; it has `settings` and the `document` they come from.
      summary: how it ended, as in summary.json.
      records: the lines of metrics.jsonl.
      environment: where it ran, as in environment.json.
      title: of the page.
      question: that the run answers; "" for none.
      chosen: what was chosen, in a few words.
      nonfinite: the report on what is not finite; "" for none.
      graph: a picture of the step, as a part of a page that is trusted; "" for none.
      undrawn: why there is none, although it was wanted.
    """
    flow = Flow.of(records)
    return TEMPLATES.get_template("run.html").render(
        policy=f"{POLICY}; script-src {script_hash()}" if graph else POLICY,
        title=title,
        question=question,
        chosen=chosen,
        status=summary["status"],
        ended=_ended(summary),
        course=list(_course(summary)),
        warnings=[warning["text"] for warning in summary.get("warnings", ())],
        results=list(_results(records)),
        curves=_curves(records),
        flow=_flow(flow) if flow else None,
        checks=[
            (x["step"], _number(x["max_abs"]), _number(x["max_rel"]), x["leaf"])
            for x in records
            if x["kind"] == "gradient_check"
        ],
        nonfinite=nonfinite,
        graph=Markup(graph),
        undrawn=undrawn,
        **_asked(plan, environment),
    )


def lesson_page(
    plan: Any,
    lesson: Lesson,
    environment: Mapping[str, Any],
    *,
    question: str = "",
    command: str = "",
    wrong: Sequence[str] = (),
) -> str:
    """Returns the page of a lesson, or of a comparison, as HTML that needs nothing else.

    Args:
      plan: what was shown, of any kind; if it has none, nothing is `expected` of the numbers.
      lesson: what was found: its numbers as plain values, its pictures as what the files hold.
      environment: where it ran, as in environment.json.
      question: that it answers; "" for none.
      command: what wrote it.
      wrong: what was wrong, a line each.
    """
    pictures: Any = lesson.pictures
    framed = any(kind_of(name) == HTML for name in pictures)
    expected = getattr(plan, "expected", {})
    return TEMPLATES.get_template("lesson.html").render(
        # The pages that bp.explain writes have a script, which is the one that may run in a frame.
        policy=f"{POLICY}; script-src {script_hash()}" if framed else POLICY,
        title=lesson.title,
        question=question,
        status="failed" if wrong else "completed",
        wrong=wrong,
        text=rendered(lesson.text, pictures),
        numbers=list(rows_of(lesson.numbers, expected)),
        promised=bool(expected),
        command=command,
        **_asked(plan, environment),
    )


def sweep_page(
    path: Path,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    links: Sequence[str],
    figure: Figure | None,
) -> str:
    """Returns the page of a sweep.

    Args:
      path: the configuration.
      head: of the table of all runs.
      rows: of that table.
      links: to the pages of the runs; "" for none.
      figure: what they ended with; None for none.
    """
    return TEMPLATES.get_template("sweep.html").render(
        policy=POLICY,
        title=f"{path.stem}: {len(rows)} runs",
        question=question_of(path),
        head=head,
        rows=list(zip(rows, links, strict=True)),
        picture=None if figure is None else svg(figure, "what the runs ended with"),
    )


def question_of(path: Path) -> str:
    """Returns the question in the first lines of a configuration; "" if there is none."""
    asked = page_head(path).get(QUESTION, "") if path.is_file() else ""
    return asked[:1].upper() + asked[1:]


def picture(draw: Callable[[Axes], None], label: str, figure: Figure) -> str:
    """Returns what a function draws onto the axes of an empty figure, as a part of a page."""
    draw(figure.subplots())
    return svg(figure, label)


def curve(name: str, lines: Mapping[str, Line]) -> str:
    """Returns lines over steps, as a part of a page."""
    figure = Figure(figsize=PANEL)
    figure.subplots_adjust(**MARGINS)
    return picture(lambda axes: draw_panel(axes, name, lines), f"{name}, by step", figure)


def _asked(plan: Any, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a page says of how it was asked for, and of where it ran."""
    asked = [(".".join(map(str, keys)), x, said) for keys, x, said in origins(plan) if said]
    return {"config": asked, "environment": list(_lines(environment))}


def _ended(summary: Mapping[str, Any]) -> str:
    """Returns how a run ended: after how long, and why if it did not complete."""
    parts = [f"{summary['steps']} steps in {summary['seconds']:.1f} s"]
    if rate := summary["steps_per_second"]:
        parts.append(f"{rate:.4g} steps per second")
    if summary["trace_seconds"] is not None:
        trace, compilation = summary["trace_seconds"], summary["compile_seconds"]
        parts.append(f"{trace:.2f} s to trace and {compilation:.2f} s to compile")
    return "; ".join(parts)


def _course(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yields what happened on the way: where it stopped, where it went on."""
    if summary["message"]:
        yield f"It stopped at step {summary['steps']}: {summary['message']}."
    if steps := summary.get("resumed"):
        yield f"It went on after having stopped, from step {', '.join(map(str, steps))}."


def _results(records: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    """Yields for each figure its last value, its lowest and its highest, with their steps."""
    kinds = {"train": "training", "validation": "validation", "test": "test"}
    for kind, called in kinds.items():
        found: dict[str, list[tuple[float, int]]] = {}
        for record in records:
            if record["kind"] == kind:
                for name, value in record.items():
                    if name not in ("kind", "step", "seconds"):
                        found.setdefault(name, []).append((float(value), record["step"]))
        for name, values in found.items():
            finite = [pair for pair in values if math.isfinite(pair[0])]
            ends = [min(finite), max(finite)] if finite else [("", ""), ("", "")]
            shown = [x for value, step in ends for x in (_number(value), str(step))]
            yield f"{called} {name}", _number(values[-1][0]), *shown


def _curves(records: Sequence[Record]) -> list[str]:
    """Returns the learning curves."""
    return [curve(name, lines) for name, lines in panels_of(records).items()]


def _flow(flow: Flow) -> dict[str, Any]:
    """Returns what is shown of how gradients flow."""
    size = flow_pictures.panel_size(flow)
    return {
        "pictures": [
            picture(
                lambda axes, draw=draw: draw(axes, flow),
                name,
                Figure(figsize=size, layout="constrained"),
            )
            for name, draw in flow_pictures.panels_of(flow).items()
        ],
        "step": flow.steps[-1],
        "head": HEAD,
        "rows": flow.rows(),
    }


def _lines(values: Mapping[str, Any], around: str = "") -> Iterator[tuple[str, str]]:
    """Yields nested values as lines: `device.kind`, `cpu`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{around}{key}.")
        elif value is not None:
            yield f"{around}{key}", str(value)


def _number(value: Any) -> str:
    """Returns a figure in four digits; what is no number as it is."""
    return f"{float(value):.4g}" if isinstance(value, int | float) else str(value)
