"""Read the rows for the checks: from named questions and from the statements in ``doctor/sql``."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._cells import is_missing
from restate_lab._text import join
from restate_lab.analysis.draining.model import Group
from restate_lab.analysis.questions import run_question
from restate_lab.analysis.questions.catalog import parse_question
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import innermost_source, is_lab, registered_services
from restate_lab.errors import NotOnThisServer, RestateLabError
from restate_lab.frames import records
from restate_lab.identity import ClusterIdentity
from restate_lab.reads import Reads
from restate_lab.source import read_once

# The statements that findings suggest, to look at their rows.
PINNED_INVOCATIONS = (
    "SELECT id, target, status FROM sys_invocation_status "
    "WHERE pinned_deployment_id = :deployment AND status <> 'completed'"
)
SERVICES = "SELECT name, deployment_id FROM sys_service"
QUEUED_CHANGES = """SELECT v.entry_id, m.lock_name, m.scope, v.created_at FROM sys_vqueues v
JOIN sys_vqueue_meta m ON m.id = v.id
WHERE v.entry_kind = 'state-mutation' AND v.stage = 'inbox' AND m.service_name = :service ORDER BY v.created_at"""
OUTLIVED = """SELECT id, target, completed_at, completion_retention FROM sys_invocation_status
WHERE status = 'completed' AND completed_at + completion_retention < :before
ORDER BY completed_at + completion_retention LIMIT 100"""
UNSCHEDULED = """SELECT v.id, v.entry_id, v.status, v.run_at, c.status AS scheduler FROM sys_vqueues v
JOIN sys_vqueue_meta m ON m.id = v.id LEFT JOIN sys_scheduler c ON c.id = v.id
WHERE v.stage = 'inbox' AND v.run_at < now() AND NOT m.queue_is_paused
AND coalesce(c.status, 'none') NOT IN ('blocked', 'scheduled') ORDER BY v.run_at LIMIT 100"""
_IDS_PER_STATEMENT = 5_000
Row = dict[Any, Any]


class DoctorReader:
    """Read from one source at one time; ``excluded`` tells what the current check did not read."""

    def __init__(self, source: Reads) -> None:
        self.source = source
        self.now = source.now
        self.excluded: list[str] = []

    def ask(self, name: str, **params: Any) -> list[Row]:
        """Return the rows of a named question; ``excluded`` gets a message if a limit cut off rows."""
        frame = run_question(self.source, name, **params)
        if "truncated" in frame.attrs:
            self.excluded.append(str(frame.attrs["truncated"]["message"]))
        return records(frame)

    def ask_first(self, name: str, **params: Any) -> list[Row]:
        """Return the first rows of a named question when these are enough."""
        return records(run_question(self.source, name, **params))

    def rows(self, name: str, **params: Any) -> list[Row]:
        """Return the rows of a statement of ``doctor/sql``.

        Raises:
            NotOnThisServer: the source does not have a required table, column or feature.
        """
        return self.source.rows(self._file(name), **params)

    def frame(self, name: str, **params: Any) -> pd.DataFrame:
        """Return the rows of a statement of ``doctor/sql`` as a frame."""
        return self.source.frame(self._file(name), **params)

    def table(self, name: str, **params: Any) -> pa.Table:
        """Return the rows of a statement of ``doctor/sql`` as an Arrow table."""
        return self.source.table(self._file(name), **params)

    def rows_by_id(self, name: str, ids: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a statement of ``doctor/sql`` for these ids."""
        return self.source.rows_of(self._file(name), ids, chunk=_IDS_PER_STATEMENT)

    @read_once
    def handlers(self) -> Mapping[str, set[str]]:
        """Return the handlers of each registered service by its name, also those without any invocation.

        The Admin API of a live cluster has them, and an archive as of its last complete visit.

        Raises:
            NotOnThisServer: the source is neither of both.
        """
        with time_limit(self.source.seconds_left):
            services = registered_services(self.source)
        if services is not None:
            return {service.name: {each.name for each in service.handlers or ()} for service in services}
        if not self.source.has("visits.retention"):
            raise NotOnThisServer(
                f"{self.source.name} does not have the handlers of its services. Only the Admin API of a live cluster "
                f"and an archive have them."
            )
        handlers: dict[str, set[str]] = defaultdict(set)
        for row in self.rows("archived_handlers"):
            for each in json.loads(row["retention"]):
                handlers[each["service"]].add(each["handler"])
        return handlers

    @functools.cached_property
    def cluster(self) -> ClusterIdentity | None:
        """Return the identity of a live cluster, from the deployments that checks read anyway; None if unknown."""
        if not is_lab(innermost_source(self.source)):
            return None
        try:
            return ClusterIdentity.of(self.rows("deployments"))
        except RestateLabError:  # which the checks that need the deployments report
            return None

    def _file(self, name: str) -> str:
        missing = self.source.missing(_needs(name))
        if missing:
            raise NotOnThisServer(
                f"{self.source.name} (restate {self.source.version}) does not have {', '.join(missing)}, which this "
                f"check needs."
            )
        return f"doctor/{name}"


def timestamp_of(value: Any) -> datetime | None:
    """Return a timestamp as a plain datetime, to the microsecond; None if it is missing."""
    return None if is_missing(value) else pd.Timestamp(value).to_pydatetime(warn=False)


def first_of(times: Iterable[datetime | None]) -> datetime | None:
    """Return the earliest time; None if all are missing."""
    return min((time for time in times if time is not None), default=None)


def earliest(rows: Iterable[Mapping[Any, Any]], column: str) -> datetime | None:
    """Return the earliest time in a column of rows; None if all are missing."""
    return first_of(timestamp_of(row[column]) for row in rows)


def handlers_of(rows: Iterable[Row]) -> str:
    """Return the handlers of rows as text: "Cart/add, Cart/pay and 2 more"."""
    return join(f"{row['target_service_name']}/{row['target_handler_name']}" for row in rows)


def backlogs_of(rows: Iterable[Row]) -> tuple[Group, ...]:
    """Return the backlogs of the scopes of rows, each with its service and limit key; without a scope, the services."""
    found = (
        Group(str(row["target_service_name"]), None, row.get("scope"), row.get("limit_key"))
        for row in rows
        if row["target_service_name"]
    )
    return tuple(dict.fromkeys(found))


def handler_paths(rows: Iterable[Row]) -> tuple[tuple[str, ...], ...]:
    """Return the services and handlers of rows, for ``Finding.about``."""
    found = {(str(row["target_service_name"]), str(row["target_handler_name"])) for row in rows}
    return tuple(sorted(found))


def services_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the services of rows, sorted."""
    return tuple(sorted({str(row["target_service_name"]) for row in rows if row["target_service_name"]}))


@functools.cache
def _needs(name: str) -> tuple[str, ...]:
    file = files("restate_lab.analysis.doctor").joinpath("sql", f"{name}.sql")
    return parse_question(name, file.read_text("utf-8")).needs
