"""`memory_plan`: what a gradient keeps and what it computes again, read from its two programs."""

import collections
import dataclasses
import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import Literal, valid_jaxtype

from backprop_jax.api import vjp
from backprop_jax.arguments import Argnames, Argnums, Wanted, function_name
from backprop_jax.checkpoints import Remat, rematerialized
from backprop_jax.dtypes import of_tangents, size_in_bytes
from backprop_jax.engine.jaxprs import held, variables
from backprop_jax.engine.registry import dear
from backprop_jax.engine.tape import written_at
from backprop_jax.partition.choice import is_dear
from backprop_jax.partition.residuals import AGAIN
from backprop_jax.rules.costs import operations
from backprop_jax.tracebacks import boundary

SCALES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))


@dataclasses.dataclass(frozen=True)
class Kept:
    """Values alike that are kept for the way back.

    Attributes:
      kind: dtype and shape of one, with the trips of a loop in front.
      made_by: the primitive, or "argument" or "constant".
      written_at: the user's file and line, or the name of the argument.
      why: why it is kept and not computed again.
      count: how many there are of them.
      bytes: of all of them together.
    """

    kind: str
    made_by: str
    written_at: str
    why: str
    count: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Again:
    """Steps alike that the way back computes once more.

    Attributes:
      kind: dtype and shape of what one gives.
      made_by: the primitive.
      written_at: the user's file and line.
      why: why it is computed again and not kept.
      count: how many times it is run, the trips of loops counted.
      operations: additions and multiplications of all of them together.
    """

    kind: str
    made_by: str
    written_at: str
    why: str
    count: int
    operations: int


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """What a gradient keeps and what it computes again; printed, two tables.

    Attributes:
      title: the function, and the option.
      kept: most bytes first. Arguments are there anyway, and are listed with the rest.
      again: most operations first.
      forward: operations of the function itself.
    """

    title: str
    kept: tuple[Kept, ...]
    again: tuple[Again, ...]
    forward: int

    @property
    def bytes(self) -> int:
        """Bytes kept beside the arguments and constants."""
        return sum(each.bytes for each in self.kept if each.made_by not in GIVEN)

    @property
    def operations(self) -> int:
        """Additions and multiplications made once more on the way back."""
        return sum(each.operations for each in self.again)

    def __str__(self) -> str:
        given = sum(each.bytes for each in self.kept if each.made_by in GIVEN)
        share = f"{100 * self.operations / max(1, self.forward):.0f} % of the way forward"
        head = f"kept: {in_bytes(self.bytes)}, and {in_bytes(given)} of what is given"
        again = f"computed again: {in_thousands(self.operations)} operations, {share}"
        kept = [(in_bytes(e.bytes), e) for e in self.kept]
        rerun = [(in_thousands(e.operations), e) for e in self.again]
        return "\n".join([self.title, "", head, *table(kept), "", again, *table(rerun)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


GIVEN = ("argument", "constant")
#: How many rows of a table are printed.
SHOWN = 16


@boundary
def memory_plan(
    fun: Callable,
    *args: Any,
    remat: Remat = None,
    argnums: Argnums | None = None,
    argnames: Argnames | None = None,
    **kwargs: Any,
) -> MemoryPlan:
    """Returns what the gradient of `fun` keeps for its way back, and what it computes again.

    Nothing is run: the two programs are staged for the arguments' shapes, as `jax.jit` would, and
    read. What XLA makes of them, above all what it fuses, is not known here.

    Args:
      fun: the function that is differentiated.
      *args: its arguments; `jax.ShapeDtypeStruct`s in the place of arrays will do.
      remat: as in `grad`.
      argnums: as in `grad`.
      argnames: as in `grad`.
      **kwargs: its keyword arguments.

    Returns:
      A `MemoryPlan`, to be printed or read.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> def f(x):
      ...     for _ in range(30):
      ...         x = jnp.sin(x)
      ...     return x.sum()
      >>> x = jnp.ones(1000)
      >>> bp.memory_plan(f, x).bytes, bp.memory_plan(f, x, remat="auto").bytes
      (116000, 20000)
    """
    wanted, kept = Wanted.of(fun, argnums, argnames), rematerialized(fun, remat)
    leaves, tree = jax.tree.flatten((args, kwargs))
    moving = [i for i, leaf in enumerate(leaves) if is_array(leaf)]
    paths, _ = jax.tree.flatten_with_path((args, kwargs))
    names = [argument_name(paths[i][0]) for i in moving]

    def forward(arrays: Sequence) -> tuple:
        full = list(leaves)
        for i, x in zip(moving, arrays, strict=True):
            full[i] = x
        chosen, run = wanted.partial(kept, *jax.tree.unflatten(tree, full))
        return vjp(run, *chosen)

    def back(pull: Callable, g: Any) -> Any:
        return pull(g)

    arrays = [leaves[i] for i in moving]
    ahead, (value, pull) = jax.make_jaxpr(forward, return_shape=True)(arrays)
    way_back = jax.make_jaxpr(back)(pull, jax.tree.map(cotangent_of, value))
    results = len(jax.tree.leaves(value))
    option = getattr(remat, "__name__", repr(remat))
    return MemoryPlan(
        f"memory plan of {function_name(fun)}, remat={option}",
        tuple(kept_by(ahead.jaxpr, results, dict(zip(ahead.jaxpr.invars, names, strict=True)))),
        tuple(computed_again(way_back.jaxpr)),
        sum(operations(equation) for equation in ahead.eqns),
    )


def is_array(leaf: Any) -> bool:
    """Returns whether a leaf is an array, or stands for one."""
    return isinstance(leaf, jax.ShapeDtypeStruct) or valid_jaxtype(leaf)


def cotangent_of(result: Any) -> Any:
    """Returns the type of a result's cotangent."""
    return jax.ShapeDtypeStruct(result.shape, of_tangents(result.dtype))


def argument_name(path: tuple) -> str:
    """Returns how an argument is shown: `args[0]['w']`."""
    kind = "kwargs" if path[0].idx else "args"
    return kind + jax.tree_util.keystr(path[1:])


def kept_by(jaxpr: Any, results: int, names: dict) -> Iterator[Kept]:
    """Yields what a program returns beside its results, values alike together."""
    found: collections.Counter = collections.Counter()
    size: collections.Counter = collections.Counter()
    places: dict = collections.defaultdict(dict)
    for v in dict.fromkeys(variables(jaxpr.outvars[results:])):
        made_by, place, why = origin(v, jaxpr, names)
        # Arguments alike are one row; steps are one if they are of one line.
        row = v.aval.str_short(), made_by, why, place if made_by not in GIVEN else ""
        found[row] += 1
        size[row] += size_in_bytes(v.aval)
        places[row][place] = None
    for row, total in size.most_common():
        kind, made_by, why, _ = row
        first, *others = places[row]
        place = f"{first} and {len(others)} more" if others else first
        yield Kept(kind, made_by, place, why, found[row], total)


def origin(v: Any, jaxpr: Any, names: dict) -> tuple[str, str, str]:
    """Returns what made a value, where that was written, and why the value is kept."""
    if v in names:
        return "argument", names[v], "there anyway"
    equation = next((e for e in jaxpr.eqns if v in e.outvars), None)
    if equation is None:
        return "constant", "closed over", "there anyway"
    inner = held(equation.params)
    name = equation.primitive.name
    if inner and name in ("scan", "jit", "pjit", "closed_call", "remat", "checkpoint"):
        body = getattr(inner[0], "jaxpr", inner[0])
        within = body.outvars[equation.outvars.index(v)]
        if isinstance(within, Literal):
            return name, written_at(equation.source_info), "read on the way back"
        if within in body.invars:
            return name, written_at(equation.source_info), "what a trip starts from"
        return origin(within, body, {})
    why = "dear to compute again" if equation.primitive in dear else "read on the way back"
    return name, written_at(equation.source_info), why


def computed_again(jaxpr: Any) -> Iterator[Again]:
    """Yields the steps that a program runs again, steps alike together."""
    runs: collections.Counter = collections.Counter()
    cost: collections.Counter = collections.Counter()
    for equation, times in steps_again(jaxpr, 1, False):
        costly = is_dear(equation, repeated=times > 1)
        why = "asked for by remat" if costly else "cheaper than to keep it"
        kind = ", ".join(v.aval.str_short() for v in equation.outvars)
        row = kind, equation.primitive.name, written_at(equation.source_info), why
        runs[row] += times
        cost[row] += times * operations(equation)
    for row, total in cost.most_common():
        kind, made_by, place, why = row
        yield Again(kind, made_by, place, why, runs[row], total)


def steps_again(jaxpr: Any, times: int, again: bool) -> Iterator[tuple[Any, int]]:
    """Yields the equations that are run again, within others, too, and how many times."""
    for equation in jaxpr.eqns:
        rerun = again or AGAIN in str(equation.source_info.name_stack).split("/")
        inner = held(equation.params)
        trips = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for each in inner:
            yield from steps_again(getattr(each, "jaxpr", each), times * trips, rerun)
        if rerun and not inner:
            yield equation, times


def in_bytes(number: int) -> str:
    """Returns a number of bytes as text: `1.5 MiB`."""
    scale, unit = next(((s, u) for s, u in SCALES if number >= s), SCALES[-1])
    return (
        f"{number / scale:.3g} {unit}" if number < 1000 * scale else f"{number / scale:.0f} {unit}"
    )


def in_thousands(number: float) -> str:
    """Returns a large number as text: `1.5 M`."""
    scale, prefix = next(((s, p) for s, p in PREFIXES if number >= s), PREFIXES[-1])
    return f"{number / scale:.3g} {prefix}".rstrip()


def table(rows: Sequence[tuple[str, Kept | Again]]) -> list[str]:
    """Returns rows as lines of text in columns, the first of them if they are many."""
    rows, others = rows[:SHOWN], rows[SHOWN:]
    cells = [(size, f"{e.count} ×", e.kind, e.made_by, e.why, e.written_at) for size, e in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i < 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [*lines, f"and {len(others)} smaller rows"] if others else lines
