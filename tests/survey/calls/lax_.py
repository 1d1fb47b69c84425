# ruff: noqa: E501 (rows of a table stay rows)
"""Calls of jax.lax, jax.ops and jax.image."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.survey.call import Call, between, cplx, definite, positive, real, regular

inf, nan = np.inf, np.nan
seg = np.array([0, 0, 2, 2, 2])
G = lax.GatherScatterMode


def conv(x, w, **options):
    """Returns a one-dimensional convolution."""
    options = {
        "window_strides": (1,),
        "padding": [(0, 0)],
        "dimension_numbers": ("NCH", "OIH", "NCH"),
        **options,
    }
    return lax.conv_general_dilated(x, w, **options)


def scattered(op, idx, mode=None, unique=False):
    """Returns a scatter of single elements into the first axis."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return lambda x, u: op(x, jnp.array(idx)[:, None], u, numbers, mode=mode, unique_indices=unique)


def reduced(fun, init, dims=(0,)):
    """Returns a reduction by any function."""
    return lambda x: lax.reduce(x, init, fun, dims)


def windowed(fun, init, **options):
    """Returns a windowed reduction by any function."""
    options = {"window_dimensions": (3,), "window_strides": (1,), "padding": "VALID", **options}
    return lambda x: lax.reduce_window(x, init, fun, **options)


def named(fun, *shape):
    """Returns a function of the stack, mapped with the name i."""
    return lambda *x: jax.vmap(fun, axis_name="i")(*x)


def trips(cond, body):
    """Returns a while_loop from (0, x)."""
    return lambda x: lax.while_loop(cond, body, (0, x))[1]


