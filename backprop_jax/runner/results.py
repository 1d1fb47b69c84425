"""What an experiment shows when training is over: texts and pictures of its own, as files."""

from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from backprop_jax.errors import ConfigError
from backprop_jax.runner.folder import write, writing
from backprop_jax.runner.plan import Plan
from backprop_jax.runner.task import Task


def write_results(plan: Plan, task: Task, params: Any, folder: Path) -> None:
    """Writes what the experiment's `results` returns, if it has that function.

    Raises:
      ConfigError: it does not return texts and figures by the names of files.
    """
    experiment = plan.experiment
    if "results" not in experiment.functions:
        return
    found = experiment.call(
        "results",
        params=params,
        model=plan.model,
        key=jax.random.key(plan.config.seed),
        train=task.train,
        test=task.test,
    )
    if not isinstance(found, dict):
        raise ConfigError(f"results() in {experiment.name} must return a dict of files")
    for name, content in found.items():
        if Path(name).name != name or not isinstance(content, str | Figure):
            text = f"{name!r}: {type(content).__name__}"
            raise ConfigError(
                f"results() in {experiment.name} must return texts and figures by names of files, "
                f"not {text}"
            )
        if isinstance(content, str):
            write(folder / name, content)
        else:
            with writing(folder / name):
                content.savefig(folder / name)
