"""Functions of JAX's own, of several steps, that have a rule as a whole.

A few functions lose a derivative on the way: |x| has none at 0, so what is made of it has no second
one there, even if it is smooth; and what bisection finds has none at all. Such a function is known
by its name, and by what it consists of or where it stands: a user's function of the same name is
another one.
"""

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.scipy.special
import numpy as np
from jax import lax
from jax.extend.core import set_current_trace

from backprop_jax.engine.cotangents import convert, fit, instantiate, is_differentiable
from backprop_jax.engine.custom import functions
from backprop_jax.engine.jaxprs import held
from backprop_jax.engine.units import Unit
from backprop_jax.errors import MissingRule, message
from backprop_jax.rules.alignment import Along, alignment, gathered, spread


class Known(NamedTuple):
    """A function of JAX's and a formula for each operand: (g, operands, result) → cotangent.

    Operands come in the shape of the result, as numpy broadcasts them. None is the formula of one
    that is not differentiable.
    """

    function: Callable
    formulas: tuple[Callable | None, ...]


def leg(number: int) -> Callable:
    """Returns the formula of hypot for one of its operands; 0 at the corner, where z is 0."""

    def formula(g: Any, operands: Sequence, z: Any) -> Any:
        x = convert(operands[number], z.dtype)
        return g * (x / lax.select(z == 0, lax.full_like(z, 1), z))

    return formula


def bessel_i1(g: Any, operands: Sequence, z: Any) -> Any:
    """Returns g I₁(x). JAX says 0 where x is 0, and so of its slope."""
    (x,) = operands
    return g * (lax.exp(lax.abs(x)) * lax.bessel_i1e(x))


def exponential_integral(g: Any, operands: Sequence, z: Any) -> Any:
    """Returns -g E(n - 1, x), for n < 2 by (n - 1) E(n, x) + x E(n - 1, x) = exp(-x).

    On jax 0.10 jax.grad has no second derivative.

    Source: DLMF 8.19.13, 8.19.12.
    """
    n, x = (lax.convert_element_type(y, z.dtype) for y in operands)
    rest = lax.select(n == 1, lax.full_like(z, 0), (1 - n) * z)
    before = jax.scipy.special.expn(lax.max(n - 1, lax.full_like(n, 1)), x)
    return -g * lax.select(n < 2, (lax.exp(-x) + rest) / x, before)


def turn(g: Any, operands: Sequence, z: Any) -> Any:
    """Returns the cotangent of x for z = sin πx²/2, cos πx²/2. JAX has kinks where x² is whole."""
    (x,), (of_sin, of_cos), (sin, cos) = operands, g, z
    return np.pi * x * (of_sin * cos - of_cos * sin)


def of_sinc(g: Any, operands: Sequence, z: Any) -> Any:
    """Returns g (cos πx - sinc x) / x, for small x by the series Σ (-π²)ᵏ 2k x²ᵏ⁻¹ / (2k + 1)!.

    The multiple of π is taken from the angle before it is rounded, and a cosine near its zero is
    the sine of what is left to that.
    """
    del z
    (given,) = operands
    x = convert(given, np.float32) if given.dtype.itemsize < 4 else given
    near = lax.abs(x) < 0.5
    inner, outer = (lax.select(b, x, lax.full_like(x, c)) for b, c in ((near, 0), (~near, 1)))
    square, series = lax.square(inner), lax.full_like(x, 0)
    for k in reversed(range(1, 15)):
        series = series * square + (-np.pi * np.pi) ** k * 2 * k / math.factorial(2 * k + 1)
    whole = lax.stop_gradient(lax.round(outer, lax.RoundingMethod.TO_NEAREST_EVEN))
    rest = lax.select(lax.is_finite(outer), outer - whole, lax.full_like(x, 0))
    odd = lax.select(
        lax.rem(whole, lax.full_like(x, 2)) == 0, lax.full_like(x, 1), lax.full_like(x, -1)
    )
    side = lax.stop_gradient(lax.sign(rest))
    steep = lax.abs(rest) > 0.25
    cosine = lax.select(steep, lax.sin(np.pi * (0.5 - side * rest)), lax.cos(np.pi * rest))
    slope = odd * (cosine - lax.sin(np.pi * rest) / (np.pi * outer)) / outer
    return g * convert(lax.select(near, series * inner, slope), given.dtype)


