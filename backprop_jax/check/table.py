"""Leaves as plain text: one line each, the worst marked with `>`."""

import math
from collections.abc import Iterator, Sequence

from backprop_jax.check.difference import Difference
from backprop_jax.check.leaf import LeafReport

WIDTH = 110
"""Columns of a line; a leaf's path gives way first, down to SHORTEST_PATH."""

SHORTEST_PATH = 26

HEADER = ("  leaf", "type", "relative", "ulp", "cosine", "worst at", "verdict")
TOLD = ("BAD", "overruled", "skipped")
"""Opinions of which the table does not tell enough."""

TRUTH_HEADER = ("ours-f64", "jax-f64")


def cells(
    leaves: Sequence[LeafReport], worst: LeafReport | None, has_truth: bool
) -> list[list[str]]:
    """Returns the cells of the table: a header and a row for each leaf.

    Relative, ulp, cosine and index are of the gradient against `jax.grad`. With a float64 reference
    two columns more: how far the gradient is from it, and how far `jax.grad` is, relative.
    """
    header = [*HEADER[:-1], *(TRUTH_HEADER if has_truth else ()), HEADER[-1]]
    return [header, *(_cells(leaf, leaf is worst, has_truth) for leaf in leaves)]


def panel(leaves: Sequence[LeafReport], judged: str) -> list[list[str]]:
    """Returns the cells of the table leaf × witness: a header, and a row for each witness.

    A row is of one element of the leaf, the one farthest beyond what is allowed.
    """
    figures = [judged, "says", "difference", "error bar"]
    rows = [["  leaf", "type", "witness", "at", *figures, "verdict"]]
    for leaf in leaves:
        if not leaf.opinions:
            rows.append([f"  {leaf.path}", _type(leaf), *["-"] * 6, leaf.verdict.word])
        for i, opinion in enumerate(leaf.opinions):
            mark = " " if opinion.verdict.ok else ">"
            name = ["", ""] if i else [leaf.path, _type(leaf)]
            figures = [_figure(x) for x in (opinion.ours, opinion.says)]
            figures += [_bar(x) for x in (opinion.difference, opinion.error)]
            index = "-" if not opinion.index else _place(opinion.index)
            head = [f"{mark} {name[0]}", name[1], opinion.witness, index]
            rows.append([*head, *figures, opinion.verdict.word])
    return rows


def markdown(cells: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table of GitHub's Markdown."""
    header, *rows = ([cell.strip().replace("|", "\\|") for cell in row] for row in cells)
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def code(name: str) -> str:
    """Returns a name as Markdown that is taken as it is; "" stays that."""
    return f"`{name}`" if name else ""


def worst_line(leaf: LeafReport, sources: Sequence[str]) -> Iterator[str]:
    """Yields what each source says at the worst element of the worst leaf."""
    if leaf.values:
        digits = {"float64": 17, "complex128": 17}.get(leaf.dtype, 9)
        said = (f"{s} {v:.{digits}g}" for s, v in zip(sources, leaf.values, strict=True))
        yield f"worst: {leaf.path} at {_index(leaf.differences[0])}: {', '.join(said)}"


def details(leaves: Sequence[LeafReport]) -> Iterator[str]:
    """Yields a line for each leaf of which the table does not tell all."""
    for leaf in leaves:
        if told := [o for o in leaf.opinions if o.verdict.word in TOLD]:
            for reason in dict.fromkeys(o.verdict.reason for o in told):
                names = (o.witness for o in told if o.verdict.reason == reason)
                yield f"{leaf.path}: {', '.join(names)}: {reason}"
        elif not leaf.ok:
            yield f"{leaf.path}: {leaf.verdict.reason}"
        elif leaf.nonfinite:
            yield f"{leaf.path}: {leaf.nonfinite} elements are inf or nan, and not here alone"


def _cells(leaf: LeafReport, is_worst: bool, has_truth: bool) -> list[str]:
    name = f"{'>' if is_worst else ' '} {leaf.path}"
    if not leaf.differences:
        blank = ["-"] * (6 if has_truth else 4)
        return [name, _type(leaf), *blank, leaf.verdict.word]
    first, *others = leaf.differences
    finer = [_short(d.relative) for d in others]
    numbers = [_short(first.relative), _short(first.ulp), f"{first.cosine:.4f}", _index(first)]
    return [name, _type(leaf), *numbers, *finer, leaf.verdict.word]


def _short(value: float) -> str:
    """Two digits, and plain numbers where they fit."""
    return f"{value:.2g}" if value in (0, float("inf")) or 0.1 <= value < 1000 else f"{value:.1e}"


def _index(difference: Difference) -> str:
    return "-" if difference.index is None else _place(difference.index)


def _place(index: Sequence[int]) -> str:
    return f"[{','.join(map(str, index))}]"


def _type(leaf: LeafReport) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _figure(value: complex | float | None) -> str:
    return "-" if value is None else f"{value:.7g}"


def _bar(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else _short(value)


def align(cells: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table: names padded to the right, numbers to the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    others = sum(widths[1:]) + 2 * len(widths[1:])
    widths[0] = min(widths[0], max(WIDTH - others, SHORTEST_PATH))
    left = {0, 1, len(widths) - 1} | {i for i, word in enumerate(cells[0]) if word == "witness"}
    return [
        "  ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(
                zip([_shorten(row[0], widths[0]), *row[1:]], widths, strict=True)
            )
        ).rstrip()
        for row in cells
    ]


def _shorten(name: str, width: int) -> str:
    """The mark and the end of a name, which tells leaves apart better than its beginning."""
    return name if len(name) <= width else f"{name[:2]}…{name[3 - width :]}"
