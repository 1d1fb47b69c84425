# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions chosen at run time, of functions computed again, and of functions just called."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import xla_metadata
from jax.extend.core import primitives

from backprop_jax.rules.calls import composite_p
from tests.rules.case import BOOL, COMPLEX, POSITIVE, REAL, UNIT, Case, integers
from tests.rules.cases.calls import kept, product, softsign

POLICIES = jax.checkpoint_policies


def either(p: Any, x: Any, y: Any) -> Any:
    return lax.cond(p, lambda x, y: lax.sin(x) * y, lambda x, y: x + lax.exp(y), x, y)


def closing_over(p: Any, x: Any, y: Any) -> Any:
    """Branches that read differentiated values from outside, each another one."""
    return lax.cond(p, lambda: lax.sin(x), lambda: y * y)


def compared(p: Any, x: Any) -> Any:
    """A value of infinite slope goes into the branches, and comes out of none."""
    w = lax.sqrt(0 * x)
    return lax.cond(p, lambda x, w: lax.select(x < w, x, 2 * x), lambda x, w: x * x, x, w)


def trees(p: Any, x: Any) -> dict:
    """Branches that keep different things; a result that is an integer; one that does not move."""
    return lax.cond(
        p,
        lambda x: {"a": x * x, "n": jnp.argmax(x), "c": jnp.ones_like(x)},
        lambda x: {"a": lax.sin(x), "n": jnp.argmin(x), "c": x},
        x,
    )


def switched(i: Any, x: Any, y: Any) -> Any:
    branches = (lambda x, y: x * y, lambda x, y: lax.exp(x), lambda x, y: jnp.zeros_like(x))
    return lax.switch(i, branches, x, y)


def by_platform(x: Any) -> Any:
    return lax.platform_dependent(x, cpu=lax.sin, cuda=lax.cos, default=lax.tan)


def in_a_scan(x: Any, y: Any) -> Any:
    def step(h: Any, y: Any) -> tuple:
        return lax.cond(y > 0, lambda h: lax.sin(h) * y, lambda h: h * h, h), h

    return lax.scan(step, x, y)


def around_a_scan(p: Any, x: Any) -> Any:
    def loop(x: Any) -> Any:
        return lax.scan(lambda h, _: (lax.sin(h) * x, None), x, length=2)[0]

    return lax.cond(p, loop, lambda x: x, x)


def named(x: Any, y: Any) -> Any:
    return lax.sin(checkpoint_name(lax.exp(x) * y, "inner")) * y


def again(function: Callable, **options: Any) -> Callable:
    return jax.checkpoint(function, **options)


def called(x: Any, y: Any) -> Any:
    closed = jax.make_jaxpr(lambda x, y: lax.sin(x) * y)(x, y)
    params = primitives.closed_call_p.get_bind_params({"call_jaxpr": closed})
    return primitives.closed_call_p.bind(x, y, **params)


def counted(x: Any) -> Any:
    """A while_loop on numbers that have nothing to do with x."""
    return x * lax.while_loop(lambda n: n < 5, lambda n: 2 * n, 1)


composed = lax.composite(lambda x, y: lax.sin(x) * y, name="tests.product")


def climbing(x: Any, stop: Any) -> Any:
    """A fori_loop with a bound known at run time."""
    return lax.fori_loop(0, stop, lambda i, x: lax.sin(x) * 1.1, x)


def halved(x: Any, y: Any) -> Any:
    """A while_loop whose trips the numbers decide on; an integer and a part at rest go along."""

    def goes_on(carry: tuple) -> Any:
        return jnp.sum(carry[1] ** 2) > 0.1

    def once(carry: tuple) -> tuple:
        n, x, w, still = carry
        return n + 1, lax.sin(x) * 0.7 * y, w + x * x * still, still

    return lax.while_loop(goes_on, once, (0, x, x, y))[1:3]


def counting(x: Any, stop: Any) -> Any:
    """A fori_loop with a bound known at run time, another one within."""
    return lax.fori_loop(
        0, stop, lambda i, x: lax.fori_loop(0, i, lambda j, x: lax.sin(x), x * 1.1), x
    )


PXY = (BOOL, REAL, REAL)
NO_WHILE = "has no reverse of a while_loop"

