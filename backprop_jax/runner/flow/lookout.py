"""Warnings while a run goes on: of each kind one, when it is first so."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from backprop_jax.runner.flow.findings import FEWEST, findings
from backprop_jax.runner.flow.history import Flow

WINDOW = 10
"""Looks that are judged together, the last ones."""

AT_ONCE = ("nonfinite",)
"""Kinds that are told of at the first look; the others are judged from `FEWEST` on."""


class Lookout:
    """Judges each look at the layers of a run as it is recorded.

    Args:
      records: those of the run so far, if it goes on.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self.looks: deque[Mapping[str, Any]] = deque(maxlen=WINDOW)
        self.told: set[str] = set()
        for record in records:
            self.note(record)

    def note(self, record: Mapping[str, Any]) -> None:
        """Keeps a record that matters here."""
        if record["kind"] == "flow":
            self.looks.append(record)
        elif record["kind"] == "warning":
            self.told.add(record["about"])

    def see(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the records of what is wrong since this one, and was not told before."""
        self.note(record)
        flow = Flow.of(self.looks) if record["kind"] == "flow" else None
        if flow is None:
            return []
        early = len(flow.steps) < FEWEST
        news = {
            found.kind: found.text
            for found in findings(flow)
            if found.kind not in self.told and (not early or found.kind in AT_ONCE)
        }
        self.told.update(news)
        step = record["step"]
        return [
            {"kind": "warning", "step": step, "about": kind, "text": text}
            for kind, text in news.items()
        ]
