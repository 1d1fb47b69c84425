"""What is asked of every rule, for every case of the table.

Between compiled functions the tests reckon in NumPy: XLA would compile each sum for each shape.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backprop_jax as bp
from backprop_jax.engine.cotangents import is_differentiable
from backprop_jax.engine.registry import book, lookup, strangers
from tests.rules.case import (
    Case,
    assert_close,
    draw_like,
    is_inexact,
    pull_jax,
    pull_ours,
)
from tests.rules.cases import (
    CASES,
    OF_JAX,
    every_case,
    every_case_of_jax,
    first_of_each,
    marks,
    one_of_each,
)
from tests.rules.jaxprs import USERS_OWN, equations, idle, without_rule
from tests.rules.test_parallel import COLLECTIVE
from tests.rules.test_shards import OF_SHARDS

pytestmark = pytest.mark.usefixtures("x64")

RTOL = 1e-12
SLOPE_RTOL = 1e-6
SHORT_RTOL = {"float32": 1e-4, "bfloat16": 0.1, "complex64": 1e-4}


def setup(case: Case) -> tuple[Callable, list, tuple]:
    """Returns the function of the active operands, these, and a random cotangent of the result."""
    operands = jax.device_put(case.operands)
    run = case.of_active(operands)
    values = [operands[i] for i in case.active]
    return run, values, draw_like(case, jax.eval_shape(run, *values), "g")


def pull_all(case: Case, operands: list, g: tuple) -> tuple:
    """Returns the cotangents of the active ones among all operands."""
    return pull_ours(case.of_active(operands), [operands[i] for i in case.active], g)


def in_numpy(arrays: Sequence) -> list[np.ndarray]:
    """Returns the arrays as NumPy's."""
    return [np.asarray(x) for x in arrays]


def cast(x: np.ndarray, dtype: str) -> jax.Array:
    """Returns an array in another precision, and what is not of real or complex numbers as is."""
    return jax.device_put(x.astype(jnp.dtype(dtype)) if is_inexact(x) else x)


@functools.lru_cache(maxsize=8)
def compiled_pull(case: Case) -> Callable:
    """Returns `pull_all`, compiled once for all the checks of a case."""
    return jax.jit(functools.partial(pull_all, case))


@every_case
def test_holds_its_primitive_which_has_a_rule(case):
    jaxpr = jax.make_jaxpr(case.run)(*case.operands).jaxpr
    found = {str(e.primitive): e.primitive for e in equations(jaxpr)}
    assert case.primitive in found, f"the case has {sorted(found)}; name it after one of these"
    outs = [v for e in equations(jaxpr) if str(e.primitive) == case.primitive for v in e.outvars]
    if case.primitive not in USERS_OWN and any(is_differentiable(v.aval) for v in outs):
        assert lookup(found[case.primitive]), f"no rule for {case.primitive}: add a row to rules/"


@every_case_of_jax
def test_agrees_with_jax(case):
    run, values, g = setup(case)
    theirs = jax.jit(functools.partial(pull_jax, run))(values, g)
    assert_close(compiled_pull(case)(case.operands, g), theirs, RTOL, "against jax.vjp")


