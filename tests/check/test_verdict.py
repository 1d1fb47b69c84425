"""Elements that are not finite, and when `jax.grad` is asked again."""

import numpy as np
import pytest

from backprop_jax.check.verdict import Tolerance, judge

NAN, INF = np.nan, np.inf
TOLERANCE = Tolerance(1e-6, 0.0, strict=False)

#   ours, jax.grad, float64, accepted
NOT_FINITE = [
    (NAN, NAN, NAN, True),
    (NAN, NAN, 1.0, True),  # Shared with jax.grad: an overflow in float32, say.
    (INF, INF, 1.0, True),
    (INF, 1.0, INF, True),  # Shared with float64.
    (NAN, 1.0, 1.0, False),
    (INF, 1.0, 1.0, False),
    (INF, -INF, 1.0, False),
    (NAN, INF, INF, False),
    (1.0, NAN, 1.0, True),  # Float64 takes the place of jax.grad.
    (2.0, NAN, 1.0, False),
    (1.0, NAN, NAN, True),  # Nobody knows better.
    (1.0, 1.0, NAN, True),
    (2.0, 1.0, NAN, False),
]


@pytest.mark.parametrize(("ours", "witness", "truth", "accepted"), NOT_FINITE)
def test_an_element_that_is_not_finite_is_bad_only_if_ours_alone(ours, witness, truth, accepted):
    leaves = [np.array([1.0, value, -1.0]) for value in (ours, witness, truth)]
    narrow = [leaf.astype(np.float32) for leaf in leaves[:2]]
    verdict = judge(*narrow, leaves[2], TOLERANCE, lambda: [(narrow[1], leaves[2])])
    assert verdict.ok == accepted, verdict.reason


def test_jax_is_asked_again_only_about_a_dispute():
    def never():
        raise RuntimeError("asked again")

    leaf = np.ones(3, np.float32)
    assert judge(leaf, leaf, None, TOLERANCE, never).ok
    with pytest.raises(RuntimeError, match="asked again"):
        judge(2 * leaf, leaf, None, TOLERANCE, never)


@pytest.mark.parametrize(("moved", "word"), [(0.0, "BAD"), (0.1, "BAD"), (0.3, "rounding")])
def test_a_dispute_is_settled_by_how_far_rounding_moves_jax(moved, word):
    ours, witness = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    assert judge(ours, witness, None, TOLERANCE, lambda: [(witness + moved, None)]).word == word


DEFAULTS = [
    (np.float64, False, 4096 * 2**-52),
    (np.float32, True, 16 * 2**-23),
    (np.float32, False, 2**-11.5),
    (np.float16, True, 16 * 2**-10),
    (np.complex64, True, 16 * 2**-23),
]


@pytest.mark.parametrize(("dtype", "has_truth", "expected"), DEFAULTS)
def test_the_default_tolerance_comes_from_the_dtype(dtype, has_truth, expected):
    tolerance = Tolerance.of(np.dtype(dtype), has_truth, rtol=None, atol=0.0)
    assert tolerance.relative == pytest.approx(expected)
    assert not tolerance.strict
