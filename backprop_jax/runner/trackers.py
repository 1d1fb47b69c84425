"""Where the lines of `metrics.jsonl` go besides: TensorBoard, Weights & Biases, MLflow.

A run is one run there, too, however often it was gone on with: `tracking.json` in its folder keeps
what it is called there, and how far it has told. A line that was told before it was cut from
`metrics.jsonl` is told once: when it comes again it is skipped, as no tracker can take one back.
"""

import importlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from backprop_jax.errors import CannotWrite, ConfigError, message
from backprop_jax.runner.document import Document
from backprop_jax.runner.folder import METRICS, read_lines, write_json
from backprop_jax.runner.resume import flat
from backprop_jax.runner.schema import TrackerName, Tracking

KEPT = "tracking.json"

PACKAGES: dict[TrackerName, str] = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
}
"""What each tracker needs; the extras have the names of the trackers."""

Record = Mapping[str, Any]


class Tracker(Protocol):
    """One place that takes the figures of a run."""

    def start(self, folder: Path, settings: Mapping[str, Any], identity: str | None) -> str:
        """Begins a run, or goes on with the one of that identity; returns the identity.

        Args:
          folder: of the run.
          settings: the configuration.
          identity: what `start` returned when the run began; None at its beginning.
        """
        ...

    def log(self, step: int, record: Record) -> None:
        """Takes the figures of a line, named as `figures` does."""
        ...

    def finish(self, status: str) -> None:
        """Ends it; `status` is that of summary.json."""
        ...


class TensorBoard:
    """Event files in the folder `tensorboard` of the run."""

    def __init__(self, project: str) -> None:
        del project  # a folder has none

    def start(self, folder: Path, settings: Mapping[str, Any], identity: str | None) -> str:
        """Begins an event file beside those that are there."""
        parts = ("event_file_writer", "summary", "proto.event_pb2")
        events, self._summary, self._proto = (
            importlib.import_module(f"tensorboardX.{part}") for part in parts
        )
        here = folder / (identity or "tensorboard")
        here.mkdir(exist_ok=True)
        # Its names have no more than the second; and `SummaryWriter` writes from a thread, which
        # would lose what waits when the process is killed, and wait for ever on a full disk.
        suffix = f".{len(list(here.iterdir()))}"
        self._writer = events.EventsWriter(str(here / "events"), suffix)
        return here.name

    def log(self, step: int, record: Record) -> None:
        """Writes the figures; they have left this process when this returns."""
        for name, x in record.items():
            summary = self._summary.scalar(name, x)
            event = self._proto.Event(wall_time=time.time(), step=step, summary=summary)
            self._writer.write_event(event)
        self._writer.flush()

    def finish(self, status: str) -> None:
        """Closes the file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases; where it goes, or `WANDB_MODE=offline`, is wandb's to know."""

    def __init__(self, project: str) -> None:
        self._project = project

    def start(self, folder: Path, settings: Mapping[str, Any], identity: str | None) -> str:
        """Begins a run, or goes on with it."""
        self._run = importlib.import_module("wandb").init(
            project=self._project,
            name=folder.resolve().name,
            dir=str(folder),
            config=dict(settings),
            id=identity,
            resume="allow" if identity else None,
            allow_val_change=True,
        )
        # Its own count of steps takes no line of a step that it is beyond.
        self._run.define_metric("*", step_metric="step")
        return self._run.id

    def log(self, step: int, record: Record) -> None:
        """Hands the figures over."""
        self._run.log({"step": step, **record})

    def finish(self, status: str) -> None:
        """Waits until all is written or sent."""
        self._run.finish(exit_code=int(status != "completed"))


class MLflow:
    """A run of MLflow, where `MLFLOW_TRACKING_URI` says, or in a store in the working folder."""

    def __init__(self, project: str) -> None:
        self._project = project

    def start(self, folder: Path, settings: Mapping[str, Any], identity: str | None) -> str:
        """Begins a run, or goes on with it."""
        mlflow = importlib.import_module("mlflow")
        self._client, self._entities = mlflow.MlflowClient(), mlflow.entities
        if identity:
            self._client.update_run(identity, status="RUNNING")
            self._id = identity
            return identity
        experiment = self._client.get_experiment_by_name(self._project)
        number = experiment.experiment_id if experiment else None
        number = number or self._client.create_experiment(self._project)
        run = self._client.create_run(number, run_name=folder.resolve().name)
        self._id = run.info.run_id
        for key, value in flat(settings):
            self._client.log_param(self._id, key, value)
        return self._id

    def log(self, step: int, record: Record) -> None:
        """Hands the figures over."""
        now = int(1000 * time.time())
        taken = [self._entities.Metric(name, x, now, step) for name, x in record.items()]
        self._client.log_batch(self._id, metrics=taken)

    def finish(self, status: str) -> None:
        """Says how it ended."""
        said = {"completed": "FINISHED", "interrupted": "KILLED", "terminated": "KILLED"}
        self._client.set_terminated(self._id, said.get(status, "FAILED"))


