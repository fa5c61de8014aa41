"""Messages of Restate's service protocol, versions 5 to 7: frames, Start, the stop command and the Error message.

A frame has 8 bytes (type, flags and length, big-endian) and a protobuf body. A replay writes three messages: Start, the
entries of a journal as they were recorded, and the stop command. It reads the messages that show how the code responds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from restate_lab.protocol.wire import as_text, bytes_field, fields_of, number_field

PROTOCOLS = range(5, 8)
"""The versions of the service protocol with these messages."""
SUSPENSION, ERROR, PROPOSE_RUN_COMPLETION, RUN_COMMAND = 0x0001, 0x0002, 0x0005, 0x0411
_START, _COMMAND, _NOTIFICATION = 0x0000, 0x0400, 0x8000
_NAMES = (
    *("Input", "Output", "GetLazyState", "SetState", "ClearState", "ClearAllState", "GetLazyStateKeys"),
    *("GetEagerState", "GetEagerStateKeys", "GetPromise", "PeekPromise", "CompletePromise", "Sleep", "Call"),
    *("OneWayCall", "", "SendSignal", "Run", "AttachInvocation", "GetInvocationOutput", "CompleteAwakeable"),
)
MESSAGE_TYPES = MappingProxyType(
    {
        **{f"Command: {name}": _COMMAND + number for number, name in enumerate(_NAMES) if name},
        **{f"Notification: {name}": _NOTIFICATION + number for number, name in enumerate(_NAMES) if name},
        "Notification: CallInvocationId": 0x800E,
        "Notification: Signal": 0xFBFF,
    }
)
"""The type of the message for each ``entry_type`` of ``sys_journal``."""
_COMMAND_NAMES = {_COMMAND + number: name for number, name in enumerate(_NAMES) if name}
_HEADER = struct.Struct(">HHI")
_TYPE_SIZE = 2  # bytes

Message: TypeAlias = tuple[int, bytes]
"""The type of a message and its body."""


@dataclass(frozen=True, slots=True)
class Start:
    """The content of a Start message: the identity of an invocation. State is not sent: a journal has all of it.

    ``id`` has 24 bytes, ``debug_id`` is the id as text. ``scope, limit_key, idempotency_key`` belong to version 7.
    """

    id: bytes
    debug_id: str
    version: int
    key: str = ""
    seed: int = 0
    scope: str | None = None
    limit_key: str | None = None
    idempotency_key: str | None = None

    def body(self, known_entries: int) -> bytes:
        """Return the message for a request with so many entries."""
        fields = [
            bytes_field(1, self.id),
            bytes_field(2, self.debug_id),
            number_field(3, known_entries),
            number_field(5, 1),  # the state is partial: code that reads another key asks for it
            bytes_field(6, self.key),
        ]
        if self.version >= 6:
            fields.append(number_field(9, self.seed))
        if self.version >= 7:
            fields += [bytes_field(10, self.scope), bytes_field(11, self.limit_key)]
            fields.append(bytes_field(12, self.idempotency_key))
        return b"".join(fields)


def request_body(start: Start, entries: Sequence[Message]) -> bytes:
    """Return the body of a request that replays entries and runs no step: it always ends with the stop command."""
    return body_without_stop(start, _with_stop_command(entries))


def body_without_stop(start: Start, entries: Sequence[Message]) -> bytes:
    """Return the body of a request after whose entries the code goes on, so it runs the next step."""
    return b"".join(_frame(*message) for message in ((_START, start.body(len(entries))), *entries))


def _with_stop_command(entries: Sequence[Message]) -> Sequence[Message]:
    """Return the entries with one more command, which no code can issue.

    An SDK compares each command of the code with the next recorded one, and runs a step only after the last of them.
    This command is always the last, so the first command of the code after the recorded ones ends the attempt as a
    mismatch.
    """
    no_awakeable = "restate-lab-replay-stop"
    body = bytes_field(1, no_awakeable) + bytes_field(2, b"", keep_empty=True) + bytes_field(12, no_awakeable)
    return (*entries, (MESSAGE_TYPES["Command: CompleteAwakeable"], body))


def _frame(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(kind, 0, len(body)) + body


def command_name(kind: int) -> str:
    """Return the name of a type of message that is a command ("SetState"); "" if it is not a command.

    All types from 0x0400 to 0x04FF are commands, also those of later versions of the protocol.
    """
    return _COMMAND_NAMES.get(kind, f"command {kind:#06x}") if kind >> 8 == _COMMAND >> 8 else ""


@dataclass(slots=True)
class FrameReader:
    """Splits the body of a response into messages; ``is_complete`` is False while a message is incomplete."""

    _data: bytearray = field(default_factory=bytearray)

    def feed(self, block: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with this block."""
        self._data += block
        while len(self._data) >= _HEADER.size:
            kind, _, length = _HEADER.unpack_from(self._data)
            end = _HEADER.size + length
            if len(self._data) < end:
                return
            body = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            yield kind, body

    @property
    def is_complete(self) -> bool:
        """Return whether the last message has arrived completely."""
        return not self._data

    @property
    def incomplete_type(self) -> int | None:
        """Return the type of the incomplete message, which its first two bytes have; None without them."""
        return int.from_bytes(self._data[:_TYPE_SIZE]) if len(self._data) >= _TYPE_SIZE else None


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """An Error message; ``command_index``, ``name`` and ``command`` (a type such as "Run") are those of the code.

    ``command_index`` counts commands only, the Input is 0. None if the message does not have it.
    """

    code: int
    message: str
    command_index: int | None = None
    name: str = ""
    command: str = ""


def error_of(body: bytes) -> ErrorMessage | None:
    """Return an Error message; None if the body is not one."""
    try:
        values = dict(fields_of(body))
    except ValueError:
        return None
    code, index, kind = values.get(1), values.get(4), values.get(6, 0)
    if not isinstance(code, int) or not isinstance(index, int | None) or not isinstance(kind, int):
        return None
    return ErrorMessage(code, as_text(values.get(2)), index, as_text(values.get(5)), _COMMAND_NAMES.get(kind, ""))
