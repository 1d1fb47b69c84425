"""YAML as values with places: the core schema of YAML 1.2, and every way a file can be no YAML."""

import math
from pathlib import Path

import pytest

from backprop_jax.errors import ConfigError
from backprop_jax.runner.compose import read
from backprop_jax.runner.document import dump, raise_problems

SCALARS = [
    ("1e-4", 1e-4),
    ("1E5", 1e5),
    ("-.5", -0.5),
    ("3.", 3.0),
    ("+12", 12),
    ("010", 10),
    ("0o17", 15),
    ("0xff", 255),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("true", True),
    ("False", False),
    ("on", "on"),
    ("yes", "yes"),
    ("No", "No"),
    ("1_000", "1_000"),
    ("12:30", "12:30"),
    ("2026-01-01", "2026-01-01"),
    ("'1e-4'", "1e-4"),
    ("~", None),
    ("", None),
    ("[1, {a: b}]", [1, {"a": "b"}]),
    ("!!float 1", 1.0),
    ("!!str 1", "1"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_reads_the_core_schema(folder, text, value):
    (folder / "a.yaml").write_text(f"a: {text}\n")
    found = read(folder / "a.yaml").values["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [value for _, value in SCALARS])
def test_reads_back_what_it_writes(folder, value):
    (folder / "a.yaml").write_text(dump({"a": value}))
    assert read(folder / "a.yaml").values == {"a": value}


def test_reads_nan(folder):
    (folder / "a.yaml").write_text("a: .nan\n")
    assert math.isnan(read(folder / "a.yaml").values["a"])


def test_anchors_are_read_once_for_each_use(folder):
    (folder / "a.yaml").write_text("a: &it [1, 2]\nb: *it\n")
    assert read(folder / "a.yaml").values == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"a: 1\n\tb: 2\n", "a.yaml:2:1: a tab cannot indent YAML; use spaces"),
        (b"a: [1, 2\n", "a.yaml:2:1: expected ',' or ']', but got '<stream end>'"),
        (b"a: 'b\n", "a.yaml:2:1: found unexpected end of stream"),
        (b"a: b: c\n", "a.yaml:1:5: mapping values are not allowed here"),
        (b"a: *b\n", "a.yaml:1:4: found undefined alias 'b'"),
        (
            b"a: 1\n---\na: 2\n",
            "a.yaml:2:1: expected a single document in the stream, but found another document",
        ),
        (b"\xff\xfe\x00", "a.yaml:1:1: not a text file in UTF-8"),
        (b"a: \x00", "a.yaml:1:4: not a text file: character U+0000"),
        (b"- a\n- b\n", "a.yaml:1:1: expected a section of keys, got a list"),
        (b"hello\n", "a.yaml:1:1: expected a section of keys, got 'hello'"),
        (b"a: 1\nb: 2\na: 3\n", "a.yaml:3:1: a: written twice; the first is on line 1"),
        (b"? [1, 2]\n: 3\n", "a.yaml:1:3: a key must be a single word"),
        (b"a: !!int ten\n", "a.yaml:1:4: a: 'ten' is not a whole number"),
        (b"a: !!bool 1\n", "a.yaml:1:4: a: '1' is not true or false"),
        (b"a: &a [*a]\n", "a.yaml:1:4: a.0: an anchor that contains itself"),
        (
            b"a: !!python/object/apply:os.system [echo]\n",
            "a.yaml:1:4: a: tag '!!python/object/apply:os.system' is refused: plain values only",
        ),
        (b"a: !mine 3\n", "a.yaml:1:4: a: tag '!mine' is refused: plain values only"),
        (b"a: !!set {b}\n", "a.yaml:1:4: a: tag '!!set' is refused: plain values only"),
    ],
)
def test_what_is_not_plain_yaml_has_a_place(folder, content, error):
    (folder / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        raise_problems(read(Path("a.yaml")).problems)
    assert str(raised.value) == error


def test_a_chain_of_anchors_does_not_fill_the_memory(folder):
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    (folder / "a.yaml").write_text("a0: &a0 [1]\n" + levels)
    with pytest.raises(ConfigError, match=r"a\.yaml:\d:\d+: more than 100000 values"):
        read(Path("a.yaml"))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("lime.yaml", "lime.yaml: no such file; did you mean 'line.yaml'?"),
        ("zzz", "zzz: no such file; known: line.yaml"),
        (".", ".: a folder, not a YAML file"),
    ],
)
def test_a_missing_file_is_named(folder, name, error):
    with pytest.raises(ConfigError) as raised:
        read(Path(name))
    assert str(raised.value) == error


def test_an_empty_file_is_an_empty_section(folder):
    (folder / "a.yaml").write_text("# nothing\n")
    assert read(folder / "a.yaml").values == {}


OVERRIDES = [
    (["a.b=1e-3"], {"a": {"b": 1e-3, "c": 2}}),
    (["--a.b=3"], {"a": {"b": 3, "c": 2}}),
    (["a.b=1", "a.b=2"], {"a": {"b": 2, "c": 2}}),
    (["a.d.e=[1, 2]"], {"a": {"b": 1, "c": 2, "d": {"e": [1, 2]}}}),
    (["a={f: x}"], {"a": {"f": "x"}}),
    (["a.b="], {"a": {"b": None, "c": 2}}),
    (["a.b='k=v'"], {"a": {"b": "k=v", "c": 2}}),
    (["g=on"], {"a": {"b": 1, "c": 2}, "g": "on"}),
]


@pytest.mark.parametrize(("overrides", "values"), OVERRIDES)
def test_overrides_lie_over_the_file(folder, overrides, values):
    (folder / "a.yaml").write_text("a: {b: 1, c: 2}\n")
    assert read(folder / "a.yaml", overrides).values == values


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("steps", "command line: 'steps': an override is written key.sub=value"),
        ("=3", "command line: '=3': an override is written key.sub=value"),
        ("a.b.c=3", "command line: a.b.c: a.b is not a section of keys"),
        ("a.b=[1", "command line: a.b: '[1' is not YAML"),
        ("a.b=!x 1", "command line: a.b: tag '!x' is refused: plain values only"),
    ],
)
def test_a_bad_override_is_named(folder, override, error):
    (folder / "a.yaml").write_text("a: {b: 1, c: 2}\n")
    with pytest.raises(ConfigError) as raised:
        raise_problems(read(folder / "a.yaml", [override]).problems)
    assert str(raised.value) == error
