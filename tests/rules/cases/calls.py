# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions within functions: `jit`, and the user's own rules."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import eigh_tridiagonal

from tests.rules.case import COMPLEX, POSITIVE, REAL, Case, integers


@jax.jit
def product(x: Any, y: Any) -> Any:
    return lax.sin(x) * y


@jax.jit
def nested(x: Any, y: Any) -> Any:
    return product(x, y) + product(lax.exp(x), y)


@jax.jit
def several(x: Any, y: Any) -> dict:
    return {"a": x * y, "b": (x, 3.0), "count": x.shape[0], "order": jnp.argsort(x)}


@functools.partial(jax.jit, static_argnums=1)
def power(x: Any, n: int) -> Any:
    return x**n


@functools.partial(jax.jit, inline=True)
def inlined(x: Any) -> Any:
    return lax.tanh(x)


def closes_over(x: Any, y: Any) -> Any:
    """A compiled function that reads a differentiated value from outside."""
    return jax.jit(lambda w: lax.sin(w) * y)(x)


# -- custom_jvp ----------------------------------------------------------------------
@jax.custom_jvp
def softsign(x: Any) -> Any:
    return x / (1 + jnp.abs(x))


softsign.defjvps(lambda t, z, x: t / (1 + jnp.abs(x)) ** 2)


@jax.custom_jvp
def scaled(x: Any, y: Any) -> Any:
    return x * lax.exp(y)


@scaled.defjvp
def scaled_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x, y), (tx, ty) = primals, tangents
    z = scaled(x, y)
    return z, tx * lax.exp(y) + z * ty


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def applied(f: Any, x: Any, n: int) -> Any:
    return f(x) ** n


@applied.defjvp
def applied_jvp(f: Any, n: int, primals: tuple, tangents: tuple) -> tuple:
    (x,), (t,) = primals, tangents
    return applied(f, x, n), jax.jvp(lambda x: f(x) ** n, (x,), (t,))[1]


@jax.custom_jvp
def pair(x: Any, y: Any) -> tuple:
    return x * y, x + y


@pair.defjvp
def pair_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x, y), (tx, ty) = primals, tangents
    return pair(x, y), (tx * y + x * ty, tx + ty)


@jax.custom_jvp
def looped(x: Any) -> Any:
    return x**4


@looped.defjvp
def looped_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (t,) = primals, tangents
    cube = lax.fori_loop(0, 3, lambda i, p: p * x, jnp.ones_like(x))
    return looped(x), jax.jit(lambda t: 4 * cube * t)(t)


def tangent_with_symbolic_zeros(primals: tuple, tangents: tuple) -> tuple:
    (x, y), (tx, ty) = primals, tangents
    z = tracked(x, y)
    terms = [
        d * t
        for d, t in ((y, tx), (x, ty))
        if not isinstance(t, jax.custom_derivatives.SymbolicZero)
    ]
    return z, sum(terms[1:], terms[0])


@jax.custom_jvp
def tracked(x: Any, y: Any) -> Any:
    return x * y


tracked.defjvp(tangent_with_symbolic_zeros, symbolic_zeros=True)


# -- custom_vjp ----------------------------------------------------------------------
@jax.custom_vjp
def clipped(x: Any) -> Any:
    """The identity, whose cotangent is clipped: a rule that no slope would show."""
    return x


clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -0.5, 0.5),))


@jax.custom_vjp
def kept(x: Any, y: Any) -> Any:
    return lax.sin(x) * y


kept.defvjp(
    lambda x, y: (kept(x, y), {"slope": lax.cos(x), "x": x, "y": y}),
    lambda r, g: (g * r["slope"] * r["y"], g * lax.sin(r["x"])),
)


@jax.custom_vjp
def half_zero(x: Any, y: Any) -> Any:
    return x * 2 + lax.stop_gradient(y)


half_zero.defvjp(lambda x, y: (half_zero(x, y), None), lambda _, g: (2 * g, None))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def mapped(f: Any, x: Any, n: int) -> Any:
    return f(x) * n


