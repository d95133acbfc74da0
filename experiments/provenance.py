"""Where a result came from: versions, commit, processor, and how much memory and time it took."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PARTS = ("spikeport", "brian2", "numpy", "scipy", "numba", "msgspec", "altair", "distributed")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of Python and of the parts that decide a result or draw it; absent parts are left out."""
    found = {"python": platform.python_version()}
    for part in PARTS:
        with suppress(metadata.PackageNotFoundError):
            found[part] = metadata.version(part)
    return found


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """Return processor, cores, system, host name and, from a checkout, the commit."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "host": platform.node(),
    }
    commit = _commit(Path(__file__).resolve().parent.parent)
    if commit:
        found["commit"] = commit
    return found


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit(checkout: Path) -> str:
    """Return the commit of a checkout by reading its files; empty outside a checkout."""
    git = checkout / ".git"
    with suppress(OSError):
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).exists():
            return (git / name).read_text().strip()
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(f" {name}"):
                return line.split()[0]
    return ""


def forget_peak() -> None:
    """Start measuring the peak memory of this process anew, where the system can (Linux)."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def peak_memory() -> float | None:
    """Return the largest resident memory of this process since :func:`forget_peak` [byte]; None where it is not
    known."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024
