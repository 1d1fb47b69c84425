"""`python -m benchmarks [--only NAME ...] [--quick] [--json FILE]`."""

import argparse
import json
import sys
from pathlib import Path

import jax

from benchmarks.measure import FULL, QUICK, measure
from benchmarks.report import document, table
from benchmarks.workloads import WORKLOADS


def main() -> int:
    """Measures, prints a table, and writes a file if asked to."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help="these alone")
    parser.add_argument("--quick", action="store_true", help="few repeats: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    given = parser.parse_args()
    results = {}
    for name in given.only or WORKLOADS:
        jax.clear_caches()
        results[name] = measure(WORKLOADS[name](), QUICK if given.quick else FULL)
        print(f"{name}: step {results[name]['step'].ratio:.2f}", file=sys.stderr)
    print(table(results))
    if given.json:
        given.json.write_text(json.dumps(document(results), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
