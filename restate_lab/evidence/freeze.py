"""Freeze a cluster: its tables as Parquet files and a manifest, in a folder that is complete or does not exist.

The arguments select invocations and tables. ``plan`` decides which rows and columns of each table are written, masked,
some thousand rows at a time. Tables are read one after another, and the manifest is written last.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from restate_lab.analysis.times import TimeInput
from restate_lab.client.parquet import arrow_bytes, convert_table, row_groups, writable_schema
from restate_lab.client.schema import check_types, translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import EvidenceWarning, RestateLabError
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
from restate_lab.evidence.new_runs import STATUS_TABLE, without_new_runs
from restate_lab.evidence.plan import FreezePlan, TablePlan, plan_freeze
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.evidence.selection import InvocationSelection, parse_filter, select_invocations
from restate_lab.evidence.tables import read_schema
from restate_lab.progress import Progress, RowsLine, progress_of
from restate_lab.reads import COPY_STATEMENT, Reads, begin
from restate_lab.source import Source


@translate_errors
def freeze(
    source: Source,
    path: str | os.PathLike[str],
    /,
    *,
    service: str | Iterable[str] | None = None,
    handler: str | Iterable[str] | None = None,
    ids: Any = None,
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
      ``until`` select what was created before ``until``, and not completed before ``since``.
    - ``tables``: freeze only these. ``sys_invocation`` is a view, and its name selects the tables that it reads.
    - ``payloads=True`` adds arguments, results, and the values of state and promises. Secret headers are masked, also
      where a payload repeats them. Failure texts, keys and names are always frozen.
    - ``redact``: columns, and paths in JSON values, to mask: ``"failures"``, ``"state.value"``, ``"$.card.number"``,
      ``"$..password"``, ``"event_json:$..error_message"`` (in one column). No other byte changes, but a payload that
      is not JSON and may contain the path is masked as a whole.
    - ``timeout`` is for the whole call; with None, only a statement that takes more than an hour is ended.
    - ``progress``: None or True shows a line after a second, False nothing, and a ``Progress`` is updated instead.

    Warns:
        EvidenceWarning: not all callers or callees were followed, an id does not exist or has a new run, a path of
            ``redact`` matched nothing, or values could not be read and were masked as a whole.

    Raises:
        ArgumentError: the path exists, an argument is malformed, or a pattern covers no column.
        NotFound: no invocation matches.
        NotOnThisServer: the source is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of the source, with a note that names the table.
    """
    target = locate_folder(path, filesystem)
    check_free(target)
    reads = begin(source, "freeze", timeout, each=COPY_STATEMENT)
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
    if ids is None and any(file.table == STATUS_TABLE for file in manifest.files):
        yield (
            "It is unknown whether invocations were purged and called again during the freeze, because this could not "
            "be read from the source. The rows of such an id would belong to two runs."
        )
    if ids:
        yield (
            f"{len(ids):,} invocations were purged and called again during the freeze, so their ids have a new run: "
            f"{', '.join(ids[:3])}. Only their rows in {STATUS_TABLE} were kept. Freeze them again to get all rows of "
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
    files, new_runs = without_new_runs(reads, folder, written, selection, since=started)
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
                if table.name == STATUS_TABLE:
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
