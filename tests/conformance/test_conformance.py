"""JAX's own tests pass with our functions; and the plugin that shows it does what it says."""

import os
import pathlib

import pytest

from tests.conformance import __main__ as conformance
from tests.conformance import plugin

CHECKOUT = os.environ.get("JAX_CHECKOUT")

#: A test module, and how each of its tests goes.
EXAMPLE = """
import jax, jax.numpy as jnp, jax.extend, backprop_jax as bp
from backprop_jax.engine.registry import doors
from jax import grad
from jax.interpreters import ad
from jax.test_util import check_grads
from jax._src import api, test_util as jtu

class ExampleTest(jtu.JaxTestCase):
    def test_passed(self):
        check_grads(jnp.sin, (1.0,), 2)
    def test_passed_imported(self):
        assert grad(jnp.sin)(0.0) == api.vjp(jnp.sin, 0.0)[1](1.0)[0] == 1
    def test_passed_forward_over_ours(self):
        f = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, length=2)[0]
        jax.jvp(grad(f), (1.0,), (1.0,))
    def test_passed_user_differentiates_within(self):
        g = lambda x: jax.jvp(jnp.sin, (x,), (1.0,))[1]
        assert grad(g)(0.0) == 0
    def test_passed_own_primitive(self):
        twice_p = jax.extend.core.Primitive("twice")
        twice_p.def_impl(lambda x: 2 * x)
        ad.defjvp(twice_p, lambda t, x: 2 * t)
        assert grad(twice_p.bind)(3.0) == 2
    def test_passed_primitive_of_a_library(self):
        theirs_p = jax.extend.core.Primitive("theirs")
        exec("ad.primitive_jvps[p] = None", {"__name__": "library", "ad": ad, "p": theirs_p})
        assert grad(jnp.sin)(0.0) == 1 and theirs_p not in doors
    def test_failed_only_ours(self):
        assert grad.__module__ != "backprop_jax.api"
    def test_failed_asked_jax(self):
        grad(lambda x: x)(0.0)
        exec("jax.jvp(jnp.sin, (1.0,), (1.0,))", {**globals(), "__name__": "backprop_jax.new"})
    def test_failed_with_jax_too(self):
        assert grad(jnp.sin)(0.0) == 2
    def test_not_reached(self):
        gradient = None
    def test_left_out(self):
        raise AssertionError
"""


def test_counts_what_passes_and_what_fails_through_us(tmp_path):
    path = tmp_path / "example_test.py"
    path.write_text(EXAMPLE)
    counts, failed = conformance.judge(path)
    assert counts == {"reached": 9, "passed": 6, "failed": 2, "failed with JAX, too": 1}
    reasons = {line["test"].rpartition("_")[2]: line["what"] for line in failed}
    assert set(reasons) == {"ours", "jax"}
    assert "used JAX's own differentiation" in reasons["jax"]


def test_every_exception_names_a_module_and_a_reason():
    for pattern, reason in plugin.read_exceptions():
        assert pattern.partition(".py::")[0] in conformance.MODULES, pattern
        assert len(reason.split()) > 3, pattern


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason="JAX_CHECKOUT names no checkout of JAX's repository")
@pytest.mark.parametrize("module", conformance.MODULES)
def test_module_of_jax(module):
    _, failed = conformance.judge(pathlib.Path(CHECKOUT, "tests", f"{module}.py").resolve())
    assert not failed
