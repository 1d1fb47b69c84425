# ruff: noqa: E501 (rows of a table stay rows)
"""What a statement may be, as a table: an expression, its operands, and the bounds of its result.

In an expression `{0}` is the first operand; `$axis` and the like are drawn (see `places`). Wants:

    r, r1, r2   a real array of at least so many axes          c, c1   a complex one
    =           a real array of the first operand's shape       ~       one to broadcast against it
    ==          the same, and of its dtype                      v=      a vector of its dtype
    v           a vector as long as its last axis               d       a matrix with as many rows
    s           a square matrix                                 spd     a positive definite one
    w           one far from singular                           sym     symmetric, eigenvalues far apart
    q           real, not bfloat16
    i           an integer scalar within the first axis         I       a vector of such
    U           the same, none twice                            O       a vector of integers, some out of bounds
    m           booleans of the first operand's shape
"""

from typing import NamedTuple

FULL = (-9.0, 9.0)
TAME = (-2.0, 2.0)
UNIT = (-0.8, 0.8)
PLUS = (0.3, 5.0)


class Row(NamedTuple):
    """One kind of statement.

    Attributes:
      text: the expression.
      wants: a kind for each operand.
      domain: the bounds of each operand, or of all.
      image: the bounds of the result; "same": the first operand's; "all": of all operands; "sum": of
        a sum over the first operand's elements.
    """

    text: str
    domain: tuple = FULL
    image: tuple[float, float] | str = "same"
    wants: str = "r"


def rows(text: str, domain: tuple, image: tuple | str, wants: str = "r") -> list[Row]:
    """Returns a row for each of the functions named."""
    operands = ", ".join(f"{{{i}}}" for i in range(len(wants.split())))
    return [Row(f"{name}({operands})", domain, image, wants) for name in text.split()]


# fmt: off
UNARY = [
    *rows("jnp.sin jnp.cos jnp.tanh lax.erf lax.erfc jnp.arctan jax.nn.sigmoid jnp.sinc", FULL, (-2.0, 2.0)),
    *rows("jnp.exp jnp.exp2 jnp.expm1 jnp.sinh jnp.cosh", (-2.0, 1.5), (-1.0, 4.5)),
    *rows("jnp.tan", (-1.1, 1.1), (-2.0, 2.0)),
    *rows("jnp.log jnp.log2 jnp.log10 jnp.log1p", PLUS, (-1.8, 2.4)),
    *rows("jnp.sqrt lax.rsqrt jnp.cbrt jnp.reciprocal", PLUS, (0.2, 3.4)),
    *rows("jnp.arcsin jnp.arctanh lax.erf_inv", UNIT, (-1.2, 1.2)),
    *rows("jnp.arccos", UNIT, (0.6, 2.5)),
    *rows("jnp.arccosh", (1.2, 5.0), (0.6, 2.3)),
    *rows("jnp.arcsinh jnp.negative jnp.abs jnp.positive jnp.real", FULL, "same"),
    *rows("jax.nn.relu jax.nn.silu jax.nn.gelu jax.nn.softplus jax.nn.elu jax.nn.leaky_relu jax.nn.selu jax.nn.celu", (-4.0, 4.0), (-4.0, 5.0)),
    *rows("jax.nn.log_sigmoid jax.nn.hard_tanh jax.nn.relu6 jax.nn.hard_sigmoid jax.nn.mish jax.nn.squareplus", (-4.0, 4.0), (-4.1, 4.3)),
    *rows("jnp.square", (-3.0, 3.0), (0.0, 9.0)),
    *rows("jnp.sign jnp.floor jnp.ceil jnp.round jnp.trunc", (-4.0, 4.0), (-4.0, 4.0)),
    Row("{0} ** 3", TAME, (-8.0, 8.0)),
    Row("{0} ** -2", (0.5, 4.0), (0.0, 4.0)),
    Row("{0} ** 2.5", (0.3, 2.0), (0.0, 5.7)),
    Row("2.0 ** {0}", TAME, (0.2, 4.0)),
    Row("jnp.clip({0}, -0.7, 0.9)", FULL, (-0.7, 0.9)),
    Row("jnp.where({0} > 0.1, {0}, -0.3 * {0})", FULL, "same"),
    Row("{0} * lax.stop_gradient({0})", (-3.0, 3.0), (-9.0, 9.0)),
    Row("{0} - 0.4 * jnp.floor({0} / 0.4)", FULL, (0.0, 0.5)),
    Row("lax.optimization_barrier({0})", FULL, "same"),
    Row("checkpoint_name({0}, 'kept')", FULL, "same"),
    Row("jnp.nan_to_num({0})", FULL, "same"),
    Row("jnp.polyval(jnp.array([0.3, -1.0, 0.5]), {0})", TAME, (-4.0, 4.0)),
    Row("jnp.interp({0}, np.array([-1.0, 0.2, 1.3]), np.array([0.5, -0.4, 1.0]))", TAME, (-0.5, 1.0)),
    Row("jnp.select([{0} > 1.0, {0} > 0.0], [jnp.sin({0}), {0}], 0.5)", FULL, "same"),
    Row("jax.lax.integer_pow({0}, 4)", (-1.5, 1.5), (0.0, 5.1)),
    Row("jnp.heaviside({0}, 0.5) + {0}", FULL, (-9.0, 10.0)),
    Row("{0}.astype('float32')", FULL, "same"),
    Row("{0}.astype('float64')", FULL, "same"),
    Row("{0}.astype('float64').astype({0}.dtype)", FULL, "same"),
    Row("jnp.vectorize(lambda t: t * jnp.cos(t))({0})", FULL, FULL),
]

