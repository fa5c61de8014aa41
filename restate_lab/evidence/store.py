"""Evidence: a frozen cluster as a Source with a card, and ``open_evidence()``, which checks and opens it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pandas as pd
from pyarrow import fs

from restate_lab._html import render
from restate_lab._public import explained, public
from restate_lab._text import escape_invisible, format_duration, format_timestamp, join
from restate_lab.client.sql.parts import complete
from restate_lab.errors import (
    ArgumentError,
    EvidenceWarning,
    RestateLabError,
)
from restate_lab.evidence.engine import EngineSource, frozen_session
from restate_lab.evidence.folder import EvidenceFolder, locate_folder
from restate_lab.evidence.manifest import Manifest, SourceColumn, StoredColumn
from restate_lab.evidence.redaction import Pattern, parse_patterns
from restate_lab.evidence.verification import check_files, check_sizes, read_manifest
from restate_lab.payload_json import PayloadFunction
from restate_lab.server import has_vqueues
from restate_lab.source import Coverage, read_once
from restate_lab.status import COLOURS, COUNTS_SQL, status_parts

_FEW = 6
_LONGEST = 200  # characters of a name


def _masked_columns(manifest: Manifest, names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the columns that a pattern of ``redact=`` applies to, also if it masks only a part of their values."""
    columns: dict[str, list[str]] = {}
    for table, column in names:
        columns.setdefault(table, []).append(column)
    patterns: list[Pattern] = []
    for text in manifest.redaction.patterns:
        with contextlib.suppress(ArgumentError):  # the pattern can be for a column that was not frozen
            patterns += parse_patterns(text, columns)
    for table, own in columns.items():
        tables = (table, "sys_invocation") if table in ("sys_invocation_status", "sys_invocation_state") else (table,)
        for column in own:
            if any(each.covers(name, column) for each in patterns for name in tables):
                yield f"{table}.{column}"


def _describe_scope(scope: Mapping[str, Any]) -> str:
    arguments = dict(scope.get("asked", {})).items()
    texts = (f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in arguments)
    return ", ".join(texts) or "some invocations"


