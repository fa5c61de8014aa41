"""Read the runs of agents: their invocations, the responses of models in their journals, and whole journals.

Payloads are read from ``raw``, or from ``entry_json`` where the source has no ``raw``. A payload with more than
``MOST_BYTES`` is not read. Before a payload is parsed, it is searched for names that every known shape has one of;
this is only a filter. The server searches the large ones, so that it does not send them. A payload that may be a
response and is nested too deeply to be parsed counts as one that was not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.agents.entries import (
    AGENT_NAMES,
    Content,
    ShapeFunction,
    content_of,
    decoded_content,
    is_named_like_model,
    recognize,
)
from restate_lab.analysis.agents.model import ModelStep
from restate_lab.analysis.agents.notes import ENCODED, ENCRYPTED, MOST_BYTES, NOT_STORED
from restate_lab.analysis.agents.shapes import SIGNATURES
from restate_lab.analysis.ids import check_invocation_id, parse_ids
from restate_lab.analysis.journal.awaited import AWAITED_SQL, awaited_signals
from restate_lab.analysis.journal.encoding import content_column
from restate_lab.analysis.journal.entries import PairedEntries, entries_of, pair_entries, parse_content
from restate_lab.analysis.journal.payloads import decode
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.arguments import check_count, check_name
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import NotOnThisServer
from restate_lab.frames import to_rows
from restate_lab.payload_json import NOT_DECODED, Decoding, read
from restate_lab.protocol.entries import ENCRYPTED_PREFIX, is_encrypted
from restate_lab.protocol.wire import run_value
from restate_lab.reads import Reads
from restate_lab.status import LONG_BACK_OFFS_SQL, STATUS_SQL

MOST_RUNS = 10_000
Row = Mapping[str, Any]

_INVOCATIONS = f"""
SELECT id, target, target_service_name AS service, target_handler_name AS handler, target_service_key AS key,
  {STATUS_SQL} AS status, status = 'completed' AS ended, created_at, completed_at, completion_failure, journal_size,
  retry_count, restarted_from, invoked_by_id, {AWAITED_SQL}
FROM sys_invocation
WHERE {{where}}
ORDER BY created_at DESC, id LIMIT {{limit}}"""  # noqa: S608 - constants
_MODELS = """
SELECT id, index, {size} AS size, {content}
FROM sys_journal WHERE {where} AND entry_type = 'Notification: Run'{filter}"""
_STRUCTURE = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json, CAST(NULL AS BIGINT) AS size
FROM sys_journal WHERE {where}"""
_ERRORS = """
SELECT id, appended_at, after_journal_entry_index,
  json_get_int(event_json, 'related_command_index') AS command_index,
  json_get_str(event_json, 'error_message') AS message, json_get_str(event_json, 'restate_doc_error_code') AS code
FROM sys_journal_events WHERE {where} AND event_type = 'TransientError'"""
_RESTARTS = "SELECT id, restarted_from, created_at FROM sys_invocation WHERE restarted_from IN :ids"
_COPIES = "SELECT id, index, appended_at FROM sys_journal WHERE id IN :ids AND entry_type = 'Notification: Run'"
_COMMANDS = """
SELECT id, entry_type, entry_lite_json FROM sys_journal
WHERE id IN :ids AND entry_type LIKE 'Command:%' ORDER BY id, index"""
_AGENTS = """
SELECT id, index FROM sys_journal
WHERE id IN :ids AND entry_type = 'Notification: Run' AND index >= {first} AND ({signatures})"""
_NAMED = f"""
SELECT DISTINCT id FROM sys_journal
WHERE id IN :ids AND entry_type = 'Command: Run'
  AND ({" OR ".join(f"lower(name) LIKE '{name}%'" for name in AGENT_NAMES)})"""  # noqa: S608 - constants