BINARY = [
    Row("{0} + {1}", (-4.5, 4.5), FULL, "r ~"),
    Row("{0} - {1}", (-4.5, 4.5), FULL, "r ~"),
    Row("{1} - {0}", (-4.5, 4.5), FULL, "r ~"),
    Row("{0} * {1}", (-3.0, 3.0), FULL, "r ~"),
    Row("{0} * {1}", (-3.0, 3.0), FULL, "r ="),
    Row("{0} / {1}", (FULL, (1.0, 5.0)), "same", "r ~"),
    Row("{1} / {0}", ((1.0, 5.0), FULL), FULL, "r ~"),
    Row("{0} ** {1}", (PLUS, (-1.5, 1.5)), (0.0, 11.2), "r ~"),
    *rows("jnp.maximum jnp.minimum", FULL, "all", "r ~"),
    *rows("jnp.logaddexp jnp.hypot", ((0.3, 4.0), (-4.0, 4.0)), (0.0, 6.0), "r ~"),
    *rows("jnp.arctan2", ((0.3, 4.0), (-4.0, 4.0)), (0.0, 3.15), "r ~"),
    *rows("jnp.fmod jnp.remainder", (FULL, (1.0, 3.0)), (-3.0, 3.0), "r ~"),
    *rows("jsp.special.xlogy jsp.special.xlog1py", (TAME, PLUS), (-4.0, 4.0), "r ~"),
    Row("jnp.where({0} > {1}, {0}, {1} * {0})", (-3.0, 3.0), FULL, "r ~"),
    Row("jnp.where({1}, {0}, 0.2)", FULL, "same", "r m"),
    Row("jnp.where({2}, {0}, {1})", FULL, "all", "r = m"),
    Row("jnp.clip({0}, {1} - 1.0, {1} + 1.5)", (-3.0, 3.0), (-4.0, 4.5), "r ~"),
    Row("lax.select_n({1}.astype('int32'), {0}, jnp.cos({0}), {2})", FULL, "all", "r m =="),
    Row("jnp.copysign({0}, {1})", FULL, FULL, "r ~"),
    Row("{0} * {1}", (FULL, (0, 3)), (-36.0, 36.0), "r i"),
    Row("{0} ** {1}", ((-1.5, 1.5), (0, 3)), (-4.0, 4.0), "r i"),
]

