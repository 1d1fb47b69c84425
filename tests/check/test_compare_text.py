"""What a report says, letter by letter."""

import json
import re

import jax
import jax.numpy as jnp
import pytest

from backprop_jax.check.compare import compare

PARAMS = {
    "blocks": [{"b": jnp.zeros(2), "w": jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}],
    "scale": jnp.float32(2.0),
}


def loss(params, x):
    (block,) = params["blocks"]
    return jnp.sum((block["w"] @ x + block["b"]) * params["scale"])


def right(params, x):
    (block,) = params["blocks"]
    twos = jnp.full(2, params["scale"])
    return {
        "blocks": [{"b": twos, "w": jnp.outer(twos, x)}],
        "scale": jnp.sum(block["w"] @ x + block["b"]),
    }


def wrong(params, x):
    gradient = right(params, x)
    gradient["blocks"][0]["w"] = gradient["blocks"][0]["w"].at[1, 2].set(1.75)
    return gradient


def of_other_types(params, x):
    gradient = right(params, x)
    gradient["blocks"][0] = {"w": gradient["blocks"][0]["w"].T, "c": jnp.zeros(2)}
    gradient["scale"] = gradient["scale"].astype(jnp.bfloat16)
    return gradient


X = jnp.array([0.5, -0.5, 1.0])

AGREES = """\
  leaf                      type          relative  ulp  cosine  worst at  ours-f64  jax-f64  verdict
  params['blocks'][0]['b']  float32[2]           0    0  1.0000         -         0        0  ok
  params['blocks'][0]['w']  float32[2,3]         0    0  1.0000         -         0        0  ok
  params['scale']           float32[]            0    0  1.0000         -         0        0  ok
ok: 3 of 3 leaves of right agree with jax.grad and float64 (rtol 1.9e-06 for float32)"""  # noqa: E501

DISAGREES = """\
  leaf                      type          relative      ulp  cosine  worst at  ours-f64  jax-f64  verdict
  params['blocks'][0]['b']  float32[2]           0        0  1.0000         -         0        0  ok
> params['blocks'][0]['w']  float32[2,3]      0.12  1.0e+06  0.9981     [1,2]      0.12        0  BAD
  params['scale']           float32[]            0        0  1.0000         -         0        0  ok
worst: params['blocks'][0]['w'] at [1,2]: wrong 1.75, jax.grad 2, float64 2
params['blocks'][0]['w']: farther apart than rounding explains
BAD: 2 of 3 leaves of wrong agree with jax.grad and float64 (rtol 1.9e-06 for float32)
  to go on:   bp.bisect(fun, *args) names the line whose rule is wrong; witnesses=('numerical',) measures \
the slope; rtol= allows more."""  # noqa: E501

OTHER_TYPES = """\
params['blocks'][0]['b']: expected float32[2], got nothing
params['blocks'][0]['w']: expected float32[2,3], got float32[3,2]; is it transposed?
params['scale']: expected float32[], got bfloat16[]
params['blocks'][0]['c']: expected nothing, got float32[2]
BAD: 0 of 4 leaves of of_other_types agree with jax.grad and float64
  to go on:   return a pytree of the structure, shapes and dtypes that jax.grad returns."""


def test_the_table_of_a_right_gradient():
    assert str(compare(loss, PARAMS, X, gradient=right)) == AGREES


def test_the_error_of_a_wrong_gradient():
    report = compare(loss, PARAMS, X, gradient=wrong)
    with pytest.raises(AssertionError) as raised:
        report.raise_if_bad()
    assert str(raised.value) == DISAGREES


def test_the_error_of_a_gradient_of_other_shapes_and_types():
    report = compare(loss, PARAMS, X, gradient=of_other_types)
    with pytest.raises(AssertionError) as raised:
        report.raise_if_bad()
    assert "\n".join(str(raised.value).splitlines()[5:]) == OTHER_TYPES


