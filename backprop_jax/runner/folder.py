"""One folder for each run: how it was asked for, where it ran, what happened."""

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backprop_jax.errors import ConfigError

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
CURVES = "curves.png"


def make_folder(out: Path | None, name: str) -> Path:
    """Returns a new folder: `out`, or runs/<name>-<time>-<n> with the first n that is free.

    Raises:
      ConfigError: `out` is a file, or has files in it; results are never written over.
    """
    if out is None:
        stem = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        return next(folder for n in itertools.count(1) if _made(folder := Path(f"{stem}-{n}")))
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: a file, not a folder")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out {out}: not empty; name another folder, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    return out


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def write_json(path: Path, values: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write(path, json.dumps(_finite(values), indent=2, allow_nan=False) + "\n")


@contextmanager
def json_lines(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields a function that adds one line to a file, and has it on disk when it returns."""
    with path.open("x", encoding="utf-8") as file:

        def add(values: dict[str, Any]) -> None:
            file.write(json.dumps(_finite(values), allow_nan=False) + "\n")
            file.flush()

        yield add


def summarize(records: Sequence[dict[str, Any]], status: str, message: str) -> dict[str, Any]:
    """Returns what summary.json holds: a run in a dozen lines.

    Args:
      records: the lines of metrics.jsonl.
      status: completed, nonfinite, interrupted or failed.
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
    try:
        folder.mkdir(parents=True)
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
