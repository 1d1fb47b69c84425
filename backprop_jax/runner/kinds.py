# ruff: noqa: E501 (rows of a table stay rows)
"""The kinds of configurations, in one list: which key tells a kind, and what it is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from backprop_jax.errors import ConfigError
from backprop_jax.runner import comparing, lesson, plan
from backprop_jax.runner.compose import laid
from backprop_jax.runner.optimizers import any_optimizer
from backprop_jax.runner.plan import AnyKeys
from backprop_jax.runner.run import run as train
from backprop_jax.runner.schema import Config
from backprop_jax.runner.show import show


class Kind(NamedTuple):
    """One kind of configuration.

    Attributes:
      key: the key that only this kind has; its value names a Python file.
      name: what it is called.
      plan: makes the plan of a file and overrides, checked, with `settings` and `document`.
      config: makes the type of a file, for its JSON schema.
      needs: the keys that have to be there.
      shows: whether a run makes a page with pictures at once; else it trains, and can go on.
    """

    key: str
    name: str
    plan: Callable[[Path, Sequence[str]], Any]
    config: Callable[[], Any]
    needs: tuple[str, ...]
    shows: bool


def any_training() -> Any:
    """Returns the type of a training's configuration, whatever its experiment takes."""
    sections: Any = Config
    return sections[AnyKeys, AnyKeys, any_optimizer()]


def any_lesson() -> Any:
    """Returns the type of a lesson's configuration, whatever its settings are."""
    sections: Any = lesson.LessonConfig
    return sections[AnyKeys]


# fmt: off
KINDS = (
    Kind("experiment", "training",   plan.make_plan,                 any_training,                 ("experiment", "training"), shows=False),
    Kind("function",   "comparison", comparing.make_comparison_plan, lambda: comparing.Comparison, ("function", "args"),       shows=True),
    Kind("lesson",     "lesson",     lesson.make_lesson_plan,        any_lesson,                   ("lesson",),                 shows=True),
)
# fmt: on
"""The first is what a file without any of the keys is taken for."""


def kind_of(path: Path, overrides: Sequence[str] = ()) -> Kind:
    """Returns the kind of a configuration, by its keys.

    Raises:
      ConfigError: a file cannot be read.
    """
    values = laid(path, overrides).values
    return next((kind for kind in KINDS if kind.key in values), KINDS[0])


def run(
    path: Path, overrides: Sequence[str], out: Path | None = None, resume: Path | None = None
) -> int:
    """Does what a file says, into a folder of its own; see `run.run` and `show.show`.

    Raises:
      ConfigError: the configuration is wrong, or there is nothing to resume.
    """
    kind = kind_of(path, overrides)
    if not kind.shows:
        return train(path, overrides, out, resume)
    if resume is not None:
        raise ConfigError(f"--resume: a {kind.name} has nothing to go on with; run it again")
    return show(kind.plan(path, overrides), path, overrides, out)
