"""Freeze a cluster: its tables as Parquet files and a manifest, in a folder that is complete or does not exist.

The arguments select invocations and tables. ``plan`` decides which rows and columns of each table are written, masked,
some thousand rows at a time. Tables are read one after another, and the manifest is written last.

Most tables have only the id of a run. If an invocation was purged and called again during the freeze, one table has
rows of the old run and another table has rows of the new run. Only the row of ``sys_invocation_status`` identifies its
run, by ``created_at``, so the other rows are removed from the files before the manifest is written.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from restate_lab.analysis.ids import Targets
from restate_lab.analysis.times import TimeInput
from restate_lab.client.parquet import arrow_bytes, convert_table, row_groups, writable_schema
from restate_lab.client.schema import check_types, translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import EvidenceWarning, RestateLabError, TimedOut
from restate_lab.evidence.folder import EvidenceFolder, check_free, locate_folder, new_folder
from restate_lab.evidence.manifest import (
    FORMAT,
    NAME,
    ONE_AFTER_ANOTHER,
    FrozenServer,
    Manifest,
    Redaction,
    StoredColumn,
    TableFile,
    type_name,
)
from restate_lab.evidence.masking import MaskCounts, mask_batch
from restate_lab.evidence.plan import FreezePlan, TablePlan, plan_freeze
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.evidence.selection import InvocationSelection, parse_filter, select_invocations, statement_chunks
from restate_lab.evidence.tables import read_schema
from restate_lab.progress import Progress, RowsLine, progress_of
from restate_lab.reads import COPY_STATEMENT, Reads, begin
from restate_lab.source import Source

_STATUS_TABLE = "sys_invocation_status"
_ID_COLUMNS = {
    **dict.fromkeys(("sys_journal", "sys_journal_events", "sys_invocation_state", "sys_inbox"), "id"),
    **dict.fromkeys(("sys_vqueues", "sys_vqueue_entry_status"), "entry_id"),
    "sys_keyed_service_status": "invocation_id",
}
_OF_A_WORKFLOW = ("state", "sys_promise")  # purged with its run
_COLUMNS = ("id", "created_at", "target_service_ty", "target_service_name", "target_service_key")
_CLOCKS = timedelta(seconds=1)  # the maximum difference between the clocks of a cluster's nodes
_RUNS_SINCE = 'SELECT {columns} FROM "sys_invocation_status" WHERE created_at >= :since'
_BLOCK = 65_536  # rows of a file that are in memory at a time


@translate_errors
def freeze(
    source: Source,
    path: str | os.PathLike[str],
    /,
    *,
    service: str | Iterable[str] | None = None,
    handler: str | Iterable[str] | None = None,
    ids: Targets = None,
    since: TimeInput | None = None,
    until: TimeInput | None = None,
    tables: str | Iterable[str] | None = None,
    payloads: bool = False,
    redact: str | Iterable[str] | None = None,
    timeout: DurationInput | None = None,
    filesystem: fs.FileSystem | None = None,
    progress: bool | Progress | None = None,
) -> Path | str:
    """Freeze the tables of a source into a new folder of Parquet files, and return its path.

    ``open_evidence`` opens the folder as a Source; ``help(rl.Evidence)`` describes its files. If the freeze fails or is
    stopped, no folder that looks complete remains. Memory use does not depend on the size of the tables.

    - ``path``: local, a URI that ``pyarrow.fs`` supports ("s3://bucket/inc-42.evidence"), or a path on ``filesystem``.
      It must not exist.
    - ``service, handler, ids, since, until`` select the invocations that match all of these, with their callers,
      callees, the holders of keys that they wait for, and the rows of their keys. ``ids`` is a list, a Series or a
      frame with a column ``id``; with a column ``created_at``, only runs with these creation times match. ``since`` and
      ``until`` select invocations created before ``until``, and not completed before ``since``. ``ids=rl.story(…)``
      freezes exactly its members, and the holders of keys that they wait for.
    - ``tables``: freeze only these. ``sys_invocation`` is a view, and its name selects the tables that it reads.
    - ``payloads=True`` adds arguments, results, and the values of state and promises. Secret headers are masked, also
      where a payload repeats them. Failure texts, keys and names are always frozen.
    - ``redact``: columns, and paths in JSON values, to mask: ``"failures"``, ``"state.value"``, ``"$.card.number"``,
      ``"$..password"``, ``"event_json:$..error_message"`` (in one column). No other byte changes, but a payload that
      is not JSON and may contain the path is masked as a whole.
    - ``timeout`` is for the whole call; with None, only a statement that takes more than an hour is ended.
    - ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a
      ``Progress`` is updated instead.

    Warns:
        EvidenceWarning: not all callers or callees were followed, an id does not exist or has a new run, a path of
            ``redact`` matched nothing, or values could not be read and were masked as a whole.

    Raises:
        ArgumentError: the path exists or has control characters, an argument is malformed, or a pattern covers no
            column.
        NotFound: no invocation matches.
        NotOnThisServer: the source is too old, or shows an earlier time.
        TimedOut: not everything was read within ``timeout``.
        WriteFailed: the disk is full.
        RestateLabError: any error of the source, with a note that names the table.
    """
    target = locate_folder(path, filesystem)
    check_free(target)
    reads = begin(source, "freeze", timeout, each=COPY_STATEMENT, needs_present=True)
    started = reads.now
    wanted = parse_filter(ids=ids, service=service, handler=handler, since=since, until=until, now=started)
    schema = read_schema(reads)
    base_tables = schema.base_tables(tables)
    patterns = parse_patterns(redact, schema.columns)
    selection = select_invocations(reads, wanted, schema.columns)
    for note in () if selection is None else selection.notes:
        warnings.warn(note, EvidenceWarning, stacklevel=3)  # point to the caller of the decorated function
    plan = plan_freeze(schema, base_tables, selection=selection, patterns=patterns, payloads=payloads)
    with new_folder(target) as folder:
        writer = _TableWriter(reads, folder, progress_of(progress, lambda: RowsLine("freezing")))
        manifest = _write_evidence(plan, writer, selection, started=started, payloads=payloads)
    for message in _warning_messages(manifest):
        warnings.warn(message, EvidenceWarning, stacklevel=3)
    return target.display_path


def _warning_messages(manifest: Manifest) -> Iterator[str]:
    if unread := manifest.redaction.unread:
        columns = ", ".join(f"{count:,} of {column}" for column, count in unread.items())
        yield (
            f"{sum(unread.values()):,} values could not be read as JSON. They were masked as a whole, because they "
            f"could contain values that redact= masks: {columns}."
        )
    paths = [text for text in manifest.redaction.patterns if "$" in text and (manifest.payloads or text[0] != "$")]
    if unused := [text for text in paths if not manifest.redaction.masked[text]]:
        yield f"redact: {', '.join(unused)} matched no frozen value. Check the evidence before you share it."
    ids = manifest.new_runs
    if ids is None and any(file.table == _STATUS_TABLE for file in manifest.files):
        yield (
            "It is unknown whether invocations were purged and called again during the freeze, because this could not "
            "be read from the source. The rows of such an id would belong to two runs."
        )
    if ids:
        yield (
            f"{len(ids):,} invocations were purged and called again during the freeze, so their ids have a new run: "
            f"{', '.join(ids[:3])}. Only their rows in {_STATUS_TABLE} were kept. Freeze them again to get all rows of "
            f"the new run."
        )


def _write_evidence(
    plan: FreezePlan, writer: _TableWriter, selection: InvocationSelection | None, *, started: datetime, payloads: bool
) -> Manifest:
    """Write the tables of a plan, and the manifest last; ``started`` is the server's clock at the start."""
    reads, folder = writer.reads, writer.folder
    written, now = writer.write(plan.tables)
    ended = reads.read_clock()
    server = FrozenServer(reads.name, reads.version, dict(reads.features))
    files, new_runs = _without_new_runs(reads, folder, written, selection, since=started)
    scope = (
        None
        if selection is None
        else {
            "asked": dict(selection.arguments),
            "named": selection.matches,
            "with_callers_and_callees": len(selection.ids),
            "notes": list(selection.notes),
        }
    )
    hits, unread = writer.counts.hits, writer.counts.unread
    manifest = Manifest(
        format=FORMAT,
        server=server,
        restate_lab=version("restate-lab"),
        started_at=started,
        now=now or started,
        ended_at=ended,
        consistency=ONE_AFTER_ANOTHER,
        payloads=payloads,
        scope=scope,
        redaction=Redaction(plan.patterns, {text: hits[text] for text in plan.patterns}, unread=dict(unread)),
        files=files,
        views=plan.views,
        excluded=plan.excluded,
        new_runs=new_runs,
    )
    folder.write(NAME, manifest.to_json())
    return manifest


