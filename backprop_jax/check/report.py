"""What a comparison found: leaves × sources, with a verdict on each leaf and on the whole."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from backprop_jax.check import table
from backprop_jax.check.leaf import LeafReport
from backprop_jax.errors import message


@dataclass(frozen=True, repr=False)
class Report:
    """A gradient compared with other sources of the same gradient. Printed, it is a table.

    Attributes:
      sources: names of the sources; the first is the one that is judged, the last the finest.
      leaves: one report a leaf, in the order of the pytree.
      problems: what is wrong with the gradient as a whole.
      notes: what the reader should know about the sources.
      absent: witnesses that were asked for and do not apply, and why.
    """

    sources: tuple[str, ...]
    leaves: tuple[LeafReport, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the gradient is right, as far as these sources can tell."""
        return not self.problems and all(leaf.ok for leaf in self.leaves)

    @property
    def worst(self) -> LeafReport | None:
        """The bad leaf farthest from `jax.grad`, or the farthest of all; None if all are equal."""
        apart = [leaf for leaf in self.leaves if leaf.values or not leaf.ok]
        return max(apart, key=lambda leaf: (not leaf.ok, leaf.relative), default=None)

    @property
    def relative(self) -> float:
        """The largest distance of a leaf from `jax.grad`, over that leaf's largest element."""
        return max((leaf.relative for leaf in self.leaves), default=0.0)

    def raise_if_bad(self) -> None:
        """Raises AssertionError, with the table and what to do, unless the report is `ok`."""
        if not self.ok:
            raise AssertionError(message(str(self), to_go_on=self._advice()))

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as lists, dicts, strings and numbers that JSON can hold.

        What JSON has no number for is a string: "nan", "inf", "1+2j".
        """
        relative = {} if self._is_panel else {"relative": _plain(self.relative)}
        return {"ok": self.ok, **relative, **_plain(dataclasses.asdict(self))}

    def to_markdown(self) -> str:
        """Returns the table in Markdown, and below it what it does not tell."""
        head, *rows = self.cells()
        named = [[table.code(row[0].lstrip("> ")), *row[1:]] for row in rows]
        lines = [*table.markdown([head, *named]), ""]
        return "\n".join([*lines, *(f"- {line}" for line in self.words())]) + "\n"

    def __str__(self) -> str:
        """The table, what it does not tell, and the verdict on the last line."""
        return "\n".join([*table.align(self.cells()), *self.words()])

    def __repr__(self) -> str:
        """The verdict in one line."""
        word = "ok" if self.ok else "BAD"
        count = f"{len(self.leaves)} leaves"
        if self._is_panel:
            return f"Report({word}, {count}, witnesses {', '.join(self.sources[1:]) or 'none'})"
        return f"Report({word}, {count}, {self.relative:.1e} from jax.grad)"

    @property
    def _is_panel(self) -> bool:
        """Whether witnesses were asked for by name."""
        return bool(self.absent) or any(leaf.opinions for leaf in self.leaves)

    def cells(self) -> list[list[str]]:
        """Returns the table: a header, and rows."""
        if self._is_panel:
            return table.panel(self.leaves, self.sources[0])
        return table.cells(self.leaves, self.worst, has_truth=len(self.sources) > 2)

    def words(self) -> list[str]:
        """Returns the lines below the table, the verdict last."""
        return [
            *(table.worst_line(self.worst, self.sources) if self.worst else []),
            *table.details(self.leaves),
            *(f"{name} does not apply: {why}" for name, why in self.absent),
            *(f"problem: {problem}" for problem in self.problems),
            *(f"note: {note}" for note in self.notes),
            self._verdict(),
        ]

    def _verdict(self) -> str:
        ours, *others = self.sources
        compared = [leaf for leaf in self.leaves if leaf.verdict.word != "skipped"]
        bad = sum(not leaf.ok for leaf in compared)
        word = "ok" if self.ok else "BAD"
        tolerances = sorted({(leaf.dtype, leaf.tolerance) for leaf in compared if leaf.tolerance})
        allowed = ", ".join(f"{tolerance:.1e} for {dtype}" for dtype, tolerance in tolerances)
        opinions = [opinion for leaf in self.leaves for opinion in leaf.opinions]
        wrong = {opinion.witness for opinion in opinions if opinion.verdict.word == "overruled"}
        others = [name for name in others if name not in wrong]
        return (
            f"{word}: {len(compared) - bad} of {len(compared)} leaves of {ours} agree with "
            + (" and ".join(filter(None, (", ".join(others[:-1]), *others[-1:]))) or "nobody")
            + (f" (rtol {allowed})" if allowed else "")
        )

    def _advice(self) -> str:
        if self.problems or any(leaf.tolerance is None and not leaf.ok for leaf in self.leaves):
            return "return a pytree of the structure, shapes and dtypes that jax.grad returns."
        return (
            "bp.bisect(fun, *args) names the line whose rule is wrong; witnesses=('numerical',) "
            "measures the slope; rtol= allows more."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, complex):
        return str(value).strip("()")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
