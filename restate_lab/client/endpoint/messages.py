"""Messages of Restate's service protocol, versions 5 to 7: frames and protobuf, written by hand.

A frame has 8 bytes (type, flags and length, big-endian) and a protobuf body. A replay writes three messages: Start, the
entries of a journal as they were recorded, and the stop command. It reads the messages that show how the code responds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

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
_ID_AND_VALUE = (1 << 3, 5 << 3 | 2, 1 << 3 | 2)  # the tags of a number, of a message, and of the bytes in it
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Message: TypeAlias = tuple[int, bytes]
"""The type of a message and its body."""


def number_field(number: int, value: int) -> bytes:
    """Return a whole number as a field of a protobuf message; b"" for 0, which is the default."""
    return _varint(number << 3 | _VARINT) + _varint(value) if value else b""


def bytes_field(number: int, value: bytes | str | None, *, keep_empty: bool = False) -> bytes:
    """Return bytes, a text or a message as a field; b"" for None, and for an empty value without ``keep_empty``."""
    content = value.encode() if isinstance(value, str) else value
    if content is None or not (content or keep_empty):
        return b""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


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
    entries = _with_stop_command(entries)
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
        values = dict(_fields(body))
    except ValueError:
        return None
    code, index, kind = values.get(1), values.get(4), values.get(6, 0)
    if not isinstance(code, int) or not isinstance(index, int | None) or not isinstance(kind, int):
        return None
    return ErrorMessage(code, _text(values.get(2)), index, _text(values.get(5)), _COMMAND_NAMES.get(kind, ""))


def text_of(body: bytes, number: int) -> str:
    """Return the text in a field of a message; "" if it has none."""
    try:
        return next((_text(value) for field, value in _fields(body) if field == number), "")
    except ValueError:
        return ""


def bytes_of(body: bytes, number: int) -> bytes | None:
    """Return the bytes or the message in a field of a message; None if it has none."""
    return next((value for value in _values_of(body, number) if isinstance(value, bytes)), None)


def messages_of(body: bytes, number: int) -> list[bytes]:
    """Return the messages in a repeated field of a message, in order."""
    return [value for value in _values_of(body, number) if isinstance(value, bytes)]


def run_value(body: bytes) -> bytes | None:
    """Return the value in the notification of a step; None if the step failed or the message is malformed.

    The usual message has only a completion id and the value. Such a message is not parsed further, because
    an analysis reads tens of thousands of them.
    """
    try:
        _, at = _read_varint(body, 1)
        outer, start = _read_varint(body, at + 1)
        inner, begin = _read_varint(body, start + 1)
    except ValueError:
        pass  # it is too short to be the usual one
    else:
        if (body[0], body[at], body[start]) == _ID_AND_VALUE and start + outer == begin + inner == len(body):
            return body[begin:]
    value = bytes_of(body, 5)
    return None if value is None else bytes_of(value, 1)


def number_of(body: bytes, number: int) -> int | None:
    """Return the whole number in a field of a message; None if it has none."""
    return next((value for value in _values_of(body, number) if isinstance(value, int)), None)


def _values_of(body: bytes, number: int) -> list[int | bytes]:
    try:
        return [value for field, value in _fields(body) if field == number]
    except ValueError:
        return []


def _fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a protobuf message; ValueError if it is malformed."""
    at, end = 0, len(body)
    while at < end:
        tag, at = _read_varint(body, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _read_varint(body, at)
            yield number, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if size is None and wire == _BYTES:
            size, at = _read_varint(body, at)
        if size is None or at + size > end:
            raise ValueError("not a protobuf message")
        yield number, body[at : at + size]
        at += size


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    if at < len(body) and body[at] < 0x80:  # most numbers have one byte, and most sizes two
        return body[at], at + 1
    if at + 1 < len(body) and body[at + 1] < 0x80:
        return body[at] & 0x7F | body[at + 1] << 7, at + 2
    value = shift = 0
    while at < len(body) and shift < 70:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("not a varint")


def _text(value: int | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
