# ruff: noqa: E501 (rows of a table stay rows)
"""The public functions against JAX's: the same call is made on both, and the results compared."""

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from tests.api.functions import (
    PARAMS,
    W,
    X,
    assert_same,
    branching,
    curve,
    layers,
    pair,
    scalar,
    with_aux,
)

Module = ModuleType  # jax or backprop_jax
WHOLE = np.arange(3, dtype=np.int32)


@jax.custom_jvp
def cube(x: Any) -> Any:
    return x**3


cube.defjvps(lambda t, z, x: 3 * x**2 * t)


def newton(m: Module, a: Any) -> Any:
    """The square root of a, by three steps that use a gradient themselves."""
    x = a
    for _ in range(3):
        residual = lambda y: y * y - a  # noqa: E731
        x = x - residual(x) / m.grad(residual)(x)
    return x


def descent(m: Module, w: Any) -> Any:
    """A loss after a loop of gradient steps, to be differentiated through."""

    def step(w: Any, _: None) -> tuple:
        return w - 0.1 * m.grad(curve)(w), None

    return curve(lax.scan(step, w, length=3)[0])


def without_jit(call: Callable[[], Any]) -> Any:
    with jax.disable_jit():
        return call()


def checking_leaks(call: Callable[[], Any]) -> Any:
    with jax.checking_leaks():
        return call()


def at_compile_time(call: Callable[[], Any]) -> Any:
    with jax.ensure_compile_time_eval():
        return call()


