"""Folds within folds: what the steps of a program belong to, as a tree.

A step belongs to the calls of the user's functions it is made in, to `jax.named_scope`s, to
compiled functions, loops and branches, and at last to its line. Each time that one of these is
entered is a fold of its own. The trips of a loop that take the same steps are drawn once: there a
row stands for the step of every trip.
"""

import dataclasses
import itertools
import linecache
import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from backprop_jax.graph.following import Scope
from backprop_jax.graph.values import Operation, Variable

#: Steps of a fold from which on those of one line are folded; and things in a fold at most.
FEW, MANY = 6, 36

#: Which of two names of the same steps is the better one: the first of these kinds.
KINDS = ("loop", "name", "call", "cond", "jit", "line", "part", "slices", "operands")


@dataclasses.dataclass(eq=False)
class Row:
    """A step; of the trips of a loop that take the same steps, that of each of them.

    Attributes:
      operations: one for each trip.
    """

    operations: tuple[Operation, ...]

    @property
    def first(self) -> Operation:
        """That of the first trip."""
        return self.operations[0]


@dataclasses.dataclass(eq=False)
class Fold:
    """What belongs together.

    Attributes:
      kind: one of `KINDS`.
      title: what it is called.
      children: folds, rows and operands in it, in the order they were taken.
      about: what else is known of it: `scan, 12 trips`.
      where: the user's file and line.
    """

    kind: str
    title: str
    children: list[Any]
    about: str = ""
    where: str = ""

    def rows(self) -> Iterator[Row]:
        """Yields the rows in it and in the folds within it."""
        for child in self.children:
            if type(child) is Row:
                yield child
            elif type(child) is Fold:
                yield from child.rows()


@dataclasses.dataclass(frozen=True)
class Way:
    """A row, and what is left of what it is within.

    Attributes:
      row: the row.
      marks: (frames, names, scope), the outermost first; the last scope is None.
    """

    row: Row
    marks: tuple[tuple[tuple, tuple, Any], ...]

    def keys(self) -> dict[str, Hashable]:
        """Returns by what it is known that it is in the same fold as others, by kind."""
        frames, names, scope = self.marks[0]
        found: dict[str, Hashable] = {}
        if names:
            found["name"] = id(names[0])
        if frames:
            found["call"] = frames[0].function if frames[0].call is None else frames[0].call
        if not found and scope is not None:
            found["scope"] = id(scope if scope.loop is None else scope.loop)
        return found

    def within(self, kind: str) -> "Way":
        """Returns it without the next mark of a kind."""
        frames, names, scope = self.marks[0]
        if kind == "scope":
            return Way(self.row, self.marks[1:])
        left = (frames, names[1:], scope) if kind == "name" else (frames[1:], names, scope)
        return Way(self.row, (left, *self.marks[1:]))


def way(operation: Operation) -> Way:
    """Returns the way to a step."""
    step, known = operation.step, 0
    marks: list[tuple[tuple, tuple, Any]] = []
    for scope in step.scopes:
        marks.append((scope.frames, scope.names[known:], scope))
        known = len(scope.names)
    marks.append((step.frames, step.entered[known:], None))
    return Way(Row((operation,)), tuple(marks))


def tree(title: str, operations: Sequence[Operation]) -> Fold:
    """Returns the steps of a program as a tree; `title` is that of all of it."""
    root = Fold("call", title, nested([way(operation) for operation in operations]))
    children = [child for each in root.children for child in simplified(each)]
    while len(children) == 1 and type(children[0]) is Fold and children[0].kind != "loop":
        children = children[0].children
    root.children = by_line(children)
    return root


def nested(ways: Sequence[Way]) -> list:
    """Returns folds and rows."""
    found: list = []
    while ways:
        if not (keys := ways[0].keys()):
            found.append(ways[0].row)
            ways = ways[1:]
            continue
        runs = {kind: run(ways, kind, key) for kind, key in keys.items()}
        kind = max(runs, key=runs.__getitem__)  # What holds the others; of equals the first.
        here, ways = ways[: runs[kind]], ways[runs[kind] :]
        found.append(fold(kind, here))
    return found


def run(ways: Sequence[Way], kind: str, key: Hashable) -> int:
    """Returns how many of these are in the fold that the first is in.

    A call that is known by its name alone ends where its first line is come back to.
    """
    start, before = ways[0], ways[0]
    for count, each in enumerate(ways):
        if each.keys().get(kind) != key:
            return count
        if kind == "call" and start.marks[0][0][0].call is None:
            if line_of(each) != line_of(before) and line_of(each) == line_of(start):
                return count
        before = each
    return len(ways)


