"""A transformer of twelve parts, each with a reverse rule of its own, its layers in a scan."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAYERS, WIDTH, WORDS = 4, 8, 7


def rms_norm(x: Any, s: Any) -> Any:
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * s


def of_rms_norm(kept: tuple, g: Any, sign: float = -1.0) -> tuple:
    x, s = kept
    r = lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
    along = jnp.mean(g * s * x, -1, keepdims=True)
    return r * g * s + sign * x * r**3 * along, jnp.sum(g * x * r, (0, 1))


def with_a_wrong_sign(kept: tuple, g: Any) -> tuple:
    return of_rms_norm(kept, g, 1.0)


def product(x: Any, w: Any) -> Any:
    return x @ w


def of_product(kept: tuple, g: Any) -> tuple:
    x, w = kept
    return g @ w.T, jnp.einsum("bti,btj->ij", x, g)


def softmax(x: Any) -> Any:
    return jax.nn.softmax(x)


def of_softmax(kept: tuple, g: Any) -> tuple:
    p = jax.nn.softmax(kept[0])
    return (p * (g - jnp.sum(g * p, -1, keepdims=True)),)


def swish(x: Any) -> Any:
    return x / (1 + jnp.exp(-x))


def of_swish(kept: tuple, g: Any) -> tuple:
    s = 1 / (1 + jnp.exp(-kept[0]))
    return (g * s * (1 + kept[0] * (1 - s)),)


def total(x: Any, y: Any) -> Any:
    return x + y


PARTS: dict[str, tuple[Callable, Callable]] = {
    "norm": (rms_norm, of_rms_norm),
    "queries": (product, of_product),
    "keys": (product, of_product),
    "values": (product, of_product),
    "attention": (softmax, of_softmax),
    "heads": (product, of_product),
    "skip": (total, lambda kept, g: (g, g)),
    "norm of the second half": (rms_norm, of_rms_norm),
    "up": (product, of_product),
    "swish": (swish, of_swish),
    "down": (product, of_product),
    "skip of the second half": (total, lambda kept, g: (g, g)),
}


def transformer(wrong: str = "") -> Callable:
    """Returns the loss of a transformer, of which one norm may have a wrong sign in its rule."""
    part = {}
    for name, (fun, backward) in PARTS.items():
        part[name] = jax.custom_vjp(fun)
        backward = with_a_wrong_sign if name == wrong else backward
        part[name].defvjp(lambda *x, fun=fun: (fun(*x), x), backward)

    def layer(x: Any, p: dict) -> tuple:
        n = part["norm"](x, p["scale"])
        q, k, v = (part[name](n, p[name]) for name in ("queries", "keys", "values"))
        scores = q @ jnp.swapaxes(k, 1, 2) * WIDTH**-0.5
        causal = jnp.tril(jnp.ones(scores.shape[1:], bool))
        a = part["attention"](jnp.where(causal, scores, -1e9))
        x = part["skip"](x, part["heads"](a @ v, p["heads"]))
        n = part["norm of the second half"](x, p["scale of the second half"])
        up = part["swish"](part["up"](n, p["up"]))
        return part["skip of the second half"](x, part["down"](up, p["down"])), None

    def loss(params: dict, tokens: Any) -> Any:
        x, _ = lax.scan(layer, params["words"][tokens], params["layers"])
        return -jnp.mean(jax.nn.log_softmax(x @ params["words"].T)[..., 0])

    return loss


def parameters(dtype: str = "float32") -> tuple[dict, Any]:
    """Returns the parameters, those of the layers stacked, and words to read."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return jnp.asarray(rng.normal(size=shape) * WIDTH**-0.5, dtype)

    layers = {name: normal(LAYERS, WIDTH, WIDTH) for name in ("queries", "keys", "values", "heads")}
    layers["up"], layers["down"] = normal(LAYERS, WIDTH, 16), normal(LAYERS, 16, WIDTH)
    layers["scale"] = layers["scale of the second half"] = jnp.ones((LAYERS, WIDTH), dtype)
    return {"words": normal(WORDS, WIDTH), "layers": layers}, rng.integers(0, WORDS, (2, 5))
