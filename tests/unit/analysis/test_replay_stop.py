"""A deployment that does not obey the stop command, or whose response cannot be read, gets no other journal."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import cycle, product
from typing import Any

import pytest
import zstandard

import restate_lab as rl
from restate_lab import errors
from restate_lab.analysis.ids import decode_invocation_id, encode_invocation_id
from restate_lab.protocol.messages import MESSAGE_TYPES, PROPOSE_RUN_COMPLETION
from support.fake_endpoint import INVOCATION, OneInvocation, deployment, error_frame, frame, response
from support.raw_server import raw_server

ID = decode_invocation_id(INVOCATION)
IDS = [encode_invocation_id(ID[:-1] + bytes([number])) for number in range(8)]
FITS = error_frame(570, "mismatch", 2, "b", 0x411)
COMMANDS = {name: kind for name, kind in MESSAGE_TYPES.items() if name.startswith("Command: ")}
ACTS = {**COMMANDS, "a command of a later protocol": 0x04F0, "ProposeRunCompletion": PROPOSE_RUN_COMPLETION}
STATUSES = ["200 OK", "201 Created", "206 Partial Content", "302 Found", "404 Not Found", "500 Error", "503 Busy"]
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda body: b"\x0b\x02\x80" + body + b"\x03",
    "zstd": zstandard.compress,
    "identity, gzip": gzip.compress,
}


def chunked(status: str, *chunks: bytes, end: bool = True) -> bytes:
    head = f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + (b"0\r\n\r\n" if end else b"")


def header(kind: int, length: int) -> bytes:
    return struct.pack(">HHI", kind, 0, length)


FORMS: dict[str, Callable[[str, int], bytes]] = {
    "complete": lambda status, kind: response(frame(kind, b"\x08\x01"), status),
    "after an error": lambda status, kind: response(FITS + frame(kind, b"\x08\x01"), status),
    "before an error": lambda status, kind: response(frame(kind, b"\x08\x01") + FITS, status),
    "a value of 9 MB": lambda status, kind: response(frame(kind, bytes(9 << 20)), status),
    "a cut value": lambda status, kind: response(header(kind, 99) + b"\x08", status, length=200),
    "a short frame": lambda status, kind: response(header(kind, 99) + b"\x08", status),
    "a cut header": lambda status, kind: response(header(kind, 99)[:5], status),
    "only a type": lambda status, kind: response(header(kind, 99)[:2], status, length=99),
    "single bytes": lambda status, kind: chunked(status, *(bytes([each]) for each in frame(kind, b"\x08\x01"))),
    "a cut chunk": lambda status, kind: chunked(status, header(kind, 99), end=False),
    "a header in two chunks": lambda status, kind: chunked(
        status, FITS + header(kind, 1)[:1], header(kind, 1)[1:], end=False
    ),
}


@contextlib.contextmanager
def checking(answer: bytes) -> Iterator[tuple[Callable[[], rl.Replay], list[bytes]]]:
    """Yield a check of 8 journals with one worker at a deployment with this answer, and the journals it receives."""

    def send(connection: socket.socket) -> bool:
        connection.sendall(answer)
        return False

    sent: list[bytes] = []
    respond = deployment(send)

    def record(connection: socket.socket, request: bytes) -> bool:
        sent.extend([request] if request.startswith(b"POST") else [])
        return respond(connection, request)

    with raw_server(respond=record) as server:
        options: dict[str, Any] = {"confirm": server.address, "workers": 1, "progress": False}
        yield lambda: rl.replay(OneInvocation(IDS), IDS, server.address, **options), sent


def check_ends(status: str, form: str, act: str) -> None:
    """Check that a response with an act of the code ends the check after one journal, with the act in the error."""
    words = "ran at" if act in {"ProposeRunCompletion", "Command: Run"} else f"issued {act.partition(': ')[2]}"
    with checking(FORMS[form](status, ACTS[act])) as (check, sent):
        with pytest.raises(errors.StepRan, match=words):
            check()
        assert len(sent) == 1, (status, form, act)


def test_a_step_or_a_command_ends_the_check_whatever_the_status_length_chunks_and_end() -> None:
    turns = zip(cycle(STATUSES), cycle(FORMS), [*ACTS, *["ProposeRunCompletion"] * len(FORMS)], strict=False)
    for status, form, act in turns:
        check_ends(status, form, act)


@pytest.mark.long
def test_each_command_in_every_form_of_the_complete_matrix() -> None:
    for status, form, act in product(STATUSES, FORMS, ACTS):
        check_ends(status, form, act)


def test_an_encoding_that_was_not_requested_ends_the_check() -> None:
    """The response is not decompressed, so its content is unknown; no other journal is sent, and none is checkable."""
    for (encoding, encode), status in zip(ENCODINGS.items(), STATUSES, strict=False):
        body = encode(frame(PROPOSE_RUN_COMPLETION, b"\x08\x01"))
        with checking(response(body, status, f"content-encoding: {encoding}\r\n")) as (check, sent):
            result = check()
        assert len(sent) == 1, (encoding, status)
        assert result.rows["verdict"].tolist() == ["not checkable"] * 8
        reasons = result.rows["reason"].tolist()
        assert reasons[0].startswith(f"the response has the content-encoding {encoding!r}, which was not requested")
        assert all(each.startswith("not sent, because the check was ended: the response has") for each in reasons[1:])
        assert "No response showed that a step ran" in str(result)


def test_a_response_that_is_not_valid_http_ends_the_check() -> None:
    body = frame(PROPOSE_RUN_COMPLETION, b"\x08\x01")
    for head in (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    ):
        with checking(head + body) as (check, sent):
            reasons = check().rows["reason"]
        assert len(sent) == 1
        assert reasons[0].startswith("the response is not valid HTTP")


@pytest.mark.parametrize(
    "answer",
    [
        response(FITS),
        response(FITS, headers="content-encoding: identity\r\n"),
        response(b"<html>no</html>", "502 Bad Gateway"),
        response(b'{"message": "no"}', "500 Internal Server Error"),
        response("nein \u0004\u0000".encode("utf-16-le"), "500 Internal Server Error"),
        response(b"\x04", "500 Internal Server Error"),
        response(status="204 No Content"),
        response(frame(0x0001, b"") + frame(0x0003, b"") + frame(0x0006, b"") + frame(0x8411, b"")),
    ],
    ids=["a mismatch", "identity", "a page", "JSON", "UTF-16", "one byte", "nothing", "other messages"],
)
def test_error_pages_and_other_messages_do_not_end_the_check(answer: bytes) -> None:
    with checking(answer) as (check, sent):
        assert len(check().rows) == 8
        assert len(sent) >= 8


def test_a_compressed_manifest_is_not_read() -> None:
    """A manifest with a content-encoding that was not requested is refused, so it cannot exhaust the memory."""
    bomb = gzip.compress(bytes(1 << 20)) * 64
    for encoding in ENCODINGS:
        answer = response(bomb, headers=f"content-encoding: {encoding}\r\n")
        with raw_server(respond=deployment(b"", discover=answer)) as server:
            with pytest.raises(errors.ServerFailed, match=r"content-encoding .*, which was not requested"):
                rl.replay(OneInvocation(), [INVOCATION], server.address, confirm=server.address, progress=False)
