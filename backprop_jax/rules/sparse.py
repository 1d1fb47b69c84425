"""Primitives of `jax.experimental.sparse`: run as they are, reversed as the program they stand for.

That is what JAX lowers each of them to, of gathers, products and scatters, which have rules. The
package is not imported: see `libraries`.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any

from jax.extend.core import Primitive

from backprop_jax.engine.registry import Unit, structured
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

    def program(params: dict) -> Any:
        run = getattr(sys.modules[f"{PACKAGE}.{module}"], f"_{name}_impl")

        def results(*operands: Any) -> list:
            found = run(*operands, **params)
            return list(found) if primitive.multiple_results else [found]

        return results

    @structured(primitive, inline=program)
    def build(active: Sequence[bool], **params: Any) -> Unit:
        def bind(*operands: Any) -> list:
            found = primitive.bind(*operands, **params)
            return list(found) if primitive.multiple_results else [found]

        return reverse_of(bind, program(params), active, count)


for module, primitives in PRIMITIVES.items():
    for name, count in primitives.items():
        of_library(f"{PACKAGE}.{module}", f"{name}_p")(
            functools.partial(introduce, module, name, count)
        )
