"""A jaxpr run once more, its steps done in another way: `widened` or with other roundings.

What holds a jaxpr of its own (a loop, a choice, a call) is taken apart, so that what is within is
done that way, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Primitive, primitives

from backprop_jax.dependence import arities
from backprop_jax.engine.jaxprs import as_function
from backprop_jax.rules.branches import take
from backprop_jax.rules.calls import composed_of, composite_p
from backprop_jax.taps.walk import body_in_lockstep


@dataclass(frozen=True)
class Rerun:
    """How the steps of a jaxpr are done.

    Attributes:
      step: returns the results of a primitive that holds no jaxpr: (primitive, params, operands) →
        results.
      value: what becomes of constants.
      same_trips: a while loop takes as many trips as it takes on its own: one that waits for two
        numbers to be the same might never end.
    """

    step: Callable[[Primitive, dict, Sequence], list]
    value: Callable[[Any], Any] = lambda x: x
    same_trips: bool = False

    def of(self, closed: Any) -> Callable[..., list]:
        """Returns a closed jaxpr as a function whose steps are done this way."""

        def run(*operands: Any) -> list:
            values = dict(zip(closed.jaxpr.constvars, map(self.value, closed.consts), strict=True))
            values.update(zip(closed.jaxpr.invars, operands, strict=True))

            def read(atom: Any) -> Any:
                if type(atom) is not Literal:
                    return values[atom]
                return self.value(np.asarray(atom.val, jax.typeof(atom.val).dtype))

            for equation in closed.jaxpr.eqns:
                given = [read(v) for v in equation.invars]
                found = self.equation(equation.primitive, equation.params, given)
                values.update(zip(equation.outvars, found, strict=True))
            return [read(atom) for atom in closed.jaxpr.outvars]

        return run

    def equation(self, primitive: Primitive, params: dict, operands: Sequence) -> list:
        """Returns the results of one equation."""
        if primitive in CALLS:
            return self.of(CALLS[primitive](params))(*operands)
        if primitive in CHOICES:
            return CHOICES[primitive](self, params, operands)
        return self.step(primitive, params, operands)

    def scan(self, params: dict, operands: Sequence) -> list:
        """A loop."""
        consts, carry = arities(params)
        body, start = self.of(params["jaxpr"]), consts + carry

        def trip(state: list, xs: list) -> tuple[list, list]:
            results = body(*operands[:consts], *state, *xs)
            return results[:carry], results[carry:]

        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        state = [jnp.asarray(x) for x in operands[consts:start]]
        state, ys = lax.scan(trip, state, list(operands[start:]), **options)
        return [*state, *ys]

    def while_loop(self, params: dict, operands: Sequence) -> list:
        """A loop that ends when it pleases."""
        condition, body = params["cond_jaxpr"], body_in_lockstep(params)
        place = len(operands) - len(body.out_avals)
        of_cond, start = (
            operands[: params["cond_nconsts"]],
            list(map(jnp.asarray, operands[place:])),
        )
        fixed = operands[len(operands) - len(body.in_avals) : place]

        def on(run: Callable[..., list], state: list) -> Any:
            (wanted,) = run(*of_cond, *state)
            return lax.reduce_or(wanted, tuple(range(wanted.ndim)))

        def trip(run: Callable[..., list], state: list) -> list:
            return run(*fixed, *state)

        again = self.of(body)
        if not self.same_trips:
            going_on = self.of(condition)
            return lax.while_loop(lambda s: on(going_on, s), lambda s: trip(again, s), start)
        plain_on, plain = as_function(condition), as_function(body)
        trips, _ = lax.while_loop(
            lambda s: on(plain_on, s[1]), lambda s: (s[0] + 1, trip(plain, s[1])), (0, start)
        )
        return lax.fori_loop(0, trips, lambda _, s: trip(again, s), start)

    def cond(self, params: dict, operands: Sequence) -> list:
        """A choice."""
        runs = [self.of(branch) for branch in params["branches"]]
        index, *rest = operands
        return take(index, runs, params.get("branches_platforms"), *rest)


#: What calls a function: where its jaxpr is.
CALLS: dict[Primitive, Callable[[dict], Any]] = {
    primitives.jit_p: lambda params: params["jaxpr"],
    primitives.closed_call_p: lambda params: params["call_jaxpr"],
    primitives.custom_jvp_call_p: lambda params: params["call_jaxpr"],
    primitives.custom_vjp_call_p: lambda params: params["call_jaxpr"],
    primitives.remat_p: lambda params: ClosedJaxpr(params["jaxpr"], ()),
    composite_p: composed_of,
}
#: What is run often, or not at all.
CHOICES: dict[Primitive, Callable[[Rerun, dict, Sequence], list]] = {
    lax.scan_p: Rerun.scan,
    lax.while_p: Rerun.while_loop,
    lax.cond_p: Rerun.cond,
}
