"""What is kept for the way back: the memory model that the table of rules promises."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from tests.rules.jaxprs import equations, primitives

X = np.linspace(0.1, 0.9, 6, dtype=np.float32).reshape(2, 3)


def kept_by(fun: Callable, *operands: Any) -> list[list[str]]:
    """Returns for every step of an eager run the names of what its rule keeps."""
    nodes = bp.vjp(fun, *operands)[1].pullback.nodes
    return [sorted(node.kept or ()) for node in nodes]


# fmt: off
KEPT = {
    "neg":        (lax.neg,                                     []),
    "add":        (lambda x: lax.add(x, X),                     []),
    "rev":        (lambda x: lax.rev(x, (0,)),                  []),
    "transpose":  (lambda x: lax.transpose(x, (1, 0)),          []),
    "cumsum":     (lambda x: lax.cumsum(x, 0),                  []),
    "slice":      (lambda x: lax.slice(x, (0, 1), (2, 3)),      []),
    "reduce_sum": (lambda x: lax.reduce_sum(x, (0,)),           []),
    "exp":        (lax.exp,                                     ["z"]),
    "tanh":       (lax.tanh,                                    ["z"]),
    "sin":        (lax.sin,                                     ["x"]),
    "log":        (lax.log,                                     ["x"]),
    "mul by X":   (lambda x: lax.mul(x, X),                     ["y"]),
    "X times x":  (lambda x: lax.mul(X, x),                     ["x"]),
    "square":     (lambda x: lax.mul(x, x),                     ["x", "y"]),
    "x @ X":      (lambda x: lax.dot(x, X.T),                   ["y"]),
    "X @ x":      (lambda x: lax.dot(X.T, x),                   ["x"]),
}
# fmt: on


@pytest.mark.parametrize("name", KEPT)
def test_a_step_keeps_what_its_formula_reads(name):
    fun, kept = KEPT[name]
    assert kept_by(fun, X) == [kept]


def test_only_steps_on_the_way_are_on_the_tape():
    """Constants, what is stopped, and what leads nowhere are not."""

    def fun(x: Any) -> Any:
        lax.sin(x)
        jnp.exp(jnp.ones(3))
        lax.floor(x)
        return lax.mul(lax.stop_gradient(lax.exp(x)), lax.neg(x))

    nodes = bp.vjp(fun, X)[1].pullback.nodes
    assert [str(node.primitive) for node in nodes] == ["neg", "mul"]


def test_operands_are_kept_by_reference():
    x = jnp.asarray(X)
    (node,) = bp.vjp(lax.sin, x)[1].pullback.nodes
    assert node.kept["x"] is x


def in_bytes(atoms: Any) -> int:
    return sum(math.prod(a.aval.shape) * a.aval.dtype.itemsize for a in atoms)


def loops(gradient: Callable, *operands: Any) -> list:
    """Returns the loops in the program of a gradient: the one forward, the one back."""
    jaxpr = jax.make_jaxpr(gradient)(*operands).jaxpr
    return [e for e in equations(jaxpr) if str(e.primitive) == "scan"]


H, W, XS = np.ones(8, np.float32), np.ones((8, 8), np.float32), np.ones((10, 8), np.float32)


def rnn(w: Any, h: Any, xs: Any) -> Any:
    """Every step has several values that could be kept; the state is the least that is enough."""

    def step(h: Any, x: Any) -> tuple:
        a = jnp.tanh(w @ h + x)
        return lax.sin(jnp.exp(a) * a), None

    return jnp.sum(lax.scan(step, h, xs)[0])


def test_a_scan_keeps_two_values_a_step_at_most():
    """The carry and the product, which is dear to compute again; not the values between."""
    forward, _ = loops(bp.grad(rnn), W, H, XS)
    kept = in_bytes(forward.outvars) - H.nbytes
    assert kept <= 2 * XS.nbytes, f"{kept} bytes are kept of {len(XS)} steps"


def test_a_scan_does_not_stack_what_stays_the_same():
    def fun(w: Any, h: Any) -> Any:
        return jnp.sum(lax.scan(lambda h, _: (jnp.exp(w) @ h, None), h, length=10)[0])

    forward, back = loops(bp.grad(fun), W, H)
    stacked = [v for v in forward.outvars if v.aval.shape[1:] == W.shape]
    assert not stacked, "the weights are kept once for every step"
    assert primitives(forward.params["jaxpr"].jaxpr)["exp"] == 0, "exp(w) is computed in every step"
    assert primitives(back.params["jaxpr"].jaxpr)["exp"] == 0


@pytest.mark.parametrize(("width", "runs"), [(256, [1, 2]), (8, [1, 3])])
def test_a_scan_runs_no_long_product_twice(width, runs):
    """A short one it does: to keep its result of every trip takes longer."""
    shapes = [(width, width), (width,), (3, width)]
    operands = (jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes)
    forward, back = loops(bp.grad(rnn), *operands)
    products = [primitives(e.params["jaxpr"].jaxpr)["dot_general"] for e in (forward, back)]
    assert products == runs


def test_a_product_within_a_jit_is_run_once():
    layer = jax.jit(lambda w, x: jnp.tanh(x @ w))
    gradient = bp.grad(lambda w: jnp.sum(layer(w, X)))
    w = np.ones((3, 3), np.float32)
    for program in (gradient, jax.jit(gradient)):
        assert primitives(jax.make_jaxpr(program)(w).jaxpr)["dot_general"] == 2


def test_a_checkpoint_keeps_its_operands_and_computes_again():
    fun = jax.checkpoint(lambda w: jnp.sum(jnp.sin(jnp.sin(X @ w))))
    found = primitives(jax.make_jaxpr(bp.grad(fun))(np.ones((3, 3), np.float32)).jaxpr)
    assert found["dot_general"] == 3
    assert found["fence"] == 1, "XLA would find what it computed before"


def test_a_checkpoint_keeps_what_its_policy_names():
    """Even where computing it again would take no more memory."""
    policy = jax.checkpoint_policies.checkpoint_dots
    fun = jax.checkpoint(lambda w: jnp.sum(jnp.sin(jnp.sin(X @ w))), policy=policy)
    found = primitives(jax.make_jaxpr(bp.grad(fun))(np.ones((3, 3), np.float32)).jaxpr)
    assert found["dot_general"] == 2


def test_a_checkpoint_hides_the_operands_it_is_told_to():
    layer = jax.checkpoint(lambda w, x: jnp.sum(jnp.sin(x @ w)), prevent_cse=(False, True))
    gradient = jax.make_jaxpr(bp.grad(layer, (0, 1)))(np.ones((3, 3), np.float32), X)
    (fence,) = [e for e in equations(gradient.jaxpr) if e.primitive.name == "fence"]
    assert [v.aval.shape for v in fence.invars] == [X.shape, ()]


def test_a_gradient_takes_no_more_memory_than_that_of_jax():
    def temporary(gradient: Callable) -> int:
        compiled = jax.jit(gradient).lower(W, H, np.ones((200, 8), np.float32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(bp.grad(rnn)) <= temporary(jax.grad(rnn))


def test_a_program_holds_the_branch_of_its_platform_alone():
    def fun(x: Any) -> Any:
        return lax.platform_dependent(x, cpu=lax.sin, cuda=lax.tan, default=lax.exp)

    text = jax.jit(bp.grad(fun)).trace(0.0).lower(lowering_platforms=("cuda",)).as_text()
    assert "sine" not in text
    assert "exponential" not in text