_COUNT = "SELECT count(*) AS n FROM sys_invocation_status"
_AT_ONCE = 500  # invocations
_NAMES = (b"usage", b"assistant", b"inputTokens")  # every known shape has one of them
_SMALL = 16 << 10  # bytes; the server takes longer to search a smaller payload than to send it
# JSON can be UTF-8, UTF-16 or UTF-32; without the zeros at the end, a name is the same in both byte orders
_ENCODINGS = ("utf-8", "utf-16-le", "utf-32-le")
_ENCODED = tuple(name.decode().encode(encoding).rstrip(b"\0") for encoding in _ENCODINGS for name in _NAMES)
_WANTED = (*_ENCODED, ENCRYPTED_PREFIX)
_IN_HEX = " OR ".join(f"encode(raw, 'hex') LIKE '%{name.hex()}%'" for name in _WANTED)
_IN_LIST = " OR ".join(f"entry_json LIKE '%{','.join(map(str, name))}%'" for name in _WANTED)
_FILTERS = {
    "raw": f" AND CASE WHEN raw_length <= {_SMALL} THEN true ELSE {_IN_HEX} END",
    "entry_json": f" AND ({_IN_LIST} OR entry_json IS NULL)",
}
_WITHOUT_LARGE_ENCRYPTED = f"""
CASE WHEN raw_length <= {_SMALL} THEN raw WHEN raw_length > {MOST_BYTES} THEN NULL
  WHEN encode(raw, 'hex') LIKE '%{ENCRYPTED_PREFIX.hex()}%' THEN NULL ELSE raw END AS raw"""
_NOTHING: Mapping[int, str] = MappingProxyType({})
_HEAD = 16  # bytes of a message at most before its value


class Scope(NamedTuple):
    """The condition that selects many invocations, and its values; the alternative is a list of ids."""

    where: str
    params: Mapping[str, Any]


_ALL = Scope("", {})


class ModelSteps(NamedTuple):
    """The responses of models by the index of their entry, and the number of payloads that were not read.

    ``encoded`` has the indexes of payloads that are neither JSON nor text, each ``ENCRYPTED`` or ``ENCODED``, and those
    that are ``NOT_STORED`` in an archive with its cluster. They can be those of any step.
    """

    steps: dict[int, ModelStep]
    excluded: int = 0
    encoded: Mapping[int, str] = _NOTHING


@dataclass(slots=True)
class _Found:
    steps: dict[int, ModelStep] = field(default_factory=dict)
    excluded: int = 0
    encoded: dict[int, str] | None = None  # thousands of invocations have none

    def mark(self, index: int, how: str) -> None:
        """Record that the payload at an index cannot be read."""
        self.encoded = self.encoded or {}
        self.encoded[index] = how

    @property
    def result(self) -> ModelSteps | None:
        """Return the steps with a response, and what is unread or encoded; None without any of them."""
        if self.steps or self.excluded or self.encoded:
            return ModelSteps(self.steps, self.excluded, self.encoded or _NOTHING)
        return None