def test_the_error_of_a_gradient_of_another_structure():
    report = compare(lambda xs: xs[0] * xs[1], [2.0, 3.0], gradient=lambda xs: (xs[1], xs[0]))
    assert not report.ok
    assert report.problems == ("expected the structure PyTreeDef([*, *]), got PyTreeDef((*, *))",)
    report = compare(jnp.multiply, 2.0, 3.0, argnums=(0, 1), gradient=lambda x, y: y)
    assert [leaf.verdict.reason for leaf in report.leaves] == [
        "expected float32[], got nothing",
        "expected float32[], got nothing",
        "expected nothing, got float32[]",
    ]
    assert [leaf.path for leaf in report.leaves] == ["args[0]", "args[1]", "gradient"]


def test_raise_if_bad_is_silent_when_all_is_well():
    compare(loss, PARAMS, X, gradient=right).raise_if_bad()


def test_repr_is_short():
    assert (
        repr(compare(loss, PARAMS, X, gradient=wrong))
        == "Report(BAD, 3 leaves, 1.2e-01 from jax.grad)"
    )


def test_the_dictionary_is_json():
    report = compare(lambda x: jnp.sum(x), X, gradient=lambda x: jnp.array([jnp.nan, 1, 1]))
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert record["ok"] is False
    assert record["leaves"][0]["path"] == "x"
    assert record["leaves"][0]["values"] == ["nan", 1.0, 1.0]
    assert record["leaves"][0]["verdict"]["reason"] == "1 elements not finite here alone"


def test_a_table_of_long_names_keeps_to_the_width_and_the_ends_of_the_names():
    params = {"x" * 80: jnp.ones((100, 100)), "short": jnp.ones(3)}
    report = compare(
        lambda p: sum(jnp.sum(leaf**2) for leaf in p.values()),
        params,
        gradient=lambda p: jax.tree.map(lambda leaf: -2 * leaf, p),
    )
    lines = str(report).splitlines()[:3]
    assert max(map(len, lines)) <= 110
    assert "xxx']" in lines[2]
    assert "…" in lines[2]


NAMES = [
    (lambda params, x: params * x, (0,), ["params"]),
    (lambda params, x: params * x, (-1, 0), ["x", "params"]),
    (lambda *xs: xs[0] * xs[1], (0, 1), ["xs[0]", "xs[1]"]),
    (lambda x, /, *rest: x * rest[0], (0, 1), ["x", "rest[0]"]),
    (jax.jit(lambda weight, x: weight * x), (1,), ["x"]),
]


@pytest.mark.parametrize(("fun", "argnums", "names"), NAMES)
def test_leaves_are_named_after_the_operands(fun, argnums, names):
    report = compare(fun, 2.0, 3.0, argnums=argnums, gradient=jax.grad(fun, argnums))
    assert [leaf.path for leaf in report.leaves] == names


def rounds(x):
    return jnp.sum(jnp.sin(x).astype(jnp.float32) * x)


def draws(x):
    return jnp.sum(jax.random.normal(jax.random.key(0), x.shape) * x)


def fails(x):
    if x.dtype == jnp.float64:
        raise TypeError("kernel for float32")
    return jnp.sum(x**2)


NOTES = [
    (
        rounds,
        "float64",
        r"float64: rounded to less at .*\.py:\d+:\d+ \(rounds\), so no finer there",
    ),
    (draws, "jax.grad", r"float64: not used, the function's value is .* there and .* here"),
    (fails, "jax.grad", r"float64: the function fails there \(TypeError: kernel for float32\)"),
]


@pytest.mark.parametrize(("fun", "finest", "note"), NOTES)
def test_a_note_says_what_float64_is_worth(fun, finest, note):
    report = compare(fun, X, gradient=jax.grad(fun))
    assert report.ok
    assert report.sources[-1] == finest
    (said,) = report.notes
    assert re.match(note, said), said


def test_float64_operands_have_no_finer_reference():
    with jax.enable_x64(True):
        x = X.astype(jnp.float64)
        report = compare(lambda x: jnp.sum(x**2), x, gradient=lambda x: 2 * x)
    assert report.sources == ("gradient", "jax.grad")
    assert report.notes == ("no finer reference: the operands are float64 already",)
    assert str(report).splitlines()[-1] == (
        "ok: 1 of 1 leaves of gradient agree with jax.grad (rtol 9.1e-13 for float64)"
    )
