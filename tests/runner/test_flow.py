"""How gradients flow: the order of depth, what is measured, what is found, what a run keeps."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from backprop_jax.runner.flow.findings import findings
from backprop_jax.runner.flow.history import Flow, gradient_flow
from backprop_jax.runner.flow.layers import layers_of
from backprop_jax.runner.flow.lookout import Lookout
from backprop_jax.runner.flow.measuring import FIGURES

KEY = jax.random.key(0)


def layer(inputs, outputs, *stacked, scale=1.0):
    w = scale * jax.random.normal(KEY, (*stacked, inputs, outputs)) / inputs**0.5
    return {"w": w, "b": jnp.zeros((*stacked, outputs))}


def dense(params, x):
    return x @ params["w"] + params["b"]


X = jax.random.normal(KEY, (16, 4))


def deep(act):
    """Returns the loss of layers one after the other, by names that sort the other way round."""

    def loss(params, x):
        for name in sorted(params, reverse=True):
            x = act(dense(params[name], x))
        return jnp.sum(x)

    return loss


def scanned(reverse):
    def loss(params, x):
        x = dense(params["zero"], x)
        x, _ = lax.scan(
            lambda h, p: (jnp.tanh(dense(p, h)), None), x, params["all"], reverse=reverse
        )
        heads = jnp.einsum("bi,ihk->bhk", x, params["a"].astype(x.dtype))
        # A penalty that touches all of them first says nothing of depth.
        return sum(jnp.sum(p**2) for p in jax.tree.leaves(params)) + jnp.sum(heads)

    return loss


def recurrent(params, x):
    """The weights of a loop over time; a branch; a unit within a rule of the user's."""
    h, _ = lax.scan(lambda h, u: (jnp.tanh(h @ params["h"]["w"] + u), None), jnp.zeros(4), x)
    h = lax.cond(h[0] > 0, lambda h: h @ params["c"]["w"], lambda h: h, h)
    return jax.nn.relu(jnp.dot(params["b"]["w"], h)).sum() + params["d"]["unused"] * 0


CONV = {"z": {"kernel": jnp.ones((3, 3, 1, 2))}, "head": layer(32, 3)}


