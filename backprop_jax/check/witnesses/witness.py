"""What is asked, and what a witness answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from backprop_jax.check.paths import Leaves, flatten, operand_names, paths_of
from backprop_jax.errors import BackpropError

ErrorBar = np.ndarray | float | None
"""How far a leaf may be off, for each element or for all of them; None if nobody knows."""


class DoesNotApply(BackpropError):
    """A witness cannot answer; the text says why, in a few words without a full stop."""


@dataclass(frozen=True)
class Question:
    """What is differentiated, at which operands, and with respect to which of them."""

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    argnums: int | tuple[int, ...] = 0
    has_aux: bool = False
    holomorphic: bool = False
    allow_int: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `jax.grad` besides the function."""
        names = ("argnums", "has_aux", "holomorphic", "allow_int")
        return {name: getattr(self, name) for name in names}

    @property
    def positions(self) -> tuple[int, ...]:
        """The differentiated operands, counted from the front."""
        argnums = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
        return tuple(i % len(self.args) for i in argnums)

    @property
    def names(self) -> str | list[str]:
        """What the user calls the differentiated operand, or each of them."""
        names = operand_names(self.fun, len(self.args))
        chosen = [names[i] for i in self.positions]
        return chosen[0] if isinstance(self.argnums, int) else chosen

    @property
    def operands(self) -> list[Any]:
        """What is differentiated."""
        return [self.args[i] for i in self.positions]

    @property
    def differentiated(self) -> Any:
        """What is differentiated, of the structure of the gradient."""
        return self.operands[0] if isinstance(self.argnums, int) else tuple(self.operands)

    @property
    def leaves(self) -> Leaves:
        """What is differentiated, by the paths that the leaves of the gradient have."""
        return flatten(self.differentiated, self.names)[0]

    @property
    def paths(self) -> list[str]:
        """The paths of the leaves of the gradient."""
        return paths_of(self.differentiated, self.names)

    @property
    def structure(self) -> Any:
        """The structure of the gradient."""
        return jax.tree.structure(self.differentiated)

    def run(self, *operands: Any) -> Any:
        """The function at other values of what is differentiated."""
        chosen = dict(zip(self.positions, operands, strict=True))
        args = [chosen.get(i, arg) for i, arg in enumerate(self.args)]
        return self.fun(*args, **self.kwargs)

    def value(self, leaves: Mapping[str, Any]) -> Any:
        """The value of the function, without aux, at other leaves of what is differentiated."""
        given = jax.tree.unflatten(self.structure, [leaves[path] for path in self.paths])
        result = self.run(*((given,) if isinstance(self.argnums, int) else given))
        return result[0] if self.has_aux else result

    def map(self, change: Callable[[Any], Any], others: Callable[[Any], Any]) -> "Question":
        """The same question elsewhere: `change` moves what is differentiated, `others` the rest."""
        args = tuple(
            jax.tree.map(change if i in self.positions else others, arg)
            for i, arg in enumerate(self.args)
        )
        return replace(self, args=args, kwargs=jax.tree.map(others, self.kwargs))


@dataclass(frozen=True)
class Witness:
    """What a witness says: a gradient by the path of its leaves, or why it cannot say.

    Attributes:
      name: who says so.
      leaves: the gradient; empty if the witness does not apply.
      structure: of the gradient's pytree; None if the witness has but the leaves.
      errors: how far each leaf may be off; a path left out is a leaf that nobody knows it of.
      why_not: why it does not apply; empty if it does.
      notes: what the reader should know.
      doubts: what may explain a difference, for the reader of one.
      sees: what the witness sees of a gradient, where that is not the gradient itself but, say, its
        slopes along a few directions: gives, for a gradient by path, what to compare with `leaves`.
    """

    name: str
    leaves: Leaves = field(default_factory=dict)
    structure: Any = None
    errors: Mapping[str, ErrorBar] = field(default_factory=dict)
    why_not: str = ""
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    sees: Callable[[Leaves], Leaves] | None = None

    @property
    def applies(self) -> bool:
        """Whether there is an answer."""
        return not self.why_not
