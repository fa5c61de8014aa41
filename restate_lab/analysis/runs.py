"""Runs of a reused id: what tells one run of an invocation from another.

A workflow, and a call with an idempotency key, get the same id again once the earlier run has expired or was purged. A
run is (id, created_at). The server counts ``created_at`` in milliseconds, and pause, resume, cancel, kill, purge of the
journal, restart as new, a retry and the start of a scheduled call leave it as it is (observed on 1.6.1 and on 1.7.12
with and without vqueues).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import format_timestamp
from restate_lab.errors import ArgumentError

__all__ = ["NEW_RUN", "created_by_id", "is_other_run", "new_run_words"]

NEW_RUN = "a new run with the same id"


def created_by_id(ids: Iterable[Any], created_at: Iterable[Any], *, name: str) -> dict[str, frozenset[datetime]]:
    """Return for each id the times of creation that stand beside it, UTC, cut to milliseconds.

    An id with a missing time beside it means whichever run exists, and is left out. A time without a zone counts as
    UTC: that is how spreadsheets hold it. ``name`` is for messages.

    Raises:
        ArgumentError: a value is not a timestamp.
    """
    times: dict[str, set[datetime]] = {}
    unknown: set[str] = set()
    for id_, time in zip(ids, _times(created_at, name), strict=True):
        if not isinstance(id_, str):
            continue
        if pd.isna(time):
            unknown.add(id_)
        else:
            times.setdefault(id_, set()).add(time.to_pydatetime())
    return {id_: frozenset(each) for id_, each in times.items() if id_ not in unknown}


def is_other_run(created_at: datetime | None, of: Mapping[str, frozenset[datetime]], id_: str) -> bool:
    """Tell whether the run created at ``created_at`` is none of those that ``of`` has for the id, if it has any."""
    return id_ in of and created_at not in of[id_]


def new_run_words(created_at: datetime | None, reviewed: datetime | None) -> str:
    """Return that an id has another run than the reviewed one, with both times of creation."""
    return f"{NEW_RUN}: created {_shown(created_at)}, and the reviewed one {_shown(reviewed)}"


def _shown(time: datetime | None) -> str:
    return format_timestamp(time, exact=True, missing="at an unknown time")


def _times(values: Iterable[Any], name: str) -> pd.Series[Any]:
    column = pd.Series(list(values), dtype="object")
    numbers = [value for value in column if isinstance(value, int | float) and not pd.isna(value)]
    if numbers:
        raise ArgumentError(_not_times(name, f"it holds the number {numbers[0]!r}"))
    try:
        return pd.to_datetime(column, utc=True, format="ISO8601").dt.floor("ms")
    except (ValueError, TypeError) as error:
        raise ArgumentError(_not_times(name, str(error).partition("\n")[0])) from error


def _not_times(name: str, why: str) -> str:
    return (
        f"the column created_at of {name} is not a timestamp in every row ({why}). It tells which run of an id is "
        f"meant: give timestamps, or the ids alone to mean the runs that exist now."
    )
