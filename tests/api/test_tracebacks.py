"""Whose frames a traceback shows: those of users, and with the filter off those of ours, too."""

import inspect
import os
import pathlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.extend import core

import backprop_jax as bp
from backprop_jax import tracebacks

OURS = str(pathlib.Path(bp.__file__).parent) + os.sep
MODES = ("auto", "tracebackhide", "remove_frames", "quiet_remove_frames", "off")


class Mistake(Exception):
    """What users' functions raise here."""


def wrong(x: Any) -> Any:
    """A function of a user's."""
    raise Mistake


@jax.custom_vjp
def wrong_forward(x: Any) -> Any:
    return x


@jax.custom_vjp
def wrong_backward(x: Any) -> Any:
    return x


@jax.custom_jvp
def wrong_slope(x: Any) -> Any:
    return x


wrong_forward.defvjp(lambda x: wrong(x), lambda _, g: (g,))
wrong_backward.defvjp(lambda x: (x, None), lambda _, g: wrong(g))
wrong_slope.defjvp(lambda primals, tangents: wrong(primals))

unknown_p = core.Primitive("unknown")
unknown_p.def_impl(lambda x: x)
unknown_p.def_abstract_eval(lambda x: x)


def into_references() -> Any:
    reference = jax.new_ref(jnp.float32(0))
    return bp.vjp(wrong_backward, 1.0)[1].with_refs(reference)(1.0)


# fmt: off
CALLS = {
    "grad":            lambda: bp.grad(wrong)(1.0),
    "value_and_grad":  lambda: bp.value_and_grad(wrong)(1.0),
    "vjp":             lambda: bp.vjp(wrong, 1.0),
    "pullback":        lambda: bp.vjp(wrong_backward, 1.0)[1](1.0),
    "with_refs":       into_references,
    "fwd_and_bwd":     lambda: bp.fwd_and_bwd(wrong)[0](1.0),
    "forward":         lambda: bp.fwd_and_bwd(wrong, jitted=False)[0](1.0),
    "backward":        lambda: backward(wrong_backward),
    "jacrev":          lambda: bp.jacrev(wrong)(1.0),
    "jacobian":        lambda: bp.jacobian(wrong)(1.0),
    "jacfwd":          lambda: bp.jacfwd(wrong)(1.0),
    "hessian":         lambda: bp.hessian(wrong)(1.0),
    "jvp":             lambda: bp.jvp(wrong, (1.0,), (1.0,)),
    "hvp":             lambda: bp.hvp(wrong, (1.0,), (1.0,)),
    "transpose":       lambda: bp.linear_transpose(wrong, 1.0)(1.0),
    "checkpoint":      lambda: bp.checkpoint(wrong)(1.0),
    "remat=":          lambda: bp.grad(wrong, remat="auto")(1.0),
    "remat":           lambda: bp.checkpoint(wrong, remat="auto")(1.0),
    "memory_plan":     lambda: bp.memory_plan(wrong, 1.0),
    "find_nonfinite":  lambda: bp.find_nonfinite(wrong, 1.0),
    "cotangents":      lambda: bp.value_grad_and_cotangents(wrong, select="sin")(1.0),
    "custom, forward": lambda: bp.grad(wrong_forward)(1.0),
    "custom, back":    lambda: bp.grad(wrong_backward)(1.0),
    "custom_jvp":      lambda: bp.grad(wrong_slope)(1.0),
    "twice":           lambda: bp.grad(bp.grad(wrong))(1.0),
    "within jit":      lambda: jax.jit(bp.grad(wrong))(1.0),
    "jit within":      lambda: bp.grad(jax.jit(wrong))(1.0),
    "vmap":            lambda: jax.vmap(bp.grad(wrong))(jnp.ones(2)),
    "scan within":     lambda: bp.grad(lambda x: lax.scan(lambda c, _: wrong(c), x, None, 2))(1.0),
}
# fmt: on


def backward(fun: Callable) -> Any:
    forward, back = bp.fwd_and_bwd(fun, jitted=False)
    return back(forward(1.0)[1], 1.0)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", request.param)
    yield request.param
    jax.config.update("jax_traceback_filtering", before)


def shown(error: BaseException) -> list[str]:
    """Returns the files of the frames that are shown."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [f.f_code.co_filename for f in frames if "__tracebackhide__" not in f.f_locals]


@pytest.mark.parametrize("what", CALLS)
def test_frames_of_ours_are_left_out(what, mode):
    with pytest.raises(Mistake) as caught:
        CALLS[what]()
    files = shown(caught.value)
    assert files[0] == files[-1] == __file__, "the user's, who called and who made the mistake"
    ours = mode == "off" and what != "checkpoint"  # which is JAX's
    assert any(file.startswith(OURS) for file in files) == ours


def test_our_own_errors_end_where_the_user_called(mode):
    with pytest.raises(TypeError, match="real- or complex-valued") as wrong_type:
        bp.grad(jnp.sin)(1)
    with pytest.raises(bp.errors.MissingRule, match=r"test_tracebacks\.py") as missing:
        bp.grad(lambda x: unknown_p.bind(x))(1.0)
    for caught in (wrong_type, missing):
        assert any(file.startswith(OURS) for file in shown(caught.value)) == (mode == "off")


def test_private_names_are_there():
    """Else tracebacks are whole, and nobody would see why."""
    assert tracebacks.mark is not None and tracebacks.leave_out is not None


def test_without_them_functions_are_as_they_are(monkeypatch):
    monkeypatch.setattr(tracebacks, "mark", None)
    assert tracebacks.boundary(wrong) is wrong is tracebacks.within(wrong)


def test_functions_keep_name_docstring_and_signature():
    for name in ("grad", "vjp", "jvp", "jacrev", "hessian", "linear_transpose", "checkpoint"):
        function = getattr(bp, name)
        assert function.__name__ == name and function.__doc__.startswith("Returns")
        assert "fun" in inspect.signature(function).parameters
    for made in (bp.grad(wrong), bp.jacfwd(wrong), bp.hessian(wrong)):
        assert made.__name__ == "wrong" and list(inspect.signature(made).parameters) == ["x"]
        assert "takes the same arguments" in made.__doc__
    assert bp.checkpoint(wrong, remat="auto").__doc__ == wrong.__doc__
