"""Times, memory and errors of a workload with several engines.

The engines take turns within each round of measurements, so that a machine that is busy or changes
its clock is so for all; a ratio is the median over the rounds. Tracing and compiling are timed in
CPU time of the process, which other processes disturb little; runs in wall time, unless asked.
"""

import gc
import math
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from backprop_jax.engine.units import build_unit
from backprop_jax.errors import BudgetTooSmall
from benchmarks.engines import ENGINES
from benchmarks.workload import Function, Workload

BASE = "jax"
FORWARD = "forward"

Clock = Callable[[], float]
Sample = Callable[[], float]
"""Measures once."""

Taken = TypeVar("Taken")


class Effort(NamedTuple):
    """How often to measure: rounds of each kind, and in seconds how long all of a kind may take.

    Attributes:
      seconds: how long one measurement of a step should take, by repeating it.
      budget: no further round begins after that, once there were two.
      runs: how long all rounds of steps may take: a slow one needs more than two to say something.
      clock: what runs are timed with.
    """

    steps: int
    traces: int
    compiles: int
    eager: int
    cold: int
    seconds: float
    budget: float
    runs: float
    clock: Clock = time.perf_counter


FULL = Effort(steps=25, traces=9, compiles=5, eager=7, cold=1, seconds=0.03, budget=4.0, runs=12.0)
QUICK = Effort(steps=2, traces=1, compiles=1, eager=1, cold=1, seconds=0.002, budget=0.1, runs=0.1)


class Figure(NamedTuple):
    """A quantity with each engine, and for each the median of its ratios to `jax.grad`."""

    values: dict[str, float]
    ratios: dict[str, float]


def measure(
    workload: Workload, engines: Iterable[str], peers: dict[str, Sample], effort: Effort
) -> dict[str, Figure]:
    """Returns the figures of a workload: seconds, bytes, errors, and ratios of these.

    step      a run of the compiled program
    over      the same, over a run of the compiled function that is differentiated
    trace     `jax.jit(program).trace` of a function that is new each time, caches warm
    lower     its translation for XLA
    compile   what XLA does with it
    eager     the derivative, not compiled as a whole, caches warm
    cold      the same, all caches empty
    memory    temporaries of the compiled program, as XLA plans them
    error     largest distance from the same in float64, over the leaf's largest element
    """
    programs = {name: workload.program(ENGINES[name]) for name in able(workload, engines)}
    traced = within_budget(programs, workload.arguments)
    programs = {name: programs[name] for name in traced}
    compiled = {name: it.lower().compile() for name, it in traced.items()}
    once = {name: run(it, workload.arguments, effort.clock) for name, it in compiled.items()}
    forward = trace(workload.forward, workload.at).lower().compile()
    once[FORWARD] = run(forward, workload.at, effort.clock)
    once |= peers
    for each in once.values():
        each()
    repeats = math.ceil(effort.seconds / max(each() for each in once.values()))

    def step(each: Sample) -> Sample:
        return lambda: sum(each() for _ in range(repeats)) / repeats

    steps = in_turns({name: step(it) for name, it in once.items()}, effort.steps, effort.runs)
    found = {"step": figure(without(steps, FORWARD)), "over": over(steps)}
    found |= making(programs, workload.arguments, effort)
    if workload.eager:
        found |= eager(workload, programs, effort)
    bytes_of = {name: [temporaries(it)] for name, it in compiled.items()}
    return {**found, "memory": figure(bytes_of), "error": errors(workload, compiled)}


def able(workload: Workload, engines: Iterable[str]) -> list[str]:
    """Returns those of the engines that have what a workload asks for."""
    return [
        name
        for name in engines
        if getattr(ENGINES[name], workload.needs)
        and (workload.jax_can or not name.startswith("jax"))
    ]


def within_budget(programs: dict[str, Function], arguments: tuple) -> dict[str, Any]:
    """Returns the programs traced; one whose bytes do not suffice is left out, and that is said."""
    traced = {}
    for name, program in programs.items():
        try:
            traced[name] = trace(program, arguments)
        except BudgetTooSmall as error:
            print(f"{name}: skipped, {str(error).splitlines()[0]}", file=sys.stderr)
    return traced


def trace(program: Function, arguments: tuple) -> Any:
    """Returns the program traced, as a function that no cache knows."""
    return jax.jit(lambda *arguments: program(*arguments)).trace(*arguments)


def making(programs: dict[str, Function], arguments: tuple, effort: Effort) -> dict[str, Figure]:
    """Returns how long each stage of making a program takes."""

    def stages(program: Function) -> Callable[[], tuple[float, ...]]:
        def sample() -> tuple[float, ...]:
            gc.collect()
            times = [time.process_time()]
            made = trace(program, arguments)
            for stage in ("lower", "compile"):
                times.append(time.process_time())
                made = getattr(made, stage)()
            return tuple(b - a for a, b in pairwise([*times, time.process_time()]))

        return sample

    all_of = {name: stages(program) for name, program in programs.items()}
    taken = in_turns(all_of, effort.compiles, effort.budget)
    more = tracing(programs, arguments, effort)
    parts = {
        stage: {name: [times[place] for times in each] for name, each in taken.items()}
        for place, stage in enumerate(("trace", "lower", "compile"))
    }
    parts["trace"] = {name: each + more[name] for name, each in parts["trace"].items()}
    return {stage: figure(each) for stage, each in parts.items()}


