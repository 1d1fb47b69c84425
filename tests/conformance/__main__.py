"""Runs JAX's tests with our functions, those that fail with JAX's, and counts.

    JAX_CHECKOUT=../jax python -m tests.conformance api_test nn_test -k "not pmap"

Modules default to all of `MODULES`; whatever else is given goes to pytest. Exit status 1 says that
a test failed which passes with JAX.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

HERE = pathlib.Path(__file__).parent

#: The modules that reach reverse mode.
MODULES = """
lax_autodiff_test api_test custom_api_test lax_control_flow_test nn_test linalg_test
lax_numpy_test lax_numpy_indexing_test lax_numpy_reducers_test lax_numpy_einsum_test
lax_numpy_operators_test lax_numpy_ufuncs_test lax_numpy_vectorize_test lax_numpy_setops_test
lax_numpy_hijax_test lax_scipy_test lax_scipy_sparse_test lax_scipy_special_functions_test
lax_scipy_spectral_dac_test random_lax_test fft_test image_test
ode_test generated_fun_test custom_root_test custom_linear_solve_test shard_map_test
""".split()

#: pytest's exit status: all passed, some failed, there were none.
ENDED = (0, 1, 5)

COLUMNS = ("reached", "passed", "failed with JAX, too", "not refused", "excepted", "failed")


class Unfinished(RuntimeError):
    """A module could not be imported, or one of its tests ended the process."""


def run(tests: Sequence[str], differentiation: str, more: Sequence[str] = ()) -> dict[str, dict]:
    """Runs tests in a process of their own; returns how each one went, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes, names = pathlib.Path(folder, "outcomes"), pathlib.Path(folder, "names")
        outcomes.touch()
        names.write_text("\n".join(tests))
        options = [
            *("-c", str(HERE / "settings.ini"), "-p", "tests.conformance.plugin"),
            f"--rootdir={os.path.dirname(tests[0])}",
            f"--differentiation={differentiation}",
            f"--outcomes={outcomes}",
        ]
        command = [sys.executable, "-m", "pytest", *options, *more, f"@{names}"]
        status = subprocess.run(command, cwd=HERE.parent.parent, check=False).returncode
        if status not in ENDED:
            raise Unfinished(f"pytest ended before its tests did, with status {status}")
        lines = map(json.loads, outcomes.read_text().splitlines())
        return {line["test"]: line for line in lines}


def judge(path: pathlib.Path, more: Sequence[str] = ()) -> tuple[collections.Counter, list[dict]]:
    """Returns how many tests of a module went which way, and those that failed through us."""
    found = run([str(path)], "ours", more)
    failures = [test for test, line in found.items() if line["outcome"] == "failed"]
    again = [str(path.parent / test) for test in failures]
    plain = run(again, "jax") if failures else {}
    ours = []
    counts: collections.Counter = collections.Counter()
    for test, line in found.items():
        outcome = line["outcome"]
        if outcome == "failed":
            if plain.get(test, line)["outcome"] == "failed":
                outcome = "failed with JAX, too"
            else:
                ours.append(line)
        elif outcome == "skipped" or not line["reached"]:
            continue
        counts["reached"] += 1
        counts[outcome] += 1
    return counts, ours


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the modules that the command line names, prints a table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tests.conformance", description=__doc__)
    parser.add_argument("modules", nargs="*", help="names of JAX's test modules")
    known, more = parser.parse_known_args(arguments)
    checkout = os.environ.get("JAX_CHECKOUT")
    if not checkout:
        parser.error("JAX_CHECKOUT is not set: the path of a checkout of JAX's repository")
    folder = pathlib.Path(checkout, "tests").resolve()
    rows, failed = [("module", *COLUMNS), ("---", *["---:"] * len(COLUMNS))], []
    for name in known.modules or MODULES:
        try:
            counts, lines = judge(folder / f"{name}.py", more)
            rows.append((name, *(str(counts[column]) for column in COLUMNS)))
        except Unfinished as error:
            lines = [{"test": name, "what": str(error)}]
        failed += lines
    for row in rows:
        print("|", " | ".join(row), "|")
    for line in failed:
        print(f"FAILED {line['test']}: {line['what'][:300]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
