"""Every changing call behind every gateway, on both kinds of real server: nothing happens twice or unnoticed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

import restate_lab as rl
from restate_lab.actions.execution import runner
from restate_lab.audit import audit_log
from restate_lab.client import _recovery
from restate_lab.client.responses import SUCCESS
from restate_lab.demo.embedded import start_services
from restate_lab.guide import faults
from restate_lab.guide.faults import GATEWAYS
from support import state_services
from support.bulk import running_bulk
from support.clusters import NEWEST, PLAIN
from support.fault_gateways import CALLS, METHODS, RESPONSES, RESTARTS, Gateways, cells, outcome
from support.proxy import Proxy, connect_through, is_batch, is_change

KINDS = (NEWEST, PLAIN)
BOTH_KINDS = pytest.mark.also_on(PLAIN, reason="without vqueues the outcome of a change is read from other tables")
NOT_ON_1_7 = {"bulk_delete_deployments"}
AT_ONCE = 12
HANGS = 240.0
"""Seconds after which a cell counts as hung; the slowest needs a hundredth of it."""
ENOUGH = 400
"""Invocations of each kind; every cell acts on two at most."""
QUICK = {
    "no healthy upstream", "connection termination", "Cloudflare 520", "nginx 499", "API Gateway", "Kubernetes",
    "a login page", "a redirect", "429",
}  # fmt: skip
"""One gateway of each kind of response, restarts and states on both kinds of server; the others are tested at night."""


def _params() -> Iterator[object]:
    for call, gateway, acted, word in cells():
        for number, kind in enumerate(KINDS):
            has_turn = call in {"restart", "set_state"} or number == (list(CALLS).index(call) + acted) % 2
            marks = () if gateway in QUICK and has_turn else pytest.mark.long
            id_ = f"{kind}-{call}-{gateway}-{'acted' if acted else 'unsent'}"
            yield pytest.param(kind, call, gateway, acted, word, id=id_, marks=marks)


Cell = tuple[str, str, str, bool]


@pytest.fixture(scope="module")
def servers(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateways]]:
    """Give a server of each kind, with ended and delayed invocations and a virtual object."""
    with contextlib.ExitStack() as stack:
        made = {}
        for kind in KINDS:
            folder = tmp_path_factory.mktemp("gateways")
            bulk = stack.enter_context(running_bulk(kind, folder / "bulk"))
            process, uri = start_services(folder, str(state_services.__file__))
            stack.enter_context(process)
            bulk.lab.admin.create_deployment(uri=uri)
            ended, later = (iter(bulk.fill(what, ENOUGH)) for what in ("answer", "later"))
            made[kind] = Gateways(bulk, folder, ended, later)
        yield made


@pytest.fixture(scope="module")
def outcomes(servers: dict[str, Gateways], request: pytest.FixtureRequest) -> Iterator[dict[Cell, Future[str]]]:
    """Run all collected cells, some at a time: most of them wait."""
    chosen = [
        item.callspec.params  # type: ignore[attr-defined]
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec") and "gateway" in item.callspec.params
    ]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE) as pool:
        patch.setattr(runner, "SEEN_WITHIN", 1.0)
        patch.setattr(_recovery, "_SETTLES_WITHIN", 0.5)  # the servers are never away, only gateways claim it
        tried = {
            (each["kind"], each["call"], each["gateway"], each["acted"]): pool.submit(
                outcome, servers[each["kind"]], each["call"], each["gateway"], acted=each["acted"]
            )
            for each in chosen
        }
        for future in tried.values():
            future.exception(HANGS)
        yield tried


@pytest.mark.server
@BOTH_KINDS
@pytest.mark.parametrize(("kind", "call", "gateway", "acted", "word"), list(_params()))
def test_every_changing_call_behind_every_gateway(
    servers: dict[str, Gateways],
    outcomes: dict[Cell, Future[str]],
    kind: str,
    call: str,
    gateway: str,
    acted: bool,
    word: str,
) -> None:
    """The outcome is the one in the guide, and the server shows the same; a repeated test tries the call again."""
    cell = kind, call, gateway, acted
    tried = outcomes.pop(cell, None)
    assert (tried.result() if tried else outcome(servers[kind], call, gateway, acted=acted)) == word


def test_the_gateways_are_whole() -> None:
    """Every row is tested and is on the page; every change in the table of successes is a method that is tested."""
    assert list(RESPONSES) == [gateway.name for gateway in GATEWAYS]
    assert set(RESPONSES) >= QUICK
    assert set(METHODS) == set(SUCCESS) - {"batch", "health", "attach", "output"} - NOT_ON_1_7
    assert {call for call, *_ in cells()} == set(CALLS)
    assert all(f"| {gateway.description} |" in str(faults.__doc__) for gateway in GATEWAYS)


TERMINATED = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"


@pytest.mark.server
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("singly", [False, True], ids=["batch", "single"])
def test_a_restart_behind_envoy_happens_once(
    servers: dict[str, Gateways], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, singly: bool
) -> None:
    """Envoy answers the first change with 503 after the server acted: each id is restarted once, and named once."""
    monkeypatch.setattr(runner, "SEEN_WITHIN", 20.0)  # on a busy machine its effect shows later
    clock = rl.Lab.now.fget
    # the server's clock of new invocations is sometimes behind that of statements
    monkeypatch.setattr(rl.Lab, "now", property(lambda lab: clock(lab) + timedelta(milliseconds=8)))
    ids = [next(servers[kind].ended) for _ in range(2)]
    responses = iter([httpx.Response(503, text=TERMINATED)])
    proxy = Proxy(after=lambda request: next(responses, None) if is_change(request) else None)
    with connect_through(proxy, servers[kind].bulk.url, tmp_path) as lab:
        if singly:
            lab.transport.refused_batches.add("restart-as-new")
        frame = rl.plan(lab, "restart_as_new", ids).execute(reason="x")
        there = servers[kind].bulk.lab.sql(RESTARTS, ids=ids)
    assert frame["outcome"].tolist() == ["done", "done"]
    assert sorted(zip(there["restarted_from"], there["id"], strict=True)) == sorted(
        zip(frame["id"], frame["new_id"], strict=True)
    )
    assert sum(map(is_batch_path, proxy.changes)) == (0 if singly else 1)
    assert audit_log(tmp_path, change=frame.attrs["change"])["new_id"].tolist() == frame["new_id"].tolist()


def is_batch_path(change: tuple[str, str]) -> bool:
    return is_batch(httpx.Request(change[0], f"http://127.0.0.1{change[1]}"))


@pytest.mark.server
def test_a_single_restart_behind_envoy_is_unknown(servers: dict[str, Gateways], tmp_path: Path) -> None:
    """The method of AdminClient sends it once and reports that it may have happened; it has."""
    id_ = next(servers[NEWEST].ended)
    proxy = Proxy(after=lambda request: httpx.Response(503, text=TERMINATED) if is_change(request) else None)
    with connect_through(proxy, servers[NEWEST].bulk.url, tmp_path) as lab:
        with pytest.raises(rl.errors.OutcomeUnknown, match=r"connection termination.*may have happened"):
            lab.admin.restart_as_new_invocation(id_)
    assert len(servers[NEWEST].bulk.lab.sql(RESTARTS, ids=[id_])) == 1
    assert audit_log(tmp_path)["outcome"].tolist() == ["unknown"]


@pytest.mark.server
def test_a_gateway_that_repeats_requests_is_reported(servers: dict[str, Gateways], tmp_path: Path) -> None:
    """It restarts an invocation twice and passes the second response on: frame and audit log have both new ids."""
    bulk, id_ = servers[NEWEST].bulk, next(servers[NEWEST].ended)
    first = []

    def repeat(request: httpx.Request) -> None:
        if is_change(request):
            first.append(bulk.lab.admin.restart_as_new_invocation(id_).new_invocation_id)

    with connect_through(Proxy(before=repeat), bulk.url, tmp_path) as lab:
        (row,) = rl.plan(lab, "restart_as_new", [id_]).execute(reason="x").to_dict("records")
        (written,) = audit_log(tmp_path, change=audit_log(tmp_path)["change"][0]).to_dict("records")
    assert (row["outcome"], row["other_new_ids"]) == ("done", first[0])
    assert {row["new_id"], row["other_new_ids"]} == set(bulk.lab.sql(RESTARTS, ids=[id_])["id"])
    assert {name: written[name] for name in ("new_id", "other_new_ids")} == {
        "new_id": row["new_id"],
        "other_new_ids": row["other_new_ids"],
    }
