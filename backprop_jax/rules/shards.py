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
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from backprop_jax.engine import cotangents as ct
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.engine.registry import Unit, dear_to_recompute, linear, structured
from backprop_jax.engine.sweep import sweep


def sum_over(axis_name: str) -> Callable:
    """Returns a function of a value that all have: it is made to vary along an axis and summed."""
    return lambda x: lax.psum(lax.pcast(x, axis_name, to="varying"), axis_name)


# None of these has a public name.
mesh = AbstractMesh((1,), ("i",), axis_types=(AxisType.Auto,))
same = PartitionSpec()
summed = jax.shard_map(sum_over("i"), mesh=mesh, in_specs=same, out_specs=same)
(equation,) = jax.make_jaxpr(summed)(1.0).eqns
shard_map_p = equation.primitive
pvary_p, psum_invariant_p = (inner.primitive for inner in equation.params["jaxpr"].eqns)

linear(pvary_p, lambda g, *, axes: lax.psum(g, axes))
linear(psum_invariant_p, lambda g, *, axes: lax.pcast(g, axes, to="varying"))


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
        self.axes = tuple(name for name in mesh.axis_names if name in newly_manual_axes)
        self.options = {"mesh": mesh, "axis_names": newly_manual_axes, "check_vma": check_vma}
        self.function = as_function(ClosedJaxpr(jaxpr, ()))
        self.kept: list[tuple] = []  # of every value kept its shape and spec
        self.tree: Any = None
        self.types: list = []  # of the results

    def piece(self, *operands: Any) -> tuple[list, list]:
        """Runs one piece, and takes down what of it is kept."""
        results, pullback = sweep(self.results, operands, self.active)
        kept, self.tree = jax.tree.flatten(pullback)
        self.kept = [(np.shape(x), self.spec_of(x)) for x in kept]
        return results, [lax.broadcast(x, (1,)) if np.ndim(x) == 0 else x for x in kept]

    def results(self, *operands: Any) -> list:
        """Returns the results of a piece, made to vary along all axes that their specs name."""
        pairs = zip(self.function(*operands), self.out_specs, strict=True)
        return [varied(x, spec) if self.typed else x for x, spec in pairs]

    def spec_of(self, x: Any) -> PartitionSpec:
        """Returns how the pieces of a kept value are put together; if all have the same, as one."""
        if not self.typed:
            return PartitionSpec(self.axes)
        varying = jax.typeof(x).manual_axis_type.varying
        return PartitionSpec(tuple(name for name in self.axes if name in varying) or None)

    def forward(self, *operands: Any) -> tuple[list, list]:
        """Returns the results and what is kept. What that will be is known when it has run once."""
        options = {"in_specs": self.in_specs, **self.options}
        results = list(self.out_specs)
        stacked = results, PartitionSpec(self.axes)
        jax.eval_shape(jax.shard_map(self.piece, out_specs=stacked, **options), *operands)
        specs = results, [spec for _, spec in self.kept]
        values, kept = jax.shard_map(self.piece, out_specs=specs, **options)(*operands)
        self.types = [jax.typeof(x) for x in values]
        return values, kept

    def backward(self, operands: Sequence, kept: list, cotangents: list) -> list:
        """Returns the operands' cotangents."""
        del operands
        present = [i for i, g in enumerate(cotangents) if g is not None]

        def piece(kept: list, given: list) -> list:
            kept = [lax.reshape(x, shape) for x, (shape, _) in zip(kept, self.kept, strict=True)]
            g: list = [None] * len(cotangents)
            for i, h in zip(present, given, strict=True):
                g[i] = h if self.typed else h / self.sharing(self.out_specs[i])
            return self.gradients(jax.tree.unflatten(self.tree, kept)(g))

        specs = [spec for _, spec in self.kept], [self.out_specs[i] for i in present]
        wanted = [spec for spec, a in zip(self.in_specs, self.active, strict=True) if a]
        back = jax.shard_map(piece, in_specs=specs, out_specs=wanted, **self.options)
        given = [where_it_lives(cotangents[i], self.types[i]) for i in present]
        gradients = iter(back(kept, given))
        return [next(gradients) if a else None for a in self.active]

    def gradients(self, found: list) -> list:
        """Returns the cotangents of the active operands' pieces."""
        gradients = []
        for g, v, spec, wanted in zip(
            found, self.jaxpr.invars, self.in_specs, self.active, strict=True
        ):
            if wanted:
                g = ct.zeros(v.aval) if g is None else g
                axes = () if self.typed else self.left_out(spec)
                gradients.append(lax.psum(g, axes) if axes else g)
        return gradients

    def left_out(self, spec: PartitionSpec) -> tuple:
        """Returns the axes of the mesh along which a spec says that all have the same."""
        return tuple(name for name in self.axes if name not in named(spec))

    def sharing(self, spec: PartitionSpec) -> int:
        """Returns how many devices have the same."""
        return math.prod(self.mesh.shape[name] for name in self.left_out(spec))


@structured(shard_map_p)
def shard_map(active: tuple[bool, ...], *, jaxpr: Any, **params: Any) -> Unit:
    """A function of shards: the pieces run on tapes, and what these keep stays with the pieces."""
    shards = Shards(active, jaxpr, **params)
    moving = tuple(ct.is_differentiable(v.aval) for v in jaxpr.outvars)
    return Unit(shards.forward, shards.backward, (), moving)


def where_it_lives(g: Any, aval: Any) -> Any:
    """Returns a cotangent put where its value is, if that is part of the value's type."""
    sharding = ct.placed(aval)
    return g if sharding in (None, jax.typeof(g).sharding) else jax.sharding.reshard(g, sharding)


def named(spec: PartitionSpec) -> set:
    """Returns the axes of the mesh that a spec names."""
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec.partitions)
    return {name for entry in entries for name in entry if name is not None}


def varied(x: Any, spec: PartitionSpec) -> Any:
    """Returns a result as one that varies along all axes its spec names; so its cotangent may."""
    missing = named(spec) - set(jax.typeof(x).manual_axis_type.varying)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


dear_to_recompute(shard_map_p)