# fmt: off
CALLS: dict[str, Callable[[Any], Any]] = {
    # -- grad --------------------------------------------------------------------------
    "grad":                            lambda m: m.grad(curve)(X),
    "grad of a scalar":                lambda m: m.grad(scalar)(jnp.float32(2)),
    "grad of a Python number":         lambda m: m.grad(scalar)(2.0),
    "grad of a NumPy scalar":          lambda m: m.grad(scalar)(np.float32(2)),
    "grad of a double, in float32":    lambda m: m.grad(curve)(X.astype("float64")),
    "grad in float16":                 lambda m: m.grad(curve)(X.astype("float16")),
    "grad in bfloat16":                lambda m: m.grad(curve)(jnp.asarray(X, "bfloat16")),
    "grad of a pytree":                lambda m: m.grad(layers)(PARAMS),
    "grad of an empty pytree":         lambda m: m.grad(lambda p: jnp.float32(1))({"a": (), "b": None}),
    "grad of what is unused":          lambda m: m.grad(lambda p: p["a"] ** 2)({"a": 2.0, "b": X}),
    "grad of a constant":              lambda m: m.grad(lambda x: 1.0)(X),
    "grad of the identity":            lambda m: m.grad(lambda x: x)(jnp.float32(2)),
    "argnums":                         lambda m: m.grad(pair, 1)(X, X),
    "argnums, a tuple":                lambda m: m.grad(pair, (1, 0))(X, X),
    "argnums, a list":                 lambda m: m.grad(pair, argnums=[0])(X, X),
    "argnums, negative":               lambda m: m.grad(pair, -1)(X, X),
    "argnums, a NumPy integer":        lambda m: m.grad(pair, np.int64(1))(X, X),
    "keyword arguments":               lambda m: m.grad(lambda x, *, k, n: jnp.sum(x**n) * k)(X, k=3.0, n=2),
    "arguments by name":               lambda m: m.grad(lambda x, y: jnp.sum(x * y))(X, y=X),
    "a string passes through":         lambda m: m.grad(lambda x, how: getattr(jnp, how)(x).sum())(X, "sin"),
    "has_aux":                         lambda m: m.grad(with_aux, has_aux=True)(X),
    "has_aux, nothing depends on x":   lambda m: m.grad(lambda x: (curve(x), "text"[0] == "t"), has_aux=True)(X),
    "holomorphic":                     lambda m: m.grad(lambda z: z**3 * jnp.sin(z), holomorphic=True)(1.0 + 2.0j),
    "complex argument":                lambda m: m.grad(lambda z: jnp.sum(jnp.abs(z) ** 2))(X + 1j * X[::-1]),
    "allow_int":                       lambda m: m.grad(lambda x, i: jnp.sum(x * i), (0, 1), allow_int=True)(X, np.arange(3)),
    "allow_int, a pytree":             lambda m: m.grad(lambda p: p["x"] ** 2, allow_int=True)({"x": 2.0, "n": 3, "b": True}),
    "integer arguments elsewhere":     lambda m: m.grad(lambda x, i: x[i] ** 2)(X, 1),
    "a key elsewhere":                 lambda m: m.grad(lambda x, key: jnp.sum(x * jax.random.normal(key, (3,))))(X, jax.random.key(0)),
    "a key, allow_int":                lambda m: m.grad(lambda x, key: jnp.sum(x * jax.random.normal(key, (3,))), (0, 1), allow_int=True)(X, jax.random.key(0)),
    "dropout":                         lambda m: m.grad(lambda x, key: jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, (3,)), x, 0) ** 2))(X, jax.random.key(1)),
    "a partial":                       lambda m: m.grad(functools.partial(pair, y=X))(X),
    "a compiled function":             lambda m: m.grad(jax.jit(curve))(X),
    "if and while, one way":           lambda m: m.grad(branching)(0.7),
    "if and while, the other":         lambda m: m.grad(branching)(3.0),
    "iteration over an array":         lambda m: m.grad(lambda x: sum(v**2 for v in x))(X),
    "operators and methods":           lambda m: m.grad(lambda x: (-x[::-1] @ x + (x.T * 2).sum() - x.mean()) / x.max())(X),
    # -- value_and_grad ----------------------------------------------------------------
    "value_and_grad":                  lambda m: m.value_and_grad(curve)(X),
    "value_and_grad, has_aux":         lambda m: m.value_and_grad(with_aux, has_aux=True)(X),
    "value_and_grad, argnums":         lambda m: m.value_and_grad(pair, (0, 1))(X, X),
    "value_and_grad, holomorphic":     lambda m: m.value_and_grad(jnp.exp, holomorphic=True)(1j),
    "value_and_grad of a pytree":      lambda m: m.value_and_grad(layers)(PARAMS),
    # -- vjp ---------------------------------------------------------------------------
    "vjp":                             lambda m: m.vjp(jnp.sin, X)[0],
    "vjp, pulled back":                lambda m: m.vjp(lambda x: jnp.sin(x) * x, X)[1](X),
    "vjp of several":                  lambda m: m.vjp(lambda p, y: {"a": p[0] * y, "b": p[1] + y}, (X, X), X)[1]({"a": X, "b": X}),
    "vjp of a result not a number":    lambda m: m.vjp(lambda x: (x, None, ()), X)[1]((X, None, ())),
    "vjp, has_aux":                    lambda m: (lambda z, pull, aux: (z, pull(z), aux))(*m.vjp(lambda x: (x * x, {"x": x}), X, has_aux=True)),
    "an integer for an integer's":      lambda m: m.vjp(lambda x, i: (x[i], i + 1), X, 1)[1]((np.float32(1), 7)),
    "vjp with integers":               lambda m: m.vjp(lambda x, i: (x[i], i + 1), X, 1)[1]((np.float32(1), np.zeros((), jax.dtypes.float0))),
    "vjp, twice":                      lambda m: (lambda pull: (pull(X), pull(2 * X)))(m.vjp(lambda x: jnp.sin(x) * x, X)[1]),
    "vjp of no operands":              lambda m: m.vjp(lambda: X)[1](X),
    "vjp of a constant":               lambda m: m.vjp(lambda x: W, X)[1](W),
    "vjp, pulled back under vmap":     lambda m: jax.vmap(m.vjp(lambda x: W @ x, X)[1])(np.eye(2, dtype=np.float32)),
    "vjp, pulled back under jit":      lambda m: jax.jit(m.vjp(lambda x: jnp.sin(x) * x, X)[1])(X),
    "vjp, made under jit":             lambda m: jax.jit(lambda x: m.vjp(jnp.sin, x)[1](x))(X),
    # -- fwd_and_bwd -------------------------------------------------------------------
    "fwd_and_bwd":                     lambda m: (lambda go, back: (lambda z, kept: (z, back(kept, z)))(*go(X, X)))(*m.fwd_and_bwd(lambda x, y: jnp.sin(x) * y, 1)),
    "fwd_and_bwd, argnums":            lambda m: (lambda go, back: back(go(X, W)[1], {"z": W}))(*m.fwd_and_bwd(lambda x, w: {"z": w * x}, (1, 0))),
    "fwd_and_bwd, has_aux":            lambda m: (lambda go, back: (lambda z, kept, aux: (z, aux, back(kept, 2.0)))(*go(X)))(*m.fwd_and_bwd(with_aux, 0, has_aux=True, jitted=False)),
    "fwd_and_bwd, second":             lambda m: m.grad(lambda x: (lambda go, back: curve(back(go(x)[1], x)))(*m.fwd_and_bwd(lambda x: jnp.sin(x) * x, 0)))(X),
    # -- jacrev, hessian ---------------------------------------------------------------
    "jacrev":                          lambda m: m.jacrev(lambda x: W @ jnp.sin(x))(X),
    "jacrev of pytrees":               lambda m: m.jacrev(lambda p: {"y": W @ p[0] * p[1], "z": p[1]})((X, jnp.float32(2.0))),
    "jacrev, argnums":                 lambda m: m.jacrev(lambda x, y: jnp.outer(x, y), (0, 1))(X, X[:2]),
    "jacrev, argnums, negative":       lambda m: m.jacrev(lambda x, y: jnp.outer(x, y), -1)(X, X[:2]),
    "jacrev, has_aux":                 lambda m: m.jacrev(lambda x: (W @ x, {"x": x}), has_aux=True)(X),
    "jacrev, holomorphic":             lambda m: m.jacrev(lambda z: z**2, holomorphic=True)(X + 1j),
    "jacrev of a scalar":              lambda m: m.jacrev(curve)(X),
    "jacrev of a matrix":              lambda m: m.jacrev(lambda w: w.T * 2)(W),
    "hessian":                         lambda m: m.hessian(curve)(X),
    "hessian of pytrees":              lambda m: m.hessian(lambda p: jnp.sum(p["a"] ** 2) * p["b"])({"a": X, "b": 2.0}),
    "hessian, argnums":                lambda m: m.hessian(pair, (0, 1))(X, X),
    "hessian, has_aux":                lambda m: m.hessian(lambda x: (curve(x), {"x": 2 * x}), has_aux=True)(X),
    "hessian of a vector":             lambda m: m.hessian(lambda x: W @ x**3)(X),
    "hessian, holomorphic":            lambda m: m.hessian(lambda z: jnp.sum(z**3), holomorphic=True)(X + 1j),
    # -- jvp, jacfwd, linear_transpose, checkpoint -------------------------------------
    "jvp":                             lambda m: m.jvp(lambda x: jnp.sin(x) * x, (X,), (X[::-1],)),
    "jvp of a Python number":          lambda m: m.jvp(scalar, (2.0,), (3.0,)),
    "jvp of pytrees, as lists":        lambda m: m.jvp(layers, [PARAMS, X], [PARAMS, X]),
    "jvp, has_aux":                    lambda m: m.jvp(with_aux, (X,), (X,), has_aux=True),
    "jvp with integers":               lambda m: m.jvp(lambda x, i: (x[i], i + 1), (X, 1), (X, np.zeros((), jax.dtypes.float0))),
    "jvp of a constant":               lambda m: m.jvp(lambda x: {"a": W, "b": x}, (X,), (X,)),
    "jvp of a complex function":       lambda m: m.jvp(lambda z: (jnp.abs(z), z.real * jnp.exp(z)), (X + 1j,), (X * (1 - 2j),)),
    "jvp, compiled":                   lambda m: jax.jit(lambda x: m.jvp(curve, (x,), (x,)))(X),
    "jvp under vmap":                  lambda m: jax.vmap(lambda v: m.jvp(curve, (X,), (v,))[1])(W),
    "jvp of jvp":                      lambda m: m.jvp(lambda x: m.jvp(scalar, (x,), (1.0,))[1], (1.5,), (1.0,)),
    "jvp of grad":                     lambda m: m.jvp(m.grad(curve), (X,), (X,)),
    "grad of jvp":                     lambda m: m.grad(lambda x: m.jvp(curve, (x,), (X,))[1])(X),
    "jvp through a user's rule":       lambda m: m.jvp(cube, (X,), (X[::-1],)),
    "jvp through a loop":              lambda m: m.jvp(lambda x: lax.scan(lambda c, y: (jnp.sin(c) * y, c), x[0], x), (X,), (X,)),
    "jvp through a branch":            lambda m: m.jvp(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), (X,), (X,)),
    "jacfwd":                          lambda m: m.jacfwd(lambda x: W @ jnp.sin(x))(X),
    "jacfwd of pytrees":               lambda m: m.jacfwd(lambda p: {"y": W @ p[0] * p[1], "z": p[1]})((X, jnp.float32(2.0))),
    "jacfwd, argnums":                 lambda m: m.jacfwd(lambda x, y: jnp.outer(x, y), (0, 1))(X, X[:2]),
    "jacfwd, has_aux":                 lambda m: m.jacfwd(lambda x: (W @ x, {"x": x}), has_aux=True)(X),
    "jacfwd, holomorphic":             lambda m: m.jacfwd(lambda z: z**2, holomorphic=True)(X + 1j),
    "jacfwd of a matrix":              lambda m: m.jacfwd(lambda w: w.T * 2)(W),
    "jacfwd of jacrev":                lambda m: m.jacfwd(m.jacrev(curve))(X),
    "linear_transpose":                lambda m: m.linear_transpose(lambda x, y: 3 * x - y[0], 1.0, X)(2.0),
    "linear_transpose, of shapes":     lambda m: m.linear_transpose(lambda p: W @ p["x"], {"x": jax.ShapeDtypeStruct((3,), "float32")})(X[:2]),
    "linear_transpose, a loop":        lambda m: m.linear_transpose(lambda x: lax.scan(lambda c, w: (c * 2, c @ w), x, W)[1], X)(X[:2]),
    "linear_transpose, closed over":   lambda m: jax.jit(lambda w: m.linear_transpose(lambda x: w @ x, X)(X[:2]))(W),
    "linear_transpose, complex":       lambda m: m.linear_transpose(lambda z: 1j * z, X + 1j)(X - 2j),
    "linear_transpose, their loop":    lambda m: m.linear_transpose(lambda i: lax.scan(lambda c, a: (3 * c + 2 * a, c - a), i[0], i, reverse=True), WHOLE)((WHOLE[1], WHOLE)),
    "linear_transpose, no trip":       lambda m: m.linear_transpose(lambda i: lax.scan(lambda c, a: (c + a, c), i[0], i[:0]), WHOLE)((WHOLE[1], WHOLE[:0])),
    "linear_transpose, integers":      lambda m: m.linear_transpose(lambda i: (3 * i[::2] + i.sum(), jnp.where(WHOLE > 1, i, 0), i[WHOLE]), WHOLE)((WHOLE[1:], WHOLE, WHOLE)),
    "checkpoint":                      lambda m: m.grad(m.checkpoint(curve))(X),
    "checkpoint, policy":              lambda m: m.grad(m.checkpoint(layers, policy=jax.checkpoint_policies.dots_saveable))(PARAMS),
    "checkpoint, static":              lambda m: m.grad(m.checkpoint(lambda x, n: curve(x) ** n, static_argnums=1))(X, 2),
    "checkpoint, static by name":      lambda m: m.grad(m.checkpoint(lambda x, n: curve(x) ** n, static_argnames="n"))(X, n=2),
    "reduce_axes, none":               lambda m: (m.grad(curve, 0, False, False, False, ())(X), m.vjp(curve, X, reduce_axes=())[1](1.0)),
    # -- within and around jit and vmap ------------------------------------------------
    "jit of grad":                     lambda m: jax.jit(m.grad(layers))({k: v for k, v in PARAMS.items()}),
    "jit of value_and_grad":           lambda m: jax.jit(m.value_and_grad(with_aux, has_aux=True))(X),
    "jit, static arguments":           lambda m: jax.jit(m.grad(lambda x, n: jnp.sum(x**n)), static_argnums=1)(X, 3),
    "vmap of grad":                    lambda m: jax.vmap(m.grad(scalar))(X),
    "vmap of grad, in_axes":           lambda m: jax.vmap(m.grad(pair, (0, 1)), in_axes=(1, None))(W, X[:2]),
    "vmap of jit of grad":             lambda m: jax.vmap(jax.jit(m.grad(scalar)))(X),
    "grad of vmap":                    lambda m: m.grad(lambda x: jnp.sum(jax.vmap(scalar)(x)))(X),
    "vmap, axis_name":                 lambda m: jax.vmap(lambda x: m.grad(scalar)(x) * lax.axis_index("i"), axis_name="i")(X),
    "jit of hessian":                  lambda m: jax.jit(m.hessian(curve))(X),
    "jit of vmap of hessian":          lambda m: jax.jit(jax.vmap(m.hessian(curve)))(W),
    "grad within scan":                lambda m: lax.scan(lambda x, _: (x - 0.1 * m.grad(curve)(x), x), X, length=3),
    "grad within cond":                lambda m: lax.cond(X[0] > 0, m.grad(curve), jnp.cos, X),
    "static through partial":          lambda m: functools.partial(jax.jit, static_argnames="n")(m.grad(lambda x, n: jnp.sum(x**n)))(X, n=3),
    "without jit":                     lambda m: without_jit(lambda: m.grad(layers)(PARAMS)),
    "without jit, control flow":       lambda m: without_jit(lambda: m.grad(lambda x: lax.cond(x[0] > 0, curve, jnp.sum, lax.scan(lambda c, y: (c * y, c), x[0], x)[1]))(X)),
    "without jit, second":             lambda m: without_jit(lambda: m.hessian(jax.jit(curve))(X)),
    "checking leaks":                  lambda m: checking_leaks(lambda: jax.jit(m.hessian(curve))(X)),
    "evaluated while compiling":       lambda m: jax.jit(lambda x: x * at_compile_time(lambda: m.grad(curve)(X)))(X),
    "exported":                        lambda m: jax.export.export(jax.jit(m.grad(curve)))(X).call(X),
    "eval_shape of grad":              lambda m: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(m.grad(layers), PARAMS)),
    # -- orders ------------------------------------------------------------------------
    "second":                          lambda m: m.grad(m.grad(scalar))(1.5),
    "third":                           lambda m: m.grad(m.grad(m.grad(scalar)))(1.5),
    "fourth, compiled":                lambda m: jax.jit(m.grad(m.grad(m.grad(m.grad(scalar)))))(1.5),
    "vmap of third":                   lambda m: jax.vmap(m.grad(m.grad(m.grad(scalar))))(X),
    "second, through jit":             lambda m: m.grad(jax.jit(m.grad(jax.jit(scalar))))(1.5),
    "second, through a user's rule":   lambda m: m.grad(m.grad(cube))(1.5),
    "third, through a user's rule":    lambda m: m.grad(m.grad(m.grad(cube)))(1.5),
    "second, with control flow":       lambda m: m.grad(m.grad(branching))(0.7),
    "aux of a second":                 lambda m: m.grad(lambda x: m.grad(lambda y: (scalar(y), y * x), has_aux=True)(x)[1])(1.5),
    "through a loop of gradients":     lambda m: m.grad(functools.partial(descent, m))(X),
    "through Newton's steps":          lambda m: m.value_and_grad(functools.partial(newton, m))(2.0),
    # -- perturbation confusion --------------------------------------------------------
    "x + y within x":                  lambda m: m.grad(lambda x: x * m.grad(lambda y: x + y)(1.0))(1.0),
    "x y within x":                    lambda m: m.grad(lambda x: x * m.grad(lambda y: x * y)(2.0))(3.0),
    "the same name":                   lambda m: m.grad(lambda x: m.grad(lambda x: x**2)(x) * x)(3.0),
    "x within y within x":             lambda m: m.grad(lambda x: m.grad(lambda y: y * x**2)(m.grad(lambda z: z * x)(x)) * x)(3.0),
    "a constant of the outer one":     lambda m: m.grad(lambda x: m.grad(lambda y: jnp.sin(x))(1.0) + x)(2.0),
    "a closure":                       lambda m: m.grad(lambda x: (lambda f: f(2.0) * f(x))(lambda y: x * y))(3.0),
    "a pullback called further out":   lambda m: m.grad(lambda x: m.vjp(lambda y: x * y**2, x)[1](x)[0])(3.0),
    "by an index":                     lambda m: m.jacrev(lambda x: m.grad(lambda y: jnp.sum(y * x[0] * y))(x))(X),
}
# fmt: on


