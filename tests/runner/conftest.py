"""A folder with a small experiment in it, and the command line run inside this process."""

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from matplotlib.figure import Figure

from backprop_jax.cli import main

LINE = '''
"""A line through points."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax.numpy as jnp
from annotated_types import Ge, Gt


@dataclass(frozen=True)
class Polynomial:
    degree: Annotated[int, Ge(0)] = 1
    basis: Literal["powers", "cosines"] = "powers"
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if self.basis == "cosines" and self.degree == 0:
            raise ValueError("cosines need a degree above 0")


MODELS = {"polynomial": Polynomial, "constant": lambda: None}


def data(seed: int, size: Annotated[int, Gt(0)] = 64, noisy: bool = False):
    x = jnp.linspace(-1, 1, size)
    return {"x": x, "y": 3 * x + 1}, {"x": x[::2], "y": 3 * x[::2] + 1}


def init(key):
    return {"slope": jnp.zeros(1), "height": jnp.zeros(1)}


def loss(params, batch):
    return jnp.mean((params["slope"] * batch["x"] + params["height"] - batch["y"]) ** 2)


def metrics(params, batch):
    return {"loss": loss(params, batch), "slope": params["slope"][0]}
'''

RECIPE = """\
experiment: line.py
optimizer: {name: sgd, learning_rate: 0.1}
training: {steps: 20, batch_size: 16, log_every: 5, eval_every: 10}
"""


EMPTY = {
    "svg": '<svg viewBox="0 0 1 1"></svg>',
    "png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
    ),
}
"""Pictures of nothing, as a page holds one and as a file does."""


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def drawn() -> None:
    """Has the pictures of a test drawn: elsewhere all is done for them but that."""


@pytest.fixture(autouse=True)
def left_empty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are left empty unless a test asks for `drawn`: of a small run they take most."""

    draw = Figure.savefig

    def savefig(figure: Figure, file: Any, **options: Any) -> None:
        empty = EMPTY.get(options.get("format", ""))
        if empty and isinstance(empty, str) == isinstance(file, io.StringIO):
            file.write(empty)
        else:
            draw(figure, file, **options)

    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns an empty working folder with `line.py` and `line.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "line.py").write_text(LINE)
    (tmp_path / "line.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Returns a function that runs one command in the working folder."""

    def run(*words: str) -> Result:
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        return Result(code, *capsys.readouterr())

    return run
