"""Leaves of a gradient, named as the user would write them: `params['blocks'][0]['w']`."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

Leaves = dict[str, np.ndarray]


def operand_names(fun: Callable[..., Any], count: int) -> list[str]:
    """Returns the names of the first `count` operands: `params`, `xs[0]`, or `args[0]`."""
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # A builtin that does not tell.
        return [f"args[{i}]" for i in range(count)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    starred = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    return names[:count] + [f"{starred}[{i}]" for i in range(count - len(names))]


def flatten(gradient: Any, names: str | Sequence[str]) -> tuple[Leaves, Any]:
    """Returns the leaves of a gradient by path, and its tree structure.

    Args:
      gradient: pytree of arrays or numbers; with several `names`, a tuple of them.
      names: the operand it belongs to, or one for each entry of the tuple.

    Returns:
      Mapping from path to array, in the order of the pytree; and the structure.
    """
    entries, structure = jax.tree_util.tree_flatten_with_path(gradient)
    return {_spell(path, names): _array(leaf) for path, leaf in entries}, structure


def paths_of(tree: Any, names: str | Sequence[str]) -> list[str]:
    """Returns the paths of the leaves alone."""
    entries, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [_spell(path, names) for path, _ in entries]


def _spell(path: tuple[Any, ...], names: str | Sequence[str]) -> str:
    if isinstance(names, str):
        return names + jax.tree_util.keystr(path)
    position = getattr(path[0], "idx", None) if path else None
    if position is None or position >= len(names):  # Not the tuple that was asked for.
        return "gradient" + jax.tree_util.keystr(path)
    return str(names[position]) + jax.tree_util.keystr(path[1:])


def _array(leaf: Any) -> np.ndarray:
    """The leaf in the dtype JAX would give it: a Python 3.0 is float32 unless x64 is enabled."""
    if getattr(leaf, "dtype", None) == jax.dtypes.float0:
        return np.asarray(leaf)
    return np.asarray(jax.numpy.asarray(leaf))


def type_name(leaf: np.ndarray) -> str:
    """Returns `float32[3,4]`."""
    dtype = "float0" if leaf.dtype == jax.dtypes.float0 else leaf.dtype.name
    return f"{dtype}[{','.join(map(str, leaf.shape))}]"
