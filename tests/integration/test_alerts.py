"""Alerts of real clusters: one per planted fault, one "resolved", and none on a healthy cluster; nothing is lost."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.alerts.alert import Alert, Event
from restate_lab.alerts.delivery import Senders, create_receivers
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rules
from restate_lab.alerts.store import AlertStore
from restate_lab.alerts.watcher import Watcher
from restate_lab.cli import app
from restate_lab.cli.watch import _commands
from restate_lab.demo.server import free_ports
from support.alert_receiver import Receiver, alert_receiver
from support.archive_bench import tables_of
from support.bench import wait_for
from support.clusters import NEWEST, Cluster, Clusters
from support.starts import wait_until_ended
from support.tcp_relay import TcpSwitch
from support.watchers import Watchers, running_watchers

pytestmark = pytest.mark.server

PAGES = "https://lab.example.com/restate"
FAULTS = {
    "storm_503": ("retry_storm", "Payments/charge"),
    "storm_timeout": ("retry_storm", "Payments/charge"),
    "agent_denver": ("retry_storm", "agent/run"),
    "hot_key_holder": ("blocked_keys", "Account/acme-retail/audit"),
    "deadlock_pair": ("deadlocks", "Warehouse"),
    "deadlock_ring": ("deadlocks", "Warehouse"),
    "deadlock_self": ("deadlocks", "Warehouse itself"),
    "paused": ("paused", "Payments/payout"),
    "paused_by_hand": ("paused", "Shipping/print_label"),
    "pinned_to_removed": ("removed_deployments", "dp_"),
    "asleep_on_removed": ("removed_deployments", "dp_"),
    "unreachable": ("unreachable_deployments", "http://127.0.0.1:_/courier (dp_)"),
    "mismatch": ("journal_mismatches", "Returns/take_back on dp_"),
    "declined": ("terminal_failures", "Payments/charge"),
    "bad_address": ("terminal_failures", "Shipping/book"),
    "refused_settlement": ("terminal_failures", "Settlements/settle"),
    "slow": ("slow_handlers", "Invoices/render"),
}
"""Role of each planted fault → the alert that reports it. Two faults with one cause and place are one alert."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with alert_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, isolated: Path) -> Iterator[Watchers]:
    with running_watchers(tmp_path_factory.mktemp("watchers")) as running:
        yield running


