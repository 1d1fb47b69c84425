"""Words of messages: a text shortened, a word that is close to another one."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 60
"""A longer text is shortened in a message."""

NO_TEXT = "is not text in UTF-8"


def hint(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest known word, or the list of all."""
    known = list(known)
    if close := get_close_matches(word, known, n=1, cutoff=0.55):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def is_text(text: str) -> bool:
    """Says whether a text can be written down: it has no half of a letter of UTF-16."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(text: str) -> str:
    """Returns a text in quotes, shortened."""
    return repr(text) if len(text) <= LONGEST else f"{text[: LONGEST - 3]!r}..."
