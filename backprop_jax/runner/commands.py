"""What the command line can do: run, compare, schema. Each returns the exit code."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from pydantic import TypeAdapter
from rich.console import Console

from backprop_jax.check.compare import compare as gradients_compared
from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.curves import draw
from backprop_jax.runner.display import display
from backprop_jax.runner.document import dump
from backprop_jax.runner.environment import environment
from backprop_jax.runner.optimizers import any_optimizer
from backprop_jax.runner.plan import AnyKeys, Plan, make_plan
from backprop_jax.runner.schema import Config
from backprop_jax.runner.task import Task, batches, make_task, take
from backprop_jax.runner.training import NonFiniteLoss, Record, State, start, train

COMPLETED, WRONG, INTERRUPTED = 0, 1, 130


def run(path: Path, overrides: Sequence[str], out: Path | None) -> int:
    """Trains as the file says, into a folder of its own.

    Returns:
      0 when completed, 1 when the loss was not finite, 130 when interrupted from the keyboard.
    """
    plan = make_plan(path, overrides)
    with jax.enable_x64(plan.config.precision == "float64"):
        task = make_task(plan)
        state = start(plan, task)
        folder = run_folder.make_folder(out, path.stem)
        run_folder.write(folder / run_folder.CONFIG, dump(plan.settings))
        run_folder.write_json(folder / run_folder.ENVIRONMENT, environment(path.resolve().parent))
        print(_headline(plan, task))
        records: list[Record] = []
        status, message = "failed", ""
        try:
            _train(plan, task, state, folder, records)
            status, message = "completed", ""
        except NonFiniteLoss as error:
            status, message = "nonfinite", str(error)
        except KeyboardInterrupt:
            status, message = "interrupted", "from the keyboard"
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            summary = run_folder.summarize(records, status, message)
            run_folder.write_json(folder / run_folder.SUMMARY, summary)
            draw(records, f"{path.stem}: {_chosen(plan)}", folder / run_folder.CURVES)
    print(_closing(summary, plan, folder))
    return {"completed": COMPLETED, "interrupted": INTERRUPTED}.get(status, WRONG)


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


def _train(plan: Plan, task: Task, state: State, folder: Path, records: list[Record]) -> None:
    """Trains; each record is kept, written and shown."""
    lines = run_folder.json_lines(folder / run_folder.METRICS)
    with lines as add, display(Console(file=sys.stdout), task.steps) as show:

        def record(figures: Record) -> None:
            records.append(figures)
            add(figures)
            show(figures)

        train(plan, task, state, record)


def _chosen(plan: Plan) -> str:
    """Returns what was chosen, in a few words."""
    config = plan.config
    model = getattr(config.model, "name", "")
    parts = (
        model,
        config.optimizer.name,
        config.precision,
        f"gradients by {config.gradient.engine}",
    )
    return ", ".join(part for part in parts if part)


def _headline(plan: Plan, task: Task) -> str:
    """Returns the first line of a run: what is trained, on how much, where."""
    device = jax.devices()[0]
    return (
        f"{plan.experiment.name}: {_chosen(plan)}; {task.steps} steps of {task.batch_size} "
        f"from {task.size} examples on {device.device_kind}"
    )


def _closing(summary: dict[str, Any], plan: Plan, folder: Path) -> str:
    """Returns the last lines of a run: how it ended, how good it is, where the results are."""
    lines = [f"{summary['status']}: {summary['steps']} steps in {summary['seconds']:.1f} s"]
    if summary["trace_seconds"] is not None:
        lines[0] += (
            f", after {summary['trace_seconds']:.2f} s to trace"
            f" and {summary['compile_seconds']:.2f} s to compile"
        )
    if summary["message"]:
        lines.append(f"  why:        {summary['message']}")
    if summary["status"] == "nonfinite":
        rate = plan.settings["optimizer"]["learning_rate"]
        now = f" (now {rate:g})" if isinstance(rate, float) else ""
        lines.append(f"  to go on:   lower optimizer.learning_rate{now}, or try precision=float64")
    if summary["metrics"]:
        figures = "  ".join(f"{key} {x:.4g}" for key, x in summary["metrics"].items())
        lines.append(f"  test:       {figures}")
    if check := summary["gradient_check"]:
        where = f" (step {check['step']}, {check['leaf']})" if check["max_rel"] else ""
        lines.append(
            f"  gradients:  {check['checks']} checks against jax.grad; largest relative difference "
            f"{check['max_rel']:.1e}{where}"
        )
    return "\n".join([*lines, f"  results:    {folder}"])
