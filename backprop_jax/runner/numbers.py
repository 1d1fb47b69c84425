"""Runs that differ in numbers only: which settings these are, and a plan with traced ones.

A number that is an operand of the compiled step may differ between runs of one program. A setting
that decides how large something is, or which way the program goes, may not.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from backprop_jax.errors import ConfigError, message
from backprop_jax.runner.optimizers import build_optimizer
from backprop_jax.runner.plan import Plan, build_model
from backprop_jax.runner.resume import changes, flat
from backprop_jax.runner.task import Task

TRACED = ("optimizer", "model")
"""Sections whose numbers may be operands of the step."""

DATA = ("seed", "data")
"""What decides the data, and may, as long as they have the same shapes."""

ALONE = (
    ("gradient", "on_nonfinite"),
    ("gradient", "flow_every"),
    ("gradient", "example_norms_every"),
    ("training", "validation_fraction"),
    ("training", "patience"),
    ("tracking", "to"),
)
"""Settings that one program cannot do for many runs."""

WAY = "leave --vectorised out, or make a sweep of each of its values"

Numbers = dict[str, Any]
"""Dotted setting → a number, or one for each run."""


def numbers_of(plans: Sequence[Plan]) -> Numbers:
    """Returns the numbers that differ between runs, in the precision of the current context.

    Raises:
      ConfigError: a setting differs that cannot differ within one program.
    """
    every = [dict(flat(plan.settings)) for plan in plans]
    differing = _differing(plans)
    # What only some of them have, comes with another setting that differs.
    wrong, numbers = {}, {}
    for key in [key for key in differing if all(key in one for one in every)] or differing:
        values = [one.get(key) for one in every]
        section = key.partition(".")[0]
        if section in DATA:
            continue
        if section not in TRACED:
            wrong[key] = "all runs of one program have it in common"
        elif not all(isinstance(value, float) for value in values):
            wrong[key] = "decides what the program is, or a shape in it"
        else:
            numbers[key] = jnp.asarray(values, plans[0].config.precision)
    config = plans[0].config
    wrong |= {
        f"{section}.{name}": "is for one run at a time"
        for section, name in ALONE
        if getattr(getattr(config, section), name)
    }
    refuse(wrong)
    return numbers


def with_numbers(plan: Plan, numbers: Numbers) -> Plan:
    """Returns the plan with other numbers in their places, traced ones too.

    They are not validated; each run's own plan was.
    """
    if not numbers:
        return plan
    sections = {name: getattr(plan.config, name) for name in TRACED}
    for key, number in numbers.items():
        section, *path = key.split(".")
        sections[section] = _put(sections[section], path, number)
    return replace(
        plan,
        optimizer=build_optimizer(sections["optimizer"]),
        model=build_model(plan.experiment, sections["model"]),
    )


def refuse_other_shapes(plans: Sequence[Plan], tasks: Sequence[Task]) -> None:
    """Raises if the data of the runs have not the same shapes."""
    kinds = [jax.tree.map(lambda x: (x.shape, x.dtype), (one.train, one.test)) for one in tasks]
    other = [plan for plan, kind in zip(plans, kinds, strict=True) if kind != kinds[0]]
    differing = (_differing([plans[0], plan]) for plan in other)
    found = ([key for key in keys if key.partition(".")[0] in DATA] for keys in differing)
    # The run that differs in least from the first says it best.
    refuse(dict.fromkeys(min(found, key=len, default=[]), "changes the shapes of the data"))


def refuse_decisions(numbers: Numbers, trace: Callable[[Numbers], Any]) -> None:
    """Raises if a number decides what the program is.

    Args:
      numbers: of each run.
      trace: traces the step with these numbers as operands, and the others as they are.
    """
    wrong = {}
    for key, values in numbers.items():
        try:
            trace({key: values})
        except (TypeError, ValueError, jax.errors.JAXTypeError):
            wrong[key] = "decides the program: it is asked for its value before anything is run"
    refuse(wrong)


def refuse(wrong: Mapping[str, str]) -> None:
    """Raises if there is a setting that cannot differ, with all of them and the reasons."""
    if wrong:
        lines = [f"--vectorised: {key}: {why}" for key, why in wrong.items()]
        raise ConfigError(message("\n".join(lines), to_go_on=WAY))


def _differing(plans: Sequence[Plan]) -> list[str]:
    """Returns the settings that are not the same in all plans."""
    settings = [plan.settings for plan in plans]
    return list(dict.fromkeys(key for one in settings for key in changes(settings[0], one)))


def _put(section: Any, path: Sequence[str], number: Any) -> Any:
    """Returns a section with a number in its place; a frozen one that nobody checks again."""
    key, *rest = path
    other = copy.copy(section)
    if isinstance(other, dict):
        other[key] = _put(section[key], rest, number) if rest else number
    else:
        vars(other)[key] = _put(getattr(section, key), rest, number) if rest else number
    return other