# fmt: off
CASES = [
    # -- cond ------------------------------------------------------------------------
    Case("cond",   either,                                                     [(), (3,), (3,)], PXY),
    Case("cond",   lambda x, y: either(x[0] > 5, x, y),                        [(3,), (3,)],     REAL, "the other branch"),
    Case("cond",   lambda x: either(x[0] < 5, x, x),                           [(3,)],           REAL, "one operand twice"),
    Case("cond",   closing_over,                                               [(), (3,), (3,)], PXY, "branches that close over values"),
    Case("cond",   compared,                                                   [(), (3,)],       (BOOL, REAL), "an operand that is only compared"),
    Case("cond",   trees,                                                      [(), (3,)],       (BOOL, REAL), "pytrees"),
    Case("cond",   lambda p, x: trees(p, x)["c"],                              [(), (3,)],       (BOOL, REAL), "results unused"),
    Case("cond",   switched,                                                   [(), (3,), (3,)], (integers(3), REAL, REAL), "switch"),
    Case("cond",   lambda x, y: switched(1, x, y) + switched(jnp.argmax(x) - 5, x, y), [(3,), (3,)], REAL, "switch beyond its ends"),
    Case("cond",   lambda p, q, x: lax.cond(p, lambda x: lax.cond(q, lax.sin, lax.cos, x), lambda x: x, x), [(), (), (3,)], (BOOL, BOOL, REAL), "within a cond"),
    Case("cond",   in_a_scan,                                                  [(), (3,)],       REAL, "within a scan"),
    Case("cond",   around_a_scan,                                              [(), (2,)],       (BOOL, REAL), "around a scan"),
    Case("cond",   lambda p, x, y: lax.cond(p, product, kept, x, y),           [(), (3,), (3,)], PXY, "jit and a user's rule within"),
    Case("cond",   lambda p, x: lax.cond(p, softsign, lax.tanh, x),            [(), (3,)],       (BOOL, REAL), "a custom_jvp within"),
    Case("cond",   lambda p, x: lax.cond(p, lax.sin, lambda x: x * lax.conj(x), x), [(), (3,)],  (BOOL, COMPLEX), "of complex numbers", ("complex64",)),
    Case("cond",   jax.jit(either),                                            [(), (3,), (3,)], PXY, "within a jit"),
    Case("cond",   by_platform,                                                [(3,)],           note="one branch for each platform"),
    # -- checkpoint ------------------------------------------------------------------
    Case("remat2", again(lambda x, y: lax.sin(lax.exp(x) * y) * y),            [(3,), (3,)]),
    Case("remat2", again(again(lambda x: lax.sin(lax.sin(x)))),                [(3,)],           note="within a checkpoint"),
    Case("remat2", again(named, policy=POLICIES.save_only_these_names("inner")), [(3,), (3,)],   note="names are kept"),
    Case("remat2", again(named, policy=POLICIES.everything_saveable),          [(3,), (3,)],     note="everything is kept"),
    Case("remat2", again(lambda x, y: lax.sin(x @ y), policy=POLICIES.dots_saveable), [(2, 3), (3, 2)], note="products are kept"),
    Case("remat2", again(lambda x: lax.sin(x) * x, prevent_cse=False), [(3,)], note="prevent_cse=False"),
    Case("remat2", again(lambda x, i: lax.sin(x[i]) * x),                      [(3,), ()],       (REAL, integers(3)), "an integer operand"),
    Case("remat2", lambda x, y: lax.scan(again(lambda h, y: (lax.sin(h * y), h)), x, y), [(2,), (3, 2)], note="within a scan"),
    Case("remat2", again(lambda x, y: lax.scan(lambda h, y: (lax.sin(h * y), h), x, y)), [(2,), (3, 2)], note="around a scan"),
    Case("remat2", lambda x, y: again(lambda x: lax.sin(x) * y)(x),            [(3,), (3,)],     note="closes over a differentiated value"),
    Case("remat2", again(lambda x, y: product(kept(x, y), softsign(x))),       [(3,), (3,)],     note="jit and users' rules within"),
    Case("name",   named,                                                      [(3,), (3,)]),
    # -- calls -----------------------------------------------------------------------
    Case(str(primitives.closed_call_p), called,                                [(3,), (3,)]),
    Case(str(composite_p), composed,                                           [(3,), (3,)],     jax_fails="no rule"),
    # -- while -----------------------------------------------------------------------
    Case("while",  counted,                                                    [(3,)],           note="of constants"),
    Case("while",  halved,                                                     [(3,), (3,)],     UNIT, jax_fails=NO_WHILE),
    Case("while",  counting,                                                   [(3,), ()],       (REAL, integers(5)), "a bound known at run time, twice", jax_fails=NO_WHILE),
    Case("while",  lambda x, n: lax.fori_loop(0, 30 + n, lambda i, c: lax.sin(c) * 1.2, x), [(2,), ()], (POSITIVE, integers(5)), "many trips", dtypes=(), jax_fails=NO_WHILE),
    Case("while",  lambda x, n: jax.vmap(climbing)(x, n),                      [(2,), (2,)],     (REAL, integers(5)), "several that run together", jax_fails=NO_WHILE),
    Case("while",  lambda x, n: lax.fori_loop(0, -n, lambda i, c: c * c, x),   [(2,), ()],       (REAL, integers(5)), "no trip", jax_fails=NO_WHILE),
    Case("while",  lambda x, n: lax.fori_loop(0, n, lambda i, v: lax.cond(i > 1, lax.sin, lax.exp, v), x), [(2,), ()], (REAL, integers(5)), "around a cond", jax_fails=NO_WHILE),
]
# fmt: on

if hasattr(xla_metadata, "xla_metadata_call2"):  # since jax 0.11
    tagged = getattr(xla_metadata, "xla_metadata_call2")(lambda x, y: lax.sin(x) * y, {"tag": "to"})  # noqa: B009
    CASES += [Case("xla_metadata_call", tagged, [(3,), (3,)])]
else:
    tagged = import_module("jax.experimental.scheduling_groups").xla_metadata_call(tag="to")
    CASES += [Case("xla_metadata_call", tagged(lambda x, y: lax.sin(x) * y), [(3,), (3,)])]

if find_spec("jax.experimental.overlap"):  # since jax 0.12
    from jax.experimental.overlap import program_order

    def ordered(x: Any, y: Any) -> tuple:
        return lax.sin(x) * y, lax.exp(y)

    CASES += [
        Case("program_order", program_order(ordered, enforce=False), [(3,), (3,)]),
        Case("program_order", program_order(ordered, enforce=True), [(3,), (3,)], note="enforced"),
        Case(
            "program_order",
            program_order(ordered, enforce=False, exclude_argnames="y"),
            [(3,), (3,)],
            note="of some operands",
        ),
    ]
