"""The page of a run: what stands on it, whatever the values are; and in a browser."""

import json
import re

import pytest

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
    path = page("gradient={check_every: 10, flow_every: 5}")
    text = path.read_text()
    assert "<script" not in text and "<img" not in text
    seen = browser.opened(path, width=400)
    assert (seen.requests, seen.errors) == ([], [])
    assert "<title>line</title>" in seen.content
    assert "Where it ran" in seen.content


def test_the_browser_tells_of_requests_and_errors(folder):
    """Else there would be none to tell of on any page."""
    (folder / "bad.html").write_text(f"<html>{NASTY}</html>")
    seen = browser.opened(folder / "bad.html")
    assert seen.requests == ["http://localhost:9/x"]
    assert "gone is not defined" in "".join(seen.errors)
    assert "<title>taken</title>" in seen.content
