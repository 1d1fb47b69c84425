"""The page of a run: what stands on it, whatever the values are; and in a browser."""

import json
import math
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from backprop_jax.runner.plan import make_plan
from backprop_jax.runner.report.step import WORTH, is_small, step_drawn, steps_in
from backprop_jax.runner.task import make_task
from tests import browser

pytestmark = pytest.mark.usefixtures("drawn")

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
    text = page("gradient={check_every: 10, flow_every: 5}", "seed=3").read_text()
    assert sections(text) == [
        "Result", "Learning curves", "Gradient flow", "Gradients against jax.grad",
        "Configuration", "Where it ran",
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


@pytest.fixture
def nasty(folder):
    """Has names that are mark-up: of the experiment's file, its figures, its parameters."""
    source = (folder / "line.py").read_text()
    for name in ("slope", "height"):
        source = source.replace(f'"{name}"', json.dumps(f"{name}{NASTY}"))
    (folder / "line.py").write_text(source)
    recipe = (folder / "line.yaml").read_text()
    (folder / "line.yaml").write_text(f"# Question: {NASTY}\n{recipe}")


@pytest.mark.usefixtures("nasty")
def test_it_is_whole_and_harmless_in_a_browser(page):
    path = page("gradient={check_every: 10, flow_every: 5, graph: true}")
    text = path.read_text()
    assert "The first step, forward and back" in sections(text)
    assert text.count("<script") == 2 and "<img" not in text  # the picture's: its data, and ours
    seen = browser.opened(path, width=400)
    assert (seen.requests, seen.errors) == ([], [])
    assert "<title>line</title>" in seen.content
    assert 'class="bp ready"' in seen.content and 'class="node step result"' in seen.content
    assert "Where it ran" in seen.content


@pytest.mark.usefixtures("nasty")
def test_a_run_of_many_has_its_page(cli, folder):
    words = ("seed=0..1", "training.steps=2", "--vectorised", "--out", "out")
    assert cli("sweep", "line.yaml", *words).code == 0
    links = re.findall(r'<a href="([^"]*)"', (folder / "out/report.html").read_text())
    assert [unquote(link) for link in links] == [f"00{n}-seed={n}/report.html" for n in range(2)]
    path = folder / "out" / unquote(links[1])
    text = path.read_text()
    assert sections(text) == ["Result", "Learning curves", "Configuration", "Where it ran"]
    assert re.search(r'>seed</td><td class="code wide">1</td>', text)
    seen = browser.opened(path, width=400)
    assert (seen.requests, seen.errors) == ([], [])
    assert "<title>line</title>" in seen.content


LESSON = """
import backprop_jax as bp
from backprop_jax.runner.lesson import Lesson


def lesson() -> Lesson:
    dot = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'><circle r='9'/></svg>"
    pictures = {"dot.svg": dot, "graph.svg": bp.explain(lambda x: x * x, 3.0), "said.txt": NASTY}
    shown = "\\n\\n".join(f"![{NASTY}]({name})" for name in pictures)
    text = f"{NASTY} is *nasty*.\\n\\n{shown}\\n\\n| a | b |\\n|---|---|\\n| {NASTY} | 2 |"
    return Lesson(title=NASTY, text=text, numbers={NASTY: 1.0, "two": 2.0}, pictures=pictures)
"""


def test_a_lesson_has_its_page(cli, folder, monkeypatch):
    """Its graph wants Graphviz; where there is none it is one that unfolds."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    (folder / "lesson.py").write_text(f"NASTY = {NASTY!r}\n{LESSON}")
    (folder / "lesson.yaml").write_text("lesson: lesson.py\nexpected: {two: 3}\n")
    assert cli("run", "lesson.yaml", "--out", "out").code == 1
    path = folder / "out/report.html"
    text = path.read_text()
    assert sections(text) == ["In numbers", "Configuration", "Where it ran"]
    assert "<li>two is 2, promised 3</li>" in text and '<span class="status failed">broken' in text
    assert text.count("<script") == 0 and text.count("<img ") == 1
    with browser.browser(path, width=400) as page:
        assert page.ask("document.querySelector('.text img').naturalWidth") > 0
        assert page.ask("document.querySelector('.text em').textContent") == "nasty"
        assert page.ask("document.querySelector('.text pre').textContent") == NASTY
        assert page.ask("document.querySelector('.text td').textContent") == NASTY
        assert page.ask("document.title") == NASTY
        page.enter()
        assert page.ask("document.querySelectorAll('.bp.ready .node').length") >= 3
        assert [url for url in page.requests if not url.startswith(browser.INSIDE)] == []
        assert page.errors == []


def test_a_comparison_has_its_page(cli, folder):
    """The same from a file as from the shell."""
    (folder / "cube.py").write_text("def f(x):\n    return sum(y**3 for y in x.values())\n")
    text = json.dumps({"function": "cube.py:f", "args": [{NASTY: 2.0}], "witnesses": ["jax"]})
    (folder / "cube.yaml").write_text(text)
    assert cli("run", "cube.yaml", "--out", "out").code == 0
    assert cli("compare", "cube.yaml", "--html", "shell.html").code == 0
    pages = [(folder / name).read_text() for name in ("out/report.html", "shell.html")]
    for text in pages:
        assert sections(text) == ["In numbers", "Configuration", "Where it ran"]
        assert "<td>jax.grad</td>" in text and "cube.yaml:1:" in text
        assert text.count("<script") == text.count("<img") == 0
    seen = browser.opened(folder / "out/report.html", width=400)
    assert (seen.requests, seen.errors) == ([], [])
    assert "<title>Gradient of cube.py:f</title>" in seen.content


def test_the_browser_tells_of_requests_and_errors(folder):
    """Else there would be none to tell of on any page."""
    (folder / "bad.html").write_text(f"<html>{NASTY}</html>")
    seen = browser.opened(folder / "bad.html")
    assert seen.requests == ["http://localhost:9/x"]
    assert "gone is not defined" in "".join(seen.errors)
    assert "<title>taken</title>" in seen.content
