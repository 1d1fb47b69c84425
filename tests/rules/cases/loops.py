# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of loops: `scan` in all its forms."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.rules.case import COMPLEX, REAL, UNIT, Case, integers
from tests.rules.cases.calls import kept, product, softsign


def cell(x: Any, y: Any, w: Any) -> tuple:
    """A recurrent cell: initial state, inputs, weights; the last state and all states."""
    return lax.scan(lambda h, y: (lax.tanh(w @ h + y),) * 2, x, y)


def several_carries(x: Any, y: Any) -> tuple:
    def step(carry: tuple, y: Any) -> tuple:
        a, b, i = carry
        return (b * y, a + lax.sin(b), i + 1), (a * i, i)

    return lax.scan(step, (x, 2 * x, 0), y)


def lstm(x: Any, y: Any, w: Any) -> Any:
    def step(carry: tuple, y: Any) -> tuple:
        h, c = carry
        i, f, o, u = jnp.split(w @ jnp.concatenate([h, y]), 4)
        c = lax.logistic(f) * c + lax.logistic(i) * lax.tanh(u)
        h = lax.logistic(o) * lax.tanh(c)
        return (h, c), h

    (_, c), h = lax.scan(step, (x, x), y)
    return h, c


def becomes_active(x: Any) -> Any:
    """The second carry starts as a constant; the third follows one step behind it."""

    def step(carry: tuple, _: None) -> tuple:
        a, b, c = carry
        return (a * x, b + a, lax.sin(b) + c), None

    return lax.scan(step, tuple(jnp.array([1, 0, 0], x.dtype)), length=3)[0]


def nested(x: Any, y: Any) -> Any:
    def outer(h: Any, row: Any) -> tuple:
        return lax.scan(lambda h, y: (lax.sin(h * y), h), h, row)

    return lax.scan(outer, x, y)


def invariant(x: Any, y: Any) -> Any:
    """What is computed from the weights alone is the same in every step."""
    return lax.scan(lambda h, _: (h * lax.exp(y) + lax.sin(y), None), x, length=3)[0]


def dead_carry(x: Any, y: Any) -> Any:
    (h, _), _ = lax.scan(lambda c, y: ((c[0] * y, c[1] + c[0]), c[1]), (x, x), y)
    return h


def picks(x: Any, y: Any) -> Any:
    """Reads a carried array at the place of an integer carry, and writes there."""

    def step(carry: tuple, y: Any) -> tuple:
        buffer, i = carry
        return (buffer.at[i].set(buffer[i] * y), i + 1), None

    return lax.scan(step, (x, 0), y)[0][0]


def scan(step: Any, **options: Any) -> Any:
    return lambda x, y: lax.scan(step, x, y, **options)


# fmt: off
CASES = [
    Case("scan", cell,                                                          [(2,), (3, 2), (2, 2)]),
    Case("scan", lambda x, y, w: cell(x, y, w)[0],                              [(2,), (3, 2), (2, 2)], note="last state only"),
    Case("scan", lambda x, y, w: cell(x, y, w)[1],                              [(2,), (3, 2), (2, 2)], note="all states only"),
    # Here tanh saturates in bfloat16, where 1 - z has two bits left, ours and JAX's alike.
    Case("scan", lambda x, y: cell(x, y, jnp.ones((2, 2), x.dtype)),            [(2,), (3, 2)],         note="constant weights", dtypes=("float32",)),
    Case("scan", lambda w: cell(jnp.zeros_like(w[0]), jnp.ones_like(w), w),     [(2, 2)],               note="weights alone"),
    Case("scan", scan(lambda h, y: (h * y, h), reverse=True),                   [(2,), (3, 2)],         note="reverse"),
    Case("scan", scan(lambda h, y: (h * y, h), unroll=2),                       [(2,), (5, 2)],         note="unrolled"),
    Case("scan", scan(lambda h, y: (h * y, h)),                                 [(2,), (1, 2)],         note="length 1"),
    Case("scan", scan(lambda h, y: (h * y, h)),                                 [(2,), (0, 2)],         note="length 0"),
    Case("scan", lambda y: lax.scan(lambda _, y: (None, lax.sin(y)), None, y),  [(3, 2)],               note="no carry"),
    Case("scan", lambda x: lax.scan(lambda h, _: (lax.sin(h), None), x, length=3), [(2,)],              note="no inputs"),
    Case("scan", several_carries,                                               [(), (3,)],             note="several carries, one an integer"),
    Case("scan", lambda x, y: several_carries(x, y)[1][0],                      [(), (3,)],             note="carries unused"),
    Case("scan", dead_carry,                                                    [(), (3,)],             note="a carry that leads nowhere"),
    Case("scan", lstm,                                                          [(2,), (3, 1), (8, 3)], note="lstm"),
    Case("scan", becomes_active,                                                [()],                   note="carries that become active later"),
    Case("scan", nested,                                                        [(), (2, 3)],           note="within a scan"),
    Case("scan", invariant,                                                     [(2,), (2,)],           note="the same in every step"),
    Case("scan", picks,                                                         [(3, 2), (3, 2)],       note="places counted by a carry"),
    Case("scan", scan(lambda h, i: (h * 2, lax.sin(h) * i)),                    [(2,), (3,)],           (REAL, integers(3)), "integer inputs"),
    Case("scan", scan(lambda h, y: (product(h, y), kept(h, y))),                [(2,), (3, 2)],         note="jit and a user's rule within"),
    Case("scan", scan(lambda h, y: (softsign(h) + y, None)),                    [(2,), (3, 2)],         note="a custom_jvp within"),
    Case("scan", lambda x, y: jax.jit(lambda x, y: lax.scan(lambda h, y: (h * y, h), x, y))(x, y), [(2,), (3, 2)], note="within a jit"),
    Case("scan", scan(lambda h, y: (h * y, h.real)),                            [(2,), (3, 2)],         COMPLEX, "of complex numbers", ("complex64",)),
    Case("scan", lambda x: lax.fori_loop(0, 4, lambda i, h: lax.sin(h) * (i + 1), x), [(2,)],           note="fori_loop"),
    Case("scan", lambda x: lax.map(lambda x: lax.sin(x) * x, x),                [(3, 2)],               UNIT, "map"),
    Case("scan", lambda x: lax.scan(lambda h, _: (h, x), 0.0, length=2)[1],     [(3,)],                 note="a constant put out"),
    Case("scan", lambda x, y: lax.scan(lambda h, y: (h + 1, x), 0, y),          [(2,), (3,)],           note="inputs unused"),
    Case("scan", lambda x, y: lax.scan(lambda h, y: (y, h), x, y),              [(2,), (3, 2)],         note="a shift"),
]
# fmt: on
