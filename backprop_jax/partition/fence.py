"""A fence before what is computed again: the compiler may not find it among what it has computed.

XLA merges equal computations. If the way back computes a value again from others that were there on
the way forward, the two are equal, and it keeps the first one: the memory is lost, and nobody told.
"""

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import Primitive, primitives, set_current_trace
from jax.interpreters import batching, mlir

from backprop_jax.dtypes import is_extended, is_number
from backprop_jax.engine.jaxprs import variables
from backprop_jax.engine.reading import cutting
from backprop_jax.engine.registry import dear_to_recompute, doors
from backprop_jax.meshes import one_of

fence_p = Primitive("fence")
fence_p.multiple_results = True


def fence(values: Sequence, after: Sequence, firm: bool) -> tuple[list, list]:
    """Returns the values as ones that the compiler meets when one of `after` is there, no sooner.

    And all of `after`: that one has passed, too, so the compiler has it whole. It would else make
    the one number it asks for by itself, and the whole where that is read, perhaps far behind.

    The numbers are the same. For JAX's own differentiation it is the identity, too. A fence that is
    not firm stands for partitions alone: what is computed from its values belongs to the way back.
    """
    clocks = clocks_among(after)[:1] if values else []
    if not clocks:
        return list(values), list(after)
    *behind, clock = passed(lambda *raws: hide(firm, [*raws]), [*values, *clocks])
    return behind, [clock if g is clocks[0] else g for g in after]


def covering(candidates: Sequence, equations: Sequence) -> list:
    """Returns few of these variables, early ones, such that each equation depends on one of them.

    An equation that depends on none of the candidates is left out. Of a function that is called
    each operand counts: an equation within may read no other.
    """
    bit = {v: 1 << i for i, v in enumerate(candidates)}
    sources = dict(bit)
    masks = set()
    for equation in equations:
        read = [sources.get(v, 0) for v in variables(equation.invars)]
        mask = functools.reduce(operator.or_, read, 0)
        sources.update((v, sources.get(v, 0) or mask) for v in equation.outvars)
        masks.update(read if equation.primitive is primitives.jit_p else [mask])
    masks.discard(0)
    chosen = (1 << len(candidates)) - 1
    for v in reversed(candidates):
        if all(mask & chosen & ~bit[v] for mask in masks):
            chosen &= ~bit[v]
    return [v for v in candidates if bit[v] & chosen]


def pin(values: Sequence, after: Sequence) -> list:
    """Returns the values behind XLA's barrier alone, together with the first of `after`."""
    clocks = clocks_among(after)[:1]
    return passed(lambda *raws: barrier(*clocks, *raws)[len(clocks) :], values)


def clocks_among(after: Sequence) -> list:
    """Returns the cotangents that a fence can wait for."""
    return [g for g in after if g is not None and g.size and is_number(jax.typeof(g))]


def passed(through: Callable[..., list], values: Sequence) -> list:
    """Returns the values having passed through something, as words if they are random keys.

    Those of another extended dtype stay as they are: nobody can say what they are made of.
    """
    types = [jax.typeof(x) for x in values]
    places = [i for i, t in enumerate(types) if t.size and (is_key(t) or not is_extended(t.dtype))]
    changed = list(values)
    if places:
        for i, x in zip(places, through(*(raw(values[i]) for i in places)), strict=True):
            changed[i] = of_kind(x, values[i])
    return changed


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def hide(firm: bool, values: list) -> list:
    """Returns the values behind a fence, which is passed once the last of them is there."""
    return fence_p.bind(*values, firm=firm)


@hide.defjvp
def hide_jvp(firm: bool, primals: tuple, tangents: tuple) -> tuple:
    """The identity: what moves the values moves the same numbers behind the fence."""
    return hide(firm, *primals), tangents[0]


def is_key(x: Any) -> bool:
    """Returns whether these are random keys."""
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def raw(x: Any) -> Any:
    """Returns the words of a random key, anything else as it is."""
    return jax.random.key_data(x) if is_key(x) else x


def of_kind(x: Any, like: Any) -> Any:
    """Returns words as a random key, if that is what they were."""
    return jax.random.wrap_key_data(x, impl=jax.random.key_impl(like)) if is_key(like) else x


