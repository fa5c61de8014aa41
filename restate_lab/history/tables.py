"""The tables of an archive: their keys, their own columns, and the types of the server's columns on the way and back.

An archive is a folder with one Delta table per name in ``TABLES``. All clusters share the tables, and the partitions
are ``cluster_name`` and ``day`` (the UTC date of ``completed_at``, in samples and visits that of the reading). A run of
an invocation is (``cluster_name, id, created_at``), because workflow and idempotency keys reuse ids.

Tables that copy a table of the server have all columns of it, except those in ``left_out``, and new columns of a newer
server are added. Delta has fewer types than the server: durations are milliseconds with the suffix ``_ms``, unsigned
numbers are signed, and ``partition_key``, which can be above 2^63, is text. So is a column of any other type that Delta
does not have. A column without a text, and one whose name differs from another only in its case, is omitted. The
``note`` of a visit lists both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA_VERSION = 2
"""The version of the tables' meaning, in the description of ``visits`` and in its rows; a newer one is refused."""
_WITHOUT_SHARDS = 1
"""The version of an archive without shards, which earlier programs read and write, too."""
PARTITIONS = ("cluster_name", "day")
_TEXT: pa.DataType = pa.string()
_TEXTS: pa.DataType = pa.list_(_TEXT)
_NUMBER: pa.DataType = pa.int64()
_TIME: pa.DataType = pa.timestamp("us", "UTC")
_YES_NO: pa.DataType = pa.bool_()
_VISIT: dict[str, pa.DataType] = {"cluster_name": _TEXT, "day": pa.date32(), "visit": _NUMBER, "shard": _TEXT}
_RUN: dict[str, pa.DataType] = {**_VISIT, "created_at": _TIME}
_MILLISECONDS = "_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTable:
    """One table of an archive.

    - ``copies``: the table of the server whose columns it has; "" if all columns are its own.
    - ``own``: its own columns, which come first, with their types.
    - ``left_out``: columns of the server's table that are never stored.
    - ``payloads``: columns of the server's table that are only stored with ``payloads=True``.
    """

    copies: str = ""
    own: Mapping[str, pa.DataType] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    payloads: frozenset[str] = frozenset()


