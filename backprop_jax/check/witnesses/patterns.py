"""Primitives that are another step, or a few: contractions, running sums, windows."""

import math
import string
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backprop_jax.check.witnesses.steps import Recording, Value
from backprop_jax.check.witnesses.windows import places, positions
from backprop_jax.check.witnesses.witness import DoesNotApply


def dot_general(
    recorder: Recording, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """A contraction, as an einsum."""
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]
    letters = iter(string.ascii_letters)
    x = [next(letters) for _ in np.shape(operands[0].known)]
    y = [next(letters) for _ in np.shape(operands[1].known)]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        y[j] = x[i]
    free = [c for i, c in enumerate(x) if i not in (*left, *left_batch)]
    free += [c for j, c in enumerate(y) if j not in (*right, *right_batch)]
    result = [x[i] for i in left_batch] + free
    subscripts = f"{''.join(x)},{''.join(y)}->{''.join(result)}"
    return recorder.einsum(subscripts, operands, known, line)


def cumsum(
    recorder: Recording, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """Running sums, as a product with a triangle of ones."""
    axis, size = params["axis"], known.shape[params["axis"]]
    triangle = np.tril(np.ones((size, size)))
    triangle = Value((triangle.T if params["reverse"] else triangle).astype(known.dtype))
    letters = string.ascii_lowercase[: known.ndim]
    summed = letters.replace(letters[axis], "Z")
    subscripts = f"{summed},{letters[axis]}Z->{letters}"
    return recorder.einsum(subscripts, [*operands, triangle], known, line)


def scatter_add(
    recorder: Recording, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """A sum at the places where the transposed primitive fetches from; 0 is nowhere."""
    array, indices, updates = operands
    options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    chosen = {key: params[key] for key in options}
    with jax.enable_x64(True):
        zeros = jnp.zeros(np.shape(array.known))

        def added(u: Any) -> Any:
            return lax.scatter_add(zeros, indices.known, u, **chosen)

        fetch = jax.linear_transpose(added, jnp.zeros(np.shape(updates.known)))
        (places,) = fetch(jnp.arange(1.0, zeros.size + 1).reshape(zeros.shape))
    settings = {"places": np.asarray(places).astype(np.int64)}
    return recorder.add("add_at", [array, updates], settings, known, line)


def cast(
    recorder: Recording, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """Another dtype."""
    return recorder.add("cast", operands, {}, known, line)


def convolution(
    recorder: Recording, operands: list[Value], params: dict[str, Any], known: Any, line: str
) -> Value:
    """The windows of the left operand, and their product with the kernel, group by group."""
    if params["batch_group_count"] != 1:
        raise DoesNotApply(f"a convolution with groups of the batch, at {line}")
    left, right, out = params["dimension_numbers"]
    x, kernel = operands
    shape, groups = np.shape(x.known), params["feature_group_count"]
    sizes = [known.shape[i] for i in out[2:]]
    whole = [np.arange(shape[i])[:, None] for i in left[:2]]
    spatial = zip(
        (shape[i] for i in left[2:]),
        sizes,
        (np.shape(kernel.known)[i] for i in right[2:]),
        params["window_strides"],
        (low for low, _ in params["padding"]),
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    along = dict(zip(left, [*whole, *(positions(*axis) for axis in spatial)], strict=True))
    found = places(shape, [along[i] for i in range(len(shape))])
    found = found.transpose([*left, len(shape)])
    found = found.reshape(shape[left[0]], groups, shape[left[1]] // groups, math.prod(sizes), -1)
    windows = taken(recorder, x, found, 0.0, line)

    def grouped(k: Any) -> list[Any]:
        k = k.transpose(right)
        return [k.reshape(groups, k.shape[0] // groups, k.shape[1], -1)]

    flat = known.transpose(out)
    flat = flat.reshape(flat.shape[0], groups, flat.shape[1] // groups, -1)
    taps = recorder.move(grouped, [kernel], line)[0]
    product = recorder.einsum("ngcpk,gock->ngop", [windows, taps], flat, line)
    back = [known.shape[i] for i in out]
    inverse = np.argsort(out)
    return recorder.move(lambda z: [z.reshape(back).transpose(inverse)], [product], line)[0]


def pooling(name: str, fill: float) -> Callable[..., Value]:
    """Returns windows, reduced by another primitive; `fill` is what their padding holds."""

    def pooled(
        recorder: Recording, operands: list[Value], params: dict[str, Any], known: Any, line: str
    ) -> Value:
        axes = zip(
            np.shape(operands[0].known),
            known.shape,
            params["window_dimensions"],
            params["window_strides"],
            (low for low, _ in params["padding"]),
            params["base_dilation"],
            params["window_dilation"],
            strict=True,
        )
        found = places(np.shape(operands[0].known), [positions(*axis) for axis in axes])
        windows = taken(recorder, operands[0], found, fill, line)
        return recorder.add(name, [windows], {"axes": (known.ndim,)}, known, line)

    return pooled


def taken(recorder: Recording, x: Value, found: np.ndarray, fill: float, line: str) -> Value:
    """Returns what is at places counted from 1; `fill` is at 0."""
    array = jnp.asarray(x.known)
    pool = [Value(jnp.full((1,), fill, array.dtype)), x]
    known = jnp.concatenate([pool[0].known, array.reshape(-1)])[found]
    return recorder.moved(pool, np.array([0, 1, 1 + array.size]), found, known, line)


PATTERNS = {
    "dot_general": dot_general,
    "cumsum": cumsum,
    "scatter-add": scatter_add,
    "convert_element_type": cast,
    "conv_general_dilated": convolution,
    "reduce_window_sum": pooling("reduce_sum", 0.0),
    "reduce_window_max": pooling("reduce_max", -math.inf),
    "reduce_window_min": pooling("reduce_min", math.inf),
}
