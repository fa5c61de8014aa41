"""Convert rows of ``sys_journal`` to entries: each command is paired with its notifications.

This works without a list of entry types. A command has the ids of its completions in fields whose names end in
``completion_id``, and a notification has its own id. So entries of newer servers are read too; unreadable fields are
empty.

A journal can have 100,000 entries, so all rows are converted together, column by column. Each distinct text of
``entry_lite_json`` is parsed once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.ids import FIRST_AWAKEABLE, awakeable_id, invocation_of_awakeable
from restate_lab.frames import to_rows
from restate_lab.payload_json import read

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DONE, FAILED, OPEN, ABANDONED = "done", "failed", "open", "abandoned"
_TIME = pa.timestamp("ms", "UTC")

_RESULTS = {
    "Success": "success",
    "Failure": "failure",
    "Void": "void",
    "StateKeys": "success",
    "InvocationId": "success",
}
_STATUSES = [DONE, FAILED, OPEN, ABANDONED, None]
CANCEL = 1
# The JSON of these types is empty.
_TYPES_WITHOUT_BODY = {"Input", "ClearAllState", "GetEagerStateKeys"}
# The fields that are read from a command, besides its completions and its result.
_DESCRIBING_FIELDS = frozenset(
    ["key", "id", "signal_id", "target", "invocation_target", "invocation_id", "target_invocation_id"]
) | {"wake_up_time", "invoke_time"}
_ROW_TYPES: dict[str, pa.DataType] = {
    "id": pa.large_string(),
    "index": pa.int64(),
    "entry_type": pa.large_string(),
    "name": pa.large_string(),
    "appended_at": _TIME,
    "completed": pa.bool_(),
    "entry_lite_json": pa.large_string(),
    "size": pa.int64(),
}
ROW_TYPES = pa.schema(_ROW_TYPES)
"""The columns of ``sys_journal`` that are read; ``size`` is the length of the raw entry."""
_ENTRY_TYPES: dict[str, pa.DataType] = {
    "entry_type": pa.string(),
    "index": pa.int64(),
    "completion_index": pa.int64(),
    "command_index": pa.int64(),
    "name": pa.string(),
    "status": pa.string(),
    "started": _TIME,
    "completed": _TIME,
    "result": pa.string(),
    "callee": pa.string(),
    "callee_target": pa.string(),
    "wakes_at": _TIME,
    "promise": pa.string(),
    "awakeable_id": pa.string(),
    "state_key": pa.string(),
    "size": pa.int64(),
}
ENTRY_TYPES = pa.schema(_ENTRY_TYPES)
"""The columns of a table of entries: the fields of ``Entry``."""

_Numbers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]
_NO_NUMBERS: _Numbers = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Entry:
    """One command with its notifications, or a signal that arrived or is awaited."""

    entry_type: str
    index: int | None = None
    completion_index: int | None = None
    command_index: int | None = None
    name: str | None = None
    status: str | None = None
    started: datetime | None = None
    completed: datetime | None = None
    result: str | None = None
    callee: str | None = None
    callee_target: str | None = None
    wakes_at: datetime | None = None
    promise: str | None = None
    awakeable_id: str | None = None
    state_key: str | None = None
    size: int | None = None


class EntryContent(NamedTuple):
    """The type and JSON of a row, parsed; ``kind`` is "Command", "Notification", or "" if it is unknown.

    For a command, ``completions`` are the ids of all its notifications, and ``completion`` is the id of the final one.
    For a notification, ``completion`` is its own completion id, and ``signal_index`` the index of its signal.
    """

    kind: str
    entry_type: str
    is_empty: bool
    has_failed: bool
    result: str | None
    completions: Sequence[int] = ()
    completion: int | None = None
    name: str | None = None
    signal_index: int | None = None
    callee: str | None = None
    callee_target: str | None = None
    wakes_at: datetime | None = None
    promise: str | None = None
    awakeable_id: str | None = None
    state_key: str | None = None

    @property
    def says_nothing(self) -> bool:
        """Return whether this is a command without the JSON that other commands of its type have."""
        return self.is_empty and self.kind == "Command" and self.entry_type not in _TYPES_WITHOUT_BODY


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows ordered by journal and index.

    ``journals`` has for each row the position of its journal in ``ids``, ``codes`` the position of its content in
    ``contents``.
    """

    ids: Sequence[str]
    contents: Sequence[EntryContent]
    table: pa.Table
    journals: _Numbers
    codes: _Numbers

    def flags(self, values: Iterable[bool]) -> _Flags:
        return np.fromiter(values, bool, len(self.contents))[self.codes]

    def column(self, name: str, positions: _Numbers) -> pa.Array[Any]:
        values = pa.array([getattr(content, name) for content in self.contents], _ENTRY_TYPES[name])
        return values.take(self.codes[positions])

    def take(self, name: str, positions: _Numbers, missing: _Flags | None = None) -> pa.ChunkedArray[Any]:
        """Return the values of a column of the table at these positions, null where they are marked as missing."""
        wanted: Any = pa.array(positions, mask=missing)
        return self.table[name].take(wanted)


