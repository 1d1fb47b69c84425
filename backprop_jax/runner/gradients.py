"""Who computes the gradients, and how far the two engines are apart.

This is the one place outside `check` that names jax's own differentiation: it is the other engine.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import backprop_jax
from backprop_jax.errors import BadHook, UnknownStep
from backprop_jax.runner.document import Document, raise_problems
from backprop_jax.runner.hooks import Hooks
from backprop_jax.runner.schema import EngineName, Gradient
from backprop_jax.taps.report import Report

Engine = Callable[..., Callable[..., Any]]

ENGINES: Mapping[EngineName, Engine] = {
    "backprop_jax": backprop_jax.value_and_grad,
    "jax": jax.value_and_grad,
}


def engine_of(
    gradient: Gradient,
    hooks: Hooks | None = None,
    tell: Callable[[Report], Any] | None = None,
) -> Engine:
    """Returns who computes the gradients of a run, with its options.

    Args:
      gradient: what the run says of it.
      hooks: what becomes of cotangents on the way back.
      tell: is given a report of what is not finite, if the run asks for one.
    """
    engine = ENGINES[gradient.engine]
    options: dict[str, Any] = {
        "remat": gradient.remat,
        "hooks": hooks or None,
        "on_nonfinite": tell,
    }
    if gradient.on_nonfinite is None:
        del options["on_nonfinite"]
    given = {name: option for name, option in options.items() if option is not None}
    return functools.partial(engine, **given) if given else engine


def check_hooks(document: Document, hooks: Hooks, loss: Callable[..., Any], *given: Any) -> None:
    """Raises if a hook stands nowhere in the loss, or does not return a cotangent.

    Raises:
      ConfigError: with the place of each such hook.
    """
    problems = []
    for where, hook in hooks.items():
        try:
            jax.eval_shape(ENGINES["backprop_jax"](loss, hooks={where: hook}), *given)
        except (UnknownStep, BadHook) as error:
            problems.append(document.at_key(("gradient", "hooks", where), str(error)))
    raise_problems(problems)


def difference(ours: Any, theirs: Any) -> dict[str, Float[Array, " leaves"]]:
    """Returns for each leaf how far apart two gradients are.

        max_abs = max |ours - theirs|        max_rel = max_abs / max |theirs|

    A leaf that is zero in both has max_rel 0.
    """
    leaves = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    far, size = zip(*((_largest(x - y), _largest(y)) for x, y in leaves), strict=True)
    max_abs, scale = jnp.stack(far), jnp.stack(size)
    relative = max_abs / jnp.where(scale == 0, 1, scale)
    return {"max_abs": max_abs, "max_rel": jnp.where(max_abs == 0, 0, relative)}


def worst(measured: Mapping[str, Any], params: Any) -> dict[str, Any]:
    """Returns the largest differences as plain numbers, and the leaf with the worst max_rel."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    largest = {name: float(values.max()) for name, values in measured.items()}
    return {**largest, "leaf": f"params{paths[int(measured['max_rel'].argmax())]}"}


def _largest(x: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Returns max |x|, 0 for an empty array."""
    return jnp.max(jnp.abs(x), initial=0)
