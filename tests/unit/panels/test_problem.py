"""Panels on a server that does not respond: their messages, their requests, and the time of the next read."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest
from playwright._impl._driver import compute_driver_executable

from restate_lab._text import format_duration
from restate_lab.audit import AuditLog
from restate_lab.client._recovery import RecoveryTracker
from restate_lab.client.lab import Lab
from restate_lab.client.settings import Settings
from restate_lab.errors import AccessDenied, QueryInterrupted, RateLimited, TimedOut, Unreachable
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base import refresher
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.problem import ReadFailure, kind_of
from support.bench import wait_for
from support.faults import ARROW, reads_give_up_after

AT = datetime(2026, 11, 25, 3, 28, 31, tzinfo=UTC)


class OnePanel(LivePanel):
    """Reads one number."""

    number = 0

    def _read(self) -> int:
        return int(self.reads.arrow("SELECT 1 AS n")["n"][0].as_py())

    def _show(self, found: int) -> None:
        self.number = found

    @property
    def code(self) -> str:
        return ""

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({"n": [self.number]})


class Server:
    """Answers as a server does, or with ``query`` and ``version``; ``asked`` has the paths, and the allowed times."""

    def __init__(self) -> None:
        self.query: Callable[[httpx.Request], httpx.Response] = _rows
        self.version: Callable[[httpx.Request], httpx.Response] = _about
        self.asked: list[str] = []
        self.allowed: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path == "/version":
            return self.version(request)
        self.allowed.append(request.extensions["timeout"]["read"])
        return self.query(request)


def _rows(_: httpx.Request) -> httpx.Response:
    table, sink = pa.table({"n": [1]}), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return httpx.Response(200, headers={"content-type": ARROW}, content=iter([sink.getvalue()]))


def _about(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"version": "1.7.12"})


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("the time limit of this call has passed", request=request)


def status(code: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(code, headers=headers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Give a server that answers; a refused request is not repeated below the panel, and recovery takes no time."""
    reads_give_up_after(0.0, monkeypatch)
    monkeypatch.setattr(RecoveryTracker, "seconds_left", 0.0)
    monkeypatch.setattr(refresher, "_FIRST_RETRY", 0.02)
    return Server()