SPECIAL = [
    *rows("lax.lgamma", PLUS, (-0.2, 3.3), "q"),
    *rows("lax.digamma", (0.6, 5.0), (-1.6, 1.6), "q"),
    *rows("lax.bessel_i0e lax.bessel_i1e jsp.special.ndtr", (-4.0, 4.0), (-1.0, 1.0), "q"),
    *rows("jsp.special.i0 jsp.special.i1", TAME, (-2.5, 2.5), "q"),
    *rows("jsp.special.logit jsp.special.entr jsp.special.ndtri", (0.1, 0.9), (-2.2, 2.2), "q"),
    *rows("jsp.special.log_ndtr jsp.stats.norm.logpdf", (-2.5, 2.5), (-5.2, 0.0), "q"),
    *rows("jsp.special.expi jsp.special.exp1", (0.5, 2.0), (0.0, 5.0), "q"),
    Row("jsp.special.polygamma(1, {0})", (0.6, 5.0), (0.1, 4.0), "q"),
    Row("jsp.special.gammainc(1.5, {0})", PLUS, (0.0, 1.0), "q"),
    Row("jsp.special.gammaincc({0}, 1.5)", PLUS, (0.0, 1.0), "q"),
    Row("jsp.special.betainc(1.5, 2.5, {0})", (0.1, 0.9), (0.0, 1.0), "q"),
    Row("jsp.special.zeta(2.5, {0})", (0.5, 4.0), (0.0, 8.0), "q"),
    Row("jsp.special.betaln({0}, {1})", PLUS, (-6.0, 3.0), "q ~"),
    Row("jsp.special.rel_entr({0}, {1})", PLUS, (-5.0, 14.0), "q ~"),
]

REDUCTIONS = [
    *rows("jnp.sum", FULL, "sum"),
    *rows("jnp.mean jnp.max jnp.min jnp.ptp", FULL, "sum"),
    *rows("jsp.special.logsumexp", (-3.0, 3.0), (-3.0, 7.0)),
    Row("jnp.sum({0}, axis=$axis)", FULL, "sum", "r1"),
    Row("jnp.mean({0}, axis=$axis, keepdims=True)", FULL, "same", "r1"),
    Row("jnp.max({0}, axis=$axis)", FULL, "same", "r1"),
    Row("jnp.min({0}, axis=$axis, keepdims=True)", FULL, "same", "r1"),
    Row("jnp.prod({0}, axis=$axis)", (-1.6, 1.6), FULL, "r1"),
    Row("jnp.var({0}, axis=$axis)", TAME, (0.0, 4.0), "r1"),
    Row("jnp.std({0}, axis=$axis) + 0.1", ((-3.0, 3.0),), (0.0, 4.0), "r1"),
    Row("jax.nn.softmax({0}, axis=$axis)", (-3.0, 3.0), (0.0, 1.0), "r1"),
    Row("jax.nn.log_softmax({0}, axis=$axis)", (-3.0, 3.0), (-8.0, 0.0), "r1"),
    Row("jsp.special.logsumexp({0}, axis=$axis, b=1.3)", (-3.0, 3.0), (-3.0, 6.0), "r1"),
    Row("jnp.sum({0}, axis=$axis, where={0} > -0.3)", FULL, "sum", "r1"),
    Row("jnp.average({0}, axis=0, weights=jnp.exp({0}))", TAME, TAME, "r1"),
    Row("jnp.linalg.norm({0} + 3.0)", TAME, (0.0, 32.0), "r"),
    Row("jnp.cumsum({0}, axis=$axis)", (-3.0, 3.0), (-12.0, 12.0), "r1"),
    Row("lax.cumsum({0}, axis=0, reverse=True)", (-3.0, 3.0), (-12.0, 12.0), "r1"),
    Row("jnp.cumprod({0}, axis=$axis)", (-1.5, 1.5), (-5.1, 5.1), "r1"),
    Row("lax.cummax({0}, axis=0)", FULL, "same", "r1"),
    Row("lax.cummin({0}, axis=0, reverse=True)", FULL, "same", "r1"),
    Row("lax.cumlogsumexp({0}, axis=0)", (-3.0, 3.0), (-3.0, 4.5), "r1"),
    Row("lax.associative_scan(lambda a, b: a * b + a, {0})", (-0.7, 0.7), (-4.0, 4.0), "r1"),
    Row("lax.reduce({0}, jnp.asarray(1, {0}.dtype), lambda a, b: a * b + 0 * a, (0,))", (-1.5, 1.5), (-3.0, 3.0), "r1"),
    Row("lax.reduce_window({0}, -np.inf, lax.max, (2, *(1 for _ in {0}.shape[1:])), (1,) * {0}.ndim, 'VALID')", FULL, "same", "r1"),
    Row("lax.reduce_window({0}, 0.0, lax.add, (2, *(1 for _ in {0}.shape[1:])), (1,) * {0}.ndim, 'SAME')", (-4.0, 4.0), (-8.0, 8.0), "r1"),
    Row("jnp.trace({0})", (-3.0, 3.0), FULL, "s"),
    Row("jnp.median({0}, axis=$axis)", FULL, "same", "r1"),
    Row("jnp.quantile({0}, 0.3)", FULL, "same", "r1"),
    Row("jnp.diff({0}, axis=$axis)", (-4.0, 4.0), (-8.0, 8.0), "r1"),
    Row("jnp.convolve({0}, {1}, mode='same')", TAME, (-16.0, 16.0), "v1 v1"),
    Row("jax.nn.standardize({0} + jnp.arange({0}.shape[-1]))", (-0.4, 0.4), (-3.0, 3.0), "v1"),
]