@public
class Evidence(EngineSource):
    """Frozen evidence: the read-only state of a cluster at one time, to query with SQL. See ``open_evidence()``.

    It answers the same queries as a live source. Ages are relative to ``now``, the time of the freeze, and ``now()`` in
    a statement also returns this time. JSON functions take one key per call; ``->`` is not supported. It is safe to use
    from several threads. ``close()`` closes the files; evidence is also a context manager.

    The folder has one Parquet file per table (zstd), which DuckDB, Spark and pandas can read directly (durations are in
    milliseconds), and ``manifest.json`` with the time, the cluster, the SQL, schema, rows and sha256 of each file, and
    all exclusions with their reasons. Tables were read one after another, so they do not show one single time. If an
    invocation was purged and called again meanwhile, only its row in ``sys_invocation_status`` is kept, and
    ``manifest.new_runs`` lists its id.

    - ``path``: the path that was passed to ``open_evidence``.
    - ``name``: the cluster's name with the time of the freeze, such as "prod @ 2026-11-25 04:22:00 UTC".
    - ``version, features``: those of the frozen server, with the flags that its version always has.
    - ``now``: the server's clock directly after the invocations were read, UTC.
    """

    name: str
    version: str
    features: Mapping[str, bool]
    now: datetime

    def __init__(
        self,
        folder: EvidenceFolder,
        manifest: Manifest,
        *,
        digest: str,
        verified: bool,
        batch_rows: int,
        decoder: PayloadFunction | None = None,
    ) -> None:
        super().__init__(frozen_session(folder, manifest, batch_rows=batch_rows), decoder)
        self._folder = folder
        self.path = folder.display_path
        self.manifest = manifest
        self.digest = digest
        self.verified = verified
        self.name = f"{_one_line(manifest.server.name)} @ {format_timestamp(manifest.now)}"
        self.version = manifest.server.version
        self.features = MappingProxyType(dict(manifest.server.features))
        self.now = manifest.now.astimezone(UTC)

    @property
    def address(self) -> str:
        """Return the path as text."""
        return str(self.path)

    @read_once
    def coverage(self) -> Coverage:
        """Return which part of the cluster was frozen."""
        manifest, tables = self.manifest, self.tables()
        excluded = {f"{each.table}.{each.column}" if each.column else each.table: each for each in manifest.excluded}
        return Coverage(
            part="" if manifest.scope is None else _describe_scope(manifest.scope),
            payloads=manifest.payloads,
            missing={name: each.reason for name, each in excluded.items()},
            masked=frozenset(_masked_columns(manifest, zip(tables["table"], tables["column"], strict=True))),
            incomplete=frozenset(manifest.new_runs or ()),
        )

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each frozen table, as the live cluster described it.

        Columns: ``table, column, type`` (Arrow's name) and ``nullable``.
        """
        columns: dict[str, tuple[StoredColumn | SourceColumn, ...]] = {
            each.table: each.columns for each in self.manifest.files
        }
        columns |= {each.name: each.columns for each in self.manifest.views}
        rows = [
            (table, column.name, column.type, column.nullable)
            for table, each in sorted(columns.items())
            for column in each
        ]
        return pd.DataFrame(rows, columns=["table", "column", "type", "nullable"])

    def _check_files(self) -> None:
        if self._folder.is_local:  # on an object store, the engine uses the list of files of when it was opened
            check_sizes(self._folder, self.manifest)

    def __repr__(self) -> str:
        unsure = "" if self.verified else ", not verified"
        return f"<Evidence {self.name}, {_server_label(self.manifest)}, at {self.path}{unsure}>"

    def _repr_html_(self) -> str:
        counts = self._status_counts
        badge = ("verified", f"The files match the manifest, sha256 {self.digest}.", COLOURS["healthy"])
        if not self.verified:
            unsure = f"The files were not compared with the manifest, sha256 {self.digest}."
            badge = ("NOT VERIFIED", unsure, COLOURS["warning"])
        return render(
            "_html/card.html.j2",
            title=self.name,
            place=f"{self.path}, {_server_label(self.manifest)}",
            place_tip="",
            badges=[badge],
            facts=list(_facts(self.manifest)),
            lines=[],
            accent=COLOURS["evidence"],
            parts=status_parts(counts),
        )

    @read_once
    def _status_counts(self) -> dict[str, int]:
        try:
            rows = self.arrow(complete(COUNTS_SQL, self)).to_pylist()
        except RestateLabError:
            return {}
        return {row["word"]: row["invocations"] for row in rows}


@explained
def open_evidence(
    path: str | os.PathLike[str],
    /,
    *,
    verify: bool = True,
    filesystem: fs.FileSystem | None = None,
    decode: Callable[[bytes], bytes] | None = None,
) -> Evidence:
    """Open a folder that ``freeze`` wrote, and return it as a Source.

    First, the files are compared with the manifest: names, sizes, rows, schemas, and the sha256 of each file, which
    requires reading all files once. ``verify=False`` skips the sha256 and warns about it. ``path`` is local, a URI that
    ``pyarrow.fs`` supports, or a path on ``filesystem``. A person with write access can change the files together with
    the manifest. To detect this, record ``evidence.digest``, the manifest's sha256, in another place and compare it.
    ``decode`` decodes payloads for showing, as in ``connect``.

    Raises:
        ArgumentError: the folder does not exist, or ``decode`` is not a function.
        EvidenceBroken: the folder is not evidence, is incomplete, or was changed; the message names the file.
        MissingExtra: DataFusion is not installed (``pip install 'restate-lab[evidence]'``).
    """
    decoder = None if decode is None else PayloadFunction(decode, "decode")
    folder = locate_folder(path, filesystem)
    manifest, digest = read_manifest(folder)
    batch_rows = check_files(folder, manifest, digests=verify)
    if not verify:
        warnings.warn(
            f"{folder.display_path} was opened without a check of the sha256 of its files: the files may have been "
            f"changed.",
            EvidenceWarning,
            stacklevel=3,  # the caller of the decorated function
        )
    return Evidence(folder, manifest, digest=digest, verified=verify, batch_rows=batch_rows, decoder=decoder)


def _server_label(manifest: Manifest) -> str:
    return f"restate {_one_line(manifest.server.version)}{', vqueues' if has_vqueues(manifest.server) else ''}"


def _one_line(text: str) -> str:
    """Return a name on one line with all characters visible, because an attacker can have written the manifest."""
    return escape_invisible(" ".join(text[:_LONGEST].split()))


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    took = format_duration(manifest.ended_at - manifest.started_at)
    yield "frozen", f"{format_timestamp(manifest.started_at)}, within {took}, by restate_lab {manifest.restate_lab}"
    yield "ages count from", format_timestamp(manifest.now)
    full = sorted((each for each in manifest.files if each.rows), key=lambda each: -each.rows)
    yield "tables", f"{len(manifest.files)}: {join((f'{each.table} {each.rows:,}' for each in full), _FEW)}"
    if (scope := manifest.scope) is not None:
        asked = ", ".join(f"{name} {value}" for name, value in dict(scope.get("asked", {})).items())
        notes = "".join(f"; {note}" for note in scope.get("notes", ()))
        counts = f"{scope.get('named')} invocations, {scope.get('with_callers_and_callees')} with callers and callees"
        yield "part of the cluster", f"{asked}: {counts}{notes}"
    if manifest.excluded:
        names: dict[str, list[str]] = {}
        for each in manifest.excluded:
            names.setdefault(each.reason, []).append(f"{each.table}.{each.column}" if each.column else each.table)
        yield "excluded", "; ".join(f"{join(some, _FEW)} ({reason})" for reason, some in names.items())
    if manifest.redaction.patterns:
        yield "masked", ", ".join(f"{text} ({n:,})" for text, n in manifest.redaction.masked.items())
    if manifest.redaction.unread:
        yield "masked as a whole", f"not readable as JSON: {_describe_counts(manifest.redaction.unread)}"
    if manifest.redaction.not_json:
        yield "not masked", f"not JSON: {_describe_counts(manifest.redaction.not_json)}"


def _describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in counts.items())
