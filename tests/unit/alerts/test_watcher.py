"""The loop of ``watch``: no cluster, archive or receiver stops the others, and each message is tried."""

from __future__ import annotations

import _thread
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from restate_lab.alerts.alert import Alert, Event
from restate_lab.alerts.delivery import Senders, create_receivers
from restate_lab.alerts.reader import ClusterReader, ClusterVisit
from restate_lab.alerts.rules import Rule, Rules
from restate_lab.alerts.store import AlertStore
from restate_lab.alerts.watcher import Archiver, Watcher
from restate_lab.calls import SuggestedCall
from restate_lab.errors import ArchiveBroken
from support.alert_receiver import Receiver, alert_receiver
from support.bench import wait_for
from support.compared_rows import charges
from support.sample_rows import SampleRows, sample_id

KEEP = timedelta(minutes=5)
SENDERS = Senders()
LIMIT = 2.0  # seconds of a delivery, with the start of its process


@pytest.fixture(scope="module", autouse=True)
def closed_senders() -> Iterator[None]:
    with contextlib.closing(SENDERS):
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    with contextlib.closing(AlertStore(tmp_path / "watch.sqlite")) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with alert_receiver() as running:
        yield running
        running.received.drips = ""


def reader(name: str = "prod", address: str = "http://127.0.0.1:1") -> ClusterReader:
    """Return a reader of a cluster that is not there: its visits find one problem."""
    return ClusterReader(name=name, option=address, rules=Rules(), commands=lambda _calls, _cluster: None, timeout=0.2)


def watcher(store: AlertStore, to: Sequence[str] = (), alertmanager: Sequence[str] = ()) -> Watcher:
    receivers = create_receivers(SENDERS, to, alertmanager, keep=KEEP)
    result = Watcher(
        [reader()], store, receivers, SENDERS, lambda _event, _alert: None, lambda _text: None, limit=LIMIT
    )
    result.start()
    return result


def record(store: AlertStore, *subjects: str, cluster: str = "prod") -> dict[str, str]:
    alerts = [Alert(cluster=cluster, rule="paused", subject=each, severity="critical", title=each) for each in subjects]
    store.record(ClusterVisit(cluster=cluster, at=datetime.now(UTC), alerts=alerts))
    return {each.subject: each.fingerprint for each in alerts}


@pytest.mark.parametrize("part", ["headers", "body"])
@pytest.mark.parametrize("kind", ["to", "alertmanager"])
def test_a_receiver_that_sends_one_byte_at_a_time_delays_no_other(
    store: AlertStore, receiver: Receiver, part: str, kind: str
) -> None:
    with alert_receiver() as other:
        slow = {kind: [receiver.to if kind == "to" else receiver.alertmanager]}
        slow["to"] = [*slow.get("to", ()), other.to]
        receiver.received.drips = part
        assert not watcher(store, **slow).once()
        assert [event for _, event in other.received.events] == ["opened"]
        if (kind, part) == ("alertmanager", "body"):  # the status is the whole response
            assert store.count_messages() == {}
            return
        assert list(store.count_messages().values()) == [1]
        receiver.received.drips = ""
        watcher(store, **slow).once()
        assert store.count_messages() == {}
        assert receiver.received.events or receiver.received.alerts


def test_a_late_delivery_ends_no_other_one_and_begins_again_after_its_process(
    store: AlertStore, receiver: Receiver
) -> None:
    """Both are in one process, which ends when the other delivery is over; the next ones are in another process."""
    receiver.received.drips = "body"
    with alert_receiver() as other:
        other.received.delay = 1.0
        watch = watcher(store, [receiver.to, other.to])
        late, patient = watch._couriers
        late.limit = 0.5
        first = SENDERS.get()
        assert not watch.once()
        assert not first.is_usable
        assert patient.was_late is False
        assert [event for _, event in other.received.events] == ["opened"]
        first._process.wait(10)
        assert late.is_free
        receiver.received.drips = ""
        late.limit = LIMIT
        assert not watch.once(), "a receiver that was late is not tried again by this process"
        watcher(store, [receiver.to, other.to]).once()
        assert [event for _, event in receiver.received.events] == ["opened"]
        assert len(other.received.events) == 1


