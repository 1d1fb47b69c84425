# ruff: noqa: E501 (rows of a table stay rows)
"""The public functions against JAX's: the same call is made on both, results and errors compared."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp

Module = ModuleType  # jax or backprop_jax


class Layer(NamedTuple):
    """A pytree of parameters, with a place left empty."""

    w: Any
    b: Any = None


X = np.array([0.5, -1.5, 2.0], np.float32)
W = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]], np.float32)


def curve(x: Any) -> Any:
    return jnp.sum(jnp.sin(x) * x**2)


def pair(x: Any, y: Any) -> Any:
    return jnp.sum(x**2 * jnp.exp(y))


def with_aux(x: Any) -> tuple:
    return curve(x), {"twice": 2 * x, "name": jnp.shape(x)[0], "none": None}


def layers(p: Any, x: Any = X) -> Any:
    h = jnp.tanh(p["first"].w @ x + p["first"].b)
    return jnp.sum(h * p["rest"][0]) + p["rest"][1]


PARAMS = {"first": Layer(W, np.float32(0.1)), "rest": [W[:, 0], 2.0], "none": None, "empty": ()}


def branching(x: Any) -> Any:
    """Python control flow on values."""
    if x > 1:
        return x**2
    while x < 1:
        x = x * 2.5
    return {True: jnp.sin, False: jnp.cos}[bool(x > 2)](x) + float(x > 0)


def scalar(x: Any) -> Any:
    return jnp.sin(x) * x**3


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
    "vjp with integers":               lambda m: m.vjp(lambda x, i: (x[i], i + 1), X, 1)[1]((np.float32(1), np.zeros((), jax.dtypes.float0))),
    "vjp, twice":                      lambda m: (lambda pull: (pull(X), pull(2 * X)))(m.vjp(lambda x: jnp.sin(x) * x, X)[1]),
    "vjp of no operands":              lambda m: m.vjp(lambda: X)[1](X),
    "vjp of a constant":               lambda m: m.vjp(lambda x: W, X)[1](W),
    "vjp, pulled back under vmap":     lambda m: jax.vmap(m.vjp(lambda x: W @ x, X)[1])(np.eye(2, dtype=np.float32)),
    "vjp, pulled back under jit":      lambda m: jax.jit(m.vjp(lambda x: jnp.sin(x) * x, X)[1])(X),
    "vjp, made under jit":             lambda m: jax.jit(lambda x: m.vjp(jnp.sin, x)[1](x))(X),
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


def leaves(tree: Any) -> list:
    """Returns the leaves as NumPy arrays."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(ours: Any, theirs: Any, rtol: float = 2e-6) -> None:
    """Raises AssertionError unless two pytrees agree in structure, shapes, dtypes and values."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype == jax.dtypes.float0:
            continue
        if a.dtype in (jnp.bfloat16, np.float16):
            a, b, rtol = a.astype("float32"), b.astype("float32"), 2e-2
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1, np.max(abs(b), initial=0)))


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


def test_every_name_is_public():
    names = ["grad", "value_and_grad", "vjp", "jacrev", "jacobian", "hessian", "hvp"]
    assert all(getattr(bp, name).__doc__ for name in names)
    assert bp.jacobian is bp.jacrev


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


# -- argnames --------------------------------------------------------------------------
def named(x: Any, *, scale: Any, shift: Any = 0.0) -> Any:
    return jnp.sum(jnp.sin(x) * scale + shift * x)


def test_argnames_differentiates_a_keyword_argument():
    expected = jax.grad(lambda s: named(X, scale=s))(2.0)
    assert_same(bp.grad(named, argnames="scale")(X, scale=2.0), expected)
    assert_same(bp.grad(named, argnames=["scale"])(X, scale=2.0), {"scale": expected})


def test_argnames_beside_argnums():
    both = bp.grad(named, argnums=0, argnames=("scale", "shift"))(X, scale=2.0, shift=3.0)
    expected = jax.grad(lambda x, p: named(x, **p), (0, 1))(X, {"scale": 2.0, "shift": 3.0})
    assert_same(both, expected)
    value, gradient = bp.value_and_grad(named, (0,), argnames="scale")(X, scale=2.0)
    assert_same(value, named(X, scale=2.0))
    assert_same(gradient, ((jax.grad(named)(X, scale=2.0),), jnp.sum(jnp.sin(X))))


# -- hvp -------------------------------------------------------------------------------
def test_hvp_is_the_hessian_times_a_vector():
    expected = jax.jvp(jax.grad(curve), (X,), (X[::-1],))[1]
    assert_same(bp.hvp(curve, (X,), (X[::-1],)), expected)
    assert_same(jax.jit(lambda x, v: bp.hvp(curve, (x,), (v,)))(X, X[::-1]), expected)


def test_hvp_of_pytrees_and_several_arguments():
    primals, tangents = ({"a": X}, X), ({"a": X[::-1]}, 2 * X)
    fun = lambda p, y: pair(p["a"], y)  # noqa: E731
    _, expected = jax.jvp(jax.grad(fun, (0, 1)), primals, tangents)
    assert_same(bp.hvp(fun, primals, tangents, argnums=(0, 1)), expected)
    assert_same(bp.hvp(fun, primals, tangents), expected[0])


# -- what a derivative is besides its value ----------------------------------------------
def test_a_derivative_is_named_after_its_function():
    assert bp.grad(curve).__name__ == "curve"
    assert bp.grad(curve).__doc__ == "Gradient of curve; takes the same arguments."


def test_does_not_change_its_arguments():
    params = {"w": W.copy(), "b": [X.copy()]}
    bp.grad(lambda p: jnp.sum(p["w"] @ p["b"][0]))(params)
    assert_same(params, {"w": W, "b": [X]})


def test_runs_the_function_once():
    """A function with side effects in Python has them once, as under `jax.grad`."""
    calls = []
    bp.grad(lambda x: (calls.append(1), x**2)[1])(2.0)
    assert len(calls) == 1


def test_a_value_that_escapes_is_named_as_a_leak():
    escaped = []
    bp.grad(lambda x: (escaped.append(x), x**2)[1])(2.0)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        jax.jit(lambda y: y + escaped[0])(1.0)


def test_donates_and_shards_as_jit_does():
    step = jax.jit(lambda w: w - 0.1 * bp.grad(curve)(w), donate_argnums=0)
    w = jnp.array(X)
    assert_same(step(w), X - 0.1 * jax.grad(curve)(X))
    assert w.is_deleted()


def test_in_double_precision(x64):
    x = X.astype("float64")
    for m in (bp.grad(curve), jax.jit(bp.grad(curve))):
        assert_same(m(x), jax.grad(curve)(x), rtol=1e-13)


# -- errors ----------------------------------------------------------------------------
class Failure(NamedTuple):
    """A call that fails.

    Attributes:
      call: with either module.
      error: its class, for both.
      text: ours, in full.
      jax_differs: why JAX does not raise the same class, if so.
    """

    call: Callable[[Any], Any]
    error: type
    text: str
    jax_differs: str = ""


REAL_INPUTS = (
    " requires real- or complex-valued inputs (input dtype that is a sub-dtype of np.inexact), but "
    "got {}. If you want to use Boolean- or integer-valued inputs, use vjp or set allow_int to True."
)
REAL_OUTPUTS = " requires real-valued outputs (output dtype that is a sub-dtype of np.floating), but got {}. For "
USE_VJP = "differentiation of functions with integer outputs, use vjp directly."
USE_HOLOMORPHIC = (
    "holomorphic differentiation, pass holomorphic=True. For differentiation of non-holomorphic "
    "functions involving complex outputs, use vjp directly."
)
NO_SCALAR = "Gradient only defined for scalar-output functions. Output "
POSITIONS = (
    "differentiating with respect to argnums={} requires at least {} positional arguments to be "
    "passed by the caller, but got only 1 positional arguments."
)
BAD_COTANGENT = (
    "unexpected JAX type (e.g. shape/dtype) for argument to VJP function: got {}, but expected {} "
    "because the corresponding output of the differentiated function had JAX type {}"
)


def generator(x: Any) -> Any:
    yield x


def identity(x: Any) -> Any:
    return x


# fmt: off
FAILURES: dict[str, Failure] = {
    "a vector":              Failure(lambda m: m.grad(identity)(X), TypeError, NO_SCALAR + "had shape: (3,)."),
    "None":                  Failure(lambda m: m.grad(lambda x: None)(X), TypeError, NO_SCALAR + "was None."),
    "a tuple":               Failure(lambda m: m.grad(lambda x: (1, 2))(X), TypeError, NO_SCALAR + "was (1, 2)."),
    "a complex result":      Failure(lambda m: m.grad(lambda x: x * 1j)(1.0), TypeError, "grad" + REAL_OUTPUTS.format("complex64") + USE_HOLOMORPHIC),
    "an integer result":     Failure(lambda m: m.grad(lambda x: 1)(1.0), TypeError, "grad" + REAL_OUTPUTS.format("int32") + USE_VJP),
    "an integer argument":   Failure(lambda m: m.grad(scalar)(3), TypeError, "grad" + REAL_INPUTS.format("int32")),
    "a boolean argument":    Failure(lambda m: m.grad(scalar)(True), TypeError, "grad" + REAL_INPUTS.format("bool")),
    "an integer leaf":       Failure(lambda m: m.grad(lambda p: p["x"])({"x": 1.0, "n": 2}), TypeError, "grad" + REAL_INPUTS.format("int32")),
    "a key":                 Failure(lambda m: m.grad(lambda k: 1.0)(jax.random.key(0)), TypeError, "grad" + REAL_INPUTS.format("key<fry>")),
    "a string":              Failure(lambda m: m.grad(scalar)("a"), TypeError, "Argument 'a' of type <class 'str'> is not a valid JAX type."),
    "not a function":        Failure(lambda m: m.grad(3), TypeError, "Expected a callable value, got 3"),
    "a generator":           Failure(lambda m: m.grad(generator), TypeError, f"Expected a function, got a generator function: {generator}"),
    "too few arguments":     Failure(lambda m: m.grad(pair, 1)(1.0), TypeError, POSITIONS.format(1, 2)),
    "too few for a tuple":   Failure(lambda m: m.grad(pair, (0, 3))(1.0), TypeError, POSITIONS.format((0, 3), 4)),
    "too few for negative":  Failure(lambda m: m.grad(pair, -2)(1.0), TypeError, POSITIONS.format(-2, 2), "a ValueError about static_argnums"),
    "argnums not an integer": Failure(lambda m: m.grad(pair, 0.5)(1.0, 2.0), TypeError, "'float' object is not iterable"),
    "no keyword":            Failure(lambda m: m.grad(named)(1.0), TypeError, "named() missing 1 required keyword-only argument: 'scale'"),
    "holomorphic, real":     Failure(lambda m: m.grad(jnp.exp, holomorphic=True)(1.0), TypeError, "grad with holomorphic=True requires inputs with complex dtype, but got float32."),
    "holomorphic, to real":  Failure(lambda m: m.grad(jnp.real, holomorphic=True)(1j), TypeError, "grad with holomorphic=True requires outputs with complex dtype, but got float32."),
    "jacrev, integers":      Failure(lambda m: m.jacrev(scalar)(3), TypeError, "jacrev" + REAL_INPUTS.format("int32")),
    "jacrev, complex":       Failure(lambda m: m.jacrev(lambda x: x * 1j)(X), TypeError, "jacrev" + REAL_OUTPUTS.format("complex64") + USE_HOLOMORPHIC),
    "jacrev, holomorphic":   Failure(lambda m: m.jacrev(jnp.exp, holomorphic=True)(X), TypeError, "jacrev with holomorphic=True requires inputs with complex dtype, but got float32."),
    "hessian, integers":     Failure(lambda m: m.hessian(scalar)(3), TypeError, "jacrev" + REAL_INPUTS.format("int32")),
    "vjp of a string":       Failure(lambda m: m.vjp(identity, "a"), TypeError, "Argument 'a' of type <class 'str'> is not a valid JAX type."),
    "vjp of no function":    Failure(lambda m: m.vjp(3, 1.0), TypeError, "Expected a callable value, got 3"),
    "a cotangent's shape":   Failure(lambda m: m.vjp(identity, X)[1](np.float32(1)), ValueError, BAD_COTANGENT.format("float32[]", "float32[3]", "float32[3]")),
    "a cotangent's dtype":   Failure(lambda m: m.vjp(identity, X)[1](np.ones(3, np.int32)), ValueError, BAD_COTANGENT.format("int32[3]", "float32[3]", "float32[3]")),
    "an integer's cotangent": Failure(lambda m: m.vjp(identity, np.int32(1))[1](np.int32(1)), ValueError, BAD_COTANGENT.format("int32[]", "float0[]", "int32[]"), "it takes any"),
    "a cotangent's structure": Failure(lambda m: m.vjp(lambda x: (x, x), X)[1](X), ValueError, "unexpected tree structure. The argument to a VJP function must match the pytree structure of the result of <lambda>: expected PyTreeDef((*, *)), got PyTreeDef(*)."),
    "two cotangents":        Failure(lambda m: m.vjp(lambda x: (x, x), X)[1](X, X), TypeError, "The function returned by vjp applied to <lambda> was called with 2 arguments, but it must be called with a single argument: a cotangent of the structure of the result, a tuple if the result is a tuple."),
}
OUR_FAILURES: dict[str, Failure] = {
    "argnames missing":      Failure(lambda m: m.grad(named, argnames="scale")(1.0), TypeError, "differentiating with respect to argnames='scale' requires 'scale' to be passed by keyword, but got only []."),
    "argnames not a string": Failure(lambda m: m.grad(named, argnames=[1]), TypeError, "argnames must be a str or a sequence of str, but got 1."),
    "hvp, structure":        Failure(lambda m: m.hvp(curve, (X,), (X, X)), TypeError, "primal and tangent arguments to hvp must have the same tree structure; primals have tree structure PyTreeDef((*,)) whereas tangents have tree structure PyTreeDef((*, *))."),
    "hvp, shape":            Failure(lambda m: m.hvp(curve, (X,), (W,)), ValueError, "hvp called with different primal and tangent shapes; got primal shape (3,) and tangent shape (2, 3)."),
    "hvp, a vector":         Failure(lambda m: m.hvp(identity, (X,), (X,)), TypeError, NO_SCALAR + "had shape: (3,)."),
}
# fmt: on


@pytest.mark.parametrize("what", FAILURES | OUR_FAILURES)
def test_error(what):
    failure = (FAILURES | OUR_FAILURES)[what]
    with pytest.raises(failure.error) as caught:
        failure.call(bp)
    assert str(caught.value) == failure.text


@pytest.mark.parametrize("what", [what for what, f in FAILURES.items() if not f.jax_differs])
def test_jax_raises_the_same_class(what):
    with pytest.raises(FAILURES[what].error):
        FAILURES[what].call(jax)


@pytest.mark.parametrize("fun", [lambda x: x, lambda x: [x, x, x], lambda x: {"a": x, "b": x}])
def test_has_aux_wants_a_pair(fun):
    with pytest.raises(
        TypeError, match="function with aux output to return a two-element tuple"
    ) as e:
        bp.grad(fun, has_aux=True)(1.0)
    assert "Recorded" not in str(e.value), "the text names what users do not know"


def test_the_same_position_twice_is_an_error_or_two_gradients():
    """A gradient of zero for one of them would be a wrong answer without a word."""
    try:
        gradients = bp.grad(pair, argnums=(0, 0))(X, X)
    except (TypeError, ValueError):
        return
    assert_same(gradients, (jax.grad(pair)(X, X),) * 2)


def test_a_branch_on_a_value_under_jit_is_jax_error():
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(bp.grad(branching))(1.0)
