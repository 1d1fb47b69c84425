"""The command: `python -m tests.mutants [--primitive NAME] [--count N]`.

Puts mistakes into the rules, one at a time, and prints those that no check finds; and, with
`--alarms N`, puts the rules as they are to N checks, and prints those that fail. Exits with 1 if
there is one.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from collections import Counter

import jax

from tests.mutants.alarms import alarms
from tests.mutants.battery import Tally, judged
from tests.quick import compiled_quickly
from tests.rules.cases import CASES


@compiled_quickly()
def main() -> int:
    """Tries mutants as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--primitive", default="", help="of these cases alone")
    parser.add_argument("--count", type=int, default=0, help="so many cases; default: all")
    parser.add_argument("--skip", type=int, default=0, help="the first so many cases")
    parser.add_argument("--alarms", type=int, default=0, help="so many checks of right rules")
    parser.add_argument("--seed", type=int, default=0, help="of the numbers of those checks")
    parser.add_argument("--record", default="", help="a file of those checks that is gone on with")
    parser.add_argument("--limit", type=int, default=0, help="so many mutants of a case at most")
    parser.add_argument("--times", action="store_true", help="print how long each case takes")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.alarms:
        return false_alarms(options.alarms, options.seed, options.record)
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


def false_alarms(count: int, seed: int, record: str) -> int:
    """Puts right rules to so many checks, and prints those that fail.

    Args:
      count: of checks.
      seed: of the numbers they are made with.
      record: a file of what was found, line by line, that is gone on with; "" for none.
    """
    path = pathlib.Path(record or os.devnull)
    lines = path.read_text().splitlines() if path.is_file() else []
    found = {entry["name"]: entry["verdict"] for entry in map(json.loads, lines)}
    began, shown = time.monotonic(), 0.0
    with path.open("a") as out:
        for name, text in alarms(count, seed, frozenset(found)):
            found[name] = verdict_of(text)
            entry = {"name": name, "verdict": found[name], "text": text}
            print(json.dumps(entry), file=out, flush=True)
            if text:
                print(f"{found[name].upper()} {text}", flush=True)
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                print(f"{shown - began:6.0f} s: {counted(found)}", flush=True)
    print(counted(found))
    return 1 if "false alarm" in found.values() else 0


def verdict_of(text: str) -> str:
    """Returns in a few words what the checker says of a rule that is right."""
    return "false alarm" if text and "\nNOT JUDGED" not in text else "not judged" if text else "ok"


def counted(found: dict[str, str]) -> str:
    """Returns the counts as a line."""
    counts = Counter(found.values())
    return (
        f"{len(found)} checks, {counts['false alarm']} false alarms, "
        f"{counts['not judged']} of which nothing could be measured"
    )


if __name__ == "__main__":
    sys.exit(main())