def test_one_process_sends_everything_and_ends_when_nothing_is_to_send(
    store: AlertStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watcher(store, [receiver.to], [receiver.alertmanager])
    process = SENDERS.get()
    record(store, "a", "b")
    watch.once()
    assert SENDERS.get() is process
    assert len(receiver.received.events) == 3
    assert len(receiver.received.firing) == 3
    monkeypatch.setattr("restate_lab.alerts.delivery._IDLE", 0.0)
    watch.once()
    assert wait_for(lambda: process.is_over)


def test_a_delivery_that_takes_too_long_is_a_reason_and_a_metric(store: AlertStore, receiver: Receiver) -> None:
    receiver.received.drips = "body"
    with alert_receiver() as other:
        warnings: list[str] = []
        watch = watcher(store, [receiver.to, other.to])
        watch.warn = warnings.append
        watch.once()
    assert watch.metrics.messages == {"json 1": 1, "json 2": 0}
    assert watch.metrics.refused == {"json 1": 1, "json 2": 0}
    assert any("json 1: it did not complete its response within" in each for each in warnings)


@pytest.mark.parametrize("kind", ["to", "alertmanager"])
def test_a_message_that_got_a_login_page_is_reported_and_sent_again(
    store: AlertStore, receiver: Receiver, kind: str
) -> None:
    warnings: list[str] = []
    receivers = {kind: [receiver.to if kind == "to" else receiver.alertmanager]}
    receiver.received.page = ("text/html", b"<html><form>login")
    watch = watcher(store, **receivers)
    watch.warn = warnings.append
    assert not watch.once()
    assert list(store.count_messages().values()) == [1]
    assert any("HTML page, such as a login page" in each for each in warnings)
    receiver.received.page = ("", b"")
    watcher(store, **receivers).once()
    assert store.count_messages() == {}
    assert receiver.received.events or receiver.received.alerts


@pytest.mark.parametrize(
    ("call", "is_shown"),
    [
        (SuggestedCall("ask", ("queue",), {"key": "acme-4711"}), True),
        (SuggestedCall("ask", ("queue",), {"key": "@everyone"}), False),
        (SuggestedCall("why", (("inv_1", "evil.example"),)), False),
        (SuggestedCall("why", ("inv_1",), comment="serves @all"), False),
        (SuggestedCall("lab.sql", ("SELECT * FROM state WHERE key <> :key",), {"key": "a"}), True),
        (SuggestedCall("lab.sql", ("SELECT * FROM state WHERE key <> :key",), {"key": "<!channel>"}), False),
        (SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…"}), True),
    ],
)
def test_a_next_step_is_exact_or_it_is_the_check(call: SuggestedCall, *, is_shown: bool) -> None:
    one = replace(reader(), commands=lambda calls, _: [calls[0].verb])
    step = one._next_step([call], "doctor --check paused")
    assert step == (call.verb if is_shown else "restate-lab doctor --check paused -e http://127.0.0.1:1")


class PanicException(BaseException):
    """A panic of Rust, which is not an Exception."""


def test_an_empty_cluster_is_a_warning_and_ends_no_alert(store: AlertStore, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SampleRows(sys_service=[], sys_deployment=[])
    monkeypatch.setattr("restate_lab.alerts.reader.connect", lambda *_, **__: contextlib.nullcontext(empty))
    record(store, "Payments/charge")
    store.record(replace(reader(), timeout=60.0).visit())
    opened = {(each.alert.rule, each.alert.severity, each.alert.title) for each in store.open_alerts()}
    assert opened == {
        ("paused", "critical", "Payments/charge"),
        ("services", "warning", "no service is registered at made"),
    }


def test_invocations_are_compared_only_at_the_visit_that_opens_their_alert(
    store: AlertStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of ``Orders`` must persist for an hour, so its alert opens later."""
    rows = charges(25)
    others = [{**row, "id": sample_id(500 + at), "target_service_name": "Orders"} for at, row in enumerate(rows)]
    monkeypatch.setattr(
        "restate_lab.alerts.reader.connect",
        lambda *_, **__: contextlib.nullcontext(SampleRows(sys_invocation_status=[*rows, *others])),
    )
    monkeypatch.setattr("restate_lab.analysis.doctor.additions._FLOOR", 600.0)  # more time than a busy machine needs
    later = Rule(check="terminal_failures", service="Orders", hold=timedelta(hours=1))
    patient = replace(reader(), timeout=600.0, rules=Rules((later,)))

    def shared(hours: int) -> dict[str, bool]:
        now = datetime.now(UTC) + timedelta(hours=hours)
        known = {
            name: replace(each, first_at=each.first_at - timedelta(hours=hours))
            for name, each in store.known_alerts("prod", now).items()
        }
        visit = patient.visit(known)
        store.record(replace(visit, at=now))
        return {each.subject: bool(each.shared) for each in visit.alerts if each.rule == "terminal_failures"}

    assert shared(0) == {"Payments/charge": True, "Orders/charge": False}
    assert shared(2) == {"Payments/charge": False, "Orders/charge": True}
    assert shared(3) == {"Payments/charge": False, "Orders/charge": False}
    assert all(each.alert.shared for each in store.open_alerts() if each.alert.rule == "terminal_failures")


ERRORS = [Exception("External error: Schema error"), PanicException("index"), TypeError("x"), ArchiveBroken("lost")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_defect_or_a_panic_in_a_visit_is_one_alert_and_later_visits_go_on(
    store: AlertStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("restate_lab.alerts.watcher.archive", fail)
    monkeypatch.setattr("restate_lab.alerts.reader.diagnose", fail)
    watch = watcher(store, [receiver.to])
    watch.archiver = Archiver("history")
    assert not watch.once()
    assert not watch.once()
    assert {(each.alert.rule, each.alert.severity) for each in store.open_alerts()} == {
        ("archive", "critical"),
        ("unreachable", "critical"),
    }
    assert all(str(error) in message["message"] for message in receiver.received.messages)
    assert len(receiver.received.messages) == 2


def test_a_refused_message_delays_no_other_and_the_end_of_its_alert_comes_after_it(
    store: AlertStore, receiver: Receiver
) -> None:
    receivers = create_receivers(SENDERS, [receiver.to], [], keep=KEEP)
    store.set_receivers([each.id for each in receivers], datetime.now(UTC))
    fingerprints = record(store, "poison", "a", "b")
    record(store, "c")  # the others are over
    receiver.received.refuses = fingerprints["poison"]
    assert not watcher(store, [receiver.to]).once()
    delivered = [fingerprint for fingerprint, _ in receiver.received.events]
    assert fingerprints["poison"] not in delivered
    assert delivered.count(fingerprints["a"]) == delivered.count(fingerprints["b"]) == 2
    assert list(store.count_messages().values()) == [2]
    receiver.received.refuses = ""
    watcher(store, [receiver.to]).once()
    events = [event for fingerprint, event in receiver.received.events if fingerprint == fingerprints["poison"]]
    assert events == ["opened", "resolved"]


def test_alerts_of_a_cluster_that_is_not_watched_any_more_are_resolved_with_the_cause(
    store: AlertStore, receiver: Receiver
) -> None:
    receivers = create_receivers(SENDERS, [receiver.to], [receiver.alertmanager], keep=KEEP)
    store.set_receivers([each.id for each in receivers], datetime.now(UTC))
    (gone,) = record(store, "x", cluster="former").values()
    watch = watcher(store, [receiver.to], [receiver.alertmanager])
    watch.once()
    assert [event for fingerprint, event in receiver.received.events if fingerprint == gone] == ["opened", "resolved"]
    assert (
        "not watched any more" in receiver.received.messages[-1]["message"] + receiver.received.messages[1]["message"]
    )
    assert gone not in receiver.received.firing
    assert {each.alert.cluster for each in store.open_alerts()} == {"prod"}


def test_a_message_that_arrives_while_the_loop_ends_is_not_sent_again(store: AlertStore, receiver: Receiver) -> None:
    receiver.received.delay = 0.3
    watch = watcher(store, [receiver.to])
    watch.limit = 30
    threading.Thread(target=interrupt_after, args=(lambda: receiver.received.requests > 0,)).start()
    watch.repeat(0.001)
    assert receiver.received.events[0][1] == Event.OPENED
    assert store.count_messages() == {}


def interrupt_after(is_reached: Callable[[], bool]) -> None:
    while not is_reached():
        time.sleep(0.01)
    _thread.interrupt_main()
