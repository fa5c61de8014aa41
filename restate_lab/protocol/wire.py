"""Protobuf, written by hand: the fields of a message, encoded and decoded.

The messages of the service protocol have numbers, bytes, texts and messages only.
"""

from __future__ import annotations

from collections.abc import Iterator

_ID_AND_VALUE = (1 << 3, 5 << 3 | 2, 1 << 3 | 2)  # the tags of a number, of a message, and of the bytes in it
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def number_field(number: int, value: int, *, keep_zero: bool = False) -> bytes:
    """Return a whole number as a field of a protobuf message; b"" for 0, the default, without ``keep_zero``."""
    return _varint(number << 3 | _VARINT) + _varint(value) if value or keep_zero else b""


def bytes_field(number: int, value: bytes | str | None, *, keep_empty: bool = False) -> bytes:
    """Return bytes, a text or a message as a field; b"" for None, and for an empty value without ``keep_empty``."""
    content = value.encode() if isinstance(value, str) else value
    if content is None or not (content or keep_empty):
        return b""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def text_of(body: bytes, number: int) -> str:
    """Return the text in a field of a message; "" if it has none."""
    try:
        return next((as_text(value) for field, value in fields_of(body) if field == number), "")
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
        return [value for field, value in fields_of(body) if field == number]
    except ValueError:
        return []


def fields_of(body: bytes) -> Iterator[tuple[int, int | bytes]]:
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


def as_text(value: int | bytes | None) -> str:
    """Return the text of a field; "" if it is missing or a number. Bytes that are not UTF-8 are replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
