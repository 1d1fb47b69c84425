"""The kinds of configurations, in one list: which key tells a kind, and what it is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from backprop_jax.errors import ConfigError
from backprop_jax.runner import comparing, lesson, plan
from backprop_jax.runner.compose import laid
from backprop_jax.runner.run import run as train
from backprop_jax.runner.show import show


class Kind(NamedTuple):
    """One kind of configuration.

    Attributes:
      key: the key that only this kind has; its value names a Python file.
      name: what it is called.
      plan: makes the plan of a file and overrides, checked, with `settings` and `document`.
      shows: whether a run makes a page with pictures at once; else it trains, and can go on.
    """

    key: str
    name: str
    plan: Callable[[Path, Sequence[str]], Any]
    shows: bool


KINDS = (
    Kind("experiment", "training", plan.make_plan, shows=False),
    Kind("function", "comparison", comparing.make_comparison_plan, shows=True),
    Kind("lesson", "lesson", lesson.make_lesson_plan, shows=True),
)
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
