# ruff: noqa: E501 (rows of a table stay rows)
"""What the public functions say of a call that cannot be; JAX raises the same class."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from tests.api.functions import W, X, assert_same, branching, curve, named, pair, scalar


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
SUMMED = "output.sum() is a scalar, and jax.jacobian, or ours, takes any result."
POSITIONS = (
    "differentiating with respect to argnums={} requires at least {} positional arguments to be "
    "passed by the caller, but got only 1 positional arguments."
)
BAD_COTANGENT = (
    "unexpected JAX type (e.g. shape/dtype) for argument to VJP function: got {}, but expected {} "
    "because the corresponding output of the differentiated function had JAX type {}"
)


JVP_DTYPES = (
    "primal and tangent arguments to jvp do not match; dtypes must be equal, or in case of int/bool "
    "primal dtype the tangent dtype must be float0. Got primal dtype {} and so expected tangent "
    "dtype {}, but got tangent dtype {} instead."
)
MOVABLE = (
    " requires real-valued inputs (input dtype that is a sub-dtype of np.floating), but got {}. For "
    "holomorphic differentiation, pass holomorphic=True. For differentiation of non-holomorphic "
    "functions involving complex inputs or integer inputs, use jvp directly."
)
NOT_LINEAR = (
    "linear_transpose of a function that is not linear in its arguments.\n"
    "  to go on:   let every argument enter the result as a factor, once; or use vjp."
)


def generator(x: Any) -> Any:
    yield x


def identity(x: Any) -> Any:
    return x


# fmt: off
FAILURES: dict[str, Failure] = {
    "a vector":              Failure(lambda m: m.grad(identity)(X), TypeError, NO_SCALAR + "had shape: (3,). To go on: " + SUMMED),
    "one number":            Failure(lambda m: m.grad(identity)(X[:1]), TypeError, NO_SCALAR + "had shape: (1,). To go on: output.reshape(()) or output[0] is its one number, " + SUMMED),
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
    "axes, grad":            Failure(lambda m: m.grad(scalar, reduce_axes=("i",))(1.0), NotImplementedError, "reduce_axes argument to grad is deprecated"),
    "axes, vjp":             Failure(lambda m: m.vjp(scalar, 1.0, reduce_axes=("i",)), NotImplementedError, "reduce_axes argument to vjp is deprecated"),
    "axes, transpose":       Failure(lambda m: m.linear_transpose(scalar, 1.0, reduce_axes=("i",)), NotImplementedError, "reduce_axes argument to transpose is deprecated"),
    "no keyword":            Failure(lambda m: m.grad(named)(1.0), TypeError, "named() missing 1 required keyword-only argument: 'scale'"),
    "holomorphic, real":     Failure(lambda m: m.grad(jnp.exp, holomorphic=True)(1.0), TypeError, "grad with holomorphic=True requires inputs with complex dtype, but got float32."),
    "holomorphic, to real":  Failure(lambda m: m.grad(jnp.real, holomorphic=True)(1j), TypeError, "grad with holomorphic=True requires outputs with complex dtype, but got float32."),
    "jacrev, integers":      Failure(lambda m: m.jacrev(scalar)(3), TypeError, "jacrev" + REAL_INPUTS.format("int32")),
    "jacrev, complex":       Failure(lambda m: m.jacrev(lambda x: x * 1j)(X), TypeError, "jacrev" + REAL_OUTPUTS.format("complex64") + USE_HOLOMORPHIC),
    "jacrev, holomorphic":   Failure(lambda m: m.jacrev(jnp.exp, holomorphic=True)(X), TypeError, "jacrev with holomorphic=True requires inputs with complex dtype, but got float32."),
    "hessian, integers":     Failure(lambda m: m.hessian(scalar)(3), TypeError, "jacrev" + REAL_INPUTS.format("int32")),
    "jvp, structure":        Failure(lambda m: m.jvp(curve, (X,), (X, X)), TypeError, "primal and tangent arguments to jvp must have the same tree structure; primals have tree structure PyTreeDef((*,)) whereas tangents have tree structure PyTreeDef((*, *))."),
    "jvp, shape":            Failure(lambda m: m.jvp(curve, (X,), (W,)), ValueError, "jvp called with different primal and tangent shapes; got primal shape (3,) and tangent shape as (2, 3)."),
    "jvp, dtype":            Failure(lambda m: m.jvp(curve, (X,), (X.astype("float16"),)), TypeError, JVP_DTYPES.format("float32", "float32", "float16")),
    "jvp, an integer":       Failure(lambda m: m.jvp(lambda i: 2 * i, (1,), (1,)), TypeError, JVP_DTYPES.format("int32", "float0", "int32")),
    "jvp, no tuples":        Failure(lambda m: m.jvp(curve, X, X), TypeError, "primal and tangent arguments to jvp must be tuples or lists; found ndarray and ndarray."),
    "jacfwd, integers":      Failure(lambda m: m.jacfwd(scalar)(3), TypeError, "jacfwd" + MOVABLE.format("int32")),
    "jacfwd, complex":       Failure(lambda m: m.jacfwd(scalar)(3j), TypeError, "jacfwd" + MOVABLE.format("complex64")),
    "jacfwd, holomorphic":   Failure(lambda m: m.jacfwd(jnp.exp, holomorphic=True)(X), TypeError, "jacfwd with holomorphic=True requires inputs with complex dtype, but got float32."),
    "jacfwd, to real":       Failure(lambda m: m.jacfwd(jnp.real, holomorphic=True)(X + 1j), TypeError, "jacfwd with holomorphic=True requires outputs with complex dtype, but got float32."),
    "transpose, structure":  Failure(lambda m: m.linear_transpose(lambda x: (x, x), X)(X), TypeError, "cotangent tree does not match function output, expected PyTreeDef((*, *)) but got PyTreeDef(*)"),
    "transpose, shape":      Failure(lambda m: m.linear_transpose(lambda x: 2 * x, X)(W), TypeError, "cotangent type does not match function output, expected float32[3] but got float32[2,3]"),
    "transpose, dtypes":     Failure(lambda m: m.linear_transpose(lambda x: x.astype("float32"), 1)(1.0), TypeError, "linear_transpose only supports [float or complex] -> [float or complex] and integer -> integer functions, but got int32[] -> float32[]."),
    "vjp of a string":       Failure(lambda m: m.vjp(identity, "a"), TypeError, "Argument 'a' of type <class 'str'> is not a valid JAX type."),
    "vjp of no function":    Failure(lambda m: m.vjp(3, 1.0), TypeError, "Expected a callable value, got 3"),
    "a cotangent's shape":   Failure(lambda m: m.vjp(identity, X)[1](np.float32(1)), ValueError, BAD_COTANGENT.format("float32[]", "float32[3]", "float32[3]")),
    "a cotangent's dtype":   Failure(lambda m: m.vjp(identity, X)[1](np.ones(3, np.int32)), ValueError, BAD_COTANGENT.format("int32[3]", "float32[3]", "float32[3]")),
    "a cotangent's structure": Failure(lambda m: m.vjp(lambda x: (x, x), X)[1](X), ValueError, "unexpected tree structure. The argument to a VJP function must match the pytree structure of the result of <lambda>: expected PyTreeDef((*, *)), got PyTreeDef(*)."),
    "two cotangents":        Failure(lambda m: m.vjp(lambda x: (x, x), X)[1](X, X), TypeError, "The function returned by vjp applied to <lambda> was called with 2 arguments, but it must be called with a single argument: a cotangent of the structure of the result, a tuple if the result is a tuple."),
}
OUR_FAILURES: dict[str, Failure] = {
    "argnames missing":      Failure(lambda m: m.grad(named, argnames="scale")(1.0), TypeError, "differentiating with respect to argnames='scale' requires 'scale' to be passed by keyword, but got only []."),
    "argnames not a string": Failure(lambda m: m.grad(named, argnames=[1]), TypeError, "argnames must be a str or a sequence of str, but got 1."),
    "zero_times_inf":        Failure(lambda m: m.grad(curve, zero_times_inf="0"), ValueError, "zero_times_inf must be \"nan\" or \"zero\", but got '0'."),
    "zero_times_inf, vjp":   Failure(lambda m: m.vjp(curve, X, zero_times_inf=0), ValueError, "zero_times_inf must be \"nan\" or \"zero\", but got 0."),
    "chunk_size, zero":      Failure(lambda m: m.jacrev(curve, chunk_size=0), ValueError, "chunk_size must be a positive integer or None, but got 0."),
    "chunk_size, a float":   Failure(lambda m: m.jacrev(curve, chunk_size=2.0), ValueError, "chunk_size must be a positive integer or None, but got 2.0."),
    "transpose, a square":   Failure(lambda m: m.linear_transpose(lambda x: x * x, X)(X), bp.errors.NotLinear, NOT_LINEAR),
    "transpose, a sine":     Failure(lambda m: m.linear_transpose(jnp.sin, X)(X), bp.errors.NotLinear, NOT_LINEAR),
    "transpose, a floor":    Failure(lambda m: m.linear_transpose(jnp.floor, X)(X), bp.errors.NotLinear, NOT_LINEAR),
    "transpose, a loop":     Failure(lambda m: m.linear_transpose(lambda x: lax.fori_loop(0, 2, lambda i, c: c * c, x), X)(X), bp.errors.NotLinear, NOT_LINEAR),
    "transpose, by integers": Failure(lambda m: m.linear_transpose(lambda x: x.astype(int) * 1.0, X)(X), bp.errors.NotLinear, NOT_LINEAR),
    "hvp, structure":        Failure(lambda m: m.hvp(curve, (X,), (X, X)), TypeError, "primal and tangent arguments to hvp must have the same tree structure; primals have tree structure PyTreeDef((*,)) whereas tangents have tree structure PyTreeDef((*, *))."),
    "hvp, shape":            Failure(lambda m: m.hvp(curve, (X,), (W,)), ValueError, "hvp called with different primal and tangent shapes; got primal shape (3,) and tangent shape as (2, 3)."),
    "hvp, a vector":         Failure(lambda m: m.hvp(identity, (X,), (X,)), TypeError, NO_SCALAR + "had shape: (3,). To go on: " + SUMMED),
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