@dataclass(frozen=True, slots=True)
class AgentReader:
    """Reads runs of agents from one source."""

    source: Reads
    decoding: Decoding | None = None

    def check_payloads(self) -> None:
        """Check that the source has payloads.

        Raises:
            NotOnThisServer: it has none.
        """
        if self._content is None:
            raise NotOnThisServer(
                f"{self.source.name} has no payloads of journals, so the responses of models cannot be read. Freeze "
                f"the evidence with payloads=True, or read the live cluster."
            )

    def scope_for(self, rows: Mapping[str, Row], scope: Scope) -> Scope:
        """Return the scope with which the journals of ``rows`` are read: all journals, if most belong to them.

        The condition on an invocation doubles the time of a scan.
        """
        if len(rows) <= _AT_ONCE:
            return scope
        return _ALL if self._read(_COUNT, {})[0]["n"] <= 2 * len(rows) else scope

    def chosen(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return id → the row of its invocation, in the order of ``ids``."""
        rows: dict[str, Row] = {}
        for part in chunks(ids, _AT_ONCE):
            rows |= self.recent(Scope("id IN :ids", {"ids": part}), _AT_ONCE)
        return {id_: rows[id_] for id_ in ids if id_ in rows}

    def session(self, row: Row, limit: int) -> dict[str, Row]:
        """Return id → the rows of the newest invocations of the same object, oldest first."""
        params = {"service": row["service"], "key": row["key"]}
        rows = self.recent(Scope("target_service_name = :service AND target_service_key = :key", params), limit)
        return dict(sorted(rows.items(), key=lambda each: (each[1]["created_at"], each[0])))

    def recent(self, scope: Scope, limit: int) -> dict[str, Row]:
        """Return id → the row of its invocation, newest first, for those in a scope."""
        read = self._read(_INVOCATIONS.format(where=scope.where, limit=limit), scope.params)
        rows: dict[str, Row] = {row["id"]: {**row, "signals": awaited_signals(row)} for row in read}
        ready = [id_ for id_, row in rows.items() if row["status"] == "ready"]
        for each in self.source.query_of(LONG_BACK_OFFS_SQL, ready):
            rows[each["id"]] = {**rows[each["id"]], "status": "backing-off"}
        return rows

    def agents(self, ids: Sequence[str], *, first: int = 0) -> dict[str, list[int]]:
        """Return id → the indexes of the responses of models in its journal, from ``first`` on, if it has any.

        No payload is read: the server searches for the signatures of the shapes, so encoded payloads have none. A
        payload can have one by chance, so this decides what is offered or read, and never a number. Empty if the source
        has no payloads.
        """
        found: defaultdict[str, list[int]] = defaultdict(list)
        if self._content is not None:
            # a payload has all strings of the signature of a shape
            shapes = (" AND ".join(_contains(self._content, text) for text in each) for each in SIGNATURES)
            statement = _AGENTS.format(first=first, signatures=" OR ".join(f"({each})" for each in shapes))
            for row in self.source.query_of(statement, ids, chunk=_AT_ONCE):
                found[row["id"]].append(row["index"])
        return dict(found)

    def model_steps(
        self,
        ids: Sequence[str],
        shapes: Sequence[ShapeFunction],
        scope: Scope | None = None,
        *,
        has_text: bool = True,
    ) -> dict[str, ModelSteps]:
        """Return id → the responses of models in its journal, for those that have one, or payloads that were not read.

        Of the large payloads that the SDK encrypted, the server sends only the indexes. With shapes of the user or
        ``decoding``, every payload of a step is read. Without ``has_text`` the text of known shapes and the messages of
        their requests are not read, and arguments of tool calls are not parsed.
        """
        column = self._content or "raw"
        size, content_sql = self._content_columns
        reads_all = bool(shapes) or self.decoding is not None or column != "raw"
        if not reads_all:
            content_sql = _WITHOUT_LARGE_ENCRYPTED
        filter_ = "" if shapes or self.decoding else _FILTERS[column]
        statement = _MODELS.format(size=size, content=content_sql, filter=filter_, where="{where}")
        found: defaultdict[str, _Found] = defaultdict(_Found)
        for id_, index, length, content in self._stream(statement, ids, scope, ("id", "index", "size", column)):
            if content is None:
                if (length or 0) > MOST_BYTES:
                    found[id_].excluded += 1
                elif column == "entry_json":
                    found[id_].mark(index, NOT_STORED)
                elif (length or 0) > _SMALL:
                    found[id_].mark(index, ENCRYPTED)
            elif reads_all or _may_have_model(content) or _is_opaque(content):
                if column == "raw":
                    value = run_value(content)
                else:
                    row = {"entry_type": "Notification: Run", "size": length, column: content}
                    value = content_of(row, most=MOST_BYTES).value
                if value:
                    self._read_payload(value, index, found[id_], shapes, has_text=has_text)
        return {id_: result for id_ in ids if id_ in found and (result := found[id_].result)}

    def _read_payload(
        self, value: bytes, index: int, found: _Found, shapes: Sequence[ShapeFunction], *, has_text: bool
    ) -> None:
        payload = self.decoding(value) if self.decoding else value
        decoded = decode(payload)
        step = recognize(decoded, shapes, has_text=has_text) if payload else None
        if step is not None:
            found.steps[index] = step
            return
        found.excluded += is_too_deep(payload, decoded)
        is_as_journaled = payload is value or payload.startswith(NOT_DECODED)
        if is_as_journaled and isinstance(decode(value), bytes):
            found.mark(index, ENCRYPTED if is_encrypted(value) else ENCODED)

    def encoded_calls(self, models: Mapping[str, ModelSteps], rows: Mapping[str, Row]) -> dict[str, ModelSteps]:
        """Return the same, but of the encoded payloads only those of steps that have the name of a call of a model.

        Names are not encoded. Invocations of which nothing is left are omitted: they are not known to be agents.
        """
        ids = [id_ for id_, each in models.items() if each.encoded]
        if not ids:
            return dict(models)
        named = {row["id"]: rows[row["id"]] for row in self.source.query_of(_NAMED, ids, chunk=_AT_ONCE)}
        calls: dict[str, set[int]] = {
            id_: {
                each.completion_index
                for each in entries_of(table)
                if each.completion_index is not None and is_named_like_model(each.entry_type, each.name, ())
            }
            for id_, table in (self.entries(named) if named else {}).items()
        }
        kept = {
            id_: each._replace(encoded={at: how for at, how in each.encoded.items() if at in calls.get(id_, ())})
            for id_, each in models.items()
        }
        return {id_: each for id_, each in kept.items() if any(each)}

    @property
    def content_columns(self) -> str:
        """Return the columns of ``sys_journal`` that ``contents_of`` needs, for a statement that selects others."""
        size, content = self._content_columns
        return f", {size} AS content_size, {content}"

    def entries(self, rows: Mapping[str, Row], scope: Scope | None = None) -> dict[str, pa.Table]:
        """Return id → the entries of its journal without payloads."""
        entries: dict[str, pa.Table] = {}
        for each in self.tables(rows, scope):
            entries |= each.by_id()
        return {id_: entries[id_] for id_ in rows if id_ in entries}

    def tables(self, rows: Mapping[str, Row], scope: Scope | None = None) -> Iterator[PairedEntries]:
        """Yield the entries of ``entries`` in tables of many journals, which is faster for thousands of them."""
        ended = {id_ for id_, row in rows.items() if row["ended"]}
        for where, params in _conditions(list(rows), scope):
            table = self.source.query(_STRUCTURE.format(where=where), params)
            is_wanted = pc.is_in(table["id"].cast(pa.large_string()), pa.array(list(rows), pa.large_string()))
            yield pair_entries(table.filter(is_wanted), ended=ended)

    def errors(self, ids: Sequence[str], scope: Scope | None = None) -> dict[str, list[Row]]:
        """Return id → the recorded errors of its attempts, in the order of their times; empty without events."""
        errors: defaultdict[str, list[Row]] = defaultdict(list)
        if self.has_events:
            for where, params in _conditions(ids, scope):
                for row in self._read(_ERRORS.format(where=where), params):
                    errors[row["id"]].append(row)
        return {id_: sorted(each, key=lambda row: row["appended_at"]) for id_, each in errors.items()}

    def copies(self, ids: Sequence[str]) -> dict[str, frozenset[int]]:
        """Return id → the indexes of the results of steps that restarts of it copied."""
        restarts = {row["id"]: row for row in self.source.query_of(_RESTARTS, ids)}
        copies: defaultdict[str, set[int]] = defaultdict(set)
        for row in self.source.query_of(_COPIES, list(restarts)):
            restart = restarts[row["id"]]
            if row["appended_at"] < restart["created_at"]:
                copies[restart["restarted_from"]].add(row["index"])
        return {id_: frozenset(indexes) for id_, indexes in copies.items()}

    def redone(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the invocations of which an attempt did not replay the journal, and executed every step again.

        Handlers with ``explicit_recovery`` of the Python SDK 1.3.0 work so, as observed on 1.7.12: an attempt appends
        all its commands to the journal. Within an attempt, completion ids follow each other; those of a later attempt
        begin higher.
        """
        contents: dict[tuple[str, str], Sequence[int]] = {}  # many commands have the same text
        last: defaultdict[str, int] = defaultdict(int)
        redone: set[str] = set()
        for row in self.source.query_of(_COMMANDS, list(ids)):
            content = row["entry_type"], row["entry_lite_json"]
            if content not in contents:
                contents[content] = parse_content(*content).completions
            if completions := contents[content]:
                if min(completions) > last[row["id"]] + 1:
                    redone.add(row["id"])
                last[row["id"]] = max(completions)
        return frozenset(redone)

    @property
    def has_events(self) -> bool:
        """Return whether the source has the errors of attempts."""
        return self.source.has("sys_journal_events.event_json")

    @property
    def _content(self) -> str | None:
        return content_column(self.source, self.source.has)

    @property
    def _content_columns(self) -> tuple[str, str]:
        content = self._content or "raw"
        # a number in a list of bytes takes about four characters
        length = "raw_length" if content == "raw" else "character_length(entry_json) / 4"
        return f"CAST({length} AS BIGINT)", f"CASE WHEN {length} <= {MOST_BYTES} THEN {content} END AS {content}"

    def _stream(
        self, statement: str, ids: Sequence[str], scope: Scope | None, columns: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the values of these columns for each row; the first one is the id, which must be one of ``ids``."""
        wanted = set(ids)
        for where, params in _conditions(ids, scope):
            for batch in self.source.batches(statement.format(where=where), dict(params), progress=False):
                rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
                yield from (row for row in rows if row[0] in wanted)

    def _read(self, statement: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        return to_rows(self.source.query(statement, params))


def contents_of(table: pa.Table, decoding: Decoding | None = None) -> dict[int, Content]:
    """Return index → the payloads of the entry, for the rows of one journal with ``content_columns``."""
    content = "raw" if "raw" in table.column_names else "entry_json"
    names = ["index", "entry_type", "size", content]
    rows = table.select(["index", "entry_type", "content_size", content]).rename_columns(names).to_pylist()
    return {row["index"]: decoded_content(content_of(row, most=MOST_BYTES), decoding) for row in rows}


def lacks_payloads(table: pa.Table) -> bool:
    """Return whether the source does not have all payloads of a journal with ``content_columns``."""
    if "entry_json" not in table.column_names:
        return False
    is_missing: Any = pc.and_(table["entry_json"].is_null(), table["content_size"].is_null())
    return bool(pc.any(is_missing).as_py())


def _may_have_model(raw: bytes) -> bool:
    for name in _ENCODED:  # noqa: SIM110 - faster than any(), for thousands of payloads
        if name in raw:
            return True
    return False


def _is_opaque(raw: bytes) -> bool:
    """Return whether the value in a message is neither JSON nor text in UTF-8; only a filter."""
    if raw.isascii() or (len(raw) > 8 * _HEAD and raw[_HEAD:].isascii()):
        return False
    try:
        (run_value(raw) or b"").decode()
    except UnicodeDecodeError:
        return True
    return False


def is_too_deep(value: bytes, decoded: Any) -> bool:
    """Return whether a payload may be a response of a model, and is nested too deeply to be parsed.

    ``decoded`` is what ``decode`` returns for it: the text or the bytes of a payload that is not parsed.
    """
    if not isinstance(decoded, str | bytes) or not _may_have_model(value):
        return False
    try:
        read(value)
    except (RecursionError, ValueError) as error:
        return isinstance(error, RecursionError)
    return False


def _conditions(ids: Sequence[str], scope: Scope | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield conditions for all ids; a scan of the scope is faster than several lists of ids, and may select more."""
    if scope == _ALL:
        yield "id IS NOT NULL", {}
    elif scope is not None and len(ids) > _AT_ONCE:
        yield f"id IN (SELECT id FROM sys_invocation_status WHERE {scope.where})", scope.params  # noqa: S608 - constants
    else:
        yield from (("id IN :ids", {"ids": part}) for part in chunks(ids, _AT_ONCE))


def _contains(column: str, text: str) -> str:
    quoted = f'"{text}"'.encode()
    if column == "raw":
        return f"encode(raw, 'hex') LIKE '%{quoted.hex()}%'"
    return f"entry_json LIKE '%,{','.join(map(str, quoted))},%'"


class RunSelection(NamedTuple):
    """The rows of invocations by id, and the scope that they were selected with; None for chosen ids."""

    rows: Mapping[str, Row]
    scope: Scope | None = None
    message: str = ""  # which invocations were not read; "" if all were

    @property
    def attrs(self) -> dict[Hashable, Any]:
        """Return the attributes of a frame of these invocations: ``truncated``, unless all were read."""
        return {"truncated": {"message": self.message}} if self.message else {}


def select_runs(
    reader: AgentReader,
    *,
    service: str | None = None,
    since: TimeInput = "24h",
    ids: Any = None,
    limit: int = MOST_RUNS,
) -> RunSelection:
    """Return the invocations with these ids, or else those that were created since a time.

    Raises:
        ArgumentError: an argument is invalid.
        NotOnThisServer: the source has no payloads.
    """
    most = check_count("limit", limit, least=1)
    chosen = None if ids is None else [check_invocation_id(each, name="ids") for each in parse_ids(ids)[0]]
    scope = Scope("created_at >= :since", {"since": to_datetime(since, now=reader.source.now, name="since")})
    if service is not None:
        check_name("service", service)
        scope = Scope(f"{scope.where} AND target_service_name = :service", {**scope.params, "service": service})
    reader.check_payloads()
    if chosen is not None:
        return RunSelection(reader.chosen(chosen))
    rows = reader.recent(scope, most + 1)
    if len(rows) <= most:
        return RunSelection(rows, reader.scope_for(rows, scope))
    message = f"only the {most:,} newest invocations were read; pass a shorter since=, a service=, or a higher limit="
    return RunSelection(dict(list(rows.items())[:most]), scope, message)
