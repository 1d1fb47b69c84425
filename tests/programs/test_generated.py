"""200 generated programs; `python -m tests.programs` tries any number."""

import itertools

import pytest

from tests.programs.trial import attempt, batches


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_programs(seed):
    for program in itertools.islice(itertools.chain.from_iterable(batches(seed)), 50):
        tally = attempt(program)
        assert not tally.failures, tally.failures[0]
