"""Optimizers and learning rate schedules of optax by name, with the arguments YAML can give."""

import inspect
import types
from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import optax
from annotated_types import Ge, Gt
from pydantic import FiniteFloat

from backprop_jax.runner.schema import REQUIRED, Field, arguments, settings

Factory = Callable[..., Any]

DEFAULT_OPTIMIZER = "adam"
DEFAULT_LEARNING_RATE = 1e-3


def _public(endings: Collection[str] = (), argument: str = "") -> dict[str, Factory]:
    """Returns the functions of optax with one of the endings, or with the argument."""
    return {
        name: function
        for name, function in sorted(vars(optax).items())
        if inspect.isfunction(function)
        and not name.startswith(("_", "scale_by"))
        and (name.endswith(tuple(endings)) or argument in inspect.signature(function).parameters)
    }


OPTIMIZERS = _public(argument="learning_rate")
NAME: Field = ("name", Literal[tuple(OPTIMIZERS)], DEFAULT_OPTIMIZER)
Norm: Any = Annotated[float, Gt(0)]

AROUND: tuple[Field, ...] = (
    ("clip_norm", Norm | None, None),
    ("accumulate", Annotated[int, Ge(1)], 1),
)
"""What every optimizer takes besides: the largest norm of a gradient; steps that are one update."""

SCHEDULES = _public(endings=("_schedule", "exponential_decay"))


def optimizer_settings(given: Any) -> type:
    """Returns the schema of the section `optimizer`, for the name and the kind of rate it gives."""
    given = given if isinstance(given, dict) else {}
    name = str(given.get("name", DEFAULT_OPTIMIZER))
    if name not in OPTIMIZERS:
        return any_optimizer()
    fields = [NAME]
    for key, kind, default in _plain_fields(OPTIMIZERS[name]):
        if key == "learning_rate":
            default = DEFAULT_LEARNING_RATE if default is REQUIRED else default
            if isinstance(rate := given.get(key), dict):
                kind, default = _schedule_settings(rate), REQUIRED
        if key == "key":
            # optax warns that it will ask for the seed of its noise, rather than start from 0.
            kind, default = int, 0
        fields.append((key, kind, default))
    return settings("optimizer", [*fields, *AROUND])


def any_optimizer() -> type:
    """Returns what is known of the section `optimizer` before it has a good name."""
    return settings("optimizer", [NAME], strict=False)


def build_optimizer(section: Any) -> optax.GradientTransformationExtraArgs:
    """Returns the optimizer that a validated section describes.

    Raises:
      ValueError: optax refuses the arguments; or TypeError, as optax sees fit.
    """
    given = arguments(section, but=("name", *(key for key, _, _ in AROUND)))
    rate = given.get("learning_rate")
    if is_dataclass(rate):
        given["learning_rate"] = SCHEDULES[vars(rate)["name"]](**arguments(rate, but=("name",)))
    optimizer = OPTIMIZERS[section.name](**given)
    if section.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(section.clip_norm), optimizer)
    if section.accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, section.accumulate).gradient_transformation()
    return optax.with_extra_args_support(optimizer)


def _schedule_settings(given: dict[str, Any]) -> type:
    """Returns the schema of a learning rate that changes: the name of a schedule, its arguments."""
    name = str(given.get("name"))
    fields: list[Field] = [("name", Literal[tuple(SCHEDULES)], REQUIRED)]
    if name not in SCHEDULES:
        return settings("schedule", fields, strict=False)
    return settings("schedule", fields + _plain_fields(SCHEDULES[name]))


def _plain_fields(function: Factory) -> list[Field]:
    """Returns the arguments that YAML can give: numbers, truth values, texts; not functions."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    found = ((one.name, _plain_kind(one), one.default) for one in parameters)
    return [
        (name, kind, REQUIRED if default is inspect.Parameter.empty else default)
        for name, kind, default in found
        if kind is not None
    ]


def _plain_kind(parameter: inspect.Parameter) -> Any:
    """Returns the type of an argument as YAML can give it, or None if it cannot.

    optax writes most numbers as a union of array, NumPy and Python types; the plain members of the
    union, or the default, say which is meant.
    """
    union = get_origin(parameter.annotation) in (Union, types.UnionType)
    members = set(get_args(parameter.annotation)) if union else {parameter.annotation}
    optional = parameter.default is None or type(None) in members
    if any(get_origin(member) is dict for member in members):
        return parameter.annotation
    if isinstance(parameter.default, bool) or members <= {bool, type(None)}:
        kind = bool
    elif members <= {int, type(None)}:
        kind = int
    elif float in members:
        kind = FiniteFloat
    elif members <= {str, type(None)} or parameter.name.endswith("dtype"):
        kind = str
    else:
        return None
    return kind | None if optional else kind
