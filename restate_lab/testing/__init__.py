"""Replay an invocation that was recorded in production, in a test, without a server.

    from restate_lab.testing import Record

    record = Record.load(__file__, "journals/checkout.json")

    def test_checkout():
        outcome = record.run("shop.app:app")     # raises what the handler raises
        assert outcome.continues_past(7)         # after the fix; or: outcome.returned == {...}

Only the standard library is imported, and restate-sdk once a record runs.
"""

from __future__ import annotations

from restate_lab.testing.errors import (
    AppNotFound,
    Diverges,
    HandlerFailed,
    HandlerNotFound,
    NetworkUsed,
    ReplayError,
    ReplayTimedOut,
    StepWithoutResult,
    UnusableRecord,
)
from restate_lab.testing.outcome import Outcome
from restate_lab.testing.record import Record

__all__ = [
    "AppNotFound",
    "Diverges",
    "HandlerFailed",
    "HandlerNotFound",
    "NetworkUsed",
    "Outcome",
    "Record",
    "ReplayError",
    "ReplayTimedOut",
    "StepWithoutResult",
    "UnusableRecord",
]
