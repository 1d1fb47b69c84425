"""Arrays of mathematical objects, expressions or numbers of many digits, moved about by NumPy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backprop_jax.check.witnesses.replay import Backend
from backprop_jax.check.witnesses.witness import DoesNotApply


def backend(
    name: str,
    number: Callable[[float], Any],
    functions: Mapping[str, Callable[..., Any]],
    most: int,
) -> Backend:
    """Returns a backend whose arrays hold objects.

    Args:
      name: of the witness.
      number: a float as such an object, exactly.
      functions: what each primitive does to single objects; `reduce_prod`, `reduce_max` and
        `reduce_min` are built of `mul`, `max` and `min`.
      most: elements that all steps together may have.
    """

    def constant(array: np.ndarray) -> np.ndarray:
        return each(number)(array.astype(np.float64))

    zero = number(0.0)
    table = {key: each(function) for key, function in functions.items()}
    table["integer_pow"] = lambda x, *, y: each(lambda e: e**y)(x)
    folds = {"reduce_sum": "add", "reduce_prod": "mul", "reduce_max": "max", "reduce_min": "min"}
    table |= {key: fold(functions[pair]) for key, pair in folds.items()}

    def einsum(subscripts: str, x: Any, y: Any, dtype: np.dtype) -> np.ndarray:
        return array_of(np.einsum(subscripts, x, y) + zero)

    def add_at(array: np.ndarray, updates: np.ndarray, places: np.ndarray) -> np.ndarray:
        result = np.concatenate([[zero], array.ravel()])
        np.add.at(result, places.ravel(), updates.ravel())
        return result[1:].reshape(array.shape)

    return Backend(name, constant, move, einsum, add_at, lambda x, dtype: x, table=table, most=most)


def each(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """Returns a function of objects as one of arrays of objects."""

    def mapped(*arrays: Any) -> np.ndarray:
        shape = np.broadcast_shapes(*map(np.shape, arrays))
        if 0 in shape:
            return np.empty(shape, object)
        return array_of(np.frompyfunc(function, len(arrays), 1)(*arrays))

    return mapped


def fold(function: Callable[[Any, Any], Any]) -> Callable[..., np.ndarray]:
    """Returns a function of two objects as a reduction over axes."""

    def reduced(array: np.ndarray, *, axes: Sequence[int]) -> np.ndarray:
        kept = [i for i in range(array.ndim) if i not in axes]
        shape = tuple(array.shape[i] for i in kept)
        if 0 in array.shape:
            raise DoesNotApply("it reduces an empty array")
        rows = array.transpose([*kept, *axes]).reshape((*shape, -1))
        result = rows[..., 0]
        for i in range(1, rows.shape[-1]):
            result = each(function)(result, rows[..., i])
        return array_of(result)

    return reduced


def move(arrays: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Returns elements of all the arrays in a row, by their places."""
    return array_of(np.concatenate([array.ravel() for array in arrays])[places])


def array_of(value: Any) -> np.ndarray:
    """Returns an array of objects; NumPy unpacks one of rank 0."""
    if isinstance(value, np.ndarray):
        return value
    result = np.empty((), object)
    result[()] = value
    return result
