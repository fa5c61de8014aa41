"""Answers of the server under load: late readings, many viewers, slow ones, and viewers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from restate_lab.client.arguments import seconds_left
from restate_lab.serve import app, readings, records, server
from restate_lab.serve.page import PageRequest, WebPage, data_of, together
from restate_lab.serve.pages import PAGES
from restate_lab.serve.readings import THREAD_NAME
from restate_lab.source import Source
from support.page_servers import TOKEN, RunningPages, running_pages
from support.sample_rows import SampleRows, invocation, sample_id

ID = sample_id(1)
PROPERTIES = {"name", "address", "version", "features", "now", "live", "coverage", "decoder", "stream"}
HUGE = 16 << 20  # bytes, more than the buffers of a connection


class Gate:
    """A reading that ends when the test lets it; ``count`` is how often it began."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = threading.Semaphore(0)
        self.count = 0

    def read(self, _source: Any, number: int = 0) -> str:
        self.count += 1
        self.began.release()
        assert self.open.wait(20)
        return f"late {number}"


class Watched(SampleRows):
    """A source with earlier times that records the threads which read it; its clock and its statements can hang."""

    def __init__(self) -> None:
        super().__init__(sys_invocation_status=[invocation(ID, "failed")])
        self.runs = threading.Event()
        self.threads: set[str] = set()
        self.limits: list[float] = []
        self.runs.set()

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__(self, "__dict__")
        if name in PROPERTIES and "threads" in own:
            own["threads"].add(threading.current_thread().name.rpartition("_")[0])
            assert name not in {"now", "stream"} or own["runs"].wait(20)
        return super().__getattribute__(name)

    def at(self, _time: object, /) -> Source:
        self.limits.append(seconds_left(1_000.0))
        return self


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Register pages: "late" has a quick and a late reading, "only" a late one, "twice" two in turn; and "huge"."""
    gate = Gate()

    async def late(request: PageRequest) -> WebPage:
        quick, slow = await together(
            request.try_to_read("quick", lambda source: source.name), request.try_to_read("late", gate.read)
        )
        return WebPage("Late", [quick, slow], {"quick": data_of(quick, str), "slow": data_of(slow, str)})

    async def only(request: PageRequest) -> WebPage:
        number = request.number("number", 0)
        return WebPage("Only", [await request.read("late", gate.read, number=number)], {})

    async def huge(_: PageRequest) -> WebPage:
        return WebPage("Huge", ["x" * HUGE], {})

    async def twice(request: PageRequest) -> WebPage:
        parts = [await request.try_to_read("late", gate.read, number=number) for number in (1, 2)]
        return WebPage("Twice", parts, {})

    for name, page in {"late": late, "only": only, "huge": huge, "twice": twice}.items():
        monkeypatch.setitem(PAGES, name, page)  # type: ignore[arg-type]
    yield gate
    gate.open.set()


def test_a_page_that_takes_too_long_shows_what_it_has(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports what is missing; the reading goes on, and the next viewer gets its result."""
    monkeypatch.setattr(app, "_GRACE", 0.0)
    with running_pages({"made": SampleRows()}, tmp_path, timeout=0.2) as pages, pages.client() as client:
        page = client.get("/late")
        assert page.status_code == 200
        assert "made" in page.text
        assert "Not read: made has not answered within 0 s; load the page again for the result" in page.text
        assert client.get("/late.json").json()["slow"].keys() == {"not_read"}
        assert client.get("/only").status_code == 504
        gate.open.set()
        assert "late 0" in client.get("/late").text
        assert gate.count == 2, "one of each page: all four viewers shared them"


