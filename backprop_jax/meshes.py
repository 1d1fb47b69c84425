"""What the type of an array says of the devices of a mesh, and what that of its cotangent says.

Along an axis of the mesh a value may *vary*, and its cotangent then does. It may be a sum whose
terms lie with the devices: it is *unreduced*. All terms have the same cotangent, that of the sum,
which is *reduced*: one value that all have, and that each may use by itself. So the cotangent of a
reduced value is unreduced: the sum of what comes of each use.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType

from backprop_jax.dtypes import (
    AS_IT_IS,
    can_move,
    default_float,
    enabling,
    is_extended,
    of_tangents,
    zero,
)
from backprop_jax.programs import Program


def surroundings() -> tuple:
    """Returns what a program depends on besides what it is given.

    A float's dtype, the mesh set, and what barriers of checkpoints are made of (since jax 0.11).
    """
    alone = getattr(jax.config, "jax_remat_barrier_no_cotangents", False)
    return default_float(), jax.sharding.get_abstract_mesh(), alone


def of_cotangents(aval: Any) -> Any:
    """Returns the type of the cotangents of values of this type."""
    kind, spec = aval.manual_axis_type, aval.sharding.spec
    if kind.unreduced or kind.reduced or spec.unreduced or spec.reduced:
        kind = kind.update(unreduced=kind.reduced, reduced=kind.unreduced)
        sharding = aval.sharding.update(spec=opposite(spec))
        aval = aval.update(manual_axis_type=kind, sharding=sharding)
    other = is_extended(aval.dtype) and can_move(aval.dtype)
    return aval.update(dtype=of_tangents(aval.dtype)) if other else aval


def opposite(spec: jax.P) -> jax.P:
    """Returns where the cotangents of values live that live there."""
    return jax.P(*spec.partitions, unreduced=spec.reduced, reduced=spec.unreduced)


def placed(aval: Any) -> Any:
    """Returns where values of this type live, if that is part of the type; else None."""
    spec = aval.sharding.spec
    told = spec.unreduced or spec.reduced or any(entry is not None for entry in spec.partitions)
    return aval.sharding if told else None


def place_of(operand: Any, order: Iterable[int]) -> Any:
    """Returns where a cotangent lives whose axis i is the operand's `order[i]`; None: anywhere.

    On a mesh of explicit axes it may have to be said: a sum over an axis may stay a sum of terms.
    """
    if not explicit(operand):
        return None
    sharding = of_cotangents(operand).sharding
    entries = [sharding.spec.partitions[i] for i in order]
    sums = {"unreduced": sharding.spec.unreduced, "reduced": sharding.spec.reduced}
    return sharding.update(spec=jax.P(*entries, **sums))


def full(shape: tuple[int, ...], number: float, dtype: Any) -> jax.Array:
    """Returns what `lax.full` does, which is staged once for each shape and then copied."""
    with enabling([dtype]):
        if not shape or not jax.sharding.get_abstract_mesh().empty:
            return lax.full(shape, number, dtype)
        long: bool = jax.config.jax_enable_x64  # type: ignore[attr-defined]
        return filling(shape, number, dtype, long)()[0]


@functools.lru_cache(maxsize=1024)
def filling(shape: tuple[int, ...], number: float, dtype: Any, long: bool) -> Program:
    """Returns the program of `full`; `long`, whether float64 is enabled, is part of the key."""
    del long
    return Program(jax.make_jaxpr(lambda: lax.full(shape, number, dtype))())


def filled(aval: Any, number: float) -> Any:
    """Returns an array of this type with a number in all places; an extended dtype has only 0."""
    if is_extended(aval.dtype):
        return varying_as(zero(aval), aval)
    if aval.sharding.mesh.empty and not aval.weak_type:
        return full(aval.shape, float(number), aval.dtype)
    sharding, kind = placed(aval), aval.manual_axis_type
    plain = sharding and sharding.update(spec=jax.P(*sharding.spec.partitions))
    weak = aval.weak_type and aval.dtype == jnp.asarray(1.0).dtype
    with enabling([aval.dtype]):
        array = lax.full(aval.shape, float(number), None if weak else aval.dtype, sharding=plain)
    if sharding != plain:
        array = jax.sharding.reshard(array, sharding)
    if kind.unreduced:  # all terms are equal
        array = array / lax.axis_size(tuple(kind.unreduced))
    array = lax.pcast(array, tuple(kind.varying | kind.unreduced), to="varying")
    array = lax.pcast(array, tuple(kind.unreduced), to="unreduced")
    return lax.pcast(array, tuple(kind.reduced), to="reduced")


def small(aval: Any) -> Any:
    """Returns small cotangents of a value, no two alike, at which a pullback is recorded.

    It is linear, so its transpose is the same at all of them but at zero: there a rule that asks
    what the loss depends on, as that of `qr` and `eigh`, is told that it depends on nothing.
    """
    g = filled(of_cotangents(aval), 2.0**-20)
    if not aval.size or is_extended(g.dtype):
        return g
    with enabling([g.dtype]):
        places = lax.iota(g.real.dtype, aval.size).reshape(aval.shape)
        return g * lax.cos(places).astype(g.dtype)


def varying_as(array: jax.Array, aval: Any) -> jax.Array:
    """Returns what all devices have as a value of its own of each that has one of this type."""
    axes = tuple(aval.manual_axis_type.varying)
    return lax.pcast(array, axes, to="varying") if axes else array


def explicit(aval: Any) -> bool:
    """Returns whether it is part of the type where values of this type live."""
    return AxisType.Explicit in aval.sharding.mesh.axis_types


def on_mesh_of(avals: Iterable) -> contextlib.AbstractContextManager:
    """Returns a context in which the mesh is set that such values live on, if another one is.

    A function may change the mesh, or which of its axes are explicit, for some of its steps.
    """
    here = jax.sharding.get_abstract_mesh()
    if here.empty:
        return AS_IT_IS
    meshes = (aval.sharding.mesh for aval in avals if hasattr(aval, "sharding"))
    there = next((mesh for mesh in meshes if not mesh.empty), here)
    return AS_IT_IS if there == here else jax.sharding.use_abstract_mesh(there)


def refusal() -> type[Exception]:
    """Returns the class of JAX's error where types do not tell where a result lives: an example."""
    mesh = jax.sharding.AbstractMesh((2,), ("i",), axis_types=(AxisType.Explicit,))
    x = jax.ShapeDtypeStruct((2, 2), "float32", sharding=jax.NamedSharding(mesh, jax.P("i")))
    try:
        jax.eval_shape(lambda x: lax.dot(lax.transpose(x, (1, 0)), x), x)
    except Exception as error:
        return type(error)
    return TypeError


