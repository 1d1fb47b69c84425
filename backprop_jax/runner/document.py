"""A YAML file, and overrides from the command line, as values that know where they were written.

YAML is read by the core schema of version 1.2, so `1e-4` is a number and `on` is a word. Only plain
values are built: any tag outside the core schema is refused. Mistakes do not stop the reading; all
of them are reported at once.
"""

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from backprop_jax.errors import ConfigError
from backprop_jax.runner.words import LONGEST, NO_TEXT, hint, is_text, short

Keys = tuple[str | int, ...]
"""The way to a value from the top: keys of sections, and indices into lists."""

MOST_VALUES = 100_000
"""A file with more values than this is taken for a chain of anchors that would fill the memory."""

DEEPEST = 100
"""What is nested deeper than this is no configuration."""

LONGEST_NAME = 256
"""No file has a longer name."""

TOO_DEEP = "sections or lists nested too deeply"

TAG = "tag:yaml.org,2002:"

CORE_SCHEMA = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
"""How a word without quotes is read; the first match decides. YAML 1.2.2, section 10.3.2."""

NAMES = {"bool": "true or false", "int": "a whole number", "float": "a number"}
"""What values of the core schema are called in messages."""


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema of YAML 1.2 in the place of that of 1.1."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own way of declaring it)


