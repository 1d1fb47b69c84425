"""The table of cases, in the order of the rules: what is checked in `test_rules`, for every row."""

import os

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


FIRST = list({case.primitive: case for case in reversed(CASES)}.values())[::-1]
"""One case of each primitive."""


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Returns the decorator that runs a test once for each of the cases."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def marks(case: Case) -> list[pytest.MarkDecorator]:
    """Returns those of a case in a test that takes long: one of a primitive's is not slow."""
    return [] if case in FIRST else [pytest.mark.slow]


def first_of_each(cases: list[Case]) -> pytest.MarkDecorator:
    """Returns the decorator for a test that takes long, see `marks`."""
    rows = [pytest.param(case, marks=marks(case)) for case in cases]
    return pytest.mark.parametrize("case", rows, ids=lambda case: case.name)


def one_of_each(cases: list[Case]) -> pytest.MarkDecorator:
    """Returns the decorator for one that takes very long: one of them is all, unless CASES=all."""
    return each(cases if os.environ.get("CASES") == "all" else [c for c in cases if c in FIRST])


OF_JAX = [case for case in CASES if not case.jax_fails]

every_case = each(CASES)
every_case_of_jax = each(OF_JAX)
