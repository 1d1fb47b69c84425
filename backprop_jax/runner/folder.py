"""One folder for each run: how it was asked for, where it ran, what happened."""

import errno
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from backprop_jax.errors import CannotWrite, ConfigError, message

try:
    import fcntl
except ModuleNotFoundError:  # Windows: there, nobody is refused.
    fcntl = None

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
CURVES = "curves.png"
FLOW = "flow.png"
REPORT = "report.html"
NONFINITE = "nonfinite.txt"
CHECKPOINTS = "checkpoints"
RUNS = Path("runs")
LOCK = ".lock"
UNFINISHED = ".unfinished"

AGAIN = "then run the same command with --resume; what was there is whole"
ELSEWHERE = "or name another place"

MENDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "let it be written there"),
    errno.ENOENT: "put the folder back, which is gone",
}
"""What helps first against an error of the system."""


def make_folder(out: Path | None, name: str) -> Path:
    """Returns a new folder: `out`, or runs/<name>-<time>-<n> with the first n that is free.

    Raises:
      ConfigError: `out` is a file, or has files in it; results are never written over.
    """
    if out is None:
        with writing(RUNS, ELSEWHERE):
            RUNS.mkdir(exist_ok=True)
        stem = RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        return next(folder for n in itertools.count(1) if _made(folder := Path(f"{stem}-{n}")))
    refuse_used(out)
    with writing(out, ELSEWHERE):
        out.mkdir(parents=True, exist_ok=True)
    return out


def refuse_used(out: Path | None) -> None:
    """Raises if a folder for results cannot be used: it is a file, or has files in it."""
    if out is not None and os.path.exists(out) and not out.is_dir():
        raise ConfigError(f"--out {out}: a file, not a folder")
    if out is not None and os.path.isdir(out) and any(out.iterdir()):
        raise ConfigError(f"--out {out}: not empty; name another folder, or remove it")


