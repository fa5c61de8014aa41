"""Every change, written down: what was meant before it is sent, what came of it after.

One file per process, in JSON lines, append-only, readable by its owner alone. If the intent cannot be written, the
change is not sent. Bodies are not recorded: they may hold payloads and secrets.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
import uuid
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from restate_lab.errors import AuditFailed, AuditIncomplete, Truncated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AuditLog", "audit_log", "default_folder"]

_COLUMNS = [
    "time", "action", "targets", "outcome", "reason", "error", "environment", "address", "request", "status",
    "ended", "user", "host", "pid", "change", "file",
]  # fmt: skip


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


def audit_log(folder: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Return one row per change that this user's processes meant to make, oldest first.

    Columns: ``time`` and ``ended`` (UTC), ``action``, ``targets`` (a list), ``outcome`` ("done", "refused", "not sent",
    "unknown"; None where the process ended before it knew), ``reason``, ``error``, ``environment``, ``address``,
    ``request``, ``status`` (HTTP), ``user``, ``host``, ``pid``, ``change`` (the id that joins intent and result) and
    ``file``. ``folder`` None means ``default_folder()``. Lines that cannot be read (a process died while writing) are
    left out, counted in ``attrs["truncated"]`` and said in a Truncated warning.
    """
    import pandas as pd  # noqa: PLC0415 - writing the log must not load it

    intents: dict[str, dict[str, Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    torn = []
    for file in sorted(Path(folder or default_folder()).glob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            try:
                record = json.loads(line)
                (intents if record["kind"] == "intent" else results)[record["change"]] = {**record, "file": file.name}
            except (ValueError, KeyError, TypeError):
                torn.append(f"{file.name}:{number}")
    rows = [_row(intent, results.get(change, {})) for change, intent in intents.items()]
    frame = pd.DataFrame(rows, columns=_COLUMNS).sort_values("time", ignore_index=True)
    for column in ("time", "ended"):
        frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    frame["status"] = frame["status"].astype("Int64")
    if torn:
        frame.attrs["truncated"] = f"unreadable lines left out: {', '.join(torn)}"
        warnings.warn(f"the audit log has {frame.attrs['truncated']}", Truncated, stacklevel=2)
    return frame


def _row(intent: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    ended = {"ended": result.get("time"), **{key: result.get(key) for key in ("outcome", "error", "status")}}
    return {**{key: intent.get(key) for key in _COLUMNS}, **ended}
