"""`explain`: the backward pass of one run as an object, with every factor of the chain rule."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_jax.arguments import check_scalar, function_name
from backprop_jax.check.paths import operand_names, paths_of
from backprop_jax.dtypes import default_float
from backprop_jax.engine import cotangents as ct
from backprop_jax.graph import chain, dot, drawing, page, tree
from backprop_jax.graph.building import Builder
from backprop_jax.graph.folded import picture
from backprop_jax.graph.picture import Picture
from backprop_jax.graph.recording import Recording, check_concrete, record
from backprop_jax.graph.values import Operation, Variable
from backprop_jax.memory import MemoryPlan, memory_plan

FORMATS = ("txt", "dot", "svg", "png", "html")


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """The backward pass of one run. Printed, it is written out step by step.

    Attributes:
      function: name of the function that is explained.
      variables: operands first, then the results of the steps, in the order they were made.
      operations: the steps that lead to the result, in the order they were taken.
      recording: all that was met.
      staged: makes the memory plan.
    """

    function: str
    variables: tuple[Variable, ...]
    operations: tuple[Operation, ...]
    recording: Recording
    staged: Callable[[], MemoryPlan]

    def __getitem__(self, name: str) -> Variable:
        """Returns the variable of this name, or this formula where it has none.

        A name is that of an argument, or what is assigned in the function.
        """
        for variable in self.variables:
            if name == (variable.name or str(variable.display)):
                return variable
        known = ", ".join(v.name for v in self.variables if v.name)
        raise KeyError(f"no variable {name!r}; there are {known}")

    @property
    def operands(self) -> tuple[Variable, ...]:
        """The variables that gradients are taken with respect to."""
        return tuple(v for v in self.variables if v.operation is None)

    @property
    def result(self) -> Variable:
        """The result."""
        return next(v for v in self.variables if v.is_result)

    @property
    def is_scalar(self) -> bool:
        """Whether all values are numbers, so that the chain rule can be written out."""
        return all(v.is_scalar for v in self.variables) and all(
            len(o.results) == 1 for o in self.operations
        )

    @functools.cached_property
    def tree(self) -> tree.Fold:
        """What the steps belong to: folds within folds, the operands where they are used."""
        root = tree.tree(self.function, self.operations)
        tree.placed(root, self.operands)
        return root

    @functools.cached_property
    def memory(self) -> MemoryPlan | None:
        """What the gradient keeps for its way back, and why; None if it cannot be compiled."""
        try:
            return self.staged()
        except TypeError:  # Python branches on a value, or the like.
            return None

    @functools.cached_property
    def picture(self) -> Picture:
        """The picture as data, with all that can be unfolded."""
        return picture(self)

    def paths(self, operand: str, most: int = chain.MOST) -> list[chain.Path]:
        """Returns the paths from the result to an operand, each with its factors and product."""
        return chain.paths(self.result, self[operand], most)

    def __str__(self) -> str:
        """The way forward, the way back, and for numbers the chain rule, factor by factor."""
        return chain.document(self)

    def save(self, path: str | os.PathLike) -> None:
        """Writes it to a file; the ending says how: txt, dot, svg, png or html.

        Raises:
          ValueError: another ending.
          ImportError: a picture is asked for, and what lays it out is not installed.
        """
        ending = os.fspath(path).rpartition(".")[2]
        if ending not in FORMATS:
            raise ValueError(f"cannot save as {ending!r}; there are {', '.join(FORMATS)}.")
        content = self.render(ending)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())

    def fragment(self) -> str:
        """Returns the picture, to unfold by clicks, as a part of somebody's page."""
        return "\n".join(page.fragment(self.picture))

    def render(self, form: str) -> str | bytes:
        """Returns what `save` writes."""
        if form == "txt":
            return str(self) + "\n"
        if form == "html":
            return page.html(self)
        text = dot.text(self)
        return text if form == "dot" else drawing.draw(text, form)

    def _repr_html_(self) -> str:
        return page.notebook(self)

    def _repr_svg_(self) -> str | None:
        """The picture for a notebook that draws no HTML; None if nothing lays it out."""
        try:
            return drawing.draw(dot.text(self), "svg").decode()
        except ImportError:
            return None


def explain(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    **kwargs: Any,
) -> Explanation:
    """Returns the backward pass of `fun` at some operands: every value, cotangent and factor.

        print(bp.explain(lambda x: (3 * x + 1) ** 2, 2.0))

    The function is run once, step by step, in loops and branches too, and walked back. Values are
    called what the function calls them: its arguments, and what is assigned on the line where the
    source can be read; else they go by their formula or by their operation.

    Args:
      fun: its result is one real number. It is run outside of `jax.jit`.
      *args: its operands.
      argnums: which of them to differentiate, an integer or several. Default: all, integers left
        out.
      has_aux: `fun` returns a pair whose second entry is not differentiated.
      **kwargs: passed to `fun`.

    Returns:
      An `Explanation`: `print` it, `save` it as txt, dot, svg, png or html, or ask it for a
      variable by its name.

    Raises:
      TypeError: the result is no scalar, or there are no numbers: it is called under `jax.jit`.
    """
    chosen = range(len(args)) if argnums is None else argnums
    places = [chosen] if isinstance(chosen, int) else [i % len(args) for i in chosen]
    known = operand_names(fun, len(args))
    operands = [args[i] for i in places]
    leaves, tree = jax.tree.flatten(tuple(operands))
    check_concrete(leaves)
    names = paths_of(tuple(operands), [known[i] for i in places])

    def flat(*leaves: Any) -> list:
        filled = dict(zip(places, jax.tree.unflatten(tree, leaves), strict=True))
        result = fun(*(filled.get(i, arg) for i, arg in enumerate(args)), **kwargs)
        result = result[0] if has_aux else result
        check_scalar(result)
        return [result]

    active = [ct.is_differentiable(jax.typeof(leaf)) for leaf in leaves]
    recording = record(flat, leaves, active, lambda z: [jnp.ones_like(z[0])])
    title = function_name(fun)
    alone = "f" if "f" not in names else "result"
    title = title if title.isidentifier() else alone
    builder = Builder(recording, names, constants_of(args, known, set(places)))

    def first(*args: Any) -> Any:
        return fun(*args, **kwargs)[0] if has_aux else fun(*args, **kwargs)

    first.__name__ = title
    wide = default_float() == np.float64

    def staged() -> MemoryPlan:
        # It may be asked for later, where double precision is off.
        with jax.enable_x64(wide):
            return memory_plan(first, *args, argnums=tuple(places))

    return Explanation(title, *builder.build(title), recording, staged)


def constants_of(args: Sequence, known: Sequence[str], chosen: set[int]) -> dict[int, str]:
    """Returns the names of arrays that are not differentiated, by their identity."""
    others = [i for i in range(len(args)) if i not in chosen]
    tree = tuple(args[i] for i in others)
    names = paths_of(tree, [known[i] for i in others])
    return {id(x): n for x, n in zip(jax.tree.leaves(tree), names, strict=True) if is_array(x)}


def is_array(x: Any) -> bool:
    """Returns whether a leaf is an array, which is known by its identity; a number is not."""
    return hasattr(x, "shape")
