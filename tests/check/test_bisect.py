"""`bisect` names the line whose rule is wrong, and no other; correct programs stand acquitted."""

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax import extend
from tests.check.transformer import PARTS, parameters, transformer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4)).astype("float32")


def owned(fun: Callable, backward: Callable, forward: Callable | None = None) -> Callable:
    """Returns a function with a reverse rule of its own."""
    with_rule = jax.custom_vjp(fun)
    with_rule.defvjp(lambda *x: ((forward or fun)(*x), x), backward)
    return with_rule


def scaled(x: Any, y: Any) -> Any:
    return jnp.tanh(x) * y


def backward(of_x: Callable, of_y: Callable) -> Callable:
    """Returns the reverse rule of `scaled`, changed."""

    def pull(kept: tuple, g: Any) -> tuple:
        x, y = kept
        t = jnp.tanh(x)
        return of_x(g * y * (1 - t * t)), of_y(g * t)

    return pull


def same(g: Any) -> Any:
    return g


WRONG = {
    "its sign is wrong": (same, lambda g: -g, 1),
    "it is 1.01 times the slope": (lambda g: 1.01 * g, same, 0),
    "it is zero": (same, lambda g: None, 1),
    "it is another vector": (lambda g: g.at[1, 2].multiply(1.01), same, 0),
    "it is not finite, and the slope is": (lambda g: g / 0, same, 0),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_is_wrong_is_said(reason):
    of_x, of_y, operand = WRONG[reason]
    wrong = owned(scaled, backward(of_x, of_y))
    (guilty,) = bp.bisect(lambda x: jnp.sum(wrong(x, jnp.cos(x)) ** 2), X).guilty
    assert guilty.name == "scaled"
    assert guilty.reason == reason
    assert guilty.operand == operand
    assert "test_bisect.py" in guilty.written_at
    assert "pull at " in guilty.rule


def test_a_rule_that_asks_which_element_is_the_largest():
    largest = jax.custom_vjp(lambda x: jnp.max(x, 0))

    def forward(x: Any) -> tuple:
        z = jnp.max(x, 0)
        return z, (x, z)

    def pull(kept: tuple, g: Any) -> tuple:
        return (jnp.where(kept[0] == kept[1], -g, 0),)

    largest.defvjp(forward, pull)
    (guilty,) = bp.bisect(lambda x: jnp.sum(largest(x) ** 2), X).guilty
    assert guilty.reason == "its sign is wrong"


def test_a_forward_half_that_differs():
    wrong = owned(scaled, backward(same, same), lambda x, y: 1.1 * scaled(x, y))
    (guilty,) = bp.bisect(lambda x: jnp.sum(wrong(x, jnp.cos(x))), X).guilty
    assert guilty.reason == "its forward half gives another value than the function itself"


@pytest.mark.slow
def test_the_transformer_with_one_wrong_sign_in_a_scan():
    weights, tokens = parameters()
    assert len(PARTS) == 12
    report = bp.bisect(transformer("norm of the second half"), weights, tokens)
    (guilty,) = report.guilty
    lines, first = inspect.getsourcelines(transformer)
    (place,) = (i for i, line in enumerate(lines) if 'part["norm of the second half"]' in line)
    assert f"transformer.py:{first + place}:" in guilty.written_at
    assert guilty.trips == ((0,), (1,), (2,), (3,))
    assert (guilty.name, guilty.operand) == ("rms_norm", 0)
    assert "with_a_wrong_sign" in guilty.rule
    assert bp.bisect(transformer(), weights, tokens).ok


def in_branch(wrong: Callable) -> Callable:
    def loss(x: Any) -> Any:
        def body(c: Any, row: Any) -> tuple:
            c = lax.cond(row[0] > 0, lambda c: wrong(c, row), lambda c: c * row, c)
            return c, None

        return jnp.sum(lax.scan(body, x[0], x)[0])

    return loss


def in_while(wrong: Callable) -> Callable:
    return lambda x: jnp.sum(lax.while_loop(lambda c: c[0, 0] < 9, lambda c: wrong(c, c) + 3.0, x))


# fmt: off
WITHIN = {
    "cond in scan": (in_branch, [(t,) for t in range(3) if X[t, 0] > 0]),
    "while":        (in_while,  [(0,), (1,), (2,)]),
    "jit":          (lambda wrong: lambda x: jnp.sum(jax.jit(wrong)(x, x)), [()]),
    "checkpoint":   (lambda wrong: lambda x: jnp.sum(jax.checkpoint(wrong)(x, x)), [()]),
    "vmap":         (lambda wrong: lambda x: jnp.sum(jax.vmap(wrong)(x, x)), [()]),
}
# fmt: on


@pytest.mark.parametrize("where", WITHIN)
def test_it_is_found_within(where):
    build, trips = WITHIN[where]
    (guilty,) = bp.bisect(build(owned(scaled, backward(lambda g: -g, same))), X).guilty
    assert guilty.name == "scaled"
    assert list(guilty.trips) == trips


def test_a_rule_put_in_place_of_one_of_the_book():
    rules = {lax.sin_p: extend.elementwise(lambda g, x: g * jnp.sin(x))}
    with bp.rules(rules, check=False):
        report = bp.bisect(lambda x: jnp.sum(jnp.exp(jnp.sin(x))), X)
    (guilty,) = report.guilty
    assert guilty.name == "sin"


def cell(h: Any, x: Any) -> tuple:
    """A cell of an LSTM."""
    h, c = h
    i, f, o, u = jnp.split(jnp.concatenate([h, x, 2 * h, h * x]), 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
    return (jax.nn.sigmoid(o) * jnp.tanh(c), c), h


def lstm(x: Any) -> Any:
    (h, c), hs = lax.scan(cell, (x[0], x[1]), x)
    return jnp.sum(h * c) + jnp.var(hs)


MASK = jnp.array([0.0, -jnp.inf, 0.0, 0.0])
HUGE = jnp.array([0.0, -1e9, 0.0, -1e9])

# fmt: off
RIGHT = {
    "lstm":                lstm,
    "at the kink":         lambda x: jnp.sum(jax.nn.relu(x - x) + jnp.abs(x * 0) + lax.max(x, x)),
    "at ties":             lambda x: jnp.max(jnp.round(x)) + jnp.sum(jnp.sort(jnp.round(x), 0) * x),
    "masked by -inf":      lambda x: jnp.sum(jax.nn.softmax(x + MASK) ** 2),
    "masked by -1e9":      lambda x: jnp.sum(owned(*PARTS["attention"])(x + HUGE) ** 2),
    "its own rule":        lambda x: jnp.sum(owned(scaled, backward(same, same))(x, jnp.sin(x))),
    "where at 0":          lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(jnp.abs(x)), 0)),
    "another precision":   lambda x: jnp.sum(jnp.sin(x.astype("bfloat16") * 3).astype("float32")),
    "no scalar":           lambda x: {"a": x @ x.T, "b": jnp.cumsum(x)},
    "linear algebra":      lambda x: jnp.linalg.slogdet(x @ x.T + jnp.eye(3))[1],
}
# fmt: on