class PairedEntries(NamedTuple):
    """The entries of several journals: those of ``ids[n]`` are the rows ``bounds[n]`` to ``bounds[n + 1]``."""

    ids: Sequence[str]
    table: pa.Table
    bounds: Sequence[int]

    def by_id(self) -> dict[str, pa.Table]:
        """Return id → its part of the table."""
        parts = [self.table.slice(start, end - start) for start, end in pairwise(self.bounds)]
        return dict(zip(self.ids, parts, strict=True))


def pair_entries(rows: pa.Table, *, ended: Collection[str]) -> PairedEntries:
    """Return the entries, ordered by index, of rows with ``ROW_TYPES``; open entries of ``ended`` never complete."""
    if not rows.num_rows:
        return PairedEntries((), ENTRY_TYPES.empty_table(), (0,))
    journal_rows = _decode_rows(rows)
    owners, replies, last = _find_replies(journal_rows)
    is_reply = np.zeros(rows.num_rows, bool)
    is_reply[replies] = True
    kept = np.flatnonzero(~is_reply)
    table = _entry_table(journal_rows, kept, last[kept], ended).append_column(
        ENTRY_TYPES.field("size"), _total_sizes(journal_rows, owners, replies).take(kept)
    )
    bounds = np.searchsorted(journal_rows.journals[kept], range(len(journal_rows.ids) + 1))
    return PairedEntries(journal_rows.ids, table, bounds.tolist())


def entries_of(table: pa.Table) -> list[Entry]:
    """Return the rows of a table as entries; use it for a few rows only."""
    return [Entry(**row) for row in to_rows(table)]


def table_of(entries: Iterable[Entry]) -> pa.Table:
    """Return the entries as a table."""
    return pa.Table.from_pylist([asdict(entry) for entry in entries], ENTRY_TYPES)


