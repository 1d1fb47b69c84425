"""The smallest example of backpropagation: f(x, y, z) = (x + y) z."""

from typing import Any

from jaxtyping import Array, Float

Scalar = Float[Array, ""]


def f(x: Scalar, y: Scalar, z: Scalar) -> Scalar:
    """Returns (x + y) z."""
    q = x + y
    return q * z


def by_hand(x: Scalar, y: Scalar, z: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Returns the gradient by the chain rule, from the result back to the operands."""
    q = x + y
    df_dq, df_dz = z, q
    return df_dq * 1, df_dq * 1, df_dz


def forward(x: Scalar, y: Scalar, z: Scalar) -> tuple[Scalar, Any]:
    """Returns the value, and what the way back needs."""
    q = x + y
    return q * z, (q, z)


def backward(kept: Any, g: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Returns the gradient times g, in stages."""
    q, z = kept
    dq, dz = g * z, g * q
    return dq, dq, dz


staged = (forward, backward)


def as_written(x: Any, y: Any, z: Any) -> Any:
    """Returns (x + y) z of tensors of PyTorch or TensorFlow."""
    return (x + y) * z
