"""A recorded journal, its file, and its commands.

The file is JSON with one line for each entry, so that a person can review it. It names no code. Its entries are the
messages of the service protocol, with their fields by name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from restate_lab.protocol.commands import COMMAND, RecordedCommand, command_of
from restate_lab.protocol.entries import Entry, message_of
from restate_lab.protocol.messages import PROTOCOLS, Message, Start
from restate_lab.testing.errors import UnusableRecord

FORMAT = 1
_ID_SIZE = 24  # bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """The error in production; None or "" for unknown values.

    ``type`` is a name such as "KeyError" ("TerminalError" for a failure that ended the invocation), ``message`` the
    text of the server, ``code`` 500 or the code of the error. ``entry`` is the index of the last entry before it.
    ``in_step``: the step of that entry failed. ``file, line, function`` are the place in the user's code.
    """

    type: str = ""
    message: str = ""
    code: int | None = None
    entry: int | None = None
    in_step: bool = False
    file: str | None = None
    line: int | None = None
    function: str | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """One invocation with its recorded journal: what a record file contains.

    ``id_bytes`` has 24 bytes. ``protocol`` is 5 to 7. ``created_at`` is an ISO text in UTC. ``masked`` has the paths or
    names whose values were replaced.
    """

    service: str
    handler: str
    id: str
    id_bytes: bytes
    protocol: int
    seed: int
    entries: tuple[Entry, ...]
    key: str = ""
    scope: str | None = None
    limit_key: str | None = None
    idempotency_key: str | None = None
    created_at: str = ""
    sdk: str = ""
    status: str = ""
    error: Failure | None = None
    masked: tuple[str, ...] = ()
    messages: tuple[Message, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "messages", tuple(message_of(each) for each in self.entries))
        except ValueError as error:
            raise UnusableRecord(f"the journal of {self.id} has an entry of an unknown form: {error}") from error

    @property
    def commands(self) -> tuple[RecordedCommand, ...]:
        """Return the commands in order, also the Output; the Input is the first."""
        pairs = zip(self.entries, self.messages, strict=True)
        return tuple(
            command_of(index, entry["type"], message)
            for index, (entry, message) in enumerate(pairs)
            if entry["type"].startswith(COMMAND)
        )

    def start(self) -> Start:
        """Return the identity of the invocation, as it is sent before the entries."""
        return Start(
            self.id_bytes,
            self.id,
            self.protocol,
            key=self.key,
            seed=self.seed,
            scope=self.scope,
            limit_key=self.limit_key,
            idempotency_key=self.idempotency_key,
        )

    def to_json(self) -> str:
        """Return the text of a record file. The headers of the input are not in it, because they can be secrets."""
        head = {
            "format": FORMAT,
            "service": self.service,
            "handler": self.handler,
            "key": self.key,
            "id": self.id,
            "id_bytes": base64.b64encode(self.id_bytes).decode(),
            "protocol": self.protocol,
            "seed": str(self.seed),
            "scope": self.scope,
            "limit_key": self.limit_key,
            "idempotency_key": self.idempotency_key,
            "created_at": self.created_at,
            "sdk": self.sdk,
            "status": self.status,
            "error": None if self.error is None else asdict(self.error),
            "masked": list(self.masked),
        }
        lines = [f"{_json(name)}: {_json(value)}," for name, value in head.items()]
        entries = ",\n".join(_json(_without_headers(each)) for each in self.entries)
        return "\n".join(["{", *lines, '"entries": [', entries, "]", "}", ""])


def journal_of(text: str, *, name: str) -> Journal:
    """Return the journal in the text of a record file; ``name`` is for messages.

    Raises:
        UnusableRecord: the text is not a record of a known format, or a member is missing or has another type.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableRecord(f"{name} is not a record: it is not JSON ({error}).") from error
    if not isinstance(content, dict) or "format" not in content:
        raise UnusableRecord(f"{name} is not a record: it has no format.")
    if content["format"] != FORMAT:
        raise UnusableRecord(
            f"{name} has the format {content['format']!r}; this version reads format {FORMAT}. Update restate-lab."
        )
    try:
        return _journal(content)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UnusableRecord(f"{name} is not a complete record: {what}.") from error


def read_journal(path: Path) -> Journal:
    """Return the journal of a record file.

    Raises:
        UnusableRecord: there is no such file, or it is not a record.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableRecord(f"{path} cannot be read as a record: {error}") from error
    return journal_of(text, name=str(path))


def _journal(content: Mapping[str, Any]) -> Journal:
    id_bytes = base64.b64decode(content["id_bytes"], validate=True)
    if len(id_bytes) != _ID_SIZE:
        raise ValueError(f"id_bytes has {len(id_bytes)} bytes instead of {_ID_SIZE}")
    if content["protocol"] not in PROTOCOLS:
        raise ValueError(f"protocol is {content['protocol']!r}; it is {PROTOCOLS.start} to {PROTOCOLS.stop - 1}")
    texts = {name: _text(content, name) for name in ("service", "handler", "id")}
    error = content.get("error")
    more: dict[str, Any] = {name: content.get(name) or "" for name in ("key", "created_at", "sdk", "status")}
    more |= {name: content.get(name) for name in ("scope", "limit_key", "idempotency_key")}
    return Journal(
        **texts,
        id_bytes=id_bytes,
        protocol=content["protocol"],
        seed=int(content["seed"]),
        entries=tuple(dict(each) for each in content["entries"]),
        error=None if error is None else Failure(**error),
        masked=tuple(content.get("masked", ())),
        **more,
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a text")
    return value


def _without_headers(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name != "headers" or entry["type"] != "Command: Input"}


def _json(value: Any) -> str:
    """Return a value as JSON in which each character can be seen: one that is not printable is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
