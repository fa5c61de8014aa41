"""Bodies of responses: neither size nor compression nor slowness exhausts memory or time."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import zstandard

from restate_lab import errors
from restate_lab.audit import AuditLog, audit_log
from restate_lab.client._stream import ARROW, InvalidStream, send_query, split_messages
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from restate_lab.progress import NoProgress
from restate_lab.source import read_table
from support import bombs

TABLE = pa.table({"id": [f"inv_{n}" for n in range(5000)]})
END = b"\xff\xff\xff\xff\0\0\0\0"
CALLS = {"query": bombs.query, "read": bombs.read, "change": bombs.change}


class Slow(httpx.SyncByteStream):
    """A body that begins like an Arrow message, arrives slowly, and does not end."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"\xff\xff\xff\xff"
        while True:
            time.sleep(0.02)
            yield b"x"


def transport_to(tmp_path: Path, response: httpx.Response, timeout: float = 10) -> Transport:
    return Transport(
        Settings("test", bombs.ADDRESS, None, None, "", "the argument"),
        bombs.ADDRESS,
        read_only=False,
        timeout=timeout,
        audit=AuditLog(tmp_path),
        transport=httpx.MockTransport(lambda _: response),
    )


def rows_of(tmp_path: Path, body: bytes, encoding: str, max_bytes: int | None = None) -> pa.Table:
    response = bombs.answer(200, {"content-type": ARROW, "content-encoding": encoding}, body)
    with send_query(
        transport_to(tmp_path, response), "SELECT 1", timeout=10, max_bytes=max_bytes, progress=NoProgress()
    ) as rows:
        return read_table(rows.reader())


def test_small_and_endless_bodies_do_not_fill_the_memory() -> None:
    """Each is stopped with one of our errors, and the process grows by the limits at most, not by the body's size."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*Path(__file__).parents[2:4]]))}
    program = [sys.executable, str(bombs.__file__)]
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["outcomes"] == {
        "query: compressed batch": "ServerFailed",
        "query: compressed dictionary": "ServerFailed",
        "query: nulls": "ResultTooLarge",
        "query: zstd": "ResultTooLarge",
        "query: endless": "ResultTooLarge",
        "query: endless error": "RequestRefused",
        "read: zstd": "ServerFailed",
        "read: endless": "ServerFailed",
        "read: endless error": "ServerFailed",
        "read: zstd error": "NotFound",
        "change: zstd": "OutcomeUnknown",
        "change: endless": "OutcomeUnknown",
        "change: endless error": "Conflict",
    }
    assert said["grown"] < 200 << 20


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 400])
def test_the_time_limit_holds_while_a_body_is_read_from_any_network(tmp_path: Path, call: str, status: int) -> None:
    headers = {"content-type": ARROW} if call == "query" and status == 200 else bombs.JSON
    transport = transport_to(tmp_path, bombs.answer(status, headers, Slow()), timeout=0.3)
    kind = errors.OutcomeUnknown if call == "change" else errors.TimedOut
    with pytest.raises(kind):
        if call == "query":
            with send_query(transport, "SELECT 1", timeout=0.3, max_bytes=None, progress=NoProgress()) as rows:
                read_table(rows.reader())
        else:
            CALLS[call](transport)


def test_zstd_is_decompressed_wherever_it_is_cut_into_frames(tmp_path: Path) -> None:
    body = bombs.stream_of(TABLE)
    pack = zstandard.ZstdCompressor().compress
    for packed in (pack(body), b"".join(pack(body[at : at + 1000]) for at in range(0, len(body), 1000))):
        assert rows_of(tmp_path, packed, "zstd").equals(TABLE)
        for cut in (0, 1, len(packed) // 2, len(packed) - 1):
            with pytest.raises((errors.QueryInterrupted, errors.ServerFailed)):
                rows_of(tmp_path, packed[:cut], "zstd")


def test_the_byte_limit_counts_decompressed_bytes(tmp_path: Path) -> None:
    body = bombs.stream_of(TABLE)
    packed = zstandard.ZstdCompressor().compress(body)
    assert len(packed) < len(body) // 2
    assert rows_of(tmp_path, packed, "zstd", max_bytes=len(body)).equals(TABLE)
    with pytest.raises(errors.ResultTooLarge):
        rows_of(tmp_path, packed, "zstd", max_bytes=len(body) // 2)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd, gzip", "gzip, zstd", "x-unknown"])
def test_an_encoding_that_was_not_requested_is_refused(tmp_path: Path, encoding: str) -> None:
    """A successful response is not unpacked; for an error the status counts, and the message names the problem."""
    packed = gzip.compress(b'{"message": "no"}')
    headers = {"content-type": "application/json", "content-encoding": encoding}
    with pytest.raises(errors.ServerFailed, match="content-encoding"):
        bombs.read(transport_to(tmp_path, bombs.answer(200, headers, packed)))
    with pytest.raises(errors.NotFound, match="content-encoding"):
        bombs.read(transport_to(tmp_path, bombs.answer(404, headers, packed)))
    with pytest.raises(errors.OutcomeUnknown, match="content-encoding"):
        bombs.change(transport_to(tmp_path, bombs.answer(200, headers, packed)))
    assert audit_log(tmp_path)["outcome"].tolist() == ["unknown"]
    with pytest.raises(errors.ServerFailed, match="content-encoding"):
        rows_of(tmp_path, gzip.compress(bombs.stream_of(TABLE)), encoding)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 64, 1 << 20])
def test_a_stream_is_split_into_messages_wherever_it_is_cut(size: int) -> None:
    good = bombs.stream_of(TABLE)
    messages = list(split_messages(blocks(good, size)))
    assert b"".join(each for _, each in messages) == good[: -len(END)]
    with pytest.raises(InvalidStream, match="compressed"):
        list(split_messages(blocks(bombs.stream_of(TABLE, compression="lz4"), size)))


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_stream_without_its_last_byte_or_with_bytes_after_its_end_is_refused(size: int) -> None:
    body = bombs.stream_of(TABLE)
    with pytest.raises(EOFError, match="incomplete"):
        list(split_messages(blocks(body[:-1], size)))
    with pytest.raises(InvalidStream, match="follows"):
        list(split_messages(blocks(body + b"x", size)))


@pytest.mark.parametrize("kind", [0, 1, 4])
def test_a_message_of_another_kind_is_refused(tmp_path: Path, kind: int) -> None:
    """A batch that became no message, a second schema or a tensor is never skipped without an error."""
    body = bombs.stream_of(TABLE)
    start = len(bombs.stream_of(TABLE.slice(0, 0))) - len(END)  # of the batch, after the schema
    places = [at for at in range(start + len(END), start + 64) if body[at] == 3]
    outcomes = []
    for at in places:
        try:
            outcomes.append(rows_of(tmp_path, body[:at] + bytes([kind]) + body[at + 1 :], "identity").equals(TABLE))
        except errors.RestateLabError as error:
            outcomes.append(type(error).__name__)
    assert "ServerFailed" in outcomes
    assert set(outcomes) <= {"ServerFailed", "QueryInterrupted", True}


def blocks(body: bytes, size: int) -> Iterator[bytes]:
    yield from (body[at : at + size] for at in range(0, len(body), size))
