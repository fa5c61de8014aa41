"""Compare two journals entry by entry, or one journal with the current behavior of its code (RT0016).

A mismatch (RT0016) means that the code of a handler issues another command than the journal of a running invocation
has at that position. The recorded command is read from the journal. The new command is read from the fields of the
error event or, if those are empty, from its message. The message differs between SDKs and is not translated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import format_duration, plural
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.journal.entries import entries_of
from restate_lab.analysis.journal.errors import JournalEvent
from restate_lab.analysis.journal.reader import Invocation
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.frames import records, rows_to_table
from restate_lab.reads import Reads
from restate_lab.source import Source

_CODE = "RT0016"
# Messages come from handlers, so each pattern must run in linear time even for very long lines.
_RECORDED = re.compile(r"recorded(?:(?!recorded)[^\n'])*+'(?P<what>[^'\n]+)'")
_ATTEMPTED = re.compile(r"attempts to perform(?:(?!attempts to perform)[^\n'])*+'(?P<what>[^'\n]+)'")
_INDEX = re.compile(r"\(index '?(?P<index>\d{1,9})'?\)")
_DIFFERS = re.compile(r"^[^\S\n]*+(?P<field>[\w .]++): (?P<was>.*) != (?P<now>.*)$", re.MULTILINE)
# the names of commands in messages that are not the entry type in lower case
_ENTRY_TYPES = {"handler return": "Output", "one way call": "OneWayCall", "send": "OneWayCall", "awakeable": "Signal"}
_NOTICEABLE = pd.Timedelta(milliseconds=500)
_TYPES: dict[str, pa.DataType] = {
    "index_a": pa.int64(),
    "index_b": pa.int64(),
    "entry_type": pa.string(),
    "name": pa.string(),
    "status_a": pa.string(),
    "status_b": pa.string(),
    "duration_a": pa.duration("ms"),
    "duration_b": pa.duration("ms"),
    "slower_by": pa.duration("ms"),
    "retries_a": pa.int64(),
    "retries_b": pa.int64(),
    "difference": pa.string(),
    "divergence": pa.bool_(),
}
_NULLABLE: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype()}
_PAYLOAD_COLUMNS = ("payload_a", "payload_b")
_REPAIR = (
    "Retries do not help. Restore the code that wrote the journal, resume the invocation on a deployment with that "
    "code, or kill it and restart it as new."
)
_REPLAYED, _NOT_REACHED, _NOW = "replayed", "not reached", "now"

_Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The command at which code and journal differ.

    ``command_index`` counts commands only; None if the event does not have it. ``entry_type`` and ``name`` describe
    the code's new command, ``recorded`` is the entry type in the journal.
    """

    command_index: int | None
    recorded: str | None
    entry_type: str | None
    name: str | None
    differs: tuple[str, ...]


