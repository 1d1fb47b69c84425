"""The page of a run: what stands on it, whatever the values are; and in a browser."""

import json
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from backprop_jax.runner.plan import make_plan
from backprop_jax.runner.report.step import WORTH, is_small, step_drawn, steps_in
from backprop_jax.runner.task import make_task
from tests import browser

NASTY = "<script>document.title='taken'</script><img src=http://localhost:9/x onerror=gone()>&\"'"


@pytest.fixture
def page(cli, folder):
    """Returns a function that runs a line with these words, and returns its page."""

    def make(*words, out="out"):
        cli("run", "line.yaml", "--out", out, *words)
        return folder / out / "report.html"

    return make


def sections(text):
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_it_tells_all_of_a_run(page):
    text = page("gradient={check_every: 10, flow_every: 5, graph: true}", "seed=3").read_text()
    assert sections(text) == [
        "Result", "Learning curves", "Gradient flow", "Gradients against jax.grad",
        "The first step, forward and back", "Configuration", "Where it ran",
    ]  # fmt: skip
    assert '<span class="status completed">completed</span>: 20 steps' in text
    assert re.search(
        r'seed</td><td class="code wide">3</td><td class="quiet wide">command line', text
    )
    assert re.search(r"training\.steps</td>.*>20</td>.*>line\.yaml:3:\d+<", text)
    assert text.count("<svg ") == 3 + 3  # a line has no units that could be dead
    assert "packages.jax" in text and "device.kind" in text


def test_a_first_step_that_cannot_be_drawn_does_no_harm(page, folder):
    source = (folder / "line.py").read_text()
    few = "    if len(batch['x']) < 16:\n        raise ValueError('too <few>')\n"
    head = "def loss(params, batch):\n"
    (folder / "line.py").write_text(source.replace(head, head + few))
    text = page("gradient.graph=true", "training.steps=1").read_text()
    assert "<p>It could not be drawn. ValueError: too &lt;few&gt;</p>" in text
    assert '<span class="status completed">' in text and "<script" not in text


def test_what_is_drawn_unasked(folder):
    """After a training that was long enough, a step that is soon looked at."""
    task = make_task(plan := make_plan(Path("line.yaml"), []))
    assert step_drawn(plan, task, 0.9 * WORTH) == ("", "")
    assert is_small(plan, task)

    def loop(x, trips):
        body = lambda _, x: lax.scan(lambda c, _: (jnp.sin(c), None), x, length=5)[0]  # noqa: E731
        return lax.fori_loop(0, trips, body, x)

    assert steps_in(jax.make_jaxpr(lambda x: loop(x, 100))(1.0)) >= 500
    assert steps_in(jax.make_jaxpr(loop)(1.0, 100)) == math.inf


def test_it_tells_where_a_run_stopped_and_went_on(page, cli, folder):
    text = page("optimizer.learning_rate=1e30").read_text()
    assert "It stopped at step" in text and "the loss is" in text
    assert 'class="status nonfinite"' in text
    page("training.steps=10", out="parts")
    cli("run", "line.yaml", "--resume", "parts")
    assert (
        "It went on after having stopped, from step 10."
        in (folder / "parts/report.html").read_text()
    )


def test_it_is_whole_and_harmless_in_a_browser(page, folder):
    """Names that are mark-up: of the experiment's file, its figures, its parameters."""
    source = (folder / "line.py").read_text()
    for name in ("slope", "height"):
        source = source.replace(f'"{name}"', json.dumps(f"{name}{NASTY}"))
    (folder / "line.py").write_text(source)
    recipe = (folder / "line.yaml").read_text()
    (folder / "line.yaml").write_text(f"# Question: {NASTY}\n{recipe}")
    path = page("gradient={check_every: 10, flow_every: 5, graph: true}")
    text = path.read_text()
    assert text.count("<script") == 2 and "<img" not in text  # the picture's: its data, and ours
    seen = browser.opened(path, width=400)
    assert (seen.requests, seen.errors) == ([], [])
    assert "<title>line</title>" in seen.content
    assert 'class="bp ready"' in seen.content and 'class="node step result"' in seen.content
    assert "Where it ran" in seen.content


def test_the_browser_tells_of_requests_and_errors(folder):
    """Else there would be none to tell of on any page."""
    (folder / "bad.html").write_text(f"<html>{NASTY}</html>")
    seen = browser.opened(folder / "bad.html")
    assert seen.requests == ["http://localhost:9/x"]
    assert "gone is not defined" in "".join(seen.errors)
    assert "<title>taken</title>" in seen.content
