"""One configuration from base files, the file, the command line, other keys and the environment."""

import pytest

from backprop_jax.errors import ConfigError
from backprop_jax.runner.compose import read
from backprop_jax.runner.document import dump
from backprop_jax.runner.plan import make_plan

BASES = [
    ({"a": "base: b\nx: 1", "b": "x: 2\ny: 3"}, {"x": 1, "y": 3}),
    ({"a": "base: b\ns: {x: 1}", "b": "s: {x: 2, y: 3}"}, {"s": {"x": 1, "y": 3}}),
    ({"a": "base: [b, c]", "b": "x: 1\ny: 1", "c": "y: 2"}, {"x": 1, "y": 2}),
    ({"a": "base: b", "b": "base: c\nx: 1", "c": "x: 2\ny: 2"}, {"x": 1, "y": 2}),
    ({"a": "base: [b, c]", "b": "base: d\nx: 1", "c": "base: d", "d": "x: 0"}, {"x": 0}),
    ({"a": "base: b\ns: null", "b": "s: {x: 2}"}, {"s": None}),
    ({"a": "base: b\ns: [1]", "b": "s: [2, 3]"}, {"s": [1]}),
    ({"a": "base: b\ns: {x: 1}", "b": "s: 3"}, {"s": {"x": 1}}),
    ({"a": "base:\nx: 1"}, {"x": 1}),
    ({"a": "base: []\nx: 1"}, {"x": 1}),
    ({"a": "base: b\nx: '${y}'", "b": "y: 3"}, {"x": 3, "y": 3}),
    ({"a": "base: b\ny: 4", "b": "y: 3\nx: '${y}'"}, {"x": 4, "y": 4}),
]


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


@pytest.mark.parametrize(("files", "values"), BASES)
def test_a_file_lies_over_its_bases(folder, files, values):
    write(folder, files)
    assert read(folder / "a").values == values


def test_bases_are_found_from_the_file_that_names_them(folder):
    for name in ("one", "one/two"):
        (folder / name).mkdir()
    write(folder, {"a": "base: one/b", "one/b": "base: two/c", "one/two/c": "base: ../../d"})
    write(folder, {"d": "x: 1"})
    assert read(folder / "a").values == {"x": 1}


BAD_BASES = [
    ({"a": "base: a"}, "a:1:7: base: a circle: a → a"),
    ({"a": "base: b", "b": "x: 1\nbase: [c, a]", "c": ""}, "b:2:11: base.1: a circle: a → b → a"),
    ({"a": "base: [b]", "b": "base: c", "c": "base: b"}, "c:1:7: base: a circle: b → c → b"),
    ({"a": "base: lime.yaml"}, "a:1:7: base: lime.yaml: no such file; did you mean 'line.yaml'?"),
    ({"a": "base: ."}, "a:1:7: base: . is a folder, not a YAML file"),
    ({"a": "base: 3"}, "a:1:7: base: expected the name of a file, or a list of them, got 3"),
    (
        {"a": "base: [b, 3]", "b": ""},
        "a:1:7: base: expected the name of a file, or a list of them, got ['b', 3]",
    ),
    ({"a": "base: b", "b": "x: [1"}, "b:2:1: expected ',' or ']', but got '<stream end>'"),
    ({"a": f"base: [{', '.join('b' * 120)}]", "b": ""}, "a:1:305: base.99: more than 100 files"),
]


def said(folder, path="a", overrides=()):
    with pytest.raises(ConfigError) as raised:
        make_plan(type(folder)(path), overrides)
    return str(raised.value)


@pytest.mark.parametrize(("files", "error"), BAD_BASES)
def test_a_bad_base_has_a_place(folder, files, error):
    write(folder, files)
    assert said(folder).splitlines()[0] == error


def test_a_mistake_in_a_base_is_told_where_it_stands(folder):
    write(
        folder, {"a": "base: line.yaml\nsede: 1", "line.yaml": (folder / "line.yaml").read_text()}
    )
    write(folder, {"line.yaml": (folder / "line.yaml").read_text() + "model: {degree: -1}"})
    assert said(folder) == (
        "a:2:1: sede: unknown key; did you mean 'seed'?\n"
        "line.yaml:5:17: model.degree: expected a number of at least 0, got -1"
    )


def test_a_base_in_another_folder_names_its_experiment_from_there(folder):
    (folder / "there").mkdir()
    (folder / "line.py").rename(folder / "there/line.py")
    (folder / "line.yaml").rename(folder / "there/line.yaml")
    write(folder, {"a": "base: there/line.yaml\ntraining: {steps: 1}"})
    plan = make_plan(folder / "a")
    assert (plan.config.training.steps, plan.config.training.batch_size) == (1, 16)