@translate_errors
def journal_diff(
    source: Source,
    a: str,
    b: str | None = None,
    /,
    *,
    payloads: bool = False,
    timeout: DurationInput | None = "30s",
) -> pd.DataFrame:
    """Compare the journals of two invocations, or one journal with the current behavior of its code (RT0016).

    Entries are aligned by type and name; calls by service and handler, regardless of the key. With ``b``, a row is an
    entry of one journal or of both. Without ``b``, invocation ``a`` must have a journal mismatch: the rows are its
    recorded entries and the command that its code issued instead in the last attempt. ``payloads=True`` also compares
    payloads. ``timeout`` is for the whole call.
    ``Replay.diff()`` explains a mismatch that new code would have, before it is deployed.

    Columns: ``index_a, index_b`` (None if that journal does not have the entry), ``entry_type, name`` (the callee's
    target for a call, the key for a promise or state), ``status_a, status_b`` (without ``b``: "replayed", "now",
    "not reached"), ``duration_a, duration_b, slower_by`` (``duration_b`` minus ``duration_a``),
    ``retries_a, retries_b``, ``difference`` (a text, or None), ``divergence`` (True in the first row that differs in
    more than time), and with payloads ``payload_a, payload_b``.

    ``frame.attrs`` has ``summary`` (one paragraph), ``a`` and ``b`` (the ``attrs`` of ``journal``), ``divergence`` (the
    position of that row, or None), and ``queries`` (the statements that were sent).

    Raises:
        ArgumentError: a value is not an invocation id, or b is missing and a has no mismatch.
        NotFound: an invocation does not exist, or no longer exists.
        TimedOut: not everything was read within ``timeout``.
    """
    reads = Reads(source, timeout, verb="journal_diff")
    frame_a, invocation_a = read_journal(reads, a, payloads=payloads, name="a")
    if b is None:
        mismatch = mismatch_of(invocation_a)
        if mismatch is None:
            raise ArgumentError(f"{a} has no journal mismatch (RT0016); pass a second invocation to compare it with.")
        frame = _to_frame(list(_diff_rows_with_code(records(frame_a), mismatch)), payloads=payloads)
        summary = explain_mismatch(invocation_a, mismatch)
        frame.attrs["a"] = _journal_attrs(frame_a)
    else:
        frame_b, invocation_b = read_journal(reads, b, payloads=payloads, name="b")
        frame = _to_frame(list(_diff_rows(records(frame_a), records(frame_b))), payloads=payloads)
        frame.attrs |= {"a": _journal_attrs(frame_a), "b": _journal_attrs(frame_b)}
        mismatches = [(each, mismatch_of(each)) for each in (invocation_a, invocation_b)]
        explanations = [
            explain_mismatch(each, mismatch) for each, mismatch in mismatches if mismatch and not each.row["ended"]
        ]
        summary = " ".join([_describe_diff(frame), *explanations])
    frame.attrs |= {"queries": reads.queries, "summary": summary}
    return frame


def mismatch_of(invocation: Invocation) -> Mismatch | None:
    """Return the last journal mismatch of an invocation; None if it had no mismatch."""
    events = [event for event in invocation.events or () if event.code == _CODE]
    return _parse_mismatch(events[-1]) if events else None


def explain_mismatch(invocation: Invocation, mismatch: Mismatch) -> str:
    """Return a text that explains a journal mismatch (RT0016) of an invocation, with the possible actions."""
    entries, number = invocation.entries, pa.scalar(mismatch.command_index, pa.int64())
    entry = next(iter(entries_of(entries.filter(pc.equal(entries["command_index"], number)))), None)
    recorded = entry.entry_type if entry else mismatch.recorded
    name = entry.name or entry.callee_target or entry.promise or entry.state_key if entry else None
    before, now = _describe_entry(recorded, name), _describe_entry(mismatch.entry_type, mismatch.name)
    place = f" at entry {entry.index} (command {mismatch.command_index})" if entry else ""
    differs = f" ({'; '.join(mismatch.differs)})" if mismatch.differs else ""
    deployment = invocation.row["pinned_deployment_id"] or "its deployment"
    return (
        f"{invocation.row['target']} ({invocation.id}) has a journal mismatch (RT0016): its journal has "
        f"{before}{place}, but the code now issues {now}{differs}. Either the code of "
        f"{deployment} changed while the invocation was in flight, or the code is not deterministic. {_REPAIR}"
    )


def _describe_diff(frame: pd.DataFrame) -> str:
    a, b = frame.attrs["a"], frame.attrs["b"]
    texts = [f"{name} is {each['id']} ({each['target']}, {each['status']})" for name, each in (("a", a), ("b", b))]
    sentences = [f"{'; '.join(texts)}."]
    sentences += [f"{name} has no journal: {each['note']}." for name, each in (("a", a), ("b", b)) if "note" in each]
    at = frame.attrs["divergence"]
    if at is None:
        sentences.append(f"All {len(frame):,} entries are equal." if len(frame) else "")
    else:
        sentences.append(f"They differ after {plural(at, 'entry', 'entries')}: {_describe_divergence(frame, at)}.")
    sentences.append(_describe_timing(frame))
    return " ".join(filter(None, sentences))