Unsaid = refusal()


def where_types_say(pull: Callable[[Any, Any, list], list]) -> Callable[[Any, Any, list], list]:
    """Makes `pull` of a rule, a step and cotangents one that runs wherever the values live.

    Where the types of explicit axes do not tell where something in between lives, the compiler
    puts it where it likes.
    """

    @functools.wraps(pull)
    def pulled(rule: Any, step: Any, cotangents: list) -> list:
        try:
            return pull(rule, step, cotangents)
        except Unsaid:
            avals = [*step.operand_avals, *step.result_avals]
            mesh = next((aval.sharding.mesh for aval in avals if explicit(aval)), None)
            if mesh is None:
                raise
            return left_to_compiler(functools.partial(pull, rule), step, cotangents, mesh)

    return pulled


def left_to_compiler(pull: Callable, step: Any, cotangents: list, mesh: Any) -> list:
    """Returns what `pull` does, run with all axes of the mesh automatic."""
    kinds = (AxisType.Auto if t == AxisType.Explicit else t for t in mesh.axis_types)
    automatic = mesh.update(axis_types=tuple(kinds))
    auto = jax.NamedSharding(automatic, jax.P())

    def there(x: Any) -> Any:
        return jax.sharding.reshard(x, auto)

    def types(avals: list) -> list:
        return [
            aval.update(sharding=auto.update(spec=jax.P(*[None] * aval.ndim))) for aval in avals
        ]

    nowhere = jax.NamedSharding(mesh, jax.P())
    homes = [of_cotangents(a).sharding if explicit(a) else nowhere for a in step.operand_avals]
    with jax.sharding.use_abstract_mesh(automatic):
        kept, given = jax.tree.map(there, (step.kept, cotangents))
        operands, results = types(step.operand_avals), types(step.result_avals)
        step = dataclasses.replace(step, kept=kept, operand_avals=operands, result_avals=results)
        gradients = pull(step, given)
    pairs = zip(gradients, homes, strict=False)
    return [None if g is None else jax.sharding.reshard(g, home) for g, home in pairs]


def one_of(x: Any) -> Any:
    """Returns the first number of an array, as one that all devices have."""

    def first(x: Any) -> Any:
        return lax.index_in_dim(lax.reshape(x, (x.size,)), 0, keepdims=False)

    sharding = placed(jax.typeof(x))
    if sharding is None or not explicit(jax.typeof(x)):
        return first(x)
    return jax.sharding.auto_axes(first, out_sharding=sharding.update(spec=jax.P()))(x)


def put(g: Any, aval: Any) -> Any:
    """Returns a cotangent of a value of this type put where it lives, if types say so."""
    if not explicit(aval):
        return g
    wanted = of_cotangents(aval)
    there = placed(wanted) == placed(jax.typeof(g))
    return g if there else jax.sharding.reshard(g, wanted.sharding)
