"""Every optimizer of optax, and every schedule that YAML can describe, takes steps."""

import pytest

from backprop_jax.runner.optimizers import OPTIMIZERS

SCHEDULES = [
    "name: constant_schedule, value: 0.1",
    "name: cosine_decay_schedule, init_value: 0.1, decay_steps: 10",
    "name: piecewise_constant_schedule, init_value: 0.1, boundaries_and_scales: {2: 0.5}",
    "name: warmup_cosine_decay_schedule, init_value: 0, peak_value: 1e-1, warmup_steps: 1, "
    "decay_steps: 3",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_steps(cli, name):
    assert cli("run", "line.yaml", "--out", "out", f"optimizer={{name: {name}}}").code == 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_takes_steps(cli, schedule):
    rate = f"optimizer.learning_rate={{{schedule}}}"
    assert cli("run", "line.yaml", "--out", "out", rate).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "name: sgd, momentum: 0.9, nesterov: true",
        "name: adam, mu_dtype: bfloat16",
        "name: rmsprop, momentum: null, centered: true",
        "name: lbfgs, memory_size: 3",
        "name: noisy_sgd, key: 7",
    ],
)
def test_optimizers_take_their_arguments(cli, arguments):
    assert cli("run", "line.yaml", "--out", "out", f"optimizer={{{arguments}}}").code == 0


def test_lbfgs_finds_the_line(cli, folder):
    """An optimizer that looks at the loss again gets the loss."""
    given = ("optimizer={name: lbfgs}", "training.batch_size=null", "precision=float64")
    result = cli("run", "line.yaml", "--out", "out", *given)
    assert "slope 3\n" in result.out