def _journal_attrs(frame: pd.DataFrame) -> dict[Any, Any]:
    return {name: value for name, value in frame.attrs.items() if name != "queries"}


def _to_frame(rows: Sequence[_Record], *, payloads: bool) -> pd.DataFrame:
    # the two invocations usually have different inputs, which does not count
    differing = [
        number
        for number, row in enumerate(rows)
        if row["difference"] is not None and not (row["entry_type"] == "Input" and row["index_a"] == row["index_b"])
    ]
    first = min(differing, default=None)
    marked = [{**row, "divergence": number == first} for number, row in enumerate(rows)]
    table = rows_to_table(marked, _TYPES)
    frame = table.to_pandas(types_mapper=_NULLABLE.get)
    frame.attrs["divergence"] = first
    for name in _PAYLOAD_COLUMNS if payloads else ():
        frame[name] = pd.Series([row[name] for row in rows], dtype=object)
    return frame


def _diff_rows(a: Sequence[_Record], b: Sequence[_Record]) -> Iterator[dict[str, Any]]:
    for of_a, of_b in _align([_alignment_key(each) for each in a], [_alignment_key(each) for each in b]):
        if len(of_a) == len(of_b) and of_a and _alignment_key(a[of_a[0]]) == _alignment_key(b[of_b[0]]):
            yield from (_diff_row(a[at_a], b[at_b]) for at_a, at_b in zip(of_a, of_b, strict=True))
        else:
            yield from (_diff_row(a[at], None) for at in of_a)
            yield from (_diff_row(None, b[at]) for at in of_b)


def _align(a: Sequence[Any], b: Sequence[Any]) -> Iterator[tuple[range, range]]:
    """Yield pairs of corresponding ranges, in order; a pair is equal if its lengths and first keys are equal."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    yield range(start), range(start)
    middle_a, middle_b = a[start : len(a) - end], b[start : len(b) - end]
    for _, from_a, to_a, from_b, to_b in SequenceMatcher(None, middle_a, middle_b).get_opcodes():
        yield range(start + from_a, start + to_a), range(start + from_b, start + to_b)
    yield range(len(a) - end, len(a)), range(len(b) - end, len(b))


def _alignment_key(record: _Record) -> tuple[Any, ...]:
    target = record["callee_target"]
    handler = (target.split("/")[0], target.split("/")[-1]) if target else None
    return record["entry_type"], record["name"] or handler or record["promise"] or record["state_key"]


def _label(record: _Record) -> str | None:
    names = (record[field] for field in ("name", "callee_target", "promise", "state_key"))
    return next((str(name) for name in names if name), None)


def _diff_row(a: _Record | None, b: _Record | None) -> dict[str, Any]:
    either = a or b or {}
    of_a, of_b = a or {}, b or {}
    # With pandas 2, pyarrow reads a Timedelta in milliseconds as if it were in nanoseconds.
    lengths = [each and each.to_pytimedelta() for each in (of_a.get("duration"), of_b.get("duration"))]
    return {
        "index_a": of_a.get("index"),
        "index_b": of_b.get("index"),
        "entry_type": either["entry_type"],
        "name": _label(either),
        "status_a": of_a.get("status"),
        "status_b": of_b.get("status"),
        "duration_a": lengths[0],
        "duration_b": lengths[1],
        "slower_by": lengths[1] - lengths[0] if lengths[0] is not None and lengths[1] is not None else None,
        "retries_a": of_a.get("retries"),
        "retries_b": of_b.get("retries"),
        "difference": _difference(a, b),
        "payload_a": of_a.get("payload"),
        "payload_b": of_b.get("payload"),
    }


def _difference(a: _Record | None, b: _Record | None) -> str | None:
    if a is None or b is None:
        return "only in a" if b is None else "only in b"
    for field in ("status", "result"):
        if a[field] != b[field]:
            return f"{a[field]} in a, {b[field]} in b"
    if a["failure"] != b["failure"]:
        return f"failed in a with {a['failure']!r}, in b with {b['failure']!r}"
    if a.get("argument") != b.get("argument"):
        return "different arguments"
    return "different payloads" if a.get("payload") != b.get("payload") else None


def _diff_rows_with_code(journal: Sequence[_Record], mismatch: Mismatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a journal with their outcome in the last attempt, and the command that the code issued."""
    part = mismatch.command_index
    for record in journal:
        row = _diff_row(record, record) | {
            "index_b": None,
            "duration_b": None,
            "slower_by": None,
            "retries_b": None,
        }
        number = record["command_index"]
        if part is None or number is None or number < part:
            yield row | {"status_b": _REPLAYED if part is not None else None}
        elif number > part:
            yield row | {"status_b": _NOT_REACHED, "difference": _NOT_REACHED}
        else:
            yield row | {"status_b": None, "difference": "only in the journal"}
            what = {"entry_type": mismatch.entry_type or "?", "name": mismatch.name}
            yield dict.fromkeys(row) | what | {"status_b": _NOW, "difference": "only in the code"}


