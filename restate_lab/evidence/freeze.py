"""Freeze a cluster: its tables as Parquet files and a manifest, in a folder that is complete or does not exist.

The arguments select invocations and tables, ``plan`` decides what is written of each table, and ``writer`` writes it
into the new folder, the manifest last.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyarrow import fs

from restate_lab.analysis.deadline import within
from restate_lab.analysis.times import TimeInput
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import EvidenceWarning
from restate_lab.evidence.folder import check_free, locate_folder, new_folder
from restate_lab.evidence.manifest import Manifest
from restate_lab.evidence.new_runs import STATUS_TABLE
from restate_lab.evidence.plan import plan_freeze
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.evidence.selection import parse_filter, select_invocations
from restate_lab.evidence.tables import read_schema
from restate_lab.evidence.writer import write_evidence
from restate_lab.progress import Progress, RowsLine, progress_of
from restate_lab.source import Source, check_supported

__all__ = ["freeze"]


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
    target = locate_folder(path, filesystem)
    check_free(target)
    reads = within(source, timeout, verb="freeze")
    check_supported(source, "freeze(), which must know what to mask,")
    started = reads.now
    wanted = parse_filter(ids=ids, service=service, handler=handler, since=since, until=until, now=started)
    schema = read_schema(reads)
    base_tables = schema.base_tables(tables)
    patterns = parse_patterns(redact, schema.columns)
    selection = select_invocations(reads, wanted, schema.columns)
    for note in () if selection is None else selection.notes:
        warnings.warn(note, EvidenceWarning, stacklevel=3)  # of the caller of the decorated function
    plan = plan_freeze(schema, base_tables, selection=selection, patterns=patterns, payloads=payloads)
    with new_folder(target) as folder:
        line = progress_of(progress, lambda: RowsLine("freezing"))
        manifest = write_evidence(plan, source, folder, reads=reads, started=started, progress=line)
    for message in _warning_messages(manifest):
        warnings.warn(message, EvidenceWarning, stacklevel=3)
    return target.display_path


def _warning_messages(manifest: Manifest) -> Iterator[str]:
    """Yield what a user must know of the evidence before sharing it."""
    yield from _masking_messages(manifest)
    yield from _run_messages(manifest)


def _masking_messages(manifest: Manifest) -> Iterator[str]:
    if unread := manifest.redaction.unread:
        columns = ", ".join(f"{count:,} of {column}" for column, count in unread.items())
        yield (
            f"{sum(unread.values()):,} values could not be read as JSON and were masked whole, since they could hold "
            f"what is to be masked: {columns}."
        )
    paths = [text for text in manifest.redaction.patterns if "$" in text and (manifest.payloads or text[0] != "$")]
    if unused := [text for text in paths if not manifest.redaction.masked[text]]:
        yield f"redact: {', '.join(unused)} hit nothing in what was frozen. Look into it before you hand it on."


def _run_messages(manifest: Manifest) -> Iterator[str]:
    ids = manifest.new_runs
    if ids is None and any(file.table == STATUS_TABLE for file in manifest.files):
        yield (
            "Whether an invocation was purged and called again while it was frozen is not known: the source did not "
            "tell it. The rows of such an id would be of two runs."
        )
    if ids:
        yield (
            f"{len(ids):,} invocations were purged and called again while they were frozen, so that the same id has a "
            f"new run: {', '.join(ids[:3])}. Of these only the row in {STATUS_TABLE} is kept. Freeze them again to "
            f"have all of the new run."
        )
