"""Reverse-mode automatic differentiation on JAX, written by hand.

api        grad, value_and_grad, vjp, fwd_and_bwd: pytrees in and out
checkpoints  checkpoint: what to keep for the way back, said by the user
memory     memory_plan: what is kept, and why
watching   value_grad_and_cotangents: what flows back to values inside of a function
nonfinite  find_nonfinite: where values stop being finite, forward or back
products   jvp, hvp, linear_transpose
jacobians  jacrev, jacfwd, hessian
swaps      rules: others in the place of the book's, for a while
proofs     the rules that users bring are put to the test
taps       hooks on what flows back; a program run while somebody looks on
rules      one rule for each primitive of `jax.lax`
engine     a function runs on a tape, the tape is walked back
partition  what is kept for the way back, and what is computed again
graph      one run written down, step by step, forward and back
check      is it right? ours, jax.grad's, measured slopes and others side by side
data       data sets for experiments, with source, licence and checksum; files of your own
pytest     a plugin: the fixture `gradcheck`, a report
"""

import os

import jax
from jax.extend import source_info_util

# The rules ask JAX for its primitives by staging a call of each: whatever is set meanwhile.
with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())), jax.disable_jit(False):
    from backprop_jax import errors as errors
    from backprop_jax import extend as extend
    from backprop_jax.api import fwd_and_bwd as fwd_and_bwd
    from backprop_jax.api import grad as grad
    from backprop_jax.api import value_and_grad as value_and_grad
    from backprop_jax.api import vjp as vjp
    from backprop_jax.check.bisect import bisect as bisect
    from backprop_jax.check.compare import compare as compare
    from backprop_jax.check.gradients.check_grads import check_grads as check_grads
    from backprop_jax.checkpoints import checkpoint as checkpoint
    from backprop_jax.graph.explain import explain as explain
    from backprop_jax.jacobians import hessian as hessian
    from backprop_jax.jacobians import jacfwd as jacfwd
    from backprop_jax.jacobians import jacobian as jacobian
    from backprop_jax.jacobians import jacrev as jacrev
    from backprop_jax.memory import memory_plan as memory_plan
    from backprop_jax.nonfinite import find_nonfinite as find_nonfinite
    from backprop_jax.products import hvp as hvp
    from backprop_jax.products import jvp as jvp
    from backprop_jax.products import linear_transpose as linear_transpose
    from backprop_jax.swaps import rules as rules  # not the package; that is backprop_jax.rules.…
    from backprop_jax.version import __version__ as __version__
    from backprop_jax.watching import value_grad_and_cotangents as value_grad_and_cotangents

remat = checkpoint

#: What `help(backprop_jax)` shows.
__all__ = [
    "__version__",
    "bisect",
    "check_grads",
    "checkpoint",
    "compare",
    "errors",
    "explain",
    "extend",
    "find_nonfinite",
    "fwd_and_bwd",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linear_transpose",
    "memory_plan",
    "remat",
    "rules",
    "value_and_grad",
    "value_grad_and_cotangents",
    "vjp",
]

# The lines that errors and profiles name are the user's, not ours.
source_info_util.register_exclusion(os.path.dirname(__file__) + os.sep)
