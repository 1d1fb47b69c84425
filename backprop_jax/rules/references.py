"""Mutable references (`jax.new_ref`): cells on the tape, and each access a step of its own.

A reference that is made while a function is recorded is a cell: it holds the value that it has now,
recorded like any other. To read at a place is a linear function of that value; to write makes a new
value of the old one and what is written. So nothing is mutated on the tape, and the way back needs
no order but that of the steps. Loops and branches that close over a cell take its value and return
what it is afterwards.

What a transform of an index means is JAX's business: each step hands its value to a reference of
its own, within a compiled function that lets nothing of it out.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.ref as refs
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import primitives, set_current_trace

from backprop_jax.dependence import arities
from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import with_references
from backprop_jax.engine.sweep import sweep
from backprop_jax.engine.tape import Cell, Tape, written_at
from backprop_jax.engine.units import Unit
from backprop_jax.errors import EscapedReference, message


def updated(x: Any) -> Any:
    """Returns what comes of references made, added to, frozen and freed: one of each primitive."""
    refs.free_ref(refs.empty_ref(jax.typeof(x)))
    ref = refs.new_ref(x)
    refs.addupdate(ref, (), x)
    return refs.freeze(ref)


empty_ref_p, free_ref_p, new_ref_p, addupdate_p, freeze_p = (
    equation.primitive for equation in jax.make_jaxpr(updated)(1.0).eqns
)
get_p, swap_p = primitives.get_p, primitives.swap_p

#: What JAX calls the kind of a reference that holds numbers, not what they come from.
NO_GRADIENT = "no_grad_no_remat"


@with_references(new_ref_p, always=True)
def new_ref(tape: Tape, tracers: Sequence, **params: Any) -> Any:
    """A reference made while recording is a cell; one of no gradient is as one from further out."""
    if params["kind"] == NO_GRADIENT:
        return outside(tape, new_ref_p, tracers, params, params["kind"])
    (value,) = tracers
    return Cell(tape, refs.AbstractRef(jax.typeof(value).update(weak_type=False)), value)


@with_references(empty_ref_p, always=True)
def empty_ref(tape: Tape, tracers: Sequence, *, ty: Any, **params: Any) -> Cell:
    """A cell of nothing yet, which is zero here."""
    del tracers, params
    return Cell(tape, refs.AbstractRef(ty), lax.full(ty.shape, 0, ty.dtype))


@with_references(free_ref_p)
def free_ref(tape: Tape, tracers: Sequence) -> list:
    """The end of a cell."""
    del tape, tracers
    return []


@with_references(freeze_p, always=True)
def freeze(tape: Tape, tracers: Sequence) -> Any:
    """The value of a cell at the end."""
    (cell,) = tracers
    return cell.contents if tape.made(cell) else outside(tape, freeze_p, tracers, {})


@with_references(get_p, always=True)
def get(tape: Tape, tracers: Sequence, *, tree: Any) -> Any:
    """Reads at a place."""
    cell, *place = tracers
    if not tape.made(cell):
        return outside(tape, get_p, tracers, {"tree": tree})
    (found,) = tape.step(
        get_p, reading(tree, jax.typeof(cell.contents), len(place)), [cell.contents, *place]
    )
    return found


@with_references(swap_p, always=True)
def swap(tape: Tape, tracers: Sequence, *, tree: Any) -> Any:
    """Writes at a place, and returns what was there."""
    cell, value, *place = tracers
    if not tape.made(cell):
        return outside(tape, swap_p, tracers, {"tree": tree})
    unit = writing(tree, jax.typeof(cell.contents), len(place))
    old, cell.contents = tape.step(swap_p, unit, [cell.contents, value, *place])
    return old


@with_references(addupdate_p, always=True)
def addupdate(tape: Tape, tracers: Sequence, *, tree: Any) -> list:
    """Adds at a place."""
    cell, value, *place = tracers
    if not tape.made(cell):
        return outside(tape, addupdate_p, tracers, {"tree": tree})
    unit = adding(tree, jax.typeof(cell.contents), len(place))
    (cell.contents,) = tape.step(addupdate_p, unit, [cell.contents, value, *place])
    return []


def outside(
    tape: Tape, primitive: Any, tracers: Sequence, params: dict, kind: str | None = None
) -> Any:
    """Runs an access to a reference from further out, into which nothing recorded may go.

    If it is of a `kind` that wants no gradient, the numbers may, and the derivative ends there.
    """
    values, slots = tape.unwrap(tracers)
    kind = kind or getattr(jax.typeof(values[0]), "kind", None)
    if any(slot is not None for slot in slots) and kind != NO_GRADIENT:
        raise EscapedReference(
            message(
                f"'{primitive}' writes a value that is differentiated into a reference that was "
                "made outside of the function.",
                written_at=written_at(source_info_util.current()),
                to_go_on="make the reference within, or with kind='no_grad_no_remat', or write "
                "lax.stop_gradient(value).",
            )
        )
    with set_current_trace(tape.parent_trace):
        return primitive.bind(*values, **params)


@functools.partial(jax.jit, static_argnums=0)
def read(tree: Any, x: Any, place: Sequence) -> Any:
    """Returns x[place]."""
    return get_p.bind(refs.new_ref(x), *place, tree=tree)


@functools.partial(jax.jit, static_argnums=0)
def written(tree: Any, x: Any, y: Any, place: Sequence) -> tuple[Any, Any]:
    """Returns x[place], and x with y in its place."""
    ref = refs.new_ref(x)
    old = swap_p.bind(ref, y, *place, tree=tree)
    return old, refs.freeze(ref)


@functools.partial(jax.jit, static_argnums=0)
def added(tree: Any, x: Any, y: Any, place: Sequence) -> Any:
    """Returns x with y added at a place."""
    ref = refs.new_ref(x)
    addupdate_p.bind(ref, y, *place, tree=tree)
    return refs.freeze(ref)


@functools.lru_cache(maxsize=1024)
def reading(tree: Any, aval: Any, count: int) -> Unit:
    """Z = x[i]: g goes to the place it was read from."""

    def forward(x: Any, *place: Any) -> tuple[list, list]:
        return [read(tree, x, place)], []

    def backward(place: list, kept: list, cotangents: list) -> list:
        del kept
        (g,) = cotangents
        return [added(tree, ct.zeros(aval), g, place), *[None] * count]

    return Unit(forward, backward, tuple(range(1, count + 1)), (True,))


@functools.lru_cache(maxsize=1024)
def writing(tree: Any, aval: Any, count: int) -> Unit:
    """Z = x[i], and x with y in the places i: there y has taken the part of x."""

    def forward(x: Any, y: Any, *place: Any) -> tuple[list, list]:
        return list(written(tree, x, y, place)), []

    def backward(place: list, kept: list, cotangents: list) -> list:
        del kept
        g_old, g_new = cotangents
        g_x, g_y = None, None
        if g_new is not None:
            nothing = lax.full_like(jax.eval_shape(functools.partial(read, tree), aval, place), 0)
            g_y, g_x = written(tree, g_new, nothing, place)
        if g_old is not None:
            g_x = added(tree, ct.zeros(aval) if g_x is None else g_x, g_old, place)
        return [g_x, g_y, *[None] * count]

    return Unit(forward, backward, tuple(range(2, count + 2)), (True, True))


@functools.lru_cache(maxsize=1024)
def adding(tree: Any, aval: Any, count: int) -> Unit:
    """The sum of x and y in the places i."""
    del aval

    def forward(x: Any, y: Any, *place: Any) -> tuple[list, list]:
        return [added(tree, x, y, place)], []

    def backward(place: list, kept: list, cotangents: list) -> list:
        del kept
        (g,) = cotangents
        return [g, read(tree, g, place), *[None] * count]

    return Unit(forward, backward, tuple(range(2, count + 2)), (True,))


# -- what closes over a cell -------------------------------------------------------------
@with_references(primitives.jit_p)
def jit(tape: Tape, tracers: Sequence, *, jaxpr: Any, **params: Any) -> list:
    """A compiled function: its equations, one by one."""
    del tape, params
    return as_function(jaxpr)(*tracers)


@with_references(lax.scan_p)
def scan(
    tape: Tape,
    tracers: Sequence,
    *,
    jaxpr: Any,
    length: int,
    reverse: bool,
    unroll: int,
    **params: Any,
) -> list:
    """A loop: the values of the cells are carried, too; of one that is stacked, row by row."""
    del tape
    consts, carry = arities(params)
    body, cells = without_cells(jaxpr, tracers)
    start = consts + carry
    known = tracers[:consts]
    rows = [x for x in tracers[start:] if isinstance(x, Cell)]  # those behind the carried ones
    count = len(cells) - len(rows)

    def trip(state: tuple[list, list], step: tuple[list, list]) -> tuple[tuple, tuple]:
        contents, carried = state
        xs, row = step
        outs, contents = body([*known, *carried, *xs], [*contents, *row])
        return (contents[:count], outs[:carry]), (outs[carry:], contents[count:])

    state = [cell.contents for cell in cells[:count]], list(tracers[consts:start])
    xs = [None if isinstance(x, Cell) else x for x in tracers[start:]]
    (contents, carried), (ys, after) = lax.scan(
        trip,
        state,
        (xs, [cell.contents for cell in rows]),
        length=length,
        reverse=reverse,
        unroll=unroll,
    )
    refill(cells, [*contents, *after])
    return [*carried, *ys]


@with_references(lax.while_p)
def while_loop(
    tape: Tape,
    tracers: Sequence,
    *,
    cond_nconsts: int,
    cond_jaxpr: Any,
    body_nconsts: int,
    body_jaxpr: Any,
) -> list:
    """A loop whose end is not known: likewise. The question whether to go on may read cells."""
    del tape
    asked, rest = tracers[:cond_nconsts], tracers[cond_nconsts:]
    known, carry = rest[:body_nconsts], list(rest[body_nconsts:])
    question, read = without_cells(cond_jaxpr, [*asked, *carry])
    body, written = without_cells(body_jaxpr, [*known, *carry])
    cells = {id(cell): cell for cell in [*read, *written]}

    def ask(state: tuple[dict, list]) -> Any:
        contents, carried = state
        ((going,), _) = question([*asked, *carried], [contents[id(cell)] for cell in read])
        return going

    def trip(state: tuple[dict, list]) -> tuple[dict, list]:
        contents, carried = state
        carried, new = body([*known, *carried], [contents[id(cell)] for cell in written])
        return contents | dict(zip(map(id, written), new, strict=True)), carried

    start = {key: cell.contents for key, cell in cells.items()}
    contents, carried = lax.while_loop(ask, trip, (start, carry))
    refill(list(cells.values()), [contents[key] for key in cells])
    return carried


@with_references(lax.cond_p)
def cond(tape: Tape, tracers: Sequence, *, branches: Sequence, **params: Any) -> list:
    """A choice: every branch returns what the cells hold after it."""
    del tape, params
    index, *operands = tracers
    pairs = [without_cells(branch, operands) for branch in branches]
    cells = pairs[0][1]
    taken = [lambda contents, run=run: run(operands, contents) for run, _ in pairs]
    outs, contents = lax.switch(index, taken, [cell.contents for cell in cells])
    refill(cells, contents)
    return outs


def without_cells(jaxpr: Any, tracers: Sequence) -> tuple[Callable, list[Cell]]:
    """Returns a jaxpr as a function that takes the values of cells and returns them anew.

    It is a function of all operands, those in the places of cells being left aside, and of the
    cells' values; it returns the results and the values.
    """
    places = [i for i, tracer in enumerate(tracers) if isinstance(tracer, Cell)]
    function = as_function(jaxpr)

    def run(operands: Sequence, contents: Sequence) -> tuple[list, list]:
        def flat(*contents: Any) -> list:
            filled = list(operands)
            made = [refs.new_ref(x) for x in contents]
            for place, ref in zip(places, made, strict=True):
                filled[place] = ref
            return [*function(*filled), *(refs.freeze(ref) for ref in made)]

        # A tape makes cells of the references, so none are left in what is traced here.
        values, _ = sweep(flat, contents, [False] * len(contents))
        count = len(values) - len(contents)
        return values[:count], values[count:]

    return run, [tracers[i] for i in places]


def refill(cells: Sequence[Cell], contents: Sequence) -> None:
    """Puts new values into cells."""
    for cell, value in zip(cells, contents, strict=True):
        cell.contents = value
