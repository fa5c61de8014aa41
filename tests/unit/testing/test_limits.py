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
from pathlib import Path
from typing import Any

import pytest

from restate_lab.testing import NetworkUsed, ReplayTimedOut
from support import local_app
from support.local_app import HELD, app, changed, record, value

NETWORK = ("blocking", "swallowed", "in a thread", "by a name", "by an address", "listening", "a lookup", "connect_ex")
GUARDED = ("connect", "connect_ex", "bind")


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """End the handlers that block, and wait until their threads have left the network alone."""
    HELD.clear()
    before = {name: vars(socket.socket).get(name) for name in GUARDED}, socket.getaddrinfo
    yield
    local_app.release()
    assert ({name: vars(socket.socket).get(name) for name in GUARDED}, socket.getaddrinfo) == before
    assert [each.context_managers for each in local_app.orders.handlers.values()] == [None] * len(
        local_app.orders.handlers
    )


@pytest.mark.parametrize("how", NETWORK)
def test_the_network_is_refused(how: str) -> None:
    """In a handler, in a thread that it starts, and where the error is swallowed."""
    with pytest.raises(NetworkUsed, match=r"(opened a|listened) .+(local_app\.py:\d+)?, outside of a step"):
        record("connect", value(f'"{how}"')).run(app)


def test_the_network_can_be_allowed() -> None:
    """The control of the trials above: then the connection is refused by the peer only."""
    with pytest.raises(ConnectionRefusedError):
        record("connect", value('"blocking"')).run(app, allow_network=True)


def test_other_threads_use_the_network_meanwhile() -> None:
    """A panel in the same kernel reads on."""
    outcome: list[Any] = []

    def replay() -> None:
        with contextlib.suppress(ReplayTimedOut):
            outcome.append(record("hang", value('"block"')).run(app, timeout=30))

    thread = threading.Thread(target=replay)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread.start()
        while vars(socket.socket).get("connect") is None or "call" not in vars(socket.socket)["connect"].__name__:
            time.sleep(0.01)
        with socket.create_connection(server.getsockname()) as connection, socket.socket() as other:
            assert connection.getpeername() == server.getsockname()
            other.bind(("127.0.0.1", 0))
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
