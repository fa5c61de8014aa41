"""How a verb reads a source: ``begin`` gives the reads of one call, with its limit, clock, columns and record."""

from __future__ import annotations

from restate_lab.reads.session import (
    OPEN_INVOCATIONS,
    Reads,
    Row,
    Stopped,
    UntilStopped,
    begin,
    no_check,
    used_params,
)

__all__ = [
    "OPEN_INVOCATIONS",
    "Reads",
    "Row",
    "Stopped",
    "UntilStopped",
    "begin",
    "no_check",
    "used_params",
]
