"""The benchmarks run. How fast is no test's business."""

import json
import sys

import jax
import pytest

from benchmarks.__main__ import main
from benchmarks.workloads import WORKLOADS


def test_a_quick_run_prints_a_table_and_writes_a_file(tmp_path, monkeypatch, capsys):
    file = tmp_path / "results.json"
    monkeypatch.setattr(
        sys, "argv", ["benchmarks", "--quick", "--only", "mlp", "--json", str(file)]
    )
    assert main() == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:6] == ["workload", "step", "trace", "compile", "eager", "memory"]
    assert row.startswith("mlp")
    written = json.loads(file.read_text())
    assert written["workloads"]["mlp"]["error"]["backprop_jax"] < 1e-5
    assert "backprop_jax" in written["environment"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_workload_has_a_loss_to_differentiate(name):
    workload = WORKLOADS[name]()
    assert jax.eval_shape(workload.loss, *workload.at).shape == ()
