"""What a wrong configuration is told: one line for each mistake, all at once."""

import pytest

from backprop_jax.runner.plan import make_plan

GOOD = """\
experiment: line.py
training: {steps: 2}
"""

# What is added to GOOD from its third line on, and what is said about it.
ADDED = [
    ("sede: 3", "bad.yaml:3:1: sede: unknown key; did you mean 'seed'?"),
    (
        "zzz: 3",
        "bad.yaml:3:1: zzz: unknown key; known: experiment, seed, precision, data, model, "
        "optimizer, training, gradient, checkpoint, tracking",
    ),
    ("seed: ten", "bad.yaml:3:7: seed: expected a whole number, got 'ten'"),
    ("seed: 1.5", "bad.yaml:3:7: seed: expected a whole number, got 1.5"),
    ("seed: true", "bad.yaml:3:7: seed: expected a whole number, got true"),
    ("seed: '3'", "bad.yaml:3:7: seed: expected a whole number, got '3'"),
    ("seed:", "bad.yaml:3:6: seed: expected a whole number, got null"),
    ("seed: -1", "bad.yaml:3:7: seed: expected a number of at least 0, got -1"),
    ("seed: [1]", "bad.yaml:3:7: seed: expected a whole number, got [1]"),
    ("seed: {a: 1}", "bad.yaml:3:7: seed: expected a whole number, got a section of keys"),
    (
        "precision: double",
        "bad.yaml:3:12: precision: unknown value 'double'; known: float32, float64",
    ),
    (
        "precision: float",
        "bad.yaml:3:12: precision: unknown value 'float'; did you mean 'float64'?",
    ),
    ("gradient: jax", "bad.yaml:3:11: gradient: expected a section of keys, got 'jax'"),
    (
        "gradient: {engine: jaks}",
        "bad.yaml:3:20: gradient.engine: unknown value 'jaks'; did you mean 'jax'?",
    ),
    (
        "gradient: {remat: atuo}",
        "bad.yaml:3:12: gradient.remat: remat='atuo' is not known; it may be None, 'auto', 'full', "
        "a number of bytes, a text such as '512MiB', or a policy of jax.checkpoint_policies.",
    ),
    (
        "gradient: {engine: jax, remat: auto}",
        "bad.yaml:3:1: gradient: remat is an option of the engine backprop_jax; jax has none",
    ),
    (
        "gradient: {hooks: {mul: revers}}",
        "bad.yaml:3:20: gradient.hooks.mul: unknown hook 'revers'; did you mean 'reverse'?; "
        "expected reverse, a function file.py:name, or one of scale, clip, clip_norm with a number",
    ),
    (
        "gradient:\n  hooks:\n    mul: {clp: 1}",
        "bad.yaml:5:5: gradient.hooks.mul: unknown hook 'clp'; did you mean 'clip'?",
    ),
    (
        "gradient: {hooks: {mul: {clip: 0}}}",
        "bad.yaml:3:20: gradient.hooks.mul: clip: expected a finite number above 0, got 0",
    ),
    (
        "gradient: {hooks: {mul: {scale: big}}}",
        "bad.yaml:3:20: gradient.hooks.mul: scale: expected a number, got 'big'",
    ),
    (
        "gradient: {hooks: {mul: 2}}",
        "bad.yaml:3:20: gradient.hooks.mul: expected reverse, a function file.py:name, or one of "
        "scale, clip, clip_norm with a number",
    ),
    (
        "gradient: {hooks: {mul: line.py:los}}",
        "bad.yaml:3:25: gradient.hooks.mul: line.py has no 'los'; did you mean 'loss'?",
    ),
    (
        "gradient: {engine: jax, hooks: {mul: reverse}}",
        "bad.yaml:3:1: gradient: hooks is an option of the engine backprop_jax; jax has none",
    ),
    (
        "gradient: {check_evry: 1}",
        "bad.yaml:3:12: gradient.check_evry: unknown key; did you mean 'check_every'?",
    ),
    (
        "tracking: {to: [tensorbord]}",
        "bad.yaml:3:17: tracking.to.0: unknown value 'tensorbord'; did you mean 'tensorboard'?",
    ),
    ("data: {sise: 3}", "bad.yaml:3:8: data.sise: unknown key; did you mean 'size'?"),
    ("data: {seed: 3}", "bad.yaml:3:8: data.seed: unknown key; known: size, noisy"),
    ("data: {size: 0}", "bad.yaml:3:14: data.size: expected a number above 0, got 0"),
    ("data: {noisy: yes}", "bad.yaml:3:15: data.noisy: expected true or false, got 'yes'"),
    (
        "model:\n  degre: 2",
        "bad.yaml:4:3: model.degre: unknown key; did you mean 'degree'?",
    ),
    (
        "model:\n  name: polynom",
        "bad.yaml:4:9: model.name: unknown value 'polynom'; did you mean 'polynomial'?",
    ),
    (
        "model:\n  basis: cosine",
        "bad.yaml:4:10: model.basis: unknown value 'cosine'; did you mean 'cosines'?",
    ),
    (
        "model:\n  degree: -1",
        "bad.yaml:4:11: model.degree: expected a number of at least 0, got -1",
    ),
    (
        "model:\n  scales: [1, a]",
        "bad.yaml:4:15: model.scales.1: expected a number, got 'a'",
    ),
    ("model:\n  scales: 3", "bad.yaml:4:11: model.scales: expected a list, got 3"),
    (
        "model: {name: constant, degree: 1}",
        "bad.yaml:3:25: model.degree: unknown key; known: name",
    ),
    (
        "model: {basis: cosines, degree: 0}",
        "bad.yaml:3:1: model: cosines need a degree above 0",
    ),
    (
        "optimizer: {name: adamm}",
        "bad.yaml:3:19: optimizer.name: unknown value 'adamm'; did you mean 'adam'?",
    ),
    (
        "optimizer: {learning_rat: 1}",
        "bad.yaml:3:13: optimizer.learning_rat: unknown key; did you mean 'learning_rate'?",
    ),
    (
        "optimizer: {learning_rate: fast}",
        "bad.yaml:3:28: optimizer.learning_rate: expected a number, got 'fast'",
    ),
    (
        "optimizer: {learning_rate: .nan}",
        "bad.yaml:3:28: optimizer.learning_rate: expected a finite number, got nan",
    ),
    (
        "optimizer: {name: sgd, b1: 0.9}",
        "bad.yaml:3:24: optimizer.b1: unknown key; known: name, learning_rate, momentum, nesterov, "
        "accumulator_dtype, clip_norm, accumulate",
    ),
    (
        "optimizer:\n  learning_rate: {name: cosine_decay_shedule}",
        "bad.yaml:4:25: optimizer.learning_rate.name: unknown value 'cosine_decay_shedule'; "
        "did you mean 'cosine_decay_schedule'?",
    ),
    (
        "optimizer:\n  learning_rate: {name: cosine_decay_schedule, init_value: 1}",
        "bad.yaml:4:3: optimizer.learning_rate.decay_steps: required, but missing",
    ),
    (
        "optimizer:\n  learning_rate: {name: cosine_decay_schedule, init_value: 1, decay_steps: 0}",
        "bad.yaml:3:1: optimizer: The cosine_decay_schedule requires positive decay_steps, "
        "got decay_steps=0.",
    ),
    (
        "optimizer: {name: [adam]}",
        "bad.yaml:3:19: optimizer.name: unknown value ['adam']; did you mean 'adam'?",
    ),
    (
        "model: {name: {a: 1}}",
        "bad.yaml:3:15: model.name: unknown value a section of keys; known: polynomial, constant",
    ),
    (
        "optimizer: {learning_rate: {name: 3}}",
        "bad.yaml:3:35: optimizer.learning_rate.name: unknown value 3; known: constant_schedule, "
        "cosine_decay_schedule, cosine_onecycle_schedule, exponential_decay, "
        "linear_onecycle_schedule, linear_schedule, piecewise_constant_schedule, "
        "piecewise_interpolate_schedule, polynomial_schedule, sgdr_schedule, "
        "warmup_constant_schedule, warmup_cosine_decay_schedule, warmup_exponential_decay_schedule",
    ),
    ("seed: 1\nseed: 2", "bad.yaml:4:1: seed: written twice; the first is on line 3"),
]


