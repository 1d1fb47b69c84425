"""A page in a headless browser: what it looks like inside, what it asked for, what went wrong.

Tests that need one skip, with a reason, where none is found.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)

INSIDE = ("file:", "data:", "blob:", "about:", "chrome", "devtools:")
"""How addresses begin that lead to nowhere else."""

OWN = (None, "not an origin")


class Seen(NamedTuple):
    """What became of a page.

    Attributes:
      content: its elements after its scripts have run, as HTML.
      requests: addresses it asked for, but for those within the page.
      errors: what was said on the console: of scripts, of what was refused.
    """

    content: str
    requests: list[str]
    errors: list[str]


def found() -> str:
    """Returns the program; skips the test if there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("no browser is installed: one of " + ", ".join(NAMES))


def opened(page: Path, *, width: int = 1280, height: int = 900) -> Seen:
    """Returns what becomes of a page in the browser."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "net.json"
        command = [
            found(),
            *FLAGS,
            f"--user-data-dir={folder}/profile",
            f"--log-net-log={log}",
            f"--window-size={width},{height}",
            "--dump-dom",
            page.resolve().as_uri(),
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        events = json.loads(log.read_text())["events"]
    # What the browser wants for itself has no page that asks.
    asked = [x for event in events if (x := event.get("params", {})).get("initiator") not in OWN]
    requests = sorted({x["url"] for x in asked if not x["url"].startswith(INSIDE)})
    errors = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    return Seen(run.stdout, requests, errors)