SHAPES = [
    Row("jnp.reshape({0}, -1)"),
    Row("{0}.reshape(1, -1, order='C')"),
    Row("jnp.transpose({0}, $perm)", wants="r2"),
    Row("jnp.flip({0}, $axis)", wants="r1"),
    Row("jnp.roll({0}, 1, axis=$axis)", wants="r1"),
    Row("jnp.concatenate([{0}, {1}], axis=$axis)", FULL, "all", "r1 ="),
    Row("jnp.stack([{0}, {1}, {0}], axis=$axis)", FULL, "all", "r1 ="),
    Row("jnp.pad({0}, 1, constant_values=0.3)", wants="r1"),
    Row("jnp.pad({0}, 1, mode='$pad')", wants="r1"),
    Row("lax.pad({0}, jnp.asarray(0.5, {0}.dtype), [(1, -1, 1)] + [(0, 0, 0)] * ({0}.ndim - 1))", wants="r1"),
    Row("jnp.tile({0}, 2)", wants="r1"),
    Row("jnp.repeat({0}, 2, axis=$axis)", wants="r1"),
    Row("jnp.repeat({0}, np.array([2] + [1] * ({0}.shape[0] - 1)), axis=0)", wants="r1"),
    Row("{0}[None]"),
    Row("{0}[..., None] * jnp.ones((1, 2))", wants="r1"),
    Row("jnp.squeeze({0}[:1], 0)", wants="r1"),
    Row("jnp.broadcast_to({0}, (2, *{0}.shape))"),
    Row("jnp.tril({0})", wants="r2"),
    Row("jnp.triu({0}, 1)", wants="r2"),
    Row("jnp.diag({0})", wants="v1"),
    Row("jnp.diagonal({0})", wants="r2"),
    Row("jnp.rot90({0})", wants="r2"),
    Row("jnp.moveaxis({0}, 0, -1)", wants="r2"),
    Row("{0}[::2]", wants="r1"),
    Row("{0}[::-1, 1:]", wants="r2"),
    Row("jnp.split({0}, [1], axis=$axis)[0]", wants="r1"),
    Row("tuple(jnp.split({0}, {0}.shape[0]))", wants="r1"),
    Row("lax.dynamic_slice_in_dim({0}, {1}, 1)", wants="r1 i"),
    Row("lax.dynamic_update_slice({0}, {0}[:1] * 0.5, ({1},) + (0,) * ({0}.ndim - 1))", wants="r1 i"),
    Row("jnp.atleast_2d({0}).swapaxes(0, 1)"),
    Row("jnp.array([{0}.sum(), 0.3, {0}.max()])", FULL, "sum"),
    Row("jax.image.resize({0}, (3, *{0}.shape[1:]), 'linear')", wants="r1"),
]

