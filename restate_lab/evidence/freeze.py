"""Freeze a cluster: its tables as Parquet files and a manifest, in a folder that is whole or not there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from restate_lab.analysis.deadline import within
from restate_lab.analysis.times import TimeInput
from restate_lab.client.parquet import arrow_bytes, converted, row_groups, writable
from restate_lab.client.schema import translated
from restate_lab.durations import DurationInput
from restate_lab.errors import EvidenceWarning
from restate_lab.evidence import manifest as written
from restate_lab.evidence.folder import Folder, locate_folder, new_folder
from restate_lab.evidence.masking import Masks
from restate_lab.evidence.new_runs import without_new_runs
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.evidence.selection import Scope, meant, scope_of
from restate_lab.evidence.table_reader import Reading, cannot_reduce, reading_of
from restate_lab.evidence.tables import LeftOut, Offer, TablePlan, offer_of, plan_tables
from restate_lab.progress import Progress, RowsLine, progress_of
from restate_lab.source import Source, check_tried

__all__ = ["freeze"]

_INVOCATIONS = "sys_invocation_status"
_UNKNOWN = "this version of restate_lab does not know which of its rows belong to some invocations"


@translated
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
    timeout: DurationInput = "1h",
    filesystem: fs.FileSystem | None = None,
    progress: bool | Progress | None = None,
) -> Path | str:
    """Freeze what a source shows into a new folder of Parquet files, and return its path.

    One file per table (zstd), and ``manifest.json``: when, which cluster, the SQL, schema, rows and sha256 of each
    file, and what was left out and why. ``open_evidence`` makes a Source of it; DuckDB, Spark and pandas read the
    files as they are (durations are milliseconds there). Tables are read one after another, not at one instant.

    ``path`` is local, a URI that ``pyarrow.fs`` knows ("s3://bucket/inc-42.evidence"), or a path on ``filesystem``. It
    must not be there yet. When the freeze fails or is stopped, nothing is there that looks complete.

    - ``service, handler, ids, since, until`` narrow it to the invocations for which all of them hold; ``ids`` as a
      list, a Series or a frame with a column ``id``. ``since`` and ``until`` are those that lived between the two:
      created before its end, and not completed before its beginning. Who called them comes with them, and what they
      wait for: callees, and holders of the keys that they queue for; in tables of keys the rows of their keys.
      A frame with a column ``created_at`` means the runs that were created then.
    - ``tables``: only these. Asking for ``sys_invocation`` means the tables that it is a view of.
    - ``payloads=True`` adds what handlers were given and gave back: ``entry_json`` and the values of state and
      promises, with secret headers masked, also those of a response that a payload repeats. Without it failure texts,
      keys and names are frozen all the same.
    - ``redact``: columns, and paths into JSON values, that are masked: ``"failures"``, ``"idempotency_key"``,
      ``"state.value"``, ``"$.card.number"``, ``"$..password"``, ``"event_json:$..error_message"`` (in that column).
      A path replaces what it leads to, also in JSON within strings, and no other byte. A payload that is not JSON is
      masked whole where it is binary, or a text in which the names of the path occur; any other text is left.

    Where an invocation is purged and called again meanwhile, the same id has a new run, and the rows of some tables
    would be of the old one. Of such ids only the row in ``sys_invocation_status`` is kept, and the manifest's
    ``new_runs`` names them.

    ``timeout`` is for the whole call. ``progress``: None or True shows a line once the call takes longer than a second,
    False shows nothing, and a ``Progress`` is updated instead. Memory stays the same however large the tables are.

    Warns:
        EvidenceWarning: callers or callees were not followed to their end, an id is not there or has a new run, a path
            of ``redact`` hit nothing, or values could not be read and were masked whole.

    Raises:
        ArgumentError: the path is taken, an argument is malformed, or a pattern covers no column.
        NotFound: there is no invocation of which this is true.
        NotOnThisServer: the source is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what the source raises; a note on it says which table was read.
    """
    target, reads = locate_folder(path, filesystem), within(source, timeout, verb="freeze")
    check_tried(source, "freeze(), which must know what to mask,")
    started = reads.now
    asked = meant(ids=ids, service=service, handler=handler, since=since, until=until, now=started)
    offer = offer_of(reads)
    plans, left_out = plan_tables(offer, tables, payloads=payloads)
    masks = Masks(parse_patterns(redact, offer.columns), _views_by_table(offer))
    with new_folder(target) as folder:
        scope = scope_of(reads, asked, offer.columns) if asked.given else None
        plans, left_out = _reducible(plans, left_out, scope)
        writer = _Writer(reads, folder, masks, progress_of(progress, lambda: RowsLine("freezing")))
        files, now = writer.write([reading_of(plan, scope) for plan in plans])
        manifest = written.Manifest(
            **_about(source, started, now or started),
            payloads=payloads,
            scope=_scope_words(scope),
            redaction=_redaction(masks),
            **without_new_runs(source, folder, files, scope, since=started, reads=reads),
            **_views(offer, plans, left_out),
        )
        folder.write(written.NAME, manifest.to_json())
    _warn_of_masking(manifest)
    _warn_of_new_runs(manifest)
    return target.shown


@dataclass(slots=True)
class _Writer:
    """Writes one table after another, and counts rows and bytes for the one who waits."""

    source: Source
    folder: Folder
    masks: Masks
    progress: Progress
    rows: int = 0
    size: int = 0

    def write(self, readings: Iterable[Reading]) -> tuple[list[written.File], datetime | None]:
        """Write them all; return what was written, and the moment right after the invocations were read."""
        files: list[written.File] = []
        now: datetime | None = None
        try:
            for reading in readings:
                files.append(self._write(reading))
                if reading.plan.name == _INVOCATIONS:
                    now = self.source.now
        finally:
            self.progress.close()
        return files, now

    def _write(self, reading: Reading) -> written.File:
        plan, name = reading.plan, f"{reading.plan.name}.parquet"
        read_at = self.source.now
        before = self.rows
        with reading.stream(self.source) as (schema, batches), self.folder.writing(name) as file:
            kept = writable(schema)
            with pq.ParquetWriter(cast("IO[bytes]", file), kept, compression="zstd") as out:
                for table in row_groups(self._masked(plan.name, batches), schema):
                    out.write_table(converted(table, kept))
        stored = [
            written.Stored(field.name, column.type or str(field.type), column.nullable, written.type_name(field.type))
            for field, column in zip(kept, plan.columns, strict=True)
        ]
        rows = self.rows - before
        return written.File(plan.name, name, reading.sql, read_at, rows, file.size, file.sha256, tuple(stored))

    def _masked(self, table: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.rows += batch.num_rows
            self.size += arrow_bytes(batch)
            self.progress.update(self.rows, self.size)
            yield self.masks.apply(table, batch)


def _about(source: Source, started: datetime, now: datetime) -> dict[str, Any]:
    return {
        "format": written.FORMAT,
        "server": written.Server(source.name, source.version, dict(source.features)),
        "restate_lab": version("restate-lab"),
        "started_at": started,
        "now": now,
        "ended_at": source.now,
        "consistency": written.ONE_AFTER_ANOTHER,
    }


def _reducible(
    plans: list[TablePlan], left_out: list[LeftOut], scope: Scope | None
) -> tuple[list[TablePlan], list[LeftOut]]:
    if scope is None:
        return plans, left_out
    unknown = [plan for plan in plans if cannot_reduce(plan.name)]
    return [plan for plan in plans if plan not in unknown], [
        *left_out,
        *(LeftOut(plan.name, None, _UNKNOWN) for plan in unknown),
    ]


def _views(offer: Offer, plans: list[TablePlan], left_out: list[LeftOut]) -> dict[str, Any]:
    """Return the manifest's views, and all that is left out, views of left-out tables included."""
    there = {plan.name for plan in plans}
    made = [view for view in offer.views.values() if there.issuperset(view.made_of)]
    missing = [LeftOut(view.name, None, "a table that it is made of is left out") for view in offer.views.values()]
    missing = [each for each in missing if each.table not in {view.name for view in made}]
    return {
        "views": tuple(
            written.ViewOf(
                view.name,
                view.definition,
                tuple(written.ViewColumn(each.name, each.type, each.nullable) for each in view.columns),
            )
            for view in made
        ),
        "excluded": tuple(written.LeftOut(each.table, each.column, each.reason) for each in [*left_out, *missing]),
    }


