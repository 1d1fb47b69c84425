'''What an experiment is: a Python file of pure functions, and how the runner finds and calls them.

The whole contract, as a file that `experiment: line.py` can name:

    """A line through points."""

    import jax.numpy as jnp

    def data(seed: int, size: int = 64):            # -> (train, test): two pytrees of arrays
        x = jnp.linspace(-1, 1, size)               #    whose first axis counts the examples
        return {"x": x, "y": 3 * x + 1}, {"x": x, "y": 3 * x + 1}

    def init(key):                                  # -> parameters: any pytree of arrays
        return {"slope": jnp.zeros(()), "height": jnp.zeros(())}

    def loss(params, batch):                        # -> a scalar; its gradient is what is computed
        return jnp.mean((params["slope"] * batch["x"] + params["height"] - batch["y"]) ** 2)

    def metrics(params, batch):                     # -> named scalars; optional, default: the loss
        return {"loss": loss(params, batch)}

A function asks for what it needs by the names of its parameters, and gets only that:

    data      seed; every other parameter is a setting, a key of the YAML section `data`
    init      key, model, batch (the first one, for its shapes)
    loss      params, batch, key, model, label_smoothing (the number `training.label_smoothing`)
    metrics   params, batch, model, train (the whole training part); `batch` is the whole test part
    results   params, model, key, train, test; optional, called once, when the last step is done: it
              returns texts and figures of matplotlib by the names of the files they are written to

`MODELS`, if there is one, maps a name to a function or class whose parameters are the keys of the
YAML section `model`; what it returns is what the others get as `model`. Type annotations are
checked (`Literal`, `int | None`, tuples, `Annotated[float, annotated_types.Gt(0)]`) before anything
is run. Functions are called under `jax.jit`, except `data`, `init` and `results`.
'''

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from backprop_jax.errors import ConfigError
from backprop_jax.runner.schema import Field, fields_of, settings
from backprop_jax.runner.words import hint

MAY_ASK = {
    "data": ("seed",),
    "init": ("key", "model", "batch"),
    "loss": ("params", "batch", "key", "model", "label_smoothing"),
    "metrics": ("params", "batch", "model", "train"),
    "results": ("params", "model", "key", "train", "test"),
}
"""What each function may ask for by the name of a parameter."""

REQUIRED_FUNCTIONS = ("data", "init", "loss")


@dataclass(frozen=True)
class Experiment:
    """The functions of an experiment.

    Attributes:
      name: the file, as in the configuration.
      functions: those of `MAY_ASK` that the file has, as written.
      models: the file's MODELS.
    """

    name: str
    functions: Mapping[str, Callable[..., Any]]
    models: Mapping[str, Callable[..., Any]]

    def call(self, function: str, **available: Any) -> Any:
        """Returns what a function of the experiment returns, given what it asks for."""
        wanted = inspect.signature(self.functions[function]).parameters
        given = {name: value for name, value in available.items() if name in wanted}
        return self.functions[function](**given)

    def asks(self, function: str, name: str) -> bool:
        """Says whether a function of the experiment has a parameter of this name."""
        return name in inspect.signature(self.functions[function]).parameters

    def data_settings(self) -> type:
        """Returns the schema of the section `data`."""
        return settings("data", fields_of(self.functions["data"], but=MAY_ASK["data"]))

    def model_settings(self, given: Any) -> type:
        """Returns the schema of the section `model`, for the name it gives; default: the first."""
        if not self.models:
            return settings("model", [])
        names = tuple(self.models)
        name = str(given.get("name", names[0])) if isinstance(given, dict) else names[0]
        fields: list[Field] = [("name", Literal[names], names[0])]
        if name not in self.models:
            return settings("model", fields, strict=False)
        return settings("model", fields + fields_of(self.models[name]))


