"""The frames of an Arrow stream, checked before pyarrow reads them.

pyarrow unpacks compressed record batches by itself, whatever their size: 49 kB can become 1.6 GB. A Restate server
sends none, so they are refused as soon as their header has arrived. The layout is that of Arrow's IPC format: four
bytes 0xFF, the length of the header (int32), the header (a flatbuffer), and a body whose length the header has.
"""

from __future__ import annotations

import struct

__all__ = ["Frames", "Refused"]

LARGEST_MESSAGE = 2 << 30  # bytes
_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _BATCH = 2, 3  # kinds of messages that hold data
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of a Message, by their numbers in Arrow's schema
_DATA = 1  # of a DictionaryBatch: its RecordBatch
_COMPRESSION = 3  # of a RecordBatch


class Refused(ValueError):
    """The stream is not to be read further; the message says why."""


class Frames:
    """Follows a stream piece by piece, wherever it is cut."""

    def __init__(self) -> None:
        self._held = bytearray()  # of the frame's beginning, until it is complete
        self._needed = 8
        self._body_left = 0

    def check(self, data: bytes) -> None:
        """Take the next piece of the stream.

        Raises:
            Refused: a message is compressed, is too large, or has no readable header.
        """
        at = 0
        while at < len(data):
            if self._body_left:
                size = min(self._body_left, len(data) - at)
                self._body_left -= size
            else:
                size = min(self._needed - len(self._held), len(data) - at)
                self._held += data[at : at + size]
                if len(self._held) == self._needed:
                    self._advance()
            at += size

    def _advance(self) -> None:
        if self._needed == 8:
            mark, length = struct.unpack("<Ii", self._held)
            if mark != _CONTINUES or length < 0:
                raise Refused("a message does not begin as Arrow's messages do")
            self._needed += length
            if length:
                return
        else:
            self._body_left = _body_length(bytes(self._held[8:]))
        self._held.clear()
        self._needed = 8


def _body_length(header: bytes) -> int:
    """Return the length of a message's body in bytes, or raise Refused."""
    try:
        message = _reference(header, 0)
        kind = header[_field(header, message, _KIND)] if _field(header, message, _KIND) else 0
        if kind in {_DICTIONARY, _BATCH}:
            batch = _table(header, message, _HEADER)
            batch = _table(header, batch, _DATA) if kind == _DICTIONARY else batch
            if _field(header, batch, _COMPRESSION):
                raise Refused("its record batches are compressed, and a Restate server sends none that are")
        at = _field(header, message, _BODY_LENGTH)
        length: int = _unpacked("<q", header, at) if at else 0
    except (struct.error, IndexError) as error:
        raise Refused("the header of a message cannot be read") from error
    if not 0 <= length <= LARGEST_MESSAGE:
        raise Refused(f"a message of {length:,} bytes is larger than any that is read ({LARGEST_MESSAGE:,})")
    return length


def _field(buffer: bytes, table: int, number: int) -> int:
    """Return the position of a field of a flatbuffer's table, or 0 where the table does not have it."""
    fields = table - _unpacked("<i", buffer, table)
    slot = 4 + 2 * number
    if slot + 2 > _unpacked("<H", buffer, fields):
        return 0
    offset = _unpacked("<H", buffer, fields + slot)
    return table + offset if offset else 0


def _table(buffer: bytes, table: int, number: int) -> int:
    at = _field(buffer, table, number)
    if not at:
        raise Refused("the header of a message is incomplete")
    return _reference(buffer, at)


def _reference(buffer: bytes, at: int) -> int:
    return at + _unpacked("<I", buffer, at)


def _unpacked(form: str, buffer: bytes, at: int) -> int:
    if at < 0:  # struct would count from the end
        raise IndexError(at)
    value: int = struct.unpack_from(form, buffer, at)[0]
    return value
