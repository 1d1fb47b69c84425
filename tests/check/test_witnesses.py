# ruff: noqa: E501 (rows of a table stay rows)
"""Each witness answers, says how sure it is, and sees an error; those that cannot say why."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from backprop_jax.check.compare import compare
from backprop_jax.check.witnesses import named
from backprop_jax.check.witnesses.named import ask
from backprop_jax.check.witnesses.witness import DoesNotApply, Question, Witness

X = np.array([0.3, -1.7, 2.5, 0.9])


def network(x):
    h = jax.nn.relu(jnp.outer(x, x) @ jnp.arange(8.0).reshape(4, 2) - 1)
    return jnp.sum(jax.nn.log_softmax(h)[jnp.arange(4), jnp.array([0, 1, 1, 0])] ** 2)


def loops(x):
    def body(carry, a):
        return jnp.sin(carry) * a, carry * a

    last, rows = lax.scan(body, x[0], x[1:], reverse=True)
    count = lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x[1]), (0, last))
    return count[1] + lax.cond(x[2] > 0, jnp.sum, lambda r: -jnp.sum(r), rows)


def places(x):
    moved = x.at[jnp.array([0, 0, 9])].add(x[1:], mode="drop")[::-1]
    window = lax.dynamic_slice(moved, (jnp.argmax(x),), (2,))
    padded = jnp.concatenate([jnp.pad(window, 1), jnp.where(x > 0, x, x**3)])
    return jnp.prod(padded[1:4]) * jnp.max(padded) + jnp.sum(
        jnp.cumsum(jnp.sort(padded)[::-1]) ** 2
    )


def windows(x):
    image = jnp.outer(x, jnp.sin(jnp.arange(12.0) * x[1])).reshape(2, 2, 3, 4)
    kernel = jnp.outer(x, jnp.arange(8.0)).reshape(4, 1, 2, 4)[..., :3]
    filtered = lax.conv_general_dilated(
        image, kernel, (1, 2), ((1, 0), (2, 1)), lhs_dilation=(1, 2), rhs_dilation=(2, 1),
        feature_group_count=2, dimension_numbers=("NCHW", "OIHW", "NHWC"),
    )  # fmt: skip
    pooled = lax.reduce_window(filtered, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 2, 1), "SAME")
    mean = lax.reduce_window(filtered, 0.0, lax.add, (1, 2, 1, 1), (1, 1, 1, 1), "VALID")
    return jnp.sum(pooled**2) + jnp.sum(mean**3) + lax.top_k(x, 2)[0] @ x[:2]


def special(x):
    y = jnp.abs(x) + 0.1
    parts = [lax.erf(x), lax.lgamma(y), lax.cbrt(x), y**1.5, jnp.arctan2(x, 2.0)]
    parts += [jnp.tanh(x) * jnp.expm1(x) / lax.rsqrt(y), lax.erf_inv(x / 4), jnp.exp2(x), x**-3]
    return sum(jnp.sum(part) for part in parts) + jnp.sum(jnp.clip(x, -1.0, 1.0))


FUNCTIONS = [network, loops, places, windows, special]


def installed(name):
    extra = named.WITNESSES[name].extra
    packages = {"symbolic": "sympy"}
    missing = bool(extra) and importlib.util.find_spec(packages.get(extra, extra)) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{extra} is not installed"))


REPLAYED = [installed(name) for name in ("mpmath", "sympy", "torch", "tensorflow")]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPLAYED)
@pytest.mark.parametrize("fun", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_function_is_taken_again_in_another_system(fun, name):
    with jax.enable_x64(True):
        question = Question(fun, (jnp.asarray(X),))
        answer = ask(question, name)
        assert answer.applies, answer.why_not
        report = compare(fun, jnp.asarray(X), witnesses=(name,))
    assert report.ok, str(report)
    assert report.leaves[0].verdict.word == "ok"
    largest = np.max(np.abs(answer.leaves["x"]))
    assert np.max(answer.errors.get("x", 0.0)) < 1e-15 * max(1.0, largest)


@pytest.mark.parametrize("name", [p for p in REPLAYED if p.values[0] in ("torch", "tensorflow")])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_a_framework_computes_in_the_dtype_of_the_function(dtype, name):
    x = jnp.asarray(X + (1j * X[::-1] if dtype == "complex64" else 0), dtype)
    report = compare(lambda x: jnp.sum(jnp.abs(jnp.sin(x)) ** 2), x, witnesses=(name,))
    assert report.ok, str(report)
    assert report.leaves[0].dtype == dtype


def twice(x):
    return jnp.sum(jnp.sin(x) ** 2)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("jax", "bfloat16"), ("float64", "bfloat16"), ("jax", "float32"), ("mpmath", "float32")],
)
def test_every_witness_sees_a_wrong_element(dtype, name):
    x = jnp.asarray(X, dtype)
    wrong = lambda x: jax.grad(twice)(x).at[2].multiply(1.2)  # noqa: E731
    report = compare(twice, x, gradient=wrong, witnesses=(name,))
    (opinion,) = report.leaves[0].opinions
    assert (opinion.index, opinion.verdict.word, report.ok) == ((2,), "BAD", False)
    assert compare(twice, x, witnesses=(name,)).ok


def test_a_finer_witness_overrules_a_wrong_one():
    liar = lambda x: 1.1 * jax.grad(twice)(x)  # noqa: E731
    report = compare(twice, jnp.asarray(X), witnesses={"mpmath": None, "liar": liar})
    assert report.ok
    assert [o.verdict.word for o in report.leaves[0].opinions] == ["ok", "overruled"]
    assert "x: liar: mpmath, which is finer, agrees with the gradient" in str(report)
    assert "of backprop_jax agree with mpmath (rtol" in str(report)


def test_of_two_that_are_equally_fine_none_overrules():
    liar = lambda x: 1.1 * jax.grad(twice)(x)  # noqa: E731
    report = compare(twice, jnp.asarray(X), witnesses={"jax": None, "liar": liar})
    assert not report.ok
    assert [o.verdict.word for o in report.leaves[0].opinions] == ["ok", "BAD"]


def test_rounding_excuses_what_it_explains():
    """Where large numbers cancel a gradient in float32 has few digits; they are judged."""

    def cancelling(x):
        return jnp.sum((1e3 + x) ** 2 - 1e6 - 2e3 * x)

    x = jnp.asarray([0.3, 0.7], "float32")
    assert compare(cancelling, x, witnesses=("mpmath",)).ok
    wrong = lambda x: 1.01 * jax.grad(cancelling)(x)  # noqa: E731
    assert not compare(cancelling, x, witnesses=("mpmath",), gradient=wrong).ok


def test_a_backward_pass_in_stages_is_a_gradient():
    def forward(x, y, z):
        q = x + y
        return q * z, (q, z)

    def backward(kept, g):
        q, z = kept
        return g * z, g * z, g * q

    report = compare(
        lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0,
        argnums=(0, 1, 2), gradient=(forward, backward), witnesses=("mpmath",),
    )  # fmt: skip
    assert report.ok
    assert report.sources == ("backward", "mpmath")
    assert [leaf.opinions[0].ours for leaf in report.leaves] == [-4.0, -4.0, 3.0]


def test_a_witness_that_does_not_apply_is_named_with_the_reason(monkeypatch):
    monkeypatch.setitem(
        named.WITNESSES, "absent", named.Row("gradients:ours", "", "far")._replace(place="no:no")
    )
    monkeypatch.setattr(named, "HERE", "nowhere_installed.")
    assert ask(Question(twice, (X,)), "absent") == Witness(
        "absent", why_not="nowhere_installed is not installed: pip install 'backprop-jax[far]'"
    )


@pytest.mark.parametrize(
    ("fun", "x", "why"),
    [
        (
            lambda x: jnp.linalg.qr(x)[1][0, 0],
            np.eye(2),
            "primitive 'qr' is not in its table",
        ),
        (lambda x: jnp.sum(jnp.abs(x)), 1j * X, "the operands are complex"),
        (lambda x: jnp.sum(x @ x), np.ones((90, 90)), "too large: "),
        (lambda x: float(jnp.sum(x)) * x[0], X, "the function cannot be traced: it asks for "),
    ],
)
def test_fifty_digits_are_not_for_everything(fun, x, why):
    answer = ask(Question(fun, (jnp.asarray(x),)), "mpmath")
    assert answer.why_not.startswith(why)
    assert not answer.leaves


MATRIX = np.array([[1.0, -0.5, 0.3], [0.2, -1.5, 0.7], [-0.4, 0.6, 0.9]])
# fmt: off
OF_MATRICES = {
    "cholesky":         lambda x: jnp.sum(jnp.sin(jnp.linalg.cholesky(x @ x.T + jnp.eye(3)))),
    "solve":            lambda x: jnp.sum(jnp.linalg.solve(x, jnp.cos(x[0])) ** 2),
    "triangular solve": lambda x: jnp.sum(jax.scipy.linalg.solve_triangular(x, x[:, :2], trans=1, lower=True) ** 2),
    "eigh":             lambda x: jnp.sum(jnp.sin(jnp.linalg.eigh(x + x.T)[1])),
    "svd":              lambda x: jnp.sum(jnp.sin(jnp.linalg.svd(x)[0])) + jnp.linalg.svd(x)[1][0],
    "qr":               lambda x: jnp.sum(jnp.sin(jnp.linalg.qr(x)[0])),
    "slogdet":          lambda x: jnp.linalg.slogdet(x)[1],
    "fft":              lambda x: jnp.sum(jnp.sin(jnp.fft.irfft(jnp.fft.rfft(x) * (1 + 2j), n=3))),
}
# fmt: on


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["mpmath", "torch", "tensorflow"])
@pytest.mark.parametrize("of", OF_MATRICES)
def test_linear_algebra_and_fourier(name, of):
    if name == "mpmath" and of not in ("cholesky", "solve", "triangular solve"):
        return
    if name != "mpmath":
        pytest.importorskip(name)
    if (name, of) == ("tensorflow", "slogdet"):
        return  # There, lu has no gradient.
    report = compare(OF_MATRICES[of], jnp.asarray(MATRIX), witnesses=(name,))
    assert report.ok, report
    assert not report.leaves[0].opinions[0].verdict.word == "skipped"


def test_where_nobody_applies_the_report_is_not_ok():
    size = lambda z: jnp.sum(jnp.abs(z) ** 2)  # noqa: E731
    report = compare(size, jnp.asarray(X, "complex64"), witnesses=("mpmath",))
    assert not report.ok
    text = str(report)
    assert "mpmath does not apply: the operands are complex" in text
    assert "z: no witness says anything of it" in text
    assert "BAD: 0 of 1 leaves of backprop_jax agree with nobody" in text


def test_a_rule_of_ones_own_is_named_where_a_replay_differs():
    report = compare(lambda x: jnp.sum(jax.nn.relu(x)), jnp.zeros(2), witnesses=("mpmath",))
    (opinion,) = report.leaves[0].opinions
    assert (opinion.ours, opinion.says, opinion.error) == (0.0, 0.5, pytest.approx(0.5))
    assert report.ok and not report.notes

    @jax.custom_jvp
    def straight(x):
        return jnp.floor(x)

    straight.defjvps(lambda tangent, z, x: tangent)
    report = compare(lambda x: jnp.sum(straight(x) * x), jnp.asarray(X), witnesses=("mpmath",))
    assert not report.ok
    assert report.notes[0].startswith("mpmath: it differentiates the body of what has a rule of ")


def test_a_name_that_nobody_has_is_refused():
    with pytest.raises(ValueError, match=r"^no witness 'sympi'; did you mean 'sympy'\?$"):
        compare(twice, jnp.asarray(X), witnesses=("sympi",))


def test_the_second_derivative():
    report = compare(twice, jnp.asarray(X), order=2, witnesses=("jax", "mpmath"))
    assert report.ok, str(report)
    with pytest.raises(ValueError, match="order is 1; or 2"):
        compare(twice, jnp.asarray(X), order=3)


def test_the_table_in_json_and_markdown():
    report = compare(twice, jnp.asarray(X), witnesses=("jax", "mpmath"))
    held = json.loads(json.dumps(report.to_dict()))
    assert [o["witness"] for o in held["leaves"][0]["opinions"]] == ["jax.grad", "mpmath"]
    assert held["ok"] and held["absent"] == []
    head, line, *rows = report.to_markdown().splitlines()
    assert head.startswith("| leaf | type | witness | at | backprop_jax | says | difference |")
    assert line.count("---") == head.count("|") - 1
    assert rows[0].startswith("| `x` | float32[4] | jax.grad | ")
    assert compare(twice, jnp.asarray(X)).to_markdown().startswith("| leaf | type | relative |")


def test_a_witness_may_see_a_gradient_from_one_side_only(monkeypatch):
    """One that knows the slope along one direction judges that, and no single element."""

    def along_ones(question):
        sees = lambda leaves: {"along ones": np.asarray(leaves["x"].sum())}  # noqa: E731
        slope = np.asarray(2 * np.sum(np.sin(X) * np.cos(X)))
        return Witness("ones", {"along ones": slope}, errors={"along ones": 1e-6}, sees=sees)

    monkeypatch.setitem(named.WITNESSES, "ones", named.Row("", ""))
    monkeypatch.setattr(named, "witness", lambda row: along_ones)
    report = compare(twice, jnp.asarray(X), witnesses=("ones",))
    assert [leaf.path for leaf in report.leaves] == ["x", "along ones"]
    assert [leaf.verdict.word for leaf in report.leaves] == ["seen", "ok"]
    assert report.ok


def test_an_error_in_another_system_is_a_reason():
    def fails(question):
        raise DoesNotApply("it rains")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(named, "witness", lambda row: fails)
        assert ask(Question(twice, (X,)), "jax") == Witness("jax", why_not="it rains")
