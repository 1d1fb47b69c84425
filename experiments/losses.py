"""What the experiments minimise and report."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(
    scores: Float[Array, "*batch classes"], label: Int[Array, "*batch"], smoothing: float = 0.0
) -> Float[Array, ""]:
    """Returns -log of the probability given to the right answer, averaged, in nats.

    `smoothing` is the share of the right answer that is given to all answers, in equal parts.
    """
    classes = scores.shape[-1]
    right = jax.nn.one_hot(label, classes, dtype=scores.dtype)
    target = (1 - smoothing) * right + smoothing / classes if smoothing else right
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(scores), axis=-1))


def accuracy(
    scores: Float[Array, "*batch classes"], label: Int[Array, "*batch"]
) -> Float[Array, ""]:
    """Returns the share of examples whose right answer has the highest score."""
    return jnp.mean(jnp.argmax(scores, axis=-1) == label)
