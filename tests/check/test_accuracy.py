"""Ours is never further from the truth than JAX's, and the page says so of every function."""

import jax
import numpy as np
import pytest

from backprop_jax.check import accuracy
from backprop_jax.check.measured import COMPOSED, ROWS
from backprop_jax.check.truth import m, slope_of
from backprop_jax.engine.registry import book

#: Functions where digits are easily lost, of those the page is about, and the ulp allowed to ours.
SLICE = {
    "div": 3, "logistic": 4, "expm1": 2, "exp2": 4, "rsqrt": 3, "asin": 3, "acosh": 4, "atan2": 3,
    "sinh": 4, "erf": 4, "erfc": 4, "erf_inv": 40, "digamma": 5, "polygamma (m = 2)": 8,
    "bessel_i0e": 6, "bessel_i1e": 8, "regularized_incomplete_beta": 2000, "igamma": 1000,
}  # fmt: skip


@pytest.mark.parametrize("name", SLICE)
def test_never_further_from_the_truth_than_jax(name):
    (row,) = (row for row in ROWS if row.name == name)
    for dtype in accuracy.DTYPES:
        thin = len(row.points(dtype)[0]) // 24 | 1
        for finding in accuracy.find(row, dtype, thin=thin):
            ours = np.max(finding.ours)
            assert ours <= SLICE[name], f"{ours:.1f} ulp in operand {finding.operand}, {dtype}"
            if finding.jax is not None:
                assert ours <= np.max(finding.jax) + 1.0, f"operand {finding.operand}, {dtype}"


def test_the_page_has_every_elementwise_primitive():
    text = accuracy.PAGE.read_text(encoding="utf-8")
    rows = {row.name.split(" (")[0] for row in ROWS}
    unmeasured = {name for names in accuracy.UNMEASURED.values() for name in names.split()}
    for primitive, rule in book.items():
        if rule.kind == "elementwise" and f"jax {jax.__version__} " in text:
            assert str(primitive) in rows | unmeasured, f"add a row for {primitive} to measured.py"
            assert f"| `{primitive}" in text or f"`{primitive}`" in text, f"{primitive}: {STALE}"


STALE = "run `python -m backprop_jax.check.accuracy`"


def test_the_page_has_every_row():
    text = accuracy.PAGE.read_text(encoding="utf-8")
    if f"jax {jax.__version__} " not in text:
        pytest.skip("the page was written for another release of jax")
    missing = [row.name for row in [*ROWS, *COMPOSED] if f"| `{row.name}` |" not in text]
    assert not missing, STALE


def test_errors_are_in_units_of_the_last_place():
    one = np.float32(1)
    above, half = np.nextafter(one, np.float32(2)), m.mpf(1) + m.mpf(2) ** -24
    found = accuracy.ulps(np.array([above, one, 2, np.inf, 0]), [1, half, 1, 1, 1e-40], np.float32)
    assert found.tolist() == [1.0, 0.5, 2.0**23, np.inf, 0.0]
    assert accuracy.number(found[2], np.float32) == "**wrong**"


def test_a_difference_of_many_digits_is_a_slope():
    with m.workdps(110):
        assert abs(slope_of(m.sin)(m.mpf(2)) - m.cos(2)) < m.mpf(10) ** -60