@pytest.fixture
def connect(server: Server, tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Give a function that connects to the server."""
    labs: list[Lab] = []

    def connect(**options: Any) -> Lab:
        settings = Settings("demo", "http://127.0.0.1:1", None, None, "", "the argument")
        labs.append(Lab(settings, audit=AuditLog(tmp_path), network=httpx.MockTransport(server), **options))
        return labs[-1]

    yield connect
    for lab in labs:
        lab.close()


@pytest.fixture
def panel(connect: Callable[..., Lab]) -> Iterator[OnePanel]:
    """Give a panel that is not in view, so that it reads only on request; it has read once."""
    made = OnePanel(connect(), refresh=None)
    made.refresh()
    assert (made.error, made.number) == ("", 1)
    yield made
    made.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")] == []


def look(panel: LivePanel, *, in_sight: bool = True) -> None:
    panel.head.receive({"type": "alive", "view": "v1", "in_sight": in_sight})


@pytest.mark.parametrize(
    ("query", "version", "kind", "said"),
    [
        (refused, refused, "away", "Cannot reach demo for "),
        (silent, silent, "away", "Cannot reach demo for "),
        (status(502), status(502), "away", "Cannot reach demo for "),
        (status(503), status(503), "away", "Cannot reach demo for "),
        (status(504), status(504), "away", "Cannot reach demo for "),
        (status(503), status(404), "away", "Cannot reach demo for "),
        (silent, _about, "slow", "The query took longer than 30s. Showing "),
        (status(504), _about, "failed", "demo responds, but the last read failed. Showing "),
        (status(500), _about, "failed", "demo responds, but the last read failed. Showing "),
        (status(401), status(401), "denied", "demo denied access. Showing "),
        (status(429, **{"retry-after": "29"}), _about, "limited", "demo limits the number of requests. Showing "),
    ],
)
def test_each_failure_has_its_sentence(
    panel: OnePanel, server: Server, query: Any, version: Any, kind: str, said: str
) -> None:
    """A server that is away, one that is slow, one that refuses and a gateway in its place have different messages."""
    server.query, server.version = query, version
    panel.refresh()
    assert panel.error.startswith(said)
    assert re.search(r"\. Showing \d\d:\d\d:\d\d\. Next try in \d+s\.$", panel.error.partition("\n")[0])
    assert panel.head.problem["kind"] == kind
    assert panel.head.banner == ""
    assert panel.number == 1
    assert said in panel._repr_mimebundle_()["text/html"]
    server.query, server.version = _rows, _about
    panel.refresh()
    assert (panel.error, panel.head.problem) == ("", {})


def test_the_advice_for_a_slow_query_names_its_time_limit(panel: OnePanel, server: Server) -> None:
    server.query = silent
    panel.refresh()
    assert "demo responds to other requests. Use narrower filters: a panel reads for at most 30s." in panel.error


@pytest.mark.parametrize(("timeout", "allowed"), [(2.0, 2.0), (30.0, 30.0), (300.0, 30.0)])
def test_a_query_is_limited_by_the_connection_and_by_30_seconds(
    connect: Callable[..., Lab], server: Server, timeout: float, allowed: float
) -> None:
    panel = OnePanel(connect(timeout=timeout), refresh=None)
    panel.refresh()
    panel.reads.arrow("SELECT 1 AS n", timeout=9.0)
    assert server.allowed == [pytest.approx(allowed, abs=0.5), pytest.approx(min(timeout, 9.0), abs=0.5)]
    server.query = silent
    panel.refresh()
    assert f"The query took longer than {allowed:g}s" in panel.error
    assert ("or a connection with a longer time limit" in panel.error) == (timeout < 30)
    panel.close()


def test_a_lost_server_is_asked_cheaply_until_it_answers(panel: OnePanel, server: Server) -> None:
    """While the server is away each try is one GET /version; the first successful one is followed by the query."""
    server.query = server.version = refused
    panel.refresh()
    server.asked.clear()
    look(panel)
    wait_for(lambda: len(server.asked) > 3)
    assert set(server.asked) == {"/version"}
    server.query, server.version = _rows, _about
    wait_for(lambda: panel.error, lambda error: error == "")
    assert server.asked[-1] == "/query"
    assert server.asked.count("/query") == 1


def test_another_answer_ends_the_wait(panel: OnePanel, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any successful read on the same connection makes a panel that had lost the server read at once."""
    monkeypatch.setattr(refresher, "_FIRST_RETRY", 500.0)
    monkeypatch.setattr(refresher, "_LONGEST", 500.0)
    look(panel)
    server.query = server.version = refused
    panel.ask()
    assert panel.wait(timeout=60)
    assert "Next try in 8m" in panel.error
    server.query, server.version = _rows, _about
    panel.source.sql("SELECT 1 AS n")
    wait_for(lambda: panel.error, lambda error: error == "")


def test_a_slow_query_does_not_end_by_another_answer(panel: OnePanel, server: Server) -> None:
    """A slow query is not repeated because the server answers other requests: it always did."""
    server.query = silent
    panel.refresh()
    panel.source.version  # noqa: B018 - a request
    server.version = _about
    panel.reads.probe_error()
    assert not panel._is_back()


def test_a_connection_that_was_closed_is_not_asked_again(panel: OnePanel, server: Server) -> None:
    """After lab.close() the panel reports it, also while the server is away, and does not try again."""
    server.query = server.version = refused
    panel.refresh()
    panel.source.close()
    panel.refresh()
    assert "was closed" in panel.error
    assert panel.refresher.pace.wait is None
    assert panel.head.problem == {}


def test_a_panel_that_was_never_read_does_not_look_empty(connect: Callable[..., Lab], server: Server) -> None:
    lab = connect()
    assert lab.version
    server.query = server.version = refused
    panel = OnePanel(lab, refresh=None)
    panel.refresh()
    assert re.match(r"Cannot reach demo for \d+s\. There is no data yet\. Next try in ", panel.error)
    assert panel.head.problem["stale"] is False
    panel.close()


def test_the_sentence_and_what_the_view_counts_from() -> None:
    """One line has the failure, its start, the time of the rows and the next try; the view gets the times to count."""
    problem = ReadFailure(
        kind="away",
        name="demo",
        since=AT - timedelta(seconds=34),
        shown_at=AT - timedelta(seconds=34),
        next_at=AT + timedelta(seconds=12),
        limit=30.0,
        detail="Unreachable: refused",
    )
    first = "Cannot reach demo for 34s. Showing 03:27:57. Next try in 12s."
    assert problem.text(AT) == f"{first}\nUnreachable: refused"
    view = problem.for_view()
    assert (AT.timestamp() - view["since"], view["next_at"] - AT.timestamp()) == (34.0, 12.0)
    assert (view["lead"], view["showing"], view["detail"]) == (
        "Cannot reach demo", "Showing 03:27:57.", "Unreachable: refused",
    )  # fmt: skip


def test_the_browser_writes_durations_in_the_same_way() -> None:
    """The script that counts in the page has the same text for a whole number of seconds."""
    lengths = [0, 1, 59, 60, 61, 119, 3_599, 3_600, 3_661, 7_980, 86_399, 86_400, 86_460, 90_061, 1_234 * 86_400]
    script = (
        'import {{ formatDuration }} from "data:text/javascript;base64,{}"; console.log({}.map(formatDuration).join())'
    )
    source = base64.b64encode(read_assets("_assets/elements.js").encode()).decode()
    node, _ = compute_driver_executable()
    command = [node, "--input-type=module", "--eval", script.format(source, lengths)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.strip().split(",") == [format_duration(each) for each in lengths]


def test_the_error_of_the_cheap_request_decides_before_the_error_of_the_read() -> None:
    gone, slow = Unreachable("gone"), TimedOut("slow")
    assert kind_of(slow, gone) == "away"
    assert kind_of(slow, None) == "slow"
    assert kind_of(gone, None) == "failed"
    assert kind_of(slow, AccessDenied("no")) == "denied"
    assert kind_of(gone, RateLimited("slow down")) == "limited"
    assert kind_of(QueryInterrupted("cut", rows=1), None) == "failed"
