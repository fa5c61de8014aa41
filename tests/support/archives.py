"""An archive with the rows of a test, in the tables that ``rl.archive`` writes; without a server."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from restate_lab.history.store import locate_store
from restate_lab.history.tables import SCHEMA_VERSION, TABLES, to_archive

DAY = datetime(2026, 11, 20, tzinfo=UTC)
DEPLOYED = DAY - timedelta(days=1)
"""The time at which the first deployment of an archive was created."""
SERVER_SCHEMA: str = Path(__file__).with_name("server_schema.json").read_text("utf-8")
"""What a 1.7.12 server reports about the tables that an archive copies."""
_TABLES = json.loads(SERVER_SCHEMA)["tables"]
TYPES: dict[str, pa.DataType] = {
    "LargeUtf8": pa.large_string(),
    "LargeBinary": pa.large_binary(),
    "Boolean": pa.bool_(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    'Timestamp(ms, "+00:00")': pa.timestamp("ms", "+00:00"),
    "Duration(ms)": pa.duration("ms"),
    "List(UInt32)": pa.list_(pa.uint32()),
    "List(LargeUtf8)": pa.list_(pa.large_string()),
}
"""The Arrow types of columns by the names that a server gives them."""


def run(number: int, ended: datetime, *, took: timedelta = timedelta(seconds=1), **columns: Any) -> dict[str, Any]:
    """Return a run of Orders/place that ended then; ``number`` makes its id."""
    return {
        "id": f"inv_1{number:011d}{number:022d}",
        "target": "Orders/place",
        "target_service_name": "Orders",
        "target_handler_name": "place",
        "target_service_ty": "service",
        "status": "completed",
        "completion_result": "success",
        "created_at": ended - took,
        "running_at": ended - took,
        "modified_at": ended,
        "completed_at": ended,
        "completion_retention": timedelta(days=1),
        "journal_retention": timedelta(days=1),
        "journal_size": 2,
        "partition_key": 2**64 - 1,
        **columns,
    }


class SampleArchive:
    """Writes visits with their rows; each visit is one commit per table."""

    def __init__(self, path: Path, cluster_name: str = "prod") -> None:
        self.path = path
        self.cluster_name = cluster_name
        self._number = 0
        self._days: set[date] = set()
        self._store = locate_store(path)
        self._store.create()

    def visit(
        self,
        at: datetime,
        runs: Sequence[Mapping[str, Any]] = (),
        *,
        repeated: Iterable[str] = (),
        retention: Sequence[Mapping[str, Any]] = (),
        steps: Sequence[Mapping[str, Any]] = (),
        samples: Sequence[Mapping[str, Any]] = (),
        payloads: bool = False,
        **record: Any,
    ) -> None:
        """Add a visit of one second with these ended runs, each with a journal of two entries.

        A run can have ``events`` and more ``entries``. ``record`` has columns of ``visits``. Ids in ``repeated`` have
        an earlier run in the archive.
        """
        self._number += 1
        again = set(repeated)
        own = [self._own(each) | {"repeated": each["id"] in again} for each in runs]
        self._append("invocations", runs, own)
        entries = [(each, entry) for each in runs for entry in entries_of(each)]
        of_journal = [self._own(each) | {key: entry.get(key) for key in _OF_ENTRIES} for each, entry in entries]
        self._append("journal", [entry for _, entry in entries], of_journal)
        events = [(each, event) for each in runs for event in each.get("events", ())]
        self._append(
            "events", [event | {"id": each["id"]} for each, event in events], [self._own(e) for e, _ in events]
        )
        if self._number == 1:
            self.deploy("dp_1", "Orders", created=DEPLOYED, seen=at)
        for table, rows in (("agent_steps", steps), ("samples", samples)):
            if rows:
                self._write(table, [self._visit(at) | dict(each) for each in rows])
        self._write("visits", [self._record(at, runs, retention, payloads=payloads) | record])

    def copied_to(self, path: Path) -> Self:
        """Return a copy in another folder: faster than to write the same visits again for each test."""
        shutil.copytree(self.path, path)
        other = copy.copy(self)
        other.path, other._store, other._days = path, locate_store(path), set(self._days)
        return other

    def deploy(self, id_: str, service: str, *, created: datetime, seen: datetime) -> None:
        """Add a deployment with a service, which a visit sees first at ``seen``."""
        first = {"cluster_name": self.cluster_name, "visit": self._number, "first_seen_at": seen}
        endpoint = {"id": id_, "endpoint": "http://127.0.0.1:9080", "created_at": created}
        self._append("deployments", [endpoint], [first])
        self._append("services", [{"name": service, "ty": "service", "deployment_id": id_}], [first])

    @contextmanager
    def newer_format(self) -> Iterator[None]:
        log = next((self.path / "visits" / "_delta_log").glob("*0.json"))
        text = log.read_text("utf-8")
        log.write_text(re.sub(r"schema \d+", f"schema {SCHEMA_VERSION + 1}", text), "utf-8")
        yield
        log.write_text(text, "utf-8")

    def _own(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return self._visit(row["completed_at"]) | {"created_at": row["created_at"]}

    def _visit(self, at: datetime) -> dict[str, Any]:
        return {"cluster_name": self.cluster_name, "day": at.date(), "visit": self._number}

    def _record(
        self, at: datetime, runs: Sequence[Any], retention: Sequence[Mapping[str, Any]], *, payloads: bool
    ) -> dict[str, Any]:
        is_first_of_day = at.date() not in self._days
        self._days.add(at.date())
        return self._visit(at) | {
            "schema_version": SCHEMA_VERSION,
            "started_at": at,
            "ended_at": at + timedelta(seconds=1),
            "outcome": "complete",
            "server_version": "1.7.12",
            "features": json.dumps({"vqueues": False}),
            "server_schema": SERVER_SCHEMA if is_first_of_day else None,
            "retention": json.dumps(list(retention)) if retention else None,
            "ids_read": len(runs),
            "new_runs": len(runs),
            "payloads": payloads,
        }

    def _append(self, table: str, rows: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> None:
        archived = TABLES[table]
        without = archived.left_out | {each for each in archived.payloads if not any(each in row for row in rows)}
        columns = [each for each in _TABLES[archived.copies] if each[0] not in without]
        copied = to_archive(
            pa.table({name: pa.array([row.get(name) for row in rows], TYPES[kind]) for name, kind, _ in columns})
        )
        mine = pa.table(
            {
                name: pa.array([row.get(name) for row in own], kind)
                for name, kind in archived.own.items()
                if name not in copied.column_names
            }
        )
        whole = pa.table([*mine.columns, *copied.columns], names=[*mine.column_names, *copied.column_names])
        self._commit(table, whole)

    def _write(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        types = TABLES[table].own
        self._commit(
            table, pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})
        )

    def _commit(self, table: str, rows: pa.Table) -> None:
        self._store.append(self._store.open(table), rows, cluster=self.cluster_name)


_OF_ENTRIES = ("completion_id", "result")
"""The archive's own columns of an entry."""


def entries_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the two entries of the journal of a run, and those in its ``entries``."""
    common = {"id": row["id"], "version": 2, "completed": True, "raw_length": 20}
    return [
        common
        | {
            "index": 0,
            "entry_type": "Command: Input",
            "appended_at": row["created_at"],
            "entry_lite_json": '{"Command":{"Input":{"name":""}}}',
        },
        common
        | {
            "index": 1,
            "entry_type": "Command: Output",
            "appended_at": row["completed_at"],
            "entry_lite_json": '{"Command":{"Output":{"result":"Success","name":""}}}',
        },
        *(common | dict(each) for each in row.get("entries", ())),
    ]