@fence_p.def_abstract_eval
def avals(*values: Any, firm: bool) -> list:
    """Returns the types of the values."""
    del firm
    return list(values)


@fence_p.def_impl
def identity(*values: Any, firm: bool) -> list:
    """Returns the values: where there is no program, there is nothing to merge."""
    del firm
    return list(values)


def barrier(*values: Any) -> list:
    """Returns the values behind XLA's own barrier."""
    return list(lax.optimization_barrier(values))


def stay(*values: Any, firm: bool) -> list:
    """Hides the values behind the barrier: for accelerators it stays until all has been merged."""
    return barrier(*values) if firm else list(values)


def idle_loop(*values: Any, firm: bool) -> list:
    """Hides the values in a loop that makes no trip, which the compiler cannot know.

    XLA for processors drops its barriers before it looks for what is equal. A loop stays: it goes
    on if a number of the last value is NaN and zero at once. It costs a copy.
    """
    if not firm:
        return list(values)
    passed = barrier(*values)
    clock = passed[-1]
    number = one_of(lax.real(clock) if is_complex(clock) else clock)
    never = lax.bitwise_and(lax.ne(number, number), lax.eq(number, lax.full_like(number, 0)))

    def changed(x: Any) -> Any:
        numeric = is_number(jax.typeof(x))
        return lax.neg(x) if numeric else lax.bitwise_not(x)

    def trip(state: tuple) -> tuple:
        return lax.bitwise_not(state[0]), [changed(x) for x in state[1]]

    return lax.while_loop(lambda state: state[0], trip, (never, passed))[1]


def is_complex(x: Any) -> bool:
    """Returns whether the numbers are complex."""
    return jax.dtypes.issubdtype(x.dtype, np.complexfloating)


class Passing:
    """The rule of a fence: it lets a cotangent through."""

    kind = "linear"

    def pull(self, node: Any, cotangents: list) -> list:
        """Returns the cotangents of the values."""
        del node
        return cotangents


def write_down(primitive: Primitive, tape: Any, tracers: Sequence, params: dict) -> Any:
    """Runs a primitive that lets its last operands pass, and writes down what does."""
    values, slots = tape.unwrap(tracers)
    with set_current_trace(tape.parent_trace):
        result = primitive.bind(*values, **params)
    results = result if primitive.multiple_results else [result]
    start = len(values) - len(results)
    moving = [slot is not None for slot in slots[start:]]
    if any(moving):
        passing = values[start:], slots[start:]
        results = tape.add(primitive, params, Passing(), passing, results, None, moving)
    return results if primitive.multiple_results else results[0]


def batched(operands: Sequence, axes: Sequence, **params: Any) -> tuple:
    """Returns the fence of batches, which is that of the values."""
    return fence_p.bind(*operands, **params), axes


mlir.register_lowering(fence_p, mlir.lower_fun(stay, multiple_results=True))
mlir.register_lowering(fence_p, mlir.lower_fun(idle_loop, multiple_results=True), platform="cpu")
batching.primitive_batchers[fence_p] = batched
doors[fence_p] = functools.partial(write_down, fence_p)


# -- values that are to be kept --------------------------------------------------------------------

keep_p = Primitive("keep")


@contextlib.contextmanager
def to_be_cut() -> Iterator[None]:
    """Says that what runs within will be cut in two."""
    token = cutting.set(True)
    try:
        yield
    finally:
        cutting.reset(token)


def keep(x: Any) -> Any:
    """Returns a value as one that a policy has asked to keep: no cut around computes it again."""
    return of_kind(marked(raw(x)), x) if cutting.get() else x


@jax.custom_jvp
def marked(x: Any) -> Any:
    """Returns the value, marked for the cuts of what this is part of."""
    return keep_p.bind(x)


@marked.defjvp
def marked_jvp(primals: tuple, tangents: tuple) -> tuple:
    """The identity."""
    return marked(*primals), tangents[0]


keep_p.def_abstract_eval(lambda x: x)
keep_p.def_impl(lambda x: x)
mlir.register_lowering(keep_p, lambda context, x: [x])
batching.defvectorized(keep_p)
doors[keep_p] = functools.partial(write_down, keep_p)
dear_to_recompute(keep_p)
