"""Where a run ran: versions, device, commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from backprop_jax.version import __version__

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "pydantic", "scikit-learn")


def environment(folder: Path) -> dict[str, Any]:
    """Returns what the result may depend on besides the configuration.

    Args:
      folder: whose git commit is meant.
    """
    device = jax.devices()[0]
    return {
        "backprop_jax": __version__,
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "git": _git(folder),
    }


def _version(package: str) -> str | None:
    """Returns the version of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """Returns the commit checked out and whether files differ from it, or None without git."""
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain"])
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(changed)}