INDEXING = [
    Row("{0}[{1}]", wants="r1 i"),
    Row("{0}[{1}]", wants="r1 I"),
    Row("{0}[..., {0}.shape[-1] - 1]", wants="r1"),
    Row("{0}[{1}, 0]", wants="r2 I"),
    Row("{0}[:, {1} % {0}.shape[1]]", wants="r2 i"),
    Row("jnp.take({0}, {1}, axis=0, mode='$take', fill_value=0.5)", wants="r1 O"),
    Row("jnp.take_along_axis({0}, jnp.argsort({0}, axis=0), axis=0)", wants="r1"),
    Row("{0}.at[{1}].get(mode='$get', fill_value=0.2)", wants="r1 O"),
    Row("{0}.at[{1}].set({2}[0])", FULL, "all", "r1 i =="),
    Row("{0}.at[{1}].set({0}[0] * 0.3, mode='$put', unique_indices=True)", wants="r1 U"),
    Row("{0}.at[{1}].add({2}[0], mode='$put')", (-3.0, 3.0), (-12.0, 12.0), "r1 O =="),
    Row("{0}.at[{1}].add(0.7)", (-3.0, 3.0), (-12.0, 12.0), "r1 I"),
    Row("{0}.at[{1}].subtract({0}[0])", (-3.0, 3.0), (-12.0, 12.0), "r1 I"),
    Row("{0}.at[{1}].multiply({2}[0], unique_indices=True)", (-3.0, 3.0), FULL, "r1 U =="),
    Row("{0}.at[{1}].multiply({2}[0])", (-1.5, 1.5), FULL, "r1 I =="),
    Row("{0}.at[{1}].max({2}[0])", FULL, "all", "r1 i =="),
    Row("{0}.at[{1}].min({2}[0])", FULL, "all", "r1 I =="),
    Row("{0}.at[{1}].divide(2.0)", FULL, "same", "r1 U"),
    Row("{0}.at[{1}, 0].set(0.4)", FULL, "same", "r2 i"),
    Row("{0}.at[..., -1].apply(jnp.cos)", FULL, FULL, "r1"),
    Row("jax.ops.segment_sum({0}, np.arange({0}.shape[0]) // 2, 3)", (-4.0, 4.0), (-8.0, 8.0), "r1"),
    Row("jax.ops.segment_max({0}, np.arange({0}.shape[0]) // 2, ({0}.shape[0] + 1) // 2)", FULL, "same", "r1"),
    Row("jnp.tensordot(jax.nn.one_hot({1}, {0}.shape[0], dtype={0}.dtype), {0}, axes=1)", FULL, "same", "r1 I"),
    Row("{0}[np.arange({0}.shape[0]) % 2 == 0]", wants="r1"),
    Row("jnp.where({1}, {0}, {0}[::-1])", FULL, "same", "r1 m"),
    Row("jnp.choose({1} % 2, [{0}, jnp.sin({0})], mode='clip')", FULL, FULL, "r1 i"),
]

ORDERS = [
    Row("jnp.sort({0}, axis=$axis)", wants="r1"),
    Row("jnp.sort({0}, descending=True)", wants="r1"),
    Row("lax.top_k({0}, 1)", wants="r1"),
    Row("lax.top_k({0}, {0}.shape[-1])[0]", wants="r1"),
    Row("lax.sort(({0}, {1}), num_keys=1)", FULL, "all", "r1 ="),
    Row("lax.sort((jnp.round({0}), {1}), num_keys=2)", FULL, "all", "r1 ="),
    Row("lax.sort_key_val({0}, jnp.arange({0}.shape[0]))[0]", wants="v1"),
    Row("{0}[jnp.argsort({1})]", FULL, "same", "v1 ="),
    Row("jnp.partition({0}, 1)", wants="v2"),
]

