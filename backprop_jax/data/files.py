"""A user's own files: npz, CSV, Parquet, text. What is wrong is said with line and column."""

import csv
import importlib
import importlib.util
import os
import zipfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backprop_jax.errors import DataError

Table = dict[str, np.ndarray]
"""Columns by name: numbers (float64), or texts where one of them is no number."""

DELIMITERS = ",;\t"
MISSING = ("", "na", "n/a", "nan", "null", "none")
"""Words in a CSV file for a number that is not known, in small letters."""


def read_arrays(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """Returns the named arrays of an npz file.

    Args:
      path: the file.
      shapes: for each array its shape after the first axis, which counts the examples; None for
        any size.

    Raises:
      DataError: an array is missing, has another shape, or has infinities or NaN in it; the arrays
        have different numbers of examples, or none; pickled objects are refused.
    """
    _exists(path)
    try:
        # NumPy leaves a file open that it cannot read, unless it is given one.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path} holds one array without a name; save it by np.savez")
            missing = [name for name in shapes if name not in archive.files]
            if missing:
                raise DataError(_no(path, "array", missing[0], archive.files), missing[0])
            found = {name: archive[name] for name in shapes}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as npz: {_first_line(error)}") from None
    for name, array in found.items():
        _check_array(path, name, array, shapes[name])
    sizes = {name: len(array) for name, array in found.items()}
    if len(set(sizes.values())) != 1:
        told = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise DataError(f"{path}: not the same number of examples: {told}")
    return found


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Returns columns of a CSV file (its first line names them) or of a Parquet file.

    Args:
      path: the file; `.parquet` needs the extra `parquet`, all else is read as CSV, with commas,
        semicolons or tabs between.
      columns: which ones; None for all.

    Raises:
      DataError: there are no rows, a column is missing, a row has too few or too many values, or a
        value is missing, infinite or NaN.
    """
    _exists(path)
    parquet = path.suffix in (".parquet", ".pq")
    table = (_parquet if parquet else _csv)(path, columns)
    # The line of a row: the first line of a CSV file holds the names.
    first = 0 if parquet else 2
    for name, column in table.items():
        if not len(column):
            raise DataError(f"{path} has no rows")
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column)))
            found = "missing or NaN" if np.isnan(column[row]) else "infinite"
            where = f"line {row + first}" if first else f"row {row}"
            raise DataError(f"{path}, {where}, column {name!r}: {found}", name)
    return table


def read_text(path: Path, shortest: int = 2) -> str:
    """Returns a text file, in UTF-8, with at least `shortest` characters.

    Raises:
      DataError: it is none, or is too short.
    """
    _exists(path)
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8, see byte {error.start}") from None
    if len(text) < shortest:
        raise DataError(f"{path} has {len(text)} characters; at least {shortest} are needed")
    return text


def numbers(path: Path, table: Table, names: Sequence[str]) -> np.ndarray:
    """Returns columns side by side, if all of them are numbers.

    Raises:
      DataError: one is not; its first word is told.
    """
    for name in names:
        if table[name].dtype.kind != "f":
            word = next(str(word) for word in table[name] if _number(word) is None)
            raise DataError(f"{path}, column {name!r}: {word!r} is not a number", name)
    return np.stack([table[name] for name in names], axis=1)


def _csv(path: Path, columns: Sequence[str] | None) -> Table:
    """Returns columns of a CSV file."""
    text = read_text(path, shortest=1)
    head = text.split("\n", 1)[0]
    lines = csv.reader(text.splitlines(), delimiter=max(DELIMITERS, key=head.count))
    names = [name.strip() for name in next(lines)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: the first line names {twice[0]!r} twice")
    rows = []
    for row in lines:
        if row and len(row) != len(names):
            told = f"{len(row)} values, but the first line names {len(names)} columns"
            raise DataError(f"{path}, line {lines.line_num}: {told}")
        rows.append(row)
    while rows and not rows[-1]:
        rows.pop()
    if [] in rows:
        raise DataError(f"{path}, line {rows.index([]) + 2}: empty")
    chosen = _chosen(path, columns, names)
    return {name: _column([row[names.index(name)] for row in rows]) for name in chosen}


def _parquet(path: Path, columns: Sequence[str] | None) -> Table:
    """Returns columns of a Parquet file."""
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(f"{path}: Parquet needs pyarrow; pip install 'backprop-jax[parquet]'")
    parquet, arrow = (importlib.import_module(f"pyarrow{part}") for part in (".parquet", ""))
    try:
        file = parquet.ParquetFile(path)
        chosen = _chosen(path, columns, file.schema_arrow.names)
        table = file.read(columns=chosen)
    except arrow.ArrowException as error:
        raise DataError(f"{path} cannot be read as Parquet: {_first_line(error)}") from None
    return {name: _cast(table[name].to_numpy()) for name in chosen}


def _chosen(path: Path, columns: Sequence[str] | None, names: Sequence[str]) -> list[str]:
    """Returns the columns that are asked for, if they are there."""
    for name in columns or ():
        if name not in names:
            raise DataError(_no(path, "column", name, names), name)
    return list(names if columns is None else dict.fromkeys(columns))


def _column(words: list[str]) -> np.ndarray:
    """Returns the words of a column as numbers, or as they are if one is no number."""
    found = [_number(word) for word in words]
    if any(number is None for number in found):
        return np.array(words)
    return np.array(found, np.float64)


def _cast(column: np.ndarray) -> np.ndarray:
    """Returns a column as numbers if it holds numbers or truth values, else as texts."""
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    missing = [value is None for value in column]
    return _column(["" if none else str(x) for x, none in zip(column, missing, strict=True)])


def _number(word: str) -> float | None:
    """Returns a word as a number, NaN if it says that none is known, None if it is another word."""
    if word.strip().lower() in MISSING:
        return float("nan")
    try:
        return float(word)
    except ValueError:
        return None


def _check_array(path: Path, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raises unless an array has numbers, the shape that is asked for, and only finite values."""
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}, array {name!r}: holds {array.dtype}, not numbers")
    fits = array.ndim == len(shape) + 1 and all(
        wanted in (None, size) for size, wanted in zip(array.shape[1:], shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(["examples", *("any" if one is None else str(one) for one in shape)])
        raise DataError(f"{path}, array {name!r}: shape {list(array.shape)}, not [{wanted}]")
    if not len(array):
        raise DataError(f"{path}, array {name!r}: has no examples")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = [int(index) for index in np.argwhere(~np.isfinite(array))[0]]
        raise DataError(f"{path}, array {name!r}: {array[tuple(place)]} at {place}")


def _exists(path: Path) -> None:
    """Raises unless there is a file, with something in it."""
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder, not a file")
    if not os.path.isfile(path):
        around = path.parent.glob("*") if os.path.isdir(path.parent) else ()
        beside = [file.name for file in islice(around, 1000)]
        raise DataError(f"no file {path}{_close(path.name, beside)}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty")


def _no(path: Path, what: str, name: str, known: Sequence[str]) -> str:
    """Returns that there is no such column or array, and which one may be meant."""
    listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    return f"{path} has no {what} {name!r}" + (_close(name, known) or f"; it has: {listed}")


def _close(name: str, known: Sequence[str]) -> str:
    """Returns `; did you mean 'x'?`, or nothing if no known name is close."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _first_line(error: Any) -> str:
    """Returns the first line of what an exception says."""
    return (str(error).splitlines() or [type(error).__name__])[0]