@every_case
def test_agrees_with_the_slope(case):
    if not case.has_slope:
        pytest.skip("the derivative is agreed upon and cannot be measured")
    run, values, g = setup(case)
    gradients = compiled_pull(case)(case.operands, g)
    values, compiled, step = in_numpy(values), jax.jit(run), 6e-6
    for i, (x, gradient) in enumerate(zip(values, in_numpy(gradients), strict=True)):
        (v,) = in_numpy(draw_like(case, [x], f"direction {i}"))
        points = ([*values[:i], x + t * v, *values[i + 1 :]] for t in (step, -step))
        ahead, behind = (in_numpy(compiled(*point)) for point in points)
        slopes = [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
        terms = [h * s for h, s in zip(in_numpy(g), slopes, strict=True)]
        measured = sum(np.sum(term).real for term in terms)
        scale = sum(np.sum(np.abs(term)) for term in terms)
        ours = np.sum(gradient * v).real
        off = abs(ours - measured)
        assert off <= SLOPE_RTOL * max(scale, 1e-3), (
            f"operand {i}: the slope is {measured}, the gradient says {ours}"
        )


@every_case
def test_is_linear_in_the_cotangent(case):
    if case.name == "custom_vjp_call: its own idea of a gradient":
        pytest.skip("what a user's own rule does with a cotangent is up to the user")
    g = in_numpy(setup(case)[2])
    h = in_numpy(draw_like(case, g, "h"))

    def pull(g: Sequence) -> tuple:
        return compiled_pull(case)(case.operands, tuple(g))

    mixed = pull(tuple(2 * a - 3 * b for a, b in zip(g, h, strict=True)))
    expected = [2 * a - 3 * b for a, b in zip(*map(in_numpy, (pull(g), pull(h))), strict=True)]
    assert_close(mixed, expected, max(1e-10, case.rounding), "2 g - 3 h")


@every_case
def test_promotes_no_type(case):
    """A rule names the types it mixes, for users who set `jax.numpy_dtype_promotion`."""
    values = [case.operands[i] for i in case.active]

    def gradient(*values):
        results, pull = bp.vjp(case.of_active(case.operands), *values)
        return pull(results)

    with jax.numpy_dtype_promotion("strict"):
        try:
            jax.eval_shape(case.of_active(case.operands), *values)
        except jax.dtypes.TypePromotionError:
            pytest.skip("the function itself mixes types")
        jax.eval_shape(gradient, *values)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(case, dtype, marks=marks(case)) for case in CASES for dtype in case.dtypes],
    ids=lambda x: x.name if isinstance(x, Case) else x,
)
def test_keeps_shape_and_dtype(case, dtype):
    operands = [cast(x, dtype) for x in case.operands]
    values = [operands[i] for i in case.active]
    results = jax.eval_shape(case.of_active(operands), *values)
    g = draw_like(case, results, "g")
    gradients = compiled_pull(case)(operands, g)
    for i, (gradient, x) in enumerate(zip(gradients, values, strict=True)):
        assert jax.typeof(gradient).dtype == x.dtype, f"operand {i}: {jax.typeof(gradient)}"
        assert gradient.shape == x.shape, f"operand {i}: {jax.typeof(gradient)}"
    longer = [cast(np.asarray(x), wider(x)) for x in operands]
    results = jax.eval_shape(case.of_active(longer), *(longer[i] for i in case.active))
    long_g = tuple(cast(np.asarray(h), z.dtype) for h, z in zip(g, results, strict=True))
    truth = in_numpy(compiled_pull(case)(longer, long_g))
    for i, (gradient, expected) in enumerate(zip(gradients, truth, strict=True)):
        off = np.abs(np.asarray(gradient, expected.dtype) - expected)
        scale = np.max(np.abs(expected), initial=1e-3)
        assert np.max(off, initial=0.0) <= SHORT_RTOL[dtype] * scale, (
            f"operand {i} in {dtype}: got\n{gradient}\ninstead of\n{expected}"
        )


def wider(x: jax.Array) -> str:
    """Returns the double precision of an array's kind."""
    return "complex128" if jnp.iscomplexobj(x) else "float64"


@first_of_each([c for c in CASES if len(c.active) > 1 and c.primitive != "custom_vjp_call"])
def test_skips_what_is_not_needed(case):
    """A rule of a user's is not asked in parts: it computes what it computes."""
    run, values, g = setup(case)

    def each_alone(values: list, g: tuple) -> list:
        found = []
        for i, x in enumerate(values):
            _, pull = bp.vjp(functools.partial(_with, run, values, i), x)
            left_over = idle(jax.make_jaxpr(pull)(g).jaxpr)
            assert not left_over, f"computed for nothing, with operand {i} alone: {left_over}"
            found += pull(g)
        return found

    together = compiled_pull(case)(case.operands, g)
    assert_close(jax.jit(each_alone)(values, g), together, RTOL, "each operand alone")


def _with(run: Callable, values: list, i: int, x: jax.Array) -> tuple:
    return run(*values[:i], x, *values[i + 1 :])


@one_of_each(CASES)
def test_same_under_jit(case):
    run, values, g = setup(case)
    assert_close(compiled_pull(case)(case.operands, g), pull_ours(run, values, g), 1e-10, "jit")


@pytest.mark.slow
@every_case
def test_same_under_vmap(case):
    if case.not_batched:
        pytest.skip(case.not_batched)
    operands = [np.stack([x, np.flip(x)]) for x in case.operands]
    g = tuple(np.stack([h, -2 * h]) for h in in_numpy(setup(case)[2]))
    batched = jax.jit(jax.vmap(functools.partial(pull_all, case)))(operands, g)
    pull = compiled_pull(case)
    pairs = [pull([x[i] for x in operands], tuple(h[i] for h in g)) for i in range(2)]
    expected = [np.stack(pair) for pair in zip(*pairs, strict=True)]
    assert_close(batched, expected, 1e-10, "under vmap")


