"""Send a query and read the Arrow stream of its response; an incomplete response is always an error.

The server sends status 200 before it has read all rows. If it fails later, the body ends without Arrow's end marker.
pyarrow does not report that: it returns a shorter result. Therefore this module splits the stream into its messages,
and gives them to pyarrow in groups: it is faster than a file in Python that pyarrow reads four times per message.

pyarrow decompresses record batches of any size: 49 kB can become 1.6 GB. A Restate server sends no compressed batches,
so they are refused as soon as their header has arrived. The layout is Arrow's IPC format: four bytes 0xFF, the length
of the header (int32), the header (a flatbuffer), and a body whose length is in the header.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pyarrow as pa

from restate_lab._text import format_duration
from restate_lab.client.responses import mask_request_secrets
from restate_lab.client.transport import Transport
from restate_lab.durations import DurationInput
from restate_lab.errors import QueryInterrupted, ResultTooLarge, ServerFailed, TimedOut
from restate_lab.frames import number_duplicate_columns
from restate_lab.progress import Progress

LARGEST_MESSAGE = 2 << 30  # bytes
_CONTINUES = 0xFFFFFFFF
_END, _SCHEMA, _DICTIONARY, _BATCH = range(4)  # kinds of messages; 0 is the end marker
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3  # numbers of the fields of a Message in Arrow's schema
_DATA = 1  # of a DictionaryBatch: its RecordBatch
_COMPRESSION = 3  # of a RecordBatch
ARROW = "application/vnd.apache.arrow.stream"
_PREFIX = struct.Struct("<Ii")  # of a message: the mark, and the length of its header; 0 is the end marker
_OFFSET, _DISTANCE, _SLOT, _LENGTH = (struct.Struct(form).unpack_from for form in ("<I", "<i", "<H", "<q"))
_VALUE = 8  # bytes; pandas uses at least this much for a value
_MERGE = 64  # the server's batches have 128 rows; such small batches slow down every later pandas step


@contextmanager
def send_query(
    transport: Transport,
    statement: str,
    *,
    timeout: DurationInput | None,
    max_bytes: float | None,
    progress: Progress,
) -> Iterator[ArrowResponse]:
    """Send a bound statement and yield its ArrowResponse; leaving the block ends the query on the server.

    ``timeout`` is the limit of the whole response. ``max_bytes`` is in Arrow bytes; None means no limit.

    Raises:
        QueryRefused: the server rejected the statement.
        QueryInterrupted, TimedOut, ResultTooLarge: while the rows are read.
    """
    limit = transport.limit(timeout)
    limits = _QueryLimits(time.monotonic() + limit, limit, max_bytes, progress)
    try:
        with transport.stream(
            "POST",
            "/query",
            timeout=limit,
            tick=limits.show,
            is_query=True,
            headers={"accept": ARROW, "content-type": "application/json"},
            # httpx before 0.28 escapes characters beyond ASCII, so the body would exceed the size that bind() checked
            content=json.dumps({"query": statement}, ensure_ascii=False).encode(),
        ) as response:
            yield ArrowResponse(response, limits)
    finally:
        progress.close()


class ArrowResponse:
    """The rows of one query, read from its response as an Arrow stream while the server sends them."""

    def __init__(self, response: httpx.Response, limits: _QueryLimits) -> None:
        kind = response.headers.get("content-type", "nothing")
        if kind.split(";")[0].strip() != ARROW:
            raise ServerFailed(
                f"the response to the query is {mask_request_secrets(kind, response)}, not Arrow: this address is not "
                f"a Restate Admin API, or a proxy is in front of it.",
                status=response.status_code,
            )
        self._limits = limits
        self._messages = split_messages(self._receive_blocks(response))
        with self._translate_errors():
            self._head = bytes(next(self._messages, (_SCHEMA, b""))[1])  # the schema, and dictionaries
            self._names = number_duplicate_columns(pa.ipc.open_stream(self._head).schema)

    def reader(self) -> pa.RecordBatchReader:
        """Return a reader of the rows, whose columns have distinct names."""
        return pa.RecordBatchReader.from_batches(self._names, self.batches())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as they arrive, in batches of some thousands.

        If the response ends early, the rows that arrived are yielded first, and then the error is raised.
        """
        group: list[memoryview] = []
        with self._translate_errors():
            try:
                for kind, message in self._messages:
                    if kind == _SCHEMA:
                        raise InvalidStream("it has a second schema")
                    if kind == _BATCH:
                        group.append(message)
                    if kind != _BATCH or len(group) >= _MERGE:
                        yield from self._decode(group)
                        group = []
                    if kind == _DICTIONARY:
                        self._head += message
            except (EOFError, httpx.TransportError):
                yield from self._decode(group)
                raise
            yield from self._decode(group)

    def _receive_blocks(self, response: httpx.Response) -> Iterator[bytes]:
        for block in response.iter_raw():
            self._limits.add_bytes(len(block))
            yield block

    def _decode(self, messages: list[memoryview]) -> list[pa.RecordBatch]:
        """Return the rows of record batches as one batch, or none if they have no rows."""
        if not messages:
            return []
        table = pa.ipc.open_stream(b"".join([self._head, *messages])).read_all()
        self._limits.add_rows(table)
        if len(messages) > 1:
            # Arrow's default pool keeps about 12 MiB in reserve, half the size of a result of 100,000 rows.
            table = table.combine_chunks(memory_pool=pa.system_memory_pool())
        return [batch.rename_columns(self._names.names) for batch in table.to_batches() if batch.num_rows]

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        limits = self._limits
        try:
            yield
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"the query was stopped after {format_duration(limits.limit)}, with {limits.rows:,} rows read. "
                f"Allow more time with timeout=…, filter by id, or select fewer columns."
            ) from error
        except (EOFError, httpx.TransportError) as error:
            raise QueryInterrupted(
                f"the response to the query ended early, after {limits.rows:,} rows: {error}. The server failed or the "
                f"connection broke, or a later row cannot be computed (a cast, a division); the server's log has the "
                f"reason. Run the query again, or filter it.",
                rows=limits.rows,
            ) from error
        except (InvalidStream, httpx.DecodingError, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ServerFailed(f"the response is not a valid Arrow stream: {error}", status=200) from error


class _QueryLimits:
    """Counts rows and bytes, checks the limits, and shows progress.

    ``max_bytes`` limits both the bytes that arrive and the bytes that the record batches take in memory: several
    columns can share one buffer, and a column of nulls arrives without a buffer.
    """

    def __init__(self, deadline: float, limit: float, max_bytes: float | None, progress: Progress) -> None:
        self.rows = 0
        self.bytes = 0
        self._decoded = 0
        self.limit = limit
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._progress = progress

    def add_rows(self, table: pa.Table) -> None:
        """Count decoded rows and their bytes, before they are copied into one batch."""
        self.rows += len(table)
        self._decoded += sum(map(_size, table.columns))
        self._check_size(self._decoded)

    def add_bytes(self, size: int) -> None:
        self.bytes += size
        self.show()
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout("the time limit of this call has passed")
        self._check_size(self.bytes)

    def show(self) -> None:
        self._progress.update(self.rows, self.bytes)

    def _check_size(self, size: int) -> None:
        if self._max_bytes is not None and size > self._max_bytes:
            raise ResultTooLarge(
                f"the result exceeded {self._max_bytes / 1e6:,.0f} MB after {self.rows:,} rows, so it was stopped. "
                f"Select fewer columns or rows, write it with to_parquet(), read it in parts with stream(), "
                f"or allow more with max_bytes=….",
                rows=self.rows,
                size=size,
            )


def _size(column: pa.ChunkedArray[Any]) -> int:
    """Return the bytes that a decoded column takes, without the values of its dictionary.

    Only the sizes of buffers are read; the values are not validated.
    """
    if pa.types.is_dictionary(column.type):
        # the dictionary is sent once, for all batches
        chunks = [chunk.indices for chunk in column.chunks if isinstance(chunk, pa.DictionaryArray)]
        return sum(chunk.get_total_buffer_size() for chunk in chunks)
    size = int(column.get_total_buffer_size())
    is_implied = pa.types.is_null(column.type) or pa.types.is_run_end_encoded(column.type)
    return max(size, _VALUE * len(column)) if is_implied else size


class InvalidStream(ValueError):
    """The stream must not be read further; the message has the reason."""


def split_messages(blocks: Iterator[bytes]) -> Iterator[tuple[int, memoryview]]:
    """Yield the kind and the bytes of each message of an Arrow stream, which arrives in blocks of any size.

    If the connection breaks after the end marker, all rows have arrived.

    Raises:
        InvalidStream: a message is compressed, is too large, or has no readable header, or data follows the end marker.
        EOFError: the stream ends without its end marker.
    """
    pieces: list[bytes | memoryview] = []
    size, needed = 0, _PREFIX.size
    for block in blocks:
        pieces.append(block)
        size += len(block)
        if size < needed:
            continue
        data, at = memoryview(b"".join(pieces)), 0
        while True:
            kind, needed = _measure(data, at)
            end = at + needed
            if end > len(data):
                break
            if kind == _END:
                _check_nothing_follows(data[end:], blocks)
                return
            yield kind, data[at:end]
            at = end
        pieces, size = [data[at:]], len(data) - at
    raise EOFError("the last rows are incomplete" if size else "the server stopped sending before the end")


def _check_nothing_follows(rest: memoryview, blocks: Iterator[bytes]) -> None:
    with suppress(httpx.TransportError):
        if rest or any(blocks):  # to the end of the response, so that its connection can be used again
            raise InvalidStream("data follows its end marker")


def _measure(data: memoryview, at: int) -> tuple[int, int]:
    """Return the kind of a message and its size in bytes, or the size of its beginning if more is not known yet."""
    if len(data) - at < _PREFIX.size:
        return _SCHEMA, _PREFIX.size
    mark, length = _PREFIX.unpack_from(data, at)
    if mark != _CONTINUES or length < 0:
        raise InvalidStream("a message does not begin like an Arrow message")
    if not length:
        return _END, _PREFIX.size
    start = at + _PREFIX.size
    header = bytes(data[start : start + length])
    if len(header) < length:
        return _SCHEMA, _PREFIX.size + length
    kind, body = _read_header(header)
    return kind, _PREFIX.size + length + body


def _read_header(header: bytes) -> tuple[int, int]:
    """Return the kind of a message and the length of its body in bytes, or raise InvalidStream."""
    try:
        message = _OFFSET(header, 0)[0]
        kind_at, header_at, length_at = _fields(header, message, _KIND, _HEADER, _BODY_LENGTH)
        kind = header[kind_at] if kind_at else 0
        if not _END < kind <= _BATCH:
            raise InvalidStream(f"a message has the unknown kind {kind}")
        if kind != _SCHEMA:
            batch = _table(header, header_at)
            if kind == _DICTIONARY:
                batch = _table(header, *_fields(header, batch, _DATA))
            if _fields(header, batch, _COMPRESSION)[0]:
                raise InvalidStream("its record batches are compressed, but a Restate server does not compress them")
        length: int = _LENGTH(header, length_at)[0] if length_at else 0
    except (struct.error, IndexError) as error:
        raise InvalidStream("the header of a message cannot be read") from error
    if not 0 <= length <= LARGEST_MESSAGE:
        raise InvalidStream(f"a message of {length:,} bytes exceeds the limit of {LARGEST_MESSAGE:,} bytes")
    return kind, length


def _fields(buffer: bytes, table: int, *numbers: int) -> list[int]:
    """Return the positions of fields of a flatbuffer's table, 0 for each that the table does not have."""
    fields = table - _DISTANCE(buffer, table)[0]
    if fields < 0:  # struct would count from the end
        raise IndexError(fields)
    size = _SLOT(buffer, fields)[0]
    slots = [4 + 2 * number for number in numbers]
    offsets = [_SLOT(buffer, fields + slot)[0] if slot + 2 <= size else 0 for slot in slots]
    return [table + offset if offset else 0 for offset in offsets]


def _table(buffer: bytes, at: int) -> int:
    if not at:
        raise InvalidStream("the header of a message is incomplete")
    return int(at + _OFFSET(buffer, at)[0])
