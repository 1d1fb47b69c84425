# ruff: noqa: E501 (rows of a table stay rows)
"""Cases of functions applied place by place."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils, xla_metadata
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import primitives

from tests.rules.case import (
    ABOVE_ONE,
    BOOL,
    COMPLEX,
    NONZERO,
    POSITIVE,
    REAL,
    UNIT,
    Case,
    integers,
    uniform,
)

ONE = jax.sharding.Mesh(np.array(jax.devices()[:1]), "i")

# fmt: off
CASES = [
    # -- arithmetic ------------------------------------------------------------------
    Case("neg",          lax.neg,                            [(3,)],               REAL),
    Case("add",          lax.add,                            [(3,), (3,)],         REAL),
    Case("add",          lambda x: x + 2.0,                  [(3,)],               REAL,     "a literal"),
    Case("add",          lambda x, y: x + y,                 [(3,), ()],           REAL,     "rank-0 y"),
    Case("sub",          lax.sub,                            [(3,), (3,)],         REAL),
    Case("sub",          lambda x, y: x - y,                 [(), (2, 3)],         REAL,     "rank-0 x"),
    Case("mul",          lax.mul,                            [(3,), (3,)],         REAL),
    Case("mul",          lambda x, y: x * y,                 [(), (2, 3)],         REAL,     "rank-0 x"),
    Case("mul",          lambda x: x * x,                    [(3,)],               REAL,     "by itself"),
    Case("mul",          lambda x: 3.0 * x,                  [()],                 REAL,     "two scalars"),
    Case("div",          lax.div,                            [(3,), (3,)],         NONZERO),
    Case("div",          lambda x, y: x / y,                 [(3,), ()],           NONZERO,  "rank-0 y"),
    Case("div",          lambda y: 2.0 / y,                  [(3,)],               NONZERO,  "a literal over y"),
    Case("rem",          lax.rem,                            [(3,), (3,)],         (uniform(2.1, 2.9), uniform(0.6, 0.9))),
    Case("abs",          lax.abs,                            [(3,)],               NONZERO),
    Case("square",       lax.square,                         [(3,)],               REAL),
    Case("integer_pow",  lambda x: lax.integer_pow(x, 3),    [(3,)],               REAL,     "cube"),
    Case("integer_pow",  lambda x: lax.integer_pow(x, 2),    [(3,)],               REAL,     "square"),
    Case("integer_pow",  lambda x: lax.integer_pow(x, -2),   [(3,)],               NONZERO,  "negative"),
    Case("integer_pow",  lambda x: lax.integer_pow_p.bind(x, y=0), [(3,)],         REAL,     "zero"),
    Case("integer_pow",  lambda x: lax.integer_pow_p.bind(x, y=1), [(3,)],         REAL,     "one"),
    # -- powers and roots ------------------------------------------------------------
    Case("pow",          lax.pow,                            [(3,), (3,)],         (POSITIVE, REAL)),
    Case("pow",          lambda x, y: x**y,                  [(3,), ()],           (POSITIVE, REAL), "rank-0 y"),
    Case("pow",          lambda x, y: x**y,                  [(), (3,)],           (POSITIVE, REAL), "rank-0 x"),
    Case("pow",          lambda x: x**2.5,                   [(3,)],               POSITIVE, "a literal exponent"),
    Case("pow",          lambda y: 2.5**y,                   [(3,)],               REAL,     "a literal base"),
    Case("pow",          lax.pow,                            [(3,), (3,)],         (REAL, integers(4)), "integer y"),
    Case("sqrt",         lax.sqrt,                           [(3,)],               POSITIVE),
    Case("rsqrt",        lax.rsqrt,                          [(3,)],               POSITIVE),
    Case("cbrt",         lax.cbrt,                           [(3,)],               NONZERO),
    # -- exponentials and logarithms -------------------------------------------------
    Case("exp",          lax.exp,                            [(3,)],               REAL),
    Case("exp2",         lax.exp2,                           [(3,)],               REAL),
    Case("expm1",        lax.expm1,                          [(3,)],               REAL),
    Case("log",          lax.log,                            [(3,)],               POSITIVE),
    Case("log1p",        lax.log1p,                          [(3,)],               POSITIVE),
    Case("logistic",     lax.logistic,                       [(3,)],               REAL),
    # -- circular --------------------------------------------------------------------
    Case("sin",          lax.sin,                            [(3,)],               REAL),
    Case("cos",          lax.cos,                            [(3,)],               REAL),
    Case("tan",          lax.tan,                            [(3,)],               UNIT),
    Case("asin",         lax.asin,                           [(3,)],               UNIT),
    Case("acos",         lax.acos,                           [(3,)],               UNIT),
    Case("atan",         lax.atan,                           [(3,)],               REAL),
    Case("atan2",        lax.atan2,                          [(3,), (3,)],         NONZERO),
    Case("atan2",        lambda x: lax.atan2(x, jnp.ones_like(x)), [(3,)],         NONZERO,  "constant y"),
    # -- hyperbolic ------------------------------------------------------------------
    Case("sinh",         lax.sinh,                           [(3,)],               REAL),
    Case("cosh",         lax.cosh,                           [(3,)],               REAL),
    Case("tanh",         lax.tanh,                           [(3,)],               REAL),
    Case("asinh",        lax.asinh,                          [(3,)],               REAL),
    Case("acosh",        lax.acosh,                          [(3,)],               ABOVE_ONE),
    Case("atanh",        lax.atanh,                          [(3,)],               UNIT),
    # -- special ---------------------------------------------------------------------
    Case("erf",          lax.erf,                            [(3,)],               REAL),
    Case("erfc",         lax.erfc,                           [(3,)],               REAL),
    Case("erf_inv",      lax.erf_inv,                        [(3,)],               UNIT),
    Case("lgamma",       lax.lgamma,                         [(3,)],               POSITIVE),
    Case("digamma",      lax.digamma,                        [(3,)],               POSITIVE, jax_of_ours_fails="no rule for zeta"),
    # -- choices ---------------------------------------------------------------------
    Case("max",          lax.max,                            [(3,), (3,)],         REAL),
    Case("max",          lambda x: jnp.maximum(x, 0.1),      [(3,)],               REAL,     "a literal"),
    Case("min",          lax.min,                            [(3,), (3,)],         REAL),
    Case("min",          lambda x, y: jnp.minimum(x, y),     [(), (2, 3)],         REAL,     "rank-0 x"),
    Case("clamp",        lax.clamp,                          [(), (5,), ()],       (uniform(-0.5, -0.3), REAL, uniform(0.3, 0.5)), "rank-0 bounds", jax_fails="cannot reshape its own mask"),
    Case("clamp",        lax.clamp,                          [(5,), (5,), (5,)],   (uniform(-0.5, -0.3), REAL, uniform(0.3, 0.5))),
    Case("clamp",        lambda x: lax.clamp(x.dtype.type(-0.5), x, x.dtype.type(0.5)), [(5,)], REAL, "constant bounds"),
    Case("select_n",     lax.select_n,                       [(5,), (5,), (5,)],   (BOOL, REAL, REAL)),
    Case("select_n",     lax.select_n,                       [(), (5,), (5,)],     (BOOL, REAL, REAL), "rank-0 predicate"),
    Case("select_n",     lax.select_n,                       [(6,), (6,), (6,), (6,)], (integers(3), REAL, REAL, REAL), "three cases"),
    Case("select_n",     lambda x: jnp.where(x > 0, x, 0.0), [(5,)],               REAL,     "jnp.where"),
    # -- piecewise constant ----------------------------------------------------------
    Case("sign",         lax.sign,                           [(3,)],               NONZERO),
    Case("floor",        lax.floor,                          [(3,)],               REAL),
    Case("ceil",         lax.ceil,                           [(3,)],               REAL),
    Case("round",        lax.round,                          [(3,)],               REAL),
    Case("floor",        lambda x: x * lax.floor(x),         [(3,)],               REAL,     "as a factor"),
    Case("is_finite",    lambda x: x * lax.is_finite(x),     [(3,)],               REAL),
    Case("eq",           lambda x, y: x * lax.eq(x, y),      [(3,), (3,)],         REAL),
    Case("ne",           lambda x, y: x * lax.ne(x, y),      [(3,), (3,)],         REAL),
    Case("lt",           lambda x, y: x * lax.lt(x, y),      [(3,), (3,)],         REAL),
    Case("le",           lambda x, y: x * lax.le(x, y),      [(3,), (3,)],         REAL),
    Case("gt",           lambda x, y: x * lax.gt(x, y),      [(3,), (3,)],         REAL),
    Case("ge",           lambda x, y: x * lax.ge(x, y),      [(3,), (3,)],         REAL),
    Case("nextafter",    lambda x: x * lax.nextafter(x, lax.full_like(x, 9)), [(3,)], REAL,     jax_fails="has no rule"),
    Case("eq_to",        lambda x, y: x * primitives.eq_to_p.bind(x, y), [(3,), (3,)], REAL),
    Case("le_to",        lambda x, y: x * primitives.le_to_p.bind(x, y), [(3,), (3,)], REAL),
    Case("lt_to",        lambda x, y: x * primitives.lt_to_p.bind(x, y), [(3,), (3,)], REAL),
    # -- conversions -----------------------------------------------------------------
    Case("convert_element_type", lambda x: x.astype("float32"), [(3,)],            REAL,     "narrower", has_slope=False, rounding=1e-6),
    Case("convert_element_type", lambda x: x * x.astype("int32"), [(3,)],          REAL,     "to an integer and back"),
    Case("convert_element_type", lambda x: x.astype("complex128"), [(3,)],         REAL,     "to complex"),
    Case("reduce_precision", lambda x: lax.reduce_precision(x, 5, 10), [(3,)],     REAL,     has_slope=False, rounding=2e-3),
    Case("add_any",      primitives.add_jaxvals_p.bind,      [(3,), (3,)],         REAL),
    Case("copy",         jnp.copy,                           [(3,)],               REAL),
    Case("device_put",   lambda x: jax.device_put(x * x),    [(3,)],               REAL),
    Case("device_put",   lambda x: jax.device_put(x, jax.devices()[0]), [(3,)],    REAL,     "on a device"),
    Case("sharding_constraint", lambda x: lax.with_sharding_constraint(x, jax.sharding.SingleDeviceSharding(jax.devices()[0])), [(3,)], REAL),
    Case("bitcast_convert_type", lambda x: x * lax.bitcast_convert_type(x, "float64"), [(3,)], REAL, "to itself: no slope", dtypes=(), has_slope=False),
    Case("stop_gradient", lambda x: x * lax.stop_gradient(x), [(3,)],              REAL,     has_slope=False),
    Case("layout_constraint", lambda x: with_layout_constraint(x * x, Layout((1, 0))), [(2, 3)], REAL),
    Case("xla_metadata_value", lambda x: xla_metadata.set_xla_metadata(x * x, told="so"), [(3,)], REAL),
    Case("host_local_array_to_global_array", lambda x: multihost_utils.host_local_array_to_global_array(x * x, ONE, jax.P("i")), [(3,)], REAL),
    Case("global_array_to_host_local_array", lambda x: multihost_utils.global_array_to_host_local_array(x * x, ONE, jax.P("i")), [(3,)], REAL),
    Case("optimization_barrier", lambda x, y: lax.optimization_barrier((x * y, y)), [(3,), (2, 3)], REAL),
    # -- complex ---------------------------------------------------------------------
    Case("exp2",         lax.exp2,                           [(3,)],               COMPLEX,  "complex", dtypes=("complex64",)),
    Case("real",         lax.real,                           [(3,)],               COMPLEX,  dtypes=("complex64",)),
    Case("imag",         lax.imag,                           [(3,)],               COMPLEX,  dtypes=("complex64",)),
    Case("complex",      lax.complex,                        [(3,), (3,)],         REAL,     dtypes=("float32",)),
    Case("conj",         lax.conj,                           [(3,)],               COMPLEX,  dtypes=("complex64",)),
    Case("conj",         lax.conj,                           [(3,)],               REAL,     "of real numbers", dtypes=("float32",)),
    Case("abs",          lax.abs,                            [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("sign",         lax.sign,                           [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",), jax_fails="says 0"),
    Case("mul",          lax.mul,                            [(3,), (3,)],         COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("mul",          lambda x, y: x * y,                 [(3,), (3,)],         (REAL, COMPLEX), "real by complex", dtypes=()),
    Case("div",          lax.div,                            [(3,), (3,)],         COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("exp",          lax.exp,                            [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("log",          lax.log,                            [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("sqrt",         lax.sqrt,                           [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("tanh",         lax.tanh,                           [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("sin",          lax.sin,                            [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("pow",          lax.pow,                            [(3,), (3,)],         COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("integer_pow",  lambda x: lax.integer_pow(x, 3),    [(3,)],               COMPLEX,  "of complex numbers", dtypes=("complex64",)),
    Case("select_n",     lax.select_n,                       [(3,), (3,), (3,)],   (BOOL, COMPLEX, COMPLEX), "of complex numbers", dtypes=("complex64",)),
]
# fmt: on

if hasattr(lax, "log2"):  # jax 0.12
    CASES += [
        Case("log2", lax.log2, [(3,)], POSITIVE),
        Case("one_minus_square", lax.one_minus_square, [(3,)], REAL),
    ]

if find_spec("jax.experimental.shard_alike"):  # until jax 0.11
    from jax.experimental.shard_alike import shard_alike

    CASES += [Case("shard_alike", lambda x, y: shard_alike(x * y, y), [(3,), (3,)], REAL)]

# Arrays without elements and without axes.
CASES += [
    Case("mul", lambda x, y: x * y, [(0, 3), ()], REAL, "no elements"),
    Case("exp", lambda x: lax.exp(x) * np.float32(2), [()], REAL, "a scalar"),
]
