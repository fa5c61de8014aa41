"""Read the rows of a server that one statement needs and an archive does not have.

A statement sees one set of runs: the server's list of ``id, created_at`` is read first, and the runs that are in the
archive are removed from it. The other tables are read afterwards, for these runs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.history.reader import STEP, agent_steps, with_appended_at, with_entry_columns, with_run
from restate_lab.history.scans import ServerScan
from restate_lab.history.session import OF_ENTRIES
from restate_lab.history.table_rows import Columns, RowFetcher, Values, ids_of
from restate_lab.history.tables import to_archive

_STATUS, _JOURNAL = "sys_invocation_status", "sys_journal"
_LISTED = ("id", "created_at", "completed_at")
# The state before the status, as the status is used if both have changed.
_IN_ORDER = ("sys_invocation_state", _JOURNAL, "journal_entries", "sys_journal_events", "agent_steps", _STATUS)
_ALWAYS_BY_ID, _MOST_BY_ID, _SHARE_BY_ID = 1_000, 20_000, 10
_LATE = timedelta(minutes=1)  # a run can become visible after its end, and nodes have clocks of their own
_TARGET = ("target_service_name", "target_handler_name")
_ENDED_SINCE = "(completed_at IS NULL OR completed_at >= :since)"
_WITH_STEPS = "SELECT DISTINCT id FROM sys_journal WHERE entry_type = :step"


class ArchivedRuns(Protocol):
    """The runs of an archive, as far as they decide which rows of a server count."""

    def are_archived(self, runs: pa.Table) -> pa.Array[Any]:
        """Return for each run (``id, created_at, completed_at``) whether the archive has it."""

    def incomplete(self, table: str) -> pa.Table | None:
        """Return ``id, created_at`` of the archived runs whose rows in a table were not archived; None without any."""


@dataclass(frozen=True, slots=True)
class ServerRuns:
    """The runs of a server that a statement sees: all that were ``listed``, and the ``new`` ones, not in the archive.

    ``by_id``: the rows of other tables are read by the ids of runs, and not in a scan.
    """

    listed: pa.Table
    new: pa.Table
    by_id: bool

    @property
    def ended_since(self) -> datetime | None:
        """Return the time after which all ended ones of the new runs have ended; None if that is not known."""
        ends = [pc.min(self.new["completed_at"]).as_py(), pc.max(self.listed["completed_at"]).as_py()]
        known = [each for each in ends if each is not None]
        return min(known) - _LATE if known else None


@dataclass(slots=True, kw_only=True)
class ServerRows(RowFetcher):
    """The read of one statement that also needs rows of an archive."""

    archive: ArchivedRuns
    new_ids: pa.Array[Any] = field(default_factory=lambda: pa.array([], pa.large_string()))
    """The ids of the runs that only the server has, as far as the statement reads them."""

    def read(self, scans: Mapping[str, ServerScan]) -> dict[str, pa.Table]:
        """Return the rows of each scanned table; columns that are not scanned are missing."""
        mine = {name: scans[name] for name in _IN_ORDER if name in scans}
        others = {name: scan for name, scan in scans.items() if name not in mine}
        runs = self._list([scan.values.get("id") for scan in mine.values()]) if mine else None
        rows = {name: self.fetch(name, scan.columns, scan.values) for name, scan in others.items()}
        if runs is None:
            return rows
        self.new_ids = ids_of(runs.new)
        rows |= {name: self._rows_of_runs(name, scan, runs) for name, scan in mine.items()}
        return rows if _STATUS not in mine else self._without_gone(rows, mine[_STATUS], runs)

    def _list(self, ids: Sequence[AbstractSet[str] | None]) -> ServerRuns:
        """Read the runs of the server, or those with ids that the scans allow."""
        wanted = [each for each in ids if each is not None]
        values = {"id": frozenset[str]().union(*wanted)} if len(wanted) == len(ids) else {}
        listed = self.fetch(_STATUS, frozenset(_LISTED), values)
        is_known: Any = self.archive.are_archived(listed)
        new = listed.filter(pc.invert(is_known))
        count = len(new)
        is_small = count <= _ALWAYS_BY_ID or (count <= _MOST_BY_ID and count * _SHARE_BY_ID <= len(listed))
        return ServerRuns(listed, new, bool(values) or is_small)

    def _rows_of_runs(self, name: str, scan: ServerScan, runs: ServerRuns) -> pa.Table:
        if name == _STATUS:
            return self._statuses(scan, runs)
        if name == "journal_entries":
            return self._entries(scan, runs)
        if name == "agent_steps":
            return self._agent_steps(scan, runs)
        return self._of_runs(name, scan.columns, scan.values, self._kept(name, runs), runs)

    def _kept(self, name: str, runs: ServerRuns) -> pa.Array[Any]:
        """Return the ids whose rows are those of the server: also of archived runs that lack them."""
        missing = self.archive.incomplete(name)
        if missing is None:
            return ids_of(runs.new)
        is_missing: Any = pc.is_in(_keys(runs.listed), value_set=_keys(missing))
        return pa.concat_arrays([ids_of(runs.new), ids_of(runs.listed.filter(is_missing))])

    def _statuses(self, scan: ServerScan, runs: ServerRuns) -> pa.Table:
        """Return the runs; one that was removed or started again after the list was read is not among them."""
        if scan.columns is not None and scan.columns.issubset(_LISTED):
            return runs.new
        columns = None if scan.columns is None else scan.columns | {"created_at"}
        rows = self._of_runs(_STATUS, columns, scan.values, ids_of(runs.new), runs)
        is_same: Any = pc.is_in(_keys(rows), value_set=_keys(runs.new))
        return rows.filter(is_same)

    def _without_gone(self, rows: dict[str, pa.Table], scan: ServerScan, runs: ServerRuns) -> dict[str, pa.Table]:
        """Return the rows without those of runs that were removed, or started again, while they were read."""
        there = rows[_STATUS]
        if scan.values.keys() - {"id"} or len(there) == len(runs.new):
            return rows
        is_gone: Any = pc.invert(pc.is_in(runs.new["id"], value_set=ids_of(there)))
        gone = ids_of(runs.new.filter(is_gone))
        return {name: _without_ids(table, gone) if name in _IN_ORDER else table for name, table in rows.items()}

    def _entries(self, scan: ServerScan, runs: ServerRuns) -> pa.Table:
        columns = frozenset({*OF_ENTRIES, "entry_lite_json"})
        values = {name: texts for name, texts in scan.values.items() if name in OF_ENTRIES}
        journal = self._of_runs(_JOURNAL, columns, values, self._kept("journal_entries", runs), runs)
        return with_entry_columns(journal).select(list(self.types["journal_entries"].names))

    def _agent_steps(self, scan: ServerScan, runs: ServerRuns) -> pa.Table:
        """Return the responses of models, as an archive has them; ``day`` is null for an open run."""
        wanted, types = scan.values.get("id"), self.types["agent_steps"]
        ids = [each for each in _texts(self._kept("agent_steps", runs)) if wanted is None or each in wanted]
        if not runs.by_id:
            there = {row["id"] for row in self.reads.query(_WITH_STEPS, {"step": STEP}).to_pylist()}
            ids = [each for each in ids if each in there]
        steps = agent_steps(AgentReader(self.reads), ids)
        agents = {"id": frozenset(_texts(steps["id"]))}
        journal = self.fetch(_JOURNAL, {"id", "index", "appended_at"}, {**agents, "entry_type": {STEP}})
        statuses = to_archive(self.fetch(_STATUS, {*_LISTED, *_TARGET}, agents))
        statuses = statuses.append_column("day", pc.cast(statuses["completed_at"], pa.date32()))
        rows = with_run(with_appended_at(steps, to_archive(journal)), statuses, ("service", "handler"))
        return pa.table(
            [rows[each.name] if each.name in rows.schema.names else pa.nulls(len(rows), each.type) for each in types],
            schema=types,
        )

    def _of_runs(self, name: str, columns: Columns, values: Values, kept: pa.Array[Any], runs: ServerRuns) -> pa.Table:
        """Return the rows whose ``id`` is in ``kept``."""
        wanted = values.get("id")
        columns = None if columns is None else {"id", *columns}
        if not len(kept):
            return self.empty(name, columns)
        if runs.by_id or wanted is not None:
            ids = frozenset(_texts(kept))
            return self.fetch(name, columns, {**values, "id": ids if wanted is None else ids & wanted}, kept)
        since = runs.ended_since if name == _STATUS else None
        if since is None:
            return self.fetch(name, columns, values, kept)
        return self.fetch(name, columns, values, kept, condition=_ENDED_SINCE, params={"since": since})


def _without_ids(rows: pa.Table, ids: pa.Array[Any]) -> pa.Table:
    is_kept: Any = pc.invert(pc.is_in(rows["id"].cast(ids.type), value_set=ids))
    return rows.filter(is_kept)


def _texts(values: Any) -> list[str]:
    texts: list[str] = values.to_pylist()
    return texts


def _keys(runs: pa.Table) -> pa.Array[Any]:
    """Return a text for each run, which identifies it among the runs with its id."""
    milliseconds: Any = runs["created_at"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
    texts: Any = pc.fill_null(milliseconds.cast(pa.large_string()), "")
    separator: Any = pa.scalar("@", pa.large_string())
    keys: Any = pc.binary_join_element_wise(runs["id"].cast(pa.large_string()), texts, separator)
    return pa.table({"id": keys})["id"].combine_chunks()