@pytest.mark.parametrize("what", RIGHT)
def test_what_is_right_is_acquitted(what):
    report = bp.bisect(RIGHT[what], X)
    assert report.ok, report
    assert report.tried


def test_complex_numbers(x64):
    def loss(z: Any) -> Any:
        return jnp.abs(jnp.sum(jnp.exp(1j * z) * jnp.conj(z)) + jnp.prod(z)) ** 2

    z = RNG.normal(size=3) + 1j * RNG.normal(size=3)
    assert bp.bisect(loss, z).ok
    wrong = owned(lambda z: z * z, lambda kept, g: (g * 2 * jnp.conj(kept[0]),))
    (guilty,) = bp.bisect(lambda z: jnp.sum(jnp.abs(wrong(z))), z).guilty
    assert guilty.reason == "it is another vector"


def test_of_steps_alike_a_few_are_tried():
    def loss(x: Any) -> Any:
        return lax.fori_loop(0, 50, lambda i, c: jnp.sin(c), x)

    report = bp.bisect(loss, jnp.float32(1.0))
    assert (report.steps, report.tried) == (50, 4)
    assert bp.bisect(loss, jnp.float32(1.0), alike=50).tried == 50


def test_the_report():
    wrong = owned(scaled, backward(same, lambda g: -g))
    report = bp.bisect(lambda x: wrong(x, jnp.float32(2.0)) + wrong(x, x), jnp.float32(0.5))
    first, equation, written, rule, says, last = str(report).splitlines()
    assert first == "guilty: 'scaled', the cotangent of its operand 1: its sign is wrong"
    assert equation == "  equation:   float32[] = custom_vjp_call float32[] float32[]"
    assert written.startswith("  written at: tests/check/test_bisect.py:")
    assert "pull at " in rule and rule.startswith("  its rule:   ")
    numbers = re.match(r"  it says:    (\S+) along a direction in which the slope is (\S+)", says)
    said, slope = numbers.groups()
    assert float(said) == pytest.approx(-float(slope))
    assert last.startswith("BAD: 1 guilty; 3 of 3 steps tried (")
    assert json.loads(json.dumps(report.to_dict()))["guilty"][0]["operand"] == 1
    assert repr(report) == "Bisection(BAD, 3 of 3 steps tried)"
    with pytest.raises(AssertionError, match="mend the rule that is named first"):
        report.raise_if_bad()


def test_what_cannot_be_judged_is_said():
    report = bp.bisect(lambda x: jnp.sqrt(x) * 0, jnp.float32(0.0))
    assert report.ok
    assert "note: " in str(report)