def convolutional(params, x):
    x = lax.conv_general_dilated(
        x.reshape(4, 4, 4, 1), params["z"]["kernel"], (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    return jnp.sum(dense(params["head"], x.reshape(4, -1)))


SCANNED = {"zero": layer(4, 4), "all": layer(4, 4, 3), "a": jnp.ones((4, 2, 3))}
RECURRENT = {"h": {"w": jnp.eye(4)}, "c": {"w": jnp.eye(4)}, "b": {"w": jnp.ones((2, 4))}}

DEPTHS = {
    "names that sort otherwise": (
        deep(jnp.tanh), {"c": layer(4, 4), "b": layer(4, 4), "a": layer(4, 1)}, ["c", "b", "a"],
    ),
    "loop": (scanned(False), SCANNED, ["zero", "all[0]", "all[1]", "all[2]", "a"]),
    "loop from its end": (scanned(True), SCANNED, ["zero", "all[2]", "all[1]", "all[0]", "a"]),
    "loop over time": (
        recurrent, RECURRENT | {"d": {"unused": 0.0}}, ["h", "c", "b", "d"],
    ),
    "convolution": (convolutional, CONV, ["z", "head"]),
    "all in one dictionary": (
        lambda p, x: jnp.sum(x @ p["w"] @ p["v"]),
        {"v": jnp.eye(4), "w": jnp.eye(4)},
        ["w", "v"],
    ),
    "no data": (lambda p, x: p["b"] ** 2 + p["a"], {"a": 1.0, "b": 2.0}, ["b", "a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DEPTHS)
def test_layers_stand_in_the_order_of_depth(name):
    loss, params, expected = DEPTHS[name]
    assert list(layers_of(loss, params, X).names) == expected


UNITS = {
    "zero.w": (1,), "all.w": (2,), "a": (1, 2), "h.w": (1,), "b.w": (0,), "z.kernel": (3,),
    "zero.b": None, "all.b": None,
}  # fmt: skip


def test_units_are_what_a_product_does_not_sum_over():
    given = [(scanned(False), SCANNED), (recurrent, RECURRENT | {"d": {"unused": 0.0}}),
             (convolutional, CONV)]  # fmt: skip
    leaves = [leaf for loss, params in given for leaf in layers_of(loss, params, X).leaves]
    found = {leaf.name: leaf.units for leaf in leaves if leaf.name in UNITS}
    assert found == UNITS


def test_dead_units_are_those_that_no_example_turns_on():
    """The oracle: the activations themselves."""
    params = {"b": layer(4, 8), "a": layer(8, 1)}
    params["b"]["b"] = jnp.linspace(-8.0, 1.0, 8)
    off = np.asarray(dense(params["b"], X) <= 0).all(axis=0)
    flow = gradient_flow(
        lambda params, x: jnp.sum(dense(params["a"], jax.nn.relu(dense(params["b"], x)))), params, X
    )
    assert 0 < off.mean() < 1
    assert flow.layers == ("b", "a")
    assert flow.dead[0, 0] == off.mean()


def test_norms_are_those_of_all_elements_however_small():
    flow = gradient_flow(lambda p: 1e-30 * jnp.sum(p["w"]) + 0 * p["v"], {"w": X, "v": 1.0})
    assert flow.gradient[0, 0] == pytest.approx(1e-30 * 8, rel=1e-6)
    assert flow.weight[0, 0] == pytest.approx(float(jnp.linalg.norm(X)), rel=1e-6)
    assert flow.gradient[0, 1] == 0


def test_the_update_is_that_of_the_optimizer():
    params = {"b": layer(4, 4), "a": layer(4, 1)}
    flow = gradient_flow(deep(jnp.tanh), params, X, optimizer=optax.sgd(0.1))
    np.testing.assert_allclose(flow.update, 0.1 * flow.gradient, rtol=1e-5)
    np.testing.assert_allclose(flow.ratio, flow.update / flow.weight)
    assert str(flow).splitlines()[0] == "layer  gradient    weight    update  update/weight  dead"


# -- what is found ---------------------------------------------------------------------------------
LOOKS, DEPTH = 8, 9


def flow_of(gradient=0.1, update=1e-3, dead=0.0):
    """Returns a flow with these figures; each is a number, or a function of looks and layers."""
    look, at = np.indices((LOOKS, DEPTH)).astype(float)
    tables = [
        np.broadcast_to(figure(look, at) if callable(figure) else figure, look.shape) + 0.0
        for figure in (gradient, 1.0, update, dead)
    ]
    return Flow(1 + 10 * np.arange(LOOKS), tuple(f"conv{n + 1}" for n in range(DEPTH)), *tables)


FOUND = {
    "healthy": (flow_of(), {}),
    "uneven, but no slope": (flow_of(lambda look, at: 0.1 * 10 ** (at % 3)), {}),
    "vanishing": (flow_of(lambda look, at: 0.31 ** (8 - at)), {"vanishing": 0.31}),
    "exploding over depth": (flow_of(lambda look, at: 2.0 ** (8 - at)), {"exploding": 2.0}),
    "vanishing in one look of eight": (
        flow_of(lambda look, at: np.where(look == 0, 0.31 ** (8 - at), 1.0)), {},
    ),
    "exploding over time": (
        flow_of(lambda look, at: np.where((look == 5) & (at == 2), 1e5, 0.1)), {"exploding": 1e6},
    ),
    "not finite": (
        flow_of(lambda look, at: np.where((look == 5) & (at == 2), np.inf, 0.1)),
        {"nonfinite": np.inf},
    ),
    "nothing is": (flow_of(np.nan, np.nan, np.nan), {"nonfinite": np.nan}),
    "beyond all numbers": (
        flow_of(lambda look, at: 1e60 ** (4 - at), np.inf), {"exploding": 1e60},
    ),
    "none at all": (flow_of(lambda look, at: np.where(at < 2, 0.0, 0.1)), {"none": 0.0}),
    "dead": (flow_of(dead=lambda look, at: 0.7 * (at == 3)), {"dead": 0.7}),
    "dead once": (flow_of(dead=lambda look, at: 0.7 * (at == 3) * (look == 6)), {}),
    "too small": (flow_of(update=lambda look, at: np.where(at == 1, 1e-7, 1e-3)), {"small": 1e-7}),
    "too large": (flow_of(update=lambda look, at: np.where(at == 1, 0.2, 1e-3)), {"large": 0.2}),
    "converged": (flow_of(update=lambda look, at: 1e-3 * 0.1**look), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_findings(name):
    flow, expected = FOUND[name]
    found = findings(flow)
    expected = {
        kind: pytest.approx(value, rel=1e-6, nan_ok=True) for kind, value in expected.items()
    }
    assert {one.kind: one.value for one in found} == expected


def test_a_finding_says_where_when_and_how_much():
    (found,) = findings(FOUND["vanishing"][0])
    assert str(found) == (
        "gradient norm falls by a factor of 0.31 per layer from conv9 back to conv1 "
        "(1.0e+00 to 8.5e-05 at step 41): vanishing, in 8 of 8 looks"
    )


def seen_by(lookout, flow):
    """Returns what a lookout tells while a flow is recorded, look by look."""
    told = []
    for look, step in enumerate(flow.steps):
        tables = {name: getattr(flow, name)[look] for name in FIGURES}
        told += lookout.see({"kind": "flow", "step": step, "layers": flow.layers} | tables)
    return told


def test_each_kind_is_told_once_when_it_is_first_so():
    vanishing = FOUND["vanishing"][0]
    (one,) = told = seen_by(Lookout(), vanishing)
    assert (one["kind"], one["step"], one["about"]) == ("warning", 21, "vanishing")
    assert one["text"].endswith("(1.0e+00 to 8.5e-05 at step 11): vanishing, in 3 of 3 looks")
    assert seen_by(Lookout(told), vanishing) == []  # of a run that goes on
    assert [x["step"] for x in seen_by(Lookout(), FOUND["not finite"][0])] == [51]
    assert [x["step"] for x in seen_by(Lookout(), FOUND["nothing is"][0])] == [1]
    assert seen_by(Lookout(), FOUND["healthy"][0]) == []


# -- in a run --------------------------------------------------------------------------------------
def lines(folder, out, *but):
    found = (folder / out / "metrics.jsonl").read_text().splitlines()
    return [x for line in found if (x := json.loads(line))["kind"] not in but]


@pytest.mark.usefixtures("drawn")
def test_a_run_keeps_it_and_trains_as_without_it(cli, folder):
    rate = "optimizer.learning_rate=1e-9"
    result = cli("run", "line.yaml", "--out", "with", "gradient.flow_every=5", rate)
    assert result.code == 0
    text = "updates are too large relative to the weights: "
    (found,) = json.loads((folder / "with/summary.json").read_text())["warnings"]
    assert found["kind"] == "large"
    assert found["text"].startswith(text)
    assert f"  warning:    {found['text']}" in result.out.splitlines()
    (told,) = [x for x in lines(folder, "with") if x["kind"] == "warning"]
    assert (told["step"], told["about"]) == (11, "large")
    assert f"step 11/20  warning  {told['text']}" in result.out.splitlines()
    assert (folder / "with/flow.png").read_bytes().startswith(b"\x89PNG")
    assert cli("run", "line.yaml", "--out", "without", rate).code == 0
    flow = Flow.of(lines(folder, "with"))
    assert flow is not None
    assert flow.steps.tolist() == [1, 6, 11, 16]
    assert flow.layers == ("slope", "height")
    np.testing.assert_allclose(flow.update, 1e-9 * flow.gradient, rtol=1e-5)

    def losses(out):
        return [x["loss"] for x in lines(folder, out, "compile", "flow", "warning")]

    assert losses("with") == losses("without")


def test_a_run_that_went_on_has_the_same_lines(cli, folder):
    every = ("gradient.flow_every=3", "checkpoint.every=7")
    assert cli("run", "line.yaml", "--out", "whole", *every).code == 0
    assert cli("run", "line.yaml", "--out", "parts", *every, "training.steps=7").code == 0
    assert cli("run", "line.yaml", "--resume", "parts", *every).code == 0
    whole, parts = (
        [x for x in lines(folder, out) if x["kind"] == "flow"] for out in ("whole", "parts")
    )
    assert [x["step"] for x in whole] == [1, 4, 7, 10, 13, 16, 19]
    assert whole == parts
