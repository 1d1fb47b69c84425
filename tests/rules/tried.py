"""What the tests try of each primitive, for docs/coverage.md.

python -m tests.rules.tried        writes it down, then goes `python -m backprop_jax.check.coverage`
"""

import argparse
import json

from backprop_jax.check import coverage
from tests.rules.case import Case
from tests.rules.cases import CASES
from tests.rules.test_parallel import COLLECTIVE
from tests.rules.test_shards import OF_SHARDS


def orders(case: Case) -> int:
    """Returns how many orders of derivative are tested: three against JAX, two by measuring."""
    if not case.jax_fails:
        return 3
    return 2 if case.has_slope else 1


def jax_fails(cases: list[Case]) -> list[str]:
    """Returns where `jax.grad` has no answer: reasons, with the cases if it has one for others."""
    found: dict[str, list[str]] = {}
    for case in cases:
        if case.jax_fails:
            found.setdefault(case.jax_fails, []).append(case.note or "in general")
    if all(case.jax_fails for case in cases):
        return list(found)
    return [f"{', '.join(notes)}: {why}" for why, notes in found.items()]


def tried() -> dict[str, dict]:
    """Returns for every primitive the highest order tested, and where `jax.grad` has no answer."""
    found: dict[str, dict] = {name: {"orders": 2, "jax": []} for name in sorted(COLLECTIVE)}
    for name in sorted({case.primitive for case in CASES}):
        cases = [case for case in CASES if case.primitive == name]
        found[name] = {"orders": max(map(orders, cases)), "jax": jax_fails(cases)}
    for name in sorted(OF_SHARDS):
        found[name] = {"orders": 2, "jax": []}
    for name in ("pmax", "pmin"):
        found[name]["jax"] = ["no rule"]
    return found


if __name__ == "__main__":
    argparse.ArgumentParser("python -m tests.rules.tried", description=__doc__).parse_args()
    notes = coverage.notes()
    notes["tried"] = dict(sorted({**notes["tried"], **tried()}.items()))
    coverage.NOTES.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
