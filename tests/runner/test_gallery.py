"""The gallery: every lesson runs, finds its numbers, and its page is that of its sources."""

import json
from typing import Any, NamedTuple

import pytest

from backprop_jax.runner.promises import Promise, kept
from experiments import gallery


class Row(NamedTuple):
    """A configuration in its short form, and numbers that it must find.

    Attributes:
      name: of the configuration.
      numbers: some of the lesson's, worked out by hand or known; as in the section `expected`.
      short: settings over those of the file, so that it takes a second.
    """

    name: str
    numbers: dict[str, Any]
    short: tuple[str, ...] = ()


NOTHING = "expected=null"
"""The promises of the file are those of its full form."""

SHORT = ("settings.steps=3", NOTHING)

LESSONS = [
    Row("tangent", {"value": 2.5**2 + 4 * 2.5 + 4, "gradient": 2 * 2.5 + 4}),
    Row("partials", {"value": 4.0, "gradient": [-3.0, 2.0, 1.0], "differences": [-3.0, 2.0, 1.0]}),
    Row("vectors", {"gradient_of_x": [6.0, 12.0, 18.0, 24.0], "gradient_of_y": [2.0] * 4}),
    Row("walker", {"car_over_walker": 8.0, "product": 2.0 * 4.0}),
    # The slope that mpmath.diff finds with fifty digits.
    Row("composition", {"gradient": -1.1808729253284689, "product": -1.1808729253284689}),
    Row("nodes", {"L": -8.0, "dL/da": 6.0, "dL/db": -4.0, "dL/dc": -2.0, "dL/df": 4.0}),
    Row(
        "graphs", {"line_gradient": 2.0, "cube_gradient_by_x": 1089.0, "cube_gradient_by_y": 1452.0}
    ),
    Row("linear_net", {"gradient": [1.375, -5.5], "paths_summed": [1.375, -5.5]}),
    Row(
        "descent",
        # 8 times 0.96, 0.8 and -0.8 to the tenth, from -2.
        {
            "ends": [-2 + 8 * factor**10 for factor in (0.96, 0.8, 0.0, -0.8, -1.0, -1.1)],
            "outcomes": [*2 * ["on its way"], "there", "on its way", "to and fro", "diverges"],
        },
        ("settings.steps=10",),
    ),
    Row(
        "landscape",
        {"rosenbrock_momentum_steps": Promise(value=393, within=20)},
        ("settings.surfaces=[rosenbrock]", "settings.steps=100", "settings.frames=3", NOTHING),
    ),
    Row("lines", {"perceptron_mistakes": 13, "perceptron_wrong_in_the_end": 0}),
    Row(
        "by_hand",
        {f"hand_ours_{leaf}": Promise(most=1e-13) for leaf in ("w1", "b1", "w2", "b2")},
        ("settings.steps=40", NOTHING),
    ),
    Row(
        "vanishing",
        {
            "relu_factor_at_1": Promise(value=0.5**0.5, within=0.03),
            "relu_he": Promise(value=1.0, within=0.06),
        },
        ("settings.depths=[8]", "settings.activations=[relu]", "settings.depth=8", *SHORT),
    ),
    Row(
        "curve_fit",
        {"onions_levenberg_marquardt_steps": Promise(most=25)},
        ("settings.data=[onions]", "settings.gradient_steps=100", NOTHING),
    ),
]

ELSEWHERE = {"six_ways", "steps"}
"""Comparisons, whose numbers stand in test_comparing."""


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("row", LESSONS, ids=lambda row: row.name)
def test_a_lesson_finds_its_numbers(cli, folder, row):
    config = gallery.ROOT / gallery.config_of(row.name)
    result = cli("run", str(config), "--out", "out", *row.short)
    assert (result.code, result.err) == (0, ""), result.out
    summary = json.loads((folder / "out/summary.json").read_text())
    for name, said in row.numbers.items():
        assert kept(said, summary["numbers"][name]), (name, summary["numbers"][name], said)
    page = (folder / "out/page.md").read_text()
    for picture in summary["pictures"]:
        assert f"]({picture})" in page
        assert (folder / "out" / picture).stat().st_size > 1000
    assert all("pygraphviz is not installed" in why for why in summary["missing"].values())


def test_all_of_the_gallery_is_tested():
    assert {row.name for row in LESSONS} | ELSEWHERE == set(gallery.names())
    configs = {path.stem for path in (gallery.CONFIGS / "gallery").glob("*.yaml")}
    assert configs == set(gallery.names()) - ELSEWHERE


@pytest.mark.parametrize("name", gallery.names())
def test_a_page_is_of_the_sources_as_they_are(name):
    assert not gallery.is_stale(name), f"run python -m experiments.gallery {name}"


def test_the_page_of_pages_is_that_of_the_pages():
    assert gallery.INDEX.read_text() == gallery.index(), "run python -m experiments.gallery"
