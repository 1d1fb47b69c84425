"""Who differentiates: ours and JAX's, as they are and with what each can be asked for."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

import backprop_jax as bp

Derivative = Callable[..., Callable[..., Any]]
"""Takes a function, returns one that computes a derivative."""


class Engine(NamedTuple):
    """What a workload may ask for; None where an engine has not got it."""

    value_and_grad: Derivative
    hvp: Callable[..., Any] | None = None
    jacobian: Derivative | None = None
    hessian: Derivative | None = None


def jax_hvp(fun: Callable[..., Any], primals: tuple, tangents: tuple) -> Any:
    """Returns the Hessian times tangents, as JAX's documents advise: forward over reverse."""
    return jax.jvp(jax.grad(fun), primals, tangents)[1]


def ours(**options: Any) -> Engine:
    """Returns our gradient with options; without, our other derivatives too."""
    if options:
        return Engine(partial(bp.value_and_grad, **options))
    return Engine(bp.value_and_grad, bp.hvp, bp.jacobian, bp.hessian)


def checkpointed(**options: Any) -> Engine:
    """Returns JAX's gradient of the function as one `jax.checkpoint`."""
    return Engine(lambda fun: jax.value_and_grad(jax.checkpoint(fun, **options)))


ENGINES: dict[str, Engine] = {
    "ours": ours(),
    "jax": Engine(jax.value_and_grad, jax_hvp, jax.jacrev, jax.hessian),
    "jax:checkpoint": checkpointed(),
    "jax:dots": checkpointed(policy=jax.checkpoint_policies.dots_saveable),
}
if "remat" in inspect.signature(bp.value_and_grad).parameters:
    ENGINES |= {f"ours:{it}": ours(remat=it) for it in ("auto", "full", "20MiB", "7MiB")}
