"""`python -m benchmarks`: ours and others side by side."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

from benchmarks.engines import ENGINES
from benchmarks.measure import FULL, QUICK, Effort, Figure, measure, trace_alone
from benchmarks.page import write
from benchmarks.peers import RUNS, is_there, peers
from benchmarks.report import Results, document, read, renewed, table
from benchmarks.workloads import WORKLOADS

WIDTH = 160


def main() -> int:
    """Measures, prints a table, and writes a file if asked to."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help="these alone")
    parser.add_argument(
        "--engines",
        type=lambda names: names.split(","),
        default=["ours", "jax"],
        metavar="NAME,...",
        help=f"of {', '.join([*ENGINES, *RUNS])}; default: ours,jax",
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run?")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="time runs, too, in CPU time of the process: for a machine that is busy",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="measure tracing alone, and put it into this file of results, with date and commit",
    )
    parser.add_argument(
        "--write", action="store_true", help="measure nothing: write docs/performance.md anew"
    )
    given = parser.parse_args()
    if given.write:
        write()
        return 0
    unknown = [name for name in given.engines if name not in {**ENGINES, **RUNS}]
    if unknown:
        parser.error(f"no engine {', '.join(unknown)}; there are {', '.join([*ENGINES, *RUNS])}")
    for name in given.engines:
        if name in RUNS and not is_there(name):
            print(f"{name}: skipped, its library is not installed", file=sys.stderr)
    effort = QUICK if given.quick else FULL
    if given.cpu_time:
        effort = effort._replace(clock=time.process_time)
    if given.trace:
        renew_trace(given.trace, given.only, effort)
        return 0
    results: Results = {}
    for name in given.only or WORKLOADS:
        jax.clear_caches()
        workload = WORKLOADS[name]()
        engines = [engine for engine in given.engines if engine in ENGINES]
        wanted = [peer for peer in given.engines if peer in RUNS]
        others = peers(name, workload, wanted, effort.clock)
        results[name] = measure(workload, engines, others, effort)
        print(f"{name}: step {results[name]['step'].ratios}", file=sys.stderr)
        if given.json:
            given.json.write_text(json.dumps(document(results, given.cpu_time), indent=1) + "\n")
    Console(width=WIDTH).print(table(results))
    return 0


def renew_trace(file: Path, only: Sequence[str] | None, effort: Effort) -> None:
    """Measures tracing of the workloads of a file, all their engines in turns, and writes it anew.

    Each is written when it is measured.
    """
    _, before = read(file)
    effort = effort._replace(budget=5 * effort.budget)  # there is nothing else to measure
    found: dict[str, Figure] = {}
    for name in only or before:
        old = before[name].get("trace", Figure({}, {}))
        if not old.ratios:
            continue
        jax.clear_caches()
        found[name] = trace_alone(WORKLOADS[name](), old.values, effort)
        document = renewed(json.loads(file.read_text()), "trace", found)
        file.write_text(json.dumps(document, indent=1) + "\n")
        print(f"{name}: trace {found[name].ratios}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
