"""`backprop-jax explain`: the backward pass of a function, or of an experiment's first step."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
from pydantic import TypeAdapter

from backprop_jax.errors import ConfigError
from backprop_jax.graph import drawing
from backprop_jax.graph.explain import FORMATS, Explanation, explain
from backprop_jax.runner.comparing import WIDE, Comparison, prepared, told
from backprop_jax.runner.compose import read
from backprop_jax.runner.document import Document, given
from backprop_jax.runner.explain import validated
from backprop_jax.runner.first import step_explained
from backprop_jax.runner.folder import ELSEWHERE, refuse_nowhere, writing
from backprop_jax.runner.kinds import kind_of
from backprop_jax.runner.plan import default_of, folders_around, make_plan


def function_explained(document: Document, folders: Sequence[Path]) -> Explanation:
    """Returns the backward pass of the function that a comparison names, at its operands.

    Args:
      document: the comparison.
      folders: where its files are looked for.

    Raises:
      ConfigError: the document is wrong, or the function cannot be called as it says.
    """
    config = validated(TypeAdapter(Comparison), document)
    try:
        with jax.enable_x64(config.dtype in WIDE):
            ready = prepared(config, folders)
            return explain(ready.fun, *ready.args, argnums=ready.argnums)
    except ConfigError:
        raise
    except Exception as error:  # Whatever the user's file or function raises.
        hint = "a function to explain takes arrays and returns one real number."
        raise ConfigError(told(config.function, error, "explained", hint)) from error


def write_explained(
    target: str,
    overrides: Sequence[str],
    args: str | None = None,
    dtype: str | None = None,
    output: Path | None = None,
) -> int:
    """Writes the backward pass of a function, or of an experiment's first step, to a file.

    Args:
      target: a YAML file, of an experiment or of a comparison; or `module:function`.
      overrides: settings over those of the file.
      args: operands of the function, as YAML.
      dtype: of the operands; of an experiment the precision.
      output: the file; its ending says how. Default: named for the target, `.html`.

    Returns:
      0.

    Raises:
      ConfigError: the target cannot be explained, or the file is no good.
      CannotWrite: it cannot be written.
    """
    is_function = ":" in target and not os.path.isfile(target)
    if Path(target).suffix == ".py":
        raise ConfigError(f"{target}: a Python file; name a function of it, {target}:FUNCTION")
    name = target.rpartition(":")[2] if is_function else Path(target).stem
    file = checked(output or Path(f"{name}.html"))
    if is_function:
        words = [*overrides, f"function={target}", *of_operands(args, dtype)]
        found = function_explained(given(words), [Path()])
    else:
        found = file_explained(Path(target), overrides, args, dtype)
    with writing(file, ELSEWHERE):
        found.save(file)
    count = len(found.operations)
    print(f"{file}: {name}, {count} step{'s' * (count != 1)}")
    return 0


def file_explained(
    path: Path, overrides: Sequence[str], args: str | None, dtype: str | None
) -> Explanation:
    """Returns the backward pass of what a configuration is about."""
    kind = kind_of(path, overrides).key
    if kind == "lesson":
        raise ConfigError(f"{path}: a lesson is no function; name one: explain FILE.py:function")
    if kind == "function":
        document = read(path, [*overrides, *of_operands(args, dtype)], default_of)
        return function_explained(document, folders_around(path, document, ("function",)))
    if args is not None:
        raise ConfigError(f"{path}: --args are those of a function; an experiment has its own")
    return step_explained(make_plan(path, [*overrides, *([f"precision={dtype}"] if dtype else [])]))


def of_operands(args: str | None, dtype: str | None) -> list[str]:
    """Returns the settings of a comparison that say what its function is given."""
    options = {"args": args, "dtype": dtype}
    return [f"{key}={value}" for key, value in options.items() if value is not None]


def checked(file: Path) -> Path:
    """Returns the file to write, if it can be; before anything long is run.

    Raises:
      ConfigError: its ending or its folder is no good, or what draws it is not installed.
    """
    ending = file.suffix.removeprefix(".")
    if ending not in FORMATS:
        raise ConfigError(f"--output {file}: a file ends in one of {', '.join(FORMATS)}")
    refuse_nowhere("output", file)
    if ending in ("svg", "png"):
        try:
            drawing.graphviz()
        except ImportError as error:
            raise ConfigError(f"--output {file}: {error}") from None
    return file
