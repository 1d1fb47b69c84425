"""What is measured: everything in one table, the train steps of the configurations included."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from backprop_jax.runner.plan import make_plan
from backprop_jax.runner.task import batches, make_task, take
from backprop_jax.runner.training import make_step, start
from benchmarks import networks, orders, science, sizes
from benchmarks.engines import Engine
from benchmarks.workload import Function, Workload

CONFIGS = Path(__file__).parents[1] / "configs"


def trained() -> list[str]:
    """Returns the names of the configurations that train; the others compare."""
    paths = sorted(CONFIGS.glob("*.yaml"))
    return [path.stem for path in paths if "\nexperiment:" in path.read_text(encoding="utf-8")]


def train_step(name: str) -> Workload:
    """Returns the step that `backprop-jax run` compiles for a configuration.

    Here its state is not donated: it is needed again.
    """
    plan = make_plan(CONFIGS / f"{name}.yaml")
    task = make_task(plan)
    state = start(plan, task)
    rows = next(batches(plan.config.seed, task.size, task.batch_size))
    at = (state.params, take(task.train, rows), state.key)

    def derivative(engine: Engine) -> Function:
        return engine.value_and_grad(task.loss)

    def program(engine: Engine) -> Function:
        return make_step(engine.value_and_grad, task.loss, plan.optimizer)

    return Workload(task.loss, at, derivative, program, (state, task.train, rows))


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "mlp": networks.mlp,
    "convnet": networks.convnet,
    "lstm": networks.lstm,
    "transformer": networks.transformer,
    "transformer_scan": networks.transformer_scan,
    "softmax": networks.softmax,
    "embedding": networks.embedding,
    "vae": networks.vae,
    "rk4": science.rk4,
    "gp": science.gp,
    "while_solver": science.while_solver,
    "while_1000": partial(science.while_loop, 1_000),
    "while_100000": partial(science.while_loop, 100_000),
    "hvp": orders.hvp,
    "jacobian": orders.jacobian,
    "hessian": orders.hessian,
    "per_example": orders.per_example,
    "chain": sizes.chain,
    "leaves": sizes.leaves,
    "equations": sizes.equations,
    "nested": sizes.nested,
    "rows": sizes.rows,
    **{name: partial(train_step, name) for name in trained()},
}