REFERENCES = [
    ("x: 3\ny: ${x}", 3),
    ("x: 1e-3\ny: ${x}", 1e-3),
    ("x: [1, {z: 2}]\ny: ${x}", [1, {"z": 2}]),
    ("x: [1, {z: 2}]\ny: ${x.1.z}", 2),
    ("x: ${z}\nz: 4\ny: ${x}", 4),
    ("x: {z: '${w}'}\nw: 5\ny: ${x}", {"z": 5}),
    ("x: 3\nw: true\ny: a-${x}-${w}-b", "a-3-true-b"),
    ("x: null\ny: ${x}", None),
    ("x: 3\ny: $${x}", "${x}"),
    ("y: $5 {a}", "$5 {a}"),
    ("y: ${env:NUMBER}", 12),
    ("y: ${env:TEXT}", "on"),
    ("y: ${env:NOWHERE,1e-2}", 1e-2),
    ("y: ${env:NOWHERE,}", None),
    ("y: ${env:STRANGE}", "[1, "),
    ("y: {a: 1, b: '${y.a}'}", {"a": 1, "b": 1}),
    ("y: ${training.log_every}", 50),
    ("y: ${seed}", 0),
]


@pytest.mark.parametrize(("text", "value"), REFERENCES)
def test_a_reference_is_what_it_names(folder, monkeypatch, text, value):
    for name, given in {"NUMBER": "12", "TEXT": "on", "STRANGE": "[1, "}.items():
        monkeypatch.setenv(name, given)
    (folder / "a").write_text(text)
    found = read(folder / "a", (), {("training", "log_every"): 50, ("seed",): 0}.get).values["y"]
    assert found == value
    assert type(found) is type(value)


LOST = [
    ("y: ${trainin.steps}", "a:1:4: y: ${trainin.steps}: no such key in the file"),
    ("seed: 1\ny: ${sead}", "a:2:4: y: ${sead}: no such key in the file; did you mean 'seed'?"),
    ("y: ${y}", "a:1:4: y: y and ${y} go round in a circle"),
    ("x: ${y}\ny: a${x}", "a:1:4: x: y and ${x} go round in a circle"),
    ("x: {z: '${x}'}", "a:1:8: x.z: x.z and ${x} go round in a circle"),
    (
        "y: ${env:NOWHERE}",
        "a:1:4: y: ${env:NOWHERE}: no such variable in the environment; "
        "${env:NOWHERE,default} says what then",
    ),
    (
        "y: a ${x",
        "a:1:4: y: 'a ${x': a reference is written ${key.sub} or ${env:NAME,default}",
    ),
    ("x: [1]\ny: a ${x}", "a:2:4: y: ${x} is [1], which cannot stand within a text"),
    (
        "x: 1\ny: {z: ${x}}",
        "a:2:9: expected ',' or '}', but got '{'; within braces or brackets a reference wants "
        "quotes: '${...}'",
    ),
]


@pytest.mark.parametrize(("text", "error"), LOST)
def test_a_reference_that_leads_nowhere_has_a_place(folder, text, error):
    (folder / "a").write_text(text)
    assert said(folder).splitlines()[0] == error


def test_a_reference_may_stand_on_the_command_line(folder):
    plan = make_plan(folder / "line.yaml", ["checkpoint.every=${training.steps}"])
    assert plan.config.checkpoint.every == 20
    error = "command line: seed: ${sed}: no such key in the file; did you mean 'seed'?"
    assert said(folder, "line.yaml", ["seed=${sed}"]) == error


def test_texts_that_look_like_references_are_written_and_read(folder):
    (folder / "a").write_text(dump({"a": ["${x}", "$${y}", "$"]}))
    assert read(folder / "a").values == {"a": ["${x}", "$${y}", "$"]}


def test_the_command_line_wins_then_the_file_then_its_base(cli, folder, monkeypatch):
    monkeypatch.setenv("SIZE", "48")
    write(folder, {"over.yaml": "base: line.yaml\nseed: 1\ntraining: {steps: 4, log_every: 2}"})
    write(folder, {"top.yaml": "base: over.yaml\nseed: 2\ndata:\n  size: ${env:SIZE}"})
    result = cli("run", "top.yaml", "seed=3", "--print-config")
    assert (result.code, result.err) == (0, "")
    origins = dict(line.split("  # ") for line in result.out.splitlines() if "#" in line)
    origins = {text.strip(): origin for text, origin in origins.items()}
    assert {
        "seed: 3": "command line",
        "size: 48": "top.yaml:4:9, ${env:SIZE}",
        "steps: 4": "over.yaml:3:19",
        "log_every: 2": "over.yaml:3:33",
        "batch_size: 16": "line.yaml:3:35",
        "eval_every: 10": "line.yaml:3:65",
        "epochs: null": "default",
        "scales: [1.0]": "default",
    }.items() <= origins.items()
    assert not (folder / "runs").exists()
    (folder / "printed.yaml").write_text(result.out)
    again = make_plan(folder / "printed.yaml").settings
    assert again == make_plan(folder / "top.yaml", ["seed=3"]).settings


def test_a_run_says_what_was_composed(cli, folder):
    write(folder, {"top.yaml": "base: line.yaml\ntraining: {steps: 2}"})
    assert cli("run", "top.yaml", "--out", "out").code == 0
    config = (folder / "out/config.yaml").read_text()
    assert "base" not in config
    assert "batch_size: 16" in config
