"""`shard_map`: the same function on every piece of its operands, one on each device of a mesh.

Forward is a `shard_map` that runs the pieces on tapes and returns what these keep, back is another
that walks them back. What is kept stays where it is: it is stacked along the mesh, piece by piece,
unless all devices have the same.

Which axes of the mesh a value varies along is part of its type (`check_vma=True`). One that does
not is turned into one that does by `pvary`, whose way back is a sum. Without these types nobody
knows, and JAX's convention is that of a mean: the cotangent of a result that all have is shared
equally among them, that of an operand is the sum over all.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.logs import collecting
from backprop_jax.engine.registry import dear_to_recompute, linear, structured
from backprop_jax.engine.sweep import sweep
from backprop_jax.engine.units import Unit
from backprop_jax.meshes import opposite, put


def in_turn(x: Any) -> Any:
    """Returns a value that all have, after every change of what its type says of an axis."""
    varying = lax.pcast(x, "i", to="varying")
    gathered = lax.all_gather(varying, "i", tiled=True, to="reduced")
    unreduced = lax.pcast(lax.pcast(gathered, "i", to="varying"), "i", to="unreduced")
    varying = lax.psum(lax.psum_scatter(unreduced, "i", tiled=True), "i")
    unreduced = lax.pcast(lax.pcast(varying, "i", to="varying"), "i", to="unreduced")
    reduced = lax.pcast(lax.psum(unreduced, "i"), "i", to="reduced")
    return lax.all_gather(lax.pcast(reduced, "i", to="varying"), "i", tiled=True, to="invarying")


# None of these has a public name.
mesh = AbstractMesh((1,), ("i",), axis_types=(AxisType.Explicit,))
changed = jax.shard_map(in_turn, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec())
(equation,) = jax.make_jaxpr(changed)(np.zeros(1)).eqns
shard_map_p = equation.primitive
(
    pvary_p,
    all_gather_reduced_p,
    reduced_vary_p,
    vary_unreduced_p,
    unreduced_reduce_scatter_p,
    psum_invariant_p,
    unreduced_psum_p,
    preduced_p,
    all_gather_invariant_p,
) = dict.fromkeys(inner.primitive for inner in equation.params["jaxpr"].eqns)


def scattered(g: Any, *, all_gather_dimension: int, axis_name: Any, tiled: bool) -> Any:
    """Returns this device's piece of the sum."""
    return lax.psum_scatter(g, axis_name, scatter_dimension=all_gather_dimension, tiled=tiled)


def gathered(g: Any, *, scatter_dimension: int, axis_name: Any, tiled: bool) -> Any:
    """Returns the pieces of all devices, together."""
    return lax.all_gather(g, axis_name, axis=scatter_dimension, tiled=tiled, to="reduced")


def own_piece(g: Any, x: Any, *, all_gather_dimension: int, axis_name: Any, tiled: bool) -> Any:
    """Returns this device's piece of what all have."""
    axis, index = all_gather_dimension, lax.axis_index(axis_name)
    g = lax.pcast(g, axis_name, to="varying")
    if not tiled:
        return lax.dynamic_index_in_dim(g, index, axis, keepdims=False)
    return lax.dynamic_slice_in_dim(g, index * x.shape[axis], x.shape[axis], axis)


# fmt: off
# -- of the type alone: to and fro, the values as they are or summed ------------------------
linear(pvary_p,                     lambda g, *, axes: lax.psum(g, axes))
linear(psum_invariant_p,            lambda g, *, axes: lax.pcast(g, axes, to="varying"))
linear(preduced_p,                  lambda g, *, axes: lax.psum(g, axes))
linear(unreduced_psum_p,            lambda g, *, axes: lax.pcast(g, axes, to="reduced"))
linear(vary_unreduced_p,            lambda g, *, axes: lax.pcast(g, axes, to="varying"))
linear(reduced_vary_p,              lambda g, *, axes: lax.pcast(g, axes, to="unreduced"))
# -- of pieces: put together, and taken apart -------------------------------------------------
linear(all_gather_reduced_p,        scattered)
linear(unreduced_reduce_scatter_p,  gathered)
linear(all_gather_invariant_p,      own_piece)
# fmt: on


