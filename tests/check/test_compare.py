"""Right gradients pass and wrong ones are caught, whatever the dtype and the size."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from backprop_jax.check.compare import compare

DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
REAL_DTYPES = DTYPES[:4]


class Case(NamedTuple):
    """A function and its gradient, written in another way than JAX differentiates it."""

    name: str
    fun: Callable[..., Any]
    by_hand: Callable[..., Any]
    shape: tuple[int, ...]
    dtypes: list[str] = DTYPES
    holomorphic: bool = False


CASES = [
    Case("square", lambda x: jnp.sum(jnp.real(x * x.conj())), lambda x: 2 * x.conj(), (7,)),
    Case("scalar", lambda x: jnp.real(x) ** 3, lambda x: 3 * jnp.real(x) ** 2 + 0 * x, ()),
    Case("empty", lambda x: jnp.sum(jnp.real(x)), lambda x: jnp.zeros_like(x), (0, 3)),
    Case("exponential", lambda x: jnp.mean(jnp.exp(x)), lambda x: jnp.exp(x) / x.size, (50,),
         ["complex64", "complex128"], holomorphic=True),
    Case("softplus", lambda x: jnp.sum(jnp.log1p(jnp.exp(x))), lambda x: 1 / (1 + jnp.exp(-x)),
         (3, 5), REAL_DTYPES),
    Case("softmax", lambda x: jax.nn.logsumexp(x) - x[2],
         lambda x: (jnp.exp(x - x.max()) / jnp.exp(x - x.max()).sum()).at[2].add(-1), (20,),
         REAL_DTYPES),
    Case("variance", lambda x: jnp.mean((x - x.mean()) ** 2), lambda x: 2 * (x - x.mean()) / x.size,
         (1000,), REAL_DTYPES),
    Case("gram", lambda x: jnp.sum((x.T @ x) ** 2), lambda x: 4 * x @ (x.T @ x), (30, 20),
         REAL_DTYPES),
    Case("a million", lambda x: jnp.mean(jnp.tanh(x) ** 2),
         lambda x: 2 * jnp.tanh(x) / jnp.cosh(x) ** 2 / x.size, (1_000_000,), ["float32"]),
    Case("all of a million", lambda x: jnp.sum(jnp.sin(x * jnp.arange(1e6, dtype=x.dtype) * 1e-6)),
         lambda x: jnp.dot(jnp.arange(1e6, dtype=x.dtype) * 1e-6,
                           jnp.cos(x * jnp.arange(1e6, dtype=x.dtype) * 1e-6)), (), ["float32"]),
]  # fmt: skip


def draw(shape: tuple[int, ...], dtype: str) -> jax.Array:
    generator = np.random.default_rng(1)
    x = generator.normal(size=shape)
    if dtype.startswith("complex"):
        x = x + 1j * generator.normal(size=shape)
    return jnp.asarray(x, dtype)


@pytest.mark.parametrize(
    ("case", "dtype"), [pytest.param(c, d, id=f"{c.name}-{d}") for c in CASES for d in c.dtypes]
)
def test_a_right_gradient_passes(case: Case, dtype: str):
    with jax.enable_x64(dtype in ("float64", "complex128")):
        x = draw(case.shape, dtype)
        report = compare(case.fun, x, gradient=case.by_hand, holomorphic=case.holomorphic)
    assert report.ok, str(report)
    assert report.leaves[0].dtype == dtype
    assert report.leaves[0].shape == case.shape


MUTANTS = {
    "sign flipped": lambda g: -g,
    "zero": lambda g: 0 * g,
    "transposed": lambda g: g.T,
    "rows swapped": lambda g: g[::-1],
    "one element off by 1 %": lambda g: g.at[12, 34].multiply(1.01),
    "off by 1 %": lambda g: g * 1.01,
    "one nan": lambda g: g.at[1, 2].set(jnp.nan),
    "one inf": lambda g: g.at[1, 2].set(jnp.inf),
}
TOO_FINE = {"one element off by 1 %", "off by 1 %"}  # For numbers of two or three digits.
CAUGHT = [
    (mutant, dtype)
    for mutant in MUTANTS
    for dtype in DTYPES
    if not (mutant in TOO_FINE and dtype in ("float16", "bfloat16"))
]


@pytest.mark.parametrize(("mutant", "dtype"), CAUGHT)
def test_a_wrong_gradient_of_ten_thousand_elements_is_caught(mutant: str, dtype: str):
    def fun(x):
        return jnp.mean(jnp.real(jnp.sin(x) * x))

    with jax.enable_x64(dtype in ("float64", "complex128")):
        x = draw((100, 100), dtype)
        report = compare(fun, x, gradient=lambda x: MUTANTS[mutant](jax.grad(fun)(x)))
    assert not report.ok, str(report)


def test_the_worst_element_is_named_with_what_each_source_says_there():
    x = draw((100, 100), "float32")
    report = compare(
        lambda x: jnp.sum(x**2), x, gradient=lambda x: (2 * x).at[12, 34].multiply(1.01)
    )
    (leaf,) = report.leaves
    difference = leaf.between("gradient", "jax.grad")
    assert report.worst is leaf
    assert difference.index == (12, 34)
    right = 2 * x[12, 34].item()
    assert leaf.values == pytest.approx((1.01 * right, right, right))
    assert difference.absolute == pytest.approx(abs(0.01 * right), rel=1e-5)
    assert difference.relative == pytest.approx(
        abs(0.01 * right) / (2 * abs(x).max().item()), rel=1e-5
    )
    assert difference.elementwise == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert difference.ulp == pytest.approx(0.01 * 2**23, rel=1)
    assert difference.cosine == pytest.approx(1, abs=1e-6)


def test_an_error_shared_with_nothing_is_not_hidden_by_a_kink_that_float64_sees_elsewhere():
    def fun(x):  # In float32, 1 + x is 1 and the kink is at the operand; in float64 it is not.
        return jnp.sum(jnp.maximum(1 + 1e-9 - x, 0) * jnp.arange(1.0, 5.0))

    x = jnp.asarray([1.0, 0.5, 0.25, 0.125])
    assert compare(fun, x, gradient=jax.grad(fun)).ok
    assert not compare(fun, x, gradient=lambda x: jax.grad(fun)(x).at[3].multiply(1.01)).ok


def test_a_better_gradient_than_that_of_jax_passes():
    report = compare(
        lax.div,
        jnp.float32(1e20),
        jnp.float32(1e25),
        argnums=1,
        gradient=lambda x, y: -(x / y) / y,
    )
    assert report.ok, str(report)
    assert report.leaves[0].verdict.reason == "agrees with float64, where jax.grad does not"


def unstable(x):
    return jnp.sum((1 - jnp.cos(x)) / x**2)


def test_a_difference_that_rounding_explains_passes_and_says_so():
    x = jnp.asarray([0.3, 0.4])
    report = compare(
        unstable, x, gradient=lambda x: jnp.sin(x) / x**2 - 2 * (1 - jnp.cos(x)) / x**3
    )
    assert report.ok, str(report)
    assert report.leaves[0].verdict.word == "rounding"
    assert not compare(unstable, x, gradient=lambda x: -jax.grad(unstable)(x)).ok


def test_a_gradient_that_is_zero_but_for_rounding_passes():
    """A bias before a softmax: its gradient is 0, and each way to compute it leaves other dust."""
    x, w = draw((2, 40), "float32")

    def fun(b):
        return jnp.dot(w, jax.nn.log_softmax(x + b))

    def by_hand(b):
        return jnp.sum(w - jnp.sum(w) * jax.nn.softmax(x + b))

    report = compare(fun, jnp.float32(0.1), gradient=by_hand)
    assert report.ok, str(report)


def test_a_tolerance_given_is_strict():
    x = jnp.asarray([0.3, 0.4])
    by_hand = jax.grad(lambda x: jnp.sum(2 * jnp.sin(x / 2) ** 2 / x**2))
    assert not compare(unstable, x, gradient=lambda x: 1.001 * by_hand(x), rtol=1e-5).ok
    assert compare(unstable, x, gradient=by_hand, rtol=1e-2).ok
    assert compare(unstable, x, gradient=by_hand, rtol=0.0, atol=1e-2).ok


def test_an_integer_operand_is_shown_and_skipped():
    report = compare(
        lambda n, x: n * x, 3, 2.0, argnums=(0, 1), allow_int=True,
        gradient=lambda n, x: (np.zeros((), jax.dtypes.float0), 3.0),
    )  # fmt: skip
    assert report.ok
    assert [leaf.verdict.word for leaf in report.leaves] == ["skipped", "ok"]


def test_operands_of_every_kind_reach_the_function():
    def fun(params, key, size, *, scale, activation):
        noise = jax.random.permutation(key, size)
        return activation(params["w"] * scale * noise).sum(), {"size": size}

    report = compare(
        fun,
        {"w": jnp.arange(3.0)},
        jax.random.key(0),
        3,
        has_aux=True,
        scale=np.float64(0.5),
        activation=jnp.tanh,
        gradient=lambda *args, **kwargs: jax.grad(fun, has_aux=True)(*args, **kwargs)[0],
    )
    assert report.ok, str(report)
    assert report.sources == ("gradient", "jax.grad", "float64")


def test_leaves_of_several_precisions_are_judged_each_by_its_own():
    with jax.enable_x64(True):
        params = {"narrow": jnp.arange(3, dtype=jnp.float32), "wide": jnp.arange(3) / 3}
        report = compare(
            lambda p: jnp.sum(jnp.exp(p["narrow"]) * jnp.exp(p["wide"])),
            params,
            gradient=lambda p: {k: jnp.exp(p["narrow"] + p["wide"]).astype(p[k].dtype) for k in p},
        )
    assert report.ok, str(report)
    assert [leaf.tolerance for leaf in report.leaves] == [16 * 2**-23, 4096 * 2**-52]


def test_an_overflow_shared_with_jax_is_counted():
    x = jnp.asarray([1.0, 100.0])
    report = compare(lambda x: jnp.sum(jnp.exp(x)), x, gradient=jnp.exp)
    assert report.ok, str(report)
    assert report.leaves[0].nonfinite == 1
    assert "x: 1 elements are inf or nan, and not here alone" in str(report)
    assert not compare(lambda x: jnp.sum(jnp.exp(x)), x, gradient=lambda x: -jnp.exp(x)).ok


def test_python_control_flow_on_values_is_compared_as_well():
    def fun(x):
        return x**2 if x > 0 else -x

    assert compare(fun, 3.0, gradient=lambda x: 2 * x).ok


def test_our_own_gradient_is_judged_unless_another_is_given():
    report = compare(lambda x: jnp.sum(jnp.sin(x) * x), jnp.arange(4.0))
    assert report.ok, str(report)
    assert report.sources[0] == "backprop_jax"
