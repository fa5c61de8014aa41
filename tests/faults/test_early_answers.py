"""A server that responds before it has read the request: only its refusal counts."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import errors
from support.fault_verbs import FaultBench

pytestmark = pytest.mark.server

LARGE = "x" * 20_000_000  # more than the buffers on the way can hold


def test_a_refusal_before_the_end_of_a_large_body(bench: FaultBench) -> None:
    """An ingress without this service closes during the body; its response is the same as for a small body."""
    before = len(rl.audit_log(bench.bulk.audit))
    for invoke in (bench.lab.ingress.send, bench.lab.ingress.call):
        for body in ("x", LARGE):
            with pytest.raises(errors.NotFound, match="service 'Nope' not found"):
                invoke("Nope", "do", body)
    written = rl.audit_log(bench.bulk.audit).iloc[before:]
    assert written["outcome"].tolist() == ["refused"] * 4


def test_a_read_with_a_large_body(bench: FaultBench) -> None:
    """The Admin API accepts two megabytes and closes above that: this is its response, and it is not repeated."""
    with pytest.raises(errors.RequestRefused) as caught:
        bench.lab.transport.read("POST", "/query", json={"query": LARGE})
    assert caught.value.status == 413


EARLY = {
    "refused": (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", errors.NotFound, "refused"),
    "a gateway's refusal": (b"HTTP/1.1 413 Too Large\r\nconnection: close\r\n\r\n", errors.RequestRefused, "refused"),
    "a lost answer": (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", errors.OutcomeUnknown, "unknown"),
    "success": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", errors.OutcomeUnknown, "unknown"),
    "a cut refusal": (b"HTTP/1.1 404 Not Found\r\ncontent-length: 20\r\n\r\nno", errors.OutcomeUnknown, "unknown"),
    "a cut head": (b"HTTP/1.1 404 Not F", errors.OutcomeUnknown, "unknown"),
    "nothing": (b"", errors.OutcomeUnknown, "unknown"),
}


@contextlib.contextmanager
def hangs_up(answer: bytes) -> Iterator[str]:
    """Give the address of a server that reads a request's head, responds, and closes with the body unread."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                with line:
                    line.recv(100)
                    line.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("case", EARLY)
def test_what_counts_of_an_early_answer(bench: FaultBench, tmp_path: Path, case: str) -> None:
    """A whole refusal counts; success before the request was read, half a response and none are an unknown outcome."""
    answer, error, outcome = EARLY[case]
    with (
        hangs_up(answer) as address,
        rl.connect(bench.lab.settings.admin_url, ingress_url=address, audit=tmp_path) as lab,
    ):
        with pytest.raises(error) as caught:
            lab.ingress.send("Bulk", "answer", LARGE)
    assert type(caught.value) is error
    assert rl.audit_log(tmp_path)["outcome"].tolist() == [outcome]