KNOWN = {
    "hypot": Known(jax.numpy.hypot, (leg(0), leg(1))),
    "i0": Known(jax.numpy.i0, (bessel_i1,)),
    "expn": Known(jax.scipy.special.expn, (None, exponential_integral)),
    "sincospisquaredhalf": Known(jax.scipy.special.fresnel, (turn,)),
    "sinc": Known(jax.numpy.sinc, (of_sinc,)),
}
#: What `vmap` may put between the steps of a function, and what moves numbers and may be left out.
ADDED = {
    *("broadcast_in_dim", "convert_element_type", "reduce_or", "reshape"),
    *("select_n", "slice", "squeeze", "transpose"),
}
#: Others, by name: (jaxpr) → what makes the unit of this one, or None if it is not the one.
compiled: dict[str, Callable[[Any], Callable[[Sequence[bool], Callable], Unit] | None]] = {}


@functools.lru_cache(maxsize=1024)
def known(name: str, jaxpr: Any) -> tuple[Known, list[Along]] | None:
    """Returns the function that a compiled one of this name is, and which axes go together in it.

    None where it is another one of this name.
    """
    candidate = KNOWN.get(name)
    avals = jaxpr.in_avals
    if candidate is None or len(candidate.formulas) != len(avals):
        return None
    pairs = zip(avals, candidate.formulas, strict=True)
    if not all(is_floating(aval) or (f is None and is_whole(aval)) for aval, f in pairs):
        return None
    try:
        theirs = within(jax.make_jaxpr(candidate.function)(*avals).jaxpr, name)
    except (TypeError, ValueError):  # of shapes it is never called with
        theirs = None
    is_it = str(theirs) == str(jaxpr) or is_mapped(jaxpr, name)
    along = alignment(jaxpr) if is_it else None
    return None if along is None else (candidate, along)


def is_mapped(jaxpr: Any, name: str) -> bool:
    """Returns whether a jaxpr is what `vmap` made of a function known by this name.

    What JAX has made of it to differentiate it has its name and its source, too, but other steps.
    """
    for shape in (), (2,):  # a branch for a number is a choice for several
        like = [jax.ShapeDtypeStruct(shape, x.dtype, weak_type=x.weak_type) for x in jaxpr.in_avals]
        plain = within(jax.make_jaxpr(KNOWN[name].function)(*like).jaxpr, name)
        if plain is None or len(plain.out_avals) != len(jaxpr.out_avals):
            return False
        written = {closed.jaxpr.debug_info.func_src_info for closed in (plain, jaxpr)}
        if len(written) == 1 and steps(plain) == steps(jaxpr):
            return True
    return False


def steps(closed: Any) -> Counter:
    """Returns how often each primitive occurs in a jaxpr, but for those of `ADDED`."""
    found: Counter = Counter()
    for equation in closed.eqns:
        name = str(equation.primitive)
        found[name] += name not in ADDED
        for inner in held(equation.params):
            found += steps(inner)
    return +found


def within(jaxpr: Any, name: str) -> Any:
    """Returns the compiled function of this name in a jaxpr, or in a custom_jvp function there."""
    for equation in jaxpr.eqns:
        if equation.params.get("name") == name:
            return equation.params["jaxpr"]
        if "call_jaxpr" in equation.params:
            return within(equation.params["call_jaxpr"].jaxpr, name)
    return None


def is_floating(aval: Any) -> bool:
    """Returns whether values of this type are real numbers that can move."""
    return jax.dtypes.issubdtype(aval.dtype, np.floating)


def is_whole(aval: Any) -> bool:
    """Returns whether values of this type are whole numbers."""
    return jax.dtypes.issubdtype(aval.dtype, np.integer)


