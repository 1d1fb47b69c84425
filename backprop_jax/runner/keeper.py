"""When checkpoints are written, which of them stay, and which one a run goes on from."""

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from backprop_jax.errors import ConfigError, message
from backprop_jax.runner.folder import CHECKPOINTS, METRICS, UNFINISHED, Lines, writing
from backprop_jax.runner.schema import Checkpoint
from backprop_jax.runner.snapshots import Damaged, Facts, Leaf, copied, load, write
from backprop_jax.runner.state import State
from backprop_jax.runner.training import Progress
from backprop_jax.version import __version__

NAME = re.compile(r"step-(\d+)\.npz")
BEST = "best.npz"


class Keeper:
    """Writes the checkpoints of a run into its folder, while the run goes on.

    Its arrays are copied at once; a thread writes them. Each checkpoint waits for the one before,
    and leaving a keeper, as a context, for the last. What kept one from being written is raised
    where it is waited for.

    Attributes:
      facts: what each checkpoint says besides its arrays.
      latest: the progress that was saved last, whether or not a checkpoint was to be written.
    """

    latest: Progress | None = None

    def __init__(
        self,
        folder: Path,
        config: Checkpoint,
        lines: Lines,
        facts: Facts,
        writer: Executor,
        patience: int = 0,
    ) -> None:
        """Makes the folder.

        Args:
          folder: of the run.
          config: what is kept.
          lines: of the run's metrics; a checkpoint is written when those before it are on disk.
          facts: what each checkpoint says.
          writer: writes what it is given; of one run, never two things at the same time.
          patience: steps without a better figure that end the run, 0 for no end of it.
        """
        self.facts, self._patience, self._writer = facts, patience, writer
        self._writing: Future[None] | None = None
        self._folder, self._config, self._lines = folder / CHECKPOINTS, config, lines
        self._saved_at = time.monotonic()
        with writing(self._folder):
            self._folder.mkdir(exist_ok=True)
            for unfinished in self._folder.glob(f".*{UNFINISHED}"):
                unfinished.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def wait(self) -> None:
        """Returns when what was saved is on disk.

        Raises:
          CannotWrite: it cannot be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def is_due(self, step: int) -> bool:
        """Says whether a checkpoint should be written after `step`."""
        config = self._config
        steps = config.every and step % config.every == 0
        minutes = config.minutes and time.monotonic() - self._saved_at > 60 * config.minutes
        return bool(config.keep and (steps or minutes))

    def save(self, progress: Progress) -> None:
        """Saves progress in a checkpoint, and only then removes the ones that are too many."""
        self.latest = progress
        if self._config.keep:
            self._save(f"step-{int(progress.state.step):08d}.npz", progress)
            self._saved_at = time.monotonic()

    def enough(self, step: int) -> str | None:
        """Says why the run has ended after `step`: no better figure for too many steps."""
        best = self.facts["best"] or {"step": 0}
        if not self._patience or step - best["step"] < self._patience:
            return None
        return f"completed early: no better {self._config.best} since step {best['step']}"

    def look(self, figures: dict[str, float], progress: Progress) -> None:
        """Saves progress in `best.npz` if the figures of the test part are the best so far."""
        name = self._config.best
        if name is None or not np.isfinite(figures[name]):
            return
        sign = 1 if self._config.best_is == "highest" else -1
        before = self.facts["best"]
        if before is None or sign * figures[name] > sign * before["value"]:
            step = int(progress.state.step)
            self.facts["best"] = {"figure": name, "value": figures[name], "step": step}
            self._save(BEST, progress)

    def _save(self, name: str, progress: Progress) -> None:
        """Has one checkpoint written, as everything is now."""
        facts = self.facts | {
            "step": int(progress.state.step),
            "metrics_bytes": self._lines.size(),
            "seconds": progress.seconds,
            "latest": progress.latest,
            "pending": [float(loss) for loss in progress.pending],
            "pending_dtype": progress.pending[0].dtype.name if progress.pending else "float32",
        }
        leaves = copied(progress.state)
        self.wait()
        self._writing = self._writer.submit(self._write, name, leaves, facts)

    def _write(self, name: str, leaves: Sequence[Leaf], facts: Facts) -> None:
        """Writes one checkpoint, once the lines up to it are on disk, and tidies up."""
        self._lines.sync()
        write(self._folder / name, leaves, facts)
        if name != BEST:
            for path in checkpoints(self._folder.parent)[: -self._config.keep]:
                path.unlink()


def first_facts(settings: Facts, data: str) -> Facts:
    """Returns what the checkpoints of a new run say.

    Args:
      settings: the configuration.
      data: the fingerprint of the data.
    """
    return {
        "backprop_jax": __version__,
        "settings": settings,
        "data": data,
        "resumed": [],
        "best": None,
        "metrics_bytes": 0,
    }


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints in the folder of a run, the oldest first."""
    found = (folder / CHECKPOINTS).glob("*.npz")
    return sorted(path for path in found if NAME.fullmatch(path.name))


def newest(
    folder: Path, template: State, say: Callable[[str], Any]
) -> tuple[Progress, Facts] | None:
    """Returns the newest checkpoint of a run that is whole; None if there are none at all.

    Args:
      folder: of the run.
      template: the state of the run before its first step.
      say: is told of each checkpoint that is not whole.

    Raises:
      ConfigError: there are checkpoints, and none of them is whole.
    """
    paths = checkpoints(folder)
    metrics = folder / METRICS
    lines = metrics.stat().st_size if metrics.exists() else 0
    for path in reversed(paths):
        try:
            state, facts = load(path, template)
            if facts["metrics_bytes"] > lines:
                raise Damaged(f"{metrics.name} is shorter than {path.name} says")
        except Damaged as error:
            say(f"{error}; the checkpoint before it is taken")
            continue
        pending = list(np.asarray(facts["pending"], jnp.dtype(facts["pending_dtype"])))
        return Progress(state, pending, facts["latest"], facts["seconds"]), facts
    if paths:
        text = f"{folder}: none of its {len(paths)} checkpoints is whole"
        raise ConfigError(message(text, to_go_on="start again, in another folder"))
    return None
