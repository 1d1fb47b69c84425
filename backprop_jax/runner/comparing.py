"""A function, its operands and its witnesses, from YAML or the command line, compared.

    function: experiments/six_ways.py:f
    args: [-2.0, 5.0, -4.0]
    witnesses: [numerical, hand=by_hand, sympy, torch, tensorflow, jax]

The same keys are the options of `backprop-jax compare MODULE:FUNCTION`.
"""

import inspect
import json
import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from backprop_jax.check.compare import compare
from backprop_jax.check.differences import over_steps
from backprop_jax.check.report import Report
from backprop_jax.check.table import code
from backprop_jax.check.witnesses.gradients import ours
from backprop_jax.check.witnesses.named import named
from backprop_jax.check.witnesses.witness import Question
from backprop_jax.errors import ConfigError, message
from backprop_jax.runner.compose import read
from backprop_jax.runner.document import Document
from backprop_jax.runner.environment import environment
from backprop_jax.runner.experiment import named_in
from backprop_jax.runner.explain import validated
from backprop_jax.runner.folder import ELSEWHERE, writing
from backprop_jax.runner.lesson import Lesson, content
from backprop_jax.runner.plan import folders_around
from backprop_jax.runner.promises import Promises
from backprop_jax.runner.report.page import lesson_page
from backprop_jax.runner.schema import STRICT
from backprop_jax.runner.steps import draw_steps

PACKAGE = str(Path(__file__).parent.parent)
DRAWN = re.compile(r"normal\[([\d, ]*)\]")

WIDE = ("float64", "complex128")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StepLengths:
    """Slopes by steps of many lengths, as a table and a picture."""

    longest: Annotated[float, Gt(0)] = 1.0
    """The first step."""

    shortest: Annotated[float, Gt(0)] = 1e-16
    """The last one."""

    picture: str | None = None
    """A file for the picture, from the working folder."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Comparison:
    """A gradient asked of several witnesses."""

    function: str
    """`file.py:name` or `package.module:name`."""

    args: list[Any]
    """Its operands: numbers, lists and sections of them; `normal[3,4]` for random numbers."""

    argnums: list[Annotated[int, Ge(0)]] | None = None
    """Which operands to differentiate; null for all."""

    gradient: str | None = None
    """A gradient written by hand that is judged in the place of ours: a name in the same file."""

    witnesses: list[str] = field(default_factory=lambda: ["jax", "float64"])
    """Names, or `name=function` with a function in the same file or another."""

    order: Literal[1, 2] = 1
    """2 for the second derivative."""

    dtype: Literal["bfloat16", "float16", "float32", "float64", "complex64", "complex128"] = (
        "float32"
    )
    """Of the operands."""

    rtol: Annotated[float, Ge(0)] | None = None
    """What is allowed, relative to the largest element of a leaf, in the place of what rounds."""

    steps: StepLengths | None = None
    """Also a table of single differences over the length of the step."""

    title: str | None = None
    """Of the page that `backprop-jax run` writes."""

    text: str | None = None
    """What that page says above the table, in Markdown."""


class Prepared(NamedTuple):
    """What a comparison needs, made of its configuration."""

    config: Comparison
    fun: Callable[..., Any]
    args: list[Any]
    gradient: Any
    witnesses: dict[str, Any]

    @property
    def argnums(self) -> int | tuple[int, ...]:
        """Which operands are differentiated, as `jax.grad` wants it."""
        chosen = self.config.argnums
        numbers = tuple(range(len(self.args))) if chosen is None else tuple(chosen)
        return numbers[0] if len(numbers) == 1 else numbers


class Compared(NamedTuple):
    """What a comparison found.

    Attributes:
      report: the gradients.
      title: the headline.
      about: what the configuration says above the table.
      steps: the table over steps, "" if it is not asked for.
      pictures: the picture over steps by the name of its file, if there is one to draw.
    """

    report: Report
    title: str
    about: str = ""
    steps: str = ""
    pictures: Mapping[str, Figure] = {}

    @property
    def text(self) -> str:
        """The headline, the report, and the table over steps."""
        return f"{self.title}\n{self.report}" + (f"\n\n{self.steps}" if self.steps else "")


@plain_dataclass(frozen=True)
class ComparisonPlan:
    """A comparison's run, checked before it is run.

    Attributes:
      config: every setting, defaults filled in.
      document: the file it came from.
      folders: where its files are looked for.
    """

    config: Comparison
    document: Document
    folders: Sequence[Path]

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting as plain values, as YAML would hold them."""
        return TypeAdapter(Comparison).dump_python(self.config, mode="json")

    @property
    def name(self) -> str:
        """What is run."""
        return self.config.function

    @property
    def expected(self) -> Promises:
        """That all agree."""
        return {"agree": True}

    def made(self) -> Lesson:
        """Returns the comparison as a page with its tables."""
        return lesson_of(compared(self.config, self.folders), self.title)

    @property
    def title(self) -> str:
        """Of that page."""
        return self.config.title or f"Gradient of {self.name}"


