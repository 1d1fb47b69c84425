# ruff: noqa: E501 (rows of a table stay rows)
"""Mutable references: written, read, carried through loops, and what cannot be followed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax._src import hijax

import backprop_jax as bp

X = np.array([0.5, 1.2, -0.7])


def places(x: Any) -> Any:
    """Numbers, slices and arrays of places; read, written, added to, swapped."""
    ref = jax.ref.new_ref(x)
    first = ref[0]
    ref[0] = first * 2
    ref[1:] += jnp.sin(first)
    ref[jnp.array([0, 2])] = x[:2]
    jax.ref.addupdate(ref, jnp.array([0, 0]), x[1:] ** 2)
    old = jax.ref.swap(ref, 1, 3.0)
    return jnp.sum(jax.ref.freeze(ref) ** 2) * old


def from_nothing(x: Any) -> Any:
    """A reference to a constant takes what depends on x."""
    ref = jax.ref.new_ref(jnp.zeros((2, 3)))
    ref[1] = x * ref[0] + x**2
    ref[0, 1:] = ref[1, :2] * x[1]
    return jnp.sum(jnp.sin(ref[...]))


def loops(x: Any) -> Any:
    """Closed over by a scan, a compiled function, a branch and a fori_loop."""
    ref = jax.ref.new_ref(jnp.zeros(()))

    def trip(c: Any, t: Any) -> tuple:
        ref[...] = ref[...] * x[0] + t
        return c * ref[...], ref[...]

    def power(i: Any, c: Any) -> Any:
        ref[...] = ref[...] * x[0]
        return c + i

    def set_to(factor: Any) -> None:
        ref[...] = ref[...] * factor

    c, y = lax.scan(trip, x[1], jnp.arange(3.0) + x)
    jax.jit(lambda: set_to(x[2]))()
    lax.cond(x[0] > 0, lambda: set_to(x[1]), lambda: None)
    lax.fori_loop(0, 3, power, 0)
    return jax.ref.freeze(ref) + c * jnp.sum(y)


def within_vmap(x: Any) -> Any:
    def product(v: Any) -> Any:
        ref = jax.ref.new_ref(v)
        ref[0] = ref[0] * ref[1]
        return ref[...]

    return jnp.sum(jax.vmap(product)(jnp.stack([x, 2 * x])) ** 2)


def within_scan(x: Any) -> Any:
    """Made anew in every trip."""

    def trip(c: Any, y: Any) -> tuple:
        ref = jax.ref.new_ref(c)
        ref[1] = ref[0] * y
        return ref[...], ref[1]

    c, y = lax.scan(trip, x, x)
    return jnp.sum(c) * jnp.sum(y)


def unknown_trips(x: Any) -> Any:
    """Closed over by a while_loop: one that it asks whether to go on, one that it writes."""
    limit, ref = jax.ref.new_ref(9 * x[0]), jax.ref.new_ref(x)

    def grow(c: Any) -> Any:
        ref[1] = ref[1] * ref[2] + c
        return c + ref[1] ** 2 + x[0]

    c = lax.while_loop(lambda c: c < limit[...], grow, x[1])
    return c * limit[...] + jnp.sum(ref[...] ** 2)


def empty(x: Any) -> Any:
    """A reference of nothing yet, one that is freed, and an integer's."""
    ref, count = jax.ref.empty_ref(jax.typeof(x)), jax.ref.empty_ref(jax.typeof(1))
    ref[...] = x * x
    ref[1] *= x[0]
    count[...] = 2
    z = jnp.sum(ref[...] ** 2) * count[...]
    jax.ref.free_ref(ref)
    jax.ref.free_ref(count)
    return z


def stacked(x: Any) -> Any:
    """A scan goes through its rows, backwards, beside another that all trips have."""
    rows, total = jax.ref.new_ref(x), jax.ref.new_ref(x[0])

    def trip(c: Any, row: Any) -> tuple:
        row[...] = row[...] * c
        total[...] += row[...] ** 2
        return c + row[...], row[...] * total[...]

    c, y = lax.scan(trip, x[1], rows, reverse=True)
    return c * total[...] + jnp.sum(y * rows[...])


