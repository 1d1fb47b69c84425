"""A run as it happens: a bar in a terminal, plain lines where there is none."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backprop_jax.runner.training import Record

Show = Callable[[Record], None]

LABELS = {"train": "", "test": "test", "gradient_check": "gradient check"}
LABELS |= {"validation": "validation", "example_norms": "gradient norms", "warning": "warning"}


@contextmanager
def display(console: Console, steps: int) -> Iterator[Show]:
    """Yields a function that shows a record.

    In a terminal the training loss moves a bar and the rest scrolls above it; elsewhere, and under
    CI, each record is a line.
    """

    def print_line(record: Record) -> None:
        if record["kind"] in LABELS:
            print(line(record, steps), file=console.file, flush=True)

    if not console.is_terminal or os.environ.get("CI"):
        yield print_line
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("compiling", total=steps)

        def move(record: Record) -> None:
            if record["kind"] == "train":
                loss = f"loss {record['loss']:.4g}"
                progress.update(bar, completed=record["step"], description=loss)
            elif record["kind"] in LABELS:
                progress.console.print(line(record, steps), highlight=False, markup=False)

        yield move


def line(record: Record, steps: int) -> str:
    """Returns a record as a line: `step  400/2000  test accuracy 0.9722  loss 0.08123`."""
    shown = ((key, x) for key, x in record.items() if key not in ("kind", "step", "seconds"))
    figures = "  ".join(
        f"{key} {x:.4g}" if isinstance(x, float) else f"{key} {x}" for key, x in shown
    )
    if record["kind"] == "warning":
        figures = record["text"]
    step = f"step {record['step']:>{len(str(steps))}}/{steps}"
    return "  ".join(part for part in (step, LABELS[record["kind"]], figures) if part)
