"""What else the command line can do: compare, schema. Each returns the exit code."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from pydantic import TypeAdapter

from backprop_jax.check.compare import compare as gradients_compared
from backprop_jax.check.report import Report
from backprop_jax.errors import ConfigError
from backprop_jax.runner import comparing
from backprop_jax.runner.compose import BASE, read
from backprop_jax.runner.document import given
from backprop_jax.runner.first import first_step
from backprop_jax.runner.folder import refuse_nowhere
from backprop_jax.runner.kinds import KINDS, Kind, kind_of
from backprop_jax.runner.plan import Plan, default_of, explained, make_plan
from backprop_jax.runner.run import COMPLETED, WRONG

REFERENCE_PATTERN = r"\$\{.*\}"
"""What a text with a reference looks like, for editors."""


class Asked(NamedTuple):
    """The options of `compare`; None for what is not given.

    Attributes:
      args: operands of a function, as YAML.
      witness: names with commas between them, or `name=function`.
      order: of the derivative.
      dtype: of the operands.
      json: file to write the figures to.
      markdown: file to write the table to.
      html: file to write a page to.
    """

    args: str | None = None
    witness: str | None = None
    order: int | None = None
    dtype: str | None = None
    json: Path | None = None
    markdown: Path | None = None
    html: Path | None = None

    @property
    def witnesses(self) -> list[str] | None:
        """The witnesses asked for."""
        words = None if self.witness is None else self.witness.split(",")
        return words and [word.strip() for word in words if word.strip()]

    @property
    def overrides(self) -> list[str]:
        """What the options say, as overrides of a comparison."""
        listed = None if self.witnesses is None else f"[{', '.join(self.witnesses)}]"
        pairs = {"args": self.args, "witnesses": listed, "order": self.order, "dtype": self.dtype}
        return [f"{key}={value}" for key, value in pairs.items() if value is not None]


def compare(target: str, overrides: Sequence[str], asked: Asked) -> int:
    """Prints how far gradients are apart: of a function, or of an experiment's loss.

    Args:
      target: a YAML file, of a comparison or of an experiment; or `module:function`.
      overrides: settings over those of the file.
      asked: the options, over these.

    Returns:
      0 when they agree, 1 when they do not.
    """
    for option in ("json", "markdown", "html"):
        refuse_nowhere(option, getattr(asked, option))
    if ":" in target and not os.path.isfile(target):
        document = given([*overrides, f"function={target}", *asked.overrides])
        plan: Any = comparing.plan_of(document, [Path()])
        found, title = comparing.run(plan), plan.title
    elif "function" in (document := read(Path(target), overrides, default_of)).values:
        plan = comparing.make_comparison_plan(Path(target), [*overrides, *asked.overrides])
        found, title = comparing.run(plan), plan.title
    else:
        precision = [f"precision={asked.dtype}"] if asked.dtype else []
        plan, title = make_plan(Path(target), [*overrides, *precision]), f"Gradient of {target}"
        report = _of_experiment(plan, Path(target), asked)
        print(report)
        found = comparing.Compared(report, "gradient of the loss at the first step")
    comparing.write(found, plan, title, asked.json, asked.markdown, asked.html)
    return COMPLETED if found.report.ok else WRONG


def _of_experiment(plan: Plan, path: Path, asked: Asked) -> Report:
    """Returns how far our gradient of the experiment's loss is from those of the witnesses.

    At the parameters before the first step, on the batch of the first step.
    """
    if asked.args is not None:
        raise ConfigError(f"{path}: --args are those of a function; an experiment has its own")
    options: dict[str, Any] = {} if asked.order is None else {"order": asked.order}
    if asked.witnesses is not None:
        options["witnesses"] = comparing.witnesses_of(asked.witnesses, _no_function)
    with jax.enable_x64(plan.config.precision == "float64"):
        task, state, batch = first_step(plan)
        return gradients_compared(task.loss, state.params, batch, state.key, **options)


def _no_function(name: str) -> Any:
    """Refuses a witness's own function."""
    raise ConfigError(f"{name!r}: an experiment takes witnesses by name only")


def print_config(path: Path, overrides: Sequence[str]) -> int:
    """Prints every setting of a run as YAML, and where each comes from. Nothing is run."""
    print(explained(kind_of(path, overrides).plan(path, overrides)))
    return COMPLETED


def _or_reference(described: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a value that may be a reference, `${key.sub}`, instead."""
    if "$ref" in described or described.get("type") == "string":
        return described
    about = {key: described.pop(key) for key in ("title", "description") if key in described}
    return about | {"anyOf": [described, {"type": "string", "pattern": REFERENCE_PATTERN}]}


def schema() -> int:
    """Prints the JSON schema of a configuration of any kind, for editors.

    The key that only one kind has tells which it is. A file with `base` alone may be of any.
    """
    described = {kind.name: _described(kind) for kind in KINDS}
    shared = {name: one for each in described.values() for name, one in each.pop("$defs").items()}
    parts = [{"$ref": f"#/$defs/{name}"} for name in described]
    chosen: dict[str, Any] = {
        "if": {"required": [BASE], "not": {"required": [KINDS[0].key]}},
        "then": {"anyOf": parts},
        "else": parts[0],
    }
    for kind, part in zip(KINDS[1:], parts[1:], strict=True):
        chosen = {"if": {"required": [kind.key]}, "then": part, "else": chosen}
    draft = "https://json-schema.org/draft/2020-12/schema"
    print(json.dumps({"$schema": draft, **chosen, "$defs": {**shared, **described}}, indent=2))
    return COMPLETED


def _described(kind: Kind) -> dict[str, Any]:
    """Returns the schema of one kind, every value of which may be a reference."""
    described = TypeAdapter(kind.config()).json_schema()
    described.setdefault("$defs", {})
    # Other sections without a default are added where they are left out; and all may stand in a
    # base file.
    del described["required"]
    described["if"] = {"not": {"required": [BASE]}}
    described["then"] = {"required": list(kind.needs)}
    for section in [described, *described["$defs"].values()]:
        properties = section.get("properties", {})
        properties.update({key: _or_reference(one) for key, one in properties.items()})
    described["properties"][BASE] = {
        "description": "Files under this one, found from its folder. What it says itself, wins.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    return described