# fmt: off
CALLS = [
    # -- arithmetic
    Call("clamp scalars", lax.clamp, (-0.5, [-1.0, 0.2, 2.0], 0.9)),
    Call("clamp arrays", lax.clamp, ([-0.5, -0.5, -0.5], [-1.0, 0.2, 2.0], [0.9, 0.9, 0.9])),
    Call("integer_pow", lambda x: (lax.integer_pow(x, -3), lax.integer_pow(x, 0), lax.integer_pow(x, 5)), (positive(3),)),
    Call("integer_pow complex", lambda x: lax.integer_pow(x, -2), (cplx(3),)),
    Call("integer_pow at 0", lambda x: (lax.integer_pow(x, 1), lax.integer_pow(x, 2), lax.integer_pow(x, 3)), ([0.0],)),
    Call("pow with int exponent operand", lambda x: lax.pow(x, jnp.array([2, 3, 0])), ([0.0, -1.5, 0.0],)),
    Call("rem", lax.rem, (between(-5, 5, 3), positive(3))),
    Call("lax.nextafter", lambda x, y: lax.nextafter(x, y) + x * y, (real(3), real(3))),
    Call("reduce_precision", lambda x: lax.reduce_precision(x, 8, 7) * x, (real(3),), orders=0),
    Call("complex", lambda x, y: lax.complex(x, y) ** 2, (real(3), real(3))),
    Call("sign round floor", lambda x: lax.sign(x) * x + lax.floor(x) * x, (real(3),)),
    Call("exp2 log1p", lambda x: (lax.exp2(x), lax.log1p(x), lax.rsqrt(x), lax.cbrt(x)), (positive(3),)),
    Call("exp2 rsqrt tan complex", lambda x: (lax.exp2(x), lax.rsqrt(x), lax.tan(x), lax.logistic(x)), (cplx(3),)),
    Call("select_n of three", lambda x, y, w: lax.select_n(jnp.array([0, 2, 1], jnp.int32), x, y, w), (real(3), real(3), real(3))),
    Call("bitcast", lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.int64), float) * x, (real(3),), orders=0),
    Call("convert to int", lambda x: x.astype(int) * x, (between(1.1, 1.9, 3),)),
    Call("optimization_barrier", lambda x: lax.optimization_barrier(x**2) * x, (real(3),)),
    Call("expm1 logistic tanh log1p", lambda x: (lax.expm1(x), lax.logistic(x), lax.tanh(x)), (real(3),)),
    Call("mul of int promoted", lambda x: jnp.arange(3) * x / jnp.array([2, 3, 4]), (real(3),)),
    Call("composite", lambda x: lax.composite(lambda v: jnp.sin(v) * v, name="my.op")(x), (real(3),)),
    Call("dce_sink", lambda x: (lax.dce_sink(x), x**2)[1], (real(3),)),
    # -- shapes
    Call("pad negative interior", lambda x, v: lax.pad(x, v, [(-1, 2, 0), (1, -2, 2)]), (real(3, 4), 0.3)),
    Call("pad interior negative", lambda x, v: lax.pad(x, v, [(-2, -1, 1)]), (real(4), 0.3)),
    Call("rev transpose", lambda x: lax.rev(lax.transpose(x, (1, 0)), (0,)), (real(3, 4),)),
    Call("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3, 4), (1,)), (real(3),)),
    Call("reshape dimensions", lambda x: lax.reshape(x, (12,), dimensions=(1, 0)), (real(3, 4),)),
    Call("dynamic_slice out of bounds", lambda x: lax.dynamic_slice(x, (-3, 7), (2, 2)), (real(3, 4),)),
    Call("dynamic_update_slice out of bounds", lambda x, y: lax.dynamic_update_slice(x, y, (2, -9)), (real(3, 4), real(2, 2))),
    Call("dynamic index update", lambda x, y: lax.dynamic_update_index_in_dim(x, y, -1, 1) * lax.dynamic_index_in_dim(x, 1, 0), (real(3, 4), real(3))),
    Call("split concatenate", lambda x: lax.concatenate(lax.split(x, (1, 0, 3), 1)[::-1], 1), (real(3, 4),)),
    Call("slice strides", lambda x: lax.slice(x, (1, 0), (3, 4), (1, 3)), (real(3, 4),)),
    Call("tile", lambda x: lax.tile(x, (2, 1)), (real(3, 4),)),
    Call("index_take", lambda x: lax.index_take(x, (jnp.array([0, 2]), jnp.array([1, 1])), (0, 1)), (real(3, 4),)),
    Call("conv patches", lambda x: lax.conv_general_dilated_patches(x, (2, 2), (1, 1), "SAME"), (real(1, 2, 3, 3),)),
    Call("conv local", lambda x, w: lax.conv_general_dilated_local(x, w, (1,), "VALID", (2,), dimension_numbers=("NCH", "OIH", "NCH")), (real(2, 3, 5), real(4, 6, 4))),
    # -- gather and scatter
    *(Call(f"gather {m}", lambda x, m=m: lax.gather(x, jnp.array([[0], [7], [-1]]), lax.GatherDimensionNumbers((1,), (0,), (0,)), (1, 2), mode=m, fill_value=0.5), (real(3, 2),)) for m in ("clip", "fill")),
    Call("gather windows overlap", lambda x: lax.gather(x, jnp.array([[0], [1], [1]]), lax.GatherDimensionNumbers((1,), (), (0,)), (3,)), (real(5),)),
    Call("gather batching dims", lambda x: lax.gather(x, jnp.array([[[0], [1]], [[2], [2]]]), lax.GatherDimensionNumbers((), (1,), (1,), (0,), (0,)), (1, 1)), (real(2, 3),)),
    *(Call(f"{op} repeated {m}", scattered(getattr(lax, op), [0, 2, 2, 7], m), (positive(4), positive(4))) for op in ("scatter", "scatter_add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max") for m in ("clip", "drop")),
    *(Call(f"{op} unique", scattered(getattr(lax, op), [0, 2, 1], "promise_in_bounds", True), (positive(4), positive(3))) for op in ("scatter", "scatter_add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max")),
    Call("scatter windows overlap", lambda x, u: lax.scatter(x, jnp.array([[0], [1]]), u, lax.ScatterDimensionNumbers((1,), (), (0,))), (real(5), real(2, 3))),
    Call("scatter_mul windows overlap", lambda x, u: lax.scatter_mul(x, jnp.array([[0], [1], [2]]), u, lax.ScatterDimensionNumbers((1,), (), (0,))), (real(5), real(3, 3)), heavy=True),
    Call("scatter_max windows overlap", lambda x, u: lax.scatter_max(x, jnp.array([[0], [1]]), u, lax.ScatterDimensionNumbers((1,), (), (0,))), (real(5), real(2, 3))),
    Call("scatter_apply", lambda x: lax.scatter_apply(x, jnp.array([[0], [2]]), jnp.sin, lax.ScatterDimensionNumbers((), (0,), (0,)), update_shape=(2,)), (real(4),)),
    Call("scatter_apply repeated", lambda x: lax.scatter_apply(x, jnp.array([[0], [2], [2]]), lambda v: v * v, lax.ScatterDimensionNumbers((), (0,), (0,)), update_shape=(3,)), (real(4),)),
    Call("scatter_mul zeros repeated", scattered(lax.scatter_mul, [0, 2, 2, 2]), ([1.0, 1.0, 0.0, 2.0], [2.0, 0.0, 0.0, 3.0])),
    # -- reductions, any function
    Call("reduce mul", reduced(lax.mul, 1.0), (real(4),)),
    Call("reduce mul of zeros", reduced(lax.mul, 1.0), ([0.0, 2.0, 0.0],)),
    Call("reduce add axes", reduced(lax.add, 0.0, (0, 2)), (real(2, 3, 2),)),
    Call("reduce max", reduced(lax.max, -inf), (real(4),)),
    Call("reduce logaddexp", reduced(jnp.logaddexp, -inf), (real(5),)),
    Call("reduce hypot-like", reduced(lambda a, b: jnp.sqrt(a * a + b * b), 0.0), (positive(5),)),
    Call("reduce a b + a b", reduced(lambda a, b: a + b + a * b, 0.0, (1,)), (real(2, 5),)),
    Call("reduce init active", lambda x, i: lax.reduce(x, i, lambda a, b: a * b, (0,)), (real(4), 0.7)),
    Call("reduce init add active", lambda x, i: lax.reduce(x, i, lax.add, (0,)), (real(4), 0.7)),
    Call("reduce two operands argmax", lambda x, y: lax.reduce((x, y), (-inf, 0.0), lambda a, b: jax.tree.map(lambda u, v: jnp.where(a[0] > b[0], u, v), a, b), (0,)), (real(5), real(5))),
    Call("reduce two operands complex product", lambda x, y: lax.reduce((x, y), (1.0, 0.0), lambda a, b: (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]), (0,)), (real(4), real(4))),
    Call("reduce float and int", lambda x: lax.reduce((x, jnp.arange(5)), (-inf, 0), lambda a, b: (jnp.maximum(a[0], b[0]), jnp.where(a[0] > b[0], a[1], b[1])), (0,))[0], (real(5),)),
    Call("reduce complex mul", reduced(lax.mul, 1.0 + 0j), (cplx(4),)),
    Call("reduce closure", lambda x, c: lax.reduce(x, 0.0, lambda a, b: a + b * 1.0, (0,)) * c, (real(4), 0.3)),
    Call("reduce_window add", windowed(lax.add, 0.0, window_strides=(2,), padding="SAME"), (real(6),)),
    Call("reduce_window max", windowed(lax.max, -inf, padding=[(1, 2)]), (real(6),)),
    Call("reduce_window max dilated", windowed(lax.max, -inf, window_dilation=(2,)), (real(6),)),
    Call("reduce_window max base dilated", windowed(lax.max, -inf, base_dilation=(2,)), (real(4),)),
    Call("reduce_window min strided dilated", windowed(lax.min, inf, window_dilation=(2,), window_strides=(2,), padding=[(2, 2)]), (real(7),)),
    Call("reduce_window add dilations", windowed(lax.add, 0.0, window_dilation=(2,), base_dilation=(3,), padding=[(1, 4)]), (real(4),)),
    Call("reduce_window mul", windowed(lax.mul, 1.0), (real(6),)),
    Call("reduce_window mul zeros", windowed(lax.mul, 1.0, padding=[(1, 1)]), ([0.0, 0.0, 1.0, 2.0],)),
    Call("reduce_window logaddexp", windowed(jnp.logaddexp, -inf, padding="SAME"), (real(5),)),
    Call("reduce_window init active", lambda x, i: lax.reduce_window(x, i, lambda a, b: a * b, (2,), (1,), "VALID"), (real(4), 0.7)),
    Call("reduce_window two operands", lambda x, y: lax.reduce_window((x, y), (1.0, 0.0), lambda a, b: (a[0] * b[0], a[1] + b[1]), (2,), (1,), "SAME"), (real(4), real(4))),
    Call("reduce_window negative padding", windowed(lax.max, -inf, padding=[(-1, -1)]), (real(6),)),
    Call("reduce_window add negative padding", windowed(lax.add, 0.0, padding=[(-1, 2)]), (real(6),)),
    Call("reduce_window max 2d", lambda x: lax.reduce_window(x, -inf, lax.max, (2, 3), (2, 1), "SAME"), (real(5, 4),)),
    Call("reduce_window large", lambda x: lax.reduce_window(x, -inf, lax.max, (9, 9), (2, 2), "SAME"), (real(9, 10),)),
    Call("reduce_window add int stride complex", windowed(lax.add, 0j, window_strides=(2,)), (cplx(6),)),
    *(Call(f"{f} reverse axis", lambda x, f=f: getattr(lax, f)(x, axis=1, reverse=True), (real(2, 4),)) for f in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")),
    Call("cumprod zeros reverse", lambda x: lax.cumprod(x, reverse=True), ([0.0, 1.0, 2.0, 0.0, 3.0],)),
    Call("cumlogsumexp -inf", lambda x: lax.cumlogsumexp(jnp.concatenate([jnp.array([-inf]), x, jnp.array([-inf])]))[1:], (real(3),)),
    Call("cumlogsumexp large", lambda x: lax.cumlogsumexp(x), ([-800.0, 0.0, 800.0, 799.0],)),
    Call("cummax with inf", lambda x: lax.cummax(jnp.append(x, inf))[:-1], (real(3),)),
    Call("associative_scan mul", lambda x: lax.associative_scan(jnp.multiply, x, reverse=True), ([0.0, 1.0, 2.0, 0.0],)),
    Call("associative_scan matmul", lambda x: lax.associative_scan(jnp.matmul, x), (real(4, 2, 2),)),
    Call("argmax reduce_and", lambda x: x * lax.argmax(x, 0, jnp.int32), (real(4),)),
    # -- sort and top_k
    Call("sort multi-operand", lambda x, y: lax.sort((x, y), num_keys=1), (real(5), real(5))),
    Call("sort num_keys 2", lambda x, y, w: lax.sort((jnp.round(x), y, w), num_keys=2), (real(5), real(5), real(5))),
    Call("sort axis unstable", lambda x: lax.sort(x, dimension=0, is_stable=False), (real(4, 3),)),
    Call("sort int keys", lambda y: lax.sort((jnp.array([2, 1, 1, 0]), y), num_keys=1)[1], (real(4),)),
    Call("sort complex", lambda x: lax.sort(x), (cplx(4),)),
    Call("sort_key_val", lambda x, y: lax.sort_key_val(x, y), (real(4), real(4))),
    Call("top_k", lambda x: lax.top_k(x, 2), (real(2, 5),)),
    Call("top_k axis", lambda x: lax.top_k(x, 2, axis=0), (real(5, 2),)),
    Call("approx_max_k", lambda x: lax.approx_max_k(x, 2), (real(2, 5),)),
    Call("approx_min_k axis", lambda x: lax.approx_min_k(x, 2, reduction_dimension=0), (real(5, 2),)),
    # -- products
    Call("dot_general preferred", lambda x, y: lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=float), (real(2, 3), real(3, 2))),
    Call("dot_general mixed dtypes", lambda x, y: lax.dot_general(x.astype(jnp.float32), y, (((1,), (0,)), ((), ())), preferred_element_type=float), (real(2, 3), real(3, 2)), orders=1, step=1e-3, rtol=1e-4),
    Call("dot_general batch perm", lambda x, y: lax.dot_general(x, y, (((3, 1), (0, 2)), ((0,), (3,)))), (real(2, 3, 2, 4), real(4, 2, 3, 2))),
    Call("dot_general no contraction", lambda x, y: lax.dot_general(x, y, (((), ()), ((0,), (0,)))), (real(2, 3), real(2, 2))),
    Call("batch_matmul complex", lax.batch_matmul, (cplx(2, 2, 3), cplx(2, 3, 2))),
    Call("ragged_dot", lambda x, y: lax.ragged_dot(x, y, jnp.array([1, 0, 3])), (real(5, 2), real(3, 2, 3))),
    Call("ragged_dot group_offset-free sizes short", lambda x, y: lax.ragged_dot(x, y, jnp.array([2, 1])), (real(5, 2), real(2, 2, 3))),
    Call("ragged_dot_general contracting", lambda x, y: lax.ragged_dot_general(x, y, jnp.array([2, 3]), lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), [0], [])), (real(5, 2), real(5, 3))),
    Call("ragged_dot_general batch", lambda x, y: lax.ragged_dot_general(x, y, jnp.array([1, 2]), lax.RaggedDotDimensionNumbers((((2,), (1,)), ((0,), (0,))), [0], [])), (real(3, 2, 4), real(3, 4, 2))),
    Call("ragged_dot_general batched groups", lambda x, y: lax.ragged_dot_general(x, y, jnp.array([[1, 2], [3, 0]]), lax.RaggedDotDimensionNumbers((((2,), (2,)), ((0,), (1,))), [1], [0])), (real(2, 3, 4), real(2, 2, 4, 2))),
    Call("scaled_dot", lambda x, y: lax.scaled_dot(x, y), (real(2, 4), real(4, 2)), orders=0),
    Call("conv", conv, (real(2, 3, 7), real(4, 3, 3))),
    Call("conv strides dilations", lambda x, w: conv(x, w, window_strides=(2,), padding=[(2, 1)], lhs_dilation=(2,), rhs_dilation=(3,)), (real(1, 2, 6), real(3, 2, 2))),
    Call("conv negative padding", lambda x, w: conv(x, w, padding=[(-1, -2)]), (real(1, 2, 8), real(3, 2, 2))),
    Call("conv feature groups", lambda x, w: conv(x, w, feature_group_count=2), (real(2, 4, 5), real(6, 2, 2))),
    Call("conv depthwise", lambda x, w: conv(x, w, feature_group_count=4, padding="SAME"), (real(2, 4, 5), real(8, 1, 3))),
    Call("conv batch groups", lambda x, w: conv(x, w, batch_group_count=2, window_strides=(2,)), (real(4, 3, 5), real(4, 3, 2))),
    Call("conv complex", conv, (cplx(1, 2, 5), cplx(2, 2, 2))),
    Call("conv preferred", lambda x, w: conv(x.astype(jnp.float32), w.astype(jnp.float32), preferred_element_type=float), (real(1, 2, 5), real(2, 2, 2)), orders=1, step=1e-3, rtol=1e-3),
    Call("conv_transpose", lambda x, w: lax.conv_transpose(x, w, (2,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")), (real(1, 4, 2), real(3, 2, 3))),
    Call("conv_transpose kernel", lambda x, w: lax.conv_transpose(x, w, (2,), "VALID", rhs_dilation=(2,), dimension_numbers=("NHC", "HIO", "NHC"), transpose_kernel=True), (real(1, 4, 2), real(3, 3, 2))),
    Call("conv 2d NHWC", lambda x, w: lax.conv_general_dilated(x, w, (1, 2), "SAME_LOWER", dimension_numbers=("NHWC", "HWIO", "NHWC")), (real(1, 4, 5, 2), real(2, 3, 2, 2))),
    Call("conv kernel larger than input", lambda x, w: conv(x, w, padding=[(3, 3)]), (real(1, 1, 2), real(1, 1, 4))),
    # -- control flow
    Call("cond", lambda p, x: lax.cond(p > 0, jnp.sin, lambda v: v**2, x), (0.5, real(3))),
    Call("switch", lambda x: lax.switch(2, [jnp.sin, jnp.cos, lambda v: v**3], x), (real(3),)),
    Call("switch traced clamp", lambda x: lax.switch(jnp.argmax(x) + 5, [jnp.sin, jnp.cos, lambda v: v**3], x), (real(3),)),
    Call("scan", lambda c, xs: lax.scan(lambda c, x: (jnp.sin(c) * x, c * x), c, xs), (0.5, real(4))),
    Call("scan reverse unroll", lambda c, xs: lax.scan(lambda c, x: (jnp.sin(c) * x, c * x), c, xs, reverse=True, unroll=2), (0.5, real(5))),
    Call("scan of length 0", lambda c, xs: lax.scan(lambda c, x: (c * x, c), c, xs), (0.5, np.zeros((0,)))),
    Call("fori_loop fixed", lambda x: lax.fori_loop(0, 4, lambda i, v: jnp.sin(v) * (i + 1), x), (real(3),)),
    Call("fori_loop fixed while", lambda x: lax.fori_loop(jnp.int32(0), jnp.int32(4), lambda i, v: jnp.sin(v) * (i + 1), x), (real(3),)),
    Call("while fixed trips", trips(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1]))), (real(3),)),
    Call("while data-dependent", trips(lambda c: jnp.sum(c[1] ** 2) > 0.1, lambda c: (c[0] + 1, c[1] * 0.7)), (positive(3),)),
    Call("while of inactive carry", lambda x: x * lax.while_loop(lambda c: c < 5.0, lambda c: c * 2, 1.0), (real(3),)),
    Call("while active only through stop_gradient", lambda x: x * lax.stop_gradient(lax.while_loop(lambda c: jnp.sum(c) < 5.0, lambda c: c * 2, x * x)), (positive(3),), orders=0),
    Call("map batch_size", lambda x: lax.map(lambda v: jnp.sin(v) * v, x, batch_size=2), (real(5),)),
    Call("platform_dependent", lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos), (real(3),)),
    Call("custom_root", lambda a: lax.custom_root(lambda x: x**3 - a, jnp.ones_like(a), lambda f, x0: lax.fori_loop(0, 40, lambda i, x: x - f(x) / (3 * x**2), x0), lambda g, y: y / g(jnp.ones_like(y))), (positive(3),)),
    Call("custom_linear_solve", lambda a, b: lax.custom_linear_solve(lambda v: a @ v, b, lambda f, b: jnp.linalg.solve(a, b), lambda f, b: jnp.linalg.solve(a.T, b)), (regular(3), real(3))),
    Call("custom_linear_solve symmetric", lambda a, b: lax.custom_linear_solve(lambda v: a @ v, b, lambda f, b: jnp.linalg.solve(a, b), symmetric=True), (definite(3), real(3)), orders=0),
    Call("custom_linear_solve has_aux", lambda a, b: lax.custom_linear_solve(lambda v: a @ v, b, lambda f, b: (jnp.linalg.solve(a, b), 3), lambda f, b: (jnp.linalg.solve(a.T, b), 3), has_aux=True)[0], (regular(3), real(3))),
    Call("stop_gradient", lambda x: lax.stop_gradient(x) * 0 + x**2, (real(3),)),
    Call("checkpoint", jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), (real(3),)),
    Call("checkpoint policy names", jax.checkpoint(lambda x: jnp.sin(checkpoint_name(jnp.sin(x), "a")), policy=jax.checkpoint_policies.save_only_these_names("a")), (real(3),)),
    Call("rng_bit_generator", lambda x: x * lax.rng_bit_generator(jnp.zeros(4, jnp.uint32), (3,))[1].astype(float) * 1e-9, (real(3),)),
    Call("named_call", lambda x: jax.named_call(jnp.sin)(x), (real(3),)),
    # -- under a name
    Call("psum", named(lambda x: lax.psum(x**2, "i") * x), (real(4),)),
    Call("pmean", named(lambda x: lax.pmean(x**2, "i") * x), (real(4),)),
    Call("pmax pmin", named(lambda x: lax.pmax(x, "i") * x + lax.pmin(x**2, "i")), (real(4),)),
    Call("ppermute", named(lambda x: lax.ppermute(x**2, "i", [(0, 1), (1, 2), (2, 3), (3, 0)]) * x), (real(4),)),
    Call("pshuffle", named(lambda x: lax.pshuffle(x**2, "i", [1, 0, 3, 2]) * x), (real(4),)),
    Call("all_gather", named(lambda x: lax.all_gather(x**2, "i") * x), (real(4),)),
    Call("all_gather tiled", named(lambda x: lax.all_gather(x**2, "i", axis=1, tiled=True)), (real(4, 2, 2),)),
    Call("all_to_all", named(lambda x: lax.all_to_all(x**2, "i", 0, 0) * x), (real(4, 4),)),
    Call("all_to_all tiled", named(lambda x: lax.all_to_all(x**2, "i", 1, 0, tiled=True)), (real(2, 3, 4),)),
    Call("psum_scatter", named(lambda x: lax.psum_scatter(x**2, "i")), (real(4, 4),)),
    Call("psum_scatter tiled", named(lambda x: lax.psum_scatter(x**2, "i", scatter_dimension=1, tiled=True)), (real(2, 3, 4),)),
    Call("pswapaxes", named(lambda x: lax.pswapaxes(x**2, "i", 0)), (real(4, 4),)),
    Call("axis_index", named(lambda x: x * lax.axis_index("i") * lax.axis_size("i")), (real(4),)),
    Call("pmax of a square", named(lambda x: lax.pmax(x * x, "i") * x), (real(4,),)),
    # -- linear algebra primitives
    Call("lax.linalg.cholesky", lambda x: lax.linalg.cholesky(x @ x.T + jnp.eye(3)), (real(3, 3),)),
    Call("lax.linalg.cholesky no symmetrize", lambda x: lax.linalg.cholesky(x @ x.T + jnp.eye(3), symmetrize_input=False), (real(3, 3),)),
    Call("lax.linalg.cholesky complex", lambda x: lax.linalg.cholesky(x @ x.conj().T + jnp.eye(3)), (cplx(3, 3),)),
    Call("lax.linalg.cholesky_update", lambda r, w: lax.linalg.cholesky_update(jnp.triu(r), w), (regular(3), real(3))),
    Call("lax.linalg.lu", lambda x: lax.linalg.lu(x)[0], (regular(3),)),
    Call("lax.linalg.lu tall", lambda x: lax.linalg.lu(x)[0], (real(4, 3),)),
    Call("lax.linalg.lu wide", lambda x: lax.linalg.lu(x)[0], (real(3, 4),)),
    Call("lax.linalg.qr", lambda x: lax.linalg.qr(x, full_matrices=False), (real(4, 3),)),
    Call("lax.linalg.qr wide", lambda x: lax.linalg.qr(x, full_matrices=False), (real(3, 4),)),
    Call("lax.linalg.qr wide full", lambda x: lax.linalg.qr(x, full_matrices=True), (real(3, 4),)),
    Call("lax.linalg.qr full tall, r", lambda x: lax.linalg.qr(x, full_matrices=True)[1], (real(4, 3),)),
    Call("lax.linalg.qr full tall, projector", lambda x: (lambda q: q[:, 3:] @ q[:, 3:].T)(lax.linalg.qr(x, full_matrices=True)[0]), (real(5, 3),)),
    Call("lax.linalg.qr pivoting", lambda x: lax.linalg.qr(x, pivoting=True, full_matrices=False)[:2], (real(4, 3),)),
    Call("lax.linalg.eigh", lambda x: lax.linalg.eigh(x + x.T), (real(3, 3),)),
    Call("lax.linalg.svd", lambda x: lax.linalg.svd(x, full_matrices=False), (real(4, 3),)),
    Call("lax.linalg.svd values", lambda x: lax.linalg.svd(x, compute_uv=False), (real(3, 4),)),
    Call("lax.linalg.svd full", lambda x: lax.linalg.svd(x, full_matrices=True)[1:], (real(4, 3),)),
    Call("lax.linalg.eig values", lambda x: lax.linalg.eig(x)[0], (real(3, 3),)),
    Call("lax.linalg.eig right only", lambda x: (lambda w, v: jnp.abs(v))(*lax.linalg.eig(x, compute_left_eigenvectors=False)), (real(3, 3),)),
    Call("lax.linalg.eig left", lambda x: (lambda w, left, right: (jnp.abs(left), w))(*lax.linalg.eig(x)), (real(3, 3),)),
    Call("lax.linalg.schur", lambda x: (lambda t, q: (jnp.diag(t), jnp.abs(q)))(*lax.linalg.schur(x)), ([[1.0, 0.4, 0.3], [0.2, 2.0, 0.7], [0.1, -0.5, 4.0]],)),
    Call("lax.linalg.schur t only", lambda x: jnp.diag(lax.linalg.schur(x, compute_schur_vectors=False)[0]), (definite(3),)),
    Call("lax.linalg.schur complex", lambda x: jnp.diag(lax.linalg.schur(x)[0]), (cplx(3, 3),)),
    Call("lax.linalg.hessenberg", lambda x: lax.linalg.hessenberg(x), (real(4, 4),)),
    Call("lax.linalg.householder_product", lax.linalg.householder_product, (real(4, 2), real(2))),
    Call("lax.linalg.ormqr", lambda a, t, c: lax.linalg.ormqr(a, t, c), (real(4, 2), real(2), real(4, 3))),
    Call("lax.linalg.tridiagonal", lambda x: lax.linalg.tridiagonal(x + x.T)[1:3], (real(4, 4),)),
    Call("lax.linalg.tridiagonal all", lambda x: lax.linalg.tridiagonal(x + x.T)[0], (real(4, 4),), heavy=True),
    Call("lax.linalg.tridiagonal_solve", lambda low, d, u, b: lax.linalg.tridiagonal_solve(low.at[0].set(0), d, u.at[-1].set(0), b), (real(4), between(3, 4, 4), real(4), real(4, 2))),
    Call("lax.linalg.triangular_solve", lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True, unit_diagonal=True, transpose_a=True), (regular(3), real(3, 2))),
    Call("lax.linalg.triangular_solve conj", lambda a, b: lax.linalg.triangular_solve(a, b, conjugate_a=True, transpose_a=True), (cplx(3, 3), cplx(2, 3))),
    Call("lax.linalg.symmetric_product", lambda a, c: lax.linalg.symmetric_product(a, c, alpha=0.3, beta=0.7), (real(3, 2), definite(3))),
    Call("lax.linalg.symmetric_product symmetrize", lambda a, c: lax.linalg.symmetric_product(a, c, alpha=0.3, beta=0.7, symmetrize_output=True), (real(3, 2), definite(3))),
    Call("lax.linalg.qdwh", lambda x: lax.linalg.qdwh(x)[:2], (regular(3),)),
    # -- jax.ops
    *(Call(f"segment_{f}", lambda x, f=f: getattr(jax.ops, f"segment_{f}")(x, seg, 3)[jnp.array([0, 2])], (real(5),)) for f in ("sum", "prod", "max", "min")),
    Call("segment_prod zeros", lambda x: jax.ops.segment_prod(x, seg, 3), ([0.0, 2.0, 0.0, 0.0, 3.0],)),
    Call("segment_prod one zero", lambda x: jax.ops.segment_prod(x, seg, 3), ([0.0, 2.0, 0.0, 4.0, 3.0],)),
    *(Call(f"segment_{f} out of bounds", lambda x, f=f: getattr(jax.ops, f"segment_{f}")(x, jnp.array([0, 9, -1, 1, 1]), 2, mode="drop"), (real(5),)) for f in ("sum", "prod", "max", "min")),
    *(Call(f"segment_{f} buckets sorted", lambda x, f=f: getattr(jax.ops, f"segment_{f}")(x, seg, 4, indices_are_sorted=True, bucket_size=2)[jnp.array([0, 2])], (real(5, 2),)) for f in ("sum", "prod", "max", "min")),
    Call("segment_max ties", lambda x: jax.ops.segment_max(x, seg, 3)[jnp.array([0, 2])], ([1.0, 1.0, 2.0, 2.0, 0.0],), orders=0),
    # -- jax.image
    *(Call(f"image.resize {m} {s}", lambda x, m=m, s=s: jax.image.resize(x, s, m), (real(4, 5),)) for m in ("nearest", "linear", "cubic", "lanczos3", "lanczos5") for s in ((7, 3),)),
    Call("image.resize cubic-pytorch", lambda x: jax.image.resize(x, (7, 3), "cubic-pytorch"), (real(4, 5),)),
    Call("image.resize no antialias", lambda x: jax.image.resize(x, (2, 3), "linear", antialias=False), (real(4, 5),)),
    *(Call(f"image.scale_and_translate {m}", lambda x, s, t, m=m: jax.image.scale_and_translate(x, (6, 5), (0, 1), s, t, m), (real(4, 5), [1.3, 0.77], [0.31, -0.43])) for m in ("linear", "cubic", "lanczos3", "lanczos5")),
]
# fmt: on
