# ruff: noqa: E501 (rows of a table stay rows)
"""Where values stop being finite: planted somewhere in a scanned transformer, and found."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from backprop_jax.taps.detector import Ways
from backprop_jax.taps.report import iterations

LAYERS, BAD = 9, 7
INF = np.float32(np.inf)


def pick(bad, x, y):
    """Returns x where the plant is to bear, else y."""
    return jnp.where(bad, jnp.float32(x), jnp.float32(y))


def endless(x, bad):
    def trip(state):
        i, y = state
        return i + 1, y * jnp.sqrt(pick(bad & (i == 2), 0, 1) + 0 * y)

    return lax.while_loop(lambda state: state[0] < 5, trip, (0, 0 * x))[1]


ENDLESS = endless.__code__.co_firstlineno + 3

# (x, bad) → what is added to x in each layer: 0, or nearly, unless bad.
# fmt: off
FORWARD = {
    "log of 0":              lambda x, bad: 0 * jnp.log(pick(bad, 0, 1) + 0 * x),
    "0 / 0":                 lambda x, bad: (0 * x) / pick(bad, 0, 1),
    "inf - inf":             lambda x, bad: 0 * x + (pick(bad, INF, 1) - pick(bad, INF, 1)),
    "0 * inf":               lambda x, bad: pick(bad, 0, 1) * pick(bad, INF, 0) + 0 * x,
    "rsqrt of 0":            lambda x, bad: 0 * lax.rsqrt(pick(bad, 0, 1) + 0 * x),
    "exp of 1e3":            lambda x, bad: 0 * jnp.exp(pick(bad, 1e3, 1) + 0 * x),
    "1 / 0 by power":        lambda x, bad: 0 * (pick(bad, 0, 1) + 0 * x) ** -1.5,
    "overflow of a sum":     lambda x, bad: 0 * jnp.sum(pick(bad, 1e38, 0) + 0 * x) + 0 * x,
    "overflow to bfloat16":  lambda x, bad: 0 * (pick(bad, 3.4e38, 1) + 0 * x).astype("bfloat16").astype("float32"),
    "product in bfloat16":   lambda x, bad: 0 * jnp.dot(*(2 * [(pick(bad, 1e30, 0) + 0 * x).astype("bfloat16")[0]])).astype("float32") + 0 * x,
    "softmax of nothing":    lambda x, bad: 0 * jax.nn.softmax(jnp.where(bad, -jnp.inf, x)),
    "cosine of 0":           lambda x, bad: 0 * x / jnp.linalg.norm(x * pick(bad, 0, 1)),
    "mean of nothing":       lambda x, bad: jnp.sum(0 * x) / jnp.sum(pick(bad, 0, 1)),
    "index out of bounds":   lambda x, bad: 0 * jnp.take(x, jnp.where(bad, 99, 0), axis=0, mode="fill") + 0 * x,
    "in a branch":           lambda x, bad: 0 * lax.cond(bad, lambda x: jnp.log(0 * x), lambda x: x, x),
}
BACK = {
    "sqrt at 0":             lambda x, bad: jnp.sqrt(pick(bad, 0, 1) * (x ** 2)),
    "masked sqrt":           lambda x, bad: jnp.where(bad, 0.0, jnp.sqrt(pick(bad, 0, 1) * x ** 2)),
    "power at 0":            lambda x, bad: (pick(bad, 0, 1) * x ** 2) ** 0.3,
    "arccos at 1":           lambda x, bad: jnp.arccos(pick(bad, 1, 0) + 0 * x),
    "deviation of nothing":  lambda x, bad: jnp.std(pick(bad, 0, 1) * x) + 0 * x,
    "steep and flat":        lambda x, bad: (pick(bad, 0, 1) * x * pick(bad, 1e30, 1)) * pick(bad, 1e30, 1),
    "in a while loop":       endless,
}
# fmt: on
PLANTS = FORWARD | BACK
assert len(PLANTS) >= 20


def layer(which, x, at):
    weights, t = at
    wq, wk, wv, up, down = weights
    q, k, v = x @ wq, x @ wk, x @ wv
    mask = jnp.tril(jnp.ones((len(x), len(x)), bool))
    scores = jnp.where(mask, q @ k.T / np.sqrt(4), -jnp.inf)
    x = x + jax.nn.softmax(scores) @ v
    x = x + jax.nn.gelu(x @ up) @ down
    x = (x - jnp.mean(x, -1, keepdims=True)) / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5)
    for i, plant in enumerate(PLANTS.values()):
        x = x + 1e-3 * plant(x, (t == BAD) & (which == i))
    return x, None


def transformer(weights, x, which):
    x, _ = lax.scan(functools.partial(layer, which), x, (weights, jnp.arange(LAYERS)))
    return jnp.mean(x**2)


RNG = np.random.default_rng(0)
WEIGHTS = tuple(
    0.3 * RNG.normal(size=(LAYERS, *shape)).astype("float32")
    for shape in ((4, 4), (4, 4), (4, 4), (4, 8), (8, 4))
)
X = RNG.normal(size=(3, 4)).astype("float32")


@pytest.fixture(scope="module")
def ways():
    def forward(arrays):
        *weights, x, which = arrays
        return bp.vjp(lambda weights: transformer(weights, x, which), tuple(weights))

    return Ways.of(forward, [*WEIGHTS, X, np.int32(0)])


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(name, ways):
    """By file, line and iteration, forward or back, in one run of one compiled program."""
    which = list(PLANTS).index(name)
    _, (ahead, back) = ways.look([*WEIGHTS, X, np.int32(which)])
    (step, trips), *_ = ahead + back
    line = ENDLESS if name == "in a while loop" else PLANTS[name].__code__.co_firstlineno
    assert f"test_nonfinite.py:{line}:" in step.written_at
    assert [trip for trip, _ in iterations(step, trips)] == [BAD, 2][
        : 1 + (name == "in a while loop")
    ]
    assert bool(ahead) == (name in FORWARD)


def test_nothing_planted_nothing_found(ways):
    found, births = ways.look([*WEIGHTS, X, np.int32(-1)])
    assert births == [[], []]
    assert not found.reached.any()


# -- the report ------------------------------------------------------------------------
def scanned(w, x):
    def step(h, t):
        h = jnp.tanh(w * h)
        return h + jnp.sqrt(jnp.where(t == 2, 0.0, 1.0) * h**2), None  # "sqrt"

    h, _ = lax.scan(step, x, jnp.arange(4))
    return jnp.sum(h)


def masked(w, x):
    return jnp.sum(jnp.where(x > 0, w * x, jnp.log(w * x)))  # "log"


def line_of(function, after):
    return f"tests/taps/test_nonfinite.py:{function.__code__.co_firstlineno + after}:"


def test_the_report_tells_where_and_what_of_and_what_helps():
    report = bp.find_nonfinite(scanned, jnp.float32(2), jnp.array([0.5, 1.0]))
    assert report and report.reached == ("the gradient of args[0]",)
    birth = report.births[0]
    assert (birth.primitive, birth.way, birth.derivative_of) == ("div", "back", ("sqrt",))
    assert [trip for trip, _ in birth.iterations] == [2]
    text = str(report).splitlines()
    assert text[0] == "scanned: infinity born in 'div', on the way back through sqrt"
    assert text[1] == "  equation:    float32[2] = div float32[2] float32[2]"
    assert text[2].startswith(f"  written at:  {line_of(scanned, 3)}")
    assert text[3].startswith(f"  iteration:   2 of the scan at {line_of(scanned, 5)}")
    assert text[4].startswith("  there:       div(") and text[4].endswith(", 0), at [0]")
    assert text[5] == "  slope there: inf, -inf"
    assert text[6].startswith("  operand:     float32[2], from ")
    assert text[8] == "  in the end:  reached the gradient of args[0]"
    assert text[9].startswith("  to go on:    add a small number under the root")
    assert text[10] == "after it:"


def test_what_is_masked_is_told_and_said_to_be():
    x = jnp.array([1.0, 0.0, 3.0])
    report = bp.find_nonfinite(masked, jnp.ones(3), x, argnums=1)
    birth = report.births[0]
    assert (birth.kind, birth.primitive, birth.place) == ("infinity", "log", (1,))
    assert birth.operands[0] == ("float32[3]", 0.0, 0.0, 3.0, 0, 0)
    assert birth.slopes == (np.inf,)
    assert f"written at:  {line_of(masked, 1)}" in str(report)
    safe = bp.find_nonfinite(lambda w, x: masked(w, jnp.where(x > 0, x, 1)), jnp.ones(3), x)
    assert not safe
    assert str(safe) == "<lambda>: all values and cotangents are finite"


def test_the_cause_is_what_the_result_is_finite_without():
    """What is masked before is told of as such; an infinity that becomes a NaN is the cause."""

    def loss(x):
        harmless = jnp.where(x > 0, jnp.log(x), 0.0)  # not the cause: masked
        grown = jnp.exp(x * 1e3)  # the cause
        return jnp.sum(harmless + (grown - grown))

    report = bp.find_nonfinite(loss, jnp.array([0.0, 1.0]))
    assert [birth.primitive for birth in report.births][:3] == ["log", "exp", "sub"]
    assert report.cause is report.births[1]
    assert "the result" in report.cause.reached and report.births[0].reached == ()
    lines = str(report).splitlines()
    assert lines[0] == "loss: infinity born in 'exp', on the way forward"
    assert "before it, of no effect alone:" in lines and "after it:" in lines


def test_what_was_not_finite_to_begin_with():
    report = bp.find_nonfinite(lambda w: w["a"] * 2, {"a": jnp.array([jnp.nan, 1.0])})
    assert str(report) == "<lambda>: not finite to begin with: args[0]['a']"
    assert report.births == () and report.reached == ("the result",)


def test_shown_in_a_notebook():
    report = bp.find_nonfinite(masked, jnp.ones(1), jnp.zeros(1))
    assert report._repr_html_() == f"<pre>{report}</pre>".replace("'", "&#x27;")
