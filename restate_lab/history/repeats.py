"""Which runs have an id that an earlier run had: only workflows and calls with an idempotency key get an id again.

Since 1.7, the server generates a key for each call at its ingress without one: a ULID, whose time is that of the
creation. No later call has such a key by itself. A user can repeat a call with a ULID as its key. The earlier run then
was created after the time of the ULID, so if that is also the time of the later creation, it ended just before. So
most runs need no search in the whole archive, but only in the last days, whose ids a visit reads anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.history.commits import ClusterTables

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {character: value for value, character in enumerate(_DIGITS)}
_LENGTH, _TIME_LENGTH = 26, 10
_NEAR = timedelta(minutes=1)
"""The server creates a run within some milliseconds after it has generated the key, when it is not overloaded."""
_OF_RUNS = ["id", "target_service_ty", "idempotency_key", "created_at"]


@dataclass(frozen=True, slots=True)
class ArchivedIds:
    """The archived ids of runs that ended on the day ``since`` or later."""

    since: date
    ids: pa.Array[Any]


def with_repeated(runs: pa.Table, tables: ClusterTables, known: ArchivedIds | None) -> pa.Table:
    """Return runs, which are not in the archive, with ``repeated``: the archive has an earlier run with this id."""
    repeated = set() if known is None else set(_common(known.ids, runs["id"].combine_chunks()))
    searched = [row["id"] for row in runs.select(_OF_RUNS).to_pylist() if _may_be_old(row, known)]
    if searched and tables.version("invocations"):
        before = "" if known is None else f"AND day < '{known.since}'"
        for batch in tables.batches("invocations", ["id"], before):  # the ids of all days would fill the memory
            repeated.update(_common(batch["id"], pa.array(searched, pa.string())))
    return runs.append_column("repeated", pa.array([id_ in repeated for id_ in runs["id"].to_pylist()], pa.bool_()))


def _may_be_old(row: dict[str, Any], known: ArchivedIds | None) -> bool:
    """Return whether an earlier run of this id can have ended before the days of the known ids."""
    key = row["idempotency_key"]
    if row["target_service_ty"] != "workflow" and key is None:
        return False
    is_generated = key is not None and is_generated_key(key, row["created_at"])
    return not (known and is_generated and (row["created_at"] - _NEAR).date() >= known.since)


def is_generated_key(key: str, created_at: datetime) -> bool:
    """Return whether a key is a ULID of the time at which the invocation was created."""
    if len(key) != _LENGTH or not set(key) <= _VALUES.keys():
        return False
    milliseconds = 0
    for character in key[:_TIME_LENGTH]:
        milliseconds = milliseconds * len(_DIGITS) + _VALUES[character]
    distance = timedelta(milliseconds=milliseconds) - (created_at - datetime(1970, 1, 1, tzinfo=UTC))
    return abs(distance) <= _NEAR


def _common(ids: Any, of: Any) -> list[str]:
    found: list[str] = ids.filter(pc.is_in(ids, of)).to_pylist()
    return found
