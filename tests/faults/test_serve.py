"""Served pages on a real server: whatever is sent to them, the server gets only reads, and few of them at once."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

import restate_lab as rl
from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.journal import read_journal
from restate_lab.serve.access import HEADERS
from restate_lab.serve.pages import PAGES
from restate_lab.serve.readings import AT_ONCE, LimitedSource
from support.fault_verbs import FaultBench
from support.page_servers import RecordingProxy, RunningPages, running_pages
from support.proxy import connect_through

pytestmark = pytest.mark.server

METHODS = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "get")
HOSTILE = (
    "<script>alert(1)</script>",
    "'; DROP TABLE state; --",
    "\0",
    "../../etc/passwd",
    "-1",
    "9" * 30,
    "\u202e\U0001f600{{7*7}}%s",
    "a" * 3_000,
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
)
COOKIES = ("restate_lab=x", "__Host-restate_lab_{port}=1.x", "restate_lab_{port}=" + "9" * 3_000, "=;;=; x", "a=\xe4")
HOSTS = ("evil.example", "127.0.0.1", "localhost:{port}.evil.example", "[::1]:{port}")
ALLOWED = {200, 400, 404, 502, 503, 504}
VIEWERS = 50


@contextmanager
def pages_of(bench: FaultBench, folder: Path, **proxy: Any) -> Iterator[tuple[RunningPages, RecordingProxy]]:
    """Serve pages of the cluster, with a gateway before it, and with the names of tables already read."""
    network = RecordingProxy(**proxy)
    with connect_through(network, bench.lab.settings.admin_url, folder) as lab:
        rl.doctor(lab)
        network.requests.clear()
        network.most = 0
        with running_pages({"cluster": lab}, folder) as pages:
            yield pages, network


def parameters_of(client: httpx.Client, path: str) -> list[str]:
    """Return the names of the parameters of a page: the error of an unknown one has them."""
    text = html.unescape(client.get(path, params={"\u00a7": "1"}).text)
    names = re.search(r"unknown parameter '\u00a7'\. Choose from ([^.]+)\.", text)
    return [] if names is None or names[1] == "none" else names[1].split(", ")


def urls_of(client: httpx.Client, bench: FaultBench) -> Iterator[str]:
    """Yield addresses of every page: its own, and with hostile arguments and values of each of its parameters."""
    value = itertools.cycle(HOSTILE)
    for name in PAGES:
        paths = [f"/{name}", f"/{name}/{bench.waiter}", *(f"/{name}/{quote(next(value), safe='')}" for _ in range(2))]
        for path in paths:
            yield path
            yield f"{path if path != '/' else '/index'}.json"
        for path in paths[:2]:
            yield f"{path}?source=x&source=cluster"
            for parameter in parameters_of(client, path):
                yield f"{path}?{urlencode([(parameter, next(value))])}"
                yield f"{path}?{urlencode([(parameter, next(value)), (parameter, next(value))])}"
    yield from ("//", "//evil.example/", "/..%2f", "/%2e%2e/waits", "/page.js/x", "/favicon.ico", "/?%ff=%00&&=&")


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_crawler_causes_only_reads(bench: FaultBench, tmp_path: Path, step: int) -> None:
    """Every method, path, query, name and cookie: each response is short of a traceback, and has our headers."""
    with pages_of(bench, tmp_path) as (pages, network), pages.client() as client:
        urls = list(urls_of(client, bench))
        assert len(urls) > 10 * len(PAGES)
        urls = urls[::step]
        for url in urls:
            response = client.get(url)
            check(response, url)
            assert response.status_code in ALLOWED, url
        assert ("POST", "/query") in network.requests
        reads = len(network.requests)
        for url, method in itertools.product(urls, METHODS):
            assert pages.request(method, url).startswith(b"HTTP/1.1 405 "), (method, url)
        refused(pages, urls)
        assert len(network.requests) == reads, "what is refused reads nothing"
    assert network.changes == []
    assert {(method, path) for method, path in network.requests if method != "GET"} == {("POST", "/query")}


def refused(pages: RunningPages, urls: list[str]) -> None:
    """Send each address without the token, and to another name: the responses show nothing of the cluster."""
    with pages.client(has_token=False) as stranger, pages.client() as known:
        for url, cookie, host in zip(urls, itertools.cycle(COOKIES), itertools.cycle(HOSTS), strict=False):
            answers = {
                401: stranger.get(url, headers={"cookie": cookie.format(port=pages.port).encode("latin-1")}),
                421: known.get(url, headers={"host": host.format(port=pages.port)}),
            }
            for status, answer in answers.items():
                assert answer.status_code == status, url
                check(answer, url)
                assert not re.search(r"inv_1|cluster|Depot|Bulk", answer.text), url


def check(response: httpx.Response, url: str) -> None:
    assert not re.search(r"Traceback|File \"|internal error", response.text), (url, response.text)
    assert response.headers["content-type"] != "text/html; charset=utf-8" or "<script>alert" not in response.text, url
    assert all(response.headers.get(name) == value for name, value in HEADERS.items()), url
    assert "set-cookie" not in response.headers
    assert "location" not in response.headers


def test_fifty_viewers_of_one_page_cost_what_one_costs(bench: FaultBench, tmp_path: Path) -> None:
    costs = []
    for viewers in (1, VIEWERS):
        with pages_of(bench, tmp_path / str(viewers)) as (pages, network):
            statuses = load_at_once(pages, ["/"] * viewers)
            assert set(statuses) == {200}
            assert len(pages.records) == viewers
            costs.append(network.statements)
    assert 0 < costs[1] <= 1.5 * costs[0]


def test_thirty_viewers_of_a_relative_time_cost_what_one_costs(bench: FaultBench, tmp_path: Path) -> None:
    """For each second in which one of them came."""
    costs, times = [], set()
    for viewers in (1, 30):
        with pages_of(bench, tmp_path / str(viewers)) as (pages, network):
            statuses = load_at_once(pages, ["/waits?at=5s"] * viewers, follow_redirects=True)
            assert set(statuses) == {200}
            times = {json.loads(each["arguments"])["at"][0] for each in pages.records}
            costs.append(network.statements)
    assert len(times) <= 5
    assert 0 < costs[1] <= 1.5 * costs[0] * len(times)


@pytest.mark.long
def test_fifty_viewers_of_fifty_pages_send_two_statements_at_once(bench: FaultBench, tmp_path: Path) -> None:
    """The other viewers come back later, and get their page."""
    ids = list(bench.lab.sql("SELECT id FROM sys_invocation LIMIT :n", n=VIEWERS)["id"])
    with pages_of(bench, tmp_path, pause=0.02) as (pages, network):
        statuses = load_at_once(pages, [f"/invocation/{id_}" for id_ in ids])
        assert set(statuses) == {200, 503}
        assert network.most == AT_ONCE
        with pages.client() as client:
            assert client.get(f"/invocation/{ids[-1]}").status_code == 200
    assert network.count == 0


def load_at_once(pages: RunningPages, urls: list[str], **options: Any) -> list[int]:
    """Return the statuses of pages that viewers load at the same time; a 503 has the time to come back."""

    def load(url: str) -> int:
        with pages.client(**options) as client:
            response = client.get(url)
        assert (response.status_code == 503) is (int(response.headers.get("retry-after", 0)) > 0)
        return response.status_code

    with ThreadPoolExecutor(len(urls)) as pool:
        return list(pool.map(load, urls))


def test_every_reading_needs_one_turn(bench: FaultBench) -> None:
    """With a single turn, a reading that needed two would fail: none does, on a cluster and on evidence."""
    ended = next(bench.ended)
    with rl.open_evidence(bench.folder / "good-freeze" / "x.evidence") as evidence:
        for source, id_ in ((bench.lab, ended), (evidence, bench.waiter)):
            limited = LimitedSource(source, at_once=1)
            limits: dict[str, Any] = {"timeout": 60}
            assert rl.doctor(limited, **limits).verdict != "incomplete" or source is evidence
            rl.waits(limited, **limits)
            rl.why(limited, id_, **limits)
            read_journal(limited, id_, **limits)
            if source is bench.lab:
                rl.agent_runs(limited, **limits)
            for question in ("overview", "blocked_keys"):
                rl.ask(limited, question, **limits)
    compare_sides(LimitedSource(bench.lab, at_once=1), "failed", service="Bulk", payloads=True, timeout=60)
