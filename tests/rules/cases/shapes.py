# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions that move numbers about: shapes, axes, pieces."""

import jax.numpy as jnp
from jax import lax

from tests.rules.case import COMPLEX, Case

# fmt: off
CASES = [
    Case("reshape",          lambda x: lax.reshape(x, (3, 2)),               [(2, 3)]),
    Case("reshape",          jnp.ravel,                                      [(2, 3)],          note="flat"),
    Case("reshape",          lambda x: x.reshape(1, 1),                      [()],              note="from a scalar"),
    Case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3), (1,)), [(3,)],           note="new axis in front"),
    Case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3), (0, 1)), [(2, 1)],       note="axis of one"),
    Case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 1, 4, 3), (0, 3)), [(2, 1)], note="both"),
    Case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 1, 3), (1, 2)), [(1, 3)],    note="axis of one that stays"),
    Case("broadcast_in_dim", lambda x: jnp.broadcast_to(x, (2, 3)),          [()],              note="a scalar"),
    Case("broadcast_in_dim", lambda x: lax.expand_dims(x, (0, 2)),           [(3,)],            note="expand_dims"),
    Case("transpose",        lambda x: lax.transpose(x, (2, 0, 1)),          [(2, 3, 4)]),
    Case("transpose",        jnp.transpose,                                  [(2, 3)],          COMPLEX, "of complex numbers", ("complex64",)),
    Case("squeeze",          lambda x: lax.squeeze(x, (0, 2)),               [(1, 3, 1)]),
    Case("rev",              lambda x: lax.rev(x, (0, 2)),                   [(2, 3, 2)]),
    Case("concatenate",      lambda x, y, w: lax.concatenate((x, y, w), 1),  [(2, 1), (2, 3), (2, 2)]),
    Case("concatenate",      lambda x: lax.concatenate((x, x), 0),           [(3,)],            note="with itself"),
    Case("concatenate",      lambda x: lax.concatenate((x, jnp.ones_like(x)), 0), [(3,)],       note="with a constant"),
    Case("pad",              lambda x, y: lax.pad(x, y, ((1, 2, 0), (0, 1, 0))), [(2, 3), ()]),
    Case("pad",              lambda x, y: lax.pad(x, y, ((1, 0, 2), (0, 1, 1))), [(2, 3), ()],  note="between elements"),
    Case("pad",              lambda x, y: lax.pad(x, y, ((-1, 2, 0), (0, -1, 0))), [(3, 3), ()], note="negative"),
    Case("pad",              lambda x, y: lax.pad(x, y, ((-2, 1, 2), (-1, -2, 1))), [(3, 4), ()], note="negative, between elements"),
    Case("split",            lambda x: lax.split(x, (1, 2), axis=1),         [(2, 3)]),
    Case("split",            lambda x: lax.split(x, (1, 2), axis=0)[1],      [(3,)],            note="a part unused"),
    Case("split",            lambda x: lax.split(x, (3,)),                   [(3,)],            note="into one part"),
    Case("tile",             lambda x: lax.tile(x, (2, 3)),                  [(2, 2)]),
    Case("tile",             lambda x: jnp.tile(x, (2, 1, 2)),               [(2,)],            note="new axes"),
    Case("stack",            lambda x, y: lax.stack((x, y), 1),              [(3,), (3,)]),
    Case("stack",            lambda x, y: jnp.stack((x, y, x)),              [(2, 1), (2, 1)],  note="repeated operand"),
    Case("unstack",          lambda x: lax.unstack(x, 1),                    [(2, 3)]),
    Case("unstack",          lambda x: lax.unstack(x, 0),                    [(1, 3)],          note="into one part"),
    Case("unstack",          lambda x: jnp.unstack(x)[1],                    [(2, 3)],          note="a part unused"),
    Case("reshape",          lambda x: jnp.repeat(x, 2, axis=0),             [(2, 3)],          note="jnp.repeat"),
    Case("concatenate",      lambda x: jnp.roll(x, 1, axis=1),               [(2, 3)],          note="jnp.roll"),
    Case("rev",              lambda x: jnp.pad(x, 1, mode="reflect"),        [(3, 3)],          note="jnp.pad, reflected"),
    Case("slice",            lambda x: lax.slice(x, (1, 0), (3, 2)),         [(3, 3)]),
    Case("slice",            lambda x: lax.slice(x, (1, 0), (6, 2), (2, 1)), [(7, 3)],          note="strides"),
    Case("slice",            lambda x: x[:, 1:6:3],                          [(2, 7)],          note="strides that do not divide"),
    Case("slice",            lambda x: x[1:1],                               [(3,)],            note="no elements"),
    Case("squeeze",          lambda x: x[1],                                 [(3, 2)],          note="a row"),
    Case("rev",              lambda x: x[::-2],                              [(5,)],            note="negative stride"),
]
# fmt: on
