"""`backprop-jax list`: the configurations in a folder, with the question that each answers."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backprop_jax.errors import ConfigError
from backprop_jax.runner.kinds import kind_of
from backprop_jax.runner.pages import QUESTION, TIME, head

NARROWEST = 120
"""Columns of the table where there is no terminal that says how wide it is."""


def print_list(folder: Path) -> int:
    """Prints a table of the configurations in a folder and the folders inside; returns 0.

    Raises:
      ConfigError: there is no such folder, or no configuration in it.
    """
    paths = configs_in(folder)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("configuration", no_wrap=True, style="cyan")
    table.add_column("kind", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("question", ratio=1)
    for path in paths:
        table.add_row(str(path), *_row(path))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    console.print(table, highlight=False)
    return 0


def configs_in(folder: Path) -> list[Path]:
    """Returns the YAML files in a folder and the folders inside: its own, then theirs.

    Raises:
      ConfigError: there is no such folder, or no YAML file in it.
    """
    if not os.path.isdir(folder):
        reason = "a file, not a folder" if os.path.exists(folder) else "no such folder"
        raise ConfigError(f"{folder}: {reason}; name one that holds YAML files")
    found = [path for path in folder.rglob("*.y*ml") if path.suffix in (".yaml", ".yml")]
    if not found:
        raise ConfigError(f"{folder}: no YAML file in it")
    return sorted(found, key=lambda path: (len(path.parts), path))


def _row(path: Path) -> tuple[str, str, str]:
    """Returns kind, time and question of a configuration; a broken one says what is wrong."""
    try:
        kind = kind_of(path).name
        said = head(path)
    except ConfigError as error:
        return "broken", "", str(error).splitlines()[0]
    except UnicodeDecodeError:
        return "broken", "", "not a text file in UTF-8"
    # `45 seconds` of `45 seconds of a core; 2 minutes on a busy machine`.
    time = " ".join(said.get(TIME, "").split()[:2]).rstrip(".,;")
    return kind, time, said.get(QUESTION, "")