def of_no_gradient(x: Any) -> Any:
    """What is read of it is a number, whatever was written."""
    ref = jax.ref.new_ref(1.0, kind="no_grad_no_remat")
    ref[...] = jnp.sum(x)
    return jnp.sum(x**2) * lax.stop_gradient(ref[...] + 1) / (1 + lax.stop_gradient(jnp.sum(x)))


FUNCTIONS = [places, from_nothing, loops, within_vmap, within_scan, jax.jit(places)]
FUNCTIONS += [unknown_trips, jax.jit(empty), stacked, of_no_gradient]


def slopes(fun: Callable, x: Any, h: float = 1e-5) -> Any:
    """Returns the Jacobian by central differences, a column for each number of x."""
    steps = h * np.eye(len(x))
    return np.stack([(fun(x + step) - fun(x - step)) / (2 * h) for step in steps], -1)


@pytest.mark.parametrize("fun", FUNCTIONS, ids=lambda f: f.__name__)
def test_gradient_and_hessian(fun, x64):
    """Slopes are the witness: for some of these jax.grad has no answer."""
    gradient, compiled = bp.grad(fun)(X), jax.jit(bp.grad(fun))
    np.testing.assert_allclose(gradient, slopes(fun, X), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(compiled(X), gradient, rtol=1e-12)
    rows = slopes(compiled, X)
    hessian = bp.hessian(fun) if fun is places else jax.jit(bp.hessian(fun))
    np.testing.assert_allclose(hessian(X), rows, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(bp.jvp(fun, (X,), (X,))[1], gradient @ X, rtol=1e-12)


def test_a_constant_is_written(x64):
    def fun(x: Any) -> Any:
        ref = jax.ref.new_ref(x)
        ref[0] = lax.stop_gradient(ref[1]) * ref[2]
        return jnp.sum(ref[...])

    np.testing.assert_allclose(bp.grad(fun)(X), [0.0, 1.0, 1.0 + X[1]])


def test_a_reference_from_outside_is_read_and_written_with_constants(x64):
    ref = jax.ref.new_ref(jnp.array(X))

    def fun(x: Any) -> Any:
        ref[0] = 4.0
        return jnp.sum(ref[...] * x)

    np.testing.assert_allclose(bp.grad(fun)(X), [4.0, 1.2, -0.7])


ref = jax.ref.new_ref(jnp.zeros(3))


@jax.custom_jvp
def first(r: Any) -> Any:
    return r[0]


first.defjvp(lambda primals, tangents: (primals[0][0], tangents[0][0]))


# fmt: off
ESCAPES: dict[str, tuple[Callable, type, str]] = {
    "written, one from outside": (lambda x: ref.__setitem__(0, x[0]), bp.errors.EscapedReference, "into a reference that was made outside of the function"),
    "enters a checkpoint":       (lambda x: jax.checkpoint(lambda r: r[0])(jax.ref.new_ref(x)), bp.errors.EscapedReference, "a reference made in the function enters 'remat2'"),
    "enters a user's rule":      (lambda x: first(jax.ref.new_ref(x)), bp.errors.EscapedReference, "a reference made in the function enters 'custom_jvp_call'"),
    "is returned":               (lambda x: jax.ref.new_ref(x), TypeError, "result is a mutable reference"),
}
# fmt: on


@pytest.mark.parametrize("what", ESCAPES)
def test_what_cannot_be_followed_is_an_error(what):
    fun, error, text = ESCAPES[what]
    with pytest.raises(error, match=text):
        bp.vjp(fun, jnp.ones(3))


def test_no_gradient_by_a_reference():
    with pytest.raises(TypeError, match="Argument is a mutable reference"):
        bp.grad(lambda r: jnp.sum(r[...]))(ref)


Box: Any = getattr(hijax, "Box", None)  # a mutable value of any type; nnx has such, too


@pytest.mark.skipif(Box is None, reason="until jax 0.11")
@pytest.mark.parametrize("within", [lambda fun: fun, jax.jit])
def test_a_mutable_value_takes_constants_alone(within):
    box = Box(jnp.float32(2.0))

    @within
    def kept(x: Any, box: Any) -> Any:
        box.set(lax.stop_gradient(3 * x))
        return x * box.get()

    assert bp.grad(lambda x: kept(x, box))(4.0) == box.get() == 12

    @within
    def lost(x: Any) -> Any:
        box.set(3 * x)
        return box.get()

    with pytest.raises(bp.errors.EscapedReference, match="'box_set' writes a value"):
        bp.grad(lost)(4.0)

    @within
    def looped(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda i, c: c * box.get(), x)

    with pytest.raises(bp.errors.EscapedReference, match="a mutable value in a loop"):
        bp.grad(looped)(4.0)


# -- references from outside: counted while it runs, written on the way back ---------------------
@jax.custom_vjp
def noted(ref: Any, x: Any) -> Any:
    """The identity; what comes back is put first into a reference, and scaled by what was there."""
    del ref
    return x


def note(ref: Any, g: Any) -> tuple:
    before = ref[...]
    ref[...] = jnp.roll(before, 1).at[0].set(g + before[0])
    return None, g * (1 + before[1])


noted.defvjp(lambda ref, x: (x, ref), note)


def notes(ref: Any, x: Any) -> Any:
    def trip(x: Any, _: None) -> tuple:
        return jnp.sin(noted(ref, jnp.sin(x))), None

    return noted(ref, 2 * noted(ref, lax.scan(trip, x, length=3)[0]))


WAYS = {
    "eagerly": lambda grad: grad(notes, 1),
    "jit": lambda grad: grad(jax.jit(notes), 1),
    "checkpoint": lambda grad: grad(jax.checkpoint(notes), 1),
    "compiled": lambda grad: jax.jit(grad(notes, 1)),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_on_the_way_back_is_in_order(way, x64):
    def run(grad: Callable) -> tuple:
        ref = jax.ref.new_ref(jnp.zeros(6))
        return WAYS[way](grad)(ref, 0.7), ref[...]

    for ours, theirs in zip(run(bp.grad), run(jax.grad), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_a_printed_residual_is_kept_for_the_way_back(capsys):
    @jax.custom_vjp
    def told(x):
        return x

    told.defvjp(lambda x: (x, x), lambda x, g: (jax.debug.print("{}", x), (g,))[1])
    assert bp.grad(jax.jit(lambda x: told(3 * x)))(2.0) == 3
    jax.effects_barrier()
    assert "6.0" in capsys.readouterr().out


@pytest.mark.parametrize("within", [lambda f: f, jax.jit, jax.checkpoint])
def test_every_trip_counts(within):
    """What a trip reads changes, though nothing that the loop is given does."""
    count, seen = jax.ref.new_ref(0), jax.ref.new_ref(2.0)

    def trip(c: Any, _: None) -> tuple:
        count[...] += 1
        seen[...] = 2 * seen[...]
        return c * seen[...], None

    def fun(x: Any) -> Any:
        return lax.scan(trip, x, length=3)[0] + lax.cond(x > 0, lambda: trip(x, None)[0], lambda: x)

    assert bp.grad(within(fun))(1.0) == 4 * 8 * 16 + 32
    assert (count[...], seen[...]) == (4, 32)


def test_what_was_read_is_not_read_again():
    """Something else may have been written by then: jax.grad computes with that."""
    ref = jax.ref.new_ref(2.0)

    def fun(x: Any) -> Any:
        z = jax.checkpoint(lambda x: jnp.sin(x * ref[...]) * ref[...])(x)
        ref[...] = 10.0
        return z

    np.testing.assert_allclose(bp.grad(fun)(1.5), 4 * np.cos(3.0), rtol=1e-6)


def test_a_loop_whose_trips_are_run_again_has_no_references_from_outside():
    count = jax.ref.new_ref(0)

    def trip(c: Any) -> Any:
        count[...] += 1
        return c * 2

    with pytest.raises(
        bp.errors.EscapedReference, match="reference in a while_loop, whose trips are run"
    ):
        bp.grad(lambda x: lax.while_loop(lambda c: c < 9, trip, x))(1.0)


# -- references that enter a function with a reverse rule of the user's --------------------------
@jax.custom_vjp
def times(ref: Any, y: Any) -> Any:
    return ref[...] * y


def times_forward(ref: Any, y: Any) -> tuple:
    return times(ref, y), (ref[...], y)


def times_backward(kept: tuple, g: Any) -> tuple:
    """Says seven times what is true of the reference, so that one sees whose rule it is."""
    held, y = kept
    return 7 * g * y, g * held


times.defvjp(times_forward, times_backward)


@jax.custom_vjp
def times_value(held: Any, y: Any) -> Any:
    return held * y


times_value.defvjp(lambda held, y: (times_value(held, y), (held, y)), times_backward)


def straight(new: Callable, product: Callable, x: Any) -> Any:
    ref = new(jnp.sin(x))
    ref[...] = ref[...] * 2
    z = product(ref, x)
    ref[...] += 1
    return z * ref[...] + product(ref, 2.0)


def looped(new: Callable, product: Callable, x: Any) -> Any:
    ref, z = new(x), x
    for _ in range(3):
        z = product(ref, z)
        ref[...] = jnp.sin(ref[...])
    return z


def looped_in_scan(x: Any) -> Any:
    ref = jax.ref.new_ref(x)

    def trip(z: Any, _: None) -> tuple:
        z = times(ref, z)
        ref[...] = jnp.sin(ref[...])
        return z, None

    return lax.scan(trip, x, length=3)[0]


class Held:
    """A value in the place of a reference."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, place: Any) -> Any:
        return self.value

    def __setitem__(self, place: Any, value: Any) -> None:
        self.value = value


def with_references(fun: Callable) -> Callable:
    return lambda x: fun(jax.ref.new_ref, times, x)


def without(fun: Callable) -> Callable:
    return lambda x: fun(Held, lambda ref, y: times_value(ref[...], y), x)


# fmt: off
ENTERS = {
    "straight":      (with_references(straight), without(straight)),
    "loop":          (with_references(looped), without(looped)),
    "scan":          (looped_in_scan, without(looped)),
    "branch":        (lambda x: lax.cond(x > 0, with_references(straight), jnp.sin, x), without(straight)),
    "around branch": (lambda x: (lambda r: lax.cond(x > 0, lambda: times(r, x), lambda: x))(jax.ref.new_ref(x)), lambda x: times_value(x, x)),
    "jit":           (jax.jit(with_references(looped)), without(looped)),
    "jit within":    (lambda x: straight(jax.ref.new_ref, jax.jit(times), x), without(straight)),
    "checkpoint":    (jax.checkpoint(with_references(looped)), without(looped)),
}
# fmt: on


@pytest.mark.parametrize("what", ENTERS)
def test_a_users_rule_says_the_cotangent_of_what_a_reference_holds(what, x64):
    ours, values = ENTERS[what]
    for order in (
        lambda f: bp.grad(f),
        lambda f: bp.grad(bp.grad(f)),
        lambda f: jax.jit(bp.grad(f)),
    ):
        np.testing.assert_allclose(order(ours)(0.3), order(values)(0.3), rtol=1e-13)
    np.testing.assert_allclose(bp.grad(ours)(0.3), jax.grad(values)(0.3), rtol=1e-13)


def test_a_users_rule_that_writes_a_reference_is_refused_unless_nothing_moves():
    @jax.custom_vjp
    def doubled(ref, y):
        ref[...] = 2 * ref[...]
        return ref[...] * y

    doubled.defvjp(lambda ref, y: (doubled(ref, y), y), lambda y, g: (g, g))

    def fun(x, moving):
        ref = jax.ref.new_ref(x if moving else 1.0)
        return doubled(ref, x if moving else 3.0) + x * ref[...]

    with pytest.raises(bp.errors.EscapedReference, match="enters 'custom_vjp_call'"):
        bp.grad(lambda x: fun(x, True))(1.0)
    assert bp.grad(lambda x: fun(x, False))(1.0) == 2


def test_a_users_rule_that_keeps_a_reference_is_refused_on_the_way_back():
    @jax.custom_vjp
    def kept(ref, y):
        return ref[...] * y

    kept.defvjp(
        lambda ref, y: (ref[...] * y, (ref, y)), lambda res, g: (g * res[1], g * res[0][...])
    )
    value, pull = bp.vjp(lambda x: kept(jax.ref.new_ref(x), x), 3.0)
    assert value == 9
    with pytest.raises(bp.errors.EscapedReference, match="goes to a reverse rule"):
        pull(1.0)


def test_a_reference_given_twice_is_one():
    def fun(a, b):
        a[...] = 2 * a[...]
        return b[...]

    ref = jax.ref.new_ref(3.0)
    value, pull = bp.vjp(fun, ref, ref)
    assert value == ref[...] == 6
    first, second = jax.ref.new_ref(0.0), jax.ref.new_ref(0.0)
    pull.with_refs(first, second)(1.0)
    assert (first[...], second[...]) == (2, 0)