def _parse_mismatch(event: JournalEvent) -> Mismatch:
    message = event.message or ""
    recorded, attempted, index = (each.search(message) for each in (_RECORDED, _ATTEMPTED, _INDEX))
    command_index = int(index["index"]) if index else None
    differences = list(_DIFFERS.finditer(message))
    names = [match["now"] for match in differences if match["field"].strip() == "name"]
    return Mismatch(
        command_index=command_index if event.command_index is None else event.command_index,
        recorded=_entry_type(recorded["what"]) if recorded else None,
        entry_type=event.command_type or (_entry_type(attempted["what"]) if attempted else None),
        name=event.command_name or (names[0] if names else None),
        differs=tuple(f"{each['field'].strip()}: {each['was']} != {each['now']}" for each in differences),
    )


def _entry_type(text: str) -> str:
    known = _ENTRY_TYPES.get(text.lower())
    return known or "".join(word[:1].upper() + word[1:] for word in re.split(r"[ _-]+", text))


def _describe_entry(entry_type: str | None, name: str | None) -> str:
    return f"{entry_type or 'a command'} {name!r}" if name else entry_type or "an unknown command"


def _describe_divergence(frame: pd.DataFrame, at: int) -> str:
    row = frame.iloc[at]
    if not str(row["difference"]).startswith("only in"):
        return f"{_describe_row(row)} (entry {row['index_a']}): {row['difference']}"
    differences = frame["difference"].iloc[at:].fillna("").tolist()
    gap = list(takewhile(lambda difference: difference.startswith("only in"), differences))
    sides = []
    for side in "ab":
        first = gap.index(f"only in {side}") if f"only in {side}" in gap else None
        what = "no entry there" if first is None else _describe_row(frame.iloc[at + first])
        sides.append(f"{side} has {what}")
    return ", ".join(sides)


def _describe_row(row: Any) -> str:
    return _describe_entry(row["entry_type"], row["name"] if pd.notna(row["name"]) else None)


def _describe_timing(frame: pd.DataFrame) -> str:
    """Return a sentence about the entry whose duration differs most; "" if the difference is small."""
    differences = frame["slower_by"].abs()
    if differences.isna().all() or differences.max() < _NOTICEABLE:
        return ""
    row = frame.iloc[int(differences.argmax())]
    took = [f"{format_duration(row[f'duration_{side}'])} in {side}" for side in "ab"]
    return f"The largest difference in duration is at {_describe_row(row)}: {took[0]}, {took[1]}."
