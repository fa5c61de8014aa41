"""Invocations whose run changed while they were frozen: an id that was given again between the reading of two tables.

Tables are read one after another, and most of them name a run by its id alone. Where an invocation was purged and
called again in between, the rows of one table are of the old run and those of another of the new one. Only the row of
``sys_invocation_status`` tells which run it is, by ``created_at``, so the others are taken out of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from restate_lab.errors import TimedOut
from restate_lab.evidence.folder import Folder
from restate_lab.evidence.manifest import File
from restate_lab.evidence.selection import Scope, chunks
from restate_lab.source import Source

__all__ = ["without_new_runs"]

STATUS = "sys_invocation_status"
_ID_COLUMNS = {
    **dict.fromkeys(("sys_journal", "sys_journal_events", "sys_invocation_state", "sys_inbox"), "id"),
    **dict.fromkeys(("sys_vqueues", "sys_vqueue_entry_status"), "entry_id"),
    **dict.fromkeys(("sys_idempotency", "sys_keyed_service_status"), "invocation_id"),
}
_OF_A_WORKFLOW = ("state", "sys_promise")  # purged with its run
_COLUMNS = ("id", "created_at", "target_service_ty", "target_service_name", "target_service_key")
_CLOCKS = timedelta(seconds=1)  # by which the clocks of a cluster's nodes may differ
_BORN = 'SELECT {columns} FROM "sys_invocation_status" WHERE created_at >= :since'
_BLOCK = 65_536  # rows of a file that are in memory


@dataclass(frozen=True, slots=True)
class _NewRuns:
    """The ids whose run changed, and the (service, key) of the workflows among them."""

    ids: frozenset[str] = frozenset()
    keys: frozenset[tuple[str, str]] = frozenset()


def without_new_runs(
    source: Source, folder: Folder, files: list[File], scope: Scope | None, *, since: datetime, reads: Source
) -> dict[str, Any]:
    """Take out of all files but that of the statuses the rows of ids that got a new run since then.

    ``reads`` is the source within the time that is left. Return what the manifest says: ``files`` as they are then, and
    ``new_runs``, these ids; None where it is not known which they are.
    """
    new = _find_new_runs(reads, folder, files, scope, since=since)
    if new is None:
        return {"files": tuple(files), "new_runs": None}
    if new.ids:
        files = [file if file.table == STATUS else _reduced(folder, file, new) for file in files]
    return {"files": tuple(files), "new_runs": tuple(sorted(new.ids | _frozen_before(source, scope)))}


def _find_new_runs(
    source: Source, folder: Folder, files: Sequence[File], scope: Scope | None, *, since: datetime
) -> _NewRuns | None:
    """Return of which ids a new run began since then, when rows of the run before had been read.

    The source is asked once more, for the runs that began since ``since``; of these, the files tell whether there was a
    run before. Not seen are a run that began and vanished again in between, and one that began while the table with
    the run before was being read. None: that is not known, because the scan takes too long, or the statuses were not
    frozen with ``id`` and ``created_at``.
    """
    places = {file.table: place for place, file in enumerate(files)}
    if STATUS not in places or not {"id", "created_at"} <= _timed(files[places[STATUS]]):
        return None
    there = {column.name for column in files[places[STATUS]].columns}
    statement = _BORN.format(columns=", ".join(name for name in _COLUMNS if name in there))
    try:
        born = _born(source, statement, scope, since - _CLOCKS)
    except TimedOut:
        return None
    if not born:
        return _NewRuns()
    frozen = _frozen(folder, files[places[STATUS]], born)
    changed = {id_ for id_, created_at in frozen.items() if created_at != born[id_]["created_at"]}
    young = {id_: created_at for id_, created_at in frozen.items() if id_ not in changed}
    if scope is not None:  # what was followed before the run began was another one
        changed |= {id_ for id_, created_at in young.items() if id_ in scope.ids and created_at > files[0].read_at}
    for file, after in pairwise(files[: places[STATUS] + 1]):
        if file.table in _ID_COLUMNS:
            old = [id_ for id_, created_at in young.items() if created_at > after.read_at]
            changed.update(_ids_in(folder, file, old))
    rows = [born[id_] for id_ in changed]
    workflows = [row for row in rows if row.get("target_service_ty") == "workflow"]
    keys = frozenset((row["target_service_name"], row["target_service_key"]) for row in workflows)
    return _NewRuns(frozenset(changed), keys)


def _frozen_before(source: Source, scope: Scope | None) -> set[str]:
    """Return the ids of which a source that was frozen itself lacks the rows."""
    known = source.coverage.incomplete
    return set(known if scope is None else known.intersection(scope.ids))


def _timed(file: File) -> set[str]:
    """Return the columns of a file that a run can be told by, as they are where nothing masks them."""
    return {column.name for column in file.columns if column.name == "id" or column.arrow.startswith("timestamp")}


def _born(source: Source, statement: str, scope: Scope | None, since: datetime) -> dict[str, Mapping[str, Any]]:
    """Return the runs that began since then, by id."""
    parts: Iterator[tuple[str, dict[str, Any]]] = iter([(statement, {})])
    if scope is not None:
        parts = ((f"{statement} AND id IN :ids", {"ids": ids}) for ids in chunks(scope.ids))
    found: dict[str, Mapping[str, Any]] = {}
    for part, values in parts:
        with source.stream(part, params={"since": since, **values}) as reader:
            found.update((row["id"], row) for batch in reader for row in batch.to_pylist())
    return found


def _frozen(folder: Folder, file: File, born: Mapping[str, Any]) -> dict[str, datetime]:
    """Return when the frozen run of each id was created, for ids that have a row."""
    found: dict[str, datetime] = {}
    with _opened(folder, file) as parquet:
        for batch in parquet.iter_batches(_BLOCK, columns=["id", "created_at"]):
            rows = batch.filter(_is_in(batch["id"], born)).to_pylist()
            found.update((row["id"], row["created_at"]) for row in rows if row["created_at"] is not None)
    return found


def _ids_in(folder: Folder, file: File, ids: Sequence[str]) -> set[str]:
    """Return which of these ids have a row in a file."""
    column = _ID_COLUMNS[file.table]
    if not ids or column not in {each.name for each in file.columns}:
        return set()
    found: set[str] = set()
    with _opened(folder, file) as parquet:
        for batch in parquet.iter_batches(_BLOCK, columns=[column]):
            found.update(map(str, batch[column].filter(_is_in(batch[column], ids)).to_pylist()))
    return found


def _reduced(folder: Folder, file: File, new: _NewRuns) -> File:
    with _opened(folder, file) as parquet:
        leaving = sum(pc.sum(_leaves(batch, file, new)).as_py() or 0 for batch in parquet.iter_batches(_BLOCK))
    if not leaving:
        return file
    part = f"{file.file}.part"
    with (
        _opened(folder, file) as parquet,
        folder.writing(part) as out,
        pq.ParquetWriter(cast("IO[bytes]", out), parquet.schema_arrow, compression="zstd") as writer,
    ):
        for batch in parquet.iter_batches(_BLOCK):
            writer.write_batch(batch.filter(pc.invert(_leaves(batch, file, new))))
    folder.filesystem.delete_file(folder.at(file.file))
    folder.filesystem.move(folder.at(part), folder.at(file.file))
    return replace(file, rows=file.rows - leaving, size=out.size, sha256=out.sha256)


def _leaves(batch: pa.RecordBatch, file: File, new: _NewRuns) -> pa.Array[Any]:
    """Return one flag a row: whether it may be of either run."""
    names = set(batch.schema.names)
    if file.table in _OF_A_WORKFLOW and {"service_name", "service_key"} <= names:
        pairs = zip(batch["service_name"].to_pylist(), batch["service_key"].to_pylist(), strict=True)
        return pa.array([pair in new.keys for pair in pairs], pa.bool_())
    column = _ID_COLUMNS.get(file.table)
    if column not in names:
        return pa.array([False] * batch.num_rows, pa.bool_())
    return _is_in(batch[column], new.ids)


def _is_in(column: pa.Array[Any], ids: Iterable[str]) -> pa.Array[Any]:
    return pc.is_in(column, value_set=pa.array(list(ids), column.type))


@contextmanager
def _opened(folder: Folder, file: File) -> Iterator[pq.ParquetFile]:
    with folder.filesystem.open_input_file(folder.at(file.file)) as content:
        yield pq.ParquetFile(content)
