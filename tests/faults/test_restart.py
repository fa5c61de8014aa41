"""A server that is killed, and comes back or not, during a read or a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.client import _server_info
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.progress import NoProgress
from support import wait_services
from support.bench import once_served, wait_for
from support.clusters import NEWEST, PLAIN
from support.fault_verbs import RESTARTS
from support.faults import CHANGES
from support.restartable import Killable, killable, restartable, wait_until_ready
from support.tcp_relay import Fault, tcp_relay

pytestmark = pytest.mark.server

COUNT = "SELECT count(*) AS n FROM sys_invocation_status WHERE id IN :ids"
LONG = "SELECT value FROM generate_series(1, 20000000)"


@pytest.fixture(scope="module")
def bench(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killable]:
    """Give a server with ended and delayed invocations, which can be killed."""
    with killable(NEWEST, tmp_path_factory.mktemp("restart"), ended=60, later=100) as running:
        yield running


@pytest.fixture(autouse=True)
def _is_ready_again(bench: Killable) -> Iterator[None]:
    yield
    bench.wait_until_whole()


def test_killed_while_it_answers(bench: Killable) -> None:
    """A partial response is not a result; as soon as the server is back the same connection gets the whole."""
    fault = Fault(where=b"/query", passes=200_000, end="go on", meanwhile=bench.restart)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, check=False) as lab:
        with pytest.raises(errors.QueryInterrupted) as caught:
            lab.sql(LONG, progress=False)
        assert 0 < caught.value.rows < 20_000_000
        assert lab.sql(COUNT, ids=bench.later)["n"][0] == len(bench.later)
    assert fault.happened == 1


def test_killed_and_back_while_a_read_waits(bench: Killable) -> None:
    bench.restart()
    assert bench.lab.sql(COUNT, ids=bench.later)["n"][0] == len(bench.later)


@pytest.mark.parametrize("number", [pytest.param(0, marks=pytest.mark.long), 1])
def test_killed_during_a_plan(bench: Killable, number: int) -> None:
    """A plan is complete, or an error."""
    fault = Fault(where=b"/query", number=number, passes=0, meanwhile=bench.restart)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, check=False) as lab:
        made = rl.plan(lab, "cancel", list(bench.later[:10]))
    assert made.targets == bench.later[:10]
    assert fault.happened == 1


def test_killed_during_an_execution(bench: Killable, tmp_path: Path) -> None:
    """Killed right after a request: nothing is done twice, and every row that is done is on the server."""
    ids = list(bench.ended[:20])
    fault = Fault(where=CHANGES, passes=0, meanwhile=bench.restart)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, audit=tmp_path) as lab:
        outcome = rl.plan(lab, "restart_as_new", ids).execute(reason="a test", progress=NoProgress())
        wait_until_ready(bench.server)
        happened = lab.sql(RESTARTS, ids=ids)["restarted_from"].tolist()
    assert fault.happened == 1
    assert outcome["id"].tolist() == ids
    assert len(happened) == len(set(happened))
    for row in outcome.to_dict("records"):
        assert row["outcome"] in {"done", "unknown"}, row
        assert row["outcome"] == "unknown" or row["id"] in happened, row


def test_killed_during_a_freeze(bench: Killable, tmp_path: Path) -> None:
    """Complete evidence, or an error and no file."""
    fault = Fault(where=b"/query", number=8, passes=600, meanwhile=bench.restart)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, check=False) as lab:
        with pytest.raises(errors.QueryInterrupted):
            rl.freeze(lab, tmp_path / "x.evidence", progress=False)
        assert list(tmp_path.iterdir()) == []
        with rl.open_evidence(rl.freeze(lab, tmp_path / "x.evidence", progress=False)) as evidence:
            assert evidence.sql(COUNT, ids=bench.later)["n"][0] == len(bench.later)


@pytest.mark.parametrize("number", [pytest.param(0, marks=pytest.mark.long), 3])
def test_a_doctor_that_cannot_read_does_not_report_healthy(bench: Killable, number: int) -> None:
    fault = Fault(where=b"/query", number=number, passes=0, meanwhile=bench.server.kill)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, check=False, timeout=5) as lab:
        try:
            diagnosis = rl.doctor(lab, timeout="4s")
        except errors.Unreachable:
            assert number == 0
        else:
            assert diagnosis.verdict == "incomplete"
            assert diagnosis.not_read["reason"].ne("").all()
        finally:
            bench.server.start()
    assert fault.happened == 1


def test_vqueues_are_switched_on_under_an_open_lab(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that comes back as the other kind is read with its own SQL; the old SQL would find no waits."""
    monkeypatch.setattr(_server_info, "INFO_LIFETIME", 0.0)
    services, uri = start_services(tmp_path, str(wait_services.__file__))
    with services, restartable(PLAIN, tmp_path / "data") as node:
        with rl.connect(node.admin_url, ingress_url=node.ingress_url, audit=tmp_path / "audit") as lab:
            assert not lab.features["vqueues"]
            lab.admin.create_deployment(uri=uri)
            node.stop()
            assert not lab.features["vqueues"]  # the last known value is the best guess while it is away
            node.environment["RESTATE_EXPERIMENTAL_ENABLE_VQUEUES"] = "true"
            node.start()
            wait_until_ready(node)
            holder = once_served(lambda: lab.ingress.send("Depot", "hold", key="k")).invocation_id
            waiter = lab.ingress.send("Depot", "take", key="k").invocation_id
            wait_for(lambda: ("key", waiter) in _edges(lab))
            assert rl.waits(lab).waiters() == {holder: [waiter]}


def _edges(lab: Lab) -> list[tuple[str, str]]:
    return list(rl.waits(lab).edges[["kind", "waiter"]].itertuples(index=False, name=None))