TABLES: dict[str, ArchiveTable] = {
    # One row per run. ``repeated``: the archive had an earlier run with this id when this run was stored.
    "invocations": ArchiveTable(copies="sys_invocation_status", own={**_RUN, "repeated": _YES_NO}),
    # One row per journal entry of a run. ``created_at`` is that of the run. The other columns of its own are taken out
    # of ``entry_lite_json``, for engines without JSON functions: a command and its notification have the same
    # ``completion_id``, and ``result`` is "Success", "Failure", … (the code of a failure is part of the payload).
    "journal": ArchiveTable(
        copies="sys_journal",
        own={**_RUN, "completion_id": _NUMBER, "result": _TEXT},
        left_out=frozenset({"raw"}),
        payloads=frozenset({"entry_json"}),
    ),
    # One row per event of a run. ``event_hash`` is the sha256 of ``event_json``.
    "events": ArchiveTable(
        copies="sys_journal_events",
        own={**_RUN, "event_hash": _TEXT, "error_code": _TEXT, "error_line": _TEXT, "related_command": _TEXT},
    ),
    # One row per visit, service, handler and status with the number of invocations, also of open ones. ``status`` is
    # that of sys_invocation_status. Rows with a ``key`` are the keys of Virtual Objects with the longest backlog; their
    # invocations are also counted in the other rows.
    "samples": ArchiveTable(
        own={
            **_VISIT,
            "sampled_at": _TIME,
            **dict.fromkeys(("service", "handler", "key", "status"), _TEXT),
            "invocations": _NUMBER,
            "oldest_created_at": _TIME,
        }
    ),
    # One row when a deployment or a service is seen first, and each time it has changed.
    "deployments": ArchiveTable(
        copies="sys_deployment", own={"cluster_name": _TEXT, "visit": _NUMBER, "first_seen_at": _TIME}
    ),
    "services": ArchiveTable(
        copies="sys_service", own={"cluster_name": _TEXT, "visit": _NUMBER, "first_seen_at": _TIME}
    ),
    # One row per step of an agent that called a model, without text.
    "agent_steps": ArchiveTable(
        own={
            **_RUN,
            **dict.fromkeys(("id", "service", "handler", "framework", "model", "finish_reason"), _TEXT),
            "tool_names": _TEXTS,
            **dict.fromkeys(("index", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"), _NUMBER),
            "appended_at": _TIME,
        }
    ),
    # One row per visit, also of those that found nothing or failed. ``visit`` is the number of the transaction, null if
    # no runs were written. ``outcome``: "complete" (every ended run was read), "part" (of a visit with very many runs;
    # more rows with the same ``started_at`` follow), "failed" (``error`` says why), "repaired" (the archiver ended
    # before it wrote this row, so its times are unknown), or "invalid" (it was "complete", but what it read is not in
    # this archive, or its clock was wrong; ``error`` says which). Times are those of the server's clock, of a failed
    # visit those of the archiver. ``address`` is that of the cluster; the ``visit`` of a run leads to it.
    # ``server_schema`` and ``retention`` are JSON, and null if an earlier visit of the same day has the same value.
    # ``open_retention`` is JSON like ``retention``, for handlers of which an open invocation is kept for less than new
    # ones; null if it was not read (with samples=False, and in archives of earlier versions).
    # ``shard`` and ``services`` are those of the archiver, null if it visits the whole cluster; each shard counts its
    # own transactions, so that (``shard, visit``) identifies one.
    # ``listed_at`` is when the list of ended runs was complete, null if it was not read, and in archives of earlier
    # versions. ``late_runs`` had ended before the visit before began. ``gone_runs`` were removed between two reads.
    # Seconds: ``ids_seconds`` for the list of ended runs, ``samples_seconds``, ``details_seconds``.
    # ``note`` has unusual events.
    "visits": ArchiveTable(
        own={
            **_VISIT,
            "schema_version": _NUMBER,
            **dict.fromkeys(("started_at", "listed_at", "ended_at"), _TIME),
            **dict.fromkeys(("outcome", "error", "address", "archived_by", "restate_lab_version"), _TEXT),
            **dict.fromkeys(("server_version", "features", "server_schema", "retention", "open_retention"), _TEXT),
            **dict.fromkeys(("ids_read", "new_runs", "late_runs", "gone_runs", "missing_journals"), _NUMBER),
            "payloads": _YES_NO,
            **dict.fromkeys(("redact", "services"), _TEXTS),
            **dict.fromkeys(("ids_seconds", "samples_seconds", "details_seconds"), pa.float64()),
            "note": _TEXT,
        }
    ),
}


def describe_format(*, has_shards: bool = True) -> str:
    """Return the description of the table ``visits``, which has the version of the archive."""
    return f"restate_lab archive, schema {SCHEMA_VERSION if has_shards else _WITHOUT_SHARDS}"


def to_archive(rows: pa.Table) -> pa.Table:
    """Return rows of the server with the types and names of an archive, without the columns that cannot be stored."""
    names: list[str] = []
    columns: list[Any] = []
    for name, values in zip(rows.schema.names, rows.columns, strict=True):
        if pa.types.is_duration(values.type):
            names.append(name + _MILLISECONDS)
            columns.append(values.cast(pa.duration("ms")).cast(pa.int64()))
        else:
            kind: Any = _archive_type(name, values.type)
            if kind is None:
                continue
            names.append(name)
            columns.append(pc.cast(values, kind))
    return pa.table(columns, names=names)


def describe_changes(table: str, schema: pa.Schema) -> Iterator[str]:
    """Yield the columns of the server that an archive has as text, or does not have, because of their types."""
    for each in schema:
        kind = None if pa.types.is_duration(each.type) else _archive_type(each.name, each.type)
        if kind is None and not pa.types.is_duration(each.type):
            yield f"{table}.{each.name} has the type {each.type}, and is not stored"
        elif kind == _TEXT and not _is_text(each.type) and each.name != "partition_key":
            yield f"{table}.{each.name} has the type {each.type}, and is stored as text"


def describe_conflicts(table: str, columns: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return column of the server → why it is not stored: another column has the same name, apart from its case."""
    # ``created_at`` of a run is also a column of the server, with the same values
    own = TABLES[table].own.keys() - ({"created_at"} if table == "invocations" else set())
    taken, conflicts = {each.lower() for each in own}, {}
    for name, kind in columns:
        stored = _stored_name(name, kind).lower()
        if stored in taken:
            conflicts[name] = f"{TABLES[table].copies}.{name} has the name of another column, and is not stored"
        taken.add(stored)
    return conflicts


def _archive_type(name: str, kind: pa.DataType) -> pa.DataType | None:
    """Return the type in an archive; text for what Delta does not have, None if that is impossible."""
    if name == "partition_key" or pa.types.is_null(kind):
        return _TEXT
    if pa.types.is_timestamp(kind):
        return _TIME
    if pa.types.is_unsigned_integer(kind):
        return pa.int64() if kind.bit_width > 32 else pa.int32()
    if pa.types.is_dictionary(kind):
        return _archive_type("", kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = _archive_type("", kind.value_type)
        return None if item is None else pa.list_(item)
    plain = _PLAIN.get(kind, kind)
    return plain if _is_stored(plain) else _text_of(plain)


_PLAIN: dict[pa.DataType, pa.DataType] = {
    **dict.fromkeys((pa.large_string(), pa.string_view()), pa.string()),
    **dict.fromkeys((pa.large_binary(), pa.binary_view()), pa.binary()),
    pa.float16(): pa.float32(),
}
_STORED = (
    *(pa.types.is_string, pa.types.is_binary, pa.types.is_fixed_size_binary, pa.types.is_boolean),
    *(pa.types.is_signed_integer, pa.types.is_float32, pa.types.is_float64, pa.types.is_date, pa.types.is_decimal128),
)


def _is_stored(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_stored(each.type) for each in kind.fields)
    return any(test(kind) for test in _STORED)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_null(kind) or _PLAIN.get(kind, kind) == _TEXT


def _text_of(kind: pa.DataType) -> pa.DataType | None:
    try:
        pa.array([], kind).cast(_TEXT)
    except pa.ArrowException:
        return None
    return _TEXT


def select_server_columns(
    columns: Iterable[tuple[str, str]], stored: Mapping[str, str], *, replaced: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the select list that gives the server's columns (name, type) with the server's types.

    ``stored`` has the columns of the archive with their types. Other columns are null: the archive has no row from a
    server that had them, or Delta does not have their type. ``replaced`` has expressions for columns, instead of the
    stored column.
    """
    return ", ".join(_select(name, kind, stored, replaced.get(name, "")) for name, kind in columns)


def _select(name: str, kind: str, stored: Mapping[str, str], expression: str) -> str:
    column = _stored_name(name, kind)
    value = expression or (f'"{column}"' if column in stored else "NULL")
    if stored.get(column) == "string" and name != "partition_key" and not kind.endswith(("Utf8", "Utf8View")):
        kind = "Utf8"  # Delta does not have the server's type
    if kind.startswith(_NO_CAST):
        return f'{value} AS "{name}"'
    return f"arrow_cast({value}, '{kind}') AS \"{name}\""


_NO_CAST = ("Map(", "Struct(", "Union(", "RunEndEncoded(")
"""The beginnings of types that ``arrow_cast`` does not know."""


def _stored_name(name: str, kind: str) -> str:
    return name + _MILLISECONDS if kind.startswith("Duration") else name
