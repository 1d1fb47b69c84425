"""Which layers a model has, in the order of depth: read from the traced loss, the model untouched.

A layer is what stands side by side in the pytree of parameters, such as a weight and its bias. It
is as deep as the step of the program where the first of them meets the data. What a `scan` takes
apart, trip by trip, is as many layers as there are trips.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import Literal

from backprop_jax.dependence import arities
from backprop_jax.engine.jaxprs import among, depending_on, variables
from backprop_jax.taps.walk import holders

Axes = tuple[int | None, ...]
"""For each axis of a value the axis of the parameter that it is, None for any other one."""

TRIP = None
"""Stands in a place for the number of a loop's trip, behind the number of the loop."""

Place = tuple[int | None, ...]
"""Where a step stands: its number among the equations, behind those of what it is within."""


class Trips(NamedTuple):
    """How a loop takes a parameter apart: into how many, and whether the last comes first."""

    length: int
    backwards: bool


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of the parameters.

    Attributes:
      name: `blocks.expand.w`.
      holder: the name of what holds it, `blocks.expand`.
      loops: those around its first use; None for one that does not take it apart. The others take
        its leading axes.
      units: its axes that number the units it feeds; None if it feeds none that can be told.
      place: where it is used first; None if it is not used.
    """

    name: str
    holder: str
    loops: tuple[Trips | None, ...] = ()
    units: tuple[int, ...] | None = None
    place: Place | None = None

    @property
    def trips(self) -> tuple[int, ...]:
        """The lengths of its leading axes that loops take apart."""
        return tuple(loop.length for loop in self.loops if loop)


class Part(NamedTuple):
    """What a layer has of a leaf: its number among the leaves, and which row."""

    leaf: int
    row: int


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of a model.

    Attributes:
      leaves: the arrays of the parameters, in the order of the pytree.
      names: of the layers, the one nearest to the data first.
      parts: for each layer, what it has of the leaves.
    """

    leaves: tuple[Leaf, ...]
    names: tuple[str, ...]
    parts: tuple[tuple[Part, ...], ...]


class Held(NamedTuple):
    """A value that is a parameter, moved around at most."""

    leaf: int
    axes: Axes
    loops: tuple[Trips | None, ...] = ()


class Use(NamedTuple):
    """A step that a parameter goes into; `met`: together with what depends on the data."""

    held: Held
    place: Place
    met: bool
    units: tuple[int, ...] | None


def layers_of(loss: Callable[..., Any], params: Any, *args: Any) -> Layers:
    """Returns the layers of a model, the one nearest to the data first.

    Args:
      loss: maps parameters, and whatever else there is, to a number. It is traced once.
      params: a pytree of arrays, or of their shapes and dtypes.
      args: the rest of its arguments.
    """
    closed = jax.make_jaxpr(loss)(params, *args)
    places = [path for path, _ in jax.tree.leaves_with_path(params)]
    count = len(places)
    of_params, others = closed.jaxpr.invars[:count], closed.jaxpr.invars[count:]
    held = {v: Held(n, tuple(range(v.aval.ndim))) for n, v in enumerate(of_params)}
    uses: list[Use] = []
    _follow(closed.jaxpr, held, {*others, *closed.jaxpr.constvars}, (), uses)
    holders_of = [named(path[:-1]) for path in places]
    alone = len(set(holders_of)) == 1
    leaves = []
    for number, path in enumerate(places):
        name = named(path) or "params"
        holder = name if alone or not path[:-1] else holders_of[number]
        leaves.append(_leaf(name, holder, [use for use in uses if use.held.leaf == number]))
    return _grouped(leaves)


def named(path: Sequence[Any]) -> str:
    """Returns a place in a pytree as text: `blocks[3].expand`."""
    text = "".join(
        f"[{index}]" if (index := getattr(key, "idx", None)) is not None else f".{_word(key)}"
        for key in path
    )
    return f"params{text}" if text.startswith("[") else text.removeprefix(".")


def family(name: str) -> str:
    """Returns what layers of one kind have in common: `blocks[#].expand`."""
    return re.sub(r"\d+", "#", name)


def _word(key: Any) -> str:
    """Returns the key of a dictionary, or the name of an attribute."""
    return str(getattr(key, "key", getattr(key, "name", key)))


