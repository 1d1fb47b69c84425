# pyright: reportMissingImports=false
"""PyTorch's autograd: over the steps of the function, or over the user's own function there."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch

from backprop_jax.check.precision import is_inexact
from backprop_jax.check.witnesses.program import straight
from backprop_jax.check.witnesses.replay import Backend, answer, check, run
from backprop_jax.check.witnesses.witness import Question, Witness


def tensor(array: Any) -> torch.Tensor:
    """Returns an array as a tensor of the same dtype, bfloat16 among them."""
    array = np.array(array)
    dtype = getattr(torch, array.dtype.name)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return torch.from_numpy(array).to(dtype)


def array_of(given: torch.Tensor | None, like: np.ndarray) -> np.ndarray:
    """Returns a tensor as an array; zeros for none."""
    if given is None:
        return np.zeros_like(like)
    wide = torch.complex128 if given.is_complex() else torch.float64
    return given.detach().resolve_conj().to(wide).numpy().astype(like.dtype)


def move(arrays: Sequence[torch.Tensor], places: np.ndarray) -> torch.Tensor:
    """Returns elements of all the arrays in a row, by their places."""
    row = torch.cat([array.reshape(-1) for array in arrays])
    return row[torch.from_numpy(places.reshape(-1))].reshape(places.shape)


def einsum(subscripts: str, x: torch.Tensor, y: torch.Tensor, dtype: np.dtype) -> torch.Tensor:
    """Returns a contraction, computed in the dtype of its result."""
    return torch.einsum(subscripts, cast(x, dtype), cast(y, dtype))


def add_at(array: torch.Tensor, updates: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """Returns the array with the updates added at places counted from 1."""
    padded = torch.cat([torch.zeros(1, dtype=array.dtype), array.reshape(-1)])
    row = padded.index_add(0, torch.from_numpy(places.reshape(-1)), updates.reshape(-1))
    return row[1:].reshape(array.shape)


def cast(x: torch.Tensor, dtype: np.dtype) -> torch.Tensor:
    """Returns another dtype; what is imaginary is dropped where that is real."""
    wanted = getattr(torch, dtype.name)
    return (x.real if x.is_complex() and not wanted.is_complex else x).to(wanted)


def reduction(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Returns a reduction over some axes; torch takes none for all."""

    def reduced(x: torch.Tensor, *, axes: tuple[int, ...]) -> torch.Tensor:
        return function(x, dim=axes) if axes else x

    return reduced


def product(x: torch.Tensor, *, axes: tuple[int, ...]) -> torch.Tensor:
    """Returns the product over axes, one after the other."""
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, dim=axis)
    return x


