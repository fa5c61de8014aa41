"""Find invocations whose run changed during the freeze, and remove rows that can belong to either run.

Tables are read one after another, and most tables have only the id of a run. If an invocation was purged and called
again during the freeze, one table has rows of the old run and another table has rows of the new run. Only the row of
``sys_invocation_status`` identifies its run, by ``created_at``, so the other rows are removed from the files.
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
from restate_lab.evidence.folder import EvidenceFolder
from restate_lab.evidence.manifest import TableFile
from restate_lab.evidence.selection import InvocationSelection, statement_chunks
from restate_lab.source import Source

STATUS_TABLE = "sys_invocation_status"
_ID_COLUMNS = {
    **dict.fromkeys(("sys_journal", "sys_journal_events", "sys_invocation_state", "sys_inbox"), "id"),
    **dict.fromkeys(("sys_vqueues", "sys_vqueue_entry_status"), "entry_id"),
    **dict.fromkeys(("sys_idempotency", "sys_keyed_service_status"), "invocation_id"),
}
_OF_A_WORKFLOW = ("state", "sys_promise")  # purged with its run
_COLUMNS = ("id", "created_at", "target_service_ty", "target_service_name", "target_service_key")
_CLOCKS = timedelta(seconds=1)  # the maximum difference between the clocks of a cluster's nodes
_RUNS_SINCE = 'SELECT {columns} FROM "sys_invocation_status" WHERE created_at >= :since'
_BLOCK = 65_536  # rows of a file that are in memory at a time


@dataclass(frozen=True, slots=True)
class _NewRuns:
    """The ids whose run changed, and the (service, key) pairs of workflows among them."""

    ids: frozenset[str] = frozenset()
    keys: frozenset[tuple[str, str]] = frozenset()


def without_new_runs(
    source: Source,
    folder: EvidenceFolder,
    files: list[TableFile],
    selection: InvocationSelection | None,
    *,
    since: datetime,
) -> tuple[tuple[TableFile, ...], tuple[str, ...] | None]:
    """Remove the rows of ids that got a new run after ``since``, from all files except the statuses.

    Return the resulting files and these ids; None instead of the ids if they are unknown.
    """
    new = _find_new_runs(source, folder, files, selection, since=since)
    if new is None:
        return tuple(files), None
    if new.ids:
        files = [file if file.table == STATUS_TABLE else _without_rows(folder, file, new) for file in files]
    incomplete = source.coverage.incomplete  # of a source that is itself frozen evidence
    if selection is not None:
        incomplete &= frozenset(selection.ids)
    return tuple(files), tuple(sorted(new.ids | incomplete))


def _find_new_runs(
    source: Source,
    folder: EvidenceFolder,
    files: Sequence[TableFile],
    selection: InvocationSelection | None,
    *,
    since: datetime,
) -> _NewRuns | None:
    """Return the ids whose new run began after rows of their old run were read; None if this is unknown.

    The source is read again for the runs that began after ``since``; the files show whether there was an earlier run.
    The check does not detect a run that began and disappeared between two reads, and a run that began while the table
    with the old run was read. The result is unknown if the scan takes too long, or if the statuses were frozen without
    ``id`` or ``created_at``.
    """
    place = next((place for place, file in enumerate(files) if file.table == STATUS_TABLE), None)
    kinds = {} if place is None else {column.name: column.arrow for column in files[place].columns}
    if place is None or "id" not in kinds or not kinds.get("created_at", "").startswith("timestamp"):  # or masked
        return None
    statement = _RUNS_SINCE.format(columns=", ".join(name for name in _COLUMNS if name in kinds))
    try:
        runs = _runs_since(source, statement, selection, since - _CLOCKS)
    except TimedOut:
        return None
    if not runs:
        return _NewRuns()
    frozen = _frozen_created_at(folder, files[place], runs)
    changed = {id_ for id_, created_at in frozen.items() if created_at != runs[id_]["created_at"]}
    young = {id_: created_at for id_, created_at in frozen.items() if id_ not in changed}
    if selection is not None:  # the selection followed the callers and callees of an earlier run
        changed |= {id_ for id_, created_at in young.items() if id_ in selection.ids and created_at > files[0].read_at}
    for file, after in pairwise(files[: place + 1]):
        if file.table in _ID_COLUMNS:
            old = [id_ for id_, created_at in young.items() if created_at > after.read_at]
            changed.update(_ids_in(folder, file, old))
    rows = [runs[id_] for id_ in changed]
    workflows = [row for row in rows if row.get("target_service_ty") == "workflow"]
    keys = frozenset((row["target_service_name"], row["target_service_key"]) for row in workflows)
    return _NewRuns(frozenset(changed), keys)


def _runs_since(
    source: Source, statement: str, selection: InvocationSelection | None, since: datetime
) -> dict[str, Mapping[str, Any]]:
    parts: Iterator[tuple[str, dict[str, Any]]] = iter([(statement, {})])
    if selection is not None:
        parts = ((f"{statement} AND id IN :ids", {"ids": ids}) for ids in statement_chunks(selection.ids))
    runs: dict[str, Mapping[str, Any]] = {}
    for part, values in parts:
        with source.stream(part, params={"since": since, **values}) as reader:
            runs.update((row["id"], row) for batch in reader for row in batch.to_pylist())
    return runs


def _frozen_created_at(folder: EvidenceFolder, file: TableFile, runs: Mapping[str, Any]) -> dict[str, datetime]:
    frozen: dict[str, datetime] = {}
    with _open_file(folder, file) as parquet:
        for batch in parquet.iter_batches(_BLOCK, columns=["id", "created_at"]):
            rows = batch.filter(_is_in(batch["id"], runs)).to_pylist()
            frozen.update((row["id"], row["created_at"]) for row in rows if row["created_at"] is not None)
    return frozen


def _ids_in(folder: EvidenceFolder, file: TableFile, ids: Sequence[str]) -> set[str]:
    column = _ID_COLUMNS[file.table]
    if not ids or column not in {each.name for each in file.columns}:
        return set()
    present: set[str] = set()
    with _open_file(folder, file) as parquet:
        for batch in parquet.iter_batches(_BLOCK, columns=[column]):
            present.update(map(str, batch[column].filter(_is_in(batch[column], ids)).to_pylist()))
    return present


def _without_rows(folder: EvidenceFolder, file: TableFile, new: _NewRuns) -> TableFile:
    part, rows = f"{file.file}.part", 0
    with (
        _open_file(folder, file) as parquet,
        folder.create_file(part) as out,
        pq.ParquetWriter(cast("IO[bytes]", out), parquet.schema_arrow, compression="zstd") as writer,
    ):
        for batch in parquet.iter_batches(_BLOCK):
            kept = batch.filter(pc.invert(_of_either_run(batch, file, new)))
            writer.write_batch(kept)
            rows += kept.num_rows
    folder.filesystem.delete_file(folder.path_of(file.file))
    folder.filesystem.move(folder.path_of(part), folder.path_of(file.file))
    return replace(file, rows=rows, size=out.size, sha256=out.sha256)


def _of_either_run(batch: pa.RecordBatch, file: TableFile, new: _NewRuns) -> pa.Array[Any]:
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
def _open_file(folder: EvidenceFolder, file: TableFile) -> Iterator[pq.ParquetFile]:
    with folder.filesystem.open_input_file(folder.path_of(file.file)) as content:
        yield pq.ParquetFile(content)