@dataclass(slots=True)
class _TableWriter:
    reads: Reads
    folder: EvidenceFolder
    progress: Progress
    counts: MaskCounts = field(default_factory=MaskCounts)
    rows: int = 0
    size: int = 0

    def write(self, tables: Iterable[TablePlan]) -> tuple[list[TableFile], datetime | None]:
        """Write the tables; return their files, and the server's clock directly after the invocations were read."""
        files: list[TableFile] = []
        now: datetime | None = None
        try:
            for table in tables:
                files.append(self._write_table(table))
                if table.name == _STATUS_TABLE:
                    now = self.reads.read_clock()
        finally:
            self.progress.close()
        return files, now

    def _write_table(self, table: TablePlan) -> TableFile:
        name = f"{table.name}.parquet"
        read_at = self.reads.read_clock()
        rows_before = self.rows
        try:
            with closing(self._batches(table)) as batches:
                first = next(batches)  # wait for the source before the file is created
                schema = writable_schema(first.schema)
                columns = tuple(
                    StoredColumn(stored.name, column.type or str(stored.type), column.nullable, type_name(stored.type))
                    for stored, column in zip(schema, table.columns, strict=True)
                )
                with (
                    self.folder.create_file(name) as file,
                    pq.ParquetWriter(cast("IO[bytes]", file), schema, compression="zstd") as out,
                ):
                    for group in row_groups(chain([first], batches), first.schema):
                        out.write_table(convert_table(group, schema))
        except RestateLabError as error:
            error.add_note(f"while reading {table.name} for the freeze; no file was kept")
            raise
        rows = self.rows - rows_before
        return TableFile(table.name, name, table.sql, read_at, rows, file.size, file.sha256, columns)

    def _batches(self, table: TablePlan) -> Generator[pa.RecordBatch]:
        schema: pa.Schema | None = None
        for params in table.rows.params:
            with self.reads.stream(table.sql, params=params) as reader:
                if schema is None:
                    types = {column.name: column.type for column in table.columns}
                    schema = check_types(reader.schema, types, table.sql, self.reads)
                    yield self._mask(table, pa.RecordBatch.from_pylist([], schema=schema))
                for batch in reader:
                    yield self._mask(table, batch if table.rows.keep is None else table.rows.keep.apply(batch))

    def _mask(self, table: TablePlan, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        self.size += arrow_bytes(batch)
        self.progress.update(self.rows, self.size)
        return mask_batch(batch, table.masks, self.counts)


@dataclass(frozen=True, slots=True)
class _NewRuns:
    """The ids whose run changed, and the (service, key) pairs of workflows among them."""

    ids: frozenset[str] = frozenset()
    keys: frozenset[tuple[str, str]] = frozenset()


def _without_new_runs(
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
        files = [file if file.table == _STATUS_TABLE else _without_rows(folder, file, new) for file in files]
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
    place = next((place for place, file in enumerate(files) if file.table == _STATUS_TABLE), None)
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
