"""`value_grad_and_cotangents`: what flows back to values inside of a function."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from backprop_jax.api import one, vjp, wraps
from backprop_jax.arguments import (
    Argnames,
    Argnums,
    PyTree,
    Wanted,
    ZeroTimesInf,
    check_argument,
    check_result,
    check_scalar,
)
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.staged import Arguments
from backprop_jax.taps.hooks import Hooks, place, tapped
from backprop_jax.taps.steps import Selector
from backprop_jax.tracebacks import boundary


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Cotangents(Mapping):
    """Cotangents of values inside of a function: selector → a list of them, in the program's order.

    Printed, it says which value each is the cotangent of. It is a pytree, so that a compiled
    function may return it.

    Attributes:
      found: for every selector its cotangents.
      texts: for every selector, what they are the cotangents of.
    """

    found: dict[Selector, list]
    texts: tuple[tuple[str, ...], ...]

    def __getitem__(self, selector: Selector) -> list:
        return self.found[selector]

    def __iter__(self) -> Iterator[Selector]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        parts = zip(self.found, self.texts, strict=True)
        return "\n".join(f"{selector}: {text}" for selector, texts in parts for text in texts)

    def tree_flatten(self) -> tuple[list, tuple]:
        """Returns the cotangents, and the rest."""
        return list(self.found.values()), (tuple(self.found), self.texts)

    @classmethod
    def tree_unflatten(cls, rest: tuple, found: Sequence) -> "Cotangents":
        """Returns these cotangents."""
        return cls(dict(zip(rest[0], found, strict=True)), rest[1])


@boundary
def value_grad_and_cotangents(
    fun: Callable,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    *,
    select: Selector | Sequence[Selector],
    argnames: Argnames | None = None,
    zero_times_inf: ZeroTimesInf = "nan",
    hooks: Hooks | None = None,
) -> Callable:
    """Returns a function that computes `fun`, its gradient, and cotangents of values inside of it.

    The function itself is not touched: values are named by selectors. A text means, whichever of
    these there is first,

        "h"             what `jax.ad_checkpoint.checkpoint_name` calls so
        "encoder/block" what a `jax.named_scope` hands on: its values that are used outside of it
        "model.py:14"   what a line hands on
        "dot_general"   the results of a primitive
        "attend"        what a function hands on

    and a function of a `taps.steps.Step` that returns a boolean means the results of those steps.
    In `scan` cotangents are stacked, one for each trip; those of a branch of `cond` that was not
    taken are zero. What is inside of a function with a rule of its own (`jax.custom_vjp`,
    `jax.custom_jvp`), of `shard_map` or of a solve has none; its results do.

    Args:
      fun: maps arrays, scalars and pytrees of them to a real scalar of shape (). It is traced, as
        by `jax.jit`.
      argnums: as in `grad`.
      has_aux: as in `grad`.
      select: a selector, or several.
      argnames: as in `grad`.
      zero_times_inf: as in `grad`.
      hooks: as in `grad`. A hook's answer is what is handed over.

    Returns:
      A function of the same arguments. It returns the value (with `has_aux`, a pair), the gradient,
      and `Cotangents`: for every selector a list of arrays of the values' shapes and dtypes.

    Raises:
      UnknownStep: a selector means nothing in this function; it says what there is.
      NotWatched: a value is within a `while_loop`, so that nobody knows how many cotangents it has.

    Example:
      >>> import backprop_jax as bp, jax.numpy as jnp
      >>> def f(x):
      ...     return jnp.sum(jnp.exp(jnp.sin(x)))
      >>> _, _, found = bp.value_grad_and_cotangents(f, select="sin")(jnp.zeros(2))
      >>> print(found["sin"])
      [Array([1., 1.], dtype=float32)]
    """
    wanted = Wanted.of(fun, argnums, argnames)
    selectors = [select] if isinstance(select, str) or callable(select) else list(select)

    @wraps(fun, "Value, gradient and cotangents within")
    def value_gradient_and_cotangents_of(*args: Any, **kwargs: Any) -> tuple:
        chosen, run = wanted.partial(fun, args, kwargs)
        for leaf in jax.tree.leaves(chosen):
            check_argument("grad", leaf, False, False)
        given = Arguments.of(chosen, {})
        closed, tree = given.stage(run)
        program, sinks, values = tapped(closed, hooks or {}, selectors)
        run = as_function(program)

        def with_sinks(sinks: dict, *chosen: PyTree) -> PyTree:
            operands = Arguments.of(chosen, {}).arrays
            return jax.tree.unflatten(tree, run(*operands, *jax.tree.leaves(sinks)))

        nothing = jax.tree.map(lambda sink: jax.numpy.zeros(sink.shape, sink.dtype), sinks)
        value, pullback, *aux = vjp(
            with_sinks, nothing, *chosen, has_aux=has_aux, zero_times_inf=zero_times_inf
        )
        check_scalar(value)
        check_result("grad", value, False)
        flowed, *gradients = pullback(one(value))
        found = [[flowed[place(value)] for value in several] for several in values]
        texts = tuple(tuple(map(str, several)) for several in values)
        cotangents = Cotangents(dict(zip(selectors, found, strict=True)), texts)
        return ((value, *aux) if has_aux else value), wanted.arrange(gradients), cotangents

    return value_gradient_and_cotangents_of
