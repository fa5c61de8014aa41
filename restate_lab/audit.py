"""Every change, written down: what was meant before it is sent, what came of it after.

One file per process, in JSON lines, append-only, readable by its owner alone. If the intent cannot be written, the
change is not sent. Bodies are not recorded: they may hold payloads and secrets.
"""

from __future__ import annotations

import getpass
import itertools
import json
import os
import socket
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from restate_lab.errors import ArgumentError, AuditFailed, AuditIncomplete, Truncated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AuditLog", "Fate", "audit_log", "default_folder", "many"]

_COLUMNS = [
    "time", "action", "targets", "outcome", "counts", "reason", "error", "environment", "address", "request", "status",
    "ended", "user", "host", "pid", "change", "file",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fate:
    """What came of one target of a change that has many: outcome, why, and the ids of what came into being.

    ``other_new_ids`` are those beside ``new_id``, in one text with commas, if there are more than one.
    """

    outcome: str
    error: str | None = None
    new_id: str | None = None
    other_new_ids: str | None = None


def many(fates: Sequence[Fate]) -> dict[str, Any]:
    """Return what a result record says of many targets, in their order: short, and exact for each of them.

    Targets are named by their places in the intent, as spans from first to last: ``{"done": [[0, 998]], …}``.
    """
    outcomes = _spans([fate.outcome for fate in fates])
    errors = _spans([fate.error for fate in fates])
    new_ids = {str(place): fate.new_id for place, fate in enumerate(fates) if fate.new_id}
    others = {str(place): fate.other_new_ids for place, fate in enumerate(fates) if fate.other_new_ids}
    return {
        "outcome": next(iter(outcomes)) if len(outcomes) == 1 else "mixed" if outcomes else "done",
        "outcomes": outcomes,
        **({"errors": errors} if errors else {}),
        **({"new_ids": new_ids} if new_ids else {}),
        **({"other_new_ids": others} if others else {}),
    }


def _spans(words: Sequence[str | None]) -> dict[str, list[list[int]]]:
    spans: dict[str, list[list[int]]] = {}
    place = 0
    for word, group in itertools.groupby(words):
        end = place + sum(1 for _ in group)
        if word is not None:
            spans.setdefault(word, []).append([place, end - 1])
        place = end
    return spans


def default_folder() -> Path:
    """Return the folder of the audit files: ``RESTATE_LAB_AUDIT``, or the user's state folder."""
    configured = os.environ.get("RESTATE_LAB_AUDIT")
    return Path(configured) if configured else platformdirs.user_state_path("restate_lab") / "audit"


class AuditLog:
    """The audit file of one process in a folder; made on the first change, safe to use from several threads."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self._lock = threading.Lock()
        self._pid = 0
        self._path: Path | None = None

    @property
    def path(self) -> Path | None:
        """Return this process's file, or None as long as nothing was changed."""
        return self._path if self._pid == os.getpid() else None

    def intent(self, action: str, targets: Sequence[str], **details: Any) -> str:
        """Write down a change before it is sent and return the id that its result will carry.

        Raises:
            AuditFailed: the record cannot be written; nothing may be sent then.
        """
        change = uuid.uuid4().hex
        record = {"kind": "intent", "change": change, "action": action, "targets": list(targets)}
        self._write({**record, **details, **_who()})
        return change

    def result(self, change: str, outcome: str, **details: Any) -> None:
        """Write down what came of a change: "done", "refused", "not sent" or "unknown".

        It has happened by now, so a record that cannot be written is a warning (AuditIncomplete), not an error.
        """
        try:
            self._write({"kind": "result", "change": change, "outcome": outcome, **details})
        except AuditFailed as error:
            warnings.warn(f"the change came out as {outcome}, but {error}", AuditIncomplete, stacklevel=3)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({"time": datetime.now(UTC).isoformat(), **record}, ensure_ascii=False, default=str) + "\n"
        with self._lock:
            try:
                descriptor = os.open(self._file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    _write_all(descriptor, line.encode("utf-8", "backslashreplace"))
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                self._path = None  # what was begun stays as a torn last line; the next record starts a new file
                raise AuditFailed(
                    f"the audit record cannot be written in {self.folder}: {error}. "
                    f"Make the folder writable, or give another one: connect(audit=…) or RESTATE_LAB_AUDIT."
                ) from error

    def _file(self) -> Path:
        if self._path is None or self._pid != os.getpid():  # a fork writes a file of its own
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            self._pid = os.getpid()
            self._path = self.folder / f"{started}-{self._pid}-{uuid.uuid4().hex[:8]}.jsonl"
        return self._path


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _who() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid()) if hasattr(os, "getuid") else ""
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid()}


