"""The audit log: each change, with its intent before it is sent and its result afterwards, reads of servers, and notes.

Each process appends to its own file of JSON lines, which only its owner can read. If the intent cannot be written, the
change is not sent. Bodies are not recorded, because they can have payloads and secrets. Reads and notes are
in folders of their own within the folder of the changes.
"""

from __future__ import annotations

import functools
import itertools
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from restate_lab._public import explained
from restate_lab._text import join
from restate_lab.errors import ArgumentError, AuditFailed, AuditIncomplete, Truncated
from restate_lab.notes import FOLDER as NOTES, notes_frame, read_notes
from restate_lab.records import (
    FieldChecks,
    RecordFile,
    as_number,
    as_text,
    as_time,
    list_of,
    optional,
    process_info,
    read_records,
)

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = [
    "time", "action", "targets", "outcome", "counts", "reason", "error", "environment", "address", "request", "status",
    "ended", "user", "host", "pid", "change", "file",
]  # fmt: skip
_READ_COLUMNS = [
    "time", "tool", "arguments", "source", "rows", "bytes", "milliseconds", "error", "client", "user", "host", "pid",
    "file",
]  # fmt: skip
_READS = "reads"  # the folder of the records of reads
_MOST_SHOWN = 20  # unreadable lines that the warning names