def tracing(
    programs: dict[str, Function], arguments: tuple, effort: Effort
) -> dict[str, list[float]]:
    """Returns how long it takes to trace each program."""

    def sample(program: Function) -> Sample:
        return lambda: seconds(lambda: trace(program, arguments), time.process_time)

    samples = {name: sample(program) for name, program in programs.items()}
    return in_turns(samples, effort.traces, effort.budget)


def trace_alone(workload: Workload, engines: Iterable[str], effort: Effort) -> Figure:
    """Returns what `measure` says of tracing, and measures nothing else."""
    programs = {name: workload.program(ENGINES[name]) for name in able(workload, engines)}
    for program in programs.values():  # caches are warm from here on
        trace(program, workload.arguments)
    return figure(tracing(programs, workload.arguments, effort))


def run(function: Function, arguments: tuple, clock: Clock = time.perf_counter) -> Sample:
    """Returns a function that runs another to its end and returns how long that took."""
    return lambda: seconds(
        lambda: jax.block_until_ready(function(*arguments)), clock, collect=False
    )


def seconds(action: Callable[[], Any], clock: Clock, collect: bool = True) -> float:
    """Returns how long an action takes; without the garbage of what came before, if so asked."""
    if collect:
        gc.collect()
    began = clock()
    action()
    return clock() - began


def in_turns(
    samples: dict[str, Callable[[], Taken]], rounds: int, budget: float
) -> dict[str, list[Taken]]:
    """Returns samples of each, taken in turns."""
    taken: dict[str, list[Taken]] = {name: [] for name in samples}
    began = time.perf_counter()
    for number in range(rounds):
        if number >= 2 and time.perf_counter() - began > budget:
            break
        for name in list(samples)[:: -1 if number % 2 else 1]:
            taken[name].append(samples[name]())
    return taken


def figure(taken: dict[str, list[float]]) -> Figure:
    """Returns the medians of what was measured, and of the ratios to `jax.grad`'s."""
    base = taken.get(BASE, [])
    ratios = {
        name: median(a / b for a, b in zip(each, base, strict=True))
        for name, each in taken.items()
        if name != BASE and base and all(base)
    }
    return Figure({name: median(each) for name, each in taken.items()}, ratios)


def over(steps: dict[str, list[float]]) -> Figure:
    """Returns the times of the derivatives over that of the function itself."""
    forward = steps[FORWARD]
    return figure({
        name: [a / b for a, b in zip(each, forward, strict=True)]
        for name, each in without(steps, FORWARD).items()
        if name in ENGINES
    })  # fmt: skip


def without(taken: dict[str, list[float]], name: str) -> dict[str, list[float]]:
    """Returns what was measured, but for one."""
    return {key: each for key, each in taken.items() if key != name}


def eager(workload: Workload, engines: Iterable[str], effort: Effort) -> dict[str, Figure]:
    """Returns how long the derivative takes outside `jax.jit`, with warm caches and without."""

    def fresh(name: str) -> Sample:
        return run(workload.derivative(ENGINES[name]), workload.at, effort.clock)

    def cold(name: str) -> Sample:
        def sample() -> float:
            jax.clear_caches()
            build_unit.cache_clear()
            return fresh(name)()

        return sample

    samples = {name: fresh(name) for name in engines}
    for each in samples.values():
        each()
    warm = in_turns(samples, effort.eager, effort.budget)
    first = in_turns({name: cold(name) for name in engines}, effort.cold, effort.budget)
    return {"eager": figure(warm), "cold": figure(first)}


def temporaries(compiled: Any) -> float:
    """Returns the bytes a compiled program needs beside its arguments and results."""
    return float(compiled.memory_analysis().temp_size_in_bytes)


def errors(workload: Workload, compiled: dict[str, Any]) -> Figure:
    """Returns how far each derivative is from float64's; nothing for a loss that draws numbers."""
    if "random_bits" in str(jax.make_jaxpr(workload.forward)(*workload.at)):
        return Figure({}, {})
    with jax.enable_x64(True):
        engine = ENGINES[BASE if workload.jax_can else "ours"]
        truth = jax.device_get(jax.jit(workload.derivative(engine))(*longer(workload.at)))
    found = {}
    for name, program in compiled.items():
        if workload.program is not workload.derivative:
            program = jax.jit(workload.derivative(ENGINES[name]))
        pairs = zip(*map(jax.tree.leaves, (program(*workload.at), truth)), strict=True)
        found[name] = [max(distance(jax.device_get(a), b) for a, b in pairs)]
    return figure(found)


def longer(tree: Any) -> Any:
    """Returns the same in float64."""

    def cast(x: Any) -> Any:
        return x.astype("float64") if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)


def distance(a: Any, truth: Any) -> float:
    """Returns the largest difference over the largest element."""
    return float(abs(a - truth).max() / max(abs(truth).max(), 1e-30))
