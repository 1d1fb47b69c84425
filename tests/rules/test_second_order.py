"""Second derivatives that JAX has not got: measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backprop_jax as bp
from tests.rules.case import Case, draw_like
from tests.rules.cases import CASES, each
from tests.rules.test_rules import along

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.slow]

MEASURED = [case for case in CASES if case.jax_fails and case.has_slope]
STEP, RTOL = 2e-5, 1e-5


@each(MEASURED)
def test_second_order_agrees_with_the_slope(case: Case) -> None:
    """The gradient of a slope, against the difference quotient of that slope."""
    operands = jax.device_put(case.operands)
    values = [operands[i] for i in case.active]
    v, h = draw_like(case, values, "v"), draw_like(case, values, "h")
    first = along(bp.grad, case.as_scalar(), v)

    @jax.jit
    def both(*values: jax.Array) -> tuple:
        slope, gradients = bp.value_and_grad(first, argnums=tuple(range(len(values))))(*values)
        return slope, sum(jnp.sum(g * d).real for g, d in zip(gradients, h, strict=True))

    def moved(step: float) -> float:
        pairs = zip(values, h, strict=True)
        return float(both(*(np.asarray(x) + step * np.asarray(d) for x, d in pairs))[0])

    def quotient(step: float) -> float:
        return (moved(step) - moved(-step)) / (2 * step)

    slope, ours = map(float, both(*values))
    measured = (4 * quotient(STEP) - quotient(2 * STEP)) / 3  # the error of step² goes
    assert abs(ours - measured) <= RTOL * max(abs(measured), abs(slope), 1.0), (
        f"the slope of the slope is {measured}, the gradient says {ours}"
    )