class CoreDumper(yaml.SafeDumper):
    """PyYAML's safe dumper, quoting what the core schema would not read as a text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


for _name, _pattern in CORE_SCHEMA.items():
    for _end in (CoreLoader, CoreDumper):
        _end.add_implicit_resolver(TAG + _name, re.compile(f"(?:{_pattern})$"), None)


@dataclass(frozen=True, order=True)
class Place:
    """Where something was written; places sort as they are read, the command line last."""

    line: float
    column: int
    source: str

    def __str__(self) -> str:
        """Returns `file:line:column`, or the source alone where there is no line."""
        known = 0 < self.line < math.inf
        return f"{self.source}:{self.line}:{self.column}" if known else self.source


COMMAND_LINE = Place(math.inf, 0, "command line")


@dataclass(frozen=True)
class Problem:
    """One mistake: where, in which value, and what it is."""

    place: Place
    keys: Keys
    text: str

    def __str__(self) -> str:
        """Returns the mistake as one line."""
        about = f"{dotted(self.keys)}: " if self.keys else ""
        return f"{self.place}: {about}{self.text}"


@dataclass(frozen=True)
class Document:
    """The values of a configuration, and where each was written.

    Attributes:
      name: the file, as the user named it.
      values: nested dictionaries, lists, numbers, texts, truth values and None.
      key_places: where the key of a value stands; list items have none.
      value_places: where the value itself stands.
      problems: the mistakes that reading alone could find.
      references: the texts with `${...}` whose values were put in their place.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    key_places: dict[Keys, Place] = field(default_factory=dict)
    value_places: dict[Keys, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    references: dict[Keys, str] = field(default_factory=dict)

    def at_key(self, keys: Keys, text: str) -> Problem:
        """Returns a problem at the key of a value, or of the nearest section around it."""
        nearest = _nearest(keys, self.key_places)
        return Problem(self.key_places.get(nearest, Place(0, 0, self.name)), keys, text)

    def at_value(self, keys: Keys, text: str) -> Problem:
        """Returns a problem at a value, or at the key of the nearest section around it."""
        if keys in self.value_places:
            return Problem(self.value_places[keys], keys, text)
        return self.at_key(keys, text)


def read_file(path: Path) -> Document:
    """Returns the values of one YAML file.

    Raises:
      ConfigError: the file is missing, is not text, or is not YAML.
    """
    document = Document(str(path))
    try:
        top = _compose(_text(path), document.name)
        if isinstance(top, yaml.MappingNode):
            document.values.update(_build(document, top, (), ()))
        elif top is not None:
            text = f"expected a section of keys, got {_kind(top)}"
            document.problems.append(Problem(_place(top.start_mark, document.name), (), text))
    except RecursionError:
        raise ConfigError(f"{Place(1, 1, document.name)}: {TOO_DEEP}") from None
    return document


def given(overrides: Sequence[str]) -> Document:
    """Returns the values that the command line alone gives, by `key.sub=value`."""
    document = Document("command line")
    for text in overrides:
        override(document, text)
    return document


def dump(values: dict[str, Any]) -> str:
    """Returns values as YAML that `compose.read` reads back unchanged."""
    return yaml.dump(_escaped(values), Dumper=CoreDumper, sort_keys=False, default_flow_style=None)


def inline(value: Any) -> str:
    """Returns a value as YAML in one line."""
    text = yaml.dump(_escaped(value), Dumper=CoreDumper, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raises all problems as one error, in the order of the file; returns if there are none."""
    ordered = sorted(
        set(problems),
        key=lambda one: (one.place.line == math.inf, one.place.source, one.place, dotted(one.keys)),
    )
    if ordered:
        raise ConfigError("\n".join(map(str, ordered)))


def dotted(keys: Keys) -> str:
    """Returns a path the way an override writes it: `model.hidden.0`."""

    def said(key: str) -> str:
        return key if key.isprintable() and 0 < len(key) <= LONGEST else short(key)

    return ".".join(said(str(key)) for key in keys)


def _text(path: Path) -> str:
    """Returns the text of a file."""
    if os.path.isdir(path):
        raise ConfigError(f"{path}: a folder, not a YAML file")
    if not os.path.isfile(path):
        raise ConfigError(no_file(path))
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        raise ConfigError(f"{_after(before, str(path))}: not a text file in UTF-8") from None


def no_file(path: Path) -> str:
    """Returns that there is no such file, and which ones there are, where it can be one."""
    # Unlike those of `Path`, functions of `os.path` do not mind a name that no file can have.
    siblings = path.parent.glob("*.y*ml") if os.path.isdir(path.parent) else ()
    name = str(path)
    shown = name if name.isprintable() and len(path.name) < LONGEST_NAME else short(name)
    return f"{shown}: no such file{hint(path.name, sorted(file.name for file in siblings))}"


def _compose(text: str, name: str) -> yaml.Node | None:
    """Returns the tree of YAML nodes."""
    try:
        return yaml.compose(text, CoreLoader)
    except yaml.reader.ReaderError as error:
        found = f"character U+{ord(text[error.position]):04X}"
        raise ConfigError(
            f"{_after(text[: error.position], name)}: not a text file: {found}"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not YAML"
        if reason.startswith("but "):
            reason = f"{error.context}, {reason}"
        if "'\\t'" in reason:
            reason = "a tab cannot indent YAML; use spaces"
        lines = text.split("\n")
        if mark and "${" in lines[min(mark.line, len(lines) - 1)]:
            reason += "; within braces or brackets a reference wants quotes: '${...}'"
        raise ConfigError(f"{_place(mark, name)}: {reason}") from None


def _build(document: Document, node: yaml.Node, keys: Keys, around: tuple[yaml.Node, ...]) -> Any:
    """Returns the value of a node, and notes the places of everything inside it."""
    document.value_places[keys] = _place(node.start_mark, document.name)
    if node in around:
        document.problems.append(document.at_value(keys, "an anchor that contains itself"))
        return None
    if len(document.value_places) > MOST_VALUES:
        # With many anchors in a chain, a short file can stand for more values than fit anywhere.
        raise ConfigError(f"{document.value_places[keys]}: more than {MOST_VALUES} values")
    if len(around) > DEEPEST:
        raise ConfigError(f"{document.value_places[keys]}: {TOO_DEEP}")
    around = (*around, node)
    if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
        return _section(document, node, keys, around)
    if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
        items = enumerate(node.value)
        return [_build(document, item, (*keys, index), around) for index, item in items]
    return _scalar(document, node, keys)


def _section(
    document: Document, node: yaml.MappingNode, keys: Keys, around: tuple[yaml.Node, ...]
) -> dict[str, Any]:
    """Returns a mapping; a key written twice keeps its first value and is a problem."""
    section: dict[str, Any] = {}
    for key, value in node.value:
        place = _place(key.start_mark, document.name)
        if not isinstance(key, yaml.ScalarNode):
            document.problems.append(Problem(place, keys, "a key must be a single word"))
            continue
        if not is_text(key.value):
            document.problems.append(Problem(place, keys, f"{short(key.value)} {NO_TEXT}"))
            continue
        inner = (*keys, key.value)
        if key.value in section:
            first = document.key_places[inner]
            text = f"written twice; the first is on line {first.line}"
            document.problems.append(Problem(place, inner, text))
            continue
        document.key_places[inner] = place
        section[key.value] = _build(document, value, inner, around)
    return section


def _scalar(document: Document, node: yaml.Node, keys: Keys) -> Any:
    """Returns null, a truth value, a number or a text; refuses every other tag."""
    tag, text = node.tag.removeprefix(TAG), node.value
    try:
        match tag:
            case "str" if is_text(text):
                return text
            case "str":
                document.problems.append(document.at_value(keys, f"{short(text)} {NO_TEXT}"))
                return None
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text.lower()]
            case "int":
                return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except (ValueError, KeyError):
        document.problems.append(document.at_value(keys, f"{short(text)} is not {NAMES[tag]}"))
        return None
    shown = node.tag.replace(TAG, "!!")
    document.problems.append(
        document.at_value(keys, f"tag {shown!r} is refused: plain values only")
    )
    return None


def override(document: Document, text: str) -> None:
    """Lays one `key.sub=value` over the document; the value is read as YAML."""
    name, equals, given = text.removeprefix("--").partition("=")
    if not is_text(name):
        problem = Problem(COMMAND_LINE, (), f"{short(name)} {NO_TEXT}")
        document.problems.append(problem)
        return
    if not (equals and name):
        reason = f"{text!r}: an override is written key.sub=value"
        document.problems.append(Problem(COMMAND_LINE, (), reason))
        return
    *outer, last = keys = tuple(name.split("."))
    section = document.values
    for depth, key in enumerate(outer, start=1):
        document.key_places.setdefault(keys[:depth], COMMAND_LINE)
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            reason = f"{dotted(keys[:depth])} is not a section of keys"
            document.problems.append(Problem(COMMAND_LINE, keys, reason))
            return
    try:
        value = read_value(given)
    except ConfigError as error:
        # Nothing else is wrong with it: not that it is missing, nor what the file says instead.
        document.value_places[keys] = COMMAND_LINE
        document.problems.append(Problem(COMMAND_LINE, keys, str(error)))
        return
    for places in (document.key_places, document.value_places):
        for inside in [known for known in places if known[: len(keys)] == keys]:
            del places[inside]
        places[keys] = COMMAND_LINE
    section[last] = value


def read_value(text: str) -> Any:
    """Returns the value of a piece of YAML on the command line."""
    aside = Document("not a value")
    try:
        node = yaml.compose(text, CoreLoader)
    except yaml.YAMLError:
        raise ConfigError(f"{short(text)} is not YAML") from None
    except RecursionError:
        raise ConfigError(f"{short(text)}: {TOO_DEEP}") from None
    value = None if node is None else _build(aside, node, (), ())
    if aside.problems:
        raise ConfigError(aside.problems[0].text)
    return value


def _nearest(keys: Keys, places: dict[Keys, Place]) -> Keys:
    """Returns the longest start of `keys` that has a place, or ()."""
    starts = (keys[:length] for length in range(len(keys), 0, -1))
    return next((start for start in starts if start in places), ())


def _after(text: str, name: str) -> Place:
    """Returns the place after a piece of the file's beginning."""
    lines = text.split("\n")
    return Place(len(lines), len(lines[-1]) + 1, name)


def _escaped(value: Any) -> Any:
    """Returns a value with its texts such that no `${` in them is taken for a reference."""
    match value:
        case dict():
            return {key: _escaped(one) for key, one in value.items()}
        case list() | tuple():
            return [_escaped(one) for one in value]
        case str():
            return value.replace("${", "$${")
    return value


def _place(mark: yaml.Mark | None, name: str) -> Place:
    """Returns a PyYAML mark as a place; lines and columns count from 1."""
    return Place(mark.line + 1, mark.column + 1, name) if mark else Place(0, 0, name)


def _kind(node: yaml.Node) -> str:
    """Returns what a node is, in words."""
    return "a list" if isinstance(node, yaml.SequenceNode) else f"{node.value!r}"
