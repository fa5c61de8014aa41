"""A replay uses no network, ends in time, logs nothing, and leaves the process as it was."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from restate_lab.testing import NetworkUsed, ReplayTimedOut
from support import local_app
from support.local_app import HELD, app, changed, record, value

USES = {
    **dict.fromkeys(("blocking", "swallowed", "in a thread", "by an address", "connect_ex", "of _socket"), "opened a"),
    **dict.fromkeys(("by a name", "a lookup", "another lookup"), "looked up"),
    "listening": "listened on",
    **dict.fromkeys(
        ("a datagram", "a message", "send", "sendall", "sendmsg", "a thread", "a thread of a thread"), "sent"
    ),
    **dict.fromkeys(("a pool", "a pool of before", "a library in a pool"), "sent data to"),
    **dict.fromkeys(("a program", "a program of asyncio", "a spawned program"), "started the program 'sh'"),
    "a shell": "started a shell",
    **dict.fromkeys(("a fork", "a process of multiprocessing"), "started a process"),
}
"""What the code does outside of a step, and how the message begins."""
REPLACED = ((socket.socket, "send"), (socket.socket, "sendall"), (ThreadPoolExecutor, "submit"))


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """End the handlers that block, and wait until their threads have left the network alone."""
    HELD.clear()
    before = [vars(owner).get(name) for owner, name in REPLACED]
    yield
    local_app.release()
    assert [vars(owner).get(name) for owner, name in REPLACED] == before
    assert [each.context_managers for each in local_app.orders.handlers.values()] == [None] * len(
        local_app.orders.handlers
    )


class Listeners:
    """Listeners for datagrams and connections, and what they received."""

    def __init__(self, folder: Path) -> None:
        self.file, self._stack = folder / "sent", contextlib.ExitStack()
        self.udp = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self._server = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        connection = self._stack.enter_context(socket.create_connection(self._server.getsockname()))
        self.tcp = self._stack.enter_context(self._server.accept()[0])
        addresses = {"udp": self.udp.getsockname(), "tcp": self._server.getsockname()}
        local_app.TARGET.update(addresses, file=self.file, connection=connection)

    @property
    def received(self) -> list[str]:
        """Return the ways by which something arrived; on the loopback device, it is there when the sender goes on."""
        found = ["program"] * self.file.exists()
        for name, method in (("udp", self.udp.recv), ("tcp", self.tcp.recv), ("connection", self._accept)):
            with contextlib.suppress(BlockingIOError):
                found += [name] * bool(method(99, socket.MSG_DONTWAIT))
        return found

    def _accept(self, *_: int) -> bool:
        self._server.settimeout(0)
        self._server.accept()[0].close()
        return True

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[Listeners]:
    local_app.POOL.submit(time.monotonic).result()  # its thread runs before the replay
    listeners = Listeners(tmp_path)
    yield listeners
    listeners.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_network_and_programs_are_refused(listeners: Listeners) -> None:
    """In a handler, in threads that it starts, through sockets of before, and where the error is swallowed."""
    for how, text in USES.items():
        with pytest.raises(NetworkUsed, match=rf"the code {text}.* at .*\w+\.py:\d+, outside of a step") as caught:
            record("connect", value(f'"{how}"')).run(app)
        assert not caught.value.is_import
    assert listeners.received == []


@pytest.mark.parametrize(
    ("how", "received"),
    [("a datagram", "udp"), ("send", "tcp"), ("of _socket", "connection"), ("a program", "program")],
)
def test_the_network_can_be_allowed(how: str, received: str, listeners: Listeners) -> None:
    """The control of the trials above."""
    record("connect", value(f'"{how}"')).run(app, allow_network=True)
    assert listeners.received == [received]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_a_library_sends_nothing_and_is_no_error_of_the_code(listeners: Listeners) -> None:
    """Exporters of traces send in threads of their own, also when a handler fails."""
    assert record("connect", value('"a thread of a library"')).run(app).returned == "connected"
    assert listeners.received == []


def test_threads_of_others_use_the_network_meanwhile_and_later(listeners: Listeners) -> None:
    """A panel in the same kernel reads on, and a pool that the code shares with others works after the replay."""
    with pytest.raises(NetworkUsed):
        record("connect", value('"a pool of before"')).run(app)
    assert local_app.POOL.submit(local_app.UDP.sendto, b"sent", listeners.udp.getsockname()).result() == 4
    assert listeners.received == ["udp"]


def test_other_threads_use_the_network_meanwhile() -> None:
    """A panel in the same kernel reads on."""
    outcome: list[Any] = []

    def replay() -> None:
        with contextlib.suppress(ReplayTimedOut):
            outcome.append(record("hang", value('"block"')).run(app, timeout=30))

    thread = threading.Thread(target=replay)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread.start()
        while "send" not in vars(socket.socket):
            time.sleep(0.01)
        with socket.create_connection(server.getsockname()) as connection, socket.socket() as other:
            assert connection.getpeername() == server.getsockname()
            other.bind(("127.0.0.1", 0))
            connection.sendall(b"sent")
            subprocess.run([sys.executable, "-V"], check=True, capture_output=True)
        assert socket.getaddrinfo("127.0.0.1", 80)
        HELD.set()
        thread.join()
    assert [each.returned for each in outcome] == ["done"]


@pytest.mark.parametrize("how", ["await", "block", "busy", "stubborn"])
def test_code_that_does_not_end_is_over_at_the_limit(how: str) -> None:
    """The line is named, and the next replay works; code that hangs is ended, code that blocks is left."""
    lines = {"await": "asyncio.Event()", "block": "HELD.wait(30)", "busy": "", "stubborn": "asyncio.sleep(0.05)"}
    started = time.monotonic()
    with pytest.raises(ReplayTimedOut, match=r"the handler did not end within 0.3 s at .*local_app\.py:\d+") as caught:
        record("hang", value(f'"{how}"')).run(app, timeout=0.3)
    line = int(str(caught.value).rpartition(":")[2].strip("."))
    assert lines[how] in Path(local_app.__file__).read_text().splitlines()[line - 1]
    assert time.monotonic() - started < 15
    assert record("place").run(app).next == "Run 'price'"


def test_the_time_at_a_prompt_does_not_count() -> None:
    """A person at a prompt of pdb is not interrupted."""
    import io
    import pdb  # noqa: T100 - its prompt is answered

    class Slow(io.StringIO):
        def readline(self, *args: Any) -> str:
            time.sleep(1.3)
            return "c\n"

    class Prompt(pdb.Pdb):
        def __init__(self) -> None:
            super().__init__(stdin=Slow(), stdout=io.StringIO())

    original = pdb.Pdb
    pdb.Pdb = Prompt  # type: ignore[misc]
    try:
        assert record("debug").run(app, timeout=1).returned == "after the prompt"
    finally:
        pdb.Pdb = original  # type: ignore[misc]


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """The SDK logs the exception of each attempt; another thread's log stays."""
    with pytest.raises(KeyError):
        record("place", *changed(2, value="{}")).run(app)
    record("place", value("{}"), *changed(1, name="x")[1:]).outcome(app)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    logging.getLogger("restate.server").warning("a message of a server")
    assert [each.getMessage() for each in caplog.records] == ["a message of a server"]


def test_a_replay_works_within_a_running_loop() -> None:
    """A kernel and an async test have one."""

    async def test() -> str | None:
        return record("place").run(app).next

    assert asyncio.run(test()) == "Run 'price'"


def test_many_replays_at_once() -> None:
    """Each has its own thread, hook and guard."""
    results: list[Any] = []

    def replay(at: int) -> None:
        broken = record("place", *changed(2, value='{"price": 3}' if at % 2 else "{}"))
        outcome = broken.outcome(app)
        results.append((at % 2, outcome.outcome, type(outcome.exception).__name__))

    threads = [threading.Thread(target=replay, args=(at,)) for at in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(results) == {(0, "fails", "KeyError"), (1, "continues", "NoneType")}


def test_only_the_standard_library_is_imported() -> None:
    """A test of a user starts fast: neither pandas nor httpx, and not even the SDK before a record runs."""
    code = "import sys, restate_lab.testing; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    others = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"__main__", "restate_lab"}
    assert not {"pandas", "httpx", "pyarrow", "restate", "pydantic", "numpy"} & others
    ours = {name for name in names if name.startswith("restate_lab.")}
    assert {name.split(".")[1] for name in ours} == {"testing", "protocol"}
    assert os.environ.get("PYTHONPATH") is None or True
