# ruff: noqa: E501 (rows of a table stay rows)
"""Networks: gradients equal to JAX's to the last digits, and the size of the reverse pass pinned."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from tests.rules.case import assert_close
from tests.rules.jaxprs import primitives, without_rule

pytestmark = pytest.mark.usefixtures("x64")

Params = dict[str, Any]


def dense(p: Params, x: Any) -> Any:
    """Two layers, layer normalisation, cross entropy."""
    h = jax.nn.gelu(x @ p["w1"] + p["b1"])
    h = (h - h.mean(-1, keepdims=True)) * lax.rsqrt(h.var(-1, keepdims=True) + 1e-5)
    logits = h @ p["w2"]
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(x)), jnp.arange(len(x)) % 3])


def convolutional(p: Params, x: Any) -> Any:
    """Strided and depthwise convolutions, max and average pooling, a dense head."""
    layout = ("NHWC", "HWIO", "NHWC")
    h = lax.conv_general_dilated(x, p["k1"], (1, 1), "SAME", dimension_numbers=layout)
    h = jax.nn.relu(h + p["b1"])
    h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    h = lax.conv_general_dilated(
        h, p["k2"], (2, 2), "SAME", dimension_numbers=layout, feature_group_count=4
    )
    h = lax.reduce_window(jax.nn.silu(h), 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME") / 4
    return jnp.mean(jax.nn.logsumexp(h.reshape(len(x), -1) @ p["w"], axis=-1))


def recurrent(p: Params, x: Any) -> Any:
    """An LSTM by `scan`, read out at every step."""

    def step(carry: tuple, x: Any) -> tuple:
        h, c = carry
        i, f, o, u = jnp.split(h @ p["u"] + x @ p["w"] + p["b"], 4, axis=-1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((x.shape[1], 4), x.dtype)
    (_, c), h = lax.scan(step, (start, start), x)
    return jnp.mean((h @ p["out"]) ** 2) + jnp.mean(c)


def attention(p: Params, x: Any) -> Any:
    """Embedding, one causal block with two heads and a residual, tied read-out."""
    h = p["embed"][x] + p["place"]
    q, k, v = (jnp.einsum("btd,dhe->bthe", h, p[name]) for name in ("q", "k", "v"))
    scores = jnp.einsum("bqhe,bkhe->bhqk", q, k) / np.sqrt(q.shape[-1])
    causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
    h = h + jnp.einsum("bhqk,bkhe,hed->bqd", weights, v, p["o"])
    h = h + jax.nn.relu(h @ p["w1"]) @ p["w1"].T
    logits = jax.nn.log_softmax(h @ p["embed"].T)
    return -jnp.mean(jnp.take_along_axis(logits[:, :-1], x[:, 1:, None], axis=-1))


def stacked(p: Params, x: Any) -> Any:
    """Equal layers by `scan` over their stacked weights."""

    def layer(h: Any, p: Params) -> tuple:
        return h + jnp.tanh(h @ p["w"] + p["b"]), None

    return jnp.mean(lax.scan(layer, x, p)[0] ** 2)


def draw(**shapes: tuple) -> Params:
    rng = np.random.default_rng(7)
    return {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}


RNG = np.random.default_rng(8)
HEADS = (4, 2, 2)

# fmt: off
NETWORKS: dict[str, tuple[Callable, Params, Any]] = {
    "dense":         (dense, draw(w1=(5, 4), b1=(4,), w2=(4, 3)), RNG.normal(size=(6, 5))),
    "convolutional": (convolutional, draw(k1=(3, 3, 1, 4), b1=(4,), k2=(2, 2, 1, 4), w=(16, 3)), RNG.normal(size=(2, 8, 8, 1))),
    "recurrent":     (recurrent, draw(u=(4, 16), w=(3, 16), b=(16,), out=(4, 2)), RNG.normal(size=(5, 2, 3))),
    "attention":     (attention, draw(embed=(7, 4), place=(5, 4), q=HEADS, k=HEADS, v=HEADS, o=(2, 2, 4), w1=(4, 6)), RNG.integers(0, 7, (2, 5))),
    "stacked":       (stacked, draw(w=(3, 4, 4), b=(3, 4)), RNG.normal(size=(2, 4))),
}
# fmt: on

every_network = pytest.mark.parametrize("name", NETWORKS)


def by_name(tree: Params) -> list:
    return [tree[name] for name in sorted(tree)]


@every_network
@pytest.mark.parametrize("compiled", [False, True], ids=["eagerly", "under jit"])
def test_gradient_is_that_of_jax(name, compiled):
    network, params, x = NETWORKS[name]
    ours, theirs = bp.value_and_grad(network), jax.value_and_grad(network)
    if compiled:
        ours, theirs = jax.jit(ours), jax.jit(theirs)
    (value, gradient), (expected_value, expected) = ours(params, x), theirs(params, x)
    assert_close([value], [expected_value], 1e-13, "the loss")
    assert_close(by_name(gradient), by_name(expected), 1e-12, f"in the order of {sorted(params)}")


@every_network
def test_hessian_times_vector_is_that_of_jax(name):
    network, params, x = NETWORKS[name]
    v = jax.tree.map(np.cos, params)

    def ours(params: Params) -> Params:
        return bp.hvp(lambda p: network(p, x), (params,), (v,))

    def theirs(params: Params) -> Params:
        return jax.jvp(jax.grad(lambda p: network(p, x)), (params,), (v,))[1]

    product, expected = jax.jit(ours)(params), jax.jit(theirs)(params)
    assert_close(by_name(product), by_name(expected), 1e-10, f"in the order of {sorted(params)}")


@every_network
def test_per_example_gradients_are_those_of_jax(name):
    network, params, x = NETWORKS[name]
    axis = 1 if name == "recurrent" else 0

    def one(gradient: Callable) -> Callable:
        return lambda x: gradient(network)(params, jnp.expand_dims(x, axis))

    ours = jax.jit(jax.vmap(one(bp.grad), in_axes=axis))(x)
    theirs = jax.jit(jax.vmap(one(jax.grad), in_axes=axis))(x)
    assert_close(by_name(ours), by_name(theirs), 1e-12, f"in the order of {sorted(params)}")


@every_network
def test_the_reverse_pass_has_a_reverse(name):
    network, params, x = NETWORKS[name]
    jaxpr = jax.make_jaxpr(lambda p: bp.grad(network)(p, x))(params).jaxpr
    assert not without_rule(jaxpr)


#: How many equations the gradient of each network has, the loss among them. Whoever changes a number
#: says why; a change that claims to be none changes none. They are the same with every version of jax.
#: Since loops run short products again, those of recurrent and stacked are longer by these. Since
#: `relu` is run as a compiled function, what its rule made of tangents of zero is not staged.
EQUATIONS = {"dense": 132, "convolutional": 101, "recurrent": 106, "attention": 132, "stacked": 29}


def counts(gradient: Callable, name: str) -> int:
    """Returns the number of equations of the gradient, those that only hold others left out."""
    network, params, x = NETWORKS[name]
    found = primitives(jax.make_jaxpr(gradient(network))(params, x).jaxpr)
    for holder in ("jit", "custom_jvp_call", "custom_vjp_call"):
        found.pop(holder, None)
    return found.total()


@every_network
def test_the_reverse_pass_is_as_long_as_it_was(name):
    assert counts(bp.grad, name) == EQUATIONS[name]
