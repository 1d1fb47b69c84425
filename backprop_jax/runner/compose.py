"""One configuration from many places: base files, the file, the command line, other keys.

What is nearer to the user wins: command line, file, `base:` files, defaults. Sections are laid over
each other key by key; anything else, a list or null too, takes the place of what was there.

    base: digits.yaml                   # or a list, the later ones over the earlier ones
    training: {steps: 2000}
    optimizer:
      learning_rate: "${env:RATE,1e-3}"   # a variable of the environment, and what if it is not set
    checkpoint:
      every: ${training.steps}          # another key; `$${` is a plain `${`
"""

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backprop_jax.errors import ConfigError
from backprop_jax.runner.document import (
    DEEPEST,
    MOST_VALUES,
    Document,
    Keys,
    Place,
    Problem,
    dotted,
    no_file,
    override,
    raise_problems,
    read_file,
    read_value,
)
from backprop_jax.runner.explain import shown
from backprop_jax.runner.words import NO_TEXT, hint, is_text

BASE = "base"
MOST_FILES = 100
"""A configuration of more files than this is taken for one that would never be read to its end."""

REFERENCE = re.compile(r"\$(?:\$(?=\{)|\{([^{}]*)\})")
"""`$${`, or a reference: the name of a key, or `env:` and a variable of the environment."""


class Unresolved(Exception):
    """A reference leads nowhere; the text says why."""


def read(
    path: Path,
    overrides: Sequence[str] = (),
    defaults: Callable[[Keys], Any] = lambda keys: None,
) -> Document:
    """Returns the values of a file over its base files, overrides over both, references solved.

    Args:
      path: the YAML file.
      overrides: `key.sub=value` each.
      defaults: says what a key is that nobody wrote; None for one it does not know.

    Raises:
      ConfigError: a file cannot be read, or a reference leads nowhere.
    """
    document = laid(path, overrides)
    if problems := _solve(document, defaults):
        raise_problems([*document.problems, *problems])
    return document


