"""One run, from a YAML file to a folder of results; and going on with it."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from backprop_jax.errors import ConfigError, message
from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.curves import draw
from backprop_jax.runner.display import display
from backprop_jax.runner.document import dump
from backprop_jax.runner.environment import environment
from backprop_jax.runner.flow.findings import findings
from backprop_jax.runner.flow.history import Flow
from backprop_jax.runner.flow.lookout import Lookout
from backprop_jax.runner.flow.pictures import draw_flow
from backprop_jax.runner.keeper import Keeper, first_facts, newest
from backprop_jax.runner.plan import Plan, make_plan
from backprop_jax.runner.report.page import question_of, run_page
from backprop_jax.runner.report.step import step_drawn
from backprop_jax.runner.results import write_results
from backprop_jax.runner.resume import changes, folder_of, refuse
from backprop_jax.runner.snapshots import DoesNotFit, Facts, fingerprint
from backprop_jax.runner.stopping import stop_when_asked
from backprop_jax.runner.task import Task, make_task
from backprop_jax.runner.trackers import Trackers
from backprop_jax.runner.training import (
    NonFiniteLoss,
    Progress,
    Record,
    Stopped,
    beginning,
    start,
    train,
)
from backprop_jax.taps.alarm import wait
from backprop_jax.taps.report import Report

COMPLETED, WRONG, INTERRUPTED, STOPPED = 0, 1, 130, 143

CODES = {"completed": COMPLETED, "interrupted": INTERRUPTED, "terminated": STOPPED}
"""Exit codes by status; the others are `WRONG`."""


def run(
    path: Path, overrides: Sequence[str], out: Path | None = None, resume: Path | None = None
) -> int:
    """Trains as the file says, into a folder of its own, or goes on in one.

    Args:
      path: the YAML file.
      overrides: settings over those of the file.
      out: the folder for the results, new or empty. Default: a new one in runs/.
      resume: the folder of a run to go on with, or `resume.LATEST`.

    Returns:
      0 when completed, 1 when the loss was not finite, 130 when interrupted from the keyboard, 143
      when terminated.
    """
    plan = make_plan(path, overrides)
    found = None if resume is None else folder_of(resume, path.stem)
    with jax.enable_x64(plan.config.precision == "float64"), stop_when_asked() as stop:
        task = make_task(plan)
        state = start(plan, task)
        folder = found or run_folder.make_folder(out, path.stem)
        with run_folder.locked(folder):
            data = fingerprint((task.train, task.test))
            begun, facts = beginning(state), first_facts(plan.settings, data)
            if found:
                begun, facts = gone_on(plan, task, folder, begun, facts)
            step, here = int(begun.state.step), path.resolve().parent
            settings, ran_on = dump(plan.settings), run_folder.json_text(environment(here))
            run_folder.write_over(folder / run_folder.CONFIG, settings, step)
            run_folder.write_over(folder / run_folder.ENVIRONMENT, ran_on, step)
            print(headline(plan, task))
            summary = _train(plan, task, begun, facts, folder, stop)
    print(closing(summary, plan, folder))
    return CODES.get(summary["status"], WRONG)


def gone_on(
    plan: Plan,
    task: Task,
    folder: Path,
    begun: Progress,
    facts: Facts,
    tell: Callable[[str], Any] = print,
) -> tuple[Progress, Facts]:
    """Returns where a run goes on from, and what its checkpoints say; tells what has changed.

    Raises:
      ConfigError: it cannot go on with this configuration, or with these data.
    """
    again = f"--resume {folder}"
    try:
        found = newest(folder, begun.state, lambda text: tell(f"{again}: {text}"))
    except DoesNotFit as error:
        refuse(folder, changes(error.facts["settings"], plan.settings))
        way = "set the optimizer back, or begin a run without --resume"
        raise ConfigError(message(f"{again}: {error}", to_go_on=way)) from None
    if found is None:
        tell(f"{again}: it has no checkpoint yet; it begins again at step 0")
        return begun, facts
    begun, before = found
    step = int(begun.state.step)
    changed = changes(before["settings"], plan.settings)
    refuse(folder, changed)
    if before["data"] != facts["data"]:
        raise ConfigError(f"{again}: data() of {plan.experiment.name} returns other data than then")
    if step > task.steps:
        raise ConfigError(f"{again}: it is at step {step} already, beyond the last, {task.steps}")
    tell(f"{again}: goes on from step {step} of {task.steps}")
    for key, how in changed.items():
        tell(f"  changed:    {key}: {how}")
    if before["backprop_jax"] != facts["backprop_jax"]:
        tell(f"  changed:    backprop_jax {before['backprop_jax']} → {facts['backprop_jax']}")
    kept = {key: before[key] for key in ("best", "metrics_bytes")}
    return begun, facts | kept | {"resumed": [*before["resumed"], step]}


def _train(
    plan: Plan,
    task: Task,
    begun: Progress,
    facts: Facts,
    folder: Path,
    stop: Callable[[], str | None],
) -> dict[str, Any]:
    """Trains; each record is kept, written and shown. Returns the summary."""
    path, position = folder / run_folder.METRICS, facts["metrics_bytes"]
    records: list[Record] = run_folder.read_lines(path, position)
    resumed, lookout = bool(begun.state.step), Lookout(records)
    status, why = "failed", ""
    trackers = Trackers(folder, plan.config.tracking)
    try:
        trackers.start(plan.settings, records)
        with (
            run_folder.json_lines(path, position) as lines,
            display(Console(file=sys.stdout), task.steps) as show,
        ):

            def record(figures: Record) -> None:
                if resumed and figures["kind"] == "compile":
                    return
                records.append(figures)
                lines.add(figures)
                trackers.log(figures)
                show(figures)
                for warning in lookout.see(figures):
                    record(warning)

            training = plan.config.training
            patience = (training.patience or 0) * training.eval_every
            explain = functools.partial(_explain, folder)
            given = folder, plan.config.checkpoint, lines, facts
            with ThreadPoolExecutor(1) as writer, Keeper(*given, writer, patience) as keep:
                why = train(plan, task, begun, record, keep, stop, explain)
            write_results(plan, task, (keep.latest or begun).state.looked_at, folder)
        status = "completed"
    except NonFiniteLoss as error:
        status, why = "nonfinite", str(error)
    except Stopped as error:
        status, why = str(error).split()[0], str(error)
    except KeyboardInterrupt:
        status, why = "interrupted", "interrupted from the keyboard"
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        wait()
        if status == "nonfinite" and (folder / run_folder.NONFINITE).exists():
            why += f"; see {run_folder.NONFINITE}"
        flow = Flow.of(records)
        warnings = warned(flow, records) if flow else []
        summary = run_folder.summarize(records, status, why)
        summary |= {"warnings": warnings, "resumed": facts["resumed"]}
        with run_folder.lastly():
            run_folder.write_json(folder / run_folder.SUMMARY, summary)
            title = f"{Path(plan.document.name).stem}: {_chosen(plan)}"
            draw(records, title, folder / run_folder.CURVES)
            if flow:
                draw_flow(flow, title, folder / run_folder.FLOW)
            report(plan, task, folder, summary, records, summary["seconds"])
            trackers.finish(status)
    return summary


def warned(flow: Flow, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns what is wrong with how gradients flowed: in all, and what was told on the way."""
    found = [dataclasses.asdict(one) for one in findings(flow)]
    known = {one["kind"] for one in found}
    told = [one for one in records if one["kind"] == "warning" and one["about"] not in known]
    said = ((one["about"], f"at step {one['step']}: {one['text']}") for one in told)
    return found + [{"kind": kind, "text": text} for kind, text in said]