def make_comparison_plan(path: Path, overrides: Sequence[str] = ()) -> ComparisonPlan:
    """Returns the plan that a file and overrides from the command line describe.

    Raises:
      ConfigError: with one line for each mistake found.
    """
    document = read(path, overrides)
    return plan_of(document, folders_around(path, document, ("function",)))


def plan_of(document: Document, folders: Sequence[Path]) -> ComparisonPlan:
    """Returns the plan of a comparison whose files are looked for in these folders.

    Raises:
      ConfigError: the document is wrong.
    """
    return ComparisonPlan(validated(TypeAdapter(Comparison), document), document, folders)


def run(plan: ComparisonPlan) -> Compared:
    """Compares, prints what was found, and returns it.

    Raises:
      ConfigError: the function cannot be called as the configuration says.
    """
    found = compared(plan.config, plan.folders)
    print(found.text)
    for picture in found.pictures.values():
        assert plan.config.steps and plan.config.steps.picture, "or there would be none"
        with writing(Path(plan.config.steps.picture), ELSEWHERE):
            picture.savefig(plan.config.steps.picture)
        print(f"\npicture: {plan.config.steps.picture}")
    return found


def lesson_of(found: Compared, title: str) -> Lesson:
    """Returns what was found as a page with its tables, and the gradients that are numbers."""
    scalars = [leaf for leaf in found.report.leaves if leaf.opinions and not leaf.shape]
    shown = [f"![How far the slope is off, over the step]({name})" for name in found.pictures]
    parts = [found.about.strip(), *shown, code(found.title), found.report.to_markdown().strip()]
    steps = [f"```\n{found.steps}\n```"] if found.steps else []
    return Lesson(
        title=title,
        text="\n\n".join(part for part in [*parts, *steps] if part),
        numbers={leaf.path: leaf.opinions[0].ours for leaf in scalars} | {"agree": found.report.ok},
        pictures=found.pictures,
    )


def compared(config: Comparison, folders: Sequence[Path]) -> Compared:
    """Returns what a comparison finds.

    Raises:
      ConfigError: the function cannot be called as the configuration says.
    """
    try:
        with jax.enable_x64(config.dtype in WIDE):
            ready = prepared(config, folders)
            report = compare(
                ready.fun,
                *ready.args,
                argnums=ready.argnums,
                gradient=ready.gradient,
                holomorphic=config.dtype.startswith("complex") and _is_complex(ready),
                witnesses=ready.witnesses,
                order=config.order,
                rtol=config.rtol,
            )
            found = Compared(report, _headline(ready), config.text or "")
            if config.steps:
                steps, pictures = _steps(ready, config.steps)
                found = found._replace(steps=steps, pictures=pictures)
    except ConfigError:
        raise
    except Exception as error:  # Whatever the user's file, function or witness raises.
        hint = "a function to compare takes arrays and returns one number."
        raise ConfigError(told(config.function, error, "compared", hint)) from error
    return found


def write(
    found: Compared,
    plan: Any,
    title: str,
    to_json: Path | None,
    to_markdown: Path | None,
    to_html: Path | None,
) -> None:
    """Writes what was found to the files that are asked for; `plan` is of any kind."""
    report = found.report

    def put(file: Path, text: str) -> None:
        with writing(file, ELSEWHERE):
            file.write_text(text, encoding="utf-8")

    if to_json:
        put(to_json, json.dumps(report.to_dict(), indent=2) + "\n")
    if to_markdown:
        put(to_markdown, report.to_markdown())
    if to_html:
        lesson = lesson_of(found, title)
        drawn = {name: content(picture, Path(name)) for name, picture in found.pictures.items()}
        wrong = [] if report.ok else [report.words()[-1]]
        page = lesson_page(plan, replace(lesson, pictures=drawn), environment(Path()), wrong=wrong)
        put(to_html, page)


