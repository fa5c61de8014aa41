"""The memory of this process, read from Linux."""

from __future__ import annotations

import gc
import os
from pathlib import Path


def start_anew() -> int:
    """Reset the highest peak, and return the resident bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def growth_since(before: int) -> int:
    """Return the bytes of the peak since `start_anew` above the resident memory at that time."""
    return _status("VmHWM") - before


def resident() -> int:
    """Return the resident bytes."""
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