@pytest.mark.parametrize(("added", "error"), ADDED)
def test_a_mistake_is_one_line(cli, folder, added, error):
    (folder / "bad.yaml").write_text(f"{GOOD}{added}\n")
    assert cli("run", "bad.yaml") == (2, "", error + "\n")
    assert not (folder / "runs").exists()


WHOLE = [
    (
        "training: {steps: 2}",
        "bad.yaml: experiment: required, but missing",
    ),
    ("experiment: line.py", "bad.yaml: training: say how long: steps, epochs, or both"),
    (
        "experiment: line.py\ntraining: {batch_size: 3}",
        "bad.yaml:2:1: training: say how long: steps, epochs, or both",
    ),
    (
        "experiment: lines.py\ntraining: {steps: 2}",
        "bad.yaml:1:13: experiment: no experiment 'lines.py'; did you mean 'line.py'?",
    ),
    (
        "experiment: lines\ntraining: {steps: 2}",
        "bad.yaml:1:13: experiment: no experiment 'lines'; did you mean 'line'?",
    ),
    (
        "experiment: far/away.py\ntraining: {steps: 2}",
        "bad.yaml:1:13: experiment: no experiment 'far/away.py'",
    ),
    (
        "experiment: 7\ntraining: {steps: 2}",
        "bad.yaml:1:13: experiment: expected text, got 7",
    ),
    (
        "experiment: line.py\ntraining: {steps: 2, batch_size: 65}",
        "bad.yaml:2:34: training.batch_size: 65 is more than the 64 training examples",
    ),
    (
        "experiment: line.py\ntraining: {steps: 0, epochs: 1e-4}",
        "bad.yaml:2:19: training.steps: expected a number of at least 1, got 0\n"
        "bad.yaml:2:30: training.epochs: expected a whole number, got 0.0001",
    ),
    (
        "sead: 1\nexperiment: lines.py\ndata: {anything: 1}\ntraning: {}\nsead: 2",
        "bad.yaml: training: say how long: steps, epochs, or both\n"
        "bad.yaml:1:1: sead: unknown key; did you mean 'seed'?\n"
        "bad.yaml:2:13: experiment: no experiment 'lines.py'; did you mean 'line.py'?\n"
        "bad.yaml:4:1: traning: unknown key; did you mean 'training'?\n"
        "bad.yaml:5:1: sead: written twice; the first is on line 1",
    ),
]


