"""`docs/gallery.md` and its pages, made of the runs: `python -m experiments.gallery [NAME ...]`.

Runs what has changed since its page was written, or what is named, or with `--all` everything. A
page says of which sources it was made; a test asks whether they are still the same. Pictures of
graphs want `pip install 'backprop-jax[graph]'`.
"""

import argparse
import ast
import contextlib
import hashlib
import io
import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from backprop_jax.runner import folder as run_folder
from backprop_jax.runner.document import read_file
from backprop_jax.runner.kinds import kind_of, run
from backprop_jax.runner.pages import QUESTION, RESULT, SHOWN, TIME, head
from backprop_jax.runner.show import PAGE

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
INDEX = ROOT / "docs" / "gallery.md"
PAGES = ROOT / "docs" / "gallery"
PICTURES = ROOT / "docs" / "images" / "gallery"

SECTIONS = {
    "Slopes": ["tangent", "steps", "partials", "vectors"],
    "The chain rule": [
        "walker",
        "composition",
        "nodes",
        "graphs",
        "linear_net",
        "six_ways",
        "by_hand",
    ],
    "What gradients are good for": ["descent", "landscape", "lines", "curve_fit", "vanishing"],
}
"""What is shown, by the names of the configurations, in the order of the page."""

INTRODUCTION = """\
# Gallery

What gradients are, how they flow back and what is done with them: each lesson is one configuration,
run by `backprop-jax run`, which writes its page, its pictures and its numbers into a folder. The
numbers are promised in the configuration and tested. `backprop-jax list` lists them all;
`python -m experiments.gallery` wrote these pages.
"""

MADE = re.compile(r"<!-- made of ([0-9a-f]+) -->\n\Z")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the pages that are not up to date, and the page of pages; returns 0."""
    parser = argparse.ArgumentParser("python -m experiments.gallery", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run; else what is stale")
    parser.add_argument("--all", action="store_true", help="run everything")
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(names()):
        parser.error(f"no {', '.join(sorted(unknown))} in the gallery")
    PAGES.mkdir(exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with contextlib.chdir(ROOT):
        for name in given.names or [x for x in names() if given.all or is_stale(x)]:
            write(name)
    INDEX.write_text(index())
    print(f"{INDEX.relative_to(ROOT)}, {time.perf_counter() - began:.0f} s in all")
    return 0


def names() -> list[str]:
    """Returns what the gallery shows, in its order."""
    return [name for section in SECTIONS.values() for name in section]


def config_of(name: str) -> Path:
    """Returns the configuration, seen from the root."""
    inside = Path("configs/gallery", f"{name}.yaml")
    return inside if (ROOT / inside).is_file() else Path("configs", f"{name}.yaml")


def is_stale(name: str) -> bool:
    """Returns whether a page is not there, or was made of other sources."""
    page = PAGES / f"{name}.md"
    made = MADE.search(page.read_text()) if page.is_file() else None
    return made is None or made[1] != digest(name)


def digest(name: str) -> str:
    """Returns the digest of all that a page is made of: the configuration and its sources."""
    whole = hashlib.sha256()
    for file in [ROOT / config_of(name), *sorted(set(_imported(_source(name))))]:
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def write(name: str) -> None:
    """Runs a configuration and writes its page and pictures.

    Raises:
      SystemExit: it failed, or a picture could not be drawn.
    """
    config = config_of(name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, name)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = run(config, [], folder)
        summary = json.loads((folder / run_folder.SUMMARY).read_text())
        if code or summary["missing"]:
            raise SystemExit(said.getvalue())
        text = (folder / PAGE).read_text()
        for old in PICTURES.glob(f"{name}-*"):
            old.unlink()
        for picture in summary["pictures"]:
            (PICTURES / f"{name}-{picture}").write_bytes((folder / picture).read_bytes())
            text = text.replace(f"]({picture})", f"](../images/gallery/{name}-{picture})")
    source = _source(name).relative_to(ROOT)
    links = f"[{config}](../../{config}), [{source}](../../{source}); [the gallery](../gallery.md)"
    page = f"{text}\n{links}\n\n<!-- made of {digest(name)} -->\n"
    (PAGES / f"{name}.md").write_text(page)
    print(f"{name}: {summary['seconds']:.1f} s", flush=True)


def index() -> str:
    """Returns the text of the page of pages, made of those of the lessons."""
    parts = [INTRODUCTION]
    for section, inside in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in inside:
            text, said = (PAGES / f"{name}.md").read_text(), head(ROOT / config_of(name))
            title = text.partition("\n")[0].removeprefix("# ")
            question, result = (x[:1].upper() + x[1:] for x in (said[QUESTION], said[RESULT]))
            parts.append(f"### [{title}](gallery/{name}.md)\n\n*{question}* {result}\n")
            if shown := SHOWN.search(text):
                parts.append(f"{shown[0].replace('](../', '](')}\n")
            parts.append(f"`backprop-jax run {config_of(name)}`, {said[TIME]}\n")
    return "\n".join(parts)


def _source(name: str) -> Path:
    """Returns the Python file that a configuration names."""
    config = ROOT / config_of(name)
    named = read_file(config).values[kind_of(config).key]
    return ROOT / named.partition(":")[0]


def _imported(file: Path) -> Iterator[Path]:
    """Yields a file, and those of `experiments` that it imports."""
    yield file
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("experiments"):
            module = ROOT / str(node.module).replace(".", "/")
            for path in (f"{module}.py", *(f"{module}/{one.name}.py" for one in node.names)):
                if Path(path).is_file():
                    yield from _imported(Path(path))


if __name__ == "__main__":
    raise SystemExit(main())
