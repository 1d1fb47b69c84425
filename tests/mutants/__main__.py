"""The command: `python -m tests.mutants [--primitive NAME] [--count N]`.

Puts mistakes into the rules, one at a time, and prints those that no check finds; and, with
`--alarms N`, puts the rules as they are to N checks, and prints those that fail. Exits with 1 if
there is one.
"""

import argparse
import sys
import time

import jax

from tests.mutants.alarms import alarms
from tests.mutants.battery import Tally, judged
from tests.rules.cases import CASES


def main() -> int:
    """Tries mutants as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--primitive", default="", help="of these cases alone")
    parser.add_argument("--count", type=int, default=0, help="so many cases; default: all")
    parser.add_argument("--skip", type=int, default=0, help="the first so many cases")
    parser.add_argument("--alarms", type=int, default=0, help="so many checks of right rules")
    parser.add_argument("--limit", type=int, default=0, help="so many mutants of a case at most")
    parser.add_argument("--times", action="store_true", help="print how long each case takes")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.alarms:
        return false_alarms(options.alarms)
    cases = [c for c in CASES if options.primitive in ("", c.primitive)][options.skip :]
    total, began, shown = Tally(), time.monotonic(), 0.0
    for number, case in enumerate(cases[: options.count or None], 1):
        start = time.monotonic()
        tally = judged(case, options.limit)
        total.add(tally)
        for text in tally.survivors:
            print(f"SURVIVED {text}", flush=True)
        for text in tally.refused:
            print(f"FALSE ALARM {text}", flush=True)
        if options.times:
            print(f"{time.monotonic() - start:6.2f} s  {case.name}: {tally.text()}", flush=True)
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{shown - began:6.0f} s: {number} cases, {total.text()}", flush=True)
        if not number % 20:
            jax.clear_caches()
    print(total.text())
    return 1 if total.survivors or total.refused else 0


def false_alarms(count: int) -> int:
    """Puts right rules to so many checks, and prints those that fail."""
    found, unjudged, began, shown = 0, 0, time.monotonic(), 0.0
    for number, text in alarms(count):
        if "\nNOT JUDGED" in text:
            unjudged += 1
            print(text, flush=True)
        elif text:
            found += 1
            print(f"FALSE ALARM {text}", flush=True)
        if time.monotonic() - shown > 30 or number == count:
            shown = time.monotonic()
            counts = f"{found} false alarms, {unjudged} of which nothing could be measured"
            print(f"{shown - began:6.0f} s: {number} checks, {counts}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
