"""The faults of the matrix: failures between the toolkit and a real server, by the name that the guide uses.

`restate_lab.guide.faults` describes them.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from restate_lab.client.transport import Transport
from support.tcp_relay import Fault

ARROW = "application/vnd.apache.arrow.stream"
END_OF_ANSWER = b"\xff\xff\xff\xff\x00\x00\x00\x00\r\n0\r\n\r\n"
"""The end of a whole Arrow response: Arrow's own end, in the last chunk, and HTTP's."""
CHANGES = rb"^(PATCH|POST /internal/|POST /services/)"
PASSES = 60.0  # seconds for a call that must succeed on a busy machine
STAYS = 20.0  # seconds for a call that cannot succeed; it gives up long before, except on a busy machine
SILENT = 1.2  # seconds for a call that waits for this time to pass


def http_response(status: str, body: bytes = b"", kind: str = "application/json", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class FaultCase:
    """A fault of the matrix: its constructor, and the time limit of a call.

    ``make`` takes the body of a real Arrow response, for faults that damage one.
    """

    make: Callable[[bytes], Fault]
    seconds: float


def passing_fault(answer: bytes, times: int = 2) -> FaultCase:
    """Give a response for a while."""
    return FaultCase(lambda _: Fault(response=answer, times=times), PASSES)


def lasting_fault(answer: bytes) -> FaultCase:
    """Give a response from now on."""
    return FaultCase(lambda _: Fault(response=answer, times=math.inf), STAYS)


def fault_after_change(answer: bytes) -> FaultCase:
    """Let the server act, and lose its response to the first change."""
    return FaultCase(lambda _: Fault(where=CHANGES, response=answer, acted=True), PASSES)


def _with_header(name: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """Return a function that sets a header of a response, in place of the one with that name."""

    def edit(data: bytes) -> bytes:
        head, gap, body = data.partition(b"\r\n\r\n")
        others = [line for line in head.split(b"\r\n") if not line.lower().startswith(name.lower() + b":")]
        return b"\r\n".join([*others, name + b": " + value]) + gap + body

    return edit


def _cut_gzip(arrow: bytes) -> Fault:
    packed = gzip.compress(arrow)
    return Fault(
        response=http_response("200 OK", packed[: len(packed) // 2], ARROW, content_encoding="gzip"),
        times=math.inf,
        where=b"/query",
    )


LIMITED = json.dumps({"message": "Rate limited"}).encode()
NOT_TAKEN = json.dumps(
    {
        "message": "Error when routing the request internally. Reason: rpc for partition 1 failed: not leader",
        "restate_code": None,
    }
).encode()
PAGE = b"<!doctype html><html><title>Sign in</title><body><form action=/login></form></body></html>"
BROKEN = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
JUNK = b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"no Arrow at all " * 60

FAULT_CASES: Mapping[str, FaultCase] = {
    # --- passing faults
    "temporary 429": passing_fault(http_response("429 Too Many Requests", LIMITED, retry_after="0.05")),
    "429 without a body": passing_fault(http_response("429 Too Many Requests")),
    "temporary 502": passing_fault(http_response("502 Bad Gateway", BROKEN, "text/html")),
    "temporary 503": passing_fault(http_response("503 Service Unavailable")),
    "temporary 504": passing_fault(http_response("504 Gateway Timeout")),
    "reset once": FaultCase(lambda _: Fault(passes=0, end="reset"), PASSES),
    "closed once": FaultCase(lambda _: Fault(passes=0), PASSES),
    "head cut once": FaultCase(lambda _: Fault(passes=30), PASSES),
    "end lost once": FaultCase(
        lambda _: Fault(where=b"/query", loses=END_OF_ANSWER),
        PASSES,
    ),
    "a slow line": FaultCase(lambda _: Fault(piece=200, pause=0.001, times=math.inf), PASSES),
    # --- lasting
    "429": lasting_fault(http_response("429 Too Many Requests", LIMITED, retry_after="29")),
    "502": lasting_fault(http_response("502 Bad Gateway", BROKEN, "text/html")),
    "503": lasting_fault(http_response("503 Service Unavailable")),
    "504": lasting_fault(http_response("504 Gateway Timeout")),
    "a login page": lasting_fault(http_response("200 OK", PAGE, "text/html; charset=utf-8")),
    "a redirect": lasting_fault(http_response("302 Found", location="https://login.example/?to=admin")),
    "an expired token": lasting_fault(http_response("401 Unauthorized", b'{"message": "token is expired"}')),
    "another type": FaultCase(
        lambda _: Fault(edit=_with_header(b"content-type", b"text/plain"), times=math.inf, where=b"/query"),
        STAYS,
    ),
    "no gzip": FaultCase(
        lambda _: Fault(edit=_with_header(b"content-encoding", b"gzip"), times=math.inf),
        STAYS,
    ),
    "cut gzip": FaultCase(_cut_gzip, STAYS),
    "junk": lasting_fault(http_response("200 OK", JUNK, ARROW)),
    "silence": FaultCase(lambda _: Fault(passes=0, end="silence", times=math.inf), SILENT),
    "silence within": FaultCase(
        lambda _: Fault(passes=100, end="silence", times=math.inf),
        SILENT,
    ),
    "too slow": FaultCase(lambda _: Fault(piece=1, pause=0.05, times=math.inf), SILENT),
    "reset": FaultCase(lambda _: Fault(passes=0, end="reset", times=math.inf), STAYS),
    "reset within": FaultCase(lambda _: Fault(passes=100, end="reset", times=math.inf), STAYS),
    "end lost": FaultCase(
        lambda _: Fault(where=b"/query", loses=END_OF_ANSWER, times=math.inf),
        STAYS,
    ),
    "end repaired": FaultCase(
        lambda _: Fault(where=b"/query", loses=b"8\r\n" + END_OF_ANSWER, gets=b"0\r\n\r\n", times=math.inf),
        STAYS,
    ),
    # --- of changes only
    "change: 429": FaultCase(
        lambda _: Fault(
            where=CHANGES, response=http_response("429 Too Many Requests", LIMITED, retry_after="0.05"), times=2
        ),
        PASSES,
    ),
    "change: 503": FaultCase(
        lambda _: Fault(where=CHANGES, response=http_response("503 Service Unavailable", NOT_TAKEN), times=2),
        PASSES,
    ),
    "change: 502": FaultCase(
        lambda _: Fault(where=CHANGES, response=http_response("502 Bad Gateway", BROKEN, "text/html")),
        PASSES,
    ),
    "change: 401": FaultCase(
        lambda _: Fault(where=CHANGES, response=http_response("401 Unauthorized"), times=math.inf), PASSES
    ),
    "change: a redirect": FaultCase(
        lambda _: Fault(where=CHANGES, response=http_response("302 Found", location="/login"), times=math.inf),
        PASSES,
    ),
    "done: 502": fault_after_change(http_response("502 Bad Gateway", BROKEN, "text/html")),
    "done: 504": fault_after_change(http_response("504 Gateway Timeout")),
    "done: a page": fault_after_change(http_response("200 OK", PAGE, "text/html")),
    "done: 500": fault_after_change(http_response("500 Internal Server Error", BROKEN, "text/html")),
    "done: no gzip": fault_after_change(http_response("200 OK", JUNK, content_encoding="gzip")),
    "done: reset": FaultCase(lambda _: Fault(where=CHANGES, passes=0, end="reset"), PASSES),
    "done: cut": FaultCase(lambda _: Fault(where=CHANGES, passes=30), PASSES),
    "done: silence": FaultCase(lambda _: Fault(where=CHANGES, passes=0, end="silence", times=math.inf), 5.0),
    "unseen": FaultCase(
        lambda _: Fault(
            where=b"/query", response=http_response("503 Service Unavailable"), times=math.inf, begins=CHANGES
        ),
        STAYS,
    ),
}


def reads_give_up_after(seconds: float, patch: pytest.MonkeyPatch) -> None:
    """Limit how long reads are repeated over any connection, where the caller sets no limit."""
    for read in (Transport.read, Transport.stream.__wrapped__):  # type: ignore[attr-defined]
        patch.setitem(read.__kwdefaults__, "retry_for", seconds)


def body_of(answer: bytes) -> bytes:
    rest = answer.partition(b"\r\n\r\n")[2]
    body = b""
    while size := int(rest.partition(b"\r\n")[0], 16):
        start = rest.index(b"\r\n") + 2
        body += rest[start : start + size]
        rest = rest[start + size + 2 :]
    return body


def is_change(head: bytes) -> bool:
    return re.match(CHANGES, head) is not None


def boundaries(answer: bytes) -> list[int]:
    """Return where a chunked Arrow response can break: around its head, its chunks, and Arrow's messages in them."""
    start = answer.index(b"\r\n\r\n") + 4
    found = {1, start // 2, start - 4, start - 2, start}
    at = start
    while at < len(answer):
        line_end = answer.index(b"\r\n", at)
        size, body = int(answer[at:line_end], 16), line_end + 2
        found |= {at, line_end, body}
        if size:
            found |= {body + 4, body + 8, body + size // 2, body + size}
            found.add(min(body + 8 + int.from_bytes(answer[body + 4 : body + 8], "little"), body + size))
        at = body + size + 2
    return sorted({min(max(each + near, 1), len(answer)) for each in found for near in (-1, 0, 1)})


@contextmanager
def no_room_in_files() -> Iterator[None]:
    """Let each write to a file of this process fail, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
