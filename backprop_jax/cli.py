"""The command line: `backprop-jax run | sweep | compare | explain | list | schema`.

Exit codes: 0 all is well; 1 the loss was not finite, or gradients disagree; 2 the command or the
configuration is wrong; 130 interrupted from the keyboard, 143 terminated, in both cases with the
progress saved for `run --resume`; 141 whoever read what is printed, as `head`, has closed it.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from backprop_jax.check.witnesses.named import WITNESSES
from backprop_jax.errors import BackpropError, CannotPrint, ConfigError
from backprop_jax.version import __version__

OPTIONAL = ("matplotlib", "optax", "pydantic", "rich", "sklearn", "yaml")
"""Packages of the extra `run`; everything else must be there."""

try:
    from backprop_jax.runner import commands, explaining, kinds, listing, sweep
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in OPTIONAL:
        raise
    commands = explaining = kinds = listing = sweep = None

WRONG, BAD, UNREAD = 1, 2, 141

ABOUT = (
    "Trains an experiment from a YAML file, with gradients of our own, checked against jax.grad."
)

COMMANDS = {
    "run": "do what CONFIG.yaml says: train, compare, or show a lesson; into a folder of its own",
    "sweep": "run every combination of some values, as in seed=0..4 model.dropout=0.1,0.2",
    "compare": "judge the gradient of a function, or of an experiment's loss, by several witnesses",
    "explain": "write the backward pass of a function, or of a step of an experiment, as a page",
    "list": "list the configurations in a folder: what each is, how long it takes, what it answers",
    "schema": "print the JSON schema of a configuration, for editors",
}

COMPARE: dict[str, tuple[Any, str, str]] = {
    "args": (str, "YAML", "the operands of the function, a list: '[-2.0, 5.0, normal[3,4]]'"),
    "witness": (
        str,
        "NAMES",
        f"whom to ask, as in jax,sympy,hand=by_hand; there are {', '.join(WITNESSES)}, "
        "and functions of the same file",
    ),
    "order": (int, "N", "2 for the second derivative"),
    "dtype": (str, "NAME", "of the operands: float64, bfloat16, ..."),
    "json": (Path, "FILE", "write the figures there"),
    "markdown": (Path, "FILE", "write the table there"),
    "html": (Path, "FILE", "write a page there, one file that fetches nothing"),
}
"""The options of `compare`: type, how the value is called, and what it is."""

EXPLAIN: dict[str, tuple[Any, str, str]] = {
    **{name: COMPARE[name] for name in ("args", "dtype")},
    "output": (Path, "FILE", "to write to: .html, the default, .svg, .png, .dot or .txt"),
}
"""Those of `explain`."""

OPTIONS = {"compare": COMPARE, "explain": EXPLAIN}

TARGET = "CONFIG.yaml, or the function: package.module:name or file.py:name"

OVERRIDES = "settings over those of the file, as in training.steps=10; the value is YAML"


PRINT = "print every setting and where it comes from, and run nothing"

CONFIGS = Path("configs")
FOLDER = "where they are, and in the folders inside; configs, unless said"

BARE = ("list", "schema")
"""Commands without a configuration, and so without overrides."""

RESUME = "go on in the folder of a run; without DIR, in that of this file's latest run in runs/"


VECTORISED = "do N runs at once (default: 64) that differ in numbers only, as one compiled program"

AT_ONCE = 64

ALONE = {"--resume": "--resume=", "--vectorised": f"--vectorised={AT_ONCE}"}
"""Options that may stand alone, before a file or an override that is not theirs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    output: Any = Output(sys.stdout or io.StringIO())
    try:
        with redirect_stdout(output):
            try:
                return _done(_arguments(argv))
            finally:
                output.flush()
    except CannotPrint as error:
        _silence(sys.stdout)
        if error.unread:
            return UNREAD
        _tell(error)
        return WRONG
    except BackpropError as error:
        _tell(error)
        return BAD if isinstance(error, ConfigError) else WRONG


class Output:
    """What is printed to, whose failures are told from those of other files."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Prints a text."""
        return self._tried(lambda: self._file.write(text))

    def flush(self) -> None:
        """Returns when all is printed."""
        self._tried(self._file.flush)

    def _tried(self, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except OSError as error:
            raise CannotPrint(error) from error


def _tell(error: BackpropError) -> None:
    """Says what is wrong, if that can be said."""
    try:
        print(error, file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def _silence(file: Any) -> None:
    """Has what is left to be said go nowhere, or Python would complain of it at its end."""
    with suppress(AttributeError, OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), file.fileno())


def _done(given: argparse.Namespace) -> int:
    """Does what was asked; returns the exit code."""
    if not (commands and explaining and kinds and listing and sweep):
        raise ConfigError("backprop-jax needs more packages: pip install 'backprop-jax[run]'")
    match given.command:
        case "run" if given.print_config:
            return commands.print_config(given.config, given.overrides)
        case "run":
            return kinds.run(given.config, given.overrides, given.out, given.resume)
        case "sweep":
            where = (given.out, given.resume)
            return sweep.sweep(given.config, given.overrides, *where, given.vectorised)
        case "compare":
            options = {key: getattr(given, key) for key in COMPARE}
            return commands.compare(given.target, given.overrides, commands.Asked(**options))
        case "explain":
            options = {key: getattr(given, key) for key in EXPLAIN}
            return explaining.write_explained(given.target, given.overrides, **options)
        case "list":
            return listing.print_list(given.folder)
        case _:
            return commands.schema()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns the parsed command line, the overrides with leading dashes among the others."""
    parser = argparse.ArgumentParser("backprop-jax", description=ABOUT, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    chosen = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        command = chosen.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name == "list":
            command.add_argument("folder", nargs="?", type=Path, default=CONFIGS, help=FOLDER)
        if name in BARE:
            continue
        if name in OPTIONS:
            command.add_argument("target", metavar="TARGET", help=TARGET)
            for option, (kind, called, text) in OPTIONS[name].items():
                command.add_argument(f"--{option}", type=kind, metavar=called, help=text)
        else:
            command.add_argument("config", type=Path, metavar="CONFIG.yaml", help="the run to do")
        command.add_argument("overrides", nargs="*", metavar="KEY.SUB=VALUE", help=OVERRIDES)
        if name == "run":
            command.add_argument("--print-config", action="store_true", help=PRINT)
        if name == "sweep":
            command.add_argument(
                "--vectorised", type=_count, nargs="?", const=AT_ONCE, metavar="N", help=VECTORISED
            )
        if name in ("run", "sweep"):
            where = command.add_mutually_exclusive_group()
            where.add_argument("--out", type=Path, metavar="DIR", help="folder for the results")
            where.add_argument(
                "--resume", type=Path, nargs="?", const=Path(), metavar="DIR", help=RESUME
            )
    given, rest = parser.parse_known_args(_alone(sys.argv[1:] if argv is None else argv))
    if unknown := [word for word in rest if given.command in BARE or "=" not in word]:
        parser.error(f"unknown argument {unknown[0]!r}")
    if given.command not in BARE:
        given.overrides += rest
    return given


def _alone(argv: Sequence[str]) -> list[str]:
    """Returns the words, an option that may stand alone kept from taking what is not its own.

    That is a YAML file or an override; `--resume=` is the option without a folder.
    """
    words = list(argv)
    kept = []
    for word, after in pairwise([*words, ""]):
        other = "=" in after or after.endswith((".yaml", ".yml"))
        kept.append(ALONE[word] if word in ALONE and other else word)
    return kept


def _count(text: str) -> int:
    """Returns a number of runs.

    Raises:
      ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of runs, got {text!r}")
    return count
