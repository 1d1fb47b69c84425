"""Markdown as a part of a page: its pictures within, and nobody's mark-up gets through."""

import base64
import mimetypes
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

HTML = "text/html"


def rendered(text: str, pictures: Mapping[str, bytes]) -> Markup:
    """Returns Markdown as HTML that fetches nothing; mark-up in it is text.

    Args:
      text: shows pictures by their names, `![What it is](name.png)`.
      pictures: what their files hold. What is not among them is shown as what it is.
    """
    return Markup(MARKDOWN.render(text, {"pictures": pictures}))


def embedded(name: str, content: bytes, label: str) -> Markup:
    """Returns a picture as an element that holds it; `label` says what it is."""
    kind = kind_of(name)
    if kind.startswith("image/"):
        data = base64.b64encode(content).decode()
        return Markup('<img src="data:{};base64,{}" alt="{}">').format(kind, data, label)
    if kind == HTML:
        page = content.decode(errors="replace")
        frame = '<iframe sandbox="allow-scripts" title="{}" srcdoc="{}"></iframe>'
        return Markup(frame).format(label, page)
    try:
        return Markup("<pre>{}</pre>").format(content.decode())
    except UnicodeDecodeError:
        return Markup("<em>{}: {}</em>").format(label, name)


def kind_of(name: str) -> str:
    """Returns the kind of a file by its ending, as `image/png`; "" for an unknown one."""
    return mimetypes.guess_type(name)[0] or ""


def _image(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: Any,
    env: MutableMapping[str, Any],
) -> str:
    """Returns the element of a picture, in the place of one that names a file."""
    label = self.renderInlineAsText(tokens[index].children or [], options, env)
    name, pictures = str(tokens[index].attrs["src"]), env["pictures"]
    if name not in pictures:
        return str(Markup("<em>{}</em>").format(label))
    return str(embedded(name, pictures[name], label))


def _scrolled(self: RendererHTML, *_: Any) -> str:
    """Returns the beginning of a table that is scrolled by itself if it is too wide."""
    return '<div class="scroll"><table>'


def _scrolled_to_the_end(self: RendererHTML, *_: Any) -> str:
    """Returns the end of such a table."""
    return "</table></div>"


MARKDOWN = MarkdownIt("js-default", {"html": False})
MARKDOWN.add_render_rule("image", _image)
MARKDOWN.add_render_rule("table_open", _scrolled)
MARKDOWN.add_render_rule("table_close", _scrolled_to_the_end)