class _TargetResult(Protocol):
    """The result for one target of a change with many targets; ``other_new_ids`` are separated by commas."""

    @property
    def outcome(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def new_id(self) -> str | None: ...
    @property
    def other_new_ids(self) -> str | None: ...


def summarize(results: Sequence[_TargetResult]) -> dict[str, Any]:
    """Return the fields of a result record for many targets, in their order: short, and exact for each target.

    Targets are identified by their positions in the intent, as spans from first to last: ``{"done": [[0, 998]], …}``.
    """
    outcomes = _spans([result.outcome for result in results])
    errors = _spans([result.error for result in results])
    new_ids = {str(place): result.new_id for place, result in enumerate(results) if result.new_id}
    others = {str(place): result.other_new_ids for place, result in enumerate(results) if result.other_new_ids}
    return {
        "outcome": next(iter(outcomes)) if len(outcomes) == 1 else "mixed" if outcomes else "done",
        "outcomes": outcomes,
        **({"errors": errors} if errors else {}),
        **({"new_ids": new_ids} if new_ids else {}),
        **({"other_new_ids": others} if others else {}),
    }


def _spans(texts: Sequence[str | None]) -> dict[str, list[list[int]]]:
    spans: dict[str, list[list[int]]] = {}
    place = 0
    for text, group in itertools.groupby(texts):
        end = place + sum(1 for _ in group)
        if text is not None:
            spans.setdefault(text, []).append([place, end - 1])
        place = end
    return spans


def default_folder() -> Path:
    """Return the folder of the audit files: ``RESTATE_LAB_AUDIT``, or the user's state folder."""
    return _configured_folder() or _state_folder()


def _configured_folder() -> Path | None:
    configured = os.environ.get("RESTATE_LAB_AUDIT")
    return Path(configured) if configured else None


def _state_folder() -> Path:
    import platformdirs  # noqa: PLC0415 - a connection without changes needs no folder

    return platformdirs.user_state_path("restate_lab") / "audit"


class AuditLog:
    """The audit files of one process in a folder; created at the first record, safe to use from several threads.

    ``user`` is the name in the records, if it is not the user of the process.
    """

    def __init__(self, folder: Path | None = None, *, user: str | None = None) -> None:
        self._folder, self._user = folder or _configured_folder(), user
        self._changes, self._reads, self._notes = RecordFile(), RecordFile(), RecordFile()

    @functools.cached_property
    def folder(self) -> Path:
        """Return the folder of the files."""
        return self._folder or _state_folder()

    @property
    def path(self) -> Path | None:
        """Return the file of the changes of this process; None before its first change."""
        return self._changes.path

    def intent(self, action: str, targets: Sequence[str], **details: Any) -> str:
        """Record a change before it is sent, and return the id of the change, which its result will also have.

        Raises:
            AuditFailed: the record cannot be written, so the change must not be sent.
        """
        change = uuid.uuid4().hex
        record = {"kind": "intent", "change": change, "action": action, "targets": list(targets)}
        self._changes.write(self.folder, {**record, **details, **self._process()})
        return change

    def result(self, change: str, outcome: str, **details: Any) -> None:
        """Record the outcome of a change: "done", "refused", "not sent" or "unknown".

        If the record cannot be written, this warns (AuditIncomplete) and does not raise: the change was already made.
        """
        try:
            self._changes.write(self.folder, {"kind": "result", "change": change, "outcome": outcome, **details})
        except AuditFailed as error:
            warnings.warn(f"the outcome of the change is {outcome}, but {error}", AuditIncomplete, stacklevel=3)

    def read(self, tool: str, arguments: str, **details: Any) -> None:
        """Record a read of an assistant; ``arguments`` is JSON without values of payloads.

        Raises:
            AuditFailed: the record cannot be written, so the result must not be returned.
        """
        self.read_all([{"tool": tool, "arguments": arguments, **details}])

    def read_all(self, reads: Sequence[Mapping[str, Any]]) -> None:
        """Record several reads with the fields of ``read`` at once, which takes as long as one record.

        Raises:
            AuditFailed: the records cannot be written, so no result must be returned.
        """
        process = self._process()
        self._reads.write(self.folder / _READS, *({"kind": "read", **each, **process} for each in reads))

    def note(self, **details: Any) -> None:
        """Record a note; ``details`` are fields of ``notes.Note``.

        Raises:
            AuditFailed: the record cannot be written.
        """
        self._notes.write(self.folder / NOTES, {"kind": "note", **details, **self._process()})

    def _process(self) -> dict[str, Any]:
        return process_info() | ({} if self._user is None else {"user": self._user})


@explained
def audit_log(
    folder: str | os.PathLike[str] | None = None,
    /,
    *,
    change: str | None = None,
    reads: bool = False,
    notes: bool = False,
) -> pd.DataFrame:
    """Return one row per change that this user's processes tried to make, oldest first.

    Columns: ``time`` and ``ended`` (UTC), ``action``, ``targets`` (a list), ``outcome`` ("done", "refused", "not sent",
    "unknown", or an outcome of a plan; "mixed" if the outcomes of the targets differ, with ``counts`` of each; None if
    the process ended before the result was known), ``reason``, ``error``, ``environment``, ``address``, ``request``,
    ``status`` (HTTP), ``user``, ``host``, ``pid``, ``change`` (the id of both intent and result) and ``file``.

    ``change`` is one of these ids. With it there is one row per target of that change instead, in order: ``id, outcome,
    error, new_id, other_new_ids`` (further new ids, separated by commas; None if there are no others), ``from_index``
    (of a restart that keeps a part of the journal; None if no index was chosen).

    ``reads=True`` returns the calls of an assistant to the tools of ``restate-lab mcp``, and the pages and logins of
    ``restate-lab serve`` instead, oldest first. Columns: ``time`` (UTC), ``tool`` (of a page "serve" and its path),
    ``arguments`` (JSON, without payloads), ``source``, ``rows`` and ``bytes`` of the result, ``milliseconds``,
    ``error`` (None if it succeeded), ``client`` (the name and version that the client of an assistant declared; of a
    page the address of the viewer), ``user``, ``host``, ``pid`` and ``file``.

    ``notes=True`` returns the notes of ``note`` instead, oldest first. Columns: ``time`` (UTC), ``text``, ``finding``
    (the fingerprint of a finding; None if the note is about none), ``check, where, title, severity, count,
    affected`` (of the finding when it was noted), ``until`` (UTC, the end of an acknowledgement; NaT for none),
    ``environment``, ``address``, ``user``, ``host``, ``pid``, ``id`` and ``file``.

    ``folder`` None means ``default_folder()``. Lines and files that cannot be read are omitted, counted in
    ``attrs["truncated"]`` and reported in a Truncated warning. Such lines exist if a process ended while it wrote, or
    if another program wrote to the folder.

    Raises:
        ArgumentError: the folder does not have this change, or more than one of ``change``, ``reads`` and ``notes`` is
            passed.
    """
    if (change is not None) + reads + notes > 1:
        raise ArgumentError("change, reads and notes cannot be combined: each has rows of its own; pass one of them.")
    records, where = _Records(), Path(folder or default_folder())
    if not notes:
        records.read(where / _READS if reads else where)
    intents, results = records.intents, records.valid_results()
    if notes:
        known = read_notes(where)
        records.unreadable.extend(known.unreadable)
        frame = notes_frame(known.notes)
    elif reads:
        frame = _reads(records.reads)
    elif change is None:
        frame = _changes(intents, results)
    elif change in intents:
        frame = _targets(intents[change], results.get(change, {}))
    else:
        raise ArgumentError(f"change {change!r} is not in the audit log; the column change of audit_log() has the ids.")
    frame.attrs["made_by"] = "restate_lab"
    if records.unreadable:
        places = join(records.unreadable, _MOST_SHOWN)
        frame.attrs["truncated"] = f"{len(records.unreadable):,} unreadable lines or files omitted: {places}"
        warnings.warn(f"the audit log is incomplete: {frame.attrs['truncated']}", Truncated, stacklevel=3)
    return frame


class _Records:
    """The intents and results of a folder by the id of their change, its reads, and the unreadable lines and files."""

    def __init__(self) -> None:
        self.reads: list[dict[str, Any]] = []
        self.intents: dict[str, dict[str, Any]] = {}
        self.unreadable: list[str] = []
        self._results: dict[str, dict[str, Any]] = {}

    def read(self, folder: Path) -> None:
        for record in read_records(sorted(folder.glob("*.jsonl")), _FIELDS, self.unreadable):
            self._add(record)

    def valid_results(self) -> dict[str, dict[str, Any]]:
        """Return the results by the id of their change.

        A result with positions that its intent does not have is unreadable.
        """
        results = {}
        for change, result in self._results.items():
            if change in self.intents and not _fits(result, len(self.intents[change]["targets"])):
                self.unreadable.append(result["at"])
            else:
                results[change] = result
        return results

    def _add(self, record: dict[str, Any]) -> None:
        if record["kind"] == "read":
            self.reads.append(record)
            return
        into = self.intents if record["kind"] == "intent" else self._results
        into[record["change"]] = record


def _pairs_by_text(value: Any) -> dict[str, list[list[int]]]:
    """Return the spans of many targets: for each text a list of pairs of positions."""
    for pairs in value.values() if isinstance(value, dict) else (None,):
        if not isinstance(pairs, list):
            raise TypeError("not spans")
        if any(not isinstance(pair, list) or [type(place) for place in pair] != [int, int] for pair in pairs):
            raise TypeError("not pairs of positions")
    return dict(value)


def _texts_by_place(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("not a mapping")
    return {place: as_text(text) for place, text in value.items()}


_FIELDS: dict[str, FieldChecks] = {
    "intent": {
        "change": as_text, "time": as_time, "action": as_text, "targets": list_of(as_text),
        "pid": optional(as_number), "from_indexes": optional(list_of(optional(as_number))),
        **dict.fromkeys(("reason", "environment", "address", "request", "user", "host"), optional(as_text)),
    },
    "result": {
        "change": as_text, "time": as_time, "outcome": as_text, "error": optional(as_text),
        "status": optional(as_number), "outcomes": optional(_pairs_by_text), "errors": optional(_pairs_by_text),
        "new_ids": optional(_texts_by_place), "other_new_ids": optional(_texts_by_place),
    },
    "read": {
        "time": as_time, **dict.fromkeys(("tool", "arguments"), as_text),
        **dict.fromkeys(("rows", "bytes", "milliseconds", "pid"), optional(as_number)),
        **dict.fromkeys(("source", "error", "client", "user", "host"), optional(as_text)),
    },
}  # fmt: skip
"""The fields of each kind of record, and the check of each."""


def _fits(result: Mapping[str, Any], targets: int) -> bool:
    """Return whether the spans of a result name every target at most once, and nothing else."""
    for name in ("outcomes", "errors"):
        pairs = sorted(pair for pairs in (result[name] or {}).values() for pair in pairs)
        ends = [-1, *(last for _, last in pairs)]
        if any(not end < first <= last < targets for end, (first, last) in zip(ends, pairs, strict=False)):
            return False
    return True


def _changes(intents: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - writing the log must not load it

    rows = [_row(intent, results.get(change, {})) for change, intent in intents.items()]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=_COLUMNS).sort_values("time", ignore_index=True)
    for column in ("time", "ended"):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    frame["status"] = frame["status"].astype("Int64")
    return frame


def _reads(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - writing the log must not load it

    frame: pd.DataFrame = pd.DataFrame(records, columns=_READ_COLUMNS).sort_values("time", ignore_index=True)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return frame.astype(dict.fromkeys(("rows", "bytes", "milliseconds", "pid"), "Int64"))


def _row(intent: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    ended = {"ended": result.get("time"), **{key: result.get(key) for key in ("outcome", "error", "status")}}
    counts = {outcome: sum(b - a + 1 for a, b in spans) for outcome, spans in (result.get("outcomes") or {}).items()}
    return {
        **{key: intent.get(key) for key in _COLUMNS},
        **ended,
        "counts": ", ".join(f"{n:,} {outcome}" for outcome, n in counts.items()) or None,
    }


def _targets(intent: Mapping[str, Any], result: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - writing the log must not load it

    whole = {result["outcome"]: [[0, len(intent["targets"]) - 1]]} if result else {}
    outcomes = dict(_places(result.get("outcomes") or whole))
    errors = dict(_places(result.get("errors") or {}))
    new_ids, others = result.get("new_ids") or {}, result.get("other_new_ids") or {}
    indexes = dict(enumerate(intent.get("from_indexes") or ()))
    rows = [
        (
            id_,
            outcomes.get(n),
            errors.get(n, result.get("error")),
            new_ids.get(str(n)),
            others.get(str(n)),
            indexes.get(n),
        )
        for n, id_ in enumerate(intent["targets"])
    ]
    columns = ["id", "outcome", "error", "new_id", "other_new_ids", "from_index"]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=columns, dtype=object)
    return frame


def _places(spans: Mapping[str, Sequence[Sequence[int]]]) -> Iterator[tuple[int, str]]:
    for word, each in spans.items():
        for first, last in each:
            for place in range(first, last + 1):
                yield place, word
