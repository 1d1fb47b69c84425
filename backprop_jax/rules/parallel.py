"""Functions that speak to other instances of the program along a named axis, and to devices.

The cotangent of a value that all instances have is the sum of what each of them says of it: so it
is in JAX, where a psum is a sum and a copy to all, and its way back another.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive, primitives
from jax.sharding import reshard

from backprop_jax.engine.registry import linear, pullback
from backprop_jax.meshes import of_cotangents
from backprop_jax.rules.libraries import of_library
from backprop_jax.rules.models import primitive_of
from backprop_jax.rules.reductions import spread


def collective(function: Callable, *operands: Any) -> Primitive:
    """Returns the primitive of a function along a named axis, where it has no public name."""
    return jax.make_jaxpr(function, axis_env=[("i", 1)])(*operands).eqns[0].primitive


reduce_scatter_p = collective(lambda x: lax.psum_scatter(x, "i"), np.zeros(1))
pbroadcast_p = collective(lambda x: lax.pbroadcast(x, "i", 0), np.zeros(1))


# Where a value lives is part of its type on a mesh of explicit axes.
explicit = jax.sharding.AbstractMesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Explicit,))
spread_out = jax.NamedSharding(explicit, jax.P("i"))
reshard_p = jax.make_jaxpr(lambda x: reshard(x, spread_out))(np.zeros(1)).eqns[0].primitive


def sum_again(g: Any, x: Any, *, axes: tuple, axis_index_groups: Any) -> Any:
    """Returns the sum of g over the named axes, copied along those with a number."""
    numbered = tuple(axis for axis in axes if isinstance(axis, int))
    named = tuple(axis for axis in axes if not isinstance(axis, int))
    g = spread(g, x, numbered) if numbered else g
    return lax.psum(g, named, axis_index_groups=axis_index_groups) if named else g


def varies_as(g: Any, x: Any, named: tuple) -> bool:
    """Returns whether each instance has a cotangent of its own, and not all the sum already.

    Within a `shard_map` it is part of the types: what all have is one value, and so is its
    cotangent. Elsewhere the types say nothing.
    """
    ours, theirs = (jax.typeof(v).manual_axis_type.varying for v in (g, x))
    return all(name in ours or name not in theirs for name in named)


def shared_extremum(g: Any, x: Any, z: Any, *, axes: tuple, axis_index_groups: Any) -> Any:
    """Returns equal shares of g for the instances that hold the extremum. jax.grad has no rule.

    Axes with a number are of this instance's own array.
    """
    numbered = tuple(axis for axis in axes if isinstance(axis, int))
    named = tuple(axis for axis in axes if not isinstance(axis, int))
    held = lax.convert_element_type(x == spread(z, x, numbered), x.dtype)
    total, count = g, lax.reduce_sum(held, numbered)
    if named:
        options = {"axis_index_groups": axis_index_groups}
        count = lax.psum(count, named, **options)
        total = lax.psum(g, named, **options) if varies_as(g, x, named) else g
    return held * spread(total / count, x, numbered)


def send_back(g: Any, *, axis_name: Any, perm: tuple) -> Any:
    """Returns g where it came from."""
    return lax.ppermute(g, axis_name, [(target, source) for source, target in perm])


def sum_gathered(
    g: Any, *, all_gather_dimension: int, axis_name: Any, axis_index_groups: Any, tiled: bool
) -> Any:
    """Returns the sum of what all instances say of this one's piece."""
    return lax.psum_scatter(
        g,
        axis_name,
        scatter_dimension=all_gather_dimension,
        axis_index_groups=axis_index_groups,
        tiled=tiled,
    )


def gather_scattered(
    g: Any, *, scatter_dimension: int, axis_name: Any, axis_index_groups: Any, tiled: bool
) -> Any:
    """Returns the pieces of all instances, together."""
    return lax.all_gather(
        g, axis_name, axis=scatter_dimension, axis_index_groups=axis_index_groups, tiled=tiled
    )


