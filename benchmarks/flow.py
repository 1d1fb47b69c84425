"""What it costs to look at how gradients flow: `python -m benchmarks.flow [CONFIG ...]`.

A step that is looked at, over one that is not: as programs, side by side, in turns. With
`gradient.flow_every: N` it is one step of N that takes so much longer.
"""

import sys
import time
from statistics import median

from backprop_jax.runner.plan import make_plan
from backprop_jax.runner.task import batches, make_task
from backprop_jax.runner.training import layers_at, make_step, start
from benchmarks.engines import ENGINES
from benchmarks.measure import in_turns, run, trace
from benchmarks.workloads import CONFIGS

DEFAULT = ("digits_mlp", "digits_conv", "digits_transformer")
ROUNDS, BUDGET = 101, 20.0


def costs(name: str) -> tuple[float, float, int]:
    """Returns the ratio of the steps, that of their making, and how many layers there are."""
    plan = make_plan(CONFIGS / f"{name}.yaml")
    task = make_task(plan)
    state = start(plan, task)
    arguments = (state, task.train, next(batches(plan.config.seed, task.size, task.batch_size)))
    layers, made, seconds = layers_at(task, state), {}, {}
    for kind, known in {"plain": None, "looked at": layers}.items():
        step = make_step(ENGINES["ours"].value_and_grad, task.loss, plan.optimizer, known)
        began = time.process_time()
        made[kind] = trace(step, arguments).lower().compile()
        seconds[kind] = time.process_time() - began
    each = {kind: run(compiled, arguments) for kind, compiled in made.items()}
    for once in each.values():
        once()
    taken = in_turns(each, ROUNDS, BUDGET)
    ratios = [b / a for a, b in zip(taken["plain"], taken["looked at"], strict=True)]
    return median(ratios), seconds["looked at"] / seconds["plain"], len(layers.names)


if __name__ == "__main__":
    for name in sys.argv[1:] or DEFAULT:
        step, making, layers = costs(name)
        print(f"{name}: {layers} layers; step {step:.2f}, to trace and compile {making:.2f}")
