"""Functions that the public API is tried on, and what it means for two answers to be the same."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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


def named(x: Any, *, scale: Any, shift: Any = 0.0) -> Any:
    return jnp.sum(jnp.sin(x) * scale + shift * x)
