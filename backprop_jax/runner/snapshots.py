"""One checkpoint as one file: every array of a run, and what is known about them.

A snapshot is a NumPy archive (`.npz`) without pickled objects. Its entry `about` is a JSON text
with the facts of the run and, for each array, its place in the state, dtype, shape and checksum.
"""

import functools
import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.errors import BackpropError
from backprop_jax.runner.folder import whole

Facts = dict[str, Any]
"""What JSON can hold."""

FORMAT = 1
ABOUT = "about"


class Damaged(BackpropError, ValueError):
    """A checkpoint cannot be read: it was cut short, or changed."""


class DoesNotFit(BackpropError, ValueError):
    """A checkpoint holds other arrays than the run needs.

    Attributes:
      facts: of the checkpoint.
    """

    def __init__(self, text: str, facts: Facts) -> None:
        super().__init__(text)
        self.facts = facts


class Leaf(NamedTuple):
    """An array of a state as it is written.

    Attributes:
      place: in the state, as text.
      array: its numbers, on the host.
      random: the kind of a key of `jax.random`, None of any other array.
    """

    place: str
    array: np.ndarray
    random: str | None


def copied(state: Any) -> list[Leaf]:
    """Returns copies of a state's arrays on the host, which nothing else will change."""
    values, structure = jax.tree.flatten(state)
    leaves = []
    for place, leaf in zip(_places(structure), values, strict=True):
        random = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.array(jax.random.key_data(leaf) if random else leaf)
        kind = str(jax.random.key_impl(leaf)) if random else None
        leaves.append(Leaf(place, array, kind))
    return leaves


@functools.lru_cache
def _places(structure: Any) -> list[str]:
    """Returns where the leaves of a state are, as text; it is the same for each checkpoint."""
    tree = jax.tree.unflatten(structure, range(structure.num_leaves))
    return [jax.tree_util.keystr(place) for place, _ in jax.tree.leaves_with_path(tree)]


def save(path: Path, state: Any, facts: Facts) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
      path: the file; what is there is replaced when the new one is on disk.
      state: a pytree of arrays, keys of `jax.random` among them.
      facts: anything that JSON can hold.
    """
    write(path, copied(state), facts)


def write(path: Path, leaves: Sequence[Leaf], facts: Facts) -> None:
    """Writes a checkpoint of arrays that have been copied, whole or not at all."""
    listed = [
        {
            "place": leaf.place,
            "dtype": leaf.array.dtype.name,
            "shape": list(leaf.array.shape),
            "sha256": _checksum(leaf.array),
            "random": leaf.random,
        }
        for leaf in leaves
    ]
    about = json.dumps({"format": FORMAT, "facts": facts, "leaves": listed})
    arrays: dict[str, Any] = {str(index): leaf.array for index, leaf in enumerate(leaves)}
    arrays[ABOUT] = np.frombuffer(about.encode(), np.uint8)
    with whole(path) as file:
        np.savez(file, **arrays)


def load(path: Path, template: Any) -> tuple[Any, Facts]:
    """Returns the state and the facts of a checkpoint.

    Args:
      path: the file.
      template: a state with the structure, shapes and dtypes that are expected.

    Raises:
      Damaged: the file is not whole.
      DoesNotFit: it is whole, and the state is another one.
    """
    places, structure = jax.tree.flatten_with_path(template)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(bytes(archive[ABOUT]))
            if about["format"] != FORMAT:
                raise Damaged(f"{path.name} is of format {about['format']}, not {FORMAT}")
            leaves = [_read(archive[str(n)], leaf) for n, leaf in enumerate(about["leaves"])]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged(f"{path.name} is not whole") from error
    wanted = [(jax.tree_util.keystr(place), *_kind(leaf)) for place, leaf in places]
    found = [
        (about["place"], *_kind(leaf)) for about, leaf in zip(about["leaves"], leaves, strict=True)
    ]
    text = f"{path.name} has {len(found)} arrays, the run has {len(wanted)}"
    for wants, has in zip(wanted, found, strict=False):
        if wants != has:
            text = f"{path.name} has {_said(has)} where the run has {_said(wants)}"
            break
    if wanted != found:
        raise DoesNotFit(text, about["facts"])
    return jax.tree.unflatten(structure, leaves), about["facts"]


def fingerprint(tree: Any) -> str:
    """Returns a text that is another one for other arrays."""
    whole = hashlib.sha256()
    for place, leaf in jax.tree.leaves_with_path(tree):
        array = np.asarray(leaf)
        whole.update(f"{jax.tree_util.keystr(place)} {array.dtype} {array.shape}".encode())
        whole.update(_checksum(array).encode())
    return whole.hexdigest()


def _read(array: np.ndarray, about: dict[str, Any]) -> jax.Array:
    """Returns an entry of the archive as the leaf it was."""
    dtype = jnp.dtype(about["dtype"])
    if array.dtype != dtype:
        # NumPy keeps bfloat16 and its like as bytes without a name.
        array = array.view(dtype)
    if list(array.shape) != about["shape"] or _checksum(array) != about["sha256"]:
        raise Damaged(f"{about['place']} has changed since it was written")
    if about["random"]:
        return jax.random.wrap_key_data(jnp.array(array), impl=about["random"])
    return jnp.array(array)


def _kind(leaf: Any) -> tuple[str, tuple[int, ...]]:
    """Returns dtype and shape of a leaf."""
    return str(leaf.dtype), tuple(leaf.shape)


def _said(leaf: tuple[str, str, tuple[int, ...]]) -> str:
    """Returns place, dtype and shape as text: `.params['w'] float32[3,4]`."""
    place, dtype, shape = leaf
    return f"{place} {dtype}[{','.join(map(str, shape))}]"


def _checksum(array: np.ndarray) -> str:
    """Returns the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()
