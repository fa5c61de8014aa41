"""Files of JSON lines in the audit folder: each process appends to its own, which only its owner can read.

Each record has the version of its format, its kind and its time. The reader checks each field, and keeps the names of
the lines and files that it cannot read.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from restate_lab.errors import AuditFailed

FORMAT = 1
"""The version of a record. Records of earlier versions have none; a newer one is not read. Notes have their own."""
FieldChecks: TypeAlias = Mapping[str, Callable[[Any], Any]]
"""The fields of a kind of record, and the check of each."""


class RecordFile:
    """One file of a process, which each process creates at its first record."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._pid = 0
        self._path: Path | None = None

    @property
    def path(self) -> Path | None:
        """Return the file of this process; None before its first record."""
        return self._path if self._pid == os.getpid() else None

    def write(self, folder: Path, *records: Mapping[str, Any]) -> None:
        """Append records with their time to the file of this process in the folder."""
        head = {"format": FORMAT, "time": datetime.now(UTC).isoformat()}
        lines = "".join(json.dumps({**head, **each}, ensure_ascii=False, default=str) + "\n" for each in records)
        # One lock per process: a fork copies a lock that another thread holds, and the copy is never released.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            try:
                descriptor = os.open(self._open_path(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                length = os.fstat(descriptor).st_size
                try:
                    _write_all(descriptor, lines.encode("utf-8", "backslashreplace"))
                    os.fsync(descriptor)
                except OSError:  # a record that failed is not read later
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, length)
                    raise
                finally:
                    os.close(descriptor)
            except OSError as error:
                self._path = None  # the last line of the file may be incomplete; the next record starts a new file
                raise AuditFailed(
                    f"the audit record cannot be written in {folder}: {error}. "
                    f"Make the folder writable, or choose another one with connect(audit=…) or RESTATE_LAB_AUDIT."
                ) from error

    def _open_path(self, folder: Path) -> Path:
        if self._path is None or self._pid != os.getpid():  # a forked process writes its own file
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            self._pid = os.getpid()
            self._path = folder / f"{started}-{self._pid}-{uuid.uuid4().hex[:8]}.jsonl"
        return self._path


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def process_info() -> dict[str, Any]:
    """Return the user, the host and the id of this process."""
    import getpass  # noqa: PLC0415 - only changes are recorded

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user of a container can have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else ""
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid()}


def describe_process() -> str:
    """Return the user, the host and the id of this process as one text."""
    return "{user}@{host} {pid}".format(**process_info())


def read_records(
    files: Iterable[Path], kinds: Mapping[str, FieldChecks], unreadable: list[str], *, newest: int = FORMAT
) -> Iterator[dict[str, Any]]:
    """Yield the records of these kinds, with ``kind``, ``file`` and ``at``, the file and the number of its line.

    ``newest`` is the newest version of their format that the caller knows. ``unreadable`` gets the names of files, and
    the positions of lines, that cannot be read.
    """
    for file in files:
        name = escape_surrogates(file.name)
        try:  # only files are read: reading a pipe would never end
            lines = file.read_bytes().splitlines() if file.is_file() else None
        except OSError:
            lines = None
        if lines is None:
            unreadable.append(name)
        for number, line in enumerate(lines or (), 1):
            record, newer = _read_line(line, kinds, newest)
            if record is None or newer:
                unreadable.append(f"{name}:{number}{newer}")
            else:
                yield {**record, "file": name, "at": f"{name}:{number}"}


def state_of_files(*folders: Path) -> tuple[tuple[str, int, int], ...]:
    """Return the names, sizes and times of the record files in folders; it is the same while no record is added."""
    found = []
    for file in (file for folder in folders for file in sorted(folder.glob("*.jsonl"))):
        with contextlib.suppress(OSError):  # removed meanwhile, or not readable
            found.append((str(file), file.stat().st_size, file.stat().st_mtime_ns))
    return tuple(found)


def _read_line(line: bytes, kinds: Mapping[str, FieldChecks], newest: int) -> tuple[dict[str, Any] | None, str]:
    """Return the checked fields of a record, None for a line that is not a record, and why a newer one is not read."""
    newer = ""
    try:
        record = json.loads(line)
        if b"\\ud" in line.lower():
            record = escape_surrogates(record)
        newer = _newer_format(record, newest)
        kind = record["kind"]
        return {"kind": kind, **{name: check(record.get(name)) for name, check in kinds[kind].items()}}, newer
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # the last: very many brackets
        return None, newer


def _newer_format(record: Mapping[str, Any], newest: int) -> str:
    """Return why a record is not read if a newer version of restate_lab wrote it, else ""."""
    version = record.get("format", FORMAT)
    if version <= newest:
        return ""
    return f" (format {str(version)[:20]}; this restate_lab reads up to {newest}: update it)"


def as_text(value: Any) -> str:
    """Return a text, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"not a text: {type(value).__name__}")
    return value


def as_number(value: Any) -> int:
    """Return a whole number from 0 to 2**63 - 1, or raise TypeError."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise TypeError("not a whole number from 0 to 2**63 - 1")
    return value


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the check of a field that can be None."""
    return lambda value: None if value is None else check(value)


def list_of(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the check of a list whose items have this check."""

    def checked(values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise TypeError(f"not a list: {type(values).__name__}")
        return [check(each) for each in values]

    return checked


def as_time(value: Any) -> datetime:
    """Return the time of an ISO text with a zone in UTC, or raise ValueError."""
    timestamp = datetime.fromisoformat(as_text(value))
    if timestamp.tzinfo is None or not 1970 <= timestamp.year <= 2200:  # before pandas 3, timestamps end in 2262
        raise ValueError(f"not a time of a record: {value[:40]}")
    return timestamp.astimezone(UTC)


def escape_surrogates(value: Any) -> Any:
    """Return the value with lone surrogates written as codes: a frame cannot hold one."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [escape_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {escape_surrogates(name): escape_surrogates(each) for name, each in value.items()}
    return value
