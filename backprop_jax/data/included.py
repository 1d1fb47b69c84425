"""The data sets inside of the package. Each file is checked against its sha256 when it is read."""

import gzip
import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from backprop_jax.errors import DataError, message

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "manifest.json"


@cache
def about() -> Mapping[str, Mapping[str, str]]:
    """Returns for each data set its file, what it is, where it is from, its licence, its sha256."""
    return json.loads(MANIFEST.read_text(encoding="utf-8"))


def arrays(name: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a data set, such as `image` and `label` of `fashion_mnist`.

    Raises:
      DataError: there is none of this name, or its file is not what it was.
    """
    with np.load(io.BytesIO(_content(name))) as found:
        return dict(found)


def text(name: str) -> str:
    """Returns a data set that is a text, such as `shakespeare`.

    Raises:
      DataError: there is none of this name, or its file is not what it was.
    """
    return gzip.decompress(_content(name)).decode()


def _content(name: str) -> bytes:
    """Returns the bytes of a file, if they are those that the manifest speaks of."""
    if name not in about():
        raise DataError(f"no data set {name!r}; known: {', '.join(about())}", name)
    facts = about()[name]
    content = (FOLDER / facts["file"]).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != facts["sha256"]:
        text = f"{facts['file']} is not the file that the manifest speaks of: sha256 {found}"
        raise DataError(message(text, to_go_on="install backprop-jax again"))
    return content