mapped.defvjp(
    lambda f, x, n: (mapped(f, x, n), x),
    lambda f, n, x, g: (g * n * lax.cos(x),),
)


@jax.custom_vjp
def picked(x: Any, i: Any) -> Any:
    return x[i]


picked.defvjp(
    lambda x, i: (x[i], (i, x)),
    lambda r, g: (jnp.zeros_like(r[1]).at[r[0]].add(g), None),
)


@jax.custom_vjp
def tree(p: dict) -> dict:
    return {"sum": p["x"] + p["y"], "product": p["x"] * p["y"]}


tree.defvjp(
    lambda p: (tree(p), p),
    lambda p, g: ({"x": g["sum"] + g["product"] * p["y"], "y": g["sum"] + g["product"] * p["x"]},),
)


@jax.custom_vjp
def aware(x: Any, y: Any) -> Any:
    return x * y


def aware_fwd(x: Any, y: Any) -> tuple:
    return x.value * y.value, (x.value, y.value if x.perturbed else None)


def aware_bwd(residuals: tuple, g: Any) -> tuple:
    x, y = residuals
    return (None if y is None else g * y), g * x


aware.defvjp(aware_fwd, aware_bwd, symbolic_zeros=True)


# fmt: off
CASES = [
    # -- jit -------------------------------------------------------------------------
    Case("jit", product,                                                [(3,), (3,)]),
    Case("jit", product,                                                [(3,), ()],   note="a scalar operand"),
    Case("jit", nested,                                                 [(3,), (3,)], note="within a jit"),
    Case("jit", lambda x, y: product(product(x, y), product(y, x)),     [(3,), (3,)], note="called three times"),
    Case("jit", several,                                                [(3,), (3,)], note="several results"),
    Case("jit", lambda x, y: several(x, y)["b"][0],                     [(3,), (3,)], note="results unused"),
    Case("jit", jnp.hypot,                                              [(3,), (3,)], note="hypot"),
    Case("jit", lambda x, y: jnp.hypot(x * 0, 1 + y * y),               [(3,), (3,)], note="hypot at 0", jax_fails="no second derivative"),
    Case("jit", lambda x: jnp.i0(x - x[0]),                             [(3,)],       note="i0 at 0 and elsewhere", jax_fails="no second derivative", dtypes=("float32",)),
    Case("jit", functools.partial(eigh_tridiagonal, eigvals_only=True),  [(4,), (3,)], note="eigh_tridiagonal", dtypes=("float32",), jax_fails="no rule"),
    Case("jit", lambda x, y: eigh_tridiagonal(x, y, eigvals_only=True, select="i", select_range=(1, 2)), [(4,), (3,)], note="some of eigh_tridiagonal", dtypes=("float32",), jax_fails="no rule"),
    Case("jit", lambda x: power(x, 3),                                  [(3,)],       note="static argument"),
    Case("jit", lambda x: product(x, 2.0),                              [(3,)],       note="a constant operand"),
    Case("tanh", lambda x: inlined(x) * x,                              [(3,)],       note="jit with inline=True"),
    Case("jit", closes_over,                                            [(3,), (3,)], note="closes over a differentiated value"),
    Case("jit", lambda x, i: jax.jit(lambda x, i: x[i])(x, i),          [(3, 2), ()], (REAL, integers(3)), "an integer operand"),
    Case("jit", lambda x: jax.jit(lambda x: x)(x),                      [(3,)],       note="the identity"),
    Case("jit", lambda x: jax.jit(lambda x: (x, x))(x),                 [(3,)],       note="one result twice"),
    Case("jit", lambda x: jax.jit(lambda x: x * lax.conj(x))(x),        [(3,)],       COMPLEX, "of complex numbers", ("complex64",)),
    # -- custom_jvp ------------------------------------------------------------------
    Case("custom_jvp_call", jax.nn.relu,                                [(3,)],       note="relu"),
    Case("custom_jvp_call", jax.nn.softplus,                            [(3,)],       note="softplus"),
    Case("custom_jvp_call", jax.nn.relu6,                               [(3,)],       note="relu6"),
    Case("logistic",        jax.nn.silu,                                [(3,)],       note="silu"),
    Case("tanh",            jax.nn.gelu,                                [(3,)],       note="gelu"),
    Case("custom_jvp_call", softsign,                                   [(3,)],       note="defjvps"),
    Case("custom_jvp_call", scaled,                                     [(3,), (3,)], note="two operands"),
    Case("custom_jvp_call", lambda x: scaled(jnp.full_like(x, 2), x),                   [(3,)],       note="a constant operand"),
    Case("custom_jvp_call", lambda x: scaled(x, x),                     [(3,)],       note="one operand twice"),
    Case("custom_jvp_call", lambda x: applied(lax.sin, x, 3),           [(3,)],       note="nondiff_argnums"),
    Case("custom_jvp_call", pair,                                       [(3,), (3,)], note="two results"),
    Case("custom_jvp_call", lambda x, y: pair(x, y)[1],                 [(3,), (3,)], note="a result unused"),
    Case("custom_jvp_call", looped,                                     [(3,)],       note="a loop and a jit in the rule"),
    Case("custom_jvp_call", tracked,                                    [(3,), (3,)], note="symbolic zeros"),
    Case("custom_jvp_call", lambda x: tracked(x, jnp.ones_like(x)),     [(3,)],       note="symbolic zeros, one of them"),
    Case("custom_jvp_call", jax.jit(lambda x: softsign(x) * x),         [(3,)],       note="within a jit"),
    Case("custom_jvp_call", lambda x: jnp.logaddexp(x, 2 * x), [(3,)], note="logaddexp"),
    Case("custom_jvp_call", lambda x: jax.vmap(softsign)(x),            [(3,)],       note="within a vmap"),
    # -- custom_vjp ------------------------------------------------------------------
    Case("custom_vjp_call", clipped,                                    [(3,)],       note="its own idea of a gradient", has_slope=False),
    Case("custom_vjp_call", kept,                                       [(3,), (3,)], note="residuals in a dictionary"),
    Case("custom_vjp_call", lambda x: kept(x, jnp.full_like(x, 2)),                     [(3,)],       note="a constant operand"),
    Case("custom_vjp_call", lambda x: kept(x, x),                       [(3,)],       note="one operand twice"),
    Case("custom_vjp_call", half_zero,                                  [(3,), (3,)], note="None for a cotangent", has_slope=False),
    Case("custom_vjp_call", lambda x: mapped(lax.sin, x, 3),            [(3,)],       note="nondiff_argnums"),
    Case("custom_vjp_call", picked,                                     [(3, 2), ()], (REAL, integers(3)), "an integer operand"),
    Case("custom_vjp_call", lambda x, y: tree({"x": x, "y": y}),        [(3,), (3,)], note="pytrees"),
    Case("custom_vjp_call", lambda x, y: tree({"x": x, "y": y})["product"], [(3,), (3,)], note="a result unused"),
    Case("custom_vjp_call", aware,                                      [(3,), (3,)], note="symbolic zeros"),
    Case("custom_vjp_call", lambda y: aware(jnp.ones_like(y), y),       [(3,)],       note="symbolic zeros, one of them"),
    Case("custom_vjp_call", jax.jit(lambda x, y: kept(x, y) * x),       [(3,), (3,)], note="within a jit"),
    Case("custom_vjp_call", lambda x, y: jax.vmap(kept)(x, y),          [(3,), (3,)], note="within a vmap"),
    # -- functions of jax.numpy and jax.nn that networks are made of -----------------
    Case("reduce_max",      jax.nn.softmax,                             [(2, 3)],     note="softmax"),
    Case("reduce_max",      jax.nn.logsumexp,                           [(2, 3)],     note="logsumexp"),
    Case("reduce_sum",      jax.nn.log_softmax,                         [(2, 3)],     note="log_softmax"),
    Case("sqrt",            jnp.linalg.norm,                            [(3,)],       POSITIVE, "norm"),
    Case("div",             lambda x: jax.nn.standardize(x),            [(2, 3)],     note="standardize"),
]
# fmt: on