@pytest.fixture
def watchers(parent: Watchers) -> Iterator[Watchers]:
    yield parent
    parent.end()


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that writes environments of the CLI: name → admin address."""
    for variable in ("RESTATE_ENVIRONMENT", "RESTATE_HOST", "RESTATE_ADMIN_URL", "RESTATE_INGRESS_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RESTATE_CLI_CONFIG_HOME", str(tmp_path))

    def write(**addresses: str) -> None:
        text = "".join(f'[{name}]\nadmin_base_url = "{url}"\n' for name, url in addresses.items())
        (tmp_path / "new.toml").write_text(text)
        (tmp_path / "new.toml").replace(tmp_path / "config.toml")

    return write


def watch(*arguments: str) -> int:
    return CliRunner().invoke(app, ["watch", *arguments]).exit_code


def visit(folder: Path, receiver: Receiver, address: str, *, times: int = 1) -> list[tuple[Event, Alert]]:
    """ClusterVisit a cluster under the name "prod" as a new process would, and return the changes."""
    changes: list[tuple[Event, Alert]] = []
    store, senders = AlertStore(folder / "watch.sqlite"), Senders()
    try:
        reader = ClusterReader(name="prod", option=address, rules=Rules(), commands=_commands, link_base=PAGES)
        receivers = create_receivers(senders, [receiver.to], [receiver.alertmanager], keep=timedelta(minutes=5))
        report = lambda event, alert: changes.append((event, alert))  # noqa: E731
        watcher = Watcher([reader], store, receivers, senders, report, pytest.fail)
        watcher.start()
        for _ in range(times):
            assert watcher.once()
    finally:
        senders.close()
        store.close()
    return changes


def test_each_planted_fault_is_one_alert_and_one_resolved(
    incident: Cluster, clusters: Clusters, receiver: Receiver, tmp_path: Path
) -> None:
    opened: list[Alert] = []

    def visit_again() -> set[tuple[str, str]]:
        changes = visit(tmp_path, receiver, incident.admin_url)
        assert Event.RESOLVED not in {event for event, _ in changes}
        opened.extend(alert for event, alert in changes if event is Event.OPENED)
        return {_place(alert) for alert in opened}

    # Some of the faults are notes until they have failed for a while.
    wait_for(visit_again, lambda places: places >= set(FAULTS.values()))
    alerts = {_place(alert): alert for alert in opened}
    assert set(alerts) == set(FAULTS.values())
    assert len(opened) == len(alerts)
    for role, fault in FAULTS.items():
        alike = {id_ for other, place in FAULTS.items() if place == fault for id_ in incident.ids(other)}
        assert set(alerts[fault].ids) & alike, role
    for alert in opened:
        assert len(alert.title.split()) <= 25
        program = alert.next_step.splitlines()[-1].split()[0]
        assert program in {"restate-lab", f"RESTATE_ADMIN_URL={incident.admin_url}", "curl", "for"}
        assert alert.link == f"{incident.admin_url}/ui/invocations/{alert.ids[0]}"
        if alert.causes == 1:
            page = f"invocation/{alert.ids[0]}" if len(alert.ids) == 1 else ""
            assert alert.page == f"{PAGES}/{page}?source=prod"
    later = visit(tmp_path, receiver, incident.admin_url, times=3)
    assert {event for event, _ in later} <= {Event.WORSE}, "a fault can become worse, and is not reported again"
    fingerprints = {alert.fingerprint for alert in alerts.values()}
    assert receiver.received.open == receiver.received.firing == fingerprints
    resolved = visit(tmp_path, receiver, clusters.get(NEWEST, "healthy").admin_url, times=3)
    assert sorted(each.fingerprint for _, each in resolved) == sorted(fingerprints)
    assert {event for event, _ in resolved} == {Event.RESOLVED}
    assert receiver.received.open == receiver.received.firing == set()
    assert receiver.received.repeated == 0


def _place(alert: Alert) -> tuple[str, str]:
    """Return the rule and the subject of an alert without ports and ids of deployments."""
    return alert.rule, re.sub(r"dp_\w+", "dp_", re.sub(r":\d+", ":_", alert.subject))


def test_an_acknowledged_finding_sends_nothing_until_its_note_cannot_be_read(
    incident: Cluster, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is reported once; a folder of notes that cannot be read silences no alert, and is one itself."""
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path / "audit"))
    with rl.connect(incident.admin_url, read_only=True) as lab:
        row = rl.doctor(lab, checks="deadlocks").findings.loc[0]
        rl.note(lab, "INC-42: the stock count is running", finding=row, until="2h")

    def changes_of_it() -> list[tuple[Event, Alert]]:
        changes = visit(tmp_path, receiver, incident.admin_url)
        return [(event, alert) for event, alert in changes if set(alert.ids) & set(row["ids"])]

    ((event, alert),) = changes_of_it()
    assert (event, alert.rule) == (Event.ACKNOWLEDGED, "deadlocks")
    assert alert.note.endswith("): INC-42: the stock count is running")
    assert alert.fingerprint not in receiver.received.open | receiver.received.firing
    assert changes_of_it() == []
    (tmp_path / "audit" / "notes").rename(tmp_path / "notes")
    (tmp_path / "audit" / "notes").write_text("not a folder")
    ((event, again),) = changes_of_it()
    assert (event, again.fingerprint) == (Event.OPENED, alert.fingerprint)
    assert alert.fingerprint in receiver.received.open & receiver.received.firing
    reader = ClusterReader(name="prod", option=incident.admin_url, rules=Rules(), commands=_commands)
    (cause,) = [each.cause for each in reader.visit().alerts if each.rule == "incomplete"]
    assert "the notes could not be read: the folder notes" in cause


