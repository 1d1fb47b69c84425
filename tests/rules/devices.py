"""Tests of a module run once more in a process that has several devices."""

import os
import subprocess
import sys


def passes_on(count: int, file: str) -> None:
    """Asserts that the tests of a file that are not slow pass where there are so many devices."""
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "not slow", file]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