def _leaf(name: str, holder: str, uses: Sequence[Use]) -> Leaf:
    """Returns a leaf as its uses show it: where it meets the data; or where it is used at all."""
    # A penalty on the weights stands wherever the user has written it, and says nothing of depth.
    use = next((use for use in uses if use.met), uses[0] if uses else None)
    if use is None:
        return Leaf(name, holder)
    return Leaf(name, holder, use.held.loops, use.units, use.place)


def _grouped(leaves: Sequence[Leaf]) -> Layers:
    """Returns leaves as layers, in the order of depth."""
    found: dict[str, tuple[list[Part], list[tuple]]] = {}
    for number, leaf in enumerate(leaves):
        for row, (trip, place) in enumerate(_rows(leaf)):
            indices = "".join(f"[{index}]" for index in trip)
            parts, places = found.setdefault(f"{leaf.holder}{indices}", ([], []))
            parts.append(Part(number, row))
            places.append(place)
    names = sorted(found, key=lambda name: min(found[name][1]))
    return Layers(tuple(leaves), tuple(names), tuple(tuple(found[name][0]) for name in names))


def _rows(leaf: Leaf) -> Iterator[tuple[tuple[int, ...], tuple]]:
    """Yields, for each layer that a leaf takes part in, its indices, and what sorts by depth."""
    for indices in itertools.product(*map(range, leaf.trips)):
        if leaf.place is None:
            yield indices, (1,)
            continue
        left = iter(indices)
        turns = iter(
            0 if loop is None else loop.length - 1 - next(left) if loop.backwards else next(left)
            for loop in leaf.loops
        )
        yield indices, (0, *(next(turns) if at is TRIP else at for at in leaf.place))


# -- following parameters through the program ------------------------------------------------------
def _follow(
    jaxpr: Any, held: dict[Any, Held], data: set, around: Place, uses: list[Use]
) -> list[Held | None]:
    """Adds the uses of parameters in a jaxpr; returns which of its results are parameters still.

    Args:
      jaxpr: a program, or the body of a step.
      held: its variables that are parameters.
      data: its variables that depend on the data.
      around: where the step stands whose body this is.
      uses: what is found, in the order of the program.
    """
    held = dict(held)
    data = depending_on(data, jaxpr.eqns)
    for number, equation in enumerate(jaxpr.eqns):
        place = (*around, number)
        mine = [None if isinstance(v, Literal) else held.get(v) for v in equation.invars]
        if not any(mine):
            continue
        if bodies := _bodies(equation):
            results = _within(equation, bodies, mine, data, place, uses)
        elif len(results := _moved(equation, mine)) == 0:
            met = any(among(v, data) for v in equation.invars)
            uses += [
                Use(one, place, met, _units(equation, position, one.axes))
                for position, one in enumerate(mine)
                if one is not None
            ]
        held.update((v, one) for v, one in zip(equation.outvars, results, strict=False) if one)
    return [None if isinstance(v, Literal) else held.get(v) for v in jaxpr.outvars]


def _bodies(equation: Any) -> list[Any]:
    """Returns the jaxprs that a step runs, those that take its last operands."""
    name = equation.primitive.name
    if name in CALLS:
        bodies = [equation.params[CALLS[name]]]
    elif equation.primitive in holders:
        bodies = holders[equation.primitive].bodies(equation.params)
    else:
        return []
    return [getattr(body, "jaxpr", body) for body in bodies]


