"""Every changing call behind every gateway, on both kinds of real server: nothing happens twice or unnoticed."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import restate_lab as rl
from restate_lab.actions.execution import runner
from restate_lab.audit import audit_log
from restate_lab.client import _recovery
from restate_lab.client.admin import AdminClient
from restate_lab.client.lab import Lab
from restate_lab.client.models import UpsertRule
from restate_lab.client.responses import SUCCESS
from restate_lab.demo.embedded import start_services
from restate_lab.guide import faults
from restate_lab.guide.faults import GATEWAYS
from restate_lab.progress import NoProgress
from support import state_services
from support.bulk import Bulk, running_bulk
from support.clusters import NEWEST, PLAIN
from support.faults import LIMITED, PAGE, http_response
from support.proxy import Proxy, connect_through, is_batch, is_change
from support.tcp_relay import Fault, tcp_relay

CHANGES = rb"^(PATCH|PUT|DELETE|POST (?!/query))"
RESTARTS = "SELECT restarted_from, id FROM sys_invocation_status WHERE restarted_from IN :ids"
SECONDS = 30.0
_RESET = b"upstream connect error or disconnect/reset before headers. "
_KUBERNETES = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "timed out"}


def _envoy(status: str, text: bytes) -> bytes:
    return http_response(status, text, "text/plain", server="envoy")


def _page(status: str, server: str) -> bytes:
    page = f"<html>\r\n<head><title>{status}</title></head>\r\n<body>{server}</body>\r\n</html>\r\n"
    return http_response(status, page.encode(), "text/html", server=server)


RESPONSES: Mapping[str, bytes] = {
    "no healthy upstream": _envoy("503 Service Unavailable", b"no healthy upstream"),
    "connection failure": _envoy("503 Service Unavailable", _RESET + b"reset reason: connection failure"),
    "connection timeout": _envoy("503 Service Unavailable", _RESET + b"reset reason: connection timeout"),
    "overflow": _envoy("503 Service Unavailable", _RESET + b"reset reason: overflow"),
    "connection termination": _envoy("503 Service Unavailable", _RESET + b"reset reason: connection termination"),
    "retried": _envoy("503 Service Unavailable", _RESET + b"retried and the latest reset reason: connection failure"),
    "upstream request timeout": _envoy("504 Gateway Timeout", b"upstream request timeout"),
    "stream timeout": _envoy("408 Request Timeout", b"stream timeout"),
    **{
        f"Cloudflare {status}": _page(f"{status} {reason}", "cloudflare")
        for status, reason in {
            520: "Web server is returning an unknown error",
            521: "Web server is down",
            522: "Connection timed out",
            523: "Origin is unreachable",
            524: "A timeout occurred",
            525: "SSL handshake failed",
            526: "Invalid SSL certificate",
            530: "Argo Tunnel error",
        }.items()
    },
    "nginx 408": _page("408 Request Time-out", "nginx"),
    "nginx 499": _page("499 Client Closed Request", "nginx"),
    "nginx 500": _page("500 Internal Server Error", "nginx"),
    "nginx 502": _page("502 Bad Gateway", "nginx"),
    "nginx 503": _page("503 Service Temporarily Unavailable", "nginx"),
    "nginx 504": _page("504 Gateway Time-out", "nginx"),
    "ALB 502": _page("502 Bad Gateway", "awselb/2.0"),
    "ALB 504": _page("504 Gateway Time-out", "awselb/2.0"),
    "ALB 561": _page("561 Authentication Error", "awselb/2.0"),
    "API Gateway": http_response("504 Gateway Timeout", b'{"message": "Endpoint request timed out"}'),
    "Kubernetes": http_response("503 Service Unavailable", json.dumps({**_KUBERNETES, "code": 503}).encode()),
    "empty 503": http_response("503 Service Unavailable"),
    "420": http_response("420 Enhance Your Calm"),
    "a login page": http_response("200 OK", PAGE, "text/html; charset=utf-8"),
    "a JSON login": http_response("200 OK", b'{"error": "sign in"}'),
    "a redirect": http_response("302 Found", location="https://login.example/?to=admin"),
    "429": http_response("429 Too Many Requests", LIMITED, "text/html", retry_after="0.05"),
}


@dataclass
class Gateways:
    """A real server behind gateways; ``ended`` and ``later`` give ids of invocations to act on, each once."""

    bulk: Bulk
    folder: Path
    ended: Iterator[str]
    later: Iterator[str]
    numbers: Iterator[int] = field(default_factory=itertools.count)


@dataclass(frozen=True)
class GatewayCall:
    """One call behind one gateway; ``acted``: the server acts before the gateway responds."""

    server: Gateways
    response: bytes
    acted: bool
    folder: Path

    def fault(self, times: float) -> Fault:
        return Fault(where=CHANGES, response=self.response, acted=self.acted, times=times)

    def connect(self, admin_url: str, **options: Any) -> Lab:
        return rl.connect(admin_url, timeout=SECONDS, audit=self.folder / "audit", check=False, **options)


def _plan(action: str, call: GatewayCall, ids: list[str], *, singly: bool) -> rl.Plan:
    """Execute a plan whose first change meets the gateway; return its outcome frame and check the audit log."""
    fault = call.fault(1)
    fault.armed = False
    with tcp_relay(call.server.bulk.url, fault=fault) as line, call.connect(line.url) as lab:
        made = rl.plan(lab, action, ids)
        if singly:
            lab.transport.refused_batches.add(action.replace("_", "-"))
        fault.armed = True
        frame = made.execute(reason="a test", progress=NoProgress())
    written = rl.audit_log(call.folder / "audit", change=frame.attrs["change"])
    for column in ("id", "outcome", "error", "new_id", "other_new_ids"):
        assert written[column].tolist() == frame[column].tolist()
    assert fault.happened == 1
    assert frame["error"].notna().tolist() == (frame["outcome"] != "done").tolist()
    return frame


def restart(call: GatewayCall, *, singly: bool = False) -> str:
    """Restart ended invocations: the number of restarts and the new ids must match the server."""
    ids = [next(call.server.ended) for _ in range(1 if singly else 2)]
    frame = _plan("restart_as_new", call, ids, singly=singly)
    time.sleep(0.1)
    there = call.server.bulk.lab.sql(RESTARTS, ids=ids, progress=False)
    named = frame[frame["outcome"] == "done"].set_index("id")["new_id"].to_dict()
    assert sorted(zip(there["restarted_from"], there["id"], strict=True)) == sorted(named.items())
    return " and ".join(sorted(set(frame["outcome"])))


def kill(call: GatewayCall, *, singly: bool = False) -> str:
    """Kill scheduled invocations: the done ones are gone, the others are there."""
    ids = [next(call.server.later) for _ in range(1 if singly else 2)]
    frame = _plan("kill", call, ids, singly=singly)
    assert call.server.bulk.count(tuple(ids)) == (frame["outcome"] != "done").sum()
    return " and ".join(sorted(set(frame["outcome"])))


def set_state(call: GatewayCall) -> str:
    """Set a key of an object's state: it is there if the server has acted, and the change was sent once."""
    key = f"key-{next(call.server.numbers)}"
    with tcp_relay(call.server.bulk.url, fault=call.fault(float("inf"))) as line, call.connect(line.url) as lab:
        came = _error_of(lambda: rl.set_state(lab, "Drawer", key, {"n": 1}, reason="a test", timeout="5s"))
    assert sum(head.startswith(b"POST /services/") for head in line.heads) == 1
    time.sleep(0.1)
    assert dict(rl.state(call.server.bulk.lab, "Drawer", key)) == ({"n": 1} if call.acted else {})
    return came


