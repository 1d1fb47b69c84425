# ruff: noqa: E501 (rows of a table stay rows)
"""A user's own files: read, or refused with the line, the column, and what may be meant."""

import importlib.util

import numpy as np
import pytest

from backprop_jax import data
from backprop_jax.data.files import numbers
from backprop_jax.errors import DataError

GOOD = "area;price;town\n1;2.5;Bath\n3;-4e2;York\n"

# The content of `t.csv`, the columns asked for, and what is said; None for no file at all.
TABLES = [
    (None, None, "no file t.csv; did you mean 't.cvs'?"),
    ("", None, "t.csv is empty"),
    ("a,b\n", None, "t.csv has no rows"),
    ("a,b\n1,2\n", ["a", "bb"], "t.csv has no column 'bb'; did you mean 'b'?"),
    ("a,b\n1,2\n", ["price"], "t.csv has no column 'price'; it has: a, b"),
    ("a,b\n1,2\n3,\n", None, "t.csv, line 3, column 'b': missing or NaN"),
    ("a,b\n1,2\nnan,4\n", None, "t.csv, line 3, column 'a': missing or NaN"),
    ("a,b\n1,inf\n", None, "t.csv, line 2, column 'b': infinite"),
    ("a,b\n1,2\n3\n", None, "t.csv, line 3: 1 values, but the first line names 2 columns"),
    ("a,b\n1,2\n\n3,4\n", None, "t.csv, line 3: empty"),
    ("a,b,a\n1,2,3\n", None, "t.csv: the first line names 'a' twice"),
    (b"a,b\n\xff,2\n", None, "t.csv: not a text file in UTF-8, see byte 4"),
]

# What is saved as `t.npz`, and what is said; `x` is asked for as [examples, any, 2], `y` as any.
ARRAYS = [
    ({"x": np.zeros((3, 1, 2))}, "t.npz has no array 'y'; it has: x"),
    ({"x": np.zeros((3, 2)), "y": np.zeros(3)}, "t.npz, array 'x': shape [3, 2], not [examples, any, 2]"),
    ({"x": np.zeros((3, 1, 3)), "y": np.zeros(3)}, "t.npz, array 'x': shape [3, 1, 3], not [examples, any, 2]"),
    ({"x": np.zeros((3, 1, 2)), "y": np.zeros(4)}, "t.npz: not the same number of examples: x has 3, y has 4"),
    ({"x": np.zeros((0, 1, 2)), "y": np.zeros(0)}, "t.npz, array 'x': has no examples"),
    ({"x": np.zeros((3, 1, 2)), "y": np.array([1, np.nan, 2])}, "t.npz, array 'y': nan at [1]"),
    ({"x": np.zeros((3, 1, 2)), "y": np.array(["a", "b", "c"])}, "t.npz, array 'y': holds <U1, not numbers"),
    ({"x": np.zeros((3, 1, 2)), "y": np.array([None] * 3)}, "t.npz cannot be read as npz: Object arrays cannot be loaded when allow_pickle=False"),
    (b"PK\x03\x04 no zip", "t.npz cannot be read as npz: File is not a zip file"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "columns", "said"), TABLES)
def test_a_table_with_a_mistake_is_refused(tmp_path, monkeypatch, content, columns, said):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "t.csv"
    (tmp_path / "t.cvs").touch()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        data.read_table(path.relative_to(tmp_path), columns)
    assert str(error.value) == said


@pytest.mark.parametrize(("content", "said"), ARRAYS)
def test_arrays_with_a_mistake_are_refused(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "t.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DataError) as error:
        data.read_arrays(path.relative_to(tmp_path), {"x": (None, 2), "y": ()})
    assert str(error.value) == said


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_whatever_stands_between_its_values(tmp_path, delimiter):
    path = tmp_path / "t.csv"
    path.write_text(GOOD.replace(";", delimiter))
    table = data.read_table(path)
    assert numbers(path, table, ["area", "price"]).tolist() == [[1, 2.5], [3, -400]]
    assert table["town"].tolist() == ["Bath", "York"]
    with pytest.raises(DataError, match=r"t\.csv, column 'town': 'Bath' is not a number$"):
        numbers(path, table, ["area", "town"])


def test_parquet_is_read_or_the_extra_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    if importlib.util.find_spec("pyarrow") is None:
        said = r"Parquet needs pyarrow; pip install 'backprop-jax\[parquet\]'$"
    else:
        said = "t.parquet cannot be read as Parquet: "
    with pytest.raises(DataError, match=said):
        data.read_table(path)


def test_a_parquet_table_is_read(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"n": [1, 2], "town": ["Bath", None], "x": [0.5, None]}), path)
    assert data.read_table(path, ["n"])["n"].tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match="row 1, column 'x': missing or NaN"):
        data.read_table(path)


def test_a_text_that_is_too_short_is_refused(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("short\r\n")
    assert data.read_text(path) == "short\n"
    with pytest.raises(DataError, match=r"t\.txt has 6 characters; at least 100 are needed$"):
        data.read_text(path, shortest=100)
