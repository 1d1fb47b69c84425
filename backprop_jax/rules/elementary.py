"""Functions applied place by place: arithmetic, exponentials, powers, circular and hyperbolic."""

from jax import lax

from backprop_jax.engine.registry import elementwise, linear, piecewise_constant

# fmt: off
#           z =              cotangent of x                   cotangent of y
# -- arithmetic ------------------------------------------------------------------
elementwise(lax.neg_p,      lambda g: -g)
elementwise(lax.mul_p,      lambda g, y: g * y,              lambda g, x: g * x)
elementwise(lax.add_p,      lambda g: g,              lambda g: g)
elementwise(lax.sub_p,      lambda g: g,              lambda g: -g)
elementwise(lax.sin_p,      lambda g, x: g * lax.cos(x))
elementwise(lax.cos_p,      lambda g, x: -g * lax.sin(x))
elementwise(lax.exp_p,      lambda g, z: g * z)
elementwise(lax.tanh_p,      lambda g, z: g * (1 - z*z))
