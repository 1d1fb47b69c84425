"""The numerical slope, against slopes known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backprop_jax.check.numeric import PrecisionError, slope

CASES = [
    (jnp.sin, jnp.cos, [0.1, 1.0, 3.0]),
    (jnp.exp, jnp.exp, [-1.0, 0.0, 2.0]),
    (lambda x: x**3, lambda x: 3 * x**2, [800.0, 900.0, 1000.0]),
]


@pytest.mark.parametrize(("f", "derivative", "points"), CASES)
def test_slope_of_a_smooth_function(f, derivative, points):
    with jax.enable_x64(True):
        x, v = jnp.asarray(points), jnp.asarray([1.0, -2.0, 0.5])
        np.testing.assert_allclose(slope(f, x, v), derivative(x) * v, rtol=1e-9)


def test_a_step_of_ones_own():
    with jax.enable_x64(True):
        x = jnp.asarray(3.0)
        assert slope(lambda x: x**2, x, jnp.asarray(1.0), step=0.5) == 6.0


def test_float32_is_refused():
    with pytest.raises(PrecisionError) as raised:
        slope(jnp.sin, jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float32))
    assert str(raised.value) == (
        "PrecisionError: a slope in float32 drowns in rounding; x must be float64.\n"
        "  to go on:   x.astype('float64'), under jax.enable_x64(True)."
    )