def methods(call: GatewayCall) -> str:
    """Call each changing method of AdminClient and IngressClient, one request each; return one outcome for all."""
    bulk, fault = call.server.bulk, call.fault(float("inf"))
    with (
        tcp_relay(bulk.url, fault=fault) as admin,
        tcp_relay(bulk.lab.ingress.address, fault=fault) as ingress,
        call.connect(admin.url, ingress_url=ingress.url) as lab,
    ):
        came = {name: _error_of(lambda make=make: make(lab, call.server)) for name, make in METHODS.items()}
    if not bulk.has_vqueues:  # refused before anything is sent
        assert {came.pop(name) for name in ("pause_vqueue", "resume_vqueue")} == {"NotOnThisServer"}
    changes = [head for line in (admin, ingress) for head in line.heads if Fault(where=CHANGES).applies_to(head)]
    assert len(changes) == len(came)
    written = rl.audit_log(call.folder / "audit")
    assert set(written["action"]) == set(came)
    assert len(written) == len(came)
    assert set(written["outcome"]) == {"refused" if set(came.values()) == {"RateLimited"} else "unknown"}
    return " and ".join(sorted(set(came.values())))


def _error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except rl.errors.RestateLabError as error:
        return type(error).__name__
    return "done"


_OTHER = "1" + "x" * 20
_INVOCATION = f"inv_{_OTHER}{'x' * 13}"
_AWAKEABLE = "sign_1x3PmOpi1vZkBohBAQ4zE3j3_fz6ZOTusAAAAEQ"
_DEPLOYMENT, _SUBSCRIPTION, _QUEUE = f"dp_{_OTHER}xx", f"sub_{_OTHER}xx", f"vq_{_OTHER}{'x' * 13}"
_BROKERS = {"bootstrap.servers": "127.0.0.1:1"}