PRODUCTS = [
    Row("{0} @ {1}", TAME, (-16.0, 16.0), "r1 v"),
    Row("{0} @ {1}", TAME, (-16.0, 16.0), "r2 d"),
    Row("{0} @ {0}.T", TAME, (-16.0, 16.0), "r22"),
    Row("jnp.einsum('...i,...i->...', {0}, {1})", TAME, (-16.0, 16.0), "r1 ="),
    Row("jnp.einsum('ij,kj->ik', {0}, {1})", TAME, (-16.0, 16.0), "r22 ="),
    Row("jnp.einsum('ii->i', {0})", FULL, "same", "s"),
    Row("jnp.einsum('ij,ji->', {0}, {0})", TAME, (-64.0, 64.0), "s"),
    Row("jnp.tensordot({0}, {1}, axes=1)", TAME, (-16.0, 16.0), "r1 d"),
    Row("jnp.vdot({0}, {1})", TAME, (-80.0, 80.0), "r1 ="),
    Row("jnp.outer({0}, {1})", (-3.0, 3.0), FULL, "v1 v1"),
    Row("jnp.kron({0}, {1})", (-3.0, 3.0), FULL, "v1 v1"),
    Row("jnp.cross({0}, {1})", TAME, (-8.0, 8.0), "v3 ="),
    Row("lax.batch_matmul({0}[None], {1}[None].swapaxes(1, 2))", TAME, (-16.0, 16.0), "r22 =="),
    Row("lax.dot_general({0}, {1}, (((0,), (0,)), ((1,), (1,))))", TAME, (-16.0, 16.0), "r22 =="),
    Row("lax.dot({0}, {1}, preferred_element_type=jnp.float64)", TAME, (-16.0, 16.0), "r22 d"),
    Row("lax.conv_general_dilated({0}[None, None], {1}[None, None], (1,), [(1, 0)], lhs_dilation=(2,))[0, 0]", TAME, (-16.0, 16.0), "v1 v="),
    Row("lax.conv({0}[None, None], {1}[None, None], (1, 1), 'SAME')[0, 0]", TAME, (-64.0, 64.0), "r22 =="),
    Row("lax.conv_general_dilated({0}[None], {1}[:, None], (2,), 'SAME', rhs_dilation=(1,), feature_group_count={0}.shape[0])[0]", TAME, (-16.0, 16.0), "r22 =="),
    Row("jax.nn.softmax({0} @ {1}.T, axis=-1) @ {1}", TAME, TAME, "r22 =="),
]

LINALG = [
    Row("jnp.linalg.inv({0})", UNIT, (-2.0, 2.0), "w"),
    Row("jnp.linalg.det({0})", UNIT, (-9.0, 60.0), "w"),
    Row("jnp.linalg.slogdet({0})[1]", UNIT, (-2.0, 5.0), "w"),
    Row("jnp.linalg.solve({0}, {1})", (UNIT, FULL), (-9.0, 9.0), "w v"),
    Row("jnp.linalg.solve({0}, {1})", (UNIT, FULL), (-9.0, 9.0), "w d"),
    Row("jnp.linalg.cholesky({0})", UNIT, (-3.0, 3.0), "spd"),
    Row("jsp.linalg.solve_triangular({0}, {1}, lower=True)", (UNIT, FULL), (-16.0, 16.0), "w d"),
    Row("jsp.linalg.solve_triangular({0}, {1}, trans=1, unit_diagonal=False)", (UNIT, FULL), (-16.0, 16.0), "w v"),
    Row("jsp.linalg.cho_solve((jnp.linalg.cholesky({0}), True), {1})", (UNIT, FULL), (-9.0, 9.0), "spd v"),
    Row("jnp.linalg.eigvalsh({0})", UNIT, (-3.0, 14.0), "sym"),
    Row("(lambda w, v: (v * jnp.sin(w)) @ v.T)(*jnp.linalg.eigh({0}))", UNIT, (-1.0, 1.0), "sym"),
    Row("jnp.linalg.svd({0}, compute_uv=False)", UNIT, (0.0, 14.0), "sym"),
    Row("jnp.abs(jnp.linalg.qr({0})[1])", UNIT, (0.0, 9.0), "w"),
    Row("jnp.linalg.qr({0}[:, :1])[0] ** 2", UNIT, (0.0, 1.0), "w"),
    Row("jsp.linalg.lu({0})[2]", UNIT, (-9.0, 9.0), "w"),
    Row("jsp.linalg.expm(0.3 * {0})", (-0.5, 0.5), (-9.0, 9.0), "s"),
    Row("jnp.linalg.matrix_power({0}, 3)", UNIT, (-40.0, 60.0), "w"),
    Row("jnp.linalg.pinv({0})", UNIT, (-2.0, 2.0), "w"),
    Row("jnp.linalg.norm({0}, ord='nuc')", UNIT, (0.0, 20.0), "sym"),
    # It does not run in bfloat16, and says so only where it is run.
    Row("(lambda v: lax.linalg.tridiagonal_solve(v * 0.2, v * 0.3 + 3.0, v * 0.2, v[:, None])[:, 0])({0}.astype('float64'))", TAME, TAME, "v2"),
]

