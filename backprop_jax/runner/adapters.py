"""Models of other libraries as two pure functions: Flax (linen and nnx), Equinox, Haiku.

A run trains a pytree of parameters. Each function here makes of a library's model an `Adapted`:
`init(key, *inputs)` returns such a pytree, `apply(params, *inputs, key=key)` the outputs for a
batch. In an experiment's file:

    from backprop_jax.runner.adapters import linen

    MODELS = {"mine": lambda width=64: linen(MyModule(width))}

    def init(key, batch, model):
        return model.init(key, batch.image)

    def loss(params, batch, key, model):
        return cross_entropy(model.apply(params, batch.image, key=key), batch.label)

A `key` drives dropout; without one nothing is dropped, as far as the library leaves that to us.
What a model keeps besides parameters, such as the running means of batch normalisation, has no
place in a run and is refused. A library is imported when one of its models is adapted.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from backprop_jax.errors import ConfigError

EXTRAS = {"flax": "flax", "equinox": "equinox", "haiku": "haiku"}
"""The extra of this package that installs a library, by the name it is imported by."""


@dataclass(frozen=True)
class Adapted:
    """A model as two pure functions.

    Attributes:
      init: key and inputs of a batch → parameters.
      apply: parameters, inputs of a batch and, by name, `key` → outputs.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]


def linen(module: Any) -> Adapted:
    """Returns a `flax.linen` module adapted. Inputs are those of its `__call__`."""
    library("flax.linen")

    def init(key: PRNGKeyArray, *inputs: Any) -> Any:
        streams = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
        variables = dict(module.init(streams, *inputs))
        params = variables.pop("params", {})
        _refuse(variables, "linen")
        return _as_precise(params, inputs)

    def apply(params: Any, *inputs: Any, key: PRNGKeyArray | None = None) -> Any:
        streams = {} if key is None else {"dropout": key}
        return module.apply({"params": params}, *inputs, rngs=streams)

    return Adapted(init, apply)


def nnx(build: Callable[[Any], Any]) -> Adapted:
    """Returns a model of `flax.nnx` adapted: `build` makes it, given an `nnx.Rngs`.

    With a `key` it is in training mode (`train()`), without one in that of evaluation (`eval()`).
    """
    flax = library("flax.nnx")

    def parts(key: Any) -> Any:
        rngs = flax.Rngs(params=key, dropout=jax.random.fold_in(key, 1))
        return flax.split(build(rngs), flax.Param, flax.RngState, ...)

    graph, shape, streams, others = parts(jax.random.key(0))
    _refuse(flax.to_pure_dict(others), "nnx")

    def init(key: PRNGKeyArray, *inputs: Any) -> Any:
        return _as_precise(flax.to_pure_dict(parts(key)[1]), inputs)

    def apply(params: Any, *inputs: Any, key: PRNGKeyArray | None = None) -> Any:
        filled = jax.tree.map(lambda x: x, shape)
        flax.replace_by_pure_dict(filled, params)
        module = flax.merge(graph, filled, streams)
        if key is None:
            module.eval()
        else:
            module.train()
            flax.reseed(module, dropout=key)
        return module(*inputs)

    return Adapted(init, apply)


def equinox(build: Callable[[PRNGKeyArray], Any]) -> Adapted:
    """Returns a model of Equinox adapted: `build` makes it, given a key.

    Equinox's models take one example; here they take a batch. With a `key` each example gets one of
    its own, if the model's `__call__` asks for it; without one the model is in inference mode.
    """
    eqx = library("equinox")

    def parts(key: PRNGKeyArray) -> Any:
        return eqx.partition(build(key), eqx.is_inexact_array)

    static = parts(jax.random.key(0))[1]
    is_state = lambda leaf: isinstance(leaf, eqx.nn.StateIndex)  # noqa: E731
    states = filter(is_state, jax.tree.leaves(static, is_leaf=is_state))
    _refuse({type(state).__name__: state for state in states}, "Equinox")

    def init(key: PRNGKeyArray, *inputs: Any) -> Any:
        return _as_precise(parts(key)[0], inputs)

    def apply(params: Any, *inputs: Any, key: PRNGKeyArray | None = None) -> Any:
        module = eqx.combine(params, static)
        if key is None:
            return jax.vmap(eqx.nn.inference_mode(module))(*inputs)
        if "key" not in inspect.signature(type(module).__call__).parameters:
            return jax.vmap(module)(*inputs)
        keys = jax.random.split(key, len(jax.tree.leaves(inputs)[0]))
        return jax.vmap(lambda key, *inputs: module(*inputs, key=key))(keys, *inputs)

    return Adapted(init, apply)


def haiku(function: Callable[..., Any]) -> Adapted:
    """Returns a function that calls Haiku's modules adapted. Inputs are those of the function."""
    transformed = library("haiku").transform_with_state(function)

    def init(key: PRNGKeyArray, *inputs: Any) -> Any:
        params, state = transformed.init(key, *inputs)
        _refuse(state, "Haiku")
        return _as_precise(params, inputs)

    def apply(params: Any, *inputs: Any, key: PRNGKeyArray | None = None) -> Any:
        return transformed.apply(params, {}, key, *inputs)[0]

    return Adapted(init, apply)


def library(name: str) -> ModuleType:
    """Returns a module of one of these libraries.

    Raises:
      ImportError: it is not installed.
    """
    top = name.split(".")[0]
    if importlib.util.find_spec(top) is None:
        raise ImportError(f"{top} is not installed; pip install 'backprop-jax[{EXTRAS[top]}]'")
    return importlib.import_module(name)


def _refuse(others: Any, name: str) -> None:
    """Raises if a model keeps something besides parameters."""
    if others:
        kept = ", ".join(map(str, others))
        raise ConfigError(
            f"this {name} model keeps more than parameters: {kept}; a run trains parameters only, "
            "so normalise over a layer or a group in the place of a batch"
        )


def _as_precise(params: Any, inputs: Any) -> Any:
    """Returns parameters with real ones in the precision of the real inputs, if there are any."""
    real = [x.dtype for x in jax.tree.leaves(inputs) if jnp.issubdtype(x.dtype, jnp.floating)]
    if not real:
        return params
    dtype = jnp.result_type(*real)
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params
    )
