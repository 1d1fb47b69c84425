"""The command: `python -m tests.programs --count 10000 --seed 0 --jobs 2`.

Prints a line of counts now and then, every program that fails, as short as it can be made, and a
last line of counts. Exits with 1 if one failed.
"""

import argparse
import itertools
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator

import jax

from tests.programs.program import Program
from tests.programs.trial import Tally, attempt, batches


def main() -> int:
    """Tries programs as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="of the programs")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--show", action="store_true", help="print the programs, try none")
    parser.add_argument("--notes", action="store_true", help="print what JAX has not, or wrong")
    options = parser.parse_args()
    drawn = itertools.islice(itertools.chain.from_iterable(batches(options.seed)), options.count)
    if options.show:
        for program in drawn:
            print(program.source(), end="\n\n")
        return 0
    total, began, shown = Tally(), time.monotonic(), 0.0
    for tally in attempts(drawn, options.jobs):
        total.add(tally)
        for text in tally.failures + (tally.notes if options.notes else []):
            print(f"\n{text}\n", flush=True)
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{shown - began:6.0f} s: {total.text()}", flush=True)
    print(total.text())
    return 1 if total.failures else 0


def attempts(programs: Iterable[Program], jobs: int) -> Iterator[Tally]:
    """Yields what becomes of the programs, in order; now and then forgets what was compiled."""
    if jobs > 1:
        with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=300) as pool:
            yield from pool.imap(attempt, programs)
        return
    for number, program in enumerate(programs, 1):
        yield attempt(program)
        if not number % 300:
            jax.clear_caches()


if __name__ == "__main__":
    sys.exit(main())
