r'''What a lesson is: one function of its settings that returns numbers, pictures and a page.

The whole contract, as a file that `lesson: slope.py` can name:

    """The slope of a parabola."""

    from typing import Annotated

    from annotated_types import Gt
    from matplotlib.figure import Figure

    import backprop_jax as bp
    from backprop_jax.runner.lesson import Lesson


    def lesson(at: float = 3.0, width: Annotated[float, Gt(0)] = 2.0) -> Lesson:
        """Returns the parabola and its tangent."""
        slope = float(bp.grad(lambda x: x**2)(at))
        figure = Figure()
        axes = figure.subplots()
        axes.plot([at - width, at + width], [at**2 - width * slope, at**2 + width * slope])
        return Lesson(
            title="A slope",
            text=f"The slope of x² at {at:g} is {slope:g}.\n\n![The tangent](tangent.png)",
            numbers={"slope": slope},
            pictures={"tangent.png": figure},
        )

and the configuration, with what it promises, see `promises`:

    lesson: slope.py
    settings: {at: 3.0}
    expected: {slope: 6.0}

A file promises of its own settings: with others from the command line, only what is said there of
`expected` is checked.

The parameters of `lesson` are the keys of the section `settings`, checked by their annotations
before anything is run, as those of an experiment are; for settings that do not go together it
raises a `ConfigError`, and the user is told where they stand. A lesson has no other input, draws
all chance from a seed among its settings, and writes nothing: `backprop-jax run` does, into a
folder.
'''

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import jax
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic.errors import PydanticUserError

from backprop_jax.errors import ConfigError
from backprop_jax.runner.compose import read
from backprop_jax.runner.document import COMMAND_LINE, Document, Keys, Problem, raise_problems
from backprop_jax.runner.experiment import module_of
from backprop_jax.runner.explain import validated
from backprop_jax.runner.plan import AnyKeys, folders_around
from backprop_jax.runner.promises import Promises, promises
from backprop_jax.runner.schema import STRICT, arguments, fields_of, settings

FUNCTION = "lesson"

Settings = TypeVar("Settings")


@runtime_checkable
class Saves(Protocol):
    """What can write itself into a file whose ending says how, as what `bp.explain` returns."""

    def save(self, path: str, /) -> None:
        """Writes the file."""
        ...


Picture = Figure | Saves | Callable[[Path], None] | bytes | str
"""A figure of matplotlib, what saves itself, a function that writes a file, or what it holds."""

Numbers = Mapping[str, Any]
"""Named numbers, truth values, texts, and lists of them; arrays are taken as lists."""


@plain_dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a lesson shows.

    Attributes:
      title: of the page.
      text: the page in Markdown, which shows each picture by its name, `![What it is](name.png)`.
        Title, question, the table of numbers and the command are added to it.
      numbers: what a test can assert.
      pictures: file name → what is in it; drawn and animated ones alike.
      wrong: what went wrong, "" for nothing; then the run exits with 1.
    """

    title: str
    text: str
    numbers: Numbers
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    wrong: str = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LessonConfig(Generic[Settings]):
    """One lesson on gradients."""

    lesson: str
    """A Python file (`experiments/lessons/descent.py`) or a dotted name, with a `lesson`."""

    precision: Literal["float32", "float64"] = "float64"
    """Of what it computes with."""

    settings: Settings
    """Arguments of the lesson."""

    expected: dict[str, Any]
    """What its numbers must be: a value, a text, or `least`, `most`, `value` and `within`."""


@plain_dataclass(frozen=True)
class LessonPlan:
    """What a lesson's run needs, checked before it is run.

    Attributes:
      config: every setting, defaults filled in.
      document: the file it came from.
      function: what makes the lesson.
      expected: what is promised of its numbers.
    """

    config: LessonConfig[Any]
    document: Document
    function: Callable[..., Lesson]
    expected: Promises

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting as plain values, as YAML would hold them."""
        return TypeAdapter(type(self.config)).dump_python(self.config, mode="json")

    @property
    def name(self) -> str:
        """What is run."""
        return self.config.lesson

    def made(self) -> Lesson:
        """Returns the lesson, run in its precision.

        Raises:
          ConfigError: the settings do not go together, or the function returns something else. What
            else it raises passes through.
        """
        try:
            with jax.enable_x64(self.config.precision == "float64"):
                found = self.function(**arguments(self.config.settings))
        except ConfigError as error:
            raise ConfigError(str(self.document.at_key(("settings",), str(error)))) from error
        if not isinstance(found, Lesson):
            kind = type(found).__name__
            raise ConfigError(f"{FUNCTION}() in {self.name} returns {kind}, not a Lesson")
        return found


def make_lesson_plan(path: Path, overrides: Sequence[str] = ()) -> LessonPlan:
    """Returns the plan that a file and overrides from the command line describe.

    Raises:
      ConfigError: with one line for each mistake found.
    """
    document = read(path, overrides, default_of)
    problems: list[Problem] = []
    for section in ("settings", "expected"):
        if document.values.get(section) is None:
            document.values[section] = {}
    function = _function(document, path, problems)
    config = validated(config_type(function, document), document, problems)
    assert function is not None, "or one of the problems would have said so"
    found, wrong = promises(config.expected, document)
    raise_problems(wrong)
    changed = [keys for keys, place in document.value_places.items() if place == COMMAND_LINE]
    if any(keys[0] in ("settings", "precision") for keys in changed):
        # What the file promises, it promises of its own settings.
        anew = {keys[1] for keys in changed if keys[0] == "expected" and len(keys) > 1}
        found = {name: said for name, said in found.items() if name in anew}
    return LessonPlan(config, document, function, found)


def default_of(keys: Keys) -> Any:
    """Returns the default of a key that every lesson has, None for any other one."""
    return "float64" if keys == ("precision",) else None


def config_type(function: Callable[..., Any] | None, document: Document) -> TypeAdapter[Any]:
    """Returns the schema of a lesson's document; without a function, `settings` takes any keys."""
    config: Any = LessonConfig
    if function is None:
        return TypeAdapter(config[AnyKeys])
    try:
        return TypeAdapter(config[settings("settings", fields_of(function))])
    except PydanticUserError as error:
        name, reason = document.values["lesson"], str(error).splitlines()[0]
        raise ConfigError(f"{name}: YAML cannot give this type: {reason}") from None


def content(picture: Picture, path: Path) -> bytes:
    """Returns what a picture's file holds.

    Args:
      picture: the picture.
      path: where it may be written meanwhile; its ending says in which form.

    Raises:
      ImportError: what draws it is not installed.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str):
        return picture.encode()
    if isinstance(picture, Figure):
        drawn = BytesIO()
        picture.savefig(drawn, format=path.suffix.removeprefix("."))
        return drawn.getvalue()
    if isinstance(picture, Saves):
        picture.save(str(path))
    else:
        picture(path)
    return path.read_bytes()


def _function(
    document: Document, path: Path, problems: list[Problem]
) -> Callable[..., Lesson] | None:
    """Returns the document's lesson; if it cannot be had, adds to the problems."""
    name = document.values.get("lesson")
    if not isinstance(name, str):
        return None
    try:
        module = module_of(name, folders_around(path, document, ("lesson",)), what="lesson")
        if not callable(getattr(module, FUNCTION, None)):
            raise ConfigError(f"{name} has no {FUNCTION}()")
        return getattr(module, FUNCTION)
    except ConfigError as error:
        problems.append(document.at_value(("lesson",), str(error)))
        return None
