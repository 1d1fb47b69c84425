"""Primitives of `jax.experimental.sparse`: run as they are, reversed as the program they stand for.

That is what JAX lowers each of them to, of gathers, products and scatters, which have rules; only
`spsolve`, which calls SciPy, has one of its own. The package is not imported: see `libraries`.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jax import lax
from jax.extend.core import Primitive

from backprop_jax.engine.registry import pullback, structured
from backprop_jax.engine.units import Unit
from backprop_jax.rules.libraries import of_library
from backprop_jax.rules.models import reverse_of

PACKAGE = "jax.experimental.sparse"

#: Module → primitive → number of its results.
PRIMITIVES = {
    "api": {"todense": 1},
    "bcoo": {
        **dict.fromkeys(("bcoo_todense", "bcoo_extract", "bcoo_dot_general"), 1),
        "bcoo_dot_general_sampled": 1,
        **dict.fromkeys(("bcoo_fromdense", "bcoo_transpose", "bcoo_spdot_general"), 2),
        **dict.fromkeys(("bcoo_sort_indices", "bcoo_sum_duplicates"), 2),
    },
    "bcsr": {
        **dict.fromkeys(("bcsr_todense", "bcsr_extract", "bcsr_dot_general"), 1),
        "bcsr_fromdense": 3,
    },
    "coo": {**dict.fromkeys(("coo_todense", "coo_matvec", "coo_matmat"), 1), "coo_fromdense": 3},
    "csr": {**dict.fromkeys(("csr_todense", "csr_matvec", "csr_matmat"), 1), "csr_fromdense": 3},
}


def introduce(module: str, name: str, count: int, primitive: Primitive) -> None:
    """Writes down the rule of a primitive of this module of the package."""

    def listed(run: Callable, params: dict) -> Callable[..., list]:
        def results(*operands: Any) -> list:
            found = run(*operands, **params)
            return list(found) if primitive.multiple_results else [found]

        return results

    def program(params: dict) -> Callable[..., list]:
        return listed(getattr(sys.modules[f"{PACKAGE}.{module}"], f"_{name}_impl"), params)

    @structured(primitive, inline=program)
    def build(active: Sequence[bool], **params: Any) -> Unit:
        return reverse_of(listed(primitive.bind, params), program(params), active, count)


@of_library(f"{PACKAGE}.linalg", "spsolve_p")
def solve(primitive: Primitive) -> None:
    """Solves: a z = b, a given by the values x of its rows, their columns and where rows start."""

    @pullback(primitive)
    def spsolve(
        g: Any, x: Any, z: Any, i: tuple, needed: tuple, *, tol: float, reorder: int
    ) -> tuple:
        """With h the solution of aᵀ h = g, b gets h, and a_ij gets -h_i z_j.

        The rows of aᵀ are the columns of a, put in order.
        """
        columns, starts = i
        count = lax.full(x.shape, 0, starts.dtype).at[starts[1:-1]].add(1, mode="drop")
        rows = lax.cumsum(count)
        _, order = lax.sort((columns, lax.iota(columns.dtype, x.size)), num_keys=1)
        count = lax.full_like(starts, 0).at[columns + 1].add(1)
        to = rows[order].astype(columns.dtype)
        h = primitive.bind(x[order], to, lax.cumsum(count), g, tol=tol, reorder=reorder)
        return (-h[rows] * z[columns] if needed[0] else None), None, None, h


for module, primitives in PRIMITIVES.items():
    for name, count in primitives.items():
        of_library(f"{PACKAGE}.{module}", f"{name}_p")(
            functools.partial(introduce, module, name, count)
        )
