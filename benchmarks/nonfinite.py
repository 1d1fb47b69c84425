"""What it costs to be told of a NaN: `python -m benchmarks.nonfinite [CONFIG ...]`.

Steps of training side by side, in turns, in processor time over that of the step without:

on_nonfinite     the step with `on_nonfinite="explain"`, as long as all is finite
every step seen  value and gradient in the program in which `find_nonfinite` looks, and that runs
                 only when they are not: compiled as a step is, and in little time, as there
"""

import argparse
import functools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax

import backprop_jax as bp
from backprop_jax.runner.first import first_step
from backprop_jax.runner.plan import make_plan
from backprop_jax.runner.task import batches
from backprop_jax.runner.training import make_step
from backprop_jax.taps.detector import ONCE, Ways
from benchmarks.measure import in_turns, trace
from benchmarks.workloads import CONFIGS

DEFAULT = ("digits_mlp", "digits_conv", "digits_transformer")
ROUNDS, BUDGET, AT_LEAST = 101, 20.0, 0.02


def costs(name: str) -> dict[str, float]:
    """Returns the ratios, by what they are of."""
    plan = make_plan(CONFIGS / f"{name}.yaml")
    task, state, batch = first_step(plan)
    rows = next(batches(plan.config.seed, task.size, task.batch_size))
    told = functools.partial(bp.value_and_grad, on_nonfinite="explain")
    programs: dict[str, tuple[Any, tuple]] = {}
    for kind, engine in {"step": bp.value_and_grad, "on_nonfinite": told}.items():
        arguments = (state, task.train, rows)
        step = make_step(engine, task.loss, plan.optimizer)
        programs[kind] = trace(step, arguments).lower().compile(), arguments
    params, tree = jax.tree.flatten(state.params)

    def forward(params: list) -> tuple:
        return bp.vjp(lambda p: task.loss(p, batch, state.key), jax.tree.unflatten(tree, params))

    ways = Ways.of(forward, params)
    arguments = (state.params, batch, state.key)
    plain = jax.jit(bp.value_and_grad(task.loss)).lower(*arguments)
    programs["gradient"] = plain.compile(), arguments
    looking = jax.jit(functools.partial(ways.run, *ways.visitors)).lower(params)
    programs["seen"] = looking.compile(), (params,)
    programs["seen, soon compiled"] = looking.compile(compiler_options=ONCE), (params,)
    each = {kind: timed(*program) for kind, program in programs.items()}
    taken = in_turns(each, ROUNDS, BUDGET)

    def ratio(kind: str, base: str) -> float:
        return median(b / a for a, b in zip(taken[base], taken[kind], strict=True))

    return {
        "on_nonfinite": ratio("on_nonfinite", "step"),
        "every step seen": ratio("seen", "gradient"),
        "every step seen, soon compiled": ratio("seen, soon compiled", "gradient"),
    }


def timed(program: Callable, arguments: tuple) -> Callable[[], float]:
    """Returns what takes the processor time of a run, of so many that it can be told."""

    def runs(count: int) -> float:
        began = time.process_time()
        for _ in range(count):
            jax.block_until_ready(program(*arguments))
        return (time.process_time() - began) / count

    runs(1)
    count = max(1, round(AT_LEAST / max(runs(3), 1e-6)))
    return functools.partial(runs, count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks.nonfinite", description=__doc__)
    parser.add_argument(
        "configs", nargs="*", metavar="CONFIG", help=f"default: {', '.join(DEFAULT)}"
    )
    for name in parser.parse_args().configs or DEFAULT:
        print(f"{name}: {', '.join(f'{kind} {x:.2f}' for kind, x in costs(name).items())}")