def audit_log(folder: str | os.PathLike[str] | None = None, *, change: str | None = None) -> pd.DataFrame:
    """Return one row per change that this user's processes meant to make, oldest first.

    Columns: ``time`` and ``ended`` (UTC), ``action``, ``targets`` (a list), ``outcome`` ("done", "refused", "not sent",
    "unknown", a plan's own words, "mixed" where they differ, with ``counts`` of each; None where the process ended
    before it knew), ``reason``, ``error``, ``environment``, ``address``, ``request``, ``status`` (HTTP), ``user``,
    ``host``, ``pid``, ``change`` (the id that joins intent and result) and ``file``. With ``change``, one of these ids,
    there is one row per target of that change instead, in order: ``id, outcome, error, new_id, other_new_ids`` (the
    ids beside ``new_id`` where there are more than one, in one text with commas; None elsewhere).

    ``folder`` None means ``default_folder()``. Lines that cannot be read (a process died while writing) are left out,
    counted in ``attrs["truncated"]`` and said in a Truncated warning.

    Raises:
        ArgumentError: there is no such change in this folder.
    """
    intents, results, torn = _records(Path(folder or default_folder()))
    if change is None:
        frame = _changes(intents, results)
    elif change in intents:
        frame = _targets(intents[change], results.get(change, {}))
    else:
        raise ArgumentError(f"change {change!r} is not in the audit log; the column change of audit_log() has the ids.")
    if torn:
        frame.attrs["truncated"] = f"unreadable lines left out: {', '.join(torn)}"
        warnings.warn(f"the audit log has {frame.attrs['truncated']}", Truncated, stacklevel=2)
    return frame


def _records(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], list[str]]:
    """Return intents and results by change, and the lines that cannot be read."""
    intents: dict[str, dict[str, Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    torn = []
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            try:
                record = json.loads(line)
                if b"\\ud" in line.lower():
                    record = _without_surrogates(record)
                (intents if record["kind"] == "intent" else results)[record["change"]] = {**record, "file": file.name}
            except (ValueError, KeyError, TypeError):
                torn.append(f"{file.name}:{number}")
    return intents, results, torn


def _without_surrogates(value: Any) -> Any:
    """Return the value with halves of surrogate pairs as their codes: one in a reason would end every frame."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(each) for name, each in value.items()}
    return value


def _changes(intents: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - writing the log must not load it

    rows = [_row(intent, results.get(change, {})) for change, intent in intents.items()]
    frame = pd.DataFrame(rows, columns=_COLUMNS).sort_values("time", ignore_index=True)
    for column in ("time", "ended"):
        frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    frame["status"] = frame["status"].astype("Int64")
    return frame


def _row(intent: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    ended = {"ended": result.get("time"), **{key: result.get(key) for key in ("outcome", "error", "status")}}
    counts = {word: sum(b - a + 1 for a, b in spans) for word, spans in result.get("outcomes", {}).items()}
    return {
        **{key: intent.get(key) for key in _COLUMNS},
        **ended,
        "counts": ", ".join(f"{n:,} {word}" for word, n in counts.items()) or None,
    }


def _targets(intent: Mapping[str, Any], result: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - writing the log must not load it

    whole = {result["outcome"]: [[0, len(intent["targets"]) - 1]]} if "outcome" in result else {}
    outcomes = dict(_places(result.get("outcomes", whole)))
    errors = dict(_places(result.get("errors", {})))
    new_ids, others = result.get("new_ids", {}), result.get("other_new_ids", {})
    rows = [
        (id_, outcomes.get(n), errors.get(n, result.get("error")), new_ids.get(str(n)), others.get(str(n)))
        for n, id_ in enumerate(intent["targets"])
    ]
    return pd.DataFrame(rows, columns=["id", "outcome", "error", "new_id", "other_new_ids"], dtype=object)


def _places(spans: Mapping[str, Sequence[Sequence[int]]]) -> Iterator[tuple[int, str]]:
    for word, each in spans.items():
        for first, last in each:
            for place in range(first, last + 1):
                yield place, word
