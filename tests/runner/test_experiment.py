"""An experiment of one's own: found by path or dotted name, told where it breaks the contract."""

import pytest

MINIMAL = """
import jax.numpy as jnp

def data():
    return jnp.ones((8, 2)), jnp.ones((4, 2))

def init(batch):
    return {"w": jnp.zeros(batch.shape[1])}

def loss(params, batch):
    return jnp.sum((batch @ params["w"] - 1) ** 2)
"""

RECIPE = "training: {steps: 3, batch_size: 4}\n"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mine.py", "mine.py"),
        ("mine.py", "mine"),
        ("deep/mine.py", "deep/mine.py"),
        ("deep/mine.py", "deep.mine"),
        ("recipes/mine.py", "mine.py"),
    ],
)
def test_is_found_from_here_and_from_beside_the_recipe(cli, folder, file, name):
    for part in ("recipes", "deep"):
        (folder / part).mkdir()
    (folder / file).write_text(MINIMAL)
    (folder / "recipes/mine.yaml").write_text(f"experiment: {name}\n{RECIPE}")
    result = cli("run", "recipes/mine.yaml", "--out", "out")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{name}: adam, float32, gradients by backprop_jax; 3 steps of 4 ")


def test_may_be_part_of_a_package(cli, folder):
    (folder / "my_package").mkdir()
    (folder / "my_package/__init__.py").write_text("")
    (folder / "my_package/shared.py").write_text(MINIMAL)
    (folder / "my_package/mine.py").write_text("from my_package.shared import data, init, loss\n")
    (folder / "mine.yaml").write_text(f"experiment: my_package/mine.py\n{RECIPE}")
    assert cli("run", "mine.yaml", "--out", "out").code == 0


BROKEN = [
    ("def loss(", "def lost(", "mine.yaml:1:13: experiment: mine.py has no loss()"),
    (
        "(batch):",
        "(bacth):",
        "mine.yaml:1:13: experiment: init() in mine.py asks for 'bacth'; did you mean 'batch'?",
    ),
    (
        "loss(params, batch)",
        "loss(params, batch, targets)",
        "mine.yaml:1:13: experiment: loss() in mine.py asks for 'targets'; "
        "known: params, batch, key, model, label_smoothing",
    ),
    (
        "loss(params, batch)",
        "loss(params, batch, model)",
        "mine.yaml:1:13: experiment: loss() in mine.py asks for 'model', "
        "but the file has no MODELS",
    ),
    (
        "loss(params, batch):",
        "loss(batch, key):\n    params = {'w': jnp.ones(2)}",
        "mine.yaml:1:13: experiment: loss() in mine.py does not ask for 'params'",
    ),
    ("def data():", "def data(size: int):", "mine.yaml: data.size: required, but missing"),
    (
        "def data():",
        "def data(where: object() = 0):",
        "mine.py: YAML cannot give this type: ",
    ),
    (
        ", jnp.ones((4, 2))",
        "",
        "data() in mine.py must return a pair (train, test), not float32[8, 2]",
    ),
    (
        "return jnp.ones((8, 2))",
        "return {'x': jnp.ones((8, 2)), 'y': jnp.ones(7)}",
        "the training part that data() in mine.py returns must be arrays with the same number of "
        "examples, at least one",
    ),
    (
        "jnp.ones((4, 2))",
        "jnp.ones((0, 2))",
        "the test part that data() in mine.py returns must be arrays with the same number of "
        "examples, at least one",
    ),
    (
        "jnp.sum(",
        "(",
        "loss() in mine.py must return one real number, not float32[4]",
    ),
    (
        "def loss(",
        "def metrics(params):\n    return 3.0\n\ndef loss(",
        "metrics() in mine.py must return a dict, not float32[]",
    ),
    (
        "def loss(",
        "def metrics(batch):\n    return {'all': batch}\n\ndef loss(",
        "'all' of metrics() in mine.py must be one real number, not float32[4, 2]",
    ),
]


@pytest.mark.parametrize(("old", "new", "error"), BROKEN)
def test_breaking_the_contract_names_file_and_function(cli, folder, old, new, error):
    assert old in MINIMAL
    (folder / "mine.py").write_text(MINIMAL.replace(old, new))
    (folder / "mine.yaml").write_text(f"experiment: mine.py\n{RECIPE}")
    result = cli("run", "mine.yaml")
    assert result.code == 2
    assert result.err.startswith(error)
    assert len(result.err.splitlines()) == 1
    assert not (folder / "runs").exists()


def test_settings_of_an_experiment_without_models_are_refused(cli, folder):
    (folder / "mine.py").write_text(MINIMAL)
    (folder / "mine.yaml").write_text(f"experiment: mine.py\n{RECIPE}model: {{width: 3}}\n")
    assert cli("run", "mine.yaml").err == "mine.yaml:3:9: model.width: unknown key\n"


@pytest.mark.parametrize("line", ["import no_such_module", "raise RuntimeError('mine')", "1 +"])
def test_an_exception_of_the_file_itself_passes_through(cli, folder, line):
    (folder / "mine.py").write_text(line + "\n")
    (folder / "mine.yaml").write_text(f"experiment: mine.py\n{RECIPE}")
    with pytest.raises((ImportError, RuntimeError, SyntaxError)):
        cli("run", "mine.yaml")


def test_a_loss_asks_for_what_it_needs(cli, folder):
    asks = MINIMAL.replace("loss(params, batch)", "loss(key, batch, params, scale=1.0)")
    (folder / "mine.py").write_text(asks)
    (folder / "mine.yaml").write_text(f"experiment: mine.py\n{RECIPE}")
    assert cli("run", "mine.yaml", "--out", "out").code == 0


RESULTS = """
def results(params, test):
    return {"said.txt": f"{params['w'].shape} {test.shape}", "drawn.png": Figure()}
"""


def test_results_are_written_when_training_is_over(cli, folder):
    figure = "from matplotlib.figure import Figure"
    (folder / "mine.py").write_text(figure + MINIMAL + RESULTS)
    (folder / "mine.yaml").write_text(f"experiment: mine.py\n{RECIPE}")
    assert cli("run", "mine.yaml", "--out", "out").code == 0
    assert (folder / "out/said.txt").read_text() == "(2,) (4, 2)"
    assert (folder / "out/drawn.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("'text'", "must return a dict of files"),
        ("{'../a.txt': ''}", "by names of files, not '../a.txt': str"),
        ("{'a.txt': 3}", "by names of files, not 'a.txt': int"),
    ],
)
def test_results_that_are_no_files_are_an_error(cli, folder, returned, said):
    (folder / "mine.py").write_text(f"{MINIMAL}\ndef results():\n    return {returned}\n")
    (folder / "mine.yaml").write_text(f"experiment: mine.py\n{RECIPE}")
    result = cli("run", "mine.yaml", "--out", "out")
    assert (result.code, result.err[: len("results() in mine.py ")]) == (2, "results() in mine.py ")
    assert said in result.err
