"""The table of cases, in the order of the rules: what is checked in `test_rules`, for every row."""

import pytest

from tests.rules.case import Case
from tests.rules.cases import (
    branches,
    calls,
    contractions,
    elementary,
    indexing,
    linalg,
    loops,
    reductions,
    shapes,
    special,
)

FILES = (
    *(elementary, special, shapes, indexing, reductions),
    *(contractions, linalg, calls, branches, loops),
)
CASES = [case for file in FILES for case in file.CASES]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Returns the decorator that runs a test once for each of the cases."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


every_case = each(CASES)
every_case_of_jax = each([case for case in CASES if not case.jax_fails])
