# ruff: noqa: E501 (rows of a table stay rows)
"""Data files named in a configuration: found beside it; errors stand at the setting to blame."""

import numpy as np
import pytest

from tests.runner.conftest import RECIPE

READER = """
from pathlib import Path
import jax.numpy as jnp
from backprop_jax import data as datasets

def data(path: Path, columns: list[str] = ["a"], name: str = "", seed: int = 0):
    if name:
        datasets.arrays(name)
    table = datasets.read_table(path, columns)
    return table, table

def init(batch):
    return {key: jnp.zeros(()) for key in batch}

def loss(params, batch):
    return sum(jnp.mean((params[key] - batch[key]) ** 2) for key in batch)
"""

MISTAKES = [
    ("path: t.cvs", ":2:14: data.path: no file t.cvs; did you mean 't.csv'?"),
    ("path: bad.csv", ":2:14: data.path: bad.csv, line 2, column 'a': missing or NaN"),
    ("path: t.csv, columns: [a, c]", ":2:34: data.columns.1: t.csv has no column 'c'; it has: a, b"),
    ("path: t.csv, name: minst", ":2:27: data.name: no data set 'minst'; known: doctor_visits, "),
]  # fmt: skip


@pytest.fixture
def reader(folder):
    (folder / "reader.py").write_text(READER)
    (folder / "t.csv").write_text("a,b\n" + "1,2\n" * 4)
    (folder / "bad.csv").write_text("a\nnan\n")

    def write(settings: str, to: str = "own.yaml") -> None:
        recipe = RECIPE.replace("line.py", "reader.py").replace("batch_size: 16", "batch_size: 2")
        first, rest = recipe.split("\n", 1)
        (folder / to).write_text(f"{first}\ndata: {{{settings}}}\n{rest}")

    return write


@pytest.mark.parametrize(("settings", "said"), MISTAKES)
def test_a_mistake_is_told_where_the_file_is_named(cli, folder, reader, settings, said):
    reader(settings)
    result = cli("run", "own.yaml")
    assert result.code == 2
    assert result.err.startswith(f"own.yaml{said}")
    assert not (folder / "runs").exists()


def test_a_file_is_found_from_here_and_from_beside_the_configuration(cli, folder, reader):
    (folder / "deep").mkdir()
    reader("path: t.csv", to="deep/own.yaml")
    assert cli("run", "deep/own.yaml", "--out", "one").code == 0
    (folder / "t.csv").rename(folder / "deep/t.csv")
    result = cli("run", "deep/own.yaml", "--out", "two")
    assert (result.code, result.err) == (0, "")
    both = [np.load(next((folder / run / "checkpoints").glob("step*"))) for run in ("one", "two")]
    assert [np.array_equal(both[0][key], both[1][key]) for key in both[0].files if key != "about"]
