# ruff: noqa: E501 (rows of a table stay rows)
"""Meshes of explicit axes, where types say where a value lives; once more with four devices."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec, auto_axes, reshard, use_abstract_mesh

import backprop_jax as bp
from tests.rules.devices import passes_on

P = PartitionSpec
X = np.sin(np.arange(32.0)).reshape(8, 4) + 2
WEIGHTS = jnp.asarray(np.cos(np.arange(8.0)).reshape(4, 2), "float32")  # made where no mesh is set
PLACES = np.array([[1, 3], [3, 0]])
ONE = np.int32(1)


@pytest.fixture
def mesh(x64: None) -> Iterator[jax.sharding.Mesh]:
    """Sets a mesh of one explicit axis."""
    mesh = jax.make_mesh((len(jax.devices()),), ("i",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        yield mesh


def renamed(x: jax.Array) -> jax.Array:
    """Returns the sine, computed on a mesh whose axis has another name."""
    mesh = jax.sharding.get_abstract_mesh()
    with use_abstract_mesh(mesh.update(axis_names=("k",))):
        z = jnp.sin(reshard(x, P("k")))
    return reshard(z, P(None, "i"))


def convolved(x: jax.Array) -> jax.Array:
    """Returns a convolution in which x is the filter, too, which is a sum over the batch."""
    images = jnp.reshape(x, (8, 2, 2, 1))
    return lax.conv(images, jnp.ones((1, 2, 2, 2)) * jnp.mean(x), (1, 1), "SAME")


# fmt: off
#: Steps whose way back does not say by its types where the result lives; and steps of another mesh.
FUNCTIONS: dict[str, Callable] = {
    "reshape":      lambda x: lax.reshape(x, (1, 8, 4), out_sharding=P(None, "i")) ** 2,
    "merged":       lambda x: lax.reshape(lax.reshape(x, (8, 2, 2)), (1, 8, 4), out_sharding=P(None, "i")) ** 2,
    "turned":       lambda x: lax.reshape(reshard(x, P()), (4, 2, 4), (1, 0)),
    "slice":        lambda x: lax.dynamic_slice(x, (ONE, ONE), (4, 2)),
    "update":       lambda x: lax.dynamic_update_slice(x, lax.slice(x, (0, 0), (4, 2)) ** 2, (ONE, ONE)),
    "rows":         lambda x: x.at[PLACES].get(out_sharding=P()),
    "each row":     jax.vmap(lambda row: row.at[PLACES].get(out_sharding=P())),
    "tile":         lambda x: jnp.tile(x, (1, 2)),
    "convolution":  convolved,
    "automatic":    auto_axes(lambda x: jnp.cumsum(jnp.sin(x)[::-1], 0), out_sharding=P()),
    "sort":         lambda x: lax.sort(x, dimension=1),
    "written":      jax.vmap(lambda row: row.at[1].set(row[0] ** 2)),
    "in a scan":    lambda x: lax.scan(lambda c, _: (auto_axes(lambda c: jnp.sin(c) * 2, out_sharding=P("i"))(c), None), x, length=3)[0],
    "renamed":      renamed,
    "checkpoint":   jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))),
    "checkpoints":  jax.checkpoint(lambda x: jnp.sin(jax.checkpoint(lambda x: jnp.sin(x) * x)(x))),
}
# fmt: on


@pytest.mark.parametrize("what", FUNCTIONS)
def test_the_gradient_is_the_slope_and_lives_where_the_operand_does(what, mesh):
    loss = lambda x: jnp.sum(jnp.sin(FUNCTIONS[what](x)))  # noqa: E731
    x = reshard(jnp.asarray(X), P("i"))
    v = reshard(jnp.asarray(np.cos(X)), P("i"))

    def along(fun: Callable) -> float:
        return float(fun(x + 1e-5 * v) - fun(x - 1e-5 * v)) / 2e-5

    turned = lambda x: jnp.sum(jnp.cos(bp.grad(loss)(x)))  # noqa: E731
    for fun in (jax.jit(loss), jax.jit(turned)):
        for gradient in (bp.grad(fun)(x), jax.jit(bp.grad(fun))(x)):
            assert jax.typeof(gradient) == jax.typeof(x)
            np.testing.assert_allclose(np.sum(gradient * v), along(fun), rtol=1e-6, atol=1e-8)


def test_what_was_made_where_no_mesh_is_set_gets_a_gradient_that_all_have(mesh):
    x = reshard(jnp.asarray(X), P("i"))
    gradient = jax.jit(bp.grad(lambda w: jnp.sum(lax.dot(x, w.astype(x.dtype)))))(WEIGHTS)
    plain = jax.jit(bp.grad(lambda w: jnp.sum(lax.dot(x.astype(w.dtype), w))))(WEIGHTS)
    for found in (gradient, plain):
        np.testing.assert_allclose(found, np.tile(X.sum(0)[:, None], 2), rtol=1e-6)
        assert not any(jax.typeof(found).sharding.spec)


def test_a_program_made_on_one_mesh_is_not_put_on_another():
    """Of a number the type says nothing of the mesh that is set; its program has that in it."""
    for name in ("i", "k"):
        mesh = jax.make_mesh((len(jax.devices()),), (name,), axis_types=(AxisType.Explicit,))
        with jax.set_mesh(mesh):
            x = reshard(jnp.asarray(X, "float32"), P(name))
            gradient = jax.jit(bp.grad(lambda x: jnp.mean(jax.nn.log_sigmoid(x - jnp.mean(x)))))(x)
            gradient += jax.jit(bp.grad(lambda y: jnp.sum(jnp.tanh(y))))(np.float32(0.5))
            assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_on_four_devices():
    passes_on(4, __file__)
