"""What the site shows besides the documents: README and its like, and source that pages link to.

Links that lead out of docs/ work where the repository is read. Here each gets a page of its own.
"""

import itertools
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"(^(`{3,}).*?^\2|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each file or folder outside docs/ that a page links to, and so on."""
    todo = [file for file in files if file.is_documentation_page()]
    while todo:
        file = todo.pop()
        for target in targets(file):
            name = page_of(target)
            if name.startswith("source/") and not files.get_file_from_path(name):
                shown = File.generated(config, name, content=text_of(target))
                files.append(shown)
                todo.append(shown)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links at the pages that stand for what they lead to."""
    here = posixpath.dirname(page.file.src_uri)

    def pointed(link: re.Match) -> str:
        return posixpath.relpath(page_of(resolve(page.file, link[1])), here or ".")

    kept = iter([m[0] for m in CODE.finditer(markdown)])
    pieces = [LINK.sub(pointed, piece) for piece in prose(markdown)]
    return "".join(piece + next(kept, "") for piece in pieces)


def prose(markdown: str) -> list[str]:
    """Returns what stands before, between and after pieces of code, where `](` is no link."""
    ends = [(0, 0), *(m.span() for m in CODE.finditer(markdown)), (len(markdown), 0)]
    return [markdown[a:b] for (_, a), (b, _) in itertools.pairwise(ends)]


def targets(file: File) -> list[str]:
    """Returns what a page links to, as paths in the repository."""
    links = LINK.findall("".join(prose(file.content_string)))
    return [resolve(file, link) for link in links]


def resolve(file: File, link: str) -> str:
    """Returns the path in the repository that a relative link of a page leads to."""
    written = in_repository(file.src_uri)
    return posixpath.normpath(posixpath.join(posixpath.dirname(written), link))


def in_repository(name: str) -> str:
    """Returns the path of what a page was made of; the inverse of `page_of`."""
    if name.startswith("source/"):
        return name.removeprefix("source/").removesuffix(".md")
    return f"docs/{name}"


def page_of(path: str) -> str:
    """Returns the name of the page that shows a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}.md"


def text_of(path: str) -> str:
    """Returns what the page of a file or folder says."""
    found = ROOT / path
    if found.is_dir():
        names = sorted(p.name + "/" * p.is_dir() for p in found.iterdir() if p.name[0] not in "._")
        return f"# {path}\n\n" + "".join(f"- `{name}`\n" for name in names)
    text = found.read_text()
    if found.suffix == ".md":
        return text
    return f"# {path}\n\n````{found.suffix[1:]}\n{text}````\n"
