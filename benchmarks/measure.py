"""Times, memory and errors of a workload with both engines.

The engines take turns within each pair of measurements, so that a machine that is busy or changes
its clock is so for both; a ratio is the median over the pairs. Tracing and compiling are timed in
CPU time of the process, which other processes disturb little; runs in wall time.
"""

import gc
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax

import backprop_jax as bp
from benchmarks.workloads import Engine, Workload

ENGINES: dict[str, Engine] = {"backprop_jax": bp.value_and_grad, "jax": jax.value_and_grad}

Clock = Callable[[], float]
Numbers = dict[str, float]
"""A number for each engine."""


class Effort(NamedTuple):
    """How often to measure: pairs of each kind, and how long one of a step should take."""

    steps: int
    traces: int
    compiles: int
    eager: int
    seconds: float


FULL = Effort(steps=31, traces=15, compiles=5, eager=9, seconds=0.05)
QUICK = Effort(steps=3, traces=2, compiles=1, eager=1, seconds=0.005)


class Figure(NamedTuple):
    """A quantity with both engines, and the median of the ratios of pairs."""

    values: Numbers
    ratio: float


def measure(workload: Workload, effort: Effort) -> dict[str, Figure | Numbers]:
    """Returns the figures of a workload: seconds, bytes, and the errors of both gradients.

    step      a run of the compiled program
    trace     `jax.jit(program).trace` of a function that is new each time, caches warm
    compile   lowering and compiling what was traced
    eager     the loss and its gradient, not compiled as a whole, caches warm
    memory    temporaries of the compiled program, as XLA plans them
    error     largest distance from a float64 gradient, over the leaf's largest element
    """
    traced = {name: trace(workload, engine) for name, engine in ENGINES.items()}
    compiled = {name: it.lower().compile() for name, it in traced.items()}
    once = {name: run(it, workload.arguments) for name, it in compiled.items()}
    eager = {name: run(engine(workload.loss), workload.at) for name, engine in ENGINES.items()}
    for each in (*once.values(), *eager.values()):
        each()
    repeats = math.ceil(effort.seconds / once["jax"]())

    def step(name: str) -> float:
        return sum(once[name]() for _ in range(repeats)) / repeats

    def retrace(name: str) -> float:
        return seconds(lambda: trace(workload, ENGINES[name]), time.process_time)

    def recompile(name: str) -> float:
        fresh = trace(workload, ENGINES[name])
        return seconds(lambda: fresh.lower().compile(), time.process_time)

    memory = {name: temporaries(it) for name, it in compiled.items()}
    return {
        "step": paired(step, effort.steps),
        "trace": paired(retrace, effort.traces),
        "compile": paired(recompile, effort.compiles),
        "eager": paired(lambda name: eager[name](), effort.eager),
        "memory": Figure(memory, memory["backprop_jax"] / max(1, memory["jax"])),
        "error": errors(workload),
    }


def trace(workload: Workload, engine: Engine) -> Any:
    """Returns the program traced, as a function that no cache knows."""
    program = workload.program(engine)
    return jax.jit(lambda *arguments: program(*arguments)).trace(*workload.arguments)


def run(function: Callable[..., Any], arguments: tuple) -> Callable[[], float]:
    """Returns a function that runs another to its end and returns how long that took."""
    return lambda: seconds(
        lambda: jax.block_until_ready(function(*arguments)), time.perf_counter, collect=False
    )


def seconds(action: Callable[[], Any], clock: Clock, collect: bool = True) -> float:
    """Returns how long an action takes; without the garbage of what came before, if so asked."""
    if collect:
        gc.collect()
    began = clock()
    action()
    return clock() - began


def paired(sample: Callable[[str], float], pairs: int) -> Figure:
    """Returns the medians of both engines and of their ratio, from samples taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in ENGINES}
    for pair in range(pairs):
        for name in list(ENGINES)[:: -1 if pair % 2 else 1]:
            taken[name].append(sample(name))
    ratios = [ours / theirs for ours, theirs in zip(*taken.values(), strict=True)]
    return Figure({name: median(each) for name, each in taken.items()}, median(ratios))


def temporaries(compiled: Any) -> float:
    """Returns the bytes a compiled program needs beside its arguments and results."""
    return float(compiled.memory_analysis().temp_size_in_bytes)


def errors(workload: Workload) -> Numbers:
    """Returns how far each gradient is from float64; nothing for a loss that draws numbers."""
    report = bp.compare(workload.loss, *workload.at)
    found: Numbers = {}
    for name, source in (("backprop_jax", "backprop_jax"), ("jax", "jax.grad")):
        leaves = [leaf.between(source, "float64") for leaf in report.leaves]
        if all(leaves):
            found[name] = max(difference.relative for difference in leaves)
    return found
