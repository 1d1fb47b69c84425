"""The page of primitives is fresh, and none is left out without a reason."""

import json

from backprop_jax.check import coverage
from tests.rules.tried import tried


def test_every_primitive_has_a_rule_or_a_reason():
    left = coverage.uncovered()
    assert not left, f"add a rule for these, or a reason to backprop_jax/check/coverage.py: {left}"


def test_the_page_is_fresh():
    notes = coverage.notes()
    assert notes["tried"] == {**notes["tried"], **tried()}, "run `python -m tests.rules.tried`"
    stale = "run `python -m backprop_jax.check.coverage`, on this release of jax"
    assert json.loads(coverage.NOTES.read_text(encoding="utf-8")) == notes, stale
    assert coverage.PAGE.read_text(encoding="utf-8") == coverage.page(notes), stale


def test_reasons_are_given_once():
    names = [name for names in coverage.REASONS.values() for name in names.split()]
    assert len(names) == len(set(names))


def test_no_reason_for_what_has_a_rule():
    """Some have a rule that says in its error what the reason says."""
    having = {str(primitive) for primitive in coverage.book}
    having -= {"io_callback", "pure_callback", "custom_vmap_call"}
    stale = {name for names in coverage.REASONS.values() for name in names.split()} & having
    assert not stale, f"these have rules now: {sorted(stale)}"
