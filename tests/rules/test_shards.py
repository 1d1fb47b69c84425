# ruff: noqa: E501 (rows of a table stay rows)
"""`shard_map`, on as many devices as there are; and once more in a process that has four."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, PartitionSpec

import backprop_jax as bp
from tests.rules.devices import passes_on

X = np.linspace(-1.0, 2.0, 8)
ACROSS, EVERYWHERE = PartitionSpec("i"), PartitionSpec()


#: What is tried here and not in the table of cases.
OF_SHARDS = {
    "shard_map",
    "reshard",
    *("pvary", "psum_invariant", "preduced", "unreduced_psum"),
    *("reduced_vary_cast", "vary_unreduced_cast", "reduced_vary_cast_p", "vary_unreduced_cast_p"),
    *("all_gather_reduced", "unreduced_reduce_scatter", "all_gather_invariant"),
}


def of_shards(
    fun: Callable, in_specs: Any, out_specs: Any, check_vma: bool = True, kind: Any = AxisType.Auto
) -> Callable:
    """Returns `fun` run on the pieces, one on each device."""
    mesh = Mesh(np.array(jax.devices()), ("i",), axis_types=(kind,))
    return jax.shard_map(
        fun, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=check_vma
    )


def explicit(fun: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """Returns the same on a mesh of explicit axes, where specs may speak of sums."""
    mapped = of_shards(fun, in_specs, out_specs, kind=AxisType.Explicit)
    return lambda *operands: mapped(*jax.sharding.reshard(operands, in_specs))


def loop(x: Any) -> Any:
    return lax.scan(lambda c, _: (c * x, c.sum()), x, None, length=2)[0]


def closed_over(x: Any) -> Any:
    return of_shards(lambda y: jnp.sin(y) * x[0], ACROSS, ACROSS)(x)


def branch(x: Any) -> Any:
    return lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x)


# fmt: off
FUNCTIONS: dict[str, Callable] = {
    "place by place":    lambda x: of_shards(lambda x: x * jnp.sin(x), ACROSS, ACROSS)(x),
    "psum":              lambda x: of_shards(lambda x: lax.psum(jnp.sum(x**3), "i"), ACROSS, EVERYWHERE)(x),
    "psum, used again":  lambda x: of_shards(lambda x: lax.psum(jnp.sum(x**3), "i") * x, ACROSS, ACROSS)(x),
    "of what all have":  lambda x: of_shards(lambda x, w: w[0] * x + w[1], (ACROSS, EVERYWHERE), ACROSS)(x, x[:2]),
    "all_gather":        lambda x: of_shards(lambda x: lax.all_gather(x**2, "i", tiled=True).sum() * x, ACROSS, ACROSS)(x),
    "psum_scatter":      lambda x: of_shards(lambda x: lax.psum_scatter(x**2, "i", tiled=True), EVERYWHERE, ACROSS)(x),
    "pmax":              lambda x: of_shards(lambda x: lax.pmax(jnp.max(x), "i") * x, ACROSS, ACROSS)(x),
    "without types":     lambda x: of_shards(lambda x: lax.psum(x * x, "i").sum() * x, ACROSS, ACROSS, check_vma=False)(x),
    "all have, no types": lambda x: of_shards(lambda x, w: lax.psum(jnp.sum(x * w[0]), "i"), (ACROSS, EVERYWHERE), EVERYWHERE, check_vma=False)(x, x[:2]),
    "numbers, no types": lambda x: of_shards(lambda x: jnp.sin(jnp.sin(x)), EVERYWHERE, EVERYWHERE, check_vma=False)(jnp.sum(x)) * x,
    "only compared":     lambda x: of_shards(lambda x, w: jnp.where(x < w, x, x * x), (ACROSS, ACROSS), ACROSS)(x, jnp.sqrt(0 * x)),
    "a loop":            lambda x: of_shards(loop, ACROSS, ACROSS)(x),
    "a branch":          lambda x: of_shards(branch, ACROSS, ACROSS)(x),
    "a compiled one":    lambda x: of_shards(jax.jit(lambda x: lax.psum(x, "i") * x), ACROSS, ACROSS)(x),
    "closes over":       closed_over,
    "gathered, one for all":    lambda x: of_shards(lambda x: lax.all_gather(x**2, "i", tiled=True, to="invarying") ** 2, ACROSS, EVERYWHERE)(x),
    "stacked, one for all":     lambda x: of_shards(lambda x: lax.all_gather(x**2, "i", axis=1, to="invarying") ** 2, ACROSS, EVERYWHERE)(x),
}
# fmt: on


def slopes(fun: Callable, h: float = 1e-6) -> Any:
    """Returns the derivatives of a compiled function by central differences."""
    return np.stack([(fun(X + step) - fun(X - step)) / (2 * h) for step in h * np.eye(8)])


@pytest.mark.parametrize("what", FUNCTIONS)
def test_gradient_and_hessian(what, x64):
    """Slopes are the witness: jax.grad has no rule for pmax."""
    fun = lambda x: jnp.sum(jnp.cos(FUNCTIONS[what](x)))  # noqa: E731
    gradient = jax.jit(bp.grad(fun))
    np.testing.assert_allclose(gradient(X), slopes(jax.jit(fun)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(bp.grad(fun)(X), gradient(X), rtol=1e-12)
    hessian = jax.jit(bp.hessian(fun))(X)
    np.testing.assert_allclose(hessian, slopes(gradient), rtol=1e-6, atol=1e-7)


# fmt: off
WITHIN: dict[str, Callable] = {
    "a mean":     lambda x: jnp.mean(x**2),
    "a quotient": lambda x: jnp.sum(x / (2 + x**2)),
    "entropy":    lambda x: -jax.nn.log_softmax(x)[0],
    "a loop":     lambda x: jnp.sum(loop(x)),
    "summed":     lambda x: lax.psum(jnp.sum(x**3), "i"),
}
# fmt: on


@pytest.mark.parametrize("what", WITHIN)
def test_a_gradient_within(what, x64):
    """One and zero vary along the axes of the mesh that the values vary along."""
    gradients = [of_shards(m.grad(WITHIN[what]), ACROSS, ACROSS)(X) for m in (bp, jax)]
    np.testing.assert_allclose(*gradients, rtol=1e-12)


@pytest.mark.parametrize("name", ["jacrev", "jacfwd", "hessian"])
def test_a_jacobian_within(name, x64):
    """Unit vectors vary, too."""
    fun = lambda x: jnp.sum(x[0] * jnp.sin(x)) if name == "hessian" else x[0] * jnp.sin(x)  # noqa: E731
    found = [
        of_shards(lambda x, m=m: getattr(m, name)(fun)(x)[0], ACROSS, ACROSS)(X) for m in (bp, jax)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_a_value_is_put_elsewhere_on_a_mesh_of_explicit_axes(x64):
    mesh = Mesh(np.array(jax.devices()), ("i",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        fun = lambda x: jnp.sum(jnp.sin(jax.sharding.reshard(x, ACROSS)))  # noqa: E731
        x = jax.sharding.reshard(jnp.asarray(X), EVERYWHERE)
        for gradient in (bp.grad(fun), jax.jit(bp.grad(fun))):
            np.testing.assert_allclose(gradient(x), np.cos(X), rtol=1e-12)
            assert jax.typeof(gradient(x)) == jax.typeof(x)


# fmt: off
TERM, REDUCED = PartitionSpec(unreduced={"i"}), PartitionSpec(reduced={"i"})
SUMS: dict[str, Callable] = {
    "gathered":   lambda x: explicit(lambda x: lax.pcast(jnp.sin(lax.all_gather(x**2, "i", tiled=True, to="reduced")), "i", to="varying").sum() * x, (ACROSS,), ACROSS)(x),
    "all have":   lambda x: explicit(lambda x, w: jnp.sin(lax.pcast(jnp.sin(lax.pcast(w, "i", to="reduced")), "i", to="varying")).sum() * x, (ACROSS, EVERYWHERE), ACROSS)(x, x),
    "summed":     lambda x: explicit(lambda x: lax.psum(jnp.reshape(lax.pcast(x**3, "i", to="unreduced"), (2, -1)), "i"), (ACROSS,), EVERYWHERE)(x),
    "scattered":  lambda x: explicit(lambda x: lax.psum_scatter(lax.pcast(lax.pcast(jnp.sin(x), "i", to="varying"), "i", to="unreduced"), "i", tiled=True), (EVERYWHERE,), ACROSS)(x),
    "in and out": lambda x: explicit(lambda x: lax.psum(x, "i") ** 2, (TERM,), EVERYWHERE)(explicit(lambda x: lax.pcast(jnp.sin(x), "i", to="unreduced"), (ACROSS,), TERM)(x)),
    "of a map":   lambda x: explicit(lambda x, w: x * lax.pcast(w * w, "i", to="varying").sum(), (ACROSS, REDUCED), ACROSS)(x, jnp.sin(x)),
}
# fmt: on

#: Their second derivative changes the sign of a sum of terms, and that JAX does not do.
ONCE = {"gathered", "all have"}

#: JAX compiles no map on one device whose result is a sum of terms.
among_several = pytest.mark.skipif(len(jax.devices()) == 1, reason="one device has one term")


@among_several
@pytest.mark.parametrize("what", SUMS)
def test_sums_of_terms_and_reduced_values(what, x64):
    """Those have reduced cotangents, and these have sums of terms. JAX batches none of them."""
    mesh = Mesh(np.array(jax.devices()), ("i",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        loss = lambda x: jnp.sum(jnp.cos(SUMS[what](x)))  # noqa: E731
        turned = lambda x: jnp.sum(jnp.sin(jax.jit(bp.grad(loss))(x)))  # noqa: E731
        for fun in (loss, turned) if what not in ONCE else (loss,):
            gradient = jax.jit(bp.grad(fun))(X)
            np.testing.assert_allclose(gradient, slopes(jax.jit(fun)), rtol=1e-6, atol=1e-7)


@among_several
def test_where_the_cotangents_of_a_sum_live(x64):
    mesh = Mesh(np.array(jax.devices()), ("i",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        reduced = jax.sharding.reshard(X, REDUCED)
        squared = explicit(lambda x: lax.pcast(x, "i", to="varying") ** 2, (REDUCED,), ACROSS)
        gradient = jax.jit(bp.grad(lambda x: jnp.sum(squared(x))))(reduced)
        assert jax.typeof(gradient).sharding.spec.unreduced == {"i"}
        whole = jax.sharding.reshard(gradient, PartitionSpec(None))
        np.testing.assert_allclose(whole, 2 * X * len(jax.devices()), rtol=1e-12)


# fmt: off
MAPPED: dict[str, tuple] = {
    "one for all": (lambda x: jnp.sin(jnp.sum(x)), EVERYWHERE),
    "a sum":       (lambda x: lax.psum(x, "i") ** 2, ACROSS),
}
# fmt: on


@pytest.mark.parametrize("what", MAPPED)
def test_vmap_may_use_an_axis_of_the_mesh(what, x64):
    """Nothing is summed along an axis that the mapped function does not speak of."""
    fun, out_specs = MAPPED[what]
    devices = np.array(jax.devices())
    devices = devices.reshape(-1, min(2, len(devices)))
    mesh = Mesh(devices, ("j", "i"), axis_types=(AxisType.Auto,) * 2)
    options = {"in_specs": ACROSS, "out_specs": out_specs, "check_vma": False}
    gradient = bp.grad(lambda x: jnp.sum(jax.shard_map(fun, mesh=mesh, **options)(x)))
    x = X.reshape(4, 2)
    expected = [gradient(row) for row in x]
    for name in ("j", None):
        found = jax.vmap(gradient, spmd_axis_name=name)(x)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_is_at_hand_is_not_stored_again():
    """The map returns its result; that is kept, and no copy of it."""
    fun = of_shards(lax.exp, ACROSS, ACROSS)
    jaxpr = jax.make_jaxpr(bp.grad(lambda x: fun(x).sum()))(X)
    forward, *_ = jaxpr.eqns
    assert len(forward.outvars) == 1


@pytest.mark.slow
def test_on_four_devices():
    passes_on(4, __file__)