def parse_object(text: object) -> dict[str, Any]:
    """Return the object in a JSON text; an empty object for anything else."""
    if not isinstance(text, str):
        return {}
    try:
        value = read(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _decode_rows(rows: pa.Table) -> _Rows:
    table = rows.select(ROW_TYPES.names).cast(ROW_TYPES, safe=False)
    ids = table["id"].unique()
    journals = np.asarray(pc.index_in(table["id"], ids), np.int64)
    indexes: Any = pc.fill_null(table["index"], pa.scalar(0))
    table = table.set_column(1, ROW_TYPES.field("index"), indexes)
    order = np.lexsort((np.asarray(indexes), journals))
    table = table.take(order)
    types, texts = (
        table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        for name in ("entry_type", "entry_lite_json")
    )
    count = len(types.dictionary)
    pairs = np.asarray(texts.indices, np.int64) * count + np.asarray(types.indices, np.int64)
    codes, distinct = pd.factorize(pairs)
    known_types, known_texts = types.dictionary.to_pylist(), texts.dictionary.to_pylist()
    contents = [parse_content(known_types[pair % count], known_texts[pair // count]) for pair in distinct.tolist()]
    return _Rows([str(id_) for id_ in ids.to_pylist()], contents, table, journals[order], codes)


def parse_content(entry_type: str | None, text: str | None) -> EntryContent:
    """Return the content of a row of ``sys_journal``, from its type and its ``entry_lite_json``."""
    content = parse_object(text)
    kind, _, type_ = (entry_type or "").partition(": ")
    if not type_:
        # entries of the first journal version have no kind before their type, and no JSON
        kind, type_ = next((key for key in ("Command", "Notification") if key in content), ""), kind
    body = _object_or_empty(content.get(kind))
    if kind == "Command":
        type_, body = type_ or next(iter(body), ""), _object_or_empty(body.get(type_ or next(iter(body), "")))
    result = text_or_none(body.get("result"))
    common = (kind, text_or_none(type_) or "?", not body, result == "Failure", _RESULTS.get(result or "", result))
    if kind == "Notification":
        id_ = _object_or_empty(body.get("id"))
        signal = _signal_name(id_, "SignalName", "SignalIndex")
        return EntryContent(
            *common, (), _int_or_none(id_.get("CompletionId")), signal, _int_or_none(id_.get("SignalIndex"))
        )
    ids = {field: _int_or_none(value) for field, value in body.items() if field.endswith("completion_id")}
    completions = [id_ for id_ in ids.values() if id_ is not None]
    # The final completion of a call is its result, not its acceptance.
    final = [ids[field] for field in ("result_completion_id", "completion_id") if ids.get(field) is not None]
    command = EntryContent(*common, completions, next(iter([*final, *completions]), None))
    return command if _DESCRIBING_FIELDS.isdisjoint(body) else _describe_command(command, body)


def _describe_command(command: EntryContent, body: Mapping[str, Any]) -> EntryContent:
    type_, key, awakeable = command.entry_type, text_or_none(body.get("key")), text_or_none(body.get("id"))
    # 1.6 recorded a request for all keys as a request for the key ""; only its notification has the right name
    is_for_all_keys = type_ == "GetLazyState" and body.get("key") == ""
    return command._replace(
        entry_type="GetLazyStateKeys" if is_for_all_keys else type_,
        name=_signal_name(_object_or_empty(body.get("signal_id")), "Name", "Index"),
        callee=_callee(body) or (invocation_of_awakeable(awakeable) if awakeable else None),
        callee_target=_target(body),
        wakes_at=_time_or_none(body.get("wake_up_time")) or _time_or_none(body.get("invoke_time")),
        promise=key if "Promise" in type_ else None,
        awakeable_id=awakeable or _target_awakeable_id(body),
        state_key=key if "State" in type_ else None,
    )


def _find_replies(rows: _Rows) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Return the positions of commands and of their notifications, and for each row the position of its end, or -1."""
    contents = rows.contents
    ids = {id_ for content in contents for id_ in (content.completion, *content.completions) if id_ is not None}
    codes = {id_: code for code, id_ in enumerate(ids)}
    journals = rows.journals * len(ids)  # a journal and the code of an id are one number, a key
    ends = np.array([-1 if each.completion is None else codes[each.completion] for each in contents])[rows.codes]
    is_notification = rows.flags(content.kind == "Notification" for content in contents)
    notifications = np.flatnonzero(is_notification & (ends >= 0))
    notifications = notifications[np.argsort((journals + ends)[notifications], kind="stable")]
    keys, last = (journals + ends)[notifications], np.full(len(rows.codes), -1)
    owners, replies = [_NO_NUMBERS], [_NO_NUMBERS]
    for place in range(max(len(content.completions) for content in contents)):
        wanted = [codes[each.completions[place]] if len(each.completions) > place else -1 for each in contents]
        asked = np.array(wanted)[rows.codes]
        commands = np.flatnonzero(~is_notification & (asked >= 0))
        firsts, afters = (np.searchsorted(keys, (journals + asked)[commands], side) for side in ("left", "right"))
        counts = afters - firsts
        owners.append(np.repeat(commands, counts))
        replies.append(notifications[np.repeat(afters - np.cumsum(counts), counts) + np.arange(counts.sum())])
        is_end = (counts > 0) & (asked == ends)[commands]
        last[commands[is_end]] = notifications[firsts[is_end]]
    return np.concatenate(owners), np.concatenate(replies), last


def _entry_table(rows: _Rows, kept: _Numbers, last: _Numbers, ended: Collection[str]) -> pa.Table:
    contents = rows.contents
    is_command = rows.flags(content.kind != "Notification" for content in contents)
    is_answered, is_signal = last >= 0, ~is_command[kept]
    ends = np.where(is_answered, last, kept)
    status = _statuses(rows, kept, ends, is_answered, ended)
    has_no_completion = rows.flags(content.completion is None for content in contents)[kept]
    is_done = _is_true(pc.is_in(status, pa.array([DONE, FAILED])))
    names: Any = rows.take("name", kept).cast(pa.string())
    columns = {
        "entry_type": rows.column("entry_type", kept),
        "index": rows.take("index", kept),
        "completion_index": rows.take("index", ends, ~(is_answered | is_signal)),
        "command_index": pa.array(_numbers(rows.journals, is_command)[kept], mask=is_signal),
        "name": pc.coalesce(pc.if_else(pc.equal(names, pa.scalar("")), None, names), rows.column("name", kept)),
        "status": status,
        "started": rows.take("appended_at", kept, is_signal),
        "completed": rows.take("appended_at", ends, ~(is_answered | is_signal | (has_no_completion & is_done))),
        "result": rows.column("result", ends),
        "callee": rows.column("callee", kept),
        "callee_target": rows.column("callee_target", kept),
        "wakes_at": rows.column("wakes_at", kept),
        "promise": rows.column("promise", kept),
        "awakeable_id": _awakeables(rows, kept),
        "state_key": rows.column("state_key", kept),
    }
    return pa.table(columns)


def _statuses(
    rows: _Rows, kept: _Numbers, ends: _Numbers, is_answered: _Flags, ended: Collection[str]
) -> pa.Array[Any]:
    """Return the status of each entry; null if its rows do not have enough information."""
    contents, completed = rows.contents, rows.take("completed", kept)
    is_notification = rows.flags(each.kind == "Notification" for each in contents)[kept]
    is_output = rows.flags(each.entry_type == "Output" for each in contents)[kept]
    is_unknown = rows.flags(each.says_nothing for each in contents)[kept] & ~_is_true(completed)
    is_open = rows.flags(each.completion is not None for each in contents)[kept] | _is_true(pc.invert(completed))
    has_ended = np.array([id_ in ended for id_ in rows.ids], bool)[rows.journals[kept]]
    outcome = rows.flags(each.has_failed for each in contents)[ends].astype(np.int64)
    numbers = np.select(
        [is_answered | is_notification, is_open & has_ended, is_open, is_unknown],
        [outcome, _STATUSES.index(ABANDONED), _STATUSES.index(OPEN), _STATUSES.index(None)],
        default=np.where(is_output, outcome, 0),  # the result of SendSignal and CompleteAwakeable is the sent one
    )
    return pa.array(_STATUSES).take(numbers)


def _is_true(column: Any) -> _Flags:
    return np.asarray(pc.fill_null(column, pa.scalar(value=False)))


def _numbers(journals: _Numbers, is_command: _Flags) -> _Numbers:
    before: _Numbers = np.cumsum(is_command) - is_command
    starts = np.searchsorted(journals, journals)
    numbers: _Numbers = before - before[starts]
    return numbers


def _awakeables(rows: _Rows, kept: _Numbers) -> pa.Array[Any]:
    """Return the ids of awakeables: from commands, and for signals built from the invocation's id."""
    of_signals = np.full(len(rows.codes), None)
    for at in np.flatnonzero(rows.flags(each.signal_index is not None for each in rows.contents)).tolist():
        of_signals[at] = awakeable_id(rows.ids[rows.journals[at]], rows.contents[rows.codes[at]].signal_index or 0)
    awakeables: pa.Array[Any] = pc.coalesce(rows.column("awakeable_id", kept), pa.array(of_signals[kept], pa.string()))
    return awakeables


def _total_sizes(rows: _Rows, owners: _Numbers, replies: _Numbers) -> pa.Array[Any]:
    column: Any = rows.table["size"]
    sizes, known = np.asarray(pc.fill_null(column, 0)), np.asarray(column.is_valid())
    totals, is_known = sizes.copy(), known.copy()
    np.add.at(totals, owners, sizes[replies])
    np.logical_or.at(is_known, owners, known[replies])
    total_sizes: pa.Array[Any] = pa.array(totals, mask=~is_known)
    return total_sizes


def _callee(body: Mapping[str, Any]) -> str | None:
    ids = (
        body.get("invocation_id"),
        body.get("target_invocation_id"),
        _object_or_empty(body.get("target")).get("InvocationId"),
    )
    return next((text for id_ in ids if (text := text_or_none(id_))), None)


def _target(body: Mapping[str, Any]) -> str | None:
    """Return "service/handler" or "service/key/handler", as in the column ``target``."""
    target = _object_or_empty(next(iter(_object_or_empty(body.get("invocation_target")).values()), None))
    parts = [text_or_none(target.get(part)) for part in ("name", "key", "handler")]
    return "/".join(part for part in parts if part is not None) or None


def _target_awakeable_id(body: Mapping[str, Any]) -> str | None:
    index = _int_or_none(_object_or_empty(body.get("signal_id")).get("Index"))
    target = text_or_none(body.get("target_invocation_id"))
    return awakeable_id(target, index) if target and index is not None else None


def _signal_name(id_: Mapping[str, Any], name: str, index: str) -> str | None:
    number = _int_or_none(id_.get(index))
    if number is None or number >= FIRST_AWAKEABLE:
        return text_or_none(id_.get(name))
    return "cancel" if number == CANCEL else f"signal {number}"


def numbers_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with a plain value in parsed JSON, at any depth, however results are combined there."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, dict):
            pending += [inner for inner in each.values() if isinstance(inner, dict | list)]
            yield from ((key, inner) for key, inner in each.items() if not isinstance(inner, dict | list))


def _object_or_empty(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text_or_none(value: Any) -> str | None:
    """Return a text that is not empty, in a form that Arrow can store; else None."""
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _int_or_none(value: Any) -> int | None:
    """Return a whole number that fits in 64 bits; else None."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and abs(value) < 1 << 63 else None


def _time_or_none(milliseconds: Any) -> datetime | None:
    if not (number := _int_or_none(milliseconds)):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        return None
