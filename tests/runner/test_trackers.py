"""TensorBoard, Weights & Biases and MLflow are told each line of a run once, as one run."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from backprop_jax.runner.folder import read_lines
from backprop_jax.runner.trackers import figures
from tests.runner.test_resume import lose_power, meeting

ALL = "[tensorboard, wandb, mlflow]"
OFTEN = ("checkpoint.every=4", "training.log_every=3", "training.eval_every=6")


def steady(heard):
    """Returns the figures that are the same when they come again."""
    return [one for one in heard if not one[1].endswith("seconds")]


def module(name, **members):
    """Returns a module that nobody has installed."""
    made = ModuleType(name)
    made.__dict__.update(members)
    return made


@pytest.fixture
def told(monkeypatch):
    """Returns, by tracker, what stand-ins for the three packages were told: (step, figures)."""
    heard = {"tensorboard": [], "wandb": [], "mlflow": [], "started": [], "ended": []}

    class EventsWriter:
        def __init__(self, prefix, suffix):
            open(f"{prefix}{suffix}", "x").close()
            heard["started"].append(suffix)

        def write_event(self, event):
            heard["tensorboard"].append((event.step, event.summary))

        def flush(self):
            pass

        def close(self):
            heard["ended"].append("tensorboard")

    def init(**given):
        heard["started"].append((given["id"], given["resume"], given["project"]))
        return SimpleNamespace(
            id=given["id"] or "w1",
            define_metric=lambda *_, **__: None,
            log=lambda row: heard["wandb"].extend(
                (row["step"], item) for item in row.items() if item[0] != "step"
            ),
            finish=lambda exit_code: heard["ended"].append(exit_code),
        )

    class MlflowClient:
        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "7"

        def create_run(self, experiment, run_name):
            heard["started"].append((experiment, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="m1"))

        def log_param(self, run, key, value):
            assert run == "m1"

        def log_batch(self, run, metrics):
            heard["mlflow"].extend((one.step, (one.key, one.value)) for one in metrics)

        def update_run(self, run, status):
            heard["started"].append((run, status))

        def set_terminated(self, run, status):
            heard["ended"].append(status)

    def metric(key, value, timestamp, step):
        return SimpleNamespace(key=key, value=value, step=step)

    fakes = [
        module("tensorboardX"),
        module("tensorboardX.event_file_writer", EventsWriter=EventsWriter),
        module("tensorboardX.summary", scalar=lambda name, x: (name, x)),
        module("tensorboardX.proto"),
        module("tensorboardX.proto.event_pb2", Event=SimpleNamespace),
        module("wandb", init=init),
        module("mlflow", MlflowClient=MlflowClient, entities=SimpleNamespace(Metric=metric)),
    ]
    for fake in fakes:
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return heard


def test_each_line_is_told_once_however_often_the_run_stopped(cli, folder, monkeypatch, told):
    for steps, way, to in ((15, "--out", "[tensorboard, wandb]"), (14, "--resume", ALL)):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no power"):
            meeting(patch, steps, lose_power)
            cli("run", "line.yaml", way, "out", f"tracking.to={to}", *OFTEN)
    with (folder / "out/metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    assert cli("run", "line.yaml", "--resume", "out", f"tracking.to={ALL}", *OFTEN).code == 0
    lines = read_lines(folder / "out/metrics.jsonl")
    wanted = [(one["step"], name, x) for one in lines for name, x in figures(one).items()]
    for name in ("tensorboard", "wandb", "mlflow"):
        heard = [(step, *item) for step, item in told[name]]
        assert [one[:2] for one in heard] == [one[:2] for one in wanted], name
        # How long it took is another figure each time; the first one stays.
        assert steady(heard) == steady(wanted), name
    fresh, again = (None, None, "backprop_jax"), ("w1", "allow", "backprop_jax")
    runs = [".0", fresh, ".1", again, ("7", "out"), ".2", again, ("m1", "RUNNING")]
    assert told["started"] == runs
    failed = ["tensorboard", 1, "tensorboard", 1, "FAILED"]
    assert told["ended"] == [*failed, "tensorboard", 0, "FINISHED"]
    kept = json.loads((folder / "out/tracking.json").read_text())
    assert [one["identity"] for one in kept.values()] == ["tensorboard", "w1", "m1"]


def test_figures_are_numbers_by_name():
    flow = {"kind": "flow", "step": 3, "layers": ["['a']", "b"], "dead": [None, 0.5]}
    assert figures(flow) == {"flow/dead/b": 0.5}
    assert figures(flow | {"dead": [0.25, 0]}) == {"flow/dead/__a__": 0.25, "flow/dead/b": 0.0}
    check = {"kind": "gradient_check", "step": 1, "max_rel": 2.0, "leaf": "w"}
    assert figures(check) == {"gradient_check/max_rel": 2.0}


def test_a_missing_package_is_told_before_anything_is_written(cli, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    text = (folder / "line.yaml").read_text()
    (folder / "line.yaml").write_text(f"{text}tracking: {{to: [wandb]}}\n")
    result = cli("run", "line.yaml", "--out", "out")
    assert result.code == 2
    what, *rest = result.err.splitlines()
    assert what.startswith("tracking.to: wandb needs wandb, which cannot be imported: ")
    assert rest == [
        "  written at: line.yaml:4:17",
        "  to go on:   pip install 'backprop-jax[wandb]', or leave wandb out of tracking.to",
    ]
    assert not (folder / "out").exists()


def test_a_tracker_that_fails_ends_the_run_and_says_which(cli, folder, monkeypatch, told):
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: 1 / 0)
    result = cli("run", "line.yaml", "--out", "out", "tracking.to=[wandb]")
    assert result.code == 1
    assert "tracking.to: wandb failed: ZeroDivisionError: division by zero\n" in result.err
    assert "leave wandb out; then run the same command with --resume" in result.err