def witnesses_of(words: Sequence[str], load: Callable[[str], Any]) -> dict[str, Any]:
    """Returns witnesses by name, and for `name=function` the function."""
    parts = [word.partition("=") for word in words]
    try:
        return named({name: load(own) if own else None for name, _, own in parts})
    except ValueError as error:
        raise ConfigError(str(error)) from None


def prepared(config: Comparison, folders: Sequence[Path]) -> Prepared:
    """Returns functions and operands, in the precision of the current context.

    Raises:
      ConfigError: there is no such function, or it cannot take these operands.
    """
    own = config.function.rpartition(":")[0]

    def load(name: str) -> Any:
        return named_in(name, folders, own)

    if not own:
        raise ConfigError(f"{config.function!r}: a function is written file.py:name")
    fun = load(config.function)
    numbers = range(len(config.args)) if config.argnums is None else config.argnums
    args = [_operand(x, config.dtype, i in numbers) for i, x in enumerate(config.args)]
    try:
        inspect.signature(fun).bind(*args)
    except TypeError as error:
        raise ConfigError(f"{config.function} cannot take these args: {error}") from None
    if not args or any(i >= len(args) for i in numbers):
        raise ConfigError(f"argnums {list(numbers)}: there are {len(args)} args")
    gradient = load(config.gradient) if config.gradient else None
    return Prepared(config, fun, args, gradient, witnesses_of(config.witnesses, load))


def _operand(value: Any, dtype: str, differentiated: bool) -> Any:
    """Returns a value of YAML as an operand: numbers and lists of them as arrays."""
    match value:
        case dict():
            return {key: _operand(entry, dtype, differentiated) for key, entry in value.items()}
        case str() if found := DRAWN.fullmatch(value):
            shape = [int(size) for size in found[1].split(",") if size.strip()]
            return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
        case list() if any(isinstance(entry, dict | str) for entry in value):
            return [_operand(entry, dtype, differentiated) for entry in value]
        case list() | int() | float() if not isinstance(value, bool):
            try:
                array = np.asarray(value)
            except ValueError:
                raise ConfigError(f"the rows of {value} are of different lengths") from None
            whole = array.dtype.kind == "i" and not differentiated
            return jnp.asarray(array, None if whole else dtype)
    return value


def _is_complex(prepared: Prepared) -> bool:
    """Returns whether the result is complex, as of a holomorphic function."""
    return jnp.iscomplexobj(jax.eval_shape(prepared.fun, *prepared.args))


def _headline(prepared: Prepared) -> str:
    """Returns the first line: what is differentiated, and its value."""
    value = np.asarray(prepared.fun(*prepared.args))
    what = "second derivative" if prepared.config.order == 2 else "gradient"
    return (
        f"{what} of {prepared.config.function}, {prepared.config.dtype}; its value is {value:.7g}"
    )


def _steps(prepared: Prepared, lengths: StepLengths) -> tuple[str, dict[str, Figure]]:
    """Returns the table over steps, a line a decade, and the picture, with four."""
    question = Question(prepared.fun, tuple(prepared.args), argnums=prepared.argnums)
    gradient = ours(question).leaves
    ends = np.log10(lengths.longest), np.log10(lengths.shortest)
    decades = round(abs(ends[0] - ends[1]))
    pictures = {}
    if lengths.picture:
        fine = over_steps(question, gradient, np.logspace(*ends, 4 * decades + 1).tolist())
        picture = draw_steps(fine, f"{prepared.config.function}, slope {fine.exact:g}")
        pictures[Path(lengths.picture).name] = picture
    coarse = over_steps(question, gradient, np.logspace(*ends, decades + 1).tolist())
    return f"slope by one step of length h, exact {coarse.exact:.15g}\n{coarse}", pictures


def told(function: str, error: Exception, what: str, to_go_on: str) -> str:
    """Returns what a user's function raised, in four lines at most."""
    first = (str(error).splitlines() or [""])[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f
        for f in frames
        if not f.filename.startswith(PACKAGE) and "site-packages" not in f.filename
    ]
    file = own[-1].filename.removeprefix(os.getcwd() + os.sep) if own else ""
    place = f"{file}:{own[-1].lineno} ({own[-1].name})" if own else ""
    return message(
        f"{function} cannot be {what}: {type(error).__name__}: {first}",
        written_at=place,
        to_go_on=to_go_on,
    )
