# pyright: reportMissingImports=false, reportMissingModuleSource=false
"""TensorFlow's GradientTape: over the steps of the function, or the user's own function there."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import tensorflow as tf

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.program import straight
from backprop_jax.check.witnesses.replay import Backend, answer, check, run
from backprop_jax.check.witnesses.witness import Question, Witness


def tensor(array: Any) -> Any:
    """Returns an array as a tensor of the same dtype."""
    return tf.constant(np.asarray(array))


def move(arrays: Sequence[Any], places: np.ndarray) -> Any:
    """Returns elements of all the arrays in a row, by their places."""
    return tf.gather(tf.concat([tf.reshape(array, [-1]) for array in arrays], 0), places)


def einsum(subscripts: str, x: Any, y: Any, dtype: np.dtype) -> Any:
    """Returns a contraction, computed in the dtype of its result."""
    return tf.einsum(subscripts, cast(x, dtype), cast(y, dtype))


def add_at(array: Any, updates: Any, places: np.ndarray) -> Any:
    """Returns the array with the updates added at places counted from 1."""
    padded = tf.concat([tf.zeros([1], array.dtype), tf.reshape(array, [-1])], 0)
    row = tf.reshape(updates, [-1])
    return tf.reshape(tf.tensor_scatter_nd_add(padded, places.reshape(-1, 1), row)[1:], array.shape)


def cast(x: Any, dtype: np.dtype) -> Any:
    """Returns another dtype; what is imaginary is dropped where that is real."""
    wanted = tf.as_dtype(dtype.name)
    return tf.cast(tf.math.real(x) if x.dtype.is_complex and not wanted.is_complex else x, wanted)


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a reduction over some axes."""
    return lambda x, *, axes: function(x, axis=axes)


