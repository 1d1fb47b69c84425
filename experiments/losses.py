"""What the experiments minimise and report."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(
    scores: Float[Array, "*batch classes"], label: Int[Array, "*batch"]
) -> Float[Array, ""]:
    """Returns -log of the probability given to the right answer, averaged, in nats."""
    target = jax.nn.one_hot(label, scores.shape[-1], dtype=scores.dtype)
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(scores), axis=-1))


def accuracy(
    scores: Float[Array, "*batch classes"], label: Int[Array, "*batch"]
) -> Float[Array, ""]:
    """Returns the share of examples whose right answer has the highest score."""
    return jnp.mean(jnp.argmax(scores, axis=-1) == label)