def test_all_readings_of_a_page_have_one_limit(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first one took all of the time, the second one is not waited for."""
    monkeypatch.setattr(app, "_GRACE", 0.0)
    with running_pages({"made": SampleRows()}, tmp_path, timeout=0.6) as pages, pages.client() as client:
        page = client.get("/twice")
        assert "made has not answered within 1 s" in page.text
        assert "made has not answered within 0 s" in page.text


def test_who_is_one_too_many_gets_the_time_to_come_back(gate: Gate, tmp_path: Path) -> None:
    with running_pages({"made": SampleRows()}, tmp_path) as pages, ThreadPoolExecutor(30) as pool:

        def load(number: int) -> httpx.Response:
            with pages.client() as client:
                return client.get(f"/only?number={number}")

        loads = [pool.submit(load, number) for number in range(1, 30)]
        refused = [each for each in map(_done_early, loads) if each is not None]
        while len(refused) < 7:
            time.sleep(0.01)
            refused = [each for each in map(_done_early, loads) if each is not None]
        assert {each.status_code for each in refused} == {503}
        assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
        assert "come back in" in refused[0].text
        with pages.client() as client:
            assert client.get("/health").status_code == 200
        gate.open.set()
        assert sorted(each.result().status_code for each in loads) == [200] * 22 + [503] * 7
    assert len(pages.records) == 29


def test_no_page_reads_a_property_of_its_source_in_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of no route, also at an earlier time; if a source hangs, logins and other sources do not wait."""
    paths = {name: f"/{name}" for name in PAGES} | {name: f"/{name}/{ID}" for name in ("invocation", "story")}
    paths |= {"": "/?since=1h", "contrast": "/contrast?service=Svc", "question": "/question/overview"}
    paths["report"] = "/report?length=short"
    present = [f"{path}{'&' if '?' in path else '?'}source=hangs" for path in paths.values()]
    earlier = [f"{address}&at=2026-11-25T02:00:00Z" for address in present]
    hanging = Watched()
    monkeypatch.setattr(readings, "KEPT", 0.0)
    with (
        running_pages({"hangs": hanging, "other": SampleRows()}, tmp_path) as pages,
        pages.client() as client,
        ThreadPoolExecutor(len(paths) * 2) as pool,
    ):
        assert [client.get(each).status_code for each in earlier] == [200] * len(paths)
        hanging.runs.clear()
        relative = "/waits.json?source=hangs&at=2h"  # data, which has no redirect
        waiting = [pool.submit(client.get, each) for each in (*earlier, *present, relative)]
        try:
            for path in ("/health", "/waits?source=other", "/?source=other", "/nothing"):
                assert client.get(path, timeout=10).status_code in {200, 404}
            assert httpx.get(pages.new_link(), timeout=10, trust_env=False).status_code == 303
        finally:
            hanging.runs.set()
        assert {each.result(20).status_code for each in waiting} <= {200, 503}
    assert THREAD_NAME in hanging.threads
    assert not {each for each in hanging.threads if not each.startswith("restate-lab")}, hanging.threads


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/", {}),
        ("/waits", {"source": "hangs"}),
        ("/invocations", {"service": ["a&b", "c=#%"], "status": "all", "key": "\u00e4 \u202e\0</script>"}),
        (f"/story/{ID}", {"search": "yes"}),
        ("/question/overview%2F..%5C", {}),
    ],
)
def test_a_relative_time_becomes_a_timestamp_in_the_address(path: str, params: dict[str, Any], tmp_path: Path) -> None:
    """A whole second, so that viewers share it; the other parameters stay. Its reading has the limit of a page."""
    source = Watched()
    with running_pages({"hangs": source}, tmp_path, timeout=9.0) as pages, pages.client() as client:
        given = client.get(path, params=params).request.url
        for text, distance in (("2h", timedelta(hours=2)), ("1500ms", timedelta(seconds=1.5)), ("00:00Z", None)):
            first = client.get(path, params=params | {"at": text})
            assert first.status_code == 303
            assert first.text == ""
            target = httpx.URL(first.headers["location"])
            assert (target.host, target.path, target.params.remove("at")) == ("", given.path, given.params)
            at = datetime.fromisoformat(target.params["at"])
            assert at.microsecond == 0
            assert distance is None or timedelta() <= datetime.now(UTC) - at - distance < timedelta(seconds=60)
            second = client.get(str(target))
            assert second.status_code != 303
        assert (httpx.get(given).status_code, len(pages.records)) == (401, 4)
        assert all(each <= 9.0 for each in source.limits)


def test_data_of_a_relative_time_has_no_redirect(tmp_path: Path) -> None:
    """A program may not follow one; the reading is that of the second, too."""
    with running_pages({"hangs": Watched()}, tmp_path) as pages, pages.client() as client:
        assert client.get("/waits.json?at=2h").status_code == 200
        assert client.get("/waits?at=").status_code == 200, "the present"


@pytest.mark.parametrize(
    "address",
    [
        *("/waits?at=//evil.example", "/waits?at=https://evil.example", "/waits?at=2h%0d%0aset-cookie:x=1"),
        *("/waits?at=2h&at=3h", "/waits?at=-2h", "/waits?at=9999999d", "/waits?at=2h%00", "/waits?at=14:05"),
        *("//evil.example/?at=2h", "//evil.example/waits?at=2h", "/%2f%2fevil.example?at=2h", "/\\evil.example?at=2h"),
        *("/waits/?at=2h", "/nothing?at=2h", "https://evil.example/waits?at=2h", "/..//evil.example?at=2h"),
    ],
)
def test_a_hostile_time_or_path_leads_nowhere(pages_of_times: RunningPages, address: str) -> None:
    answer = pages_of_times.request("GET", address).lower()
    assert re.match(rb"http/1.1 40[04] ", answer), answer[:200]
    assert not re.search(rb"(?m)^(location|set-cookie):", answer)


@pytest.fixture(scope="module")
def pages_of_times(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPages]:
    with running_pages({"hangs": Watched()}, tmp_path_factory.mktemp("audit")) as pages:
        yield pages


def _done_early(load: Any) -> httpx.Response | None:
    return load.result() if load.done() else None


