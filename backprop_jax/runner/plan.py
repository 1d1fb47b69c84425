"""From a YAML file to a plan: everything a run needs, checked before anything is run."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import optax
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from backprop_jax.arguments import check_callable
from backprop_jax.errors import ConfigError
from backprop_jax.runner.compose import origin, read
from backprop_jax.runner.document import Document, Keys, Problem, inline, raise_problems
from backprop_jax.runner.experiment import Experiment, load, named_in
from backprop_jax.runner.explain import validated
from backprop_jax.runner.hooks import Hooks, hook_of
from backprop_jax.runner.optimizers import build_optimizer, optimizer_settings
from backprop_jax.runner.schema import (
    SECTIONS,
    Checkpoint,
    Config,
    Gradient,
    Tracking,
    Training,
    arguments,
)
from backprop_jax.runner.trackers import need

AnyKeys = dict[str, Any]

WIDEST = 48
"""The column, at most, at which origins stand."""


@dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
      config: every setting, defaults filled in.
      document: the file it came from, for problems that only the data can show.
      experiment: the experiment's functions.
      model: what the experiment's functions get as `model`; None if it has no MODELS.
      optimizer: of optax.
      hooks: functions of the cotangents on the way back, by where they stand.
    """

    config: Config[Any, Any, Any]
    document: Document
    experiment: Experiment
    model: Any
    optimizer: optax.GradientTransformationExtraArgs
    hooks: Hooks

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting as plain values, as YAML would hold them."""
        return TypeAdapter(type(self.config)).dump_python(self.config, mode="json")


def make_plan(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Returns the plan that a file and overrides from the command line describe.

    Raises:
      ConfigError: with one line for each mistake found.
    """
    document = read(path, overrides, default_of)
    problems: list[Problem] = []
    for section in SECTIONS:
        if document.values.get(section) is None:
            document.values[section] = {}
    experiment = _experiment(document, path, problems)
    adapter = config_type(document, experiment)
    config: Config[Any, Any, Any] = validated(adapter, document, problems)
    assert experiment is not None, "or one of the problems would have said so"
    if config.training.label_smoothing and not experiment.asks("loss", "label_smoothing"):
        text = f"the loss of {experiment.name} does not ask for it: it has no such parameter"
        raise_problems([document.at_value(("training", "label_smoothing"), text)])
    need(config.tracking, document)
    model = _build(document, "model", lambda: build_model(experiment, config.model))
    optimizer = _build(document, "optimizer", lambda: build_optimizer(config.optimizer))
    hooks = _hooks(config.gradient.hooks or {}, document, path)
    return Plan(config, document, experiment, model, optimizer, hooks)


def default_of(keys: Keys) -> Any:
    """Returns the default of a key that every experiment has, None for any other one."""
    sections = {
        "training": Training,
        "gradient": Gradient,
        "checkpoint": Checkpoint,
        "tracking": Tracking,
    }
    section = Config if len(keys) == 1 else sections.get(str(keys[0])) if len(keys) == 2 else None
    found = [one.default for one in fields(section) if one.name == keys[-1]] if section else []
    return next((one for one in found if one is not MISSING), None)


def explained(plan: Any) -> str:
    """Returns every setting of a plan as YAML, with a comment that says where it comes from.

    Args:
      plan: of any kind; it has `settings` and the `document` they come from.
    """
    rows = [
        (f"{'  ' * (len(keys) - 1)}{keys[-1]}: {text}".rstrip(), said)
        for keys, text, said in origins(plan)
    ]
    width = min(max(len(text) for text, _ in rows), WIDEST)
    return "\n".join(f"{text:<{width}}  # {said}" if said else text for text, said in rows)


def origins(plan: Any) -> list[tuple[Keys, str, str]]:
    """Returns every setting of a plan: its keys, its value as YAML, and where it comes from.

    Sections have neither value nor origin.
    """
    rows: list[tuple[Keys, str, str]] = []

    def add(keys: Keys, value: Any) -> None:
        if isinstance(value, dict) and value:
            rows.append((keys, "", ""))
            for key, inner in value.items():
                add((*keys, key), inner)
        else:
            rows.append((keys, inline(value), origin(plan.document, keys)))

    for key, value in plan.settings.items():
        add((key,), value)
    return rows


def config_type(document: Document, experiment: Experiment | None) -> TypeAdapter[Any]:
    """Returns the schema of a document: with the keys of its experiment, its model, its optimizer.

    Without an experiment, `data` and `model` take any keys.
    """
    optimizer = optimizer_settings(document.values.get("optimizer"))
    if experiment is None:
        return _config_of(AnyKeys, AnyKeys, optimizer)
    try:
        data = experiment.data_settings()
        model = experiment.model_settings(document.values.get("model"))
        return _config_of(data, model, optimizer)
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{experiment.name}: YAML cannot give this type: {reason}") from None


@functools.lru_cache
def _config_of(data: Any, model: Any, optimizer: Any) -> TypeAdapter[Any]:
    """Returns the schema with these sections; pydantic takes as long to make it as to read YAML."""
    sections: Any = Config
    return TypeAdapter(sections[data, model, optimizer])


def folders_around(path: Path, document: Document, keys: Keys) -> list[Path]:
    """Returns where a file that a configuration names is looked for, in order of preference.

    The working folder; the folder of the configuration, and the two around it; those of the base
    file that names it, which says so as seen from where it stands itself.
    """
    written = Path(document.at_value(keys, "").place.source)
    beside = [file.resolve().parent for file in (path, written) if file.is_file()]
    return [Path(), *(one for here in beside for one in (here, *here.parents[:2]))]


def _experiment(document: Document, path: Path, problems: list[Problem]) -> Experiment | None:
    """Returns the document's experiment; if it cannot be had, adds to the problems."""
    name = document.values.get("experiment")
    if not isinstance(name, str):
        return None
    try:
        return load(name, folders_around(path, document, ("experiment",)))
    except ConfigError as error:
        problems.append(document.at_value(("experiment",), str(error)))
        return None


def build_model(experiment: Experiment, section: Any) -> Any:
    """Returns what the experiment's functions get as `model`."""
    if not experiment.models:
        return None
    return experiment.models[section.name](**arguments(section, but=("name",)))


def _hooks(given: Mapping[str, Any], document: Document, path: Path) -> Hooks:
    """Returns the hooks that a configuration means.

    Raises:
      ConfigError: there is no such function.
    """
    found, problems = {}, []
    for where, said in given.items():
        keys = ("gradient", "hooks", where)
        folders = folders_around(path, document, keys)
        try:
            found[where] = hook_of(said, lambda name, folders=folders: named_in(name, folders))
            check_callable(found[where])
        except (ConfigError, TypeError) as error:
            problems.append(document.at_value(keys, str(error)))
    raise_problems(problems)
    return found


def _build(document: Document, section: str, build: Callable[[], Any]) -> Any:
    """Returns what is built from a section; settings that do not go together are a problem."""
    try:
        return build()
    except (ValueError, TypeError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise_problems([document.at_key((section,), reason)])
