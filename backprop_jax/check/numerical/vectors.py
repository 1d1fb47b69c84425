"""A pytree's leaves as one real vector, and a function from such vectors to such vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.check.paths import paths_of
from backprop_jax.check.precision import is_inexact

Vector = np.ndarray
"""float64, of one axis."""


@dataclass(frozen=True)
class Space:
    """The leaves of a pytree that can move, laid out in one real vector; a complex one twice.

    Attributes:
      paths: what the user calls each of them.
      shapes: their shapes.
      dtypes: their dtypes, which may be narrower than the vector's float64.
    """

    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, leaves: Sequence[Any], paths: Sequence[str]) -> "Space":
        """Returns the space that these arrays are points of."""
        dtypes = tuple(jnp.asarray(leaf).dtype for leaf in leaves)
        return cls(tuple(paths), tuple(np.shape(leaf) for leaf in leaves), dtypes)

    @property
    def sizes(self) -> list[int]:
        """How many entries of the vector each leaf takes."""
        parts = [2 if jnp.issubdtype(d, jnp.complexfloating) else 1 for d in self.dtypes]
        return [p * int(np.prod(s)) for p, s in zip(parts, self.shapes, strict=True)]

    @property
    def ends(self) -> np.ndarray:
        """Where in the vector each leaf ends."""
        return np.cumsum([0, *self.sizes])[1:].astype(int)

    def slices(self) -> list[slice]:
        """Returns the part of the vector that belongs to each leaf."""
        return [slice(e - n, e) for e, n in zip(self.ends.tolist(), self.sizes, strict=True)]

    def vector(self, leaves: Sequence[Any]) -> Vector:
        """Returns the leaves as one vector."""
        parts = [real_parts(leaf) for leaf in leaves]
        return np.concatenate([np.zeros(0), *parts])

    def leaves(self, vector: Vector, like: Sequence[Any] | None = None) -> list[jax.Array]:
        """Returns the leaves of a vector, in the dtypes of `like` or in their own."""
        dtypes = self.dtypes if like is None else [leaf.dtype for leaf in like]
        made = []
        for part, shape, dtype in zip(self.slices(), self.shapes, dtypes, strict=True):
            entries = vector[part]
            if jnp.issubdtype(dtype, jnp.complexfloating):
                entries = np.ascontiguousarray(entries).view(np.complex128)
            made.append(jnp.asarray(entries.reshape(shape).astype(dtype)))
        return made

    def cotangents(self, vector: Vector, like: Sequence[Any]) -> list[jax.Array]:
        """Returns the leaves of a covector: JAX pairs u and v as Re(u v), so i changes its sign."""
        return [jnp.conj(leaf) for leaf in self.leaves(vector, like)]

    def covector(self, leaves: Sequence[Any]) -> Vector:
        """Returns cotangents as one covector, which pairs with vectors entry by entry."""
        return self.vector([np.conj(np.asarray(leaf)) for leaf in leaves])

    def where(self, entry: int) -> tuple[int, tuple[int, ...], str]:
        """Returns the leaf, the index in it, and of a complex number the part, of one entry."""
        place = int(np.searchsorted(self.ends, entry, side="right"))
        inside = entry - (int(self.ends[place]) - self.sizes[place])
        part = ""
        if jnp.issubdtype(self.dtypes[place], jnp.complexfloating):
            inside, part = inside // 2, (".real", ".imag")[inside % 2]
        index = np.unravel_index(inside, self.shapes[place]) if self.shapes[place] else ()
        return place, tuple(map(int, index)), part


def real_parts(leaf: Any) -> Vector:
    """Returns an array as float64 entries, of complex numbers the real part before the other."""
    array = np.asarray(leaf)
    if np.iscomplexobj(array):
        return np.ascontiguousarray(array, np.complex128).reshape(-1).view(np.float64)
    return array.astype(np.float64).reshape(-1)


@dataclass(frozen=True, eq=False)
class Moving:
    """A function of the leaves of its arguments that can move, all others held fixed.

    Attributes:
      fun: the function, as the user has it.
      tree: the structure of its arguments.
      leaves: all leaves of its arguments.
      active: which of them move.
      paths: what the user calls those.
      labels: what to call the results; empty: `result` and what follows.
    """

    fun: Callable[..., Any]
    tree: Any
    leaves: tuple[Any, ...]
    active: tuple[int, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, fun: Callable[..., Any], args: Sequence[Any], names: Sequence[str]) -> "Moving":
        """Returns the function of the leaves of `args`, which are called by `names`."""
        leaves, tree = jax.tree.flatten(tuple(args))
        active = tuple(i for i, leaf in enumerate(leaves) if is_inexact(leaf))
        paths = paths_of(tuple(args), names)
        return cls(fun, tree, tuple(leaves), active, tuple(paths[i] for i in active))

    @property
    def point(self) -> list[Any]:
        """Where the moving leaves are."""
        return [jnp.asarray(self.leaves[i]) for i in self.active]

    def arguments(self, *moving: Any) -> tuple[Any, ...]:
        """Returns the arguments of the function."""
        leaves = list(self.leaves)
        for i, leaf in zip(self.active, moving, strict=True):
            leaves[i] = leaf
        return jax.tree.unflatten(self.tree, leaves)

    def results(self, *moving: Any) -> dict[str, Any]:
        """Returns the leaves of the result that are real or complex numbers, by their paths."""
        result = self.fun(*self.arguments(*moving))
        entries, _ = jax.tree_util.tree_flatten_with_path(result)
        found = {"result" + jax.tree_util.keystr(path): leaf for path, leaf in entries}
        return {path: leaf for path, leaf in found.items() if is_inexact(leaf)}

    def __call__(self, *moving: Any) -> list[Any]:
        """Returns the same as a list: what is differentiated."""
        return list(self.results(*moving).values())
