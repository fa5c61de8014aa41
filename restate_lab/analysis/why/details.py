"""The details of one invocation: its journal, its failures, its deployment, its vqueue, its restarts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd

from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.journal.diff import Mismatch, mismatch_of
from restate_lab.analysis.journal.errors import REMOVED, JournalEvent
from restate_lab.analysis.journal.reader import Invocation
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.statements import run_sql_file
from restate_lab.analysis.waits.model import Edge
from restate_lab.analysis.why.reader import Explorer, Row, has_ended

__all__ = ["InvocationDetails", "details_of", "summary_of"]

MAX_ENTRIES = 20_000  # of a journal that is read
MAX_RESTARTS = 20  # steps of a lineage
_IN_ATTEMPTS = frozenset({"backing-off", "ready", "running", "yielded"})


@dataclass(frozen=True, slots=True)
class InvocationDetails:
    """What is known about one invocation; ``edges`` lead to what it waits for.

    ``journal`` and ``invocation`` are None where the journal was not read, ``vqueue`` where there is none.
    ``deployments`` has the registered ones that matter, id → endpoint; ``latest`` is that of the service, None where
    no deployment has the service. ``restarted_from`` goes back, nearest first; ``restarted_as`` has what came of it.
    """

    row: Row
    now: datetime
    edges: tuple[Edge, ...] = ()
    journal: pd.DataFrame | None = None
    invocation: Invocation | None = None
    deployments: Mapping[str, str] | None = None
    latest: str | None = None
    vqueue: Row | None = None
    restarted_from: tuple[str, ...] = ()
    restarted_as: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """Return its status."""
        return str(self.row["status"])

    @property
    def failures(self) -> int:
        """Return how many attempts failed since its last progress, as far as the server reports it; 0 otherwise."""
        read_question = (self.invocation.attempts if self.invocation else None) or 0
        return max(read_question, int(self.row["failed_attempts"] or 0))

    @property
    def is_failing(self) -> bool:
        """Return whether its attempts fail; between two attempts its status may be ready or running."""
        return self.status == "backing-off" or (self.status in _IN_ATTEMPTS and self.failures > 0)

    @property
    def error(self) -> JournalEvent | None:
        """Return the last error of an attempt."""
        return max((event for event in self._events if event.message), key=_timestamp, default=None)

    @property
    def pause(self) -> JournalEvent | None:
        """Return the event of its last pause."""
        return max((event for event in self._events if event.type == "Paused"), key=_timestamp, default=None)

    @property
    def mismatch(self) -> Mismatch | None:
        """Return the journal mismatch that it fails with at present."""
        is_last = self.invocation and self.error and self.error.code == "RT0016"
        return mismatch_of(self.invocation) if self.invocation and is_last else None

    @property
    def deployment(self) -> str | None:
        """Return the deployment that it is pinned to, or else that of its last attempt."""
        return self.pinned_deployment or self.row["last_attempt_deployment_id"]

    @property
    def pinned_deployment(self) -> str | None:
        """Return the only deployment that can continue it; None before its first entry."""
        deployment: str | None = self.row["pinned_deployment_id"]
        return deployment

    @property
    def is_removed(self) -> bool:
        """Return whether the deployment that it is pinned to is not registered any more."""
        if self.pinned_deployment is None or has_ended(self.row):
            return False
        is_unknown = self.deployments is not None and self.pinned_deployment not in self.deployments
        return is_unknown or (self.is_failing and self.error is not None and self.error.code == REMOVED)

    @property
    def open_entries(self) -> list[dict[Any, Any]]:
        """Return the entries of its journal that have no end yet, as rows of ``journal``."""
        return [] if self.journal is None else self.journal[self.journal["open"]].to_dict("records")

    @property
    def failed_entry(self) -> dict[Any, Any] | None:
        """Return the last entry that failed for good, other than its end."""
        if self.journal is None:
            return None
        failed = self.journal[(self.journal["status"] == "failed") & (self.journal["entry_type"] != "Output")]
        return failed.to_dict("records")[-1] if len(failed) else None

    @property
    def _events(self) -> Sequence[JournalEvent]:
        return (self.invocation.events or ()) if self.invocation else ()


def summary_of(explorer: Explorer, row: Row, edges: Sequence[Edge]) -> InvocationDetails:
    """Return one invocation as it was read, with what it was restarted from."""
    own = tuple(edge for edge in edges if edge.waiter == row["id"])
    before, _ = explorer.try_read("its restarts", partial(_restarts, explorer, row)) or ((), ())
    return InvocationDetails(row=row, now=explorer.source.now, edges=own, restarted_from=before)


def details_of(explorer: Explorer, row: Row, edges: Sequence[Edge]) -> InvocationDetails:
    """Read the details of one invocation."""
    own = tuple(edge for edge in edges if edge.waiter == row["id"])
    journal, invocation = explorer.try_read("its journal", partial(_journal, explorer, row)) or (None, None)
    deployments, latest = explorer.try_read("its deployment", partial(_deployments, explorer, row)) or (None, None)
    vqueue = explorer.try_read("its vqueue", partial(_vqueue, explorer, row))
    before, after = explorer.try_read("its restarts", partial(_restarts, explorer, row)) or ((), ())
    if invocation is not None and invocation.status == "backing-off" and row["status"] == "ready":
        row = {**row, "status": "backing-off"}
    return InvocationDetails(
        row=row,
        now=explorer.source.now,
        edges=own,
        journal=journal,
        invocation=invocation,
        deployments=deployments,
        latest=latest,
        vqueue=vqueue,
        restarted_from=before,
        restarted_as=after,
    )


def _journal(explorer: Explorer, row: Row) -> tuple[pd.DataFrame | None, Invocation | None]:
    if (size := row["journal_size"] or 0) > MAX_ENTRIES:
        explorer.excluded.append(f"its journal has {size:,} entries and was not read")
        return None, None
    return read_journal(explorer.source, row["id"])


def _deployments(explorer: Explorer, row: Row) -> tuple[dict[str, str], str | None]:
    ids = [id_ for id_ in (row["pinned_deployment_id"], row["last_attempt_deployment_id"]) if id_] or [""]
    frame = run_sql_file(explorer.source, "analysis.why", "deployments", ids=ids, service=row["target_service_name"])
    latest = frame.loc[frame["is_latest"].astype(bool), "id"]
    return dict(zip(frame["id"], frame["endpoint"], strict=True)), latest.iloc[0] if len(latest) else None


def _vqueue(explorer: Explorer, row: Row) -> Row | None:
    if row["status"] not in {"pending", "ready"} or not row["vqueue_id"]:
        return None
    frame = run_sql_file(explorer.source, "analysis.why", "vqueue", vqueue=row["vqueue_id"])
    return (
        {str(key): none_if_missing(value) for key, value in frame.to_dict("records")[0].items()} if len(frame) else None
    )


def _restarts(explorer: Explorer, row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    before: list[str] = []
    here: Row | None = row
    while here and here["restarted_from"] and len(before) < MAX_RESTARTS:
        before.append(here["restarted_from"])
        earlier = explorer.rows([before[-1]]).get(before[-1])
        # else it has a new run with the same id by now, which was not restarted as this one
        here = earlier if earlier and earlier["created_at"] <= here["created_at"] else None
    if not has_ended(row):
        return tuple(before), ()
    frame = run_sql_file(explorer.source, "analysis.why", "restarts", id=row["id"], partition=int(row["partition_key"]))
    mine = frame[frame["created_at"] >= row["created_at"]]  # older ones are of a run before with the same id
    return tuple(before), tuple(mine.sort_values("created_at")["id"])


def _timestamp(event: JournalEvent) -> float:
    return event.at.timestamp() if event.at else 0.0
