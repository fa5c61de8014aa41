"""Convert rows of ``sys_journal`` to entries: each command is paired with the notifications that answer it.

Nothing here depends on the list of types. A command names the ids of its completions in fields that end in
``completion_id``, a notification names the one it is; so entries of newer servers come through, and what cannot be
read is left empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from restate_lab.analysis.ids import FIRST_AWAKEABLE, awakeable_id, invocation_of_awakeable
from restate_lab.payload_json import read

__all__ = ["ABANDONED", "DONE", "FAILED", "OPEN", "Entry", "open_signals", "pair_entries", "parse_object"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DONE, FAILED, OPEN, ABANDONED = "done", "failed", "open", "abandoned"

_RESULTS = {
    "Success": "success",
    "Failure": "failure",
    "Void": "void",
    "StateKeys": "success",
    "InvocationId": "success",
}
_CANCEL = 1
# These have nothing in their JSON.
_TYPES_WITHOUT_BODY = {"Input", "ClearAllState", "GetEagerStateKeys"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One command with what answered it, or a signal that came or is waited for."""

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


@dataclass(frozen=True, slots=True)
class _JournalRow:
    """One row of sys_journal; ``kind`` is "Command", "Notification", or "" for what says neither."""

    index: int
    kind: str
    type: str
    name: str | None
    at: datetime | None
    size: int | None
    is_completed: bool | None
    body: Mapping[str, Any]


def pair_entries(rows: Iterable[Mapping[str, Any]], invocation_id: str, *, ended: bool) -> list[Entry]:
    """Return the entries of one journal, in the order of their index.

    ``rows`` have ``index, entry_type, name, appended_at, completed, entry_lite_json, size``. ``ended`` tells that the
    invocation is completed: what has no completion then will never have one.
    """
    journal_rows = sorted(map(_parse_row, rows), key=lambda row: row.index)
    commands = [row for row in journal_rows if row.kind != "Notification"]
    completion_ids = {id_ for row in commands for id_ in _completion_ids(row.body)}
    answers: defaultdict[int, list[_JournalRow]] = defaultdict(list)
    entries: list[Entry] = []
    for row in journal_rows:
        completion = _int_or_none(_object_or_empty(row.body.get("id")).get("CompletionId"))
        if row.kind == "Notification" and completion in completion_ids and completion is not None:
            answers[completion].append(row)
        elif row.kind == "Notification":
            entries.append(_notification_entry(row, invocation_id))
    entries += [_command_entry(row, number, answers, ended=ended) for number, row in enumerate(commands)]
    return sorted(entries, key=lambda entry: entry.index or 0)


def open_signals(
    invocation_id: str, signals: Iterable[Any], future_json: object, entries: Iterable[Entry]
) -> list[Entry]:
    """Return an open entry for each awakeable and named signal that a suspended invocation waits for.

    The journal knows of these only when they arrive. ``signals`` are the indexes that the invocation waits for,
    ``future_json`` what it awaits in all, with the names (since 1.7).
    """
    indexes = [id_ for id_ in signals if isinstance(id_, int)]
    indexes += [id_ for key, id_ in _leaves(parse_object(future_json)) if key == "SignalIndex" and isinstance(id_, int)]
    names = [id_ for key, id_ in _leaves(parse_object(future_json)) if key == "SignalName" and isinstance(id_, str)]
    # an awakeable comes once; a name may come, be taken, and be waited for again
    here = {entry.awakeable_id for entry in entries}
    ids = dict.fromkeys(awakeable_id(invocation_id, index) for index in sorted(indexes))
    awakeables = [Entry("Signal", status=OPEN, awakeable_id=id_) for id_ in ids if id_ and id_ not in here]
    return awakeables + [Entry("Signal", status=OPEN, name=_text_or_none(name)) for name in dict.fromkeys(names)]


