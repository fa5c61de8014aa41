"""Execute the plan of a freeze: write each table, masked, to one Parquet file, and the manifest last.

Tables are read one after another, some thousand rows at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from itertools import chain
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from restate_lab.client.parquet import arrow_bytes, convert_table, row_groups, writable_schema
from restate_lab.client.schema import check_types
from restate_lab.errors import RestateLabError
from restate_lab.evidence.folder import EvidenceFolder
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
from restate_lab.evidence.plan import FreezePlan, TablePlan
from restate_lab.evidence.selection import InvocationSelection
from restate_lab.progress import Progress
from restate_lab.reads import Reads
from restate_lab.source import Source


def write_evidence(
    plan: FreezePlan,
    source: Source,
    folder: EvidenceFolder,
    *,
    reads: Reads,
    started: datetime,
    progress: Progress,
) -> Manifest:
    """Write the tables of a plan and the manifest to a folder, and return the manifest.

    ``reads`` is the source with the remaining time as its limit. ``started`` is the server's clock at the start of the
    freeze.
    """
    writer = _TableWriter(reads, folder, progress)
    written, now = writer.write(plan.tables)
    ended = source.now
    files, new_runs = without_new_runs(source, folder, written, plan.selection, since=started, reads=reads)
    counts = writer.counts
    manifest = Manifest(
        format=FORMAT,
        server=FrozenServer(source.name, source.version, dict(source.features)),
        restate_lab=version("restate-lab"),
        started_at=started,
        now=now or started,
        ended_at=ended,
        consistency=ONE_AFTER_ANOTHER,
        payloads=plan.payloads,
        scope=None if plan.selection is None else _scope(plan.selection),
        redaction=Redaction(
            plan.patterns, {text: counts.hits[text] for text in plan.patterns}, unread=dict(counts.unread)
        ),
        files=files,
        views=plan.views,
        excluded=plan.excluded,
        new_runs=new_runs,
    )
    folder.write(NAME, manifest.to_json())
    return manifest


def _scope(selection: InvocationSelection) -> dict[str, Any]:
    return {
        "asked": dict(selection.arguments),
        "named": selection.matches,
        "with_callers_and_callees": len(selection.ids),
        "notes": list(selection.notes),
    }


@dataclass(slots=True)
class _TableWriter:
    """Writes one table after another, and counts rows, bytes and masked values."""

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
        """Yield an empty batch with the schema, and then the kept rows, masked."""
        schema: pa.Schema | None = None
        for params in table.params:
            with self.reads.stream(table.sql, params=params) as reader:
                if schema is None:
                    types = {column.name: column.type for column in table.columns}
                    schema = check_types(reader.schema, types, table.sql, self.reads)
                    yield self._mask(table, pa.RecordBatch.from_pylist([], schema=schema))
                for batch in reader:
                    yield self._mask(table, batch if table.keep is None else table.keep.apply(batch))

    def _mask(self, table: TablePlan, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        self.size += arrow_bytes(batch)
        self.progress.update(self.rows, self.size)
        return mask_batch(batch, table.masks, self.counts)
