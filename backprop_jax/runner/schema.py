"""What a configuration may say: the typed sections, and settings read from a signature.

Keys that are the same for every experiment are written out here. Those of `data`, `model` and
`optimizer` are the arguments of a function: the experiment's `data`, the model it names, the
optimizer of optax. `settings` makes a schema from its signature, so nothing is declared twice.
"""

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from backprop_jax.checkpoints import parsed
from backprop_jax.errors import ConfigError
from backprop_jax.runner.hooks import Hook

EngineName = Literal["backprop_jax", "jax"]
TrackerName = Literal["tensorboard", "wandb", "mlflow"]
LAST = 2**31 - 1
"""The state of a run counts its steps in an int32."""

Count = Annotated[int, Ge(1), Le(LAST)]

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
LENIENT = ConfigDict(extra="ignore")

Data = TypeVar("Data")
Model = TypeVar("Model")
Optimizer = TypeVar("Optimizer")


def known(remat: str | int | None) -> str | int | None:
    """Returns what `remat` says.

    Raises:
      ValueError: it means nothing.
    """
    if remat is not None:
        parsed(remat)
    return remat


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How long, in which portions, and how often to look."""

    steps: Count | None = None
    """Stop after this many steps. With `epochs` as well, whichever ends first."""

    epochs: Count | None = None
    """Stop after this many passes over the training part. One of `steps`, `epochs` is required."""

    batch_size: Count | None = 64
    """Examples in a step; null takes the whole training part."""

    log_every: Count = 50
    """Steps between two lines of training loss."""

    eval_every: Count = 200
    """Steps between two looks at the test part; the last step always has one."""

    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the past in a moving average of the parameters; it is what is then looked at."""

    compute: Literal["bfloat16", "float16"] | None = None
    """What the loss and its gradient are computed in; all that is kept stays in `precision`."""

    loss_scale: Literal["dynamic"] | Annotated[float, Gt(0)] | None = None
    """What the loss is multiplied by on the way back: a number, or what the gradients allow."""

    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the right answer that is given to all; for a loss that asks for it."""

    validation_fraction: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the training part that is kept from training, for `checkpoint.best`, `patience`."""

    patience: Count | None = None
    """Looks, without a better figure `checkpoint.best`, after which the run has ended."""

    @model_validator(mode="after")
    def has_an_end(self) -> Self:
        """Checks that the run has an end."""
        if self.steps is None and self.epochs is None:
            raise ValueError("say how long: steps, epochs, or both")
        return self

    @model_validator(mode="after")
    def scales_what_is_small(self) -> Self:
        """Checks that there is something to scale."""
        if self.loss_scale is not None and self.compute is None:
            raise ValueError("loss_scale goes with compute: float16 or bfloat16")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Gradient:
    """Who computes the gradients, what they keep, and how often the two engines are compared."""

    engine: EngineName = "backprop_jax"
    """`backprop_jax`, or `jax` for jax.grad. It switches the engine and nothing else."""

    remat: Annotated[str | int | None, AfterValidator(known)] = None
    """What to compute again on the way back: auto, full, or bytes (`512MiB`)."""

    check_every: Annotated[int, Ge(0)] = 0
    """Steps between two comparisons of the engines, from the first step on; 0 for none."""

    flow_every: Annotated[int, Ge(0)] = 0
    """Steps between two looks at how gradients flow, from the first step on; 0 for none."""

    example_norms_every: Annotated[int, Ge(0)] = 0
    """Steps between two looks at the gradient norm of each example, from the first on; 0: none."""

    graph: bool | None = None
    """Draws the first step into report.html; null: if training took a minute or more."""

    hooks: dict[str, Hook] | None = None
    """What becomes of cotangents on the way back: where → reverse, {scale: 0.5}, file.py:name."""

    on_nonfinite: Literal["explain"] | None = None
    """`explain` writes where the first infinity or NaN was born into nonfinite.txt."""

    @model_validator(mode="after")
    def is_ours(self) -> Self:
        """Checks that nothing is asked of jax.grad that it has not."""
        for name in ("remat", "hooks", "on_nonfinite"):
            if getattr(self, name) is not None and self.engine == "jax":
                raise ValueError(f"{name} is an option of the engine backprop_jax; jax has none")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Checkpoint:
    """How often everything is written down that `--resume` needs, and how many of these stay."""

    every: Annotated[int, Ge(0), Le(LAST)] = 1000
    """Steps between two checkpoints; 0 for none by count. The last step always has one."""

    minutes: Annotated[float, Ge(0)] = 5.0
    """Minutes after which there is one in any case; 0 for none by time."""

    keep: Annotated[int, Ge(0)] = 3
    """How many stay, the newest; 0 writes none at all."""

    best: str | None = None
    """A figure of the test part; where it is best, the checkpoint `best.npz` is written as well."""

    best_is: Literal["lowest", "highest"] = "lowest"
    """Which value of the figure `best` is the best."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tracking:
    """Who is told the figures of a run, besides its own folder."""

    to: tuple[TrackerName, ...] = ()
    """Any of `tensorboard`, `wandb` and `mlflow`, each an extra of that name."""

    project: str = "backprop_jax"
    """The project of Weights & Biases, the experiment of MLflow."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config(Generic[Data, Model, Optimizer]):
    """One run."""

    experiment: str
    """A Python file (`experiments/digits.py`) or a dotted name (`experiments.digits`)."""

    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    """Decides the data split, the start, the batches and all other chance."""

    precision: Literal["float32", "float64"] = "float32"
    """Of data and parameters."""

    data: Data
    """Arguments of the experiment's `data`."""

    model: Model
    """`name` of one of the experiment's MODELS, and its arguments."""

    optimizer: Optimizer
    """`name` of an optimizer of optax, and its arguments."""

    training: Training
    """How long, in which portions, and how often to look."""

    gradient: Gradient
    """Who computes the gradients, and how often the two engines are compared."""

    checkpoint: Checkpoint
    """How often everything is written down that `--resume` needs, and how many of these stay."""

    tracking: Tracking
    """Who is told the figures of a run, besides its own folder."""

    @model_validator(mode="after")
    def has_what_to_wait_for(self) -> Self:
        """Checks that patience has a figure to watch."""
        if self.training.patience is not None and self.checkpoint.best is None:
            raise ValueError("training.patience needs checkpoint.best, the figure to watch")
        return self

    @model_validator(mode="after")
    def hooks_see_what_they_should(self) -> Self:
        """Checks that what flows back past a hook is not multiplied by something."""
        if self.gradient.hooks and self.training.loss_scale is not None:
            raise ValueError("gradient.hooks would see what training.loss_scale has multiplied")
        return self