def line_of(way: Way) -> tuple:
    """Returns the lines of the calls that a step is made in."""
    return tuple(frame.line for frame in way.marks[0][0])


def fold(kind: str, ways: Sequence[Way]) -> Fold:
    """Returns what is in one fold."""
    frames, names, scope = ways[0].marks[0]
    where = ways[0].row.first.step.written_at
    if kind == "name":
        inner = nested([each.within(kind) for each in ways])
        return Fold("name", str(getattr(names[0], "name", names[0])), inner, "named_scope", where)
    if kind == "call":
        inner = nested([each.within(kind) for each in ways])
        return Fold("call", frames[0].function, inner, "", where)
    if scope.loop is not None:
        return loop(scope, ways)
    inner = nested([each.within(kind) for each in ways])
    if scope.kind == "cond":
        return Fold("cond", f"branch {scope.trip}", inner, str(scope), scope.written_at)
    return Fold("jit", scope.name or scope.kind, inner, str(scope), scope.written_at)


def loop(scope: Scope, ways: Sequence[Way]) -> Fold:
    """Returns a loop, its trips drawn once if they take the same steps."""
    trips: dict[int, list[Way]] = {}
    after = []
    for each in ways:
        trip = each.marks[0][2].trip
        (after if trip is None else trips.setdefault(trip, [])).append(each.within("scope"))
    alike: dict[Hashable, list[int]] = {}
    for trip, taken in trips.items():
        alike.setdefault(tuple(map(signature, taken)), []).append(trip)
    parts = [sliced(nested(merged([trips[i] for i in each])), scope) for each in alike.values()]
    total = scope.trips or len(trips)
    about = f"{scope.kind}, {total} trip{'s' * (total != 1)}"
    if len(parts) == 1:
        return Fold("loop", about, parts[0] + nested(after), about, scope.written_at)
    inner = [
        Fold("part", f"trip{'s' * (len(each) > 1)} {listed(each)}", part, about, scope.written_at)
        for each, part in zip(alike.values(), parts, strict=True)
    ]
    return Fold("loop", about, [*inner, *nested(after)], about, scope.written_at)


def sliced(children: list, scope: Scope) -> list:
    """Returns the children of a trip, what takes its parts of stacked operands folded."""
    taking = [c for c in children if type(c) is Row and takes_part(c.first, scope)]
    if len(taking) < 2:
        return children
    rest = [c for c in children if c not in taking]
    return [Fold("slices", "the trip's part", taking, "a trip's parts of stacked arrays"), *rest]


def takes_part(operation: Operation, scope: Scope) -> bool:
    """Returns whether a step of a trip takes its part of a stacked operand."""
    step = operation.step
    within = step.scopes[-1].loop is scope.loop and not step.frames
    return within and str(step.primitive) in ("dynamic_slice", "squeeze")


def signature(way: Way) -> Hashable:
    """Returns what a step has in common with that of another trip."""
    step = way.row.first.step
    shapes = tuple(aval.str_short() for aval in step.node.result_avals)
    active = tuple(slot is None for slot in step.slots)
    kinds = tuple((*(f.function for f in m[0]), len(m[1]), str(m[2])) for m in way.marks)
    return step.primitive, step.line, shapes, active, kinds


def merged(trips: Sequence[list[Way]]) -> list[Way]:
    """Returns the steps of trips that take the same ones, each once."""
    return [
        Way(Row(tuple(itertools.chain(*(w.row.operations for w in each)))), each[0].marks)
        for each in zip(*trips, strict=True)
    ]


