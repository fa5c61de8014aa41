"""A deployment that answers with exact bytes over HTTP/1.1, for behavior that no SDK shows; and a source for it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from restate_lab.protocol.wire import bytes_field, number_field
from support.raw_server import Respond
from support.row_source import RowSource

INVOCATION = "inv_12FIelX6Hdl24CvjY3CNDjDiHfJwyCfmXl"
SDK = "restate-sdk-python/1.3.0"
MANIFEST = {
    "minProtocolVersion": 5,
    "maxProtocolVersion": 7,
    "services": [{"name": "Orders", "handlers": [{"name": "place"}]}],
}
INPUT, RUN = (0x400, bytes.fromhex("72030a0131")), (0x411, bytes.fromhex("58016201" + b"a".hex()))
START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">HHI", kind, 0, len(body)) + body


def error_frame(code: int, message: str = "", index: int | None = None, name: str = "", kind: int = 0) -> bytes:
    place = b"" if index is None else bytes([4 << 3, index])
    body = number_field(1, code) + bytes_field(2, message) + place + bytes_field(5, name) + number_field(6, kind)
    return frame(2, body)


def response(body: bytes = b"", status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {size}\r\n\r\n".encode() + body


def discovery(sdk: str | None = SDK, manifest: Mapping[str, Any] = MANIFEST) -> bytes:
    server = "" if sdk is None else f"x-restate-server: {sdk}\r\n"
    return response(json.dumps(manifest).encode(), headers=server)


def deployment(
    *answers: bytes | Callable[[socket.socket], bool], discover: bytes | Callable[[socket.socket], bool] | None = None
) -> Respond:
    """Answer discovery, and the nth invocation with the nth answer (the last one for all later ones)."""
    left = list(answers)

    def respond(connection: socket.socket, request: bytes) -> bool:
        if request.startswith(b"PRI"):  # HTTP/2
            connection.sendall(response(status="400 Bad Request"))
            return False
        answer = discovery() if discover is None else discover
        if not request.startswith(b"GET /discover"):
            answer = left.pop(0) if len(left) > 1 else left[0]
        if callable(answer):
            return answer(connection)
        connection.sendall(answer)
        return True

    return respond


class OneInvocation(RowSource):
    """A source with one open invocation; its journal has an input and a step, or less with a smaller journal_size.

    With ``ids`` it has such an invocation for each id.
    """

    name, version, features, now, live = "one", "1.7.12", {}, START, True

    def __init__(self, ids: Sequence[str] = (INVOCATION,), **row: Any) -> None:
        self.ids = ids
        self.row = {
            "id": INVOCATION,
            "target": "Orders/place",
            "service": "Orders",
            "handler": "place",
            "key": None,
            "status": "running",
            "protocol_version": 6,
            "deployment_id": None,
            "created_at": START,
            "idempotency_key": None,
            "journal_size": 2,
            "restarted_from": None,
            "scope": None,
            "limit_key": None,
            **row,
        }

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pa.Table:
        if "information_schema" in statement:
            return pa.table({"table": ["sys_journal"], "column": ["raw"], "type": ["LargeBinary"], "nullable": [True]})
        if "FROM sys_journal" not in statement:
            return pa.Table.from_pylist([{**self.row, "id": id_} for id_ in self.ids], schema=_ROW)
        entries = [("Command: Input", None, INPUT[1]), ("Command: Run", "a", RUN[1])]
        rows = [
            {"id": id_, "index": index, "entry_type": kind, "name": name, "invoked_target": None, "raw": raw}
            for id_ in self.ids
            for index, (kind, name, raw) in enumerate(entries[: self.row["journal_size"]])
        ]
        return pa.Table.from_pylist(rows, schema=_ENTRY)


_TEXTS = ("id", "target", "service", "handler", "key", "status", "deployment_id", "idempotency_key", "restarted_from")
_ROW = pa.schema(
    {
        **dict.fromkeys((*_TEXTS, "scope", "limit_key"), pa.large_string()),
        **dict.fromkeys(("protocol_version", "journal_size"), pa.uint32()),
        "created_at": pa.timestamp("ms", "UTC"),
    }
)
_ENTRY = pa.schema(
    {
        **dict.fromkeys(("id", "entry_type", "name", "invoked_target"), pa.large_string()),
        "index": pa.uint32(),
        "raw": pa.large_binary(),
    }
)