@pytest.mark.parametrize("what", CALLS)
def test_same_as_jax(what):
    assert_same(CALLS[what](bp), CALLS[what](jax))


@pytest.mark.parametrize(
    "what",
    [
        "grad of a Python number",
        "grad of a pytree",
        "grad of what is unused",
        "holomorphic",
        "allow_int, a pytree",
        "value_and_grad, holomorphic",
        "jit of grad",
        "second",
        "third, through a user's rule",
        "if and while, one way",
        "x y within x",
        "vmap of grad",
        "jvp of a Python number",
        "jvp of jvp",
        "linear_transpose",
    ],
)
def test_weak_type_is_that_of_jax(what):
    """A gradient of a Python number gives way to the dtype it meets, as the number itself does."""
    pairs = zip(jax.tree.leaves(CALLS[what](bp)), jax.tree.leaves(CALLS[what](jax)), strict=True)
    for ours, theirs in pairs:
        if isinstance(theirs, jax.Array):
            assert ours.aval.weak_type == theirs.aval.weak_type


def test_jacobian_of_integers_is_of_dtype_float0():
    """As the gradient is. JAX's Jacobian is of the integers' own dtype there."""
    rows = bp.jacrev(lambda x: 2.0 * x, allow_int=True)(np.arange(3))
    assert (rows.shape, rows.dtype) == ((3, 3), jax.dtypes.float0)


