"""Which results of a function depend on which operands, seen into functions, branches and loops."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Literal, primitives


def dependent(function: Callable, operands: Sequence, moving: Sequence[bool]) -> list[bool]:
    """Returns for every result of a function whether it depends on one of these operands.

    Args:
      function: operands → a pytree of results.
      operands: arrays, or what stands for them while a function is staged.
      moving: for every operand, whether it is one of those.
    """
    return through(jax.make_jaxpr(function)(*operands), moving)


def through(closed: Any, moving: Sequence[bool]) -> list[bool]:
    """Returns for every result of a closed jaxpr whether it depends on the operands that move."""
    jaxpr = closed.jaxpr
    reached = {v for v, m in zip(jaxpr.invars, moving, strict=True) if m}

    def moves(atom: Any) -> bool:
        return not isinstance(atom, Literal) and atom in reached

    for equation in jaxpr.eqns:
        read = list(map(moves, equation.invars))
        if any(read):
            found = of_equation(equation, read)
            reached.update(v for v, m in zip(equation.outvars, found, strict=True) if m)
    return list(map(moves, jaxpr.outvars))


def of_equation(equation: Any, moving: list[bool]) -> list[bool]:
    """Returns the same for one equation: all of its results, where nothing more is known."""
    params = equation.params
    match equation.primitive:
        case primitives.jit_p:
            return through(params["jaxpr"], moving)
        case primitives.cond_p if not moving[0]:
            rows = [through(branch, moving[1:]) for branch in params["branches"]]
            return list(map(any, zip(*rows, strict=True)))
        case primitives.scan_p:
            return of_loop(params, moving)
    return [True] * len(equation.outvars)


def of_loop(params: dict, moving: list[bool]) -> list[bool]:
    """Returns the same for a scan: a carry moves if it does at first, or after some trip."""
    consts, carry = arities(params)
    first, carried, rows = moving[:consts], moving[consts:][:carry], moving[consts + carry :]
    while True:
        found = through(params["jaxpr"], [*first, *carried, *rows])
        after = [a or b for a, b in zip(carried, found, strict=False)]
        if after == carried:
            return [*carried, *found[carry:]]
        carried = after


def arities(params: dict) -> tuple[int, int]:
    """Returns how many operands of a scan are constants of the loop and how many are carried.

    jax 0.10 counts them; jax 0.12 holds two trees of them.
    """
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)
