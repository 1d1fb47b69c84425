"""Which folds of a picture are open at first: few boxes, the outermost parts of the program."""

from collections.abc import Iterator, Sequence

from backprop_jax.graph.tree import Fold, folds_in

#: Kinds of folds that are not open at first.
SHUT = ("line", "part", "slices", "operands")

#: Boxes that are too few; boxes from which on no more folds are opened.
FEW, ENOUGH = 6, 11


def opened(root: Fold, most: int, all_steps: int) -> set[int]:
    """Returns the folds, by identity, that are open at first.

    One after the other, the outermost first, of those the one with the most steps, as many as leave
    no more boxes than `most`; folds beside each other that are called the same all or none. Of a
    program of no more than `all_steps` every step is seen.
    """
    open_now = {id(root)}
    small = sum(1 for _ in root.rows()) <= all_steps
    while True:
        beside: dict[tuple, list[Fold]] = {}
        for depth, parent in walked(root):
            for each in folds_in(parent.children) if id(parent) in open_now else ():
                shut = each.kind == "operands" if small else each.kind in SHUT
                if id(each) not in open_now and not shut:
                    beside.setdefault((depth, id(parent), each.title), []).append(each)
        room = all_steps * 2 if small or boxes(root, open_now) < FEW else most
        order = sorted(beside, key=lambda key: (-key[0], steps_in(beside[key])))
        wider = [{*open_now, *map(id, beside[key])} for key in order]
        fitting = [each for each in wider if boxes(root, each) <= room]
        if not fitting or (not small and boxes(root, open_now) >= ENOUGH):
            return open_now
        open_now = fitting[-1]


def steps_in(group: Sequence[Fold]) -> int:
    """Returns how many steps are in folds."""
    return sum(1 for each in group for _ in each.rows())


def walked(fold: Fold, depth: int = 0) -> Iterator[tuple[int, Fold]]:
    """Yields a fold and those within, with their depths."""
    yield depth, fold
    for each in folds_in(fold.children):
        yield from walked(each, depth + 1)


def boxes(fold: Fold, open_now: set[int]) -> int:
    """Returns how many boxes are drawn of a fold."""
    if id(fold) not in open_now:
        return 1
    inner = (boxes(c, open_now) if type(c) is Fold else 1 for c in fold.children)
    return sum(inner)
