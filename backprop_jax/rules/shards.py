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
all_have = {"in_specs": PartitionSpec(), "out_specs": PartitionSpec()}
(equation,) = jax.make_jaxpr(jax.shard_map(sum_over("i"), mesh=mesh, **all_have))(1.0).eqns
shard_map_p = equation.primitive
pvary_p, psum_invariant_p = (inner.primitive for inner in equation.params["jaxpr"].eqns)

linear(pvary_p, lambda g, *, axes: lax.psum(g, axes))
linear(psum_invariant_p, lambda g, *, axes: lax.pcast(g, axes, to="varying"))


@structured(shard_map_p)
def shard_map(
    active: tuple[bool, ...],
    *,
    jaxpr: Any,
    mesh: Any,
    in_specs: tuple,
    out_specs: tuple,
    check_vma: bool,
    newly_manual_axes: frozenset,
) -> Unit:
    """A function of shards: the pieces run on tapes, and what these keep stays with the pieces."""
    function = as_function(ClosedJaxpr(jaxpr, ()))
    names = tuple(name for name in mesh.axis_names if name in newly_manual_axes)
    options = {"mesh": mesh, "axis_names": newly_manual_axes, "check_vma": check_vma}
    stacked = PartitionSpec(names)
    frame: list = []

    def piece(*operands: Any) -> tuple[list, list]:
        """Runs one piece; says in `frame` what is kept and along which axes it varies."""

        def typed(*operands: Any) -> list:
            results = function(*operands)
            return [varied(x, spec) for x, spec in zip(results, out_specs, strict=True)]

        results, pullback = sweep(typed if check_vma else function, operands, active)
        kept, tree = jax.tree.flatten(pullback)
        specs = [kept_spec(x) for x in kept]
        frame[:] = tree, [np.shape(x) for x in kept], specs, pullback.outputs
        return results, [lax.broadcast(x, (1,)) if np.ndim(x) == 0 else x for x in kept]

    def kept_spec(x: Any) -> PartitionSpec:
        """Returns how the pieces of a kept value are put together; if all have the same, as one."""
        if not check_vma:
            return stacked
        varying = jax.typeof(x).manual_axis_type.varying
        return PartitionSpec(tuple(name for name in names if name in varying) or None)

    def forward(*operands: Any) -> tuple[list, list]:
        probe = jax.shard_map(
            piece, in_specs=in_specs, out_specs=(list(out_specs), stacked), **options
        )
        jax.eval_shape(probe, *operands)
        specs = list(out_specs), list(frame[2])
        return jax.shard_map(piece, in_specs=in_specs, out_specs=specs, **options)(*operands)

    def backward(operands: Sequence, kept: list, cotangents: list) -> list:
        del operands
        tree, shapes, kept_specs, _ = frame
        present = [i for i, g in enumerate(cotangents) if g is not None]

        def piece_back(kept: list, given: list) -> list:
            kept = [lax.reshape(x, shape) for x, shape in zip(kept, shapes, strict=True)]
            g: list = [None] * len(cotangents)
            for i, h in zip(present, given, strict=True):
                g[i] = h if check_vma else h / shared_by(out_specs[i])
            found = jax.tree.unflatten(tree, kept)(g)
            avals = [v.aval for v in jaxpr.invars]
            chosen = zip(found, avals, in_specs, active, strict=True)
            return [
                summed(ct.zeros(aval) if h is None else h, spec)
                for h, aval, spec, wanted in chosen
                if wanted
            ]

        specs = list(kept_specs), [out_specs[i] for i in present]
        wanted = [spec for spec, a in zip(in_specs, active, strict=True) if a]
        back = jax.shard_map(piece_back, in_specs=specs, out_specs=wanted, **options)
        gradients = iter(back(kept, [cotangents[i] for i in present]))
        return [next(gradients) if a else None for a in active]

    def left_out(spec: PartitionSpec) -> tuple:
        """Returns the axes of the mesh along which a spec says that all have the same."""
        return tuple(name for name in names if name not in named(spec))

    def shared_by(spec: PartitionSpec) -> int:
        return math.prod(mesh.shape[name] for name in left_out(spec))

    def summed(g: Any, spec: PartitionSpec) -> Any:
        return lax.psum(g, axes) if not check_vma and (axes := left_out(spec)) else g

    return Unit(forward, backward, (), tuple(ct.is_differentiable(v.aval) for v in jaxpr.outvars))


def named(spec: PartitionSpec) -> set:
    """Returns the axes of the mesh that a spec names."""
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec.partitions)
    return {name for entry in entries for name in entry if name is not None}


def varied(x: Any, spec: PartitionSpec) -> Any:
    """Returns a result as one that varies along all axes its spec names; so its cotangent may."""
    missing = named(spec) - set(jax.typeof(x).manual_axis_type.varying)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


dear_to_recompute(shard_map_p)
