"""Reads small or endless responses that would fill the memory, in its own process: ``python bombs.py``.

Prints the outcome of each, and the growth of the process at its peak in bytes.
"""

from __future__ import annotations

import io
import itertools
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import zstandard

from restate_lab.audit import AuditLog
from restate_lab.client._stream import ARROW, send_query
from restate_lab.client.responses import SUCCESS
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from restate_lab.errors import RestateLabError
from restate_lab.progress import NoProgress
from restate_lab.source import read_table

ADDRESS = "http://restate.example:9070"  # not on loopback, so that zstd is requested
MEBIBYTE = bytes(1 << 20)
JSON = {"content-type": "application/json"}
KILLED = SUCCESS["kill_invocation"]


class Endless(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        for _ in range(1 << 10):  # effectively endless on a machine with at most this much memory to spare
            yield bytes(1 << 20)


def gigabyte_in_gzip() -> bytes:
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return b"".join([*map(packer.compress, itertools.repeat(MEBIBYTE, 1 << 10)), packer.flush()])


def stream_of(table: pa.Table, **options: str) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def compressed_batch() -> bytes:
    return stream_of(pa.table({"x": pa.array(np.zeros(100 << 20, np.int8))}), compression="zstd")


def compressed_dictionary() -> bytes:
    words = pa.array(["\0" * (100 << 20)], pa.large_string())
    return stream_of(pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0]), words)}), compression="zstd")


def nulls() -> bytes:
    return stream_of(pa.table({"x": pa.nulls(1 << 28)}))


def answer(status: int, headers: dict[str, str], body: bytes | httpx.SyncByteStream) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body) if isinstance(body, bytes) else body)


def query(transport: Transport) -> object:
    with send_query(transport, "SELECT 1", timeout=60, max_bytes=1_000_000, progress=NoProgress()) as rows:
        return read_table(rows.reader()).num_rows


def read(transport: Transport) -> object:
    return len(transport.read("GET", "/deployments", retry_for=0).content)


def change(transport: Transport) -> object:
    return len(transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED).content)


def cases() -> dict[str, tuple[Callable[[Transport], object], Callable[[], httpx.Response]]]:
    """Return the call and the response of each case, by name."""
    packed = gigabyte_in_gzip()
    arrow, zstd = {"content-type": ARROW}, {"content-encoding": "zstd"}
    return {
        "query: compressed batch": (query, lambda: answer(200, arrow, compressed_batch())),
        "query: compressed dictionary": (query, lambda: answer(200, arrow, compressed_dictionary())),
        "query: nulls": (query, lambda: answer(200, arrow, nulls())),
        "query: zstd": (query, lambda: answer(200, arrow | zstd, packed)),
        "query: endless": (query, lambda: answer(200, arrow, Endless())),
        "query: endless error": (query, lambda: answer(400, JSON, Endless())),
        "read: zstd": (read, lambda: answer(200, JSON | zstd, packed)),
        "read: endless": (read, lambda: answer(200, JSON, Endless())),
        "read: endless error": (read, lambda: answer(500, JSON, Endless())),
        "read: zstd error": (read, lambda: answer(404, JSON | zstd, packed)),
        "change: zstd": (change, lambda: answer(200, JSON | zstd, packed)),
        "change: endless": (change, lambda: answer(200, JSON, Endless())),
        "change: endless error": (change, lambda: answer(409, JSON, Endless())),
    }


def outcome(ask_it: Callable[[Transport], object], response: Callable[[], httpx.Response], folder: Path) -> str:
    transport = Transport(
        Settings("test", ADDRESS, None, None, "", "the argument"),
        ADDRESS,
        read_only=False,
        timeout=60,
        audit=AuditLog(folder),
        transport=httpx.MockTransport(lambda _: response()),
    )
    try:
        return f"returned {ask_it(transport)}"
    except RestateLabError as error:
        return type(error).__name__


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    # In this order: the first two take some memory to create, and that memory must not count for the readers.
    table = cases()
    made = [compressed_batch(), compressed_dictionary()]
    before = peak()
    with tempfile.TemporaryDirectory() as name:
        outcomes = {case: outcome(*how, Path(name)) for case, how in table.items()}
    print(json.dumps({"outcomes": outcomes, "grown": peak() - before}))  # noqa: T201
