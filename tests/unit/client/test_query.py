"""Reading a response: a stream cut anywhere is an error, never a shorter table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from restate_lab.audit import AuditLog
from restate_lab.client._stream import ARROW, ArrowResponse, send_query
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from restate_lab.errors import QueryInterrupted, QueryRefused, ResultTooLarge, ServerFailed, TimedOut
from restate_lab.progress import NoProgress
from restate_lab.source import read_table
from support.raw_server import chunked_response, raw_server, respond_with

TABLE = pa.table({"id": [f"inv_{n}" for n in range(6)], "n": pa.array([1, None, 3, 4, 5, 2**64 - 1], pa.uint64())})


def stream_of(table: pa.Table, rows_per_batch: int = 2) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue()


@contextmanager
def asking(
    tmp_path: Path,
    address: str = "http://127.0.0.1:1",
    network: httpx.BaseTransport | None = None,
    timeout: float = 60,
    max_bytes: int | None = None,
) -> Iterator[ArrowResponse]:
    settings = Settings("test", address, None, None, "", "the argument")
    transport = Transport(settings, address, read_only=True, timeout=10, audit=AuditLog(tmp_path), transport=network)
    with closing(transport):
        with send_query(transport, "SELECT 1", timeout=timeout, max_bytes=max_bytes, progress=NoProgress()) as answer:
            yield answer


def answered(body: bytes, tmp_path: Path, kind: str = ARROW, max_bytes: int | None = None) -> pa.Table:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": kind}, stream=httpx.ByteStream(body))

    with asking(tmp_path, network=httpx.MockTransport(handle), max_bytes=max_bytes) as answer:
        return read_table(answer.reader())


def test_the_table_has_all_rows_that_the_server_sent(tmp_path: Path) -> None:
    assert answered(stream_of(TABLE), tmp_path).equals(TABLE)


def test_a_stream_that_is_cut_at_any_byte_is_an_error_with_the_complete_rows_so_far(tmp_path: Path) -> None:
    body = stream_of(TABLE)
    seen = set()
    for cut in range(len(body)):
        with pytest.raises(QueryInterrupted) as caught:
            answered(body[:cut], tmp_path)
        rows = caught.value.rows
        seen.add(rows)
        if caught.value.partial is not None:
            assert caught.value.partial.equals(TABLE.slice(0, rows))
    assert seen == {0, 2, 4, 6}


def test_a_value_with_the_bytes_of_the_end_marker_is_not_the_end(tmp_path: Path) -> None:
    """A stream cut after a value with the bytes of the end marker is an error, too."""
    table = pa.table({"n": pa.array([0x00000000FFFFFFFF] * 8, pa.uint64())})
    body = stream_of(table)[:-8]
    assert body.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")
    with pytest.raises(QueryInterrupted) as caught:
        answered(body, tmp_path)
    assert caught.value.rows == 8


def test_a_connection_that_breaks_anywhere_is_an_error_with_the_rows_so_far(tmp_path: Path) -> None:
    body = stream_of(TABLE)
    for cut in range(0, len(body), 37):
        talk = respond_with(chunked_response(body[:cut], end=False), then_close=True)
        with raw_server(talk) as server, pytest.raises(QueryInterrupted) as caught:
            with asking(tmp_path, server.address) as answer:
                read_table(answer.reader())
        assert caught.value.rows in {0, 2, 4, 6}


def test_the_end_marker_decides_even_when_the_last_chunk_is_missing(tmp_path: Path) -> None:
    """After Arrow's own end all rows are there, and a connection that breaks later loses nothing."""
    talk = respond_with(chunked_response(stream_of(TABLE), end=False), then_close=True)
    with raw_server(talk) as server, asking(tmp_path, server.address) as answer:
        assert read_table(answer.reader()).equals(TABLE)


@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/plain; charset=utf-8"])
def test_a_page_under_status_200_is_reported_and_not_parsed(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ServerFailed, match=r"not Arrow"):
        answered(b"<html>", tmp_path, kind)


def test_bytes_that_are_no_arrow_stream_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="not a valid Arrow stream"):
        answered(b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"garbage " * 100, tmp_path)


def test_reading_stops_with_advice_above_max_bytes(tmp_path: Path) -> None:
    large = pa.table({"x": pa.array(range(200_000))})
    with pytest.raises(ResultTooLarge, match="to_parquet") as caught:
        answered(stream_of(large, 1000), tmp_path, max_bytes=300_000)
    assert caught.value.size > 300_000
    assert caught.value.rows < 200_000


def test_a_trickling_answer_is_stopped_by_its_deadline(tmp_path: Path) -> None:
    """The time limit applies to the whole response, and the error states how much arrived."""
    body = stream_of(TABLE)

    def trickle(connection: object, number: int) -> bool:
        connection.sendall(chunked_response(body[:-8], end=False))  # type: ignore[attr-defined]
        connection.recv(1)  # type: ignore[attr-defined]  # until the reader hangs up
        return False

    with raw_server(trickle) as server, pytest.raises(TimedOut, match="6 rows read"):
        with asking(tmp_path, server.address, timeout=1) as answer:
            read_table(answer.reader())


def test_a_refused_query_has_the_text_of_the_server_without_its_prefix(tmp_path: Path) -> None:
    for status in (400, 500):
        message = "Datafusion error: Error during planning: no"
        network = httpx.MockTransport(lambda _: httpx.Response(status, json={"message": message}))  # noqa: B023
        with pytest.raises(QueryRefused, match="refused the query: Error during planning: no"):
            with asking(tmp_path, network=network):
                pass


def test_columns_of_one_name_are_numbered_with_a_warning(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["id", "id", "id_2"])
    with pytest.warns(match="duplicate columns id were numbered"):
        assert answered(stream_of(twice), tmp_path).column_names == ["id", "id_3", "id_2"]


def test_small_batches_are_merged_in_order(tmp_path: Path) -> None:
    many = pa.table({"x": pa.array(range(1000))})
    table = answered(stream_of(many, 1), tmp_path)
    assert table.equals(many)
    assert table.column("x").num_chunks < 20
