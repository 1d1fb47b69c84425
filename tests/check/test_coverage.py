"""The page of primitives is fresh, and none is left out without a reason."""

import jax
import pytest

from backprop_jax.check import coverage


def test_every_primitive_has_a_rule_or_a_reason():
    left = coverage.uncovered()
    assert not left, f"add a rule for these, or a reason to backprop_jax/check/coverage.py: {left}"


def test_the_page_is_fresh():
    text = coverage.PAGE.read_text(encoding="utf-8")
    if f"jax {jax.__version__} " not in text:
        pytest.skip("the page was written for another release of jax")
    assert text == coverage.page(), "run `python -m backprop_jax.check.coverage`"


def test_reasons_are_given_once():
    names = [name for names in coverage.REASONS.values() for name in names.split()]
    assert len(names) == len(set(names))


def test_no_reason_for_what_has_a_rule():
    having = {str(primitive) for primitive in coverage.book}
    stale = {name for names in coverage.REASONS.values() for name in names.split()} & having
    assert not stale, f"these have rules now: {sorted(stale)}"
