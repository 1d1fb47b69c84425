"""A neural ordinary differential equation: x' = f(x), f a perceptron, solved and differentiated."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float, PRNGKeyArray

from experiments.models.layers import Activation, Params
from experiments.models.mlp import Mlp

State = Float[Array, " size"]


@dataclass(frozen=True)
class Flow:
    """Follows x' = f(x) from a start, and tells where it is at whole times.

    Attributes:
      hidden: width of each hidden layer of f.
      activation: what stands between two layers; smooth, since a solver expects that.
      solver: `rk4`, with as many steps in a unit of time as `steps` says; or `adaptive`, whose
        steps are as long as the error allows. Their number is known only when they are done, and
        the gradient is that of the steps that were taken.
      steps: of `rk4`.
      tolerance: of `adaptive`, on the error of a step.

    Source: Chen et al. 2018, arXiv:1806.07366; Bogacki and Shampine 1989, Applied Mathematics
    Letters 2(4), for the adaptive one.
    """

    hidden: tuple[Annotated[int, Ge(1)], ...] = (32, 32)
    activation: Activation = "tanh"
    solver: Literal["rk4", "adaptive"] = "rk4"
    steps: Annotated[int, Ge(1)] = 4
    tolerance: Annotated[float, Gt(0)] = 1e-3

    def init(self, key: PRNGKeyArray, size: int) -> Params:
        """Returns fresh parameters for states of `size` numbers; the flow is slow at first."""
        params = self._field.init(key, (size,), size)
        last = params["layers"][-1]
        params["layers"][-1] = {"w": 0.1 * last["w"], "b": last["b"]}
        return params

    def apply(
        self, params: Params, start: Float[Array, "batch size"], times: int
    ) -> Float[Array, "batch times size"]:
        """Returns the states at the times 1, 2, ... after each start."""

        def slope(x: State) -> State:
            return self._field.apply(params, x[None])[0]

        def unit(x: State, _: None) -> tuple[State, State]:
            after = self._fixed(slope, x) if self.solver == "rk4" else self._adaptive(slope, x)
            return after, after

        return jax.vmap(lambda x: jax.lax.scan(unit, x, None, length=times)[1])(start)

    def _fixed(self, slope, x: State) -> State:
        """Returns the state a unit of time later, by steps of equal length."""
        h = 1 / self.steps

        def step(x: State, _: None) -> tuple[State, None]:
            a = slope(x)
            b = slope(x + h / 2 * a)
            c = slope(x + h / 2 * b)
            d = slope(x + h * c)
            return x + h / 6 * (a + 2 * b + 2 * c + d), None

        return jax.lax.scan(step, x, None, length=self.steps)[0]

    def _adaptive(self, slope, x: State) -> State:
        """Returns the state a unit of time later, by steps as long as the error allows.

        A step of order 3 is compared with one of order 2. The next is as long as would have made
        the error 0.9³ of the tolerance; a step whose error is too large is not taken.
        """

        def not_there(carry: tuple) -> Array:
            return carry[0] < 1

        def step(carry: tuple) -> tuple:
            time, h, x = carry
            # The length of a step is a choice, not a part of the solution: no derivative of it.
            h = jax.lax.stop_gradient(jnp.minimum(h, 1 - time))
            a = slope(x)
            b = slope(x + h / 2 * a)
            c = slope(x + 3 * h / 4 * b)
            after = x + h / 9 * (2 * a + 3 * b + 4 * c)
            off = h * (-5 * a / 72 + b / 12 + c / 9 - slope(after) / 8)
            error = jax.lax.stop_gradient(jnp.max(jnp.abs(off)) / self.tolerance)
            taken = error <= 1
            longer = jnp.clip(0.9 * jnp.maximum(error, 1e-9) ** (-1 / 3), 0.2, 5.0)
            return jnp.where(taken, time + h, time), h * longer, jnp.where(taken, after, x)

        start = (jnp.zeros((), x.dtype), jnp.full((), 0.25, x.dtype), x)
        return jax.lax.while_loop(not_there, step, start)[2]

    @property
    def _field(self) -> Mlp:
        return Mlp(self.hidden, self.activation)
