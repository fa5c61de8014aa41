"""The timeline of an incident: what began, broke, was deployed and was done, oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import format_time
from restate_lab.analysis.doctor.diagnosis import Diagnosis

__all__ = ["Event", "deployed", "done_here", "ended", "errors_met", "findings_begun", "paused", "restarted", "timeline"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: when (UTC), what kind of thing, in words, and an id to go on with."""

    at: datetime
    event: str
    what: str
    id: str | None = None


def timeline(events: list[Event], *, since: datetime) -> pd.DataFrame:
    """Return the events since a moment, oldest first: ``time, after`` (since the first), ``event, what, id``."""
    kept = sorted((each for each in events if each.at >= since), key=lambda each: (each.at, each.event, each.what))
    times = pd.to_datetime(pd.Series([each.at for each in kept], dtype="object"), utc=True)
    return pd.DataFrame(
        {
            "time": times,
            "after": times - times.iloc[0] if kept else pd.Series(dtype="timedelta64[ms]"),
            "event": [each.event for each in kept],
            "what": [each.what for each in kept],
            "id": [each.id for each in kept],
        }
    )


def deployed(frame: pd.DataFrame) -> Iterator[Event]:
    """Give the registrations of deployments (``id, endpoint, created_at``)."""
    for row in _rows(frame, "created_at"):
        yield Event(row["created_at"], "deployment registered", str(row["endpoint"]), row["id"])


def errors_met(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``error_onset``, when each error was met first, and by how many in all."""
    keys = ["target_service_name", "target_handler_name", "error_code", "step", "message"]
    for _, each in frame.sort_values("first_at").groupby(keys, sort=False, dropna=False):
        row = each.iloc[0]
        step = f", in “{row['step']}”" if _is_there(row["step"]) else ""
        n = int(each["new_invocations"].sum())
        met = f"; met by {n:,} since" if n > 1 else ""
        yield Event(
            row["first_at"], "error first met", f"{_handler(row)}{step}: {row['message']}{met}", row["example_id"]
        )


def ended(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``terminal_failures``, when each kind of end was first seen."""
    for row in _rows(frame, "first_at"):
        n = f" ({row['n']:,} until {format_time(row['last_at'])})" if row["n"] > 1 else ""
        yield Event(row["first_at"], str(row["status"]), f"{_handler(row)}: {row['message']}{n}", row["example_id"])


def paused(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``paused``, when each invocation was paused."""
    for row in _rows(frame, "paused_at"):
        because = f": {row['message']}" if _is_there(row["message"]) else ""
        yield Event(row["paused_at"], "paused", f"{row['target']}{because}", row["id"])


def restarted(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``restarts``, when each invocation was restarted as new."""
    for row in _rows(frame, "created_at"):
        yield Event(row["created_at"], "restarted as new", f"{row['target']}, from {row['restarted_from']}", row["id"])


def done_here(frame: pd.DataFrame) -> Iterator[Event]:
    """Give the changes of the audit log (``time, action, what, outcome, reason``)."""
    for row in _rows(frame, "time"):
        reason = f" ({row['reason']})" if _is_there(row["reason"]) else ""
        yield Event(row["time"], "action taken", f"{row['action']} of {row['what']}: {row['outcome']}{reason}")


def findings_begun(diagnosis: Diagnosis) -> Iterator[Event]:
    """Give when what the doctor found critical began, where there is a trace of it."""
    for row in _rows(diagnosis.by_severity("critical"), "since"):
        first = next(iter(row["ids"]), None)
        yield Event(row["since"], "finding begins", str(row["summary"]), first)


def _rows(frame: pd.DataFrame, moment: str) -> Iterator[dict[Any, Any]]:
    return iter(frame[frame[moment].notna()].to_dict("records"))


def _handler(row: Any) -> str:
    return f"{row['target_service_name']}/{row['target_handler_name']}"


def _is_there(value: Any) -> bool:
    return value is not None and not pd.isna(value) and str(value) != ""
