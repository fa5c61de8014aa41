"""A server that answers before it has read the request: its refusal counts, and nothing else does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import errors
from support.fault_verbs import FaultWorld

pytestmark = pytest.mark.server

LARGE = "x" * 20_000_000  # more than the buffers on the way hold


def test_a_refusal_before_the_end_of_a_large_body(ground: FaultWorld) -> None:
    """An ingress that knows no such service hangs up on the body; its answer is the one that a small body gets."""
    before = len(rl.audit_log(ground.bulk.audit))
    for invoke in (ground.lab.ingress.send, ground.lab.ingress.call):
        for body in ("x", LARGE):
            with pytest.raises(errors.NotFound, match="service 'Nope' not found"):
                invoke("Nope", "do", body)
    written = rl.audit_log(ground.bulk.audit).iloc[before:]
    assert written["outcome"].tolist() == ["refused"] * 4


def test_a_read_with_a_large_body(ground: FaultWorld) -> None:
    """The Admin API takes two megabytes and hangs up on more: that is its answer, and it is not asked again."""
    with pytest.raises(errors.RequestRefused) as caught:
        ground.lab.transport.read("POST", "/query", json={"query": LARGE})
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
    """Give the address of what reads a request's head, says this, and closes the line with the body unread."""

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
def test_what_counts_of_an_early_answer(ground: FaultWorld, tmp_path: Path, case: str) -> None:
    """A whole refusal counts; success of what was not read, half an answer and none say that nobody can tell."""
    answer, error, outcome = EARLY[case]
    with (
        hangs_up(answer) as address,
        rl.connect(ground.lab.settings.admin_url, ingress_url=address, audit=tmp_path) as lab,
    ):
        with pytest.raises(error) as caught:
            lab.ingress.send("Bulk", "answer", LARGE)
    assert type(caught.value) is error
    assert rl.audit_log(tmp_path)["outcome"].tolist() == [outcome]