def test_slow_and_lost_viewers_hold_no_turn(gate: Gate, tmp_path: Path) -> None:
    """Their pages are made before they are sent; the others get theirs meanwhile."""
    gate.open.set()
    with running_pages({"made": SampleRows()}, tmp_path) as pages, pages.client() as client:
        slow = [_ask(pages, "/huge") for _ in range(4)]
        for each in slow:
            assert each.recv(12) == b"HTTP/1.1 200"
        assert client.get("/late").status_code == 200
        for each in slow[:2]:
            each.close()
        assert len(_rest(slow[2])) > HUGE
        assert client.get("/only").status_code == 200
        for each in slow[2:]:
            each.close()


def test_a_slow_page_and_a_slow_viewer_keep_their_connection(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a connection without a request is closed: not while a page is made, and not before it has arrived."""
    monkeypatch.setattr(server, "SILENCE", 0.05)
    with running_pages({"made": SampleRows()}, tmp_path) as pages:
        threading.Timer(0.5, gate.open.set).start()
        with pages.client() as client:
            assert client.get("/only").status_code == 200
        with _ask(pages, "/huge", end="") as slow:
            head = slow.recv(2_000)
            time.sleep(0.5)
            received = len(head.partition(b"\r\n\r\n")[2]) + len(_rest(slow))
        assert f"content-length: {received}\r\n".encode() in head


def test_a_viewer_takes_the_place_of_a_connection_that_waits_for_its_client(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest one ends: silent, or its page is not read. While a page is made for all, a new one is closed."""
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    with running_pages({"made": SampleRows()}, tmp_path) as pages, ExitStack() as stack:
        first = stack.enter_context(_ask(pages, "/only"))
        assert gate.began.acquire(timeout=20)
        silent = [stack.enter_context(_connect(pages)) for _ in range(3)]
        for each in silent[:2]:
            assert _rest(each) == b""
        unread = stack.enter_context(_ask(pages, "/huge"))
        assert _rest(silent[2]) == b""
        assert unread.recv(12) == b"HTTP/1.1 200"
        second = stack.enter_context(_ask(pages, "/only?number=1"))
        assert gate.began.acquire(timeout=20)
        assert len(_rest(unread)) < HUGE
        assert _rest(stack.enter_context(_connect(pages))) == b""
        gate.open.set()
        for each in (first, second):
            assert _rest(each).startswith(b"HTTP/1.1 200")


def test_a_viewer_who_cannot_be_accepted_is_accepted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For example while readings have all files of the process open."""
    accept = asyncio.SelectorEventLoop.sock_accept
    failures = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED]

    async def accept_later(loop: asyncio.SelectorEventLoop, listener: socket.socket) -> Any:
        if failures:
            raise OSError(failures.pop(), "no")
        return await accept(loop, listener)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", accept_later)
    with running_pages({"made": SampleRows()}, tmp_path) as pages, pages.client() as client:
        assert client.get("/health").status_code == 200
    assert failures == []
    assert [each for each in caplog.records if each.name == "asyncio"] == []


def test_a_viewer_who_leaves_does_not_end_the_reading_of_others(gate: Gate, tmp_path: Path) -> None:
    with running_pages({"made": SampleRows()}, tmp_path) as pages, ThreadPoolExecutor(1) as pool:
        leaving = _ask(pages, "/only")
        assert gate.began.acquire(timeout=20)
        with pages.client() as client:
            staying = pool.submit(client.get, "/only")
            leaving.close()
            gate.open.set()
            assert "late 0" in staying.result(20).text
        assert gate.count == 1


def test_viewers_at_the_same_time_wait_for_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty records need few writes to the disk, and each is complete before its page is shown."""
    writes = []
    write = records.AuditLog.read_all
    monkeypatch.setattr(records.AuditLog, "read_all", lambda log, rows: (writes.append(len(rows)), write(log, rows))[1])
    with running_pages({"made": SampleRows()}, tmp_path) as pages, ThreadPoolExecutor(50) as pool:
        with pages.client(limits=httpx.Limits(max_connections=50)) as client:
            statuses = list(pool.map(lambda _: client.get("/nothing.json").status_code, range(50)))
            assert statuses == [404] * 50
        assert len(pages.records) == sum(writes) == 50
        assert len(writes) < 50


def _connect(pages: RunningPages) -> socket.socket:
    return socket.create_connection(("127.0.0.1", pages.port), timeout=20)


def _ask(pages: RunningPages, path: str, *, end: str = "Connection: close\r\n") -> socket.socket:
    """Return a connection on which a page was requested."""
    connection = _connect(pages)
    host = f"Host: 127.0.0.1:{pages.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    connection.sendall(f"GET {path} HTTP/1.1\r\n{host}{end}\r\n".encode())
    return connection


def _rest(connection: socket.socket) -> bytes:
    """Return what arrives until the end or the reset of the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            received += part
    return received
