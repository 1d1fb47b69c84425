# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions that read and write at places: slices at run-time starts, gather, scatter."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.rules.case import BOOL, COMPLEX, POSITIVE, REAL, Case, integers

ROWS = np.array([0, 2, 2])
COLUMNS = np.array([[1], [0]])
OUTSIDE = np.array([0, 5, -7, 1])


def written(method: str, index: object = ROWS, **options: object) -> Callable:
    """Returns the function of an array and what `x.at[index].method` writes into it."""
    return lambda x, y: getattr(x.at[index], method)(y, **options)


# fmt: off
CASES = [
    # -- slices at run-time starts ---------------------------------------------------
    Case("dynamic_slice",        lambda x, i: lax.dynamic_slice(x, (i, np.int32(1)), (2, 2)),  [(4, 3), ()], (REAL, integers(3))),
    Case("dynamic_slice",        lambda x: lax.dynamic_slice(x, (7,), (2,)),         [(4,)],       REAL, "start beyond the end"),
    Case("dynamic_slice",        lambda x: lax.dynamic_slice(x, (-7,), (2,)),        [(4,)],       REAL, "before the start, counted from the end"),
    Case("dynamic_update_slice", lambda x, u: lax.dynamic_update_slice(x, u, (-7,)), [(4,), (2,)], REAL, "before the start, counted from the end"),
    Case("dynamic_slice",        lambda x, i: x[i],                                  [(4, 3), ()], (REAL, integers(4)), "x[i]"),
    Case("dynamic_update_slice", lambda x, y, i: lax.dynamic_update_slice(x, y, (i, np.int32(1))), [(4, 3), (2, 2), ()], (REAL, REAL, integers(3))),
    Case("dynamic_update_slice", lambda x, y: lax.dynamic_update_slice(x, y, (9,)),  [(4,), (2,)], REAL, "start beyond the end"),
    Case("dynamic_update_slice", lambda y: lax.dynamic_update_slice(jnp.zeros_like(y, shape=(4,)), y, (1,)), [(2,)], REAL, "into a constant"),
    # -- gather ----------------------------------------------------------------------
    Case("gather",               lambda x: x[ROWS],                                  [(3, 2)],     REAL, "rows, one twice"),
    Case("gather",               lambda x: x[:, ROWS],                               [(2, 3)],     REAL, "columns"),
    Case("gather",               lambda x: x[COLUMNS, ROWS],                         [(2, 3)],     REAL, "two index arrays"),
    Case("gather",               lambda x: x[ROWS, :, COLUMNS],                      [(3, 2, 2)],  REAL, "index arrays apart"),
    Case("gather",               lambda x: x[ROWS, 1:],                              [(3, 3)],     REAL, "array and slice"),
    Case("gather",               lambda x: x[..., None, ROWS],                       [(2, 3)],     REAL, "array and new axis"),
    Case("gather",               lambda x: x[np.array([True, False, True])],         [(3, 2)],     REAL, "mask"),
    Case("gather",               lambda x: x[-ROWS],                                 [(3,)],       REAL, "negative"),
    Case("gather",               lambda x, i: x[i],                                  [(3, 2), (4,)], (REAL, integers(3)), "indices as an operand"),
    Case("gather",               lambda x: x.at[OUTSIDE].get(mode="clip"),           [(3,)],       REAL, "clip"),
    Case("gather",               lambda x: x.at[OUTSIDE].get(mode="fill", fill_value=0), [(3,)],   REAL, "fill"),
    Case("gather",               lambda x: x.at[ROWS].get(mode="promise_in_bounds"), [(3,)],       REAL, "promise_in_bounds"),
    Case("gather",               lambda x: x.at[ROWS].get(indices_are_sorted=True),  [(3,)],       REAL, "sorted"),
    Case("gather",               lambda x: x.at[np.array([2, 0])].get(unique_indices=True), [(3,)], REAL, "unique"),
    Case("gather",               lambda x: jnp.take(x, ROWS, axis=1),                [(2, 3)],     REAL, "jnp.take"),
    Case("gather",               lambda x, i: jnp.take_along_axis(x, i, axis=1),     [(2, 3), (2, 2)], (REAL, integers(3)), "batched"),
    Case("gather",               lambda x: x[ROWS],                                  [(3,)],       COMPLEX, "of complex numbers", ("complex64",)),
    # -- scatter ---------------------------------------------------------------------
    Case("scatter-add",          written("add"),                                     [(3, 2), (3, 2)], REAL, "rows, one twice"),
    Case("scatter-add",          written("add"),                                     [(3, 2), ()], REAL, "a scalar"),
    Case("scatter-add",          written("add", (COLUMNS, ROWS)),                    [(2, 3), (2, 3)], REAL, "two index arrays"),
    Case("scatter-add",          written("add", OUTSIDE, mode="clip"),               [(3,), (4,)], REAL, "clip"),
    Case("scatter-add",          written("add", OUTSIDE, mode="drop"),               [(3,), (4,)], REAL, "drop"),
    Case("scatter-add",          lambda x, y, i: x.at[i].add(y),                     [(3, 2), (4, 2), (4,)], (REAL, REAL, integers(3)), "indices as an operand"),
    Case("scatter-add",          written("add"),                                     [(3,), (3,)], COMPLEX, "of complex numbers", ("complex64",)),
    Case("scatter-sub",          written("subtract"),                                [(3, 2), (3, 2)], REAL),
    Case("scatter",              written("set", np.array([2, 0])),                   [(3, 2), (2, 2)], REAL),
    Case("scatter",              written("set", np.array([2, 0])),                   [(3, 2), ()], REAL, "a scalar"),
    Case("scatter",              written("set"),                                     [(3,), (3,)], REAL, "one place twice"),
    Case("scatter",              written("set", OUTSIDE, mode="drop"),               [(3,), (4,)], REAL, "drop"),
    Case("scatter",              written("set", (slice(None), 1)),                   [(3, 2), (3,)], REAL, "a column"),
    Case("scatter",              written("set", np.array([2, 0]), unique_indices=True), [(3,), (2,)], REAL, "unique"),
    Case("scatter",              lambda x, y, i: x.at[i].set(y),                     [(3, 2), (2,), ()], (REAL, REAL, integers(3)), "a run-time place"),
    Case("select_n",             lambda m, x, y: jnp.where(m, x, y),                 [(3,), (3,), (3,)], (BOOL, REAL, REAL), "a mask"),
    Case("scatter",              lambda x: x.at[np.array([2, 0])].apply(lax.sin),    [(3, 2)],     REAL, "a function applied", jax_fails="no rule"),
    Case("scatter",              lambda x: x.at[OUTSIDE].apply(lambda v: v * v + 1), [(3,)],       REAL, "applied where in bounds", jax_fails="no rule"),
    Case("scatter",              lambda x, i: x.at[i].apply(lambda v: 0.5 * v * v),  [(3,), (5,)], (REAL, integers(3)), "applied again and again", jax_fails="no rule"),
    Case("scatter-mul",          written("multiply", np.array([2, 0]), unique_indices=True), [(3,), (2,)], POSITIVE, "said to be unique"),
    Case("scatter-mul",          written("multiply"),                                [(3,), (3,)], REAL, "one place twice", jax_fails="wants unique indices"),
    Case("scatter-mul",          written("multiply"),                                [(3, 2), (3, 2)], REAL, "one row twice", jax_fails="wants unique indices"),
    Case("scatter-mul",          written("multiply", OUTSIDE, mode="drop"),          [(3,), (4,)], REAL, "drop", jax_fails="wants unique indices"),
    Case("scatter-mul",          written("multiply", np.array([0, 0, 0, 0])),        [(3,), (4,)], REAL, "one place only", jax_fails="wants unique indices"),
    Case("scatter-mul",          lambda x, y: x.at[ROWS].multiply(y * (y > 0)),      [(3,), (3,)], REAL, "zeros", jax_fails="wants unique indices"),
    Case("scatter-max",          written("max", np.array([2, 0])),                   [(3,), (2,)], REAL),
    Case("scatter-max",          written("max"),                                     [(3,), (3,)], REAL, "one place twice"),
    Case("scatter-max",          written("max", OUTSIDE, mode="drop"),               [(3,), (4,)], REAL, "drop", jax_fails="counts what was dropped"),
    Case("scatter-max",          written("max", OUTSIDE, mode="clip"),               [(3,), (4,)], REAL, "clip", jax_fails="reads where nothing was written"),
    Case("scatter-min",          written("min", np.array([2, 0])),                   [(3,), (2,)], REAL),
    Case("scatter-min",          written("min"),                                     [(3, 2), (3, 2)], REAL, "one row twice"),
]
# fmt: on
