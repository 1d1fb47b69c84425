"""The plugin of pytest, in a suite of its own."""

import json

pytest_plugins = ["pytester"]

SUITE = """
import jax.numpy as jnp
import pytest


def loss(x):
    return jnp.sum(x**2)


def test_right(gradcheck):
    assert gradcheck(loss, (jnp.ones(3),), order=1, modes=("rev",)).ok


def test_by_hand(gradcheck):
    gradcheck(loss, (jnp.ones(3),), gradient=lambda x: x)
"""


def run(pytester, name):
    pytester.makepyfile(SUITE)
    options = ("-p", "backprop_jax.pytest", "-p", "no:xdist", "--gradcheck-report", name)
    result = pytester.runpytest_inprocess(*options)
    result.assert_outcomes(passed=1, failed=1)
    return result, (pytester.path / name).read_text()


def test_a_failure_is_told_and_noted(pytester):
    result, text = run(pytester, "gradients.json")
    result.stdout.fnmatch_lines(
        [
            "*WRONG: gradient on 'loss'*",
            "*wrong: *the gradient at x[[]*[]], float32[[]3[]]*",
            "*measured: * 2 ± *",
            "2 gradients checked, 1 not ok: see gradients.json",
        ]
    )
    result.stdout.no_fnmatch_line("*check_grads.py*")  # Of the page of code that raises, nothing.
    right, wrong = json.loads(text)
    assert right["test"].endswith("::test_right")
    assert (right["verdict"], right["leaves"], right["elements"]) == ("ok", 1, 3)
    assert (wrong["verdict"], wrong["engine"]) == ("WRONG", "gradient")


def test_the_report_is_a_table(pytester):
    _, text = run(pytester, "gradients.md")
    lines = text.splitlines()
    assert lines[0] == "# Gradients: 2 checked, 1 not ok"
    assert "::test_by_hand | loss | gradient | 1 | 3 |" in lines[-2]  # What is wrong comes first.
    assert "::test_right | loss | backprop_jax | 1 | 3 |" in lines[-1]
