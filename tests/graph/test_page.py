"""The page in a real browser: it unfolds, asks for nothing, escapes, and is fast."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import backprop_jax as bp
from tests.browser import browser

BOXES = "document.querySelectorAll('.bp svg .node').length"
TITLES = "[...document.querySelectorAll('.bp svg text.title')].map((e) => e.textContent)"
BAD = "<script>alert(1)</script>"


def attention(p: dict, x: Any) -> Any:
    q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
    return jax.nn.softmax(q @ k.T) @ v


def mlp(p: dict, x: Any) -> Any:
    return jnp.tanh(x @ p["q"]) @ p["k"]


def block(p: dict, x: Any) -> Any:
    x = x + attention(p["attention"], x)
    return x + mlp(p["mlp"], x)


def transformer(params: list, x: Any) -> Any:
    for p in params:
        x = block(p, x)
    return jnp.sum(x**2)


@pytest.fixture(scope="module")
def params() -> list:
    w = {name: jnp.full((4, 4), 0.05) for name in "qkv"}
    return [{"attention": w, "mlp": w} for _ in range(12)]


def saved(folder: Path, fun: Any, *args: Any, **options: Any) -> Path:
    path = folder / "page.html"
    bp.explain(fun, *args, **options).save(path)
    return path


def test_a_transformer_opens_folded_and_unfolds(params, tmp_path):
    path = saved(tmp_path, jax.jit(transformer), params, jnp.ones((3, 4)), argnums=0)
    with browser(path) as page:
        boxes = page.ask(BOXES)
        took = page.ask("performance.timing.loadEventEnd - performance.timing.navigationStart")
        assert 12 <= boxes <= 60
        assert took < 3000
        titles = page.ask(TITLES)
        assert [f"▸ block · {i} of 12" for i in range(1, 13)] == [t for t in titles if "block" in t]
        assert page.ask("document.documentElement.scrollWidth") <= 1280
        name = page.ask("[...document.querySelectorAll('.fold')][4].dataset.name")
        page.click(f"[data-name={name}]")
        titles = page.ask(TITLES)
        assert "▾ block · 5 of 12" in titles and {"▸ attention", "▸ mlp"} & {*titles}
        assert page.ask(BOXES) > boxes
        assert "gradient that arrives" in page.ask("document.querySelector('.side').textContent")
        page.key("Enter")  # The focus is on what was clicked.
        assert page.ask(BOXES) == boxes
        page.ask("document.querySelector('.bp:not(.bp-page)').picture.level(true)")
        assert page.ask(BOXES) > 2 * boxes
        assert page.errors == []
        assert page.requests == [path.resolve().as_uri()]


def test_all_that_a_user_names_is_escaped(tmp_path):
    def fun(p: dict, x: Any) -> Any:
        with jax.named_scope(BAD):
            x = jnp.sin(p[BAD] * x) * jnp.cos(p[BAD] + x)
        return jnp.sum(lax.scan(lambda c, w: (c * w, None), x, jnp.ones((3, 2)))[0])

    path = saved(tmp_path, fun, {BAD: jnp.ones(2)}, jnp.ones(2))
    assert BAD not in path.read_text()
    with browser(path) as page:
        page.ask("document.querySelector('.bp:not(.bp-page)').picture.level(true)")
        for name in page.ask("[...document.querySelectorAll('.node')].map((e) => e.dataset.name)"):
            page.ask(f"document.querySelector('[data-name={name}]').focus()")
        assert any(BAD in title for title in page.ask(TITLES))
        assert page.errors == []
        assert page.requests == [path.resolve().as_uri()]


def test_what_is_not_finite_is_shown(tmp_path):
    path = saved(tmp_path, lambda x: jnp.sum(jnp.sqrt(x) * 2.0), np.array([0.0, 1.0], np.float32))
    with browser(path) as page:
        page.ask("document.querySelector('.node').focus()")
        assert "1 not finite" in page.ask("document.querySelector('.side').textContent")
        assert page.errors == []
