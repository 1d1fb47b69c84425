"""Other libraries on the same two workloads, where they are installed: the step alone is timed."""

import importlib.util
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.workload import Workload

Library = Any
"""A module that may not be there."""

Run = Callable[[], Any]
"""Computes a loss and its gradient, to the end."""

MODULES = {"torch": "torch", "torch:compile": "torch", "autograd": "autograd"}
"""The library that each peer needs."""


def peers(
    name: str, workload: Workload, wanted: list[str], clock: Callable[[], float]
) -> dict[str, Callable[[], float]]:
    """Returns what times a step of each of the peers that know this workload."""
    found = {peer: RUNS[peer] for peer in wanted if is_there(peer) and name in LOSSES}
    return {peer: timed(make(name, workload), clock) for peer, make in found.items()}


def is_there(peer: str) -> bool:
    """Returns whether the peer's library is installed."""
    return importlib.util.find_spec(MODULES[peer]) is not None


def timed(run: Run, clock: Callable[[], float]) -> Callable[[], float]:
    """Returns a function that runs another and returns how long it took."""

    def sample() -> float:
        began = clock()
        run()
        return clock() - began

    return sample


def with_autograd(name: str, workload: Workload) -> Run:
    """Returns the step of HIPS autograd: NumPy's operations, on a tape."""
    autograd, numpy = import_module("autograd"), import_module("autograd.numpy")
    differentiated = autograd.value_and_grad(
        partial(LOSSES[name], numpy, lambda x: x - numpy.log(numpy.exp(x).sum(-1, keepdims=True)))
    )
    at = [as_numpy(x) for x in workload.at]
    return lambda: differentiated(*at)


def with_torch(name: str, workload: Workload, compiled: bool = False) -> Run:
    """Returns the step of PyTorch, eager or by `torch.compile`, on the device that JAX has."""
    torch: Library = import_module("torch")
    cuda = next(iter(arrays(workload.at))).device.platform == "gpu"
    device = "cuda" if cuda else "cpu"
    params, *rest = (tensors(torch, device, as_numpy(x)) for x in workload.at)
    leaves = [leaf.requires_grad_() for leaf in arrays(params)]
    loss = partial(LOSSES[name], torch, lambda x: torch.log_softmax(x, -1))
    loss = torch.compile(loss) if compiled else loss

    def step() -> Any:
        value = loss(params, *rest)
        gradients = torch.autograd.grad(value, leaves)
        if cuda:
            torch.cuda.synchronize()
        return value, gradients

    return step


def mlp(library: Library, log_softmax: Callable[[Any], Any], params: Any, x: Any, y: Any) -> Any:
    """Returns the loss of `networks.mlp`, in NumPy's words or PyTorch's."""
    for layer in params[:-1]:
        x = library.tanh(x @ layer["w"] + layer["b"])
    scores = x @ params[-1]["w"] + params[-1]["b"]
    return -(log_softmax(scores) * y).sum(-1).mean()


def chain(library: Library, _: Any, x: Any) -> Any:
    """Returns the loss of `sizes.chain`."""
    for _ in range(50):
        x = library.tanh(library.sin(x) * 1.1) + 0.1
    return x.mean()


def as_numpy(tree: Any) -> Any:
    """Returns a tree of lists and dictionaries with NumPy's arrays."""
    return mapped(np.asarray, tree)


def tensors(torch: Library, device: str, tree: Any) -> Any:
    """Returns a tree with PyTorch's."""
    return mapped(lambda x: torch.tensor(x, device=device), tree)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Returns a tree of what a function makes of the leaves; JAX does not know all of them."""
    if isinstance(tree, dict):
        return {key: mapped(function, each) for key, each in tree.items()}
    if isinstance(tree, list):
        return [mapped(function, each) for each in tree]
    return function(tree)


def arrays(tree: Any) -> list[Any]:
    """Returns the leaves of a tree."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [leaf for each in tree for leaf in arrays(each)]
    return [tree]


LOSSES = {"mlp": mlp, "chain": chain}
RUNS: dict[str, Callable[[str, Workload], Run]] = {
    "torch": with_torch,
    "torch:compile": partial(with_torch, compiled=True),
    "autograd": with_autograd,
}