def parse_object(text: object) -> dict[str, Any]:
    """Return the object that a JSON text holds; an empty one for everything else."""
    if not isinstance(text, str):
        return {}
    try:
        value = read(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _parse_row(row: Mapping[str, Any]) -> _JournalRow:
    content = parse_object(row.get("entry_lite_json"))
    kind, _, type_ = str(row.get("entry_type") or "").partition(": ")
    if not type_:
        # entries of the first journal version have no kind before their type, and no JSON
        kind, type_ = next((key for key in ("Command", "Notification") if key in content), ""), kind
    body = _object_or_empty(content.get(kind))
    if kind == "Command":
        type_, body = type_ or next(iter(body), ""), _object_or_empty(body.get(type_ or next(iter(body), "")))
    return _JournalRow(
        index=_int_or_none(row.get("index")) or 0,
        kind=kind,
        type=_text_or_none(type_) or "?",
        name=_text_or_none(row.get("name")),
        at=row.get("appended_at"),
        size=_int_or_none(row.get("size")),
        is_completed=row.get("completed"),
        body=body,
    )


def _command_entry(row: _JournalRow, number: int, answers: Mapping[int, list[_JournalRow]], *, ended: bool) -> Entry:
    body = row.body
    completion_id = _result_completion_id(body)
    replies = [reply for id_ in _completion_ids(body) for reply in answers.get(id_, ())]
    answer = next(iter(answers.get(completion_id, ())), None) if completion_id is not None else None
    result = _text_or_none((answer.body if answer else body).get("result"))
    status = _status(row, answer, result, ended=ended)
    key = _text_or_none(body.get("key"))
    awakeable = _text_or_none(body.get("id"))
    signal = _signal_name(_object_or_empty(body.get("signal_id")), "Name", "Index")
    return Entry(
        entry_type=_entry_type(row),
        index=row.index,
        completion_index=answer.index if answer else None,
        command_index=number,
        name=row.name or signal,
        status=status,
        started=row.at,
        completed=answer.at if answer else row.at if completion_id is None and status in {DONE, FAILED} else None,
        result=_RESULTS.get(result, result) if result else None,
        callee=_callee(body) or (invocation_of_awakeable(awakeable) if awakeable else None),
        callee_target=_target(body),
        wakes_at=_time_or_none(body.get("wake_up_time")) or _time_or_none(body.get("invoke_time")),
        promise=key if "Promise" in row.type else None,
        awakeable_id=awakeable or _target_awakeable_id(body),
        state_key=key if "State" in row.type else None,
        size=_total_size([row.size, *(reply.size for reply in replies)]),
    )


def _entry_type(row: _JournalRow) -> str:
    # 1.6 writes a request for all keys down as one for the key ""; only its notification has the right name
    return "GetLazyStateKeys" if row.type == "GetLazyState" and row.body.get("key") == "" else row.type


def _notification_entry(row: _JournalRow, invocation_id: str) -> Entry:
    """Return the entry of a notification that answers no command: a signal, as a rule."""
    id_ = _object_or_empty(row.body.get("id"))
    index, result = _int_or_none(id_.get("SignalIndex")), _text_or_none(row.body.get("result"))
    return Entry(
        entry_type=row.type,
        index=row.index,
        completion_index=row.index,
        name=row.name or _signal_name(id_, "SignalName", "SignalIndex"),
        status=FAILED if result == "Failure" else DONE,
        completed=row.at,
        result=_RESULTS.get(result, result) if result else None,
        awakeable_id=awakeable_id(invocation_id, index) if index is not None else None,
        size=row.size,
    )


def _status(row: _JournalRow, answer: _JournalRow | None, result: str | None, *, ended: bool) -> str | None:
    """Return the word for a command; None where its row does not say enough."""
    if answer is not None:
        return FAILED if result == "Failure" else DONE
    if _result_completion_id(row.body) is not None or row.is_completed is False:
        return ABANDONED if ended else OPEN
    if not row.body and row.kind == "Command" and row.type not in _TYPES_WITHOUT_BODY:
        return DONE if row.is_completed else None
    # What SendSignal and CompleteAwakeable name as result is what they send.
    return FAILED if result == "Failure" and row.type == "Output" else DONE


def _completion_ids(body: Mapping[str, Any]) -> list[int]:
    ids = (_int_or_none(value) for field, value in body.items() if field.endswith("completion_id"))
    return [id_ for id_ in ids if id_ is not None]


def _result_completion_id(body: Mapping[str, Any]) -> int | None:
    """Return the id of the completion that ends a command: of a call its result, not that it was taken."""
    for field in ("result_completion_id", "completion_id"):
        if (id_ := _int_or_none(body.get(field))) is not None:
            return id_
    return next(iter(_completion_ids(body)), None)


def _callee(body: Mapping[str, Any]) -> str | None:
    ids = (
        body.get("invocation_id"),
        body.get("target_invocation_id"),
        _object_or_empty(body.get("target")).get("InvocationId"),
    )
    return next((text for id_ in ids if (text := _text_or_none(id_))), None)


def _target(body: Mapping[str, Any]) -> str | None:
    """Return "service/handler" or "service/key/handler", as the column ``target`` has it."""
    target = _object_or_empty(next(iter(_object_or_empty(body.get("invocation_target")).values()), None))
    parts = [_text_or_none(target.get(part)) for part in ("name", "key", "handler")]
    return "/".join(part for part in parts if part is not None) or None


def _target_awakeable_id(body: Mapping[str, Any]) -> str | None:
    index = _int_or_none(_object_or_empty(body.get("signal_id")).get("Index"))
    target = _text_or_none(body.get("target_invocation_id"))
    return awakeable_id(target, index) if target and index is not None else None


def _signal_name(id_: Mapping[str, Any], name: str, index: str) -> str | None:
    number = _int_or_none(id_.get(index))
    if number is None or number >= FIRST_AWAKEABLE:
        return _text_or_none(id_.get(name))
    return "cancel" if number == _CANCEL else f"signal {number}"


def _total_size(sizes: Iterable[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with a plain value, at any depth: how futures are combined does not matter here."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, dict):
            pending += [inner for inner in each.values() if isinstance(inner, dict | list)]
            yield from ((key, inner) for key, inner in each.items() if not isinstance(inner, dict | list))


def _object_or_empty(value: Any) -> Mapping[str, Any]:
    """Return an object, an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def _text_or_none(value: Any) -> str | None:
    """Return a text that is not empty, as Arrow can hold it."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and value else None


def _int_or_none(value: Any) -> int | None:
    """Return a whole number that 64 bits can hold."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and abs(value) < 1 << 63 else None


def _time_or_none(milliseconds: Any) -> datetime | None:
    """Return the time so many milliseconds after 1970; None for 0."""
    if not (number := _int_or_none(milliseconds)):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        return None
