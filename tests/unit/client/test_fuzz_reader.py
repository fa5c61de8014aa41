"""Bytes that no server should send: the reader returns an error, and never a shorter table."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.audit import AuditLog
from restate_lab.client._stream import ARROW, ArrowResponse, _QueryLimits
from restate_lab.client.lab import Lab
from restate_lab.client.settings import Settings
from restate_lab.errors import QueryInterrupted, RestateLabError, ServerFailed, TimedOut
from restate_lab.progress import NoProgress
from restate_lab.source import read_table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


ROWS = 40


def columns() -> pa.Table:
    """Return columns of all types that servers send."""
    text = [f"inv_{n}" if n % 3 else None for n in range(ROWS)]
    views = {"v": pa.array([str(n) for n in range(ROWS)], pa.string_view())} if hasattr(pa, "string_view") else {}
    return pa.table({
        "id": pa.array(text, pa.large_string()),
        "n": pa.array([None if n % 5 == 0 else n for n in range(ROWS)], pa.uint64()),
        "at": pa.array([n * 1000 for n in range(ROWS)], pa.timestamp("ms", "+00:00")),
        "d": pa.array(range(ROWS), pa.duration("ms")),
        "b": pa.array([n % 2 == 0 for n in range(ROWS)]),
        "l": pa.array([[n, n + 1] for n in range(ROWS)], pa.list_(pa.uint32())),
        "x": pa.array([bytes([n]) for n in range(ROWS)], pa.large_binary()),
        **views,
    })  # fmt: skip


def stream_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=16)
    return sink.getvalue()


def read(body: bytes) -> pa.Table:
    response = httpx.Response(200, headers={"content-type": ARROW}, stream=httpx.ByteStream(body))
    return read_table(ArrowResponse(response, _QueryLimits(time.monotonic() + 60, 60, 1 << 28, NoProgress())).reader())


@given(st.binary(max_size=300))
def test_any_bytes_are_an_error(body: bytes) -> None:
    """Anything but an Arrow stream is ServerFailed, or QueryInterrupted if more was announced than arrived."""
    with pytest.raises((ServerFailed, QueryInterrupted)):
        read(body)


@given(st.integers(0, 4000), st.integers(0, 400))
def test_a_stream_with_a_missing_piece_is_an_error_and_not_a_shorter_table(place: int, size: int) -> None:
    whole = columns()
    body = stream_of(whole)
    holed = body[:place] + body[place + size :]
    try:
        table = read(holed)
    except RestateLabError:
        return
    assert table.num_rows == whole.num_rows


def lab_of(tmp_path: Path, answer: httpx.Response) -> Lab:
    made = Settings("test", "http://127.0.0.1:1", None, None, "", "the argument")
    return Lab(made, audit=AuditLog(tmp_path), timeout=0.05, network=httpx.MockTransport(lambda _: answer))


KINDS = st.sampled_from(["application/json", "text/html", "text/plain; charset=no-such", "application/x\xe9", ""])


@settings(max_examples=150)
@given(status=st.integers(200, 599), body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()), kind=KINDS)
def test_any_answer_is_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, status: int, body: bytes, kind: str
) -> None:
    """Any response, of any kind, is one of our errors, in one message, for a query and for a change."""
    headers = [(b"content-type", kind.encode("latin-1"))]
    folder = tmp_path_factory.getbasetemp()
    for ask in (lambda lab: lab.sql("SELECT 1"), lambda lab: lab.version, lambda lab: lab.admin.list_services()):
        with lab_of(folder, httpx.Response(status, headers=headers, content=body)) as lab:
            try:
                got = ask(lab)
            except RestateLabError as error:
                said = str(error)
            else:
                said = str(got)
                assert status < 300
        assert 0 < len(said) < 4000


@given(JSON)
def test_any_json_as_the_version_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, about: Any) -> None:
    answer = httpx.Response(200, content=json.dumps(about).encode(), headers={"content-type": "application/json"})
    with lab_of(tmp_path_factory.getbasetemp(), answer) as lab:
        try:
            assert isinstance(lab.version, str)
            assert dict(lab.features) is not None
        except (ServerFailed, TimedOut):  # a busy machine takes longer than the limit
            return


def test_a_response_that_continues_after_its_end_is_damaged() -> None:
    body = stream_of(columns())
    assert read(body).num_rows == columns().num_rows
    for more in (b"\0", body):
        with pytest.raises(ServerFailed, match="data follows its end marker"):
            read(body + more)
