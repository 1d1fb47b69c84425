"""Reads of one array, part by part: their cotangents become one array, not one for each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp

pytestmark = pytest.mark.usefixtures("x64")

N = 6
X = np.random.default_rng(0).normal(size=(N, N))
ORDER = np.random.default_rng(1).integers(-N, N, N)


def f(x):
    """Returns something of a part, curved."""
    return jnp.sum(jnp.sin(x) * jnp.arange(1.0, 1.0 + x.size).reshape(x.shape))


# fmt: off
READS = {
    "rows": lambda x, i: sum(f(x[k]) for k in range(N)),
    "rows backwards, some twice": lambda x, i: sum(f(x[k]) for k in (4, 3, 3, 1, 4)),
    "columns": lambda x, i: sum(f(x[:, k]) for k in range(N)),
    "blocks of rows and a gap": lambda x, i: f(x[:3]) + f(x[3:4]) + f(x[4:5]),
    "rows and the whole": lambda x, i: sum(f(x[k]) for k in range(N)) + f(x * x),
    "rows and columns": lambda x, i: sum(f(x[k]) * f(x[:, k]) for k in range(N)),
    "places": lambda x, i: sum(f(x[k, 2 * k % N]) for k in range(N)),
    "two that overlap": lambda x, i: f(x[1:] - x[:-1]),
    "windows that overlap": lambda x, i: sum(f(x[k : k + 2, 1]) for k in range(N - 1)),
    "strides": lambda x, i: sum(f(x[k::3]) for k in range(3)),
    "strides within rows": lambda x, i: sum(f(x[k, (k % 3)::3]) for k in range(N)),
    "strides along both": lambda x, i: sum(f(x[k::3, (k % 2)::2]) for k in range(3)),
    "corners of all sizes": lambda x, i: sum(f(x[:k, :2]) for k in range(1, N)),
    "rows somewhere": lambda x, i: sum(f(x[i[k]]) for k in range(N)),
    "somewhere, and known": lambda x, i: sum(f(x[i[k]]) * f(x[k]) for k in range(N)),
    "somewhere, and the whole": lambda x, i: sum(f(x[i[k]]) for k in range(3)) + f(x),
    "columns somewhere": lambda x, i: sum(f(x[:, i[k]]) for k in range(N)),
    "places somewhere": lambda x, i: sum(f(x[i[k], i[-k]]) for k in range(N)),
    "windows past the end": lambda x, i: sum(f(lax.dynamic_slice(x, (i[k], 4), (3, 4))) for k in range(N)),  # noqa: E501
    "several rows somewhere": lambda x, i: sum(f(x[i[k : k + 3]]) for k in range(N - 3)),
    "several places, some out of range": lambda x, i: sum(f(x.at[2 * i[k : k + 3]].get(mode="fill", fill_value=0)) for k in range(5)),  # noqa: E501
    "gathers of two kinds": lambda x, i: f(x[i[:4]]) + f(x[:, i[:4]]) + f(x[i[2:6]]) + f(x[i[:3]]),
    "nothing": lambda x, i: f(x[3:3]) + f(x[2:2]) + f(x[i[4]]),
}
# fmt: on
every_read = pytest.mark.parametrize("read", READS.values(), ids=READS)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


@every_read
def test_agrees_with_jax(read):
    """The gradient, the same of several arrays at once, and the second derivative."""

    def all_of(grad):
        def of_slope(x, i):
            return jnp.sum(jnp.cos(grad(read)(x, i)) * x)

        return jax.jit(lambda x, i: (grad(read)(x[0], i[0]), *jax.vmap(grad(of_slope))(x, i)))

    xs, orders = np.stack([X, 2 * X]), np.stack([ORDER, ORDER[::-1]])
    jax.tree.map(close, all_of(bp.grad)(xs, orders), all_of(jax.grad)(xs, orders))


@pytest.mark.parametrize("name", ["rows", "rows somewhere", "several rows somewhere"])
def test_agrees_with_jax_where_numbers_are_at_hand(name):
    x = jnp.asarray(X)
    close(bp.grad(READS[name])(x, ORDER), jax.grad(READS[name])(x, ORDER))


@pytest.mark.parametrize("name", ["rows", "rows somewhere", "strides", "somewhere, and the whole"])
def test_within_a_loop(name):
    def loop(x, i):
        return lax.scan(lambda c, k: (c * 0.5 + READS[name](x * c, i + k), None), 1.0, -i % 3)[0]

    close(bp.grad(loop)(X, ORDER), jax.grad(loop)(X, ORDER))


def equations(read):
    return [e.primitive.name for e in jax.make_jaxpr(bp.grad(read))(X, ORDER).eqns]


def test_a_read_alone_is_put_among_zeros():
    assert "pad" in equations(lambda x, i: f(x[2]))
    assert "dynamic_update_slice" in equations(lambda x, i: f(x[i[2]]))
    assert "scatter-add" in equations(lambda x, i: f(x[i[:2]]))


@pytest.mark.parametrize(
    "name", ["rows", "rows somewhere", "columns somewhere", "strides within rows"]
)
def test_many_reads_make_one_array(name):
    """Neither n arrays nor n steps on one: nothing that grows as the array does is made n times."""
    jaxpr = jax.make_jaxpr(bp.grad(READS[name]))(X, ORDER)
    whole = [e.primitive.name for e in jaxpr.eqns for v in e.outvars if v.aval.shape == X.shape]
    assert len(whole) <= 2, whole


def test_the_memory_of_many_reads_is_that_of_few_arrays():
    n = 64

    def read(x, i):
        return sum(jnp.sum(jnp.sin(x[i[k]])) for k in range(n))

    x = jnp.ones((n, n))
    compiled = jax.jit(bp.grad(read)).lower(x, jnp.arange(n)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 3 * x.nbytes


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 100])
def test_many_contributions_are_a_balanced_tree(count):
    def many(x):
        return sum(jnp.sum(jnp.sin(k * x)) for k in range(1, count + 1))

    jaxpr = jax.make_jaxpr(bp.grad(many))(X)
    depth: dict = {}
    for equation in jaxpr.eqns:
        below = max((depth.get(str(v), 0) for v in equation.invars), default=0)
        for v in equation.outvars:
            depth[str(v)] = below + (equation.primitive.name == "add_any")
    assert depth[str(jaxpr.jaxpr.outvars[0])] <= np.ceil(np.log2(count)) + 1
    close(bp.grad(many)(X), jax.grad(many)(X))