class Shards:
    """The two maps that a `shard_map` becomes: the parameters are its own."""

    def __init__(
        self,
        active: tuple[bool, ...],
        jaxpr: Any,
        mesh: Any,
        in_specs: tuple,
        out_specs: tuple,
        check_vma: bool,
        newly_manual_axes: frozenset,
    ) -> None:
        self.active, self.jaxpr, self.mesh = active, jaxpr, mesh
        self.in_specs, self.out_specs, self.typed = in_specs, out_specs, check_vma
        self.axes = self.in_play(newly_manual_axes)
        self.options = {"mesh": mesh, "axis_names": newly_manual_axes, "check_vma": check_vma}
        self.function = as_function(ClosedJaxpr(jaxpr, ()))
        self.kept: list[tuple] = []  # of every value kept its shape, spec, and place at hand
        self.tree: Any = None
        self.types: list = []  # of the results

    def in_play(self, axes: frozenset) -> tuple:
        """Returns the axes that devices may differ along: a spec names them or they are asked for.

        Types say so of each value. Without them, along any other axis all is the same: a value, and
        its cotangent. `vmap` may be using that axis, unseen, for instances of the whole.
        """
        told = {getattr(effect, "name", None) for effect in self.jaxpr.effects}
        told = told.union(*map(named, (*self.in_specs, *self.out_specs)))
        return tuple(
            name for name in self.mesh.axis_names if name in axes and (self.typed or name in told)
        )

    def piece(self, *operands: Any) -> tuple[list, list]:
        """Runs one piece, and takes down what of it is kept. Operands and results are at hand."""
        results, pullback = sweep(self.results, operands, self.active)
        kept, self.tree = jax.tree.flatten(pullback)
        places = {id(x): i for i, x in enumerate([*results, *operands])}
        specs = [*self.out_specs, *self.in_specs]
        self.kept, stored = [], []
        for x in kept:
            place = places.get(id(x))
            spec = self.spec_of(x) if place is None else specs[place]
            self.kept.append((np.shape(x), spec, place))
            if place is None:
                stored.append(lax.broadcast(x, (1,)) if np.ndim(x) == 0 and named(spec) else x)
        return results, stored

    def results(self, *operands: Any) -> list:
        """Returns the results of a piece, made to vary along all axes that their specs name."""
        pairs = zip(self.function(*operands), self.out_specs, strict=True)
        return [varied(x, spec) if self.typed else x for x, spec in pairs]

    def spec_of(self, x: Any) -> PartitionSpec:
        """Returns how the pieces of a kept value are put together; if all have the same, as one."""
        if not self.typed:
            return PartitionSpec(self.axes) if self.axes else PartitionSpec()
        kind, new = jax.typeof(x).manual_axis_type, set(self.axes)
        along = tuple(name for name in self.axes if name in kind.varying)
        sums = {"unreduced": kind.unreduced & new, "reduced": kind.reduced & new}
        return (
            PartitionSpec(along or None, **sums) if np.ndim(x) or along else PartitionSpec(**sums)
        )

    def forward(self, *operands: Any) -> tuple[list, list]:
        """Returns the results and what is kept. What that will be is known when it has run once."""
        options = {"in_specs": self.in_specs, **self.options}
        results = list(self.out_specs)
        first = jax.shard_map(lambda *x: self.piece(*x)[0], out_specs=results, **options)
        jax.eval_shape(first, *operands)
        specs = results, [spec for _, spec, place in self.kept if place is None]
        values, stored = jax.shard_map(self.piece, out_specs=specs, **options)(*operands)
        self.types = [jax.typeof(x) for x in values]
        rest, at_hand = iter(stored), [*values, *operands]
        return values, [next(rest) if i is None else at_hand[i] for _, _, i in self.kept]

    def backward(self, operands: Sequence, kept: list, cotangents: list) -> list:
        """Returns the operands' cotangents."""
        del operands
        present = [i for i, g in enumerate(cotangents) if g is not None]

        def piece(kept: list, given: list) -> list:
            kept = [in_shape(x, shape) for x, (shape, *_) in zip(kept, self.kept, strict=True)]
            g: list = [None] * len(cotangents)
            for i, h in zip(present, given, strict=True):
                g[i] = h if self.typed else h / self.sharing(self.out_specs[i])
            with collecting():  # nobody says how the pieces' logs are put together
                return self.gradients(jax.tree.unflatten(self.tree, kept)(g))

        specs = [spec for _, spec, _ in self.kept], [opposite(self.out_specs[i]) for i in present]
        wanted = [opposite(s) for s, a in zip(self.in_specs, self.active, strict=True) if a]
        back = jax.shard_map(piece, in_specs=specs, out_specs=wanted, **self.options)
        given = [put(cotangents[i], self.types[i]) for i in present]
        gradients = iter(back(kept, given))
        return [next(gradients) if a else None for a in self.active]

    def gradients(self, found: list) -> list:
        """Returns the cotangents of the active operands' pieces; of some there is none, a None."""
        gradients = []
        for g, spec, wanted in zip(found, self.in_specs, self.active, strict=True):
            if wanted:
                axes = () if self.typed or g is None else self.left_out(spec)
                gradients.append(lax.psum(g, axes) if axes else g)
        return gradients

    def left_out(self, spec: PartitionSpec) -> tuple:
        """Returns the axes of the mesh along which a spec says that all have the same."""
        told = named(spec) | spec.unreduced | spec.reduced
        return tuple(name for name in self.axes if name not in told)

    def sharing(self, spec: PartitionSpec) -> int:
        """Returns how many devices have the same."""
        return math.prod(self.mesh.shape[name] for name in self.left_out(spec))


@structured(shard_map_p)
def shard_map(active: tuple[bool, ...], *, jaxpr: Any, **params: Any) -> Unit:
    """A function of shards: the pieces run on tapes, and what these keep stays with the pieces."""
    shards = Shards(active, jaxpr, **params)
    moving = tuple(ct.is_differentiable(v.aval) for v in jaxpr.outvars)
    return Unit(shards.forward, shards.backward, (), moving)


def in_shape(x: Any, shape: tuple) -> Any:
    """Returns an array in this shape."""
    return x if x.shape == shape else lax.reshape(x, shape)


def named(spec: PartitionSpec) -> set:
    """Returns the axes of the mesh that a spec names."""
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec.partitions)
    return {name for entry in entries for name in entry if name is not None}


def varied(x: Any, spec: PartitionSpec) -> Any:
    """Returns a result as one that varies along all axes its spec names; so its cotangent may."""
    missing = named(spec) - set(jax.typeof(x).manual_axis_type.varying)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


dear_to_recompute(shard_map_p)
