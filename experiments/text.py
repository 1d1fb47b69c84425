"""A text, byte by byte: what comes next?

Data: eight plays of Shakespeare, which come with the package, or a text file of your own. A letter
of plain English is one byte; other letters are several, so any text in UTF-8 will do.
"""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Array, Float, Int, PRNGKeyArray

from backprop_jax import data as datasets
from experiments.losses import accuracy, cross_entropy
from experiments.models.language import Decoder, Language, Reader, continued
from experiments.models.layers import Params

MODELS = {"transformer": Decoder, "recurrent": Reader}

BYTES = 256

SAMPLE = 600
"""How many bytes are written when training is over."""

TOGETHER = 64
"""How many pieces the model reads at a time when it is tested."""


class Text(NamedTuple):
    """Pieces of a text, and what comes after each of their bytes."""

    shown: Int[Array, "batch length"]
    following: Int[Array, "batch length"]


def data(
    seed: int,
    path: Path | None = None,
    length: Annotated[int, Ge(2)] = 64,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1,
) -> tuple[Text, Text]:
    """Returns pieces of the text, those of its end for the test.

    Args:
      seed: decides nothing here: the end of the text is the test part.
      path: a text file to take in the place of Shakespeare's plays.
      length: bytes in a piece, and how far the model can look back.
      test_fraction: share of the text that is kept for the test.
    """
    shortest = int(2 * (length + 1) / min(test_fraction, 1 - test_fraction))
    text = datasets.text("shakespeare") if path is None else datasets.read_text(path, shortest)
    read = np.frombuffer(text.encode(), np.uint8)
    end = round((1 - test_fraction) * len(read))
    return _pieces(read[:end], length), _pieces(read[end:], length)


def init(key: PRNGKeyArray, batch: Text, model: Language) -> Params:
    """Returns fresh parameters."""
    return model.init(key, batch.shown.shape[1], BYTES)


def loss(params: Params, batch: Text, model: Language) -> Float[Array, ""]:
    """Returns the mean cross-entropy of the next byte, in nats."""
    return cross_entropy(model.apply(params, batch.shown), batch.following)


def metrics(params: Params, batch: Text, model: Language) -> dict[str, Float[Array, ""]]:
    """Returns the loss in nats and in bits, and the share of bytes guessed right."""

    def one(piece: Text) -> tuple[Array, Array]:
        scores = model.apply(params, piece.shown[None])[0]
        return cross_entropy(scores, piece.following), accuracy(scores, piece.following)

    found, right = map(jnp.mean, jax.lax.map(one, batch, batch_size=TOGETHER))
    return {"loss": found, "bits": found / jnp.log(2.0), "accuracy": right}


def results(params: Params, test: Text, key: PRNGKeyArray, model: Language) -> dict[str, Any]:
    """Returns what the model writes, after the first piece of the test part."""
    start = test.shown[0].astype(jnp.int32)
    drawn = jax.jit(
        lambda params, start: continued(model, params, start, key, SAMPLE, temperature=0.8)
    )(params, start)
    before, after = (bytes(np.asarray(part, np.uint8)) for part in (start, drawn))
    return {"sample.txt": f"{before.decode(errors='replace')}|{after.decode(errors='replace')}\n"}


def _pieces(read: np.ndarray, length: int) -> Text:
    """Returns pieces that begin where the one before ends."""
    pieces = datasets.windows(read, length + 1, length)
    return Text(jnp.asarray(pieces[:, :-1]), jnp.asarray(pieces[:, 1:]))
