"""Whatever a file is, it is told in one line with a place; exit code 2, nothing written."""

import re

import pytest

from tests.runner import broken

CASES = list(broken.cases())

PLACE = re.compile(r"(broken|wrong|tab|binary|circle2?)\.yaml:[1-9]\d*:[1-9]\d*: .*|line\.py:.*")
REST = re.compile(r"broken\.yaml: (training: say how long|experiment: required)")
"""What is not there has no line."""


def test_there_are_more_than_two_hundred():
    assert len({text for _, text in CASES}) > 200


@pytest.mark.slow  # a file says nothing of the version of jax
@pytest.mark.parametrize(("name", "text"), CASES, ids=[name for name, _ in CASES])
def test_a_broken_file_is_told_where(cli, folder, name, text):
    for beside, content in broken.BESIDE.items():
        (folder / beside).write_bytes(content)
    (folder / "broken.yaml").write_bytes(text)
    before = sorted(folder.iterdir())
    result = cli("run", "broken.yaml")
    told = result.err.splitlines()
    assert (result.code, result.out) == (2, "")
    assert all(PLACE.fullmatch(line) or REST.match(line) for line in told), told
    placed = [line for line in told if PLACE.fullmatch(line)]
    assert len(placed) == 1, told
    assert len(placed[0]) < 400
    assert sorted(path for path in folder.iterdir() if path.name != "__pycache__") == before