def test_no_arguments_to_differentiate():
    """JAX raises a ValueError about an empty sequence."""
    assert bp.grad(pair, ())(X, X) == ()


OF_JAX = (
    "grad value_and_grad vjp fwd_and_bwd jvp jacrev jacfwd hessian linear_transpose checkpoint"
).split()


def test_every_name_is_public():
    assert all(getattr(bp, name).__doc__ for name in [*OF_JAX, "jacobian", "hvp", "remat"])
    assert bp.jacobian is bp.jacrev
    assert all(hasattr(bp, name) for name in bp.__all__)


def test_may_be_imported_whatever_is_set():
    """A mesh that a library has set, or functions that are not to be compiled."""
    code = """
import jax
jax.set_mesh(jax.make_mesh((1,), ("theirs",)))
import backprop_jax as bp
assert bp.grad(lambda x: x**3)(2.0) == 12 and jax.sharding.get_abstract_mesh().axis_names == ("theirs",)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"JAX_DISABLE_JIT": "1"}
    )


@pytest.mark.parametrize("name", OF_JAX)
def test_takes_every_argument_of_jax(name):
    def places(m):
        listed = inspect.signature(getattr(m, name)).parameters.values()
        names = [p.name for p in listed if p.name != "concrete"]  # which jax 0.10 refuses, too
        return names, [p.name for p in listed if p.kind is p.POSITIONAL_OR_KEYWORD]

    (named, placed), (of_jax, placed_there) = places(bp), places(jax)
    assert not set(of_jax) - set(named)
    assert placed[: len(placed_there)] == placed_there


# -- inside and around JAX's own transformations ---------------------------------------
# fmt: off
MIXED: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "jax.grad of bp.grad":       (lambda: jax.grad(bp.grad(scalar))(1.5),     lambda: jax.grad(jax.grad(scalar))(1.5)),
    "bp.grad of jax.grad":       (lambda: bp.grad(jax.grad(scalar))(1.5),     lambda: jax.grad(jax.grad(scalar))(1.5)),
    "bp, jax, bp":               (lambda: bp.grad(jax.grad(bp.grad(scalar)))(1.5), lambda: jax.grad(jax.grad(jax.grad(scalar)))(1.5)),
    "jax, bp, jax":              (lambda: jax.grad(bp.grad(jax.grad(scalar)))(1.5), lambda: jax.grad(jax.grad(jax.grad(scalar)))(1.5)),
    "jax.jvp of bp.grad":        (lambda: jax.jvp(bp.grad(curve), (X,), (X,)), lambda: jax.jvp(jax.grad(curve), (X,), (X,))),
    "bp.grad of jax.jvp":        (lambda: bp.grad(lambda x: jax.jvp(curve, (x,), (X,))[1])(X), lambda: jax.grad(lambda x: jax.jvp(curve, (x,), (X,))[1])(X)),
    "jax.linearize of bp.grad":  (lambda: jax.linearize(bp.grad(curve), X)[1](X), lambda: jax.jvp(jax.grad(curve), (X,), (X,))[1]),
    "jax.vjp of bp.grad":        (lambda: jax.vjp(bp.grad(curve), X)[1](X),   lambda: jax.vjp(jax.grad(curve), X)[1](X)),
    "jax.jacfwd of bp.grad":     (lambda: jax.jacfwd(bp.grad(curve))(X),      lambda: jax.hessian(curve)(X)),
    "bp.jacrev of jax.jacfwd":   (lambda: bp.jacrev(jax.jacfwd(curve))(X),    lambda: jax.hessian(curve)(X)),
    "bp.hessian":                (lambda: bp.hessian(curve)(X),               lambda: jax.jacfwd(jax.jacrev(curve))(X)),
    "jax.grad closes over bp":   (lambda: jax.grad(lambda w: jnp.sum(bp.grad(lambda x: jnp.sum(jnp.sin(w @ x)))(X)))(W), lambda: jax.grad(lambda w: jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(w @ x)))(X)))(W)),
    "bp.grad closes over jax":   (lambda: bp.grad(lambda w: jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(w @ x)))(X)))(W), lambda: jax.grad(lambda w: jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(w @ x)))(X)))(W)),
    "jit closes over a tracer":  (lambda: jax.jit(lambda w: bp.grad(lambda x: jnp.sum(jnp.sin(w @ x)))(X))(W), lambda: jax.grad(lambda x: jnp.sum(jnp.sin(W @ x)))(X)),
    "vmap closes over a tracer": (lambda: jax.vmap(lambda w: bp.grad(lambda x: jnp.sin(w @ x))(X))(W), lambda: jax.vmap(lambda w: jax.grad(lambda x: jnp.sin(w @ x))(X))(W)),
    "vmap of jax of bp":         (lambda: jax.vmap(jax.grad(bp.grad(scalar)))(X), lambda: jax.vmap(jax.grad(jax.grad(scalar)))(X)),
    "jit of jax of jit of bp":   (lambda: jax.jit(jax.grad(jax.jit(bp.grad(scalar))))(1.5), lambda: jax.grad(jax.grad(scalar))(1.5)),
    "a pullback of ours in jax": (lambda: jax.grad(lambda x: bp.vjp(lambda y: y**2 * x, x)[1](x)[0])(3.0), lambda: jax.grad(lambda x: jax.vjp(lambda y: y**2 * x, x)[1](x)[0])(3.0)),
    "through a loop, by jax":    (lambda: jax.grad(functools.partial(descent, bp))(X), lambda: jax.grad(functools.partial(descent, jax))(X)),
    "through a loop of jax's":   (lambda: bp.grad(functools.partial(descent, jax))(X), lambda: jax.grad(functools.partial(descent, jax))(X)),
}
# fmt: on


@pytest.mark.parametrize("what", MIXED)
def test_inside_and_around_jax(what):
    ours, theirs = MIXED[what]
    assert_same(ours(), theirs())