@pytest.mark.parametrize(("text", "error"), WHOLE)
@pytest.mark.parametrize("command", ["run", "compare"])
def test_all_mistakes_are_told_at_once(cli, folder, command, text, error):
    (folder / "bad.yaml").write_text(text + "\n")
    assert cli(command, "bad.yaml") == (2, "", error + "\n")


OVERRIDDEN = [
    ("training.stepz=3", "training.stepz: unknown key; did you mean 'steps'?"),
    ("--training.stepz=3", "training.stepz: unknown key; did you mean 'steps'?"),
    ("training.steps=ten", "training.steps: expected a whole number, got 'ten'"),
    ("seed=", "seed: expected a whole number, got null"),
    ("seed.x=1", "seed: expected a whole number, got a section of keys"),
    ("model.degree=-3", "model.degree: expected a number of at least 0, got -3"),
    ("model={degree: -3}", "model.degree: expected a number of at least 0, got -3"),
    ("experiment=lime.py", "experiment: no experiment 'lime.py'; did you mean 'line.py'?"),
    ("steps", "'steps': an override is written key.sub=value"),
]


@pytest.mark.parametrize(("override", "error"), OVERRIDDEN)
def test_a_mistake_on_the_command_line_is_one_line(cli, override, error):
    assert cli("run", "line.yaml", override) == (2, "", f"command line: {error}\n")


def test_mistakes_of_the_command_line_come_last(cli, folder):
    (folder / "bad.yaml").write_text(GOOD + "sede: 3\n")
    assert cli("run", "bad.yaml", "training.stepz=3").err == (
        "bad.yaml:3:1: sede: unknown key; did you mean 'seed'?\n"
        "command line: training.stepz: unknown key; did you mean 'steps'?\n"
    )


def test_a_recipe_is_filled_in_with_defaults(folder):
    (folder / "good.yaml").write_text(GOOD)
    assert make_plan(folder / "good.yaml").settings == {
        "experiment": "line.py",
        "seed": 0,
        "precision": "float32",
        "data": {"size": 64, "noisy": False},
        "model": {"name": "polynomial", "degree": 1, "basis": "powers", "scales": [1.0]},
        "optimizer": {
            "name": "adam",
            "learning_rate": 1e-3,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "eps_root": 0.0,
            "mu_dtype": None,
            "nesterov": False,
            "clip_norm": None,
            "accumulate": 1,
        },
        "training": {
            "steps": 2,
            "epochs": None,
            "batch_size": 64,
            "log_every": 50,
            "eval_every": 200,
            "ema": None,
            "compute": None,
            "loss_scale": None,
            "label_smoothing": 0.0,
            "validation_fraction": None,
            "patience": None,
        },
        "gradient": {
            "engine": "backprop_jax",
            "remat": None,
            "check_every": 0,
            "flow_every": 0,
            "example_norms_every": 0,
            "graph": None,
            "hooks": None,
            "on_nonfinite": None,
        },
        "checkpoint": {
            "every": 1000,
            "minutes": 5.0,
            "keep": 3,
            "best": None,
            "best_is": "lowest",
        },
        "tracking": {"to": [], "project": "backprop_jax"},
    }


def test_empty_sections_are_left_at_their_defaults(folder):
    (folder / "good.yaml").write_text(GOOD + "data:\nmodel:\noptimizer:\ngradient:\n")
    assert make_plan(folder / "good.yaml").config.gradient.engine == "backprop_jax"


def test_a_schedule_is_a_learning_rate(folder):
    (folder / "good.yaml").write_text(GOOD)
    rate = "optimizer.learning_rate={name: linear_schedule, init_value: 1, end_value: 0, "
    plan = make_plan(folder / "good.yaml", [rate + "transition_steps: 10}"])
    assert plan.settings["optimizer"]["learning_rate"] == {
        "name": "linear_schedule",
        "init_value": 1.0,
        "end_value": 0.0,
        "transition_steps": 10,
        "transition_begin": 0,
    }