def running(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what runs along an axis, from either end."""
    return lambda x, *, axis, reverse: function(x, axis=axis, reverse=reverse)


# -- linear algebra, Fourier -----------------------------------------------------------
def triangular_solve(
    a: Any,
    b: Any,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Any:
    """Returns the solution x of op(a) x = b, or x op(a) = b."""
    a = tf.math.conj(a) if conjugate_a else a
    if unit_diagonal:
        a = tf.linalg.set_diag(a, tf.ones_like(tf.linalg.diag_part(a)))
    if transpose_a:
        a, lower = tf.linalg.matrix_transpose(a), not lower
    if left_side:
        return tf.linalg.triangular_solve(a, b, lower=lower)
    a, b = tf.linalg.matrix_transpose(a), tf.linalg.matrix_transpose(b)
    return tf.linalg.matrix_transpose(tf.linalg.triangular_solve(a, b, lower=not lower))


def fourier(x: Any, *, fft_type: int, fft_lengths: tuple[int, ...]) -> Any:
    """Returns a discrete Fourier transform over the last one, two or three axes."""
    axes, kind = len(fft_lengths), int(fft_type)
    if not axes:
        return x
    name = ("fft", "ifft", "rfft", "irfft")[kind] + ("", "2d", "3d")[axes - 1]
    transform = getattr(tf.signal, name)
    return transform(x) if kind < 2 else transform(x, fft_length=list(fft_lengths))


def turned(vectors: Any, like: np.ndarray) -> Any:
    """Returns for each column what turns it into that of JAX."""
    products = np.sum(np.conj(vectors.numpy()) * like, -2, keepdims=True)
    return tensor(products / np.abs(products))


def eigh(x: Any, *, lower: bool, result: int, like: tuple) -> Any:
    """Returns eigenvectors or eigenvalues of a Hermitian matrix."""
    values, vectors = tf.linalg.eigh(x if lower else tf.linalg.adjoint(x))
    if result:
        return tf.math.real(values)
    return vectors * turned(vectors, like[0])


def svd(x: Any, *, full_matrices: bool, result: int, like: tuple) -> Any:
    """Returns singular values, or vectors from the left, or from the right."""
    if len(like) == 1:
        return tf.linalg.svd(x, compute_uv=False)
    s, u, v = tf.linalg.svd(x, full_matrices=full_matrices)
    if result == 0 or (full_matrices and x.shape[-1] != x.shape[-2]):
        return (s, u, tf.linalg.adjoint(v))[result]
    turn = turned(u, like[1])
    return u * turn if result == 1 else tf.linalg.adjoint(v * turn)


def qr(x: Any, *, full_matrices: bool, result: int, like: tuple) -> Any:
    """Returns Q or R."""
    del like
    return tf.linalg.qr(x, full_matrices=full_matrices)[result]


# fmt: off
TABLE = {
    # -- arithmetic ----------------------------------------------------------------
    "add":       tf.add,                     "add_any":   tf.add,
    "sub":       tf.subtract,                "mul":       tf.multiply,
    "div":       tf.divide,                  "neg":       tf.negative,
    "square":    tf.square,                  "sqrt":      tf.sqrt,
    "rsqrt":     tf.math.rsqrt,              "abs":       tf.abs,
    "cbrt":      lambda x: tf.sign(x) * tf.abs(x) ** (1 / 3),
    "pow":       lambda x, y: tf.pow(x, tf.cast(y, x.dtype)),
    "integer_pow": lambda x, *, y: tf.pow(x, tf.cast(y, x.dtype)),
    "max":       tf.maximum,                 "min":       tf.minimum,
    "rem":       tf.truncatemod,             "clamp":     lambda a, x, b: tf.clip_by_value(x, a, b),
    "one_minus_square": lambda x: 1 - x * x,
    # -- exponentials --------------------------------------------------------------
    "exp":       tf.exp,                     "exp2":      lambda x: tf.pow(tf.cast(2, x.dtype), x),
    "expm1":     tf.math.expm1,              "log":       tf.math.log,
    "log1p":     tf.math.log1p,              "logistic":  tf.sigmoid,
    "log2":      lambda x: tf.math.log(x) / tf.math.log(tf.cast(2, x.dtype)),
    # -- circular, hyperbolic ------------------------------------------------------
    "sin":       tf.sin,                     "cos":       tf.cos,
    "tan":       tf.tan,                     "asin":      tf.asin,
    "acos":      tf.acos,                    "atan":      tf.atan,
    "atan2":     tf.atan2,                   "sinh":      tf.sinh,
    "cosh":      tf.cosh,                    "tanh":      tf.tanh,
    "asinh":     tf.asinh,                   "acosh":     tf.acosh,
    "atanh":     tf.atanh,
    # -- special functions ---------------------------------------------------------
    "erf":       tf.math.erf,                "erfc":      tf.math.erfc,
    "erf_inv":   tf.math.erfinv,             "lgamma":    tf.math.lgamma,
    "digamma":   tf.math.digamma,
    "bessel_i0e": tf.math.bessel_i0e,        "bessel_i1e": tf.math.bessel_i1e,
    # -- complex -------------------------------------------------------------------
    "real":      tf.math.real,               "imag":      tf.math.imag,
    "conj":      tf.math.conj,               "complex":   tf.complex,
    # -- along axes ----------------------------------------------------------------
    "reduce_sum": reduction(tf.reduce_sum),  "reduce_prod": reduction(tf.reduce_prod),
    "reduce_max": reduction(tf.reduce_max),  "reduce_min": reduction(tf.reduce_min),
    "cumprod":   running(tf.math.cumprod),   "cumlogsumexp": running(tf.math.cumulative_logsumexp),
    # -- linear algebra, Fourier ---------------------------------------------------
    "cholesky":  tf.linalg.cholesky,         "triangular_solve": triangular_solve,
    "eigh":      eigh,                       "svd":       svd,
    "qr":        qr,                         "fft":       fourier,
}
# fmt: on

BACKEND = Backend("tensorflow", tensor, move, einsum, add_at, cast, TABLE)


def gradient(question: Question) -> Witness:
    """Returns what the tape says of the steps of the function."""
    program = straight(question)
    check(program, BACKEND)
    inputs = [tensor(x) for x in program.inputs]
    found = taped(lambda: run(program, inputs, BACKEND), inputs, program.inputs)
    return answer(question, "tensorflow", found, doubts=program.doubts)


def of_function(question: Question, function: Callable[..., Any]) -> Witness:
    """Returns what the tape says of a function of tensors, given the same operands."""
    given = question.map(tensor, others=lambda x: tensor(x) if is_inexact(x) else x)
    inputs = [
        x for x in jax.tree.leaves(given.operands) if x.dtype.is_floating or x.dtype.is_complex
    ]
    likes = [np.asarray(x) for x in question.leaves.values() if is_inexact(x)]

    def value() -> Any:
        result = function(*given.args, **given.kwargs)
        return result[0] if question.has_aux else result

    return answer(question, "tensorflow", taped(value, inputs, likes))


def taped(
    value: Callable[[], Any], inputs: Sequence[Any], likes: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the gradients as JAX would write them: of a complex operand, the conjugate."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = value()
    found = tape.gradient(result, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [
        np.conj(tf.convert_to_tensor(x).numpy()).astype(like.dtype)
        for x, like in zip(found, likes, strict=True)
    ]
