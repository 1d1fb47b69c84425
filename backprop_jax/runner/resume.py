"""Going on with a run: which folder is meant, and whether it may go on with this configuration."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backprop_jax.errors import ConfigError, message
from backprop_jax.runner.explain import shown
from backprop_jax.runner.folder import CONFIG, LOCK, RUNS, UNFINISHED

LATEST = Path()
"""What `--resume` without a folder says."""

FIXED = (
    "experiment",
    "seed",
    "precision",
    "data",
    "model",
    "optimizer.name",
    "training.batch_size",
    "training.compute",
    "training.validation_fraction",
)
"""Settings, or sections of them, that decide what has been done already."""


def folder_of(given: Path, name: str, what: str = "run", first: str = CONFIG) -> Path:
    """Returns the folder that `--resume` means.

    Args:
      given: the folder, or `LATEST`.
      name: of the configuration, without `.yaml`; the latest run is the latest of that name.
      what: should be there.
      first: the file that is written before all others.

    Raises:
      ConfigError: there is no such folder, or there is something else in it.
    """
    if given == LATEST:
        return _latest(name)
    if not os.path.isdir(given):
        reason = "not a folder" if os.path.exists(given) else "no such folder"
        raise ConfigError(f"--resume {given}: {reason}")
    inside = {path.name for path in given.iterdir()} - {LOCK}
    if inside and not inside & {first, f".{first}{UNFINISHED}"}:
        raise ConfigError(f"--resume {given}: not the folder of a {what}: it has no {first}")
    return given


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings that differ, and how: `training.steps` → `20 → 40`."""
    old, new = dict(flat(before)), dict(flat(now))
    return {
        key: f"{shown(old[key]) if key in old else 'not set'} → "
        f"{shown(new[key]) if key in new else 'not set'}"
        for key in [*old, *(key for key in new if key not in old)]
        if key not in old or key not in new or old[key] != new[key]
    }


def refuse(folder: Path, changed: Mapping[str, str]) -> None:
    """Raises if a setting has changed that decides what has been done already."""
    fixed = [
        f"  {key}: {how}"
        for key, how in changed.items()
        if any(key == one or key.startswith(f"{one}.") for one in FIXED)
    ]
    if fixed:
        what = "\n".join([f"--resume {folder}: what was done so far was done with others", *fixed])
        raise ConfigError(message(what, to_go_on="set them back, or begin a run without --resume"))


def _latest(name: str) -> Path:
    """Returns the latest of the folders in runs/ that have this name."""
    pattern = re.compile(re.escape(name) + r"-(\d{8}-\d{6})-(\d+)")
    found = {
        (match[1], int(match[2])): path
        for path in RUNS.glob("*/")
        if (match := pattern.fullmatch(path.name))
    }
    if not found:
        raise ConfigError(f"--resume: there is no run of {name} in {RUNS}; name its folder")
    return found[max(found)]


def flat(section: Mapping[str, Any], around: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every setting with its dotted name; a list is one setting."""
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{around}{key}.")
        else:
            yield f"{around}{key}", value
