"""`jax.enable_x64` used within a function: some of its steps are in 64 bits, or in 32."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp

WIDTHS = {True: (jnp.float64, jnp.float32), False: (jnp.float32, jnp.float64)}


def casts(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        y = x.astype(there)
        return jnp.sin(y) * y


def there_and_back(x, there, back):
    return casts(x, there, back).astype(back) * 2


def constants(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        y = x.astype(there) * jnp.array([1.0, 2.0, 3.0])[1] + 0.1
        return jnp.sum((y**2 + jnp.arange(3.0)) ** 2)


def into_scan(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        steps = jnp.arange(1.0, 4.0)
        return lax.scan(lambda c, k: (jnp.sin(c) * k, c), x.astype(there), steps)[0]


def in_scan(x, there, back):
    def body(c, _):
        d = casts(c, there, back)
        return d.astype(back), d

    c, ds = lax.scan(body, x, length=3)
    return c + jnp.sum(ds.astype(back))


def into_cond(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        y = x.astype(there)
        return lax.cond(y > 0, lambda y: jnp.sin(y) * 2.5, lambda y: y**3, y)


def in_cond(x, there, back):
    return lax.cond(x > 0, lambda x: there_and_back(x, there, back), lambda x: x**3, x)


def into_while(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        return lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) * 1.5, x.astype(there))


def in_jit(x, there, back):
    return jax.jit(casts, static_argnums=(1, 2))(x, there, back)


def into_checkpoint(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        y = x.astype(there)
    return jax.checkpoint(lambda y: jnp.sin(jnp.sin(y)) * y)(y)


def into_a_rule(x, there, back):
    @jax.custom_jvp
    def square(x):
        return x**2

    square.defjvp(lambda x, v: (square(x[0]), v[0] * jnp.sin(x[0])))
    with jax.enable_x64(there == jnp.float64):
        return square(x.astype(there))


def of_matrices(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        a = x.astype(there) * jnp.eye(3) + 0.1
        return jnp.linalg.slogdet(a)[1] + jnp.sum(jnp.linalg.cholesky(a) @ a)


def mapped(x, there, back):
    with jax.enable_x64(there == jnp.float64):
        return jnp.sum(jax.vmap(lambda k: jnp.sin(k * x.astype(there)))(jnp.arange(3.0)))


PROGRAMS = [
    casts,
    there_and_back,
    constants,
    into_scan,
    in_scan,
    into_cond,
    in_cond,
    into_while,
    in_jit,
    into_checkpoint,
    into_a_rule,
    of_matrices,
    mapped,
]

WAYS = {
    "grad": lambda m, f: m.grad(f),
    "jit of grad": lambda m, f: jax.jit(m.grad(f)),
    "grad of jit": lambda m, f: m.grad(jax.jit(f)),
    "hessian": lambda m, f: m.hessian(f),
}


def of_jax(call):
    """Returns what a call gives with JAX, which warns of the 32 bits of what it starts from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(jax)


def check(program, way, enabled, rtol):
    within, without = WIDTHS[not enabled]
    x = jnp.array(0.7, without)

    def both(m):
        return WAYS[way](m, lambda x: program(x, within, without))(x)

    ours, theirs = both(bp), of_jax(both)
    assert ours.dtype == theirs.dtype == without
    np.testing.assert_allclose(ours, theirs, rtol=rtol)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_steps_in_64_bits(program, way):
    check(program, way, enabled=False, rtol=1e-5)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_steps_in_32_bits(program, x64):
    check(program, "hessian", enabled=True, rtol=1e-5)


def test_the_way_back_is_in_64_bits():
    """At 1e-4 the slope of 1 - cos is lost in 32 bits where the function is written so."""

    def loss(x):
        with jax.enable_x64(True):
            y = x.astype(jnp.float64)
            return (lax.sqrt(1 - lax.cos(y))).astype(jnp.float32)

    x = jnp.float32(1e-4)
    for grad in (bp.grad(loss), bp.grad(jax.jit(loss)), jax.jit(bp.grad(loss))):
        np.testing.assert_allclose(grad(x), np.sqrt(0.5), rtol=1e-6)


@pytest.mark.parametrize("name", ["jacrev", "jacfwd"])
def test_jacobians_of_results_in_64_bits(name):
    def both(x):
        return casts(x, jnp.float64, jnp.float32)

    x = jnp.array([0.7, 0.3], jnp.float32)
    ours, theirs = getattr(bp, name)(both)(x), of_jax(lambda m: getattr(m, name)(both)(x))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