@pytest.mark.slow
@every_case_of_jax
def test_second_order_agrees_with_jax(case):
    """The pullback is a function of operands and cotangent; its own pullback, by all four ways."""
    run, values, g = setup(case)

    def orders(values: list, g: tuple, h: tuple) -> dict[str, list]:
        found = {}
        for name, (inner, outer) in ways.items():
            again = functools.partial(_pull_flat, inner, run, len(values))
            found[name] = outer(again, [*values, *g], h)
        return found

    ways = {
        "jax.vjp of jax.vjp": (pull_jax, pull_jax),
        "bp.vjp of jax.vjp": (pull_jax, pull_ours),
        "bp.vjp of bp.vjp": (pull_ours, pull_ours),
    }
    if not case.jax_of_ours_fails:
        ways["jax.vjp of bp.vjp"] = (pull_ours, pull_jax)
    found = jax.jit(orders)(values, g, draw_like(case, values, "h"))
    theirs = found.pop("jax.vjp of jax.vjp")
    for name, ours in found.items():
        assert_close(ours, theirs, 1e-10, name)


def _pull_flat(pull: Callable, run: Callable, count: int, *both: jax.Array) -> tuple:
    return tuple(pull(run, both[:count], tuple(both[count:])))


def along(gradient: Callable, fun: Callable, directions: tuple) -> Callable:
    """Returns the slope of a scalar function along fixed directions, by way of its gradient."""

    def slope(*values: jax.Array) -> jax.Array:
        gradients = gradient(fun, argnums=tuple(range(len(values))))(*values)
        pairs = zip(gradients, directions, strict=True)
        return sum(jnp.sum(g * v).real for g, v in pairs)

    return slope


@pytest.mark.slow
@one_of_each(OF_JAX)
def test_third_order_agrees_with_jax(case):
    _, values, _ = setup(case)
    v = draw_like(case, values, "v")

    def third(*values: jax.Array) -> list:
        found = []
        for gradient in (jax.grad, bp.grad):
            fun = case.as_scalar()
            for _ in range(2):
                fun = along(gradient, fun, v)
            found.append(gradient(fun, argnums=tuple(range(len(values))))(*values))
        return found

    theirs, ours = jax.jit(third)(*values)
    assert_close(ours, theirs, 1e-9, "third order")


@pytest.mark.slow
@one_of_each(OF_JAX)
def test_compositions_of_the_issue_agree_with_jax(case):
    """`vmap(grad(f))`, `jit(hessian(f))`, `jax.grad(bp.grad(f))`, `bp.grad(jax.grad(f))`."""
    _, values, _ = setup(case)
    if not values[0].size or jnp.iscomplexobj(values[0]):
        pytest.skip("a Hessian of real numbers is wanted")
    fun = case.as_scalar()

    def first(x: jax.Array) -> jax.Array:
        return fun(x, *values[1:])

    x = values[0]
    (v,) = draw_like(case, [x], "v")
    batch = np.stack([x, np.asarray(x) * 0.9])

    def compositions(x: jax.Array, batch: jax.Array) -> tuple:
        theirs = jax.grad(along(jax.grad, first, (v,)))(x)
        ours = bp.grad if case.jax_of_ours_fails else jax.grad
        return (
            (jax.vmap(bp.grad(first))(batch), bp.hessian(first)(x),
             ours(along(bp.grad, first, (v,)))(x), bp.grad(along(jax.grad, first, (v,)))(x)),
            (jax.vmap(jax.grad(first))(batch), jax.jacrev(jax.jacrev(first))(x), theirs, theirs),
        )  # fmt: skip

    ours, theirs = jax.jit(compositions)(x, batch)
    assert_close(ours, theirs, 1e-10, "vmap of grad, hessian, jax of ours, ours of jax")


@every_case
def test_emits_only_primitives_that_have_rules(case):
    """So that any order of derivative works."""
    run, values, g = setup(case)
    pull = functools.partial(_pull_flat, pull_ours, run, len(values))
    jaxpr = jax.make_jaxpr(pull)(*values, *g).jaxpr
    found = without_rule(jaxpr)
    assert not found, f"the reverse pass uses {sorted(found)}, which have no rule"


def test_every_primitive_of_the_book_is_tried():
    """A rule without a case is a rule nobody has seen work."""
    from_cases = set()
    for case in CASES:
        jaxpr = jax.make_jaxpr(case.run)(*case.operands).jaxpr
        from_cases |= {e.primitive for e in equations(jaxpr)}
    untried = {str(primitive) for primitive in book if primitive not in from_cases}
    untried -= COLLECTIVE | OF_SHARDS
    untried -= {"pure_callback", "io_callback", "custom_vmap_call"}  # see test_errors
    untried -= set(strangers)  # once met, see test_libraries and test_sparse
    untried -= {"from_edtype", "to_edtype"}  # see test_extended_dtypes
    assert not untried, f"add a case for {sorted(untried)}"