def unit_of(
    function: Known, along: Sequence[Along], count: int, active: Sequence[bool], run: Callable
) -> Unit:
    """Returns the unit of a function with a rule of its own.

    Args:
      function: what is known of it.
      along: which axes of each operand and of the results go together.
      count: number of results.
      active: which operands can have a gradient.
      run: the function, as a whole.
    """
    for wanted, formula in zip(active, function.formulas, strict=True):
        if wanted and formula is None:
            raise MissingRule(message(f"no rule for {function.function.__name__} in its order."))

    def forward(*operands: Any) -> tuple[list, list]:
        results = run(*operands)
        return results, results

    def backward(operands: list, kept: list, cotangents: list) -> list:
        g, z = instantiate(cotangents, list(map(jax.typeof, kept))), kept
        (g, z) = (g, z) if len(kept) > 1 else (g[0], z[0])
        shape = kept[0].shape
        wide = [spread(x, axes, shape) for x, axes in zip(operands, along, strict=True)]
        return [
            gathered(formula(g, wide, z), axes, jax.typeof(x)) if wanted and formula else None
            for formula, x, axes, wanted in zip(
                function.formulas, operands, along, active, strict=True
            )
        ]

    return Unit(forward, backward, tuple(range(len(active))), (True,) * count)


# -- the dilogarithm -------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def is_spence(name: str, jaxpr: Any) -> bool:
    """Returns whether this is what `jax.scipy.special.spence` consists of, a choice of formulas."""
    if name != "_piecewise" or not is_floating(x := jaxpr.in_avals[0]):
        return False
    theirs = jax.scipy.special.spence
    for _ in range(len(x.shape) + 1):  # under no vmap, under one, ...
        if str(jax.make_jaxpr(theirs)(x).eqns[-1].params.get("jaxpr")) == str(jaxpr):
            return True
        theirs = jax.vmap(theirs)
    return False


def dilogarithm(active: Sequence[bool], run: Callable) -> Unit:
    """Returns the unit of `spence`, of which jax.grad says NaN for 1 < x ≤ 2.

    There log(1 - x), of a formula that is not chosen, is NaN, and so is its product with zero.
    """
    if any(active[1:]):
        raise MissingRule(message("no rule for spence in its constants."))

    def backward(operands: list, kept: list, cotangents: list) -> list:
        slope = spence_slope(operands[0])
        return [fit(cotangents[0] * slope, jax.typeof(operands[0])), *[None] * len(active[1:])]

    return Unit(lambda *operands: (run(*operands), []), backward, (0,), (True,))


def spence_slope(x: Any) -> Any:
    """Returns log(x) / (1 - x).

    Around 1, with s = (x - 1) / (x + 1), it is -2 / (x + 1) (1 + s²/3 + s⁴/5 + ···).

    Source: DLMF 4.6.4, 25.12.2.
    """
    close = lax.abs(x - 1) < 0.5
    near, far = (lax.select(b, x, lax.full_like(x, c)) for b, c in ((close, 1), (~close, 2)))
    square, total = lax.square((near - 1) / (near + 1)), lax.full_like(x, 0)
    for k in reversed(range(1, 37, 2)):
        total = total * square + 1 / k
    return lax.select(close, -2 / (near + 1) * total, lax.log(far) / (1 - far))


# -- which of them a compiled one is ---------------------------------------------------------------


def own_rule(name: str, jaxpr: Any) -> Callable[[Sequence[bool], Callable], Unit] | None:
    """Returns what makes the unit of a compiled function that has a rule as a whole, or None."""
    if name in compiled and (unit := compiled[name](jaxpr)):
        return unit
    if is_spence(name, jaxpr):
        return dilogarithm
    own = known(name, jaxpr)
    return None if own is None else functools.partial(unit_of, *own, len(jaxpr.out_avals))


# -- functions with a custom_jvp rule of JAX's -----------------------------------------------------


def times_log(log: Callable, inner: Callable) -> tuple[Callable, Callable]:
    """Returns the formulas of z = x log(inner y), 0 where x is 0; JAX's say NaN of 0 log 0."""

    def of_x(g: Any, operands: Sequence, z: Any) -> Any:
        return g * log(lax.convert_element_type(operands[1], z.dtype))

    def of_y(g: Any, operands: Sequence, z: Any) -> Any:
        x, y = (lax.convert_element_type(v, z.dtype) for v in operands)
        corner = (x == 0) & (inner(y) == 0)
        return g * (x / lax.select(corner, lax.full_like(y, 1), inner(y)))

    return of_x, of_y