def _views_by_table(offer: Offer) -> dict[str, list[str]]:
    return {table: [view.name for view in offer.views.values() if table in view.made_of] for table in offer.tables}


def _scope_words(scope: Scope | None) -> dict[str, Any] | None:
    if scope is None:
        return None
    return {
        "asked": dict(scope.asked),
        "named": scope.named,
        "with_callers_and_callees": len(scope.ids),
        "notes": list(scope.notes),
    }


def _redaction(masks: Masks) -> written.Redaction:
    given = tuple(dict.fromkeys(pattern.text for pattern in masks.patterns))
    return written.Redaction(given, {text: masks.counts[text] for text in given}, unread=dict(masks.unread))


def _warn_of_masking(manifest: written.Manifest) -> None:
    if unread := manifest.redaction.unread:
        columns = ", ".join(f"{count:,} of {column}" for column, count in unread.items())
        warnings.warn(
            f"{sum(unread.values()):,} values could not be read as JSON and were masked whole, since they could hold "
            f"what is to be masked: {columns}.",
            EvidenceWarning,
            stacklevel=3,
        )
    paths = [text for text in manifest.redaction.patterns if "$" in text and (manifest.payloads or text[0] != "$")]
    if nothing := [text for text in paths if not manifest.redaction.masked[text]]:
        warnings.warn(
            f"redact: {', '.join(nothing)} hit nothing in what was frozen. Look into it before you hand it on.",
            EvidenceWarning,
            stacklevel=4,  # of the caller of the decorated function
        )


def _warn_of_new_runs(manifest: written.Manifest) -> None:
    ids = manifest.new_runs
    if ids is None and any(file.table == _INVOCATIONS for file in manifest.files):
        warnings.warn(
            "Whether an invocation was purged and called again while it was frozen is not known: the source did not "
            "tell it. The rows of such an id would be of two runs.",
            EvidenceWarning,
            stacklevel=3,
        )
    if ids:
        warnings.warn(
            f"{len(ids):,} invocations were purged and called again while they were frozen, so that the same id has a "
            f"new run: {', '.join(ids[:3])}. Of these only the row in {_INVOCATIONS} is kept. Freeze them again to "
            f"have all of the new run.",
            EvidenceWarning,
            stacklevel=3,
        )
