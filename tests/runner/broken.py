"""More than two hundred files that are no configuration, made from good ones as data."""

from collections.abc import Iterator

GOOD = """\
experiment: line.py
seed: 3
precision: float32
data: {size: 64, noisy: false}
model: {name: polynomial, degree: 1, basis: powers, scales: [1.0, 2.0]}
optimizer: {name: sgd, learning_rate: 0.1, momentum: 0.9}
training: {steps: 4, batch_size: 16, log_every: 2, eval_every: 2}
gradient: {engine: backprop_jax, check_every: 2}
checkpoint: {every: 2, keep: 1, best: loss, best_is: lowest}
"""

Case = tuple[str, bytes]
"""What is wrong with it, and the file."""

WORDS = [
    *("experiment", "seed", "precision", "data", "size", "noisy", "model", "degree", "basis"),
    *("scales", "optimizer", "learning_rate", "momentum", "training", "steps", "batch_size"),
    *("log_every", "eval_every", "gradient", "engine", "check_every", "checkpoint", "every"),
    *("keep", "best", "best_is"),
]

WRONG = {
    "seed: 3": ["ten", "1.5", "true", "'3'", "-1", "[1]", "{a: 1}", "1e3", ".nan", ".inf"],
    "precision: float32": ["float", "16", "null", "[float32]", "true", "Float32"],
    "size: 64": ["0", "-4", "many", "6.5", "false", "[64]", "null"],
    "noisy: false": ["no", "0", "'false'", "null", "[]"],
    "degree: 1": ["-1", "one", "1.0e0.5", "null", "{}"],
    "basis: powers": ["power", "3", "null", "[powers]"],
    "scales: [1.0, 2.0]": ["1.0", "[1, two]", "{a: 1}", "null", "[[1]]"],
    "learning_rate: 0.1": ["fast", "true", "null", ".inf", ".nan", "[0.1]", "1e999"],
    "momentum: 0.9": ["much", "true", "[0.9]", "{a: 0.9}", ".nan"],
    "steps: 4": ["0", "-3", "4.5", "soon", "true", "[4]", "1e3"],
    "batch_size: 16": ["0", "65", "1000000", "half", "16.0", "-16"],
    "engine: backprop_jax": [
        *("jaks", "null", "3", "[jax]"),
        *(f"jax, remat: {remat}" for remat in ("[1]", "1e9", "true", "MiB", "-5", "{a: 1}")),
        *(f"jax, hooks: {hooks}" for hooks in ("[a]", "{a: 3}", "{a: {scale: .nan}}")),
    ],
    "keep: 1": ["-1", "all", "null", "1.5"],
    "every: 2,": ["-1,", "often,", "null,"],
    "best: loss": ["los", "3", "[loss]", "accuracy"],
    "best_is: lowest": ["low", "null", "3"],
}

TAGS = [
    *("!!python/object/apply:os.system [echo]", "!!python/name:os.system", "!!python/tuple [1]"),
    *("!!python/object:os.PathLike {}", "!!python/module:os", "!mine 3", "!!set {a}", "!!omap []"),
    *("!!binary aGVsbG8=", "!!timestamp 2026-01-01", "!!int ten", "!!bool 1", "!!float word"),
    *("!!python/object/new:type {}", "!<tag:example.com,2026:x> 3", "!!nothing 3"),
]

HUGE = ["9" * 30, "-" + "9" * 30, "9" * 5000, "0x" + "f" * 40, "1e999", "1" + "0" * 20]