def refuse_nowhere(option: str, file: Path | None) -> None:
    """Raises if an option names a file that cannot be one: a folder, or in a folder there is not.

    Raises:
      ConfigError: it does.
    """
    if file is not None and os.path.isdir(file):
        raise ConfigError(f"--{option} {file}: a folder, not a file")
    if file is not None and not os.path.isdir(file.parent):
        raise ConfigError(f"--{option} {file}: there is no folder {file.parent}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps every other run out of a folder; the lock goes with the process, however it ends.

    Raises:
      ConfigError: another process is writing in this folder.
      CannotWrite: nobody can.
    """
    path = folder / LOCK
    with writing(path):
        opened = path.open("a+b", buffering=0)
    with opened as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                owner = f" (process {pid})" if (pid := file.read().decode().strip()) else ""
                text = f"{folder}: another run{owner} is writing in this folder"
                raise ConfigError(message(text, to_go_on="let it end, or stop it")) from None
            with writing(path):
                file.truncate(0)
                file.write(str(os.getpid()).encode())
        yield


@contextmanager
def writing(path: Path, way: str = AGAIN) -> Iterator[None]:
    """Says of any failure of the system within that it was this file that could not be written.

    Args:
      path: the file, or the folder.
      way: to go on, after what helps against the error.

    Raises:
      CannotWrite: it could not.
    """
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        what = f"cannot write {path.name}: {error.strerror or error}"
        way = f"{MENDS.get(error.errno or 0, 'mend that')}, {way}"
        raise CannotWrite(message(what, written_at=str(path.parent), to_go_on=way)) from error


@contextmanager
def lastly() -> Iterator[None]:
    """Leaves what cannot be written within untold, if an error is under way already.

    On a full disk, what is written at the end fails as well; the first error is the one to tell.
    """
    with suppress(*([CannotWrite] if sys.exc_info()[0] else [])):
        yield


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that takes the place of `path` when it is written and on disk, or never.

    Raises:
      CannotWrite: it could not be written; what was at `path` is still there.
    """
    unfinished = path.with_name(f".{path.name}{UNFINISHED}")
    with writing(path):
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


def write_json(path: Path, values: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write(path, json_text(values))


def json_text(values: Any) -> str:
    """Returns values as a JSON text, indented."""
    return json.dumps(_finite(values), indent=2, allow_nan=False) + "\n"


def write_over(path: Path, text: str, step: int) -> None:
    """Writes a file; what stood there before step `step`, if it was different, gets another name.

    `config.yaml` becomes `config.before-step-200.yaml`.
    """
    if path.is_dir() or (path.exists() and path.read_bytes() != text.encode()):
        with writing(path):
            os.replace(path, path.with_name(f"{path.stem}.before-step-{step}{path.suffix}"))
    write(path, text)


def add(path: Path, text: str) -> None:
    """Adds to a file."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


@dataclass(frozen=True)
class Lines:
    """A file of JSON lines."""

    path: Path
    file: FileIO

    def add(self, values: dict[str, Any]) -> None:
        """Adds a line; it has left this process when this returns."""
        line = (json.dumps(_finite(values), allow_nan=False) + "\n").encode()
        with writing(self.path):
            # Without a buffer, a full disk may take a part of it, and say so at the next write.
            while line:
                line = line[self.file.write(line) :]

    def size(self) -> int:
        """Returns how many bytes the file has."""
        return self.file.tell()

    def sync(self) -> None:
        """Returns when all lines are on disk."""
        with writing(self.path):
            os.fsync(self.file.fileno())


@contextmanager
def json_lines(path: Path, position: int = 0) -> Iterator[Lines]:
    """Yields a file of JSON lines to add to, cut at `position`, a number of bytes."""
    with writing(path):
        path.touch()
        opened = path.open("r+b", buffering=0)
    with opened as file:
        with writing(path):
            file.truncate(position)
            file.seek(position)
        yield Lines(path, file)


def read_lines(path: Path, position: int | None = None) -> list[dict[str, Any]]:
    """Returns the lines of a file of JSON lines, up to `position`, a number of bytes."""
    text = path.read_bytes()[:position].decode() if path.is_file() else ""
    return [_numbers(json.loads(line)) for line in text.splitlines()]


def summarize(records: Sequence[dict[str, Any]], status: str, message: str) -> dict[str, Any]:
    """Returns what summary.json holds: a run in a dozen lines.

    Args:
      records: the lines of metrics.jsonl.
      status: completed, nonfinite, interrupted, terminated or failed.
      message: why, unless completed.
    """
    of = {kind: [one for one in records if one["kind"] == kind] for kind in ("compile", "train")}
    steps = of["train"][-1]["step"] if of["train"] else 0
    seconds = of["train"][-1]["seconds"] if of["train"] else 0.0
    compiled = of["compile"][-1] if of["compile"] else {}
    return {
        "status": status,
        "message": message,
        "steps": steps,
        "loss": of["train"][-1]["loss"] if of["train"] else None,
        "metrics": _figures(records, "test"),
        "gradient_check": _gradient_check(records),
        "seconds": seconds,
        "steps_per_second": steps / seconds if seconds else None,
        "trace_seconds": compiled.get("trace_seconds"),
        "compile_seconds": compiled.get("compile_seconds"),
    }


def _figures(records: Sequence[dict[str, Any]], kind: str) -> dict[str, float] | None:
    """Returns the figures of the last record of a kind, or None."""
    found = [record for record in records if record["kind"] == kind]
    return (
        {key: x for key, x in found[-1].items() if key not in ("kind", "step")} if found else None
    )


def _gradient_check(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns how many comparisons there were and the worst of them, or None."""
    checks = [record for record in records if record["kind"] == "gradient_check"]
    if not checks:
        return None
    # A difference that is not a number is the worst of all.
    worst = max(checks, key=lambda check: (math.isnan(check["max_rel"]), check["max_rel"]))
    return {"checks": len(checks), **{key: x for key, x in worst.items() if key != "kind"}}


def _made(folder: Path) -> bool:
    """Makes a folder; says whether it was not there before."""
    with writing(folder, ELSEWHERE):
        try:
            folder.mkdir()
        except FileExistsError:
            return False
    return True


def _finite(values: Any) -> Any:
    """Returns values with numbers that JSON cannot hold as texts that `float` can read."""
    match values:
        case dict():
            return {key: _finite(value) for key, value in values.items()}
        case list() | tuple():
            return [_finite(value) for value in values]
        case float() if not math.isfinite(values):
            return str(values)
    return values


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record with the numbers that JSON cannot hold, and `_finite` wrote as texts."""
    texts = {str(x): x for x in (math.inf, -math.inf, math.nan)}
    return {key: texts.get(x, x) if isinstance(x, str) else x for key, x in record.items()}


def _sync_folder(folder: Path) -> None:
    """Has the names in a folder on disk, where the system can be asked for that."""
    if fcntl is None:
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
