"""Interrupts: held back while records are written, and let through while a call waits."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.audit import audit_log
from restate_lab.client.lab import Lab
from restate_lab.client.responses import Success
from restate_lab.interrupts import Shield


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def the_handler_is_put_back() -> Iterator[None]:
    """After each test SIGINT has its earlier handler."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def test_a_shield_holds_an_interrupt_until_its_block_has_ended() -> None:
    """The block ends normally, and then the interrupt is raised; also over another error."""
    done = []
    with pytest.raises(KeyboardInterrupt), Shield():
        interrupt()
        interrupt()
        done.append("all")
    assert done == ["all"]
    with pytest.raises(KeyboardInterrupt) as caught, Shield():
        interrupt()
        raise ValueError
    assert isinstance(caught.value.__context__, ValueError)


def test_a_shield_lets_interrupts_through_where_a_call_waits() -> None:
    steps = []

    def act() -> None:
        interrupt()
        steps.append("never")

    with Shield() as shield:
        with pytest.raises(KeyboardInterrupt):
            shield.let_through(act)
        assert shield.was_raised
        assert shield.let_through(lambda: 7) == 7
    with Shield() as shield:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            shield.let_through(lambda: steps.append("never"))
    assert steps == []


def test_shields_may_be_nested() -> None:
    """An inner one also works inside an outer let_through, and an interrupt is raised at the first allowed place."""
    steps = []

    def act() -> None:
        with Shield():
            interrupt()
            steps.append("inner")
        steps.append("never")

    with Shield() as outer:
        with pytest.raises(KeyboardInterrupt):
            outer.let_through(act)
        with Shield() as inner:
            interrupt()
        steps.append("outer")
        assert outer.take()
        assert not inner.take()
    assert steps == ["inner", "outer"]


def test_a_shield_keeps_the_handler_in_other_threads_and_if_sigint_is_ignored() -> None:

    def handler_in_a_shield() -> Any:
        with Shield() as shield:
            assert shield.let_through(lambda: 7) == 7
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(handler_in_a_shield).result() is signal.getsignal(signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert handler_in_a_shield() is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_the_block_sets_stays() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with Shield():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_forked_by_another_thread_can_be_interrupted() -> None:
    """The block continues only in the parent, so the child must not hold its interrupts back for it."""

    def child() -> None:
        code = 1
        try:
            interrupt()
        except KeyboardInterrupt:
            code = 42
        finally:
            os._exit(code)

    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            child()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with Shield(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(fork).result() == 42


class Server:
    """An HTTP server on this machine that accepts every change; ``paths`` has the paths of its requests."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        paths = self.paths

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PATCH(self) -> None:
                paths.append(self.path)
                self.send_response(200)
                self.send_header("content-length", "2")
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # the client has gone, as expected

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


DONE = Success((200,), "any")
EVERY = 37  # bytecodes; a prime, and below the length of the critical part
OURS = ("recording.py", "transport.py", "audit.py", "interrupts.py", "_http.py", "contextlib.py")


def interrupted_at(step: int, act: Callable[[], object]) -> bool:
    """Interrupt ``act`` at its ``step``-th bytecode in the modules that change and record; return whether it came."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "call":
            if not frame.f_code.co_filename.endswith(OURS):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return trace
        if event == "opcode":
            left -= 1
            if left == 0:
                sys.settrace(None)
                interrupt()
        return trace

    try:
        sys.settrace(trace)
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def interrupted_everywhere(audit: Path) -> list[str]:
    """Interrupt one change after the other, each later than the one before; return the paths on the server."""
    with Server() as server, rl.connect(server.url, audit=audit, check=False) as lab:
        for step in range(1, 20_000, EVERY):
            path = f"/step-{step}"
            change = partial(lab.transport.change, "PATCH", path, action="a", targets=[path], success=DONE)
            if not interrupted_at(step, change):
                break
        assert step > 500, "the change has fewer bytecodes than expected"
    return server.paths


def test_an_interrupt_at_any_bytecode_leaves_a_complete_audit_log(tmp_path: Path) -> None:
    """Every intent has a result, which is "not sent" or "done" only if the server got nothing, or the change.

    Every phase is between these bytecodes: before the intent, in its write, while sending, reading and judging, in the
    write of the result and in the end of the ``with`` blocks.
    """
    # In its own process: a socket whose owner was interrupted between two bytecodes is closed whenever the garbage
    # collector finds it, and warns then.
    done = subprocess.run(
        [sys.executable, __file__, tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = json.loads(done.stdout)
    log = audit_log(tmp_path)
    for row in log.to_dict("records"):
        allowed = {"done", "unknown"} if row["targets"][0] in paths else {"not sent", "unknown"}
        assert row["outcome"] in allowed, row
    assert {*paths} <= {each[0] for each in log["targets"]}
    assert {"not sent", "unknown", "done"} == set(log["outcome"])


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Give the address of a server that accepts requests and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def waiting_lab(tmp_path: Path) -> Iterator[Lab]:
    with silent_server() as url, rl.connect(url, audit=tmp_path, check=False, timeout=300) as lab:
        yield lab


def interrupt_soon() -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_the_stop_button_ends_a_change_that_waits_with_an_unknown_outcome(waiting_lab: Lab, tmp_path: Path) -> None:
    started = time.monotonic()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        waiting_lab.transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=DONE)
    assert time.monotonic() - started < 60
    assert list(audit_log(tmp_path)["outcome"]) == ["unknown"]


def test_the_stop_button_ends_the_requests_of_other_threads(waiting_lab: Lab, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        with waiting_lab.transport.record("kill", ["inv_1"], reason=None, request="x") as record:
            with ThreadPoolExecutor(1) as pool:
                sent = pool.submit(record.send, "PATCH", "/x", success=DONE)
                interrupt_soon()
                record.shield.let_through(sent.result)
    assert time.monotonic() - started < 60
    assert isinstance(sent.exception(), errors.OutcomeUnknown)
    assert list(audit_log(tmp_path)["outcome"]) == ["unknown"]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(interrupted_everywhere(Path(sys.argv[1]))))