CALLS = {
    "jit": "jaxpr",
    "shard_map": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Where steps that run a program once have it."""


def _within(
    equation: Any,
    bodies: Sequence[Any],
    mine: Sequence[Held | None],
    data: set,
    place: Place,
    uses: list[Use],
) -> list[Held | None]:
    """Follows parameters into the bodies of a step; returns which results are parameters still."""
    known = [among(v, data) for v in equation.invars]
    loop = equation.primitive in holders and holders[equation.primitive].loop
    if loop:
        # What a loop carries may depend on the data after the first trip.
        known = [any(known)] * len(known)
    results: list[Held | None] = []
    for number, body in enumerate(bodies):
        # Of a choice the first operand says which; of a `while` the first are the condition's.
        skipped = len(mine) - len(body.invars)
        inside = mine[skipped:]
        if loop:
            inside = _of_a_trip(equation, inside)
        held = {v: one for v, one in zip(body.invars, inside, strict=True) if one}
        given = zip(body.invars, known[skipped:], mine[skipped:], strict=True)
        moving = {v for v, knows, one in given if v not in held and (knows or one)}
        inner = (*place, number) if len(bodies) > 1 else (*place, TRIP) if loop else place
        results = _follow(body, held, moving | set(body.constvars), inner, uses)
    return [] if loop or len(bodies) > 1 else results


def _of_a_trip(equation: Any, mine: Sequence[Held | None]) -> list[Held | None]:
    """Returns which operands of a loop's body are parameters: what is not carried.

    Of those that a scan stacks, without the axis that it takes apart.
    """
    if equation.primitive is lax.scan_p:
        consts, carry = arities(equation.params)
        trips = Trips(equation.params["length"], equation.params["reverse"])
    else:
        consts, carry, trips = equation.params["body_nconsts"], len(mine), Trips(0, False)
    found: list[Held | None] = [None] * len(mine)
    for at, one in enumerate(mine):
        if one is not None and at < consts:
            found[at] = one._replace(loops=(*one.loops, None))
        elif one is not None and at >= consts + carry:
            stacked = one.axes[0] == sum(loop is not None for loop in one.loops)
            if stacked:
                found[at] = one._replace(axes=one.axes[1:], loops=(*one.loops, trips))
    return found


def _moved(equation: Any, mine: Sequence[Held | None]) -> list[Held]:
    """Returns a parameter that a step has only moved around or cast; [] if it did more."""
    one = mine[0]
    if one is None or len(variables(equation.invars)) != 1 or len(equation.outvars) != 1:
        return []
    ndim = equation.outvars[0].aval.ndim
    move = MOVES.get(equation.primitive)
    if move is not None:
        return [one._replace(axes=move(equation, one.axes))]
    others = [v for v in equation.invars if isinstance(v, Literal)]
    if equation.primitive in SCALED and others and ndim == equation.invars[0].aval.ndim:
        return [one]
    return []


def _reshaped(equation: Any, axes: Axes) -> Axes:
    """Returns what the axes are after a reshape: known if it only adds or drops axes of size 1."""
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    long = [axis for axis, size in zip(axes, before, strict=True) if size != 1]
    if [size for size in before if size != 1] != [size for size in after if size != 1]:
        return (None,) * len(after)
    left = iter(long)
    return tuple(next(left) if size != 1 else None for size in after)


def _broadcast(equation: Any, axes: Axes) -> Axes:
    """Returns what the axes are after a broadcast."""
    source, where = equation.invars[0].aval, equation.params["broadcast_dimensions"]
    after = equation.outvars[0].aval.shape
    kept = {
        at: axis
        for at, axis, size in zip(where, axes, source.shape, strict=True)
        if after[at] == size
    }
    return tuple(kept.get(at) for at in range(len(after)))


MOVES: dict[Any, Callable[[Any, Axes], Axes]] = {
    lax.convert_element_type_p: lambda equation, axes: axes,
    lax.copy_p: lambda equation, axes: axes,
    lax.neg_p: lambda equation, axes: axes,
    lax.transpose_p: lambda equation, axes: tuple(
        axes[at] for at in equation.params["permutation"]
    ),
    lax.squeeze_p: lambda equation, axes: tuple(
        axis for at, axis in enumerate(axes) if at not in equation.params["dimensions"]
    ),
    lax.reshape_p: _reshaped,
    lax.broadcast_in_dim_p: _broadcast,
}
"""Steps with one operand after which a parameter is still itself."""

SCALED = {lax.mul_p, lax.div_p}


def _units(equation: Any, position: int, axes: Axes) -> tuple[int, ...] | None:
    """Returns the axes of a parameter that number the units a step feeds with it."""
    if equation.primitive is lax.dot_general_p:
        contracted, _ = equation.params["dimension_numbers"]
        numbered = [axis for at, axis in enumerate(axes) if at not in contracted[position]]
    elif equation.primitive is lax.conv_general_dilated_p and position == 1:
        numbered = [axes[equation.params["dimension_numbers"].rhs_spec[0]]]
    else:
        return None
    known = tuple(axis for axis in numbered if axis is not None)
    return known if known and len(known) == len(numbered) else None