SYNTAX = {
    "a tab": b"training:\n\tsteps: 3\n",
    "a tab within": b"seed: 1\n\t\nmodel:\n \tdegree: 1\n",
    "a bracket": b"data: [1, 2\nseed: 1\n",
    "a brace": b"data: {size: 3\nseed: 1\n",
    "a closing brace": b"data: {size: 3}}\n",
    "a quote": b"precision: 'float32\nseed: 1\n",
    "a double quote": b'precision: "float32\n',
    "an escape": b'precision: "\\q"\n',
    "two colons": b"seed: 1: 2\n",
    "an alias": b"seed: *nothing\n",
    "two anchors": b"seed: &a &b 1\n",
    "itself": b"data: &a [*a]\n",
    "itself in a section": b"data: &a {size: *a}\n",
    "two documents": b"seed: 1\n---\nseed: 2\n",
    "indentation": b"training:\n  steps: 3\n epochs: 3\n",
    "a list and a key": b"- a\nseed: 3\n",
    "a list": b"- a\n- b\n",
    "a word": b"hello\n",
    "a number": b"3\n",
    "a key of lists": b"? [1, 2]\n: 3\n",
    "a key of sections": b"{a: 1}: 3\n",
    "a directive": b"%YAML 9.9\n---\nseed: 1\n",
    "a handle": b"seed: !x!y 3\n",
    "a block": b"seed: |9z\n  text\n",
    "a percent": b"seed: %3\n",
    "an at": b"seed: @3\n",
    "a backquote": b"seed: `3`\n",
    "a merge": b"<<: {seed: 3}\n",
    "a merge within": b"training: {<<: {steps: 4}, steps: 4}\n",
    "a key of two lines": b'"se\\ned": 3\n',
    "a key that colours": b'"\\e[31mseed": 3\n',
    "a key without a letter": b'"": 3\n',
    "a key of half a letter": b'"\\ud800": 3\n',
    "half a letter": b'precision: "\\udfff"\n',
    "a long key": b"a" * 900 + b": 3\n",
    "dashes": b"---\n",
    "dots": b"---\n...\n",
    "a mark and a typo": b"\xef\xbb\xbfsede: 3\n",
    "carriage returns": b"seed: 3\rsede: 3\r",
    "nested a little": b"data: " + b"[" * 250 + b"]" * 250 + b"\n",
    "sections nested a little": b"data: " + b"{a: " * 250 + b"}" * 250 + b"\n",
    "references": b"data: {a0: [1], "
    + b", ".join(
        b"a%d: [%s]" % (n, b", ".join([b"'${data.a%d}'" % (n - 1)] * 9)) for n in range(1, 9)
    )
    + b"}\n",
    "references in a text": b"data: {a0: x, "
    + b", ".join(b"a%d: '%s'" % (n, b"${data.a%d}" % (n - 1) * 9) for n in range(1, 9))
    + b"}\n",
    "a chain of references": b"data: {"
    + b", ".join(b"a%d: '${data.a%d}'" % (n, n + 1) for n in range(101))
    + b", a101: 1}\n",
    "nested": b"data: " + b"[" * 3000 + b"]" * 3000 + b"\n",
    "nested sections": b"data: " + b"{a: " * 3000 + b"}" * 3000 + b"\n",
    "anchors": b"a0: &a0 [1]\n"
    + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)
    ),
}

BINARY = {
    "a NUL": b"seed: \x00",
    "a picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "an archive": b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a program": b"\x7fELF\x02\x01\x01\x00",
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-32": GOOD.encode("utf-32"),
    "Latin-1": "# Größe\nseed: 3\n".encode("latin-1"),
    "half a letter": "seed: 3 # ö".encode()[:-1],
    "a bell": b"seed: 3\nmodel: \x07\n",
    "bytes": bytes(range(256)),
    "surrogates": b"seed: \xed\xa0\x80\n",
}

BASE = {
    "itself": "base: broken.yaml",
    "a circle": "base: circle.yaml",
    "nothing": "base: nowhere.yaml",
    "a folder": "base: .",
    "a number": "base: 3",
    "a section": "base: {file: line.yaml}",
    "a list of numbers": "base: [line.yaml, 3]",
    "a broken one": "base: tab.yaml",
    "a binary one": "base: binary.yaml",
    "a wrong one": "base: wrong.yaml",
    "a program": "base: line.py",
    "many": f"base: [{', '.join(['line.yaml'] * 200)}]",
    "null within": "base: [null]",
    "a NUL": 'base: "a\\0b"',
    "a long name": f"base: {'a' * 900}",
    "a reference": "base: ${env:HOME}",
}

BESIDE = {
    "circle.yaml": b"base: circle2.yaml\n",
    "circle2.yaml": b"base: circle.yaml\n",
    "tab.yaml": b"training:\n\tsteps: 3\n",
    "binary.yaml": b"\x89PNG\r\n\x1a\n",
    "wrong.yaml": GOOD.replace("seed: 3", "sede: 3").encode(),
}
"""Files beside the broken one."""

REFERENCES = [
    *("${nothing}", "${seed}", "${env:BACKPROP_JAX_NOT_SET}", "${", "${}", "${training.stepz}"),
    *("a${data}", "${training.steps", "${env:}", "${model.name}", "${model.scales.7}"),
    *("'${model.scales.²}'", "${model.basis.0}", "'${...}'", "'${${a}}'", "${model.scales.-1}"),
]


def cases() -> Iterator[Case]:
    """Yields every broken file."""
    for word in WORDS:
        wrong = word[:-1] + "q"
        yield f"typo {word}", GOOD.replace(f"{word}:", f"{wrong}:", 1).encode()
    for good, values in WRONG.items():
        key = good.partition(":")[0]
        for value in values:
            yield f"{key} {value[:20]}", GOOD.replace(good, f"{key}: {value}", 1).encode()
    for tag in TAGS:
        yield f"tag {tag}", GOOD.replace("seed: 3", f"seed: {tag}").encode()
    for number in HUGE:
        for key, good in (("seed", "seed: 3"), ("steps", "steps: 4"), ("every", "every: 2,")):
            value = number + "," * good.endswith(",")
            yield f"huge {key} {number[:9]}", GOOD.replace(good, f"{key}: {value}", 1).encode()
    for line in GOOD.splitlines():
        yield f"twice {line.partition(':')[0]}", f"{GOOD}{line}\n".encode()
    for name, text in SYNTAX.items():
        yield f"syntax {name}", text
    for name, text in BINARY.items():
        yield f"binary {name}", text
    for name, text in BASE.items():
        yield f"base {name}", f"{text}\n{GOOD}".encode()
    for text in REFERENCES:
        yield f"reference {text}", GOOD.replace("seed: 3", f"seed: {text}").encode()
