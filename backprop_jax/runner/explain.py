"""What pydantic found wrong, in the words of somebody who wrote YAML."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from backprop_jax.runner.document import (
    Document,
    Keys,
    Problem,
    raise_problems,
)
from backprop_jax.runner.words import LONGEST, hint

Schema = Mapping[str, Any]

EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "a section of keys",
    "dict_type": "a section of keys",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a section of keys",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What each of pydantic's errors of type wants instead."""

BOUNDS = {
    "greater_than": ("gt", "a number above"),
    "greater_than_equal": ("ge", "a number of at least"),
    "less_than": ("lt", "a number below"),
    "less_than_equal": ("le", "a number of at most"),
    "too_long": ("max_length", "a list no longer than"),
    "too_short": ("min_length", "a list at least as long as"),
}
"""Where pydantic keeps the bound of each of its errors of range, and how to say it."""

UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


def validated(
    adapter: TypeAdapter[Any], document: Document, problems: Iterable[Problem] = ()
) -> Any:
    """Returns what a schema makes of a document.

    Args:
      adapter: the schema.
      document: the values, with the problems found when they were read.
      problems: what else is wrong with it.

    Raises:
      ConfigError: with one line for each mistake found, in the order of the file.
    """
    known = [*document.problems, *problems]
    config = None
    try:
        config = adapter.validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        # What could not be read has no value that could be judged, nor has what it is a part of.
        places = document.value_places
        unread = [one.keys for one in known if places.get(one.keys) == one.place]
        told = {keys[:length] for keys in unread for length in range(1, len(keys) + 1)}
        found = explain(error, document, adapter.json_schema())
        known += [problem for problem in found if problem.keys not in told]
    raise_problems(known)
    return config


def explain(
    error: ValidationError, document: Document, schema: Schema, values: Any = None
) -> list[Problem]:
    """Returns a problem for each value that pydantic has errors of, placed in the document.

    Args:
      error: what validation raised.
      document: where the values stand.
      schema: their JSON schema, which knows the keys and choices.
      values: what was validated, if it is not the whole of the document; the keys are its own.
    """
    details: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors():
        keys = _written(detail, document.values if values is None else values)
        details.setdefault(keys, []).append({**detail, "loc": keys})
    return [_either(those, document, schema) for those in details.values()]


def _written(detail: ErrorDetails, values: Any) -> Keys:
    """Returns the keys of an error, without what pydantic adds: which of several types it means."""
    found: list[str | int] = []
    *_, last = (None, *detail["loc"])
    for key in detail["loc"]:
        items: dict[Any, Any] = dict(enumerate(values)) if isinstance(values, list) else {}
        items |= values if isinstance(values, dict) else {}
        if key in items or (key is last and detail["type"] == "missing"):
            found.append(key)
            values = items.get(key)
    return tuple(found)


def _either(details: list[ErrorDetails], document: Document, schema: Schema) -> Problem:
    """Returns the errors of one value, which may be of any of several types, as one problem."""
    found = [_problem(one, document, schema) for one in details]
    wanted = [EXPECTED.get(one["type"]) for one in details]
    if len(found) > 1 and all(wanted):
        got = shown(details[0]["input"])
        text = f"expected {' or '.join(dict.fromkeys(map(str, wanted)))}, got {got}"
    else:
        text = "; or ".join(dict.fromkeys(one.text for one in found))
    return replace(found[0], text=text)


def _problem(detail: ErrorDetails, document: Document, schema: Schema) -> Problem:
    """Returns one of pydantic's errors as a problem."""
    keys: Keys = detail["loc"]
    kind, bounds = detail["type"], detail.get("ctx", {})
    if kind in UNKNOWN_KEY:
        around = node_at(schema, keys[:-1]).get("properties", {})
        return document.at_key(keys, f"unknown key{hint(str(keys[-1]), around)}")
    if kind == "missing":
        return document.at_key(keys, "required, but missing")
    if kind == "value_error":
        return document.at_key(keys, str(bounds["error"]))
    got = shown(detail["input"])
    if kind == "literal_error":
        node = node_at(schema, keys)
        choices = node.get("enum", [node.get("const")])
        return document.at_value(keys, f"unknown value {got}{hint(str(detail['input']), choices)}")
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return document.at_value(keys, f"expected {words} {bounds[name]}, got {got}")
    if kind in EXPECTED:
        return document.at_value(keys, f"expected {EXPECTED[kind]}, got {got}")
    return document.at_value(keys, f"{detail['msg'].lower()}, got {got}")


def node_at(schema: Schema, keys: Keys) -> Schema:
    """Returns the part of a JSON schema that describes the value at `keys`; {} if there is none."""
    node = schema
    for key in keys:
        node = _resolve(schema, node)
        node = node.get("properties", {}).get(key) or node.get("items") or {}
    return _resolve(schema, node)


def shown(value: Any) -> str:
    """Returns a value as YAML would write it, shortened."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a section of keys"
        case list():
            text = f"[{', '.join(map(shown, value))}]"
        case _:
            text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _resolve(schema: Schema, node: Schema) -> Schema:
    """Returns what a node refers to, or its alternative that is not null."""
    while True:
        if reference := node.get("$ref"):
            node = schema["$defs"][reference.removeprefix("#/$defs/")]
        elif alternatives := node.get("anyOf"):
            node = next(one for one in alternatives if one.get("type") != "null")
        else:
            return node