def laid(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Returns the values of a file over its base files, overrides over both; references as written.

    Raises:
      ConfigError: a file cannot be read.
    """
    document = _with_bases(path, (), [])
    for text in overrides:
        override(document, text)
    return document


def _with_bases(path: Path, around: tuple[Path, ...], seen: list[Path]) -> Document:
    """Returns the values of a file laid over those of its base files."""
    document = read_file(path)
    seen.append(path)
    named = document.values.pop(BASE, None)
    if named is None:
        return document
    names = [named] if isinstance(named, str) else named
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        text = f"expected the name of a file, or a list of them, got {shown(named)}"
        raise_problems([document.at_value((BASE,), text)])
    here = (*around, path.resolve())
    whole = Document(document.name)
    for index, name in enumerate(names):
        at = (BASE, index) if isinstance(named, list) else (BASE,)
        base = path.parent / name
        why = _unreadable(base, here)
        if len(seen) >= MOST_FILES:
            raise_problems([document.at_value(at, f"more than {MOST_FILES} files")])
        if why:
            raise_problems([document.at_value(at, why)])
        _lay(_with_bases(base, here, seen), whole)
    _lay(document, whole)
    return whole


def _unreadable(base: Path, around: tuple[Path, ...]) -> str:
    """Returns why a base file cannot be read, "" if it can."""
    if os.path.isdir(base):
        return f"{base} is a folder, not a YAML file"
    if not os.path.isfile(base):
        return no_file(base)
    if base.resolve() in around:
        circle = [*around[around.index(base.resolve()) :], base.resolve()]
        return f"a circle: {' → '.join(path.name for path in circle)}"
    return ""


def _lay(over: Document, onto: Document) -> None:
    """Lays one document over another one."""

    def lay(keys: Keys, values: dict[str, Any], below: dict[str, Any]) -> None:
        for key, value in values.items():
            inner = (*keys, key)
            if isinstance(value, dict) and isinstance(below.get(key), dict):
                onto.key_places[inner] = over.key_places[inner]
                onto.value_places[inner] = over.value_places[inner]
                lay(inner, value, below[key])
                continue
            for places, mine in (
                (onto.key_places, over.key_places),
                (onto.value_places, over.value_places),
            ):
                for place in [place for place in places if place[: len(inner)] == inner]:
                    del places[place]
                inside = {at: found for at, found in mine.items() if at[: len(inner)] == inner}
                places.update(inside)
            below[key] = value

    lay((), over.values, onto.values)
    onto.problems.extend(over.problems)


def _solve(document: Document, defaults: Callable[[Keys], Any]) -> list[Problem]:
    """Puts what they stand for in the place of all references; returns those that lead nowhere."""
    problems: list[Problem] = []
    written = document.values
    count = itertools.count(1)

    def solved(keys: Keys, value: Any, around: tuple[Keys, ...]) -> Any:
        if next(count) > MOST_VALUES:
            # As with anchors: a few references to references can stand for more than fits anywhere.
            much = document.at_value((*around, keys)[0], f"more than {MOST_VALUES} values")
            raise_problems([*document.problems, much])
        if isinstance(value, dict):
            return {key: solved((*keys, key), one, around) for key, one in value.items()}
        if isinstance(value, list):
            return [solved((*keys, index), one, around) for index, one in enumerate(value)]
        if not (isinstance(value, str) and "${" in value):
            return value
        if around:
            return _text(value, lambda name: reference(keys, name, around))
        document.references[keys] = value
        try:
            return _text(value, lambda name: reference(keys, name, around))
        except Unresolved as error:
            problems.append(document.at_value(keys, str(error)))
            return None

    def reference(keys: Keys, name: str, around: tuple[Keys, ...]) -> Any:
        if name.startswith("env:"):
            return _variable(name.removeprefix("env:"))
        target: Keys = tuple(int(key) if key.isdecimal() else key for key in name.split("."))
        around = (*around, keys)
        if len(around) > DEEPEST:
            raise Unresolved(f"a chain of more than {DEEPEST} references")
        if any(at[: len(target)] == target for at in around):
            raise Unresolved(f"{dotted(keys)} and ${{{name}}} go round in a circle")
        value = _at(written, target)
        if value is None:
            value = defaults(target)
        if value is None and not _is_written(written, target):
            known = hint(name, map(dotted, document.key_places))
            close = known if known.startswith("; did") else ""
            raise Unresolved(f"${{{name}}}: no such key in the file{close}")
        return solved(target, value, around)

    document.values.update({key: solved((key,), x, ()) for key, x in written.copy().items()})
    return problems


def _text(text: str, value: Callable[[str], Any]) -> Any:
    """Returns a text with its references solved; a text that is one reference is what that is."""
    whole = REFERENCE.fullmatch(text)
    if whole and whole[1] is not None:
        return value(whole[1])
    if "${" in REFERENCE.sub(" ", text):
        raise Unresolved(f"{text!r}: a reference is written ${{key.sub}} or ${{env:NAME,default}}")

    def inserted(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        found = value(match[1])
        if isinstance(found, dict | list):
            raise Unresolved(f"{match[0]} is {shown(found)}, which cannot stand within a text")
        return found if isinstance(found, str) else shown(found)

    return REFERENCE.sub(inserted, text)


def _variable(name: str) -> Any:
    """Returns a variable of the environment, read as YAML."""
    name, comma, default = name.partition(",")
    found = os.environ.get(name.strip(), default.strip() if comma else None)
    if found is not None and not is_text(found):
        raise Unresolved(f"${{env:{name}}} {NO_TEXT}")
    if found is None:
        way = f"${{env:{name},default}} says what then"
        raise Unresolved(f"${{env:{name}}}: no such variable in the environment; {way}")
    try:
        return read_value(found)
    except ConfigError:
        return found


def _at(values: Any, keys: Keys) -> Any:
    """Returns the value at `keys`, None if there is none."""
    for key in keys:
        if isinstance(values, str):
            return None
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _is_written(values: Mapping[str, Any], keys: Keys) -> bool:
    """Says whether there is a value at `keys`, null among them."""
    section = _at(values, keys[:-1])
    return isinstance(section, dict) and keys[-1] in section


def origin(document: Document, keys: Keys) -> str:
    """Returns where a value comes from: a place, `command line`, or `default`."""
    for length in range(len(keys), 0, -1):
        start = keys[:length]
        place: Place | None = document.value_places.get(start)
        if reference := document.references.get(start):
            return f"{place}, {reference}"
        if place and length == len(keys):
            return str(place)
    return "default"
