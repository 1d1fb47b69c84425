"""Solvers, loops and likelihoods."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array

from benchmarks.workload import Workload, gradient, normal, weights


def rk4() -> Workload:
    """Lorenz's system of 40 variables, 200 steps of Runge and Kutta's by `fori_loop`."""

    def speed(x: Array, force: Array) -> Array:
        ahead, behind, before = (jnp.roll(x, shift, axis=-1) for shift in (-1, 1, 2))
        return (ahead - before) * behind - x + force

    def loss(params: dict, h: Array) -> Array:
        force = params["force"]

        def step(_: Array, x: Array) -> Array:
            k1 = speed(x, force)
            k2 = speed(x + 0.5 * h * k1, force)
            k3 = speed(x + 0.5 * h * k2, force)
            k4 = speed(x + h * k3, force)
            return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        return jnp.mean(jnp.square(lax.fori_loop(0, 200, step, params["x"])))

    return gradient(loss, {"x": normal(0, 256, 40), "force": jnp.full(40, 2.0)}, jnp.float32(0.01))


def while_solver() -> Workload:
    """A fixed point of a layer, by `while_loop` until it moves no more."""

    def loss(params: dict, x: Array) -> Array:
        def moves(state: tuple) -> Array:
            z, before = state
            return jnp.max(jnp.abs(z - before)) > 1e-5

        def step(state: tuple) -> tuple:
            z, _ = state
            return jnp.tanh(z @ params["w"] + x @ params["u"]), z

        z, _ = lax.while_loop(moves, step, (jnp.zeros_like(x), jnp.ones_like(x)))
        return jnp.mean(jnp.square(z))

    params = {"w": 0.8 * weights(0, 64, 64), "u": weights(1, 64, 64)}
    return gradient(loss, params, normal(8, 64, 64), jax_can=False)


def while_loop(trips: int) -> Workload:
    """Returns a pendulum's workload, by a `while_loop` whose bound is known at run time."""

    def loss(params: dict, trips: Array) -> Array:
        def step(state: tuple) -> tuple:
            i, x, v = state
            v = v - params["h"] * jnp.sin(x)
            return i + 1, x + params["h"] * v, v

        state = (jnp.int32(0), params["x"], jnp.zeros_like(params["x"]))
        return jnp.mean(jnp.square(lax.while_loop(lambda state: state[0] < trips, step, state)[1]))

    params = {"x": 0.5 * normal(0, 1024), "h": jnp.float32(0.01)}
    return gradient(loss, params, jnp.int32(trips), jax_can=False)


def gp() -> Workload:
    """The marginal likelihood of 256 points under a Gaussian process."""

    def loss(params: dict, x: Array, y: Array) -> Array:
        length, height, noise = (jnp.exp(params[name]) for name in ("length", "height", "noise"))
        square = jnp.sum(jnp.square((x[:, None] - x[None]) / length), axis=-1)
        covariance = height * jnp.exp(-0.5 * square) + noise * jnp.eye(len(x))
        factor = jnp.linalg.cholesky(covariance)
        white = solve_triangular(factor, y, lower=True)
        half = jnp.sum(jnp.log(jnp.diagonal(factor)))
        return 0.5 * jnp.sum(jnp.square(white)) + half + 0.5 * len(x) * math.log(2 * math.pi)

    x = normal(8, 256, 4)
    params = {"length": jnp.zeros(4), "height": jnp.zeros(()), "noise": jnp.float32(-2.0)}
    return gradient(loss, params, x, jnp.sin(x @ np.ones(4)))