SECTIONS = ("data", "model", "optimizer", "training", "gradient", "checkpoint", "tracking")
"""The keys of `Config` that hold a section; a section left out is an empty one."""

Field = tuple[str, Any, Any]
"""Name, type and default of a setting; the default is `REQUIRED` if there is none."""

REQUIRED = MISSING


def settings(name: str, wanted: Collection[Field], *, strict: bool = True) -> type:
    """Returns a frozen dataclass with the wanted fields, checked by pydantic.

    Where all is hashable, the same one for the same fields: what pydantic makes of it is kept, too.

    Args:
      name: name of the class.
      wanted: its fields.
      strict: refuses keys beside the fields; else they are ignored.
    """
    # 1, 1.0 and True are equal, and other defaults.
    told = tuple(repr(default) for *_, default in wanted)
    try:
        return _settings(name, tuple(wanted), told, strict)
    except TypeError:
        return _settings.__wrapped__(name, tuple(wanted), told, strict)


@functools.lru_cache
def _settings(name: str, wanted: tuple[Field, ...], told: tuple[str, ...], strict: bool) -> type:
    """Returns a new dataclass with the wanted fields, whose defaults are told apart by `told`."""
    return make_dataclass(
        name,
        [(key, kind, _default(default)) for key, kind, default in wanted],
        namespace={"__pydantic_config__": STRICT if strict else LENIENT},
        frozen=True,
        kw_only=True,
    )


def fields_of(function: Callable[..., Any], but: Collection[str] = ()) -> list[Field]:
    """Returns the arguments of a function as fields, except those named in `but`.

    Raises:
      ConfigError: it has none that can be read, or annotations that mean nothing.
    """
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (NameError, SyntaxError, TypeError, ValueError, AttributeError) as error:
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(f"{name}(): its parameters cannot be read: {error}") from None
    return [
        (
            parameter.name,
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            REQUIRED if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in parameters.values()
        if parameter.name not in but
    ]


def arguments(section: Any, but: Collection[str] = ()) -> dict[str, Any]:
    """Returns the settings of a section as keyword arguments, except those named in `but`."""
    return {key.name: getattr(section, key.name) for key in fields(section) if key.name not in but}


def _default(value: Any) -> Any:
    """Returns the field of a default; dataclasses want a factory for a mutable one."""
    if isinstance(value, list | dict | set):
        return field(default_factory=lambda: value)
    return field(default=value)
