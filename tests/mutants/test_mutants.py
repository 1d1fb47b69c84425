"""A few mutants of every kind, and a few right rules; `python -m tests.mutants` tries them all."""

import pytest

from tests.mutants.alarms import of_singularities, of_sizes, some
from tests.mutants.battery import judged
from tests.rules.cases import CASES

pytestmark = pytest.mark.usefixtures("x64")

#: Of each kind of rule one, small.
SHORT = {
    *("mul", "div", "sin", "max", "select_n", "floor", "atan2", "reduce_sum", "reduce_max"),
    *("dot_general", "slice", "cumsum", "custom_vjp_call", "cholesky", "nextafter"),
}


def first_of_each() -> list:
    """Returns the first case of each of them."""
    found: dict = {}
    for case in CASES:
        if case.primitive in SHORT and case.has_slope:
            found.setdefault(case.primitive, case)
    return list(found.values())


@pytest.mark.parametrize("case", first_of_each(), ids=lambda case: case.name)
def test_a_rule_with_a_mistake_is_found_out(case):
    tally = judged(case, limit=12)
    assert not tally.survivors
    assert not tally.refused
    assert tally.counts["found by check_grads"]


def test_a_rule_that_cannot_be_measured_is_held_against_the_truth():
    (case,) = (case for case in CASES if case.name == "random_gamma")
    tally = judged(case, limit=8)
    assert not tally.survivors
    assert not tally.refused
    assert tally.counts["found by mpmath"] > 4


@pytest.mark.slow
def test_rules_that_are_right_are_found_right():
    small = [check for check in some(of_sizes, 97) if check.operands[0].size < 1e5]
    found = [check.alarm() for check in (*some(of_singularities, 61), *small)]
    wrong = [text for text in found if text and "NOT JUDGED" not in text]
    assert not wrong, "\n\n".join(wrong)