def exchange_back(
    g: Any,
    *,
    axis_name: Any,
    split_axis: int,
    concat_axis: int,
    axis_index_groups: Any,
    tiled: bool,
) -> Any:
    """Returns the pieces, given back."""
    return lax.all_to_all(
        g,
        axis_name,
        split_axis=concat_axis,
        concat_axis=split_axis,
        axis_index_groups=axis_index_groups,
        tiled=tiled,
    )


def to_source(g: Any, *, axis_name: Any, source: Any) -> Any:
    """Returns what all instances say of the one value that they have a copy of, where it was."""
    total = lax.psum(g, axis_name)
    return lax.select(lax.axis_index(axis_name) == source, total, lax.full_like(total, 0))


def put_back(g: Any, x: Any) -> Any:
    """Returns g where the value was; where that was on no mesh, all of it on every device."""
    sharding = of_cotangents(x).sharding
    return reshard(
        g, jax.typeof(g).sharding.update(spec=jax.P()) if sharding.mesh.empty else sharding
    )


def constrained(
    g: Any, *, sharding: Any, layout: Any, context_mesh: Any, unconstrained_dims: Any
) -> Any:
    """Returns g, laid out as the value is."""
    return primitives.sharding_constraint_p.bind(
        g,
        sharding=sharding,
        layout=layout,
        context_mesh=context_mesh,
        unconstrained_dims=unconstrained_dims,
    )


def laid_out(g: Any, *, layout: Any) -> Any:
    """Returns g, in memory as the value is."""
    return layout_constraint_p.bind(g, layout=layout)


layout_constraint_p = primitive_of(
    lambda x: with_layout_constraint(x, Layout((0,))), jax.ShapeDtypeStruct((1,), "float32")
)

# fmt: off
linear(lax.psum_p,                      sum_again)
linear(lax.ppermute_p,                  send_back)
linear(lax.all_gather_p,                sum_gathered)
linear(reduce_scatter_p,                gather_scattered)
linear(lax.all_to_all_p,                exchange_back)
pullback(lax.pmax_p)(shared_extremum)
pullback(lax.pmin_p)(shared_extremum)
linear(primitives.sharding_constraint_p, constrained)
linear(reshard_p,                       put_back)
linear(pbroadcast_p,                    to_source)
linear(layout_constraint_p,             laid_out)
# fmt: on

if jax.__version_info__ >= (0, 12):

    @pullback(collective(lambda x, i: lax.pbroadcast(x, "i", i), np.zeros(1), np.int32(0)))
    def pbroadcast_dynamic(g: Any, y: Any, *, axis_name: Any) -> tuple:
        """The value of an instance that is known when the program runs."""
        return to_source(g, axis_name=axis_name, source=y), None


@pullback(primitives.device_put_p)
def device_put(g: tuple, *, devices: tuple, srcs: tuple, copy_semantics: tuple) -> list:
    """A value put somewhere else; its cotangent is put back to where the value was told to be."""
    params = {"devices": srcs, "srcs": devices, "copy_semantics": copy_semantics}
    return primitives.device_put_p.bind(*g, **params)


if find_spec("jax.experimental.shard_alike"):  # until jax 0.11
    from jax.experimental.shard_alike import shard_alike

    @pullback(primitive_of(shard_alike, 0.0, 0.0))
    def shared_out_alike(g: tuple) -> tuple:
        """Two values that are shared out among devices alike, and so are their cotangents."""
        return shard_alike(*g)


HOSTS = "jax.experimental.multihost_utils"


@of_library(HOSTS, "host_local_array_to_global_array_p")
def host_local_array_to_global_array(primitive: Primitive) -> None:
    """What each process has, as one array; back, each gets its part of g."""
    linear(primitive, between_hosts("global_array_to_host_local_array_p"))


@of_library(HOSTS, "global_array_to_host_local_array_p")
def global_array_to_host_local_array(primitive: Primitive) -> None:
    """The part of one array that each process has; what each says of its own is one array again."""
    linear(primitive, between_hosts("host_local_array_to_global_array_p"))


def between_hosts(name: str) -> Callable:
    """Returns the formula that is another primitive with the same parameters."""

    def formula(g: Any, *, global_mesh: Any, pspec: Any) -> Any:
        return getattr(sys.modules[HOSTS], name).bind(g, global_mesh=global_mesh, pspec=pspec)

    return formula