def listed(numbers: Sequence[int]) -> str:
    """Returns numbers as text: `0, 2 to 11`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in ranges)


def simplified(child: Any) -> list:
    """Returns what stands in the place of a child: nothing is folded that is one thing."""
    if type(child) is not Fold or child.kind == "slices":
        return [child]
    child.children = by_line([each for inner in child.children for each in simplified(inner)])
    slices = [c for c in child.children if type(c) is Fold and c.kind == "slices"]
    rest = [c for c in child.children if c not in slices]
    if len(rest) != 1 or (slices and (type(rest[0]) is not Fold or child.kind != "loop")):
        return [child]
    (only,) = rest
    if type(only) is not Fold:
        return [only] if child.kind != "loop" else [child]
    if only.kind == "line" and child.kind == "loop":
        return [child]
    better, other = sorted((child, only), key=lambda each: KINDS.index(each.kind))
    if better is child and child.kind == "loop" and other.kind != "part":
        better.title = other.title
    about = dict.fromkeys(filter(None, (better.about, other.about)))
    inner = [*slices, *only.children]
    return [Fold(better.kind, better.title, inner, ", ".join(about), better.where)]


def by_line(children: list) -> list:
    """Returns children, folded further if they are many: those of a line, then those in a row."""
    if len(children) > FEW:
        runs = itertools.groupby(children, lambda c: c.first.step.line if type(c) is Row else id(c))
        children = [piece for line, run in runs for piece in of_line(line, list(run))]
    if len(children) <= MANY:
        return children
    size = math.ceil(len(children) / math.ceil(math.sqrt(len(children))))
    pieces = [children[i : i + size] for i in range(0, len(children), size)]
    return [Fold("part", spoken(piece), piece, "", where_of(piece[0])) for piece in pieces]


def of_line(line: Any, run: list) -> list:
    """Returns the steps of one line, folded if there are several."""
    if type(run[0]) is not Row or len(run) < 2 or not line[0]:
        return run
    text = linecache.getline(*line).strip()
    where = run[0].first.step.written_at
    return [Fold("line", text if len(text) <= 44 else f"{text[:43]}…", run, "", where)]


def spoken(piece: Sequence) -> str:
    """Returns what a piece of a long fold is called: its lines."""
    ends = [str(where_of(each)).split(" ")[0].split(":")[:2] for each in (piece[0], piece[-1])]
    (file, first), (_, last) = (each if len(each) == 2 else ("", "?") for each in ends)
    return f"{file.rpartition('/')[2]}:{first}" + (f" to {last}" if first != last else "")


def where_of(child: Any) -> str:
    """Returns the user's file and line."""
    return child.first.step.written_at if type(child) is Row else child.where


def placed(root: Fold, operands: Sequence[Variable]) -> None:
    """Puts each operand into the innermost fold that all its users are in.

    Those of one argument that the same steps and folds there use are put together.
    """
    homes: dict[int, list[Fold]] = {}

    def walk(fold: Fold, above: list[Fold]) -> None:
        for child in fold.children:
            if type(child) is Fold:
                walk(child, [*above, child])
            else:
                homes.update({id(operation): above for operation in child.operations})

    walk(root, [root])
    wanted: dict[Hashable, tuple[Fold, list[Variable], str]] = {}
    for operand in operands:
        using = [s.operation for s in operand.shares if s.operation is not None]
        above = [homes[id(operation)] for operation in using]
        shared = [e for e in zip(*above, strict=False) if len(set(map(id, e))) == 1]
        home, depth = ([root, *(e[0] for e in shared)][-1], max(len(shared), 1))
        # Its users, as they stand in that fold.
        users = {id(a[depth] if depth < len(a) else o) for a, o in zip(above, using, strict=True)}
        argument = operand.name.partition("[")[0]
        key = id(home), argument, frozenset(users)
        wanted.setdefault(key, (home, [], argument))[1].append(operand)
    for home, together, argument in reversed(wanted.values()):
        found: list = list(together)
        if len(together) > 1:
            title = common([v.name for v in together], argument)
            found = [Fold("operands", title, found, f"{len(together)} arrays")]
        home.children[:0] = found
        if home.kind == "slices":
            taken = [v.name for c in home.children for v in variables_in(c)]
            home.title = f"the trip's part of {common(taken, argument)}"


def variables_in(child: Any) -> list[Variable]:
    """Returns the operands that a child is, or holds."""
    if type(child) is Fold:
        return [v for inner in child.children for v in variables_in(inner)]
    return [child] if type(child) is Variable else []


def common(names: Sequence[str], otherwise: str) -> str:
    """Returns what names begin with: `params['layers'][3]`."""
    first = names[0]
    same = next(
        (i for i, c in enumerate(first) if any(n[i : i + 1] != c for n in names)), len(first)
    )
    cut = first[:same].rpartition("]")
    return first if len(names) == 1 else "".join(cut[:2]) or otherwise


def folds_in(children: Sequence) -> list[Fold]:
    """Returns the folds among children."""
    return [child for child in children if type(child) is Fold]