def report(
    plan: Plan,
    task: Task,
    folder: Path,
    summary: dict[str, Any],
    records: Sequence[Record],
    seconds: float,
) -> None:
    """Writes the page of a run that has ended.

    Args:
      plan: what was run.
      task: with what.
      folder: of the run.
      summary: how it ended.
      records: the lines of its metrics.jsonl.
      seconds: that it took by itself, to which those for a picture of its first step would come.
    """
    path, nonfinite = Path(plan.document.name), folder / run_folder.NONFINITE
    graph = why = ""
    if summary["status"] == "completed":
        graph, why = step_drawn(plan, task, seconds)
    page = run_page(
        plan,
        summary,
        records,
        json.loads((folder / run_folder.ENVIRONMENT).read_text(encoding="utf-8")),
        title=path.stem,
        question=question_of(path),
        chosen=f"{plan.experiment.name}: {_chosen(plan)}",
        nonfinite=nonfinite.read_text(encoding="utf-8") if nonfinite.exists() else "",
        graph=graph,
        undrawn=why,
    )
    run_folder.write(folder / run_folder.REPORT, page)


def _explain(folder: Path, report: Report) -> None:
    """Writes down where a gradient stopped being finite."""
    run_folder.write(folder / run_folder.NONFINITE, f"{report}\n")


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


def headline(plan: Plan, task: Task) -> str:
    """Returns the first line of a run: what is trained, on how much, where."""
    device = jax.devices()[0]
    return (
        f"{plan.experiment.name}: {_chosen(plan)}; {task.steps} steps of {task.batch_size} "
        f"from {task.size} examples on {device.device_kind}"
    )


def closing(summary: dict[str, Any], plan: Plan, folder: Path) -> str:
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
    lines += [f"  warning:    {warning['text']}" for warning in summary["warnings"]]
    return "\n".join([*lines, f"  results:    {folder}"])