COMPLEX = [
    Row("lax.complex({0}, {1})", TAME, (-2.9, 2.9), "r64 =="),
    Row("{0} * jnp.exp(1j * {0})", TAME, TAME, "r64"),
    Row("jnp.fft.fft({0})", TAME, (-8.0, 8.0), "r164"),
    Row("jnp.fft.rfft({0})", TAME, (-8.0, 8.0), "r164"),
    Row("jnp.fft.irfft({0}, 3)", TAME, TAME, "c1"),
    Row("jnp.fft.ifft({0})", TAME, TAME, "c1"),
    Row("jnp.fft.fft2({0})", TAME, (-32.0, 32.0), "c2"),
    Row("jnp.fft.fftshift(jnp.fft.fft({0}))", TAME, (-8.0, 8.0), "c1"),
    *rows("jnp.real jnp.imag", FULL, "same", "c"),
    *rows("jnp.conj jnp.negative", FULL, "same", "c"),
    *rows("jnp.exp jnp.sin jnp.cosh", (-1.5, 1.5), (-4.5, 4.5), "c"),
    *rows("jnp.tanh jnp.arctan jnp.sinh jnp.expm1", (-0.8, 0.8), (-1.2, 1.2), "c"),
    Row("jnp.abs({0} + 2.5)", (-2.0, 2.0), (0.5, 4.5), "c"),
    Row("jnp.angle({0} + 2.5)", (-2.0, 2.0), (-1.0, 1.0), "c"),
    Row("jnp.sqrt({0} + 2.5)", (-2.0, 2.0), (-2.2, 2.2), "c"),
    Row("jnp.log({0} + 2.5)", (-2.0, 2.0), (-1.9, 1.9), "c"),
    Row("1.0 / ({0} + 2.5)", (-2.0, 2.0), (-2.0, 2.0), "c"),
    Row("({0} + 2.5) ** 1.5", (-2.0, 2.0), (-9.6, 9.6), "c"),
    Row("{0} * {0}", (-3.0, 3.0), (-9.0, 9.0), "c"),
    Row("{0} * {1}", (-3.0, 3.0), (-9.0, 9.0), "c ~"),
    Row("{0} * jnp.conj({0})", (-3.0, 3.0), (-9.0, 9.0), "c"),
    Row("jnp.where(jnp.real({0}) > 0.2, {0}, jnp.conj({0}))", FULL, "same", "c"),
    Row("jnp.sum({0}, axis=$axis)", (-2.0, 2.0), (-8.0, 8.0), "c1"),
    Row("jnp.cumsum({0}, axis=$axis)", (-2.0, 2.0), (-8.0, 8.0), "c1"),
    Row("jnp.prod({0}, axis=$axis)", (-1.2, 1.2), (-2.1, 2.1), "c1"),
    Row("{0}[::-1]", FULL, "same", "c1"),
    Row("{0}.T", FULL, "same", "c2"),
    Row("jnp.vdot({0}, {0} + 1.0)", (-2.0, 2.0), (-240.0, 240.0), "c1"),
    Row("{0} @ {0}.conj().T", (-2.0, 2.0), (-16.0, 16.0), "c22"),
    Row("jnp.linalg.norm({0} + 3.0)", (-2.0, 2.0), (0.0, 32.0), "c"),
]

INTEGERS = [
    Row("jnp.floor(2.0 * {0}).astype('int32')", TAME, (-4, 4)),
    Row("jnp.argmax({0}, axis=$axis)", FULL, (0, 3), "r1"),
    Row("jnp.argsort({0}, axis=$axis)", FULL, (0, 3), "r1"),
    Row("jnp.sum({0} > 0.2)", FULL, (0, 40)),
    Row("jnp.any({0} > 0.2)", FULL, (0, 1)),
    Row("jnp.searchsorted(np.array([-0.5, 0.1, 0.6]), {0})", FULL, (0, 3)),
    Row("{0} > 0.1", FULL, (0, 1)),
    Row("({0} > 0.1) & ({0} < 0.7)", FULL, (0, 1)),
]
# fmt: on

#: Each group with how often a statement is of it.
GROUPS = (
    (UNARY, 16),
    (BINARY, 16),
    (SPECIAL, 3),
    (REDUCTIONS, 9),
    (SHAPES, 8),
    (INDEXING, 8),
    (ORDERS, 4),
    (PRODUCTS, 7),
    (LINALG, 4),
    (COMPLEX, 6),
    (INTEGERS, 4),
)
