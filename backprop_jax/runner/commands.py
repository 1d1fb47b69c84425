"""What else the command line can do: compare, schema. Each returns the exit code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from pydantic import TypeAdapter

from backprop_jax.check.compare import compare as gradients_compared
from backprop_jax.runner.optimizers import any_optimizer
from backprop_jax.runner.plan import AnyKeys, make_plan
from backprop_jax.runner.run import COMPLETED, WRONG
from backprop_jax.runner.schema import Config
from backprop_jax.runner.task import batches, make_task, take
from backprop_jax.runner.training import start


def compare(path: Path, overrides: Sequence[str]) -> int:
    """Prints how far our gradient of the experiment's loss is from that of jax.grad.

    At the parameters before the first step, on the batch of the first step.

    Returns:
      0 when they agree, 1 when they do not.
    """
    plan = make_plan(path, overrides)
    with jax.enable_x64(plan.config.precision == "float64"):
        task = make_task(plan)
        state = start(plan, task)
        rows = next(batches(plan.config.seed, task.size, task.batch_size))
        batch = take(task.train, rows)
        report = gradients_compared(task.loss, state.params, batch, state.key)
    print(report)
    return COMPLETED if report.ok else WRONG


def schema() -> int:
    """Prints the JSON schema of a configuration, for editors."""
    sections: Any = Config
    described = TypeAdapter(sections[AnyKeys, AnyKeys, any_optimizer()]).json_schema()
    # The other sections are there for validation: `make_plan` adds those that are left out.
    described["required"] = ["experiment", "training"]
    draft = "https://json-schema.org/draft/2020-12/schema"
    print(json.dumps({"$schema": draft, **described}, indent=2))
    return COMPLETED
