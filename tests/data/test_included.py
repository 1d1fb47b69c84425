"""The data sets of the package: there, as the manifest says, and nothing else."""

import hashlib
import shutil

import numpy as np
import pytest

from backprop_jax import data
from backprop_jax.data import included
from backprop_jax.errors import DataError

SHAPES = {
    "doctor_visits": {"mdvis": (20190,), "lncoins": (20190,)},
    "fashion_mnist": {"image": (10000, 28, 28), "label": (10000,)},
    "hares_and_lynxes": {"year": (21,), "hares": (21,), "lynxes": (21,)},
    "mnist": {"image": (5000, 28, 28), "label": (5000,)},
    "sunspots": {"month": (3120,), "number": (3120,)},
}


@pytest.mark.parametrize("name", SHAPES)
def test_arrays_have_their_shapes(name):
    found = data.arrays(name)
    assert {key: found[key].shape for key in SHAPES[name]} == SHAPES[name]


def test_the_text_is_shakespeare():
    text = data.text("shakespeare")
    assert len(text) == 1_025_912
    assert len(set(text)) == 75
    assert "To be, or not to be,--that is the question:--" in text


def test_each_file_is_in_the_manifest_with_source_and_licence():
    listed = {facts["file"] for facts in data.about().values()}
    there = {path.name for path in included.FOLDER.iterdir() if path.suffix in (".npz", ".gz")}
    assert there == listed
    assert sum((included.FOLDER / name).stat().st_size for name in there) < 6e6
    for facts in data.about().values():
        assert facts.keys() == {"file", "what", "source", "licence", "sha256"}
        assert all(facts.values())


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    shutil.copy(included.FOLDER / "sunspots.npz", tmp_path)
    with open(tmp_path / "sunspots.npz", "ab") as file:
        file.write(b"x")
    found = hashlib.sha256((tmp_path / "sunspots.npz").read_bytes()).hexdigest()
    monkeypatch.setattr(included, "FOLDER", tmp_path)
    with pytest.raises(DataError) as error:
        data.arrays("sunspots")
    assert str(error.value) == (
        f"sunspots.npz is not the file that the manifest speaks of: sha256 {found}\n"
        "  to go on:   install backprop-jax again"
    )


def test_an_unknown_name_is_told_with_those_that_are_known():
    with pytest.raises(DataError, match=r"^no data set 'minst'; known: doctor_visits, "):
        data.arrays("minst")


def test_parts_have_no_example_in_common():
    train, test = data.split(0, 10, 0.2)
    assert sorted([*train, *test]) == [*range(10)]
    assert len(test) == 2
    assert [len(rows) for rows in data.split(0, 3, 0.01)] == [2, 1]


def test_windows_begin_at_each_stride():
    found = data.windows(np.arange(7), 3, 2)
    assert found.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
