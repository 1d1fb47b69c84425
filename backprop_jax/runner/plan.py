"""From a YAML file to a plan: everything a run needs, checked before anything is run."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optax
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from backprop_jax.errors import ConfigError
from backprop_jax.runner.document import Document, Problem, raise_problems, read
from backprop_jax.runner.experiment import Experiment, load
from backprop_jax.runner.explain import explain
from backprop_jax.runner.optimizers import build_optimizer, optimizer_settings
from backprop_jax.runner.schema import SECTIONS, Config, arguments

AnyKeys = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
      config: every setting, defaults filled in.
      document: the file it came from, for problems that only the data can show.
      experiment: the experiment's functions.
      model: what the experiment's functions get as `model`; None if it has no MODELS.
      optimizer: of optax.
    """

    config: Config[Any, Any, Any]
    document: Document
    experiment: Experiment
    model: Any
    optimizer: optax.GradientTransformationExtraArgs

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting as plain values, as YAML would hold them."""
        return TypeAdapter(type(self.config)).dump_python(self.config, mode="json")


def make_plan(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Returns the plan that a file and overrides from the command line describe.

    Raises:
      ConfigError: with one line for each mistake found.
    """
    document = read(path, overrides)
    problems = list(document.problems)
    for section in SECTIONS:
        if document.values.get(section) is None:
            document.values[section] = {}
    experiment = _experiment(document, path, problems)
    adapter = config_type(document, experiment)
    try:
        config: Config[Any, Any, Any] = adapter.validate_json(
            json.dumps(document.values), strict=True
        )
    except ValidationError as error:
        problems += explain(error, document, adapter.json_schema())
    raise_problems(problems)
    assert experiment is not None, "or one of the problems would have said so"
    model = _build(document, "model", lambda: _model(experiment, config.model))
    optimizer = _build(document, "optimizer", lambda: build_optimizer(config.optimizer))
    return Plan(config, document, experiment, model, optimizer)


def config_type(document: Document, experiment: Experiment | None) -> TypeAdapter[Any]:
    """Returns the schema of a document: with the keys of its experiment, its model, its optimizer.

    Without an experiment, `data` and `model` take any keys.
    """
    sections: Any = Config
    optimizer = optimizer_settings(document.values.get("optimizer"))
    if experiment is None:
        return TypeAdapter(sections[AnyKeys, AnyKeys, optimizer])
    try:
        data = experiment.data_settings()
        model = experiment.model_settings(document.values.get("model"))
        return TypeAdapter(sections[data, model, optimizer])
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{experiment.name}: YAML cannot give this type: {reason}") from None


def _experiment(document: Document, path: Path, problems: list[Problem]) -> Experiment | None:
    """Returns the document's experiment; if it cannot be had, adds to the problems."""
    name = document.values.get("experiment")
    if not isinstance(name, str):
        return None
    folder = path.resolve().parent
    try:
        return load(name, [Path(), folder, folder.parent])
    except ConfigError as error:
        problems.append(document.at_value(("experiment",), str(error)))
        return None


def _model(experiment: Experiment, section: Any) -> Any:
    """Returns what the experiment's functions get as `model`."""
    if not experiment.models:
        return None
    return experiment.models[section.name](**arguments(section, but=("name",)))


def _build(document: Document, section: str, build: Callable[[], Any]) -> Any:
    """Returns what is built from a section; settings that do not go together are a problem."""
    try:
        return build()
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise_problems([document.at_key((section,), reason)])