def test_visits_of_a_healthy_cluster_send_nothing(healthy: Cluster, receiver: Receiver, tmp_path: Path) -> None:
    assert visit(tmp_path, receiver, healthy.admin_url, times=10) == []
    assert receiver.received.events == receiver.received.alerts == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_visits_of_a_day_to_a_healthy_cluster_send_nothing(
    healthy: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    assert visit(tmp_path, receiver, healthy.admin_url, times=24 * 20) == []
    assert receiver.received.events == receiver.received.alerts == []


STATES = ("refuses", "works", "away", "works", "works")
"""The states of the receiver, round by round; the cluster has the incident in every second round."""
MANY = pytest.param(60, id="many", marks=[pytest.mark.long, pytest.mark.timeout(900)])


@pytest.mark.parametrize("rounds", [pytest.param(5, id="a few"), MANY])
def test_kills_and_lost_receivers_lose_nothing(
    clusters: Clusters,
    receiver: Receiver,
    environments: Callable[..., None],
    watchers: Watchers,
    tmp_path: Path,
    rounds: int,
) -> None:
    """With kill -9 at random times and a receiver that is away or refuses, each alert arrives, and in order."""
    chance = random.Random(rounds)  # noqa: S311 - not for secrets
    addresses = [clusters.get(NEWEST, story).admin_url for story in ("incident", "healthy")]
    arguments = ("-e", "prod", "--state", str(tmp_path / "watch.sqlite"), "--to", receiver.to)
    receiver.received.delay = 0.05
    processes: list[psutil.Process] = []
    for number in range(rounds):
        environments(prod=addresses[number % 2])
        _disturb(receiver, STATES[number % len(STATES)])
        before = receiver.received.requests
        pid = watchers.start(*arguments, "--every", "100ms")
        with contextlib.suppress(AssertionError):  # nothing arrives at a receiver that is away
            wait_for(lambda: receiver.received.requests > before, within=3)  # noqa: B023 - called at once
        time.sleep(chance.uniform(0, 0.6))
        processes += psutil.Process(pid).children()
        watchers.kill(pid)
    wait_until_ended(processes, within=10)  # a process that sends ends with its parent
    assert processes
    _restore(receiver)
    environments(prod=addresses[0])
    opened = wait_for(lambda: _settle(watchers, arguments), lambda count: count == len(set(FAULTS.values())))
    assert len(receiver.received.open) == opened
    environments(prod=addresses[1])
    assert _settle(watchers, arguments) == 0
    assert receiver.received.open == set()
    assert receiver.received.repeated <= rounds, "only what was delivered when its process was killed"
    for fingerprint in {fingerprint for fingerprint, _ in receiver.received.events}:
        history = [event for each, event in receiver.received.events if each == fingerprint and event != "worse"]
        merged = [event for event, _ in groupby(history)]
        assert merged == ["opened", "resolved"] * (len(merged) // 2), fingerprint


def _disturb(receiver: Receiver, state: str) -> None:
    """Let the receiver work, refuse, or be away until the next round."""
    _restore(receiver)
    receiver.received.status = 503 if state == "refuses" else 200
    if state == "away":
        receiver.stop()


def _restore(receiver: Receiver) -> None:
    receiver.stop()
    receiver.received.status = 200
    receiver.start()


def _settle(watchers: Watchers, arguments: Sequence[str]) -> int:
    """ClusterVisit once until all messages are delivered, and return the number of open alerts."""

    def is_done() -> bool:
        watchers.start(*arguments, "--once")
        return watchers.wait() == 0

    wait_for(is_done)
    store = AlertStore(Path(arguments[3]))
    try:
        return len(store.open_alerts())
    finally:
        store.close()


def test_an_unreachable_cluster_is_one_alert_and_stops_no_other(
    clusters: Clusters, receiver: Receiver, environments: Callable[..., None], tmp_path: Path
) -> None:
    options = ("--state", str(tmp_path / "watch.sqlite"), "--to", receiver.to, "--timeout", "2s", "--once")
    with TcpSwitch(clusters.get(NEWEST, "incident").admin_url) as switch:
        environments(prod=switch.address, other=clusters.get(NEWEST, "healthy").admin_url)
        both = ("-e", "prod", "-e", "other", *options)
        assert watch(*both) == 0
        before = len(receiver.received.open)
        switch.down()
        assert watch(*both) == 4
        assert watch(*both) == 4
        (message,) = receiver.received.messages[before:]
        assert message["title"] == "[CRITICAL] prod: prod cannot be read (Unreachable); its problems are unknown"
        assert len(receiver.received.open) == before + 1
        switch.up()
        assert watch(*both) == 0
    assert [each for each in receiver.received.events if each[1] == "resolved"] == [
        (message["fingerprint"], "resolved")
    ]
    assert receiver.received.repeated == 0


def test_one_process_watches_archives_and_measures(
    clusters: Clusters, receiver: Receiver, environments: Callable[..., None], tmp_path: Path
) -> None:
    """A visit of the archive follows its own course: if it fails, that is one more alert, and the others arrive."""
    cluster = clusters.get(NEWEST, "incident")
    environments(prod=cluster.admin_url)
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\ncheck = "archive"\n[[rule]]\nquestion = "backlog_by_key"\nmin_rows = 2\nseverity = "note"\n'
        '[[rule]]\ncheck = "*"\nmute = true\n'
    )
    options = ("-e", "prod", "--rules", str(rules), "--state", str(tmp_path / "watch.sqlite"), "--to", receiver.to)
    (tmp_path / "file").touch()
    assert watch(*options, "--once", "--archive", str(tmp_path / "file")) == 4
    assert sorted(each["title"].partition(": ")[2][:30] for each in receiver.received.messages) == [
        "backlog_by_key has 7 rows: Whi",
        "ended invocations are not arch",
    ]
    archive = ("--archive", str(tmp_path / "archive"), "--shard", "accounts", "--service", "Account")
    assert watch(*options, "--once", *archive) == 0
    assert receiver.received.events[-1][1] == "resolved"
    (record,) = tables_of(str(tmp_path / "archive"))["visits"].to_pylist()
    assert (record["outcome"], record["cluster_name"]) == ("complete", "prod")
    assert (record["shard"], record["services"]) == ("accounts", ["Account"])


def test_the_metrics_of_a_running_watch(
    clusters: Clusters, environments: Callable[..., None], watchers: Watchers, tmp_path: Path
) -> None:
    """The loop serves the numbers of its last visit, and SIGTERM ends it with exit code 0."""
    cluster = clusters.get(NEWEST, "incident")
    environments(prod=cluster.admin_url)
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    pid = watchers.start("-e", "prod", "--state", str(tmp_path / "s"), "--every", "1s", "--metrics", address)
    text = wait_for(lambda: _scrape(address), lambda text: "restate_lab_findings{" in text)
    os.kill(pid, signal.SIGTERM)
    assert watchers.wait() == 0
    assert 'restate_lab_key_backlog{cluster="prod",key="acme-retail",service="Account"} 12.0' in text
    assert 'handler="payout",service="Payments",status="paused"} 2.0' in text


PROGRAM = "from restate_lab.cli import main; main()"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_at_a_random_time_ends_with_0(
    clusters: Clusters, receiver: Receiver, environments: Callable[..., None], tmp_path: Path, number: signal.Signals
) -> None:
    chance = random.Random(number)  # noqa: S311 - not for secrets
    environments(prod=clusters.get(NEWEST, "incident").admin_url)
    options = ["-e", "prod", "--every", "300ms", "--to", receiver.to, "--state", str(tmp_path / "watch.sqlite")]
    command = [sys.executable, "-c", PROGRAM, "watch", *options, "--archive", str(tmp_path / "history")]
    codes: Counter[tuple[int, bool]] = Counter()
    waits: list[float] = []
    for _ in range(40):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("watching")
            time.sleep(chance.uniform(0, 3))
            started = time.monotonic()
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
            waits.append(time.monotonic() - started)
        codes[process.returncode, "Traceback" in errors] += 1
    assert codes == {(0, False): 40}, f"the longest wait was {max(waits):.1f} s"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_receiver_that_never_ends_its_response_stops_nothing(
    clusters: Clusters, receiver: Receiver, environments: Callable[..., None], tmp_path: Path
) -> None:
    """The other receiver gets each alert, visits go on, the failures are metrics, and SIGTERM ends the process."""
    environments(prod=clusters.get(NEWEST, "incident").admin_url)
    (port,) = free_ports(1)
    with alert_receiver() as slow:
        slow.received.drips = "headers"
        options = ["--to", slow.to, "--to", receiver.to, "--alertmanager", slow.alertmanager, "--every", "1s"]
        options += ["-e", "prod", "--state", str(tmp_path / "watch.sqlite"), "--metrics", f"127.0.0.1:{port}"]
        with subprocess.Popen([sys.executable, "-c", PROGRAM, "watch", *options], cwd=tmp_path) as process:
            wait_for(lambda: receiver.received.open, lambda alerts: len(alerts) >= len(set(FAULTS.values())))
            before = wait_for(lambda: _visits(port))["prod"]
            failed = "restate_lab_deliveries_failed_total"
            pattern = rf'{failed}{{receiver="(\w+ \d)"}} (\d)'
            wait_for(
                lambda: dict(re.findall(pattern, _scrape(f"127.0.0.1:{port}"))),
                lambda counts: {name for name, count in counts.items() if count != "0"} == {"json 1", "alertmanager 1"},
                within=120,
            )
            assert _visits(port)["prod"] > before
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        slow.received.drips = ""
    assert receiver.received.repeated == 0


def _visits(port: int) -> dict[str, float]:
    """Return the time of the last visit that read each cluster."""
    pattern = r'^restate_lab_last_visit_timestamp_seconds\{cluster="(\w+)"\} (\S+)$'
    return {name: float(at) for name, at in re.findall(pattern, _scrape(f"127.0.0.1:{port}"), re.MULTILINE)}


def _scrape(address: str) -> str:
    try:
        return httpx.get(f"http://{address}/metrics").text
    except httpx.ConnectError:
        return ""