def by_formula(known: Known, *call: Any) -> list:
    """Runs a function with formulas of its own in the place of JAX's rule."""
    tape, primitive, fun, jvp, tracers = call
    values, slots = tape.unwrap(tracers)
    along = alignment(traced(fun, values))
    if along is None:
        return of_floats(known.function, *call)

    def run(*operands: Any) -> list:  # whole: who differentiates it from outside has a rule, too
        return primitive.bind(*operands, subfuns=(fun, jvp), symbolic_zeros=False)

    active = [slot is not None for slot in slots]
    return tape.step(primitive, unit_of(known, along, 1, active, run), tracers)


def of_floats(function: Callable, *call: Any) -> list:
    """Runs a function of numbers, some of them whole, with JAX's rule.

    That multiplies by every tangent, and whole numbers have none: it is given floats.
    """
    tape, primitive, fun, jvp, tracers = call
    values, slots = operands = tape.unwrap(tracers)
    if all(map(is_number, values)):
        return tape.add_jvp(primitive, jvp, operands, False)
    pairs = zip(values, slots, strict=True)
    dtype = next(jax.typeof(x).dtype for x, slot in pairs if slot is not None)

    def floats(operands: Sequence) -> list:
        return [x if is_number(x) else lax.convert_element_type(x, dtype) for x in operands]

    if not fun.stores and is_same(function, fun, values):  # from a jaxpr, where types are fixed
        with set_current_trace(tape):
            return [function(*floats(tracers))]
    with set_current_trace(tape.parent_trace):
        values = floats(values)
    return tape.add_jvp(primitive, jvp, (values, slots), False)


def is_number(x: Any) -> bool:
    """Returns whether a value can move."""
    return is_differentiable(jax.typeof(x))


def is_same(function: Callable, fun: Any, values: Sequence) -> bool:
    """Returns whether what is called is a function as it stands, not one made of it by `vmap`."""
    avals = list(map(jax.typeof, values))
    try:
        theirs = jax.make_jaxpr(function)(*avals).eqns[-1].params.get("call_jaxpr")
    except (TypeError, ValueError):  # of shapes it is never called with
        return False
    return str(theirs) == str(traced(fun, values))


def traced(fun: Any, values: Sequence) -> Any:
    """Returns the jaxpr of a function that is called, which may be called once more after that."""
    jaxpr = jax.make_jaxpr(fun.call_wrapped)(*map(jax.typeof, values))
    for store in fun.stores:
        if store:
            store.reset()
    return jaxpr


def exponential(tape: Any, primitive: Any, fun: Any, jvp: Any, tracers: Sequence) -> list:
    """Runs `expn` step by step, if it is known among them; JAX's rule leaks the order it is of."""
    values, _ = operands = tape.unwrap(tracers)
    steps = (equation.params for equation in traced(fun, values).eqns)
    if any("jaxpr" in step and known(step.get("name", ""), step["jaxpr"]) for step in steps):
        return tape.process_call(primitive, fun, tracers, {})
    return tape.add_jvp(primitive, jvp, operands, False)


def line_of(function: Any) -> str:
    """Returns where a function is written, in JAX's words; "" if it is not written in Python."""
    code = getattr(inspect.unwrap(getattr(function, "fun", function)), "__code__", None)
    return f"{code.co_name} at {code.co_filename}:{code.co_firstlineno}" if code else ""


def register_rule(function: Any, run: Callable) -> None:
    """Registers what is run for a function of JAX's that has a custom_jvp rule."""
    if line := line_of(function):
        functions[line] = run


special = jax.scipy.special
for known_as in (
    Known(special.xlogy, times_log(lax.log, lambda y: y)),
    Known(special.xlog1py, times_log(lax.log1p, lambda y: 1 + y)),
):
    register_rule(known_as.function, functools.partial(by_formula, known_as))
for function in (special.poch, special.zeta, special.hyp1f1, special.hyp2f1):
    register_rule(function, functools.partial(of_floats, function))
register_rule(special.expn, exponential)