def load(name: str, folders: Iterable[Path]) -> Experiment:
    """Returns the experiment in a file or module.

    Args:
      name: a path ending in `.py`, or a dotted name.
      folders: where a path or dotted name starts from, in order of preference.

    Raises:
      ConfigError: there is no such file, or it does not keep the contract. An exception raised by
        the file itself is the user's own and passes through.
    """
    module = module_of(name, folders)
    functions = {key: vars(module)[key] for key in MAY_ASK if key in vars(module)}
    models = getattr(module, "MODELS", {})
    if not isinstance(models, Mapping):
        raise ConfigError(f"MODELS in {name} is no dict of what makes a model, by name")
    made = {f"{key!r} of MODELS": one for key, one in models.items()}
    for what, one in {**functions, **made}.items():
        if not callable(one):
            raise ConfigError(f"{what} in {name} is no function")
    _check(name, functions, bool(models))
    return Experiment(name, functions, models)


def module_of(name: str, folders: Iterable[Path], what: str = "experiment") -> ModuleType:
    """Returns the module in a file or of a dotted name; `what` is what errors call it.

    Raises:
      ConfigError: there is none.
    """
    path = _find(name, list(dict.fromkeys(folder.resolve() for folder in folders)), what)
    return _import_file(path) if path else importlib.import_module(name)


def named_in(name: str, folders: Iterable[Path], own: str = "") -> Any:
    """Returns what a name `file.py:name` or `package.module:name` means.

    Args:
      name: without a place, something in `own`.
      folders: where files are looked for, in order of preference.
      own: a file or module.

    Raises:
      ConfigError: there is nothing of this name.
    """
    place, _, word = name.rpartition(":")
    module = module_of(place or own, folders, what="module")
    if not hasattr(module, word):
        close = get_close_matches(word, vars(module), n=1)
        near = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{place or own} has no {word!r}{near}")
    return getattr(module, word)


def _find(name: str, folders: list[Path], what: str) -> Path | None:
    """Returns the file of a module, or None for one that Python itself can find."""
    relative = Path(name if name.endswith(".py") else name.replace(".", "/") + ".py")
    for folder in folders:
        if os.path.isfile(folder / relative):
            return folder / relative
    if not name.endswith(".py") and _installed(name):
        return None
    beside = {
        str(relative.parent / file.name)
        for folder in folders
        for file in (folder / relative).parent.glob("[!_]*.py")
    }
    if not name.endswith(".py"):
        beside = {file.removesuffix(".py").replace("/", ".") for file in beside}
    close = get_close_matches(name, beside, n=1)
    raise ConfigError(f"no {what} {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def _installed(name: str) -> bool:
    """Says whether Python can import a module of this name."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _import_file(path: Path) -> ModuleType:
    """Returns a file as a module, imported as from the folder around its package."""
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if len(parts) > 1:
        return importlib.import_module(".".join(parts))
    name = f"experiment_{path.stem}"
    loader = SourceFileLoader(name, str(path))
    module = ModuleType(name)
    module.__file__ = str(path)
    # Dataclasses look up their own module by name.
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _check(name: str, functions: Mapping[str, Callable[..., Any]], has_models: bool) -> None:
    """Raises unless the functions are there and ask only for what they may."""
    missing = [f"{function}()" for function in REQUIRED_FUNCTIONS if function not in functions]
    if missing:
        raise ConfigError(f"{name} has no {' and no '.join(missing)}")
    for function, may_ask in MAY_ASK.items():
        if function == "data" or function not in functions:
            continue
        for parameter in inspect.signature(functions[function]).parameters.values():
            asks = f"{function}() in {name} asks for {parameter.name!r}"
            if parameter.name not in may_ask and parameter.default is parameter.empty:
                raise ConfigError(asks + hint(parameter.name, may_ask))
            if parameter.name == "model" and not has_models:
                raise ConfigError(f"{asks}, but the file has no MODELS")
    if "params" not in inspect.signature(functions["loss"]).parameters:
        raise ConfigError(f"loss() in {name} does not ask for 'params'")
