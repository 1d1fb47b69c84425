"""The benchmarks run. How fast is no test's business."""

import json
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import page, peers
from benchmarks.__main__ import main
from benchmarks.measure import Figure, figure, in_turns
from benchmarks.picture import draw
from benchmarks.report import read, rows
from benchmarks.workloads import WORKLOADS

FIGURES = ("step", "over", "trace", "lower", "compile", "eager", "cold", "memory", "error")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A quick run's file and what it printed."""
    file = tmp_path_factory.mktemp("benchmarks") / "results.json"
    with pytest.MonkeyPatch.context() as patch:
        options = ["--quick", "--cpu-time", "--only", "mlp", "--json", str(file)]
        patch.setattr(sys, "argv", ["benchmarks", *options])
        assert main() == 0
    return file


def test_a_quick_run_writes_a_file(written):
    found = json.loads(written.read_text())
    mlp = found["workloads"]["mlp"]
    assert tuple(mlp) == FIGURES
    assert mlp["error"]["values"]["ours"] < 1e-5
    assert mlp["step"]["ratios"].keys() == {"ours"}
    assert "backprop_jax" in found["environment"]
    assert found["clock of runs"] == "CPU time"


def test_a_file_is_read_as_the_table_and_drawn(written, tmp_path):
    _, results = read(written)
    found = rows(results)
    assert [row[:2] for row in found] == [["mlp", "ours"]]
    assert all(float(cell) > 0 for cell in found[0][2:9])
    path = tmp_path / "picture.png"
    draw(results, "title", path, "made of this")
    assert Image.open(path).text["Source"] == "made of this"


def test_an_engine_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--engines", "ours,theirs"])
    with pytest.raises(SystemExit):
        main()
    assert "no engine theirs; there are ours, jax" in capsys.readouterr().err


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_workload_has_something_to_differentiate(name):
    workload = WORKLOADS[name]()
    results = jax.tree.leaves(jax.eval_shape(workload.forward, *workload.at))
    assert all(result.dtype == "float32" for result in results)


@pytest.mark.parametrize("name", peers.LOSSES)
def test_a_peer_computes_the_loss_of_the_workload(name):
    """With NumPy in the place of a library that may not be installed."""
    workload = WORKLOADS[name]()

    def log_softmax(x: np.ndarray) -> np.ndarray:
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    found = peers.LOSSES[name](np, log_softmax, *(peers.as_numpy(x) for x in workload.at))
    np.testing.assert_allclose(found, workload.forward(*workload.at), rtol=1e-5)


def test_samples_are_taken_in_turns_and_within_the_budget():
    order = []
    samples = {name: lambda name=name: float(order.append(name) or 1.0) for name in "ab"}
    assert in_turns(samples, 2, 0.0) == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    assert order == ["a", "b", "b", "a"]
    assert len(in_turns(samples, 9, 0.0)["a"]) == 2


def test_the_page_is_that_of_the_files():
    assert page.PAGE.read_text() == page.page(), "run python -m benchmarks --write"


@pytest.mark.parametrize("file", page.files(), ids=lambda file: file.stem)
def test_the_picture_is_that_of_the_file(file):
    said = Image.open(page.picture(file)).text["Source"]
    assert said == page.digest(file), "run python -m benchmarks --write"


def test_ratios_of_nothing_are_left_out():
    assert figure({"ours": [0.0], "jax": [0.0]}) == Figure({"ours": 0.0, "jax": 0.0}, {})
