"""What a check found: figures for a report, and the text of an error."""

import math
from dataclasses import dataclass, field
from typing import Any

from backprop_jax.errors import message


@dataclass(frozen=True)
class Wrong:
    """One answer that is wrong, and the element to blame.

    Attributes:
      mode: "fwd" or "rev".
      order: of the derivative.
      where: the element, as the user would write it: `params['w'][2, 0]`.
      type: of its leaf.
      of: what it is the gradient of, or the slope of; where it is not plain.
      said: who says what of it: name → number, the judged one first.
      error: error bar of what was measured.
      how: how it was measured.
      rate: how the remainder falls with the step, and how it falls with the slope measured.
      notes: more for the reader.
    """

    mode: str
    order: int
    where: str
    type: str
    of: str
    said: dict[str, float]
    error: float
    how: str
    rate: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Returns what is wrong, line by line."""
        kind = {"rev": "the gradient", "fwd": "the slope"}.get(self.mode, self.mode)
        order = {1: "", 2: ", second order", 3: ", third order"}.get(
            self.order, f", order {self.order}"
        )
        rows = [("wrong", f"{kind} at {self.where}, {self.type}{order}")]
        rows += [("of", self.of)] * bool(self.of)
        judged = next(iter(self.said))
        for name, value in self.said.items():
            text = f"{value:.10g}"
            if name == "measured":
                text += f" ± {self.error:.1g}   {self.how}"
            rows.append((name, text + "   <- judged" * (name == judged)))
        measured = self.said.get("measured")
        if measured and math.isfinite(measured):
            rows.append(("ratio", f"{self.said[judged] / measured:.6g}"))
        if self.rate is not None:
            rows.append(
                (
                    "Taylor",
                    f"what the judged one leaves over falls as h^{self.rate[0]:.2f}, "
                    f"what the measured one leaves as h^{self.rate[1]:.2f}",
                )
            )
        rows += [("note", note) for note in self.notes]
        width = max(len(key) for key, _ in rows) + 1
        return [f"  {key + ':':<{width}} {text}" for key, text in rows]


@dataclass
class GradsReport:
    """What `check_grads` found.

    Attributes:
      name: of the function.
      engine: who was judged.
      leaves: how many operands move.
      elements: how many numbers they hold.
      questions: how many answers were judged.
      worst: the largest distance of an answer from the measured one, in units of what is allowed.
      error: the largest error bar of a slope that was judged by, relative to it; of many slopes at
        once the median.
      unjudged: how many answers nothing could be measured of.
      seconds: how long it took.
      wrong: the answers that are wrong.
      notes: what the reader should know.
      broken: what is wrong with the structure, a shape or a dtype; empty if nothing.
    """

    name: str
    engine: str
    leaves: int = 0
    elements: int = 0
    questions: int = 0
    worst: float = 0.0
    error: float = 0.0
    unjudged: int = 0
    seconds: float = 0.0
    wrong: list[Wrong] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: str = ""

    @property
    def ok(self) -> bool:
        """Whether all answers are right, and at least one could be judged."""
        return (
            not self.wrong
            and not self.broken
            and (self.questions > self.unjudged or not self.questions)
        )

    @property
    def verdict(self) -> str:
        """ok, WRONG, or NOT JUDGED."""
        if self.wrong or self.broken:
            return "WRONG"
        return "ok" if self.ok else "NOT JUDGED"

    def note(self, text: str) -> None:
        """Adds a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures, for JSON."""
        keys = ("name", "engine", "leaves", "elements", "questions", "worst", "error", "unjudged")
        return {
            **{key: getattr(self, key) for key in keys},
            "seconds": round(self.seconds, 4),
            "verdict": self.verdict,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        head = f"{self.verdict}: {self.engine} on '{self.name}'"
        if self.broken:
            return f"{head}: {self.broken}"
        if self.verdict == "NOT JUDGED":
            to_go_on = "operands in float64, others next to these, or a longer step, eps=0.25."
            lines = [f"{head}: the error bar of each slope is too long to tell right from wrong."]
            lines += [f"  note: {note}" for note in self.notes]
            return message("\n".join(lines), to_go_on=to_go_on)
        if not self.wrong:
            return (
                f"{head}: {self.questions - self.unjudged} of {self.questions} answers judged, the "
                f"worst at {self.worst:.2g} of what is allowed"
            )
        lines = [head]
        for wrong in self.wrong:
            lines += wrong.lines()
        lines += [f"  note: {note}" for note in self.notes]
        if self.engine != "backprop_jax":
            return "\n".join(lines)
        return message(
            "\n".join(lines), to_go_on="bp.bisect(fun, *args) names the line whose rule is wrong."
        )