TRACKERS: dict[TrackerName, type[TensorBoard] | type[WeightsAndBiases] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Trackers:
    """All that a run is told to, none of it before `start`."""

    def __init__(self, folder: Path, wanted: Tracking) -> None:
        self._folder, self._wanted = folder, wanted
        self._begun: dict[TrackerName, tuple[Tracker, dict[str, int]]] = {}

    def start(self, settings: Mapping[str, Any], records: list[dict[str, Any]]) -> None:
        """Begins or goes on with all of them; to be called before `metrics.jsonl` is cut.

        Args:
          settings: the configuration.
          records: the lines that stay; a tracker that is new to the run is told them.

        Raises:
          CannotWrite: one cannot begin.
        """
        if not self._wanted.to:
            return
        path = self._folder / KEPT
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        reached = _reached(self._folder / METRICS)
        for name in dict.fromkeys(self._wanted.to):
            tracker: Tracker = TRACKERS[name](self._wanted.project)
            known = kept.get(name)
            with _telling(name):
                identity = tracker.start(self._folder, settings, known and known["identity"])
            told = _later(known["told"], reached) if known else {}
            self._begun[name] = tracker, told
            kept[name] = {"identity": identity, "told": told}
            write_json(path, kept)
            for record in [] if known else records:
                self._tell(name, record)

    def log(self, record: Record) -> None:
        """Tells a line of `metrics.jsonl` to all that have not been told it."""
        for name in self._begun:
            self._tell(name, record)

    def finish(self, status: str) -> None:
        """Ends all of them."""
        for name, (tracker, _) in self._begun.items():
            with _telling(name):
                tracker.finish(status)

    def _tell(self, name: TrackerName, record: Record) -> None:
        """Tells one tracker a line, unless it has been told it."""
        tracker, told = self._begun[name]
        numbers = figures(record)
        if numbers and record["step"] > told.get(record["kind"], -1):
            with _telling(name):
                tracker.log(record["step"], numbers)


def figures(record: Record) -> dict[str, float]:
    """Returns the numbers of a line of `metrics.jsonl` by name: `test/accuracy`, `flow/dead/w1`.

    Figures of layers have the name of the layer at the end. What is no number is left out; what no
    tracker's names may hold becomes `_`.
    """
    layers = record.get("layers", [])
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, list) and key != "layers" and len(value) == len(layers):
            found |= {f"{key}/{layer}": x for layer, x in zip(layers, value, strict=True)}
        elif key != "step":
            found[key] = value
    return {
        re.sub(r"[^\w\-./]", "_", f"{record['kind']}/{key}"): float(x)
        for key, x in found.items()
        if isinstance(x, int | float) and not isinstance(x, bool)
    }


def need(wanted: Tracking, document: Document) -> None:
    """Raises if a package is missing that the configuration needs.

    Raises:
      ConfigError: one is; nothing has been written.
    """
    for index, name in enumerate(wanted.to):
        package = PACKAGES[name]
        try:
            importlib.import_module(package)
        except ImportError as error:
            text = f"tracking.to: {name} needs {package}, which cannot be imported: {error}"
            place = document.at_value(("tracking", "to", index), "").place
            way = f"pip install 'backprop-jax[{name}]', or leave {name} out of tracking.to"
            raise ConfigError(message(text, written_at=str(place), to_go_on=way)) from None


def _later(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Returns the later step of each kind."""
    return {kind: max(one.get(kind, -1), other.get(kind, -1)) for kind in {**one, **other}}


def _reached(path: Path) -> dict[str, int]:
    """Returns the last step of each kind of line in a file of them, which may be cut short."""
    whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
    return {record["kind"]: record["step"] for record in read_lines(path, whole)}


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Says of any failure within that it was this tracker.

    Raises:
      CannotWrite: something failed.
    """
    try:
        yield
    except Exception as error:
        text = f"tracking.to: {name} failed: {type(error).__name__}: {error}"
        way = f"see to that, or leave {name} out; then run the same command with --resume"
        raise CannotWrite(message(text, to_go_on=way)) from error