METHODS: Mapping[str, Callable[[Lab, Gateways], object]] = {
    "create_deployment": lambda lab, _: lab.admin.create_deployment(uri="http://127.0.0.1:1"),
    "update_deployment": lambda lab, _: lab.admin.update_deployment(_DEPLOYMENT, overwrite=True),
    "delete_deployment": lambda lab, _: lab.admin.delete_deployment(_DEPLOYMENT, force=True, reason="INC-42"),
    "modify_service": lambda lab, _: lab.admin.modify_service("Bulk", public=True),
    "modify_service_state": lambda lab, _: lab.admin.modify_service_state(
        "Drawer", "other", new_state={"n": b"1"}, reason="INC-42"
    ),
    "cancel_invocation": lambda lab, _: lab.admin.cancel_invocation(_INVOCATION, reason="INC-42"),
    "kill_invocation": lambda lab, _: lab.admin.kill_invocation(_INVOCATION, reason="INC-42"),
    "pause_invocation": lambda lab, _: lab.admin.pause_invocation(_INVOCATION),
    "resume_invocation": lambda lab, _: lab.admin.resume_invocation(_INVOCATION),
    "purge_invocation": lambda lab, _: lab.admin.purge_invocation(_INVOCATION, reason="INC-42"),
    "purge_journal": lambda lab, _: lab.admin.purge_journal(_INVOCATION, reason="INC-42"),
    "restart_as_new_invocation": lambda lab, server: lab.admin.restart_as_new_invocation(
        next(server.ended), reason="INC-42"
    ),
    # without the decorator, whose warning is an error in the tests
    "delete_invocation": lambda lab, _: inspect.unwrap(AdminClient.delete_invocation)(
        lab.admin, _INVOCATION, reason="INC-42"
    ),
    "create_subscription": lambda lab, _: lab.admin.create_subscription(
        source="kafka://none/topic", sink="service://Bulk/answer"
    ),
    "delete_subscription": lambda lab, _: lab.admin.delete_subscription(_SUBSCRIPTION, reason="INC-42"),
    "create_kafka_cluster": lambda lab, _: lab.admin.create_kafka_cluster("made", properties=_BROKERS),
    "update_kafka_cluster": lambda lab, _: lab.admin.update_kafka_cluster("none", properties=_BROKERS),
    "delete_kafka_cluster": lambda lab, _: lab.admin.delete_kafka_cluster("none", reason="INC-42"),
    "upsert_rules": lambda lab, _: lab.admin.upsert_rules([UpsertRule("a/*", {"concurrency": 5})]),
    "bulk_delete_rules": lambda lab, _: lab.admin.bulk_delete_rules(["b/*"], reason="INC-42"),
    "pause_vqueue": lambda lab, _: lab.admin.pause_vqueue(_QUEUE),
    "resume_vqueue": lambda lab, _: lab.admin.resume_vqueue(_QUEUE),
    "call": lambda lab, _: lab.ingress.call("Bulk", "answer", 1),
    "send": lambda lab, _: lab.ingress.send("Bulk", "answer", 1),
    "resolve_awakeable": lambda lab, _: lab.ingress.resolve_awakeable(_AWAKEABLE, 1),
    "reject_awakeable": lambda lab, _: lab.ingress.reject_awakeable(_AWAKEABLE, "no"),
}
"""Each changing method of AdminClient and IngressClient, by its name."""

CALLS: Mapping[str, Callable[[GatewayCall], str]] = {
    "restart": restart,
    "restart singly": lambda call: restart(call, singly=True),
    "kill": kill,
    "kill singly": lambda call: kill(call, singly=True),
    "set_state": set_state,
    "methods": methods,
}


def cells() -> Iterator[tuple[str, str, bool, str]]:
    """Yield call, gateway, whether the server acts first, and the outcome of every cell."""
    for gateway in GATEWAYS:
        for acted, word in ((False, gateway.unsent), (True, gateway.acted)):
            if word:
                for call in CALLS:
                    yield call, gateway.name, acted, gateway.other if call in {"set_state", "methods"} else word


def outcome(server: Gateways, call: str, gateway: str, *, acted: bool) -> str:
    folder = server.folder / f"cell-{next(server.numbers)}"
    folder.mkdir()
    return CALLS[call](GatewayCall(server, RESPONSES[gateway], acted, folder))


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
            lab.admin.restart_as_new_invocation(id_, reason="INC-42")
    assert len(servers[NEWEST].bulk.lab.sql(RESTARTS, ids=[id_])) == 1
    assert audit_log(tmp_path)["outcome"].tolist() == ["unknown"]


@pytest.mark.server
def test_a_gateway_that_repeats_requests_is_reported(servers: dict[str, Gateways], tmp_path: Path) -> None:
    """It restarts an invocation twice and passes the second response on: frame and audit log have both new ids."""
    bulk, id_ = servers[NEWEST].bulk, next(servers[NEWEST].ended)
    first = []

    def repeat(request: httpx.Request) -> None:
        if is_change(request):
            first.append(bulk.lab.admin.restart_as_new_invocation(id_, reason="INC-42").new_invocation_id)

    with connect_through(Proxy(before=repeat), bulk.url, tmp_path) as lab:
        (row,) = rl.plan(lab, "restart_as_new", [id_]).execute(reason="x").to_dict("records")
        (written,) = audit_log(tmp_path, change=audit_log(tmp_path)["change"][0]).to_dict("records")
    assert (row["outcome"], row["other_new_ids"]) == ("done", first[0])
    assert {row["new_id"], row["other_new_ids"]} == set(bulk.lab.sql(RESTARTS, ids=[id_])["id"])
    assert {name: written[name] for name in ("new_id", "other_new_ids")} == {
        "new_id": row["new_id"],
        "other_new_ids": row["other_new_ids"],
    }