def running(function: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """Returns what runs along an axis, from either end."""

    def run_along(x: torch.Tensor, *, axis: int, reverse: bool) -> torch.Tensor:
        result = function(x.flip(axis) if reverse else x, dim=axis)
        result = result if isinstance(result, torch.Tensor) else result[0]
        return result.flip(axis) if reverse else result

    return run_along


# -- linear algebra, Fourier -----------------------------------------------------------
def triangular_solve(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> torch.Tensor:
    """Returns the solution x of op(a) x = b, or x op(a) = b."""
    a = a.conj() if conjugate_a else a
    a = a.mT if transpose_a else a
    return torch.linalg.solve_triangular(
        a, b, upper=lower == transpose_a, left=left_side, unitriangular=unit_diagonal
    )


def fourier(x: torch.Tensor, *, fft_type: int, fft_lengths: tuple[int, ...]) -> torch.Tensor:
    """Returns a discrete Fourier transform over the last axes."""
    ways = (torch.fft.fftn, torch.fft.ifftn, torch.fft.rfftn, torch.fft.irfftn)
    axes = tuple(range(-len(fft_lengths), 0))
    return ways[int(fft_type)](x, s=fft_lengths, dim=axes) if axes else x


def turned(vectors: torch.Tensor, like: np.ndarray) -> torch.Tensor:
    """Returns for each column what turns it into that of JAX."""
    products = torch.sum(vectors.detach().conj() * tensor(like), -2, keepdim=True)
    return products / torch.abs(products)


def eigh(x: torch.Tensor, *, lower: bool, result: int, like: tuple) -> torch.Tensor:
    """Returns eigenvectors or eigenvalues of a Hermitian matrix."""
    values, vectors = torch.linalg.eigh(x, UPLO="L" if lower else "U")
    return values if result else vectors * turned(vectors, like[0])


def svd(x: torch.Tensor, *, full_matrices: bool, result: int, like: tuple) -> torch.Tensor:
    """Returns singular values, or vectors from the left, or from the right."""
    if len(like) == 1:
        return torch.linalg.svdvals(x)
    u, s, vt = torch.linalg.svd(x, full_matrices=full_matrices)
    if result == 0 or (full_matrices and x.shape[-1] != x.shape[-2]):
        return (s, u, vt)[result]
    turn = turned(u, like[1])
    return u * turn if result == 1 else vt * turn.conj().mT


def qr(x: torch.Tensor, *, full_matrices: bool, result: int, like: tuple) -> torch.Tensor:
    """Returns Q or R."""
    del like
    return torch.linalg.qr(x, mode="complete" if full_matrices else "reduced")[result]


def lu(x: torch.Tensor, *, result: int, like: tuple) -> torch.Tensor:
    """Returns L and U in one matrix."""
    del result, like
    return torch.linalg.lu_factor(x)[0]


# fmt: off
TABLE = {
    # -- arithmetic ----------------------------------------------------------------
    "add":       torch.add,                  "add_any":   torch.add,
    "sub":       torch.sub,                  "mul":       torch.mul,
    "div":       torch.div,                  "neg":       torch.neg,
    "square":    torch.square,               "sqrt":      torch.sqrt,
    "rsqrt":     torch.rsqrt,                "abs":       torch.abs,
    "cbrt":      lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "pow":       torch.pow,                  "integer_pow": lambda x, *, y: torch.pow(x, y),
    "max":       torch.maximum,              "min":       torch.minimum,
    "rem":       torch.fmod,                 "clamp":     lambda a, x, b: torch.clamp(x, a, b),
    "one_minus_square": lambda x: 1 - x * x,
    # -- exponentials --------------------------------------------------------------
    "exp":       torch.exp,                  "exp2":      torch.exp2,
    "expm1":     torch.expm1,                "log":       torch.log,
    "log1p":     torch.log1p,                "log2":      torch.log2,
    "logistic":  torch.sigmoid,
    # -- circular, hyperbolic ------------------------------------------------------
    "sin":       torch.sin,                  "cos":       torch.cos,
    "tan":       torch.tan,                  "asin":      torch.asin,
    "acos":      torch.acos,                 "atan":      torch.atan,
    "atan2":     torch.atan2,                "sinh":      torch.sinh,
    "cosh":      torch.cosh,                 "tanh":      torch.tanh,
    "asinh":     torch.asinh,                "acosh":     torch.acosh,
    "atanh":     torch.atanh,
    # -- special functions ---------------------------------------------------------
    "erf":       torch.erf,                  "erfc":      torch.erfc,
    "erf_inv":   torch.erfinv,               "lgamma":    torch.lgamma,
    "digamma":   torch.digamma,
    "bessel_i0e": torch.special.i0e,         "bessel_i1e": torch.special.i1e,
    # -- complex -------------------------------------------------------------------
    "real":      torch.real,                 "imag":      torch.imag,
    "conj":      torch.conj,                 "complex":   torch.complex,
    # -- along axes ----------------------------------------------------------------
    "reduce_sum": reduction(torch.sum),      "reduce_prod": product,
    "reduce_max": reduction(torch.amax),     "reduce_min": reduction(torch.amin),
    "cumprod":   running(torch.cumprod),     "cumlogsumexp": running(torch.logcumsumexp),
    "cummax":    running(torch.cummax),      "cummin":    running(torch.cummin),
    # -- linear algebra, Fourier ---------------------------------------------------
    "cholesky":  torch.linalg.cholesky,      "triangular_solve": triangular_solve,
    "eigh":      eigh,                       "svd":       svd,
    "qr":        qr,                         "lu":        lu,
    "fft":       fourier,
}
# fmt: on

BACKEND = Backend("torch", tensor, move, einsum, add_at, cast, TABLE)


def gradient(question: Question) -> Witness:
    """Returns what autograd says of the steps of the function."""
    program = straight(question)
    check(program, BACKEND)
    inputs = [tensor(x).requires_grad_() for x in program.inputs]
    found = backward(run(program, inputs, BACKEND), inputs, program.inputs)
    return answer(question, "torch", found, doubts=program.doubts)


def of_function(question: Question, function: Callable[..., Any]) -> Witness:
    """Returns what autograd says of a function of tensors, given the same operands."""
    given = question.map(tensor, others=lambda x: tensor(x) if is_inexact(x) else x)
    leaves = [x for x in jax.tree.leaves(given.operands) if x.is_floating_point() or x.is_complex()]
    inputs = [leaf.requires_grad_() for leaf in leaves]
    result = function(*given.args, **given.kwargs)
    likes = [np.asarray(x) for x in question.leaves.values() if is_inexact(x)]
    found = backward(result[0] if question.has_aux else result, inputs, likes)
    return answer(question, "torch", found)


def backward(
    result: torch.Tensor, inputs: Sequence[torch.Tensor], likes: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the gradients as JAX would write them: of a complex operand, the conjugate."""
    if not (isinstance(result, torch.Tensor) and result.requires_grad):
        return [np.zeros_like(like) for like in likes]
    found = torch.autograd.grad(result, inputs, torch.ones_like(result), allow_unused=True)
    return [np.conj(array_of(x, like)) for x, like in zip(found, likes, strict=True)]
