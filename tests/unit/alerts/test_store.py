"""The state of alerts: what opens, becomes worse and is resolved, and what survives a restart."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.alerts.alert import Alert, Event, merge_alerts
from restate_lab.alerts.reader import ClusterVisit
from restate_lab.alerts.store import AlertStore
from restate_lab.errors import ArgumentError, RestateLabError

START = datetime(2026, 11, 28, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def alert(subject: str = "A/run", *, rule: str = "paused", severity: str = "critical", **more: object) -> Alert:
    values = {"title": f"1 invocation of {subject} is paused", **more}
    return Alert(cluster="prod", rule=rule, subject=subject, severity=severity, **values)  # type: ignore[arg-type]


def visit(*alerts: Alert, at: datetime = START, hold: timedelta = timedelta(0), **more: object) -> ClusterVisit:
    holds = {each.fingerprint: hold for each in alerts if hold}
    return ClusterVisit(cluster="prod", at=at, alerts=alerts, holds=holds, **more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    opened = AlertStore(tmp_path / "state" / "watch.sqlite")
    opened.set_receivers(["one"], START)
    yield opened
    opened.close()


def drain(store: AlertStore, receiver: str = "one") -> list[tuple[str, str]]:
    """Deliver all messages, and return them as (subject, event)."""
    messages = []
    while message := store.next_message(receiver, START, waits=False):
        messages.append((message.alert.subject, message.event.value))
        store.remove(message)
    return messages


def test_the_fingerprint_is_the_problem() -> None:
    """Counts, ids, times and severity do not change it; the cluster, the rule and the subject do."""
    same = alert(title="9 invocations", ids=("inv_1",), since=START, severity="warning", causes=3)
    assert same.fingerprint == alert().fingerprint == "23f542bd8e1fc8d9"
    assert len({alert("B/run").fingerprint, alert(rule="deadlocks").fingerprint, alert().fingerprint}) == 3


def test_an_open_alert_of_a_renamed_check_goes_on(store: AlertStore) -> None:
    """A state file can have the former name of a check: the alert keeps its fingerprint, and is resolved once."""
    storm = alert(rule="retry_storm")
    former = hashlib.sha256(json.dumps(["prod", "retry_storms", "A/run"]).encode()).hexdigest()[:16]
    assert storm.fingerprint == former
    store.record(visit(storm))
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE alerts SET rule = 'retry_storms'")
        for table in ("alerts", "messages"):
            connection.execute(f"UPDATE {table} SET alert = replace(alert, 'retry_storm', 'retry_storms')")
    connection.close()
    again = AlertStore(store.path)
    assert [each.alert for each in again.open_alerts()] == [storm]
    assert again.record(visit(unread=frozenset({"retry_storm"}))) == []
    assert again.record(visit(storm)) == []
    assert again.record(visit()) == [(Event.RESOLVED, storm)]
    assert drain(again) == [("A/run", "opened"), ("A/run", "resolved")]
    again.close()


def test_a_question_with_the_name_of_a_check_is_another_problem() -> None:
    """Alerts of questions, whose subject is their parameters, keep their fingerprints, too."""
    for subject in ("", '{"limit": 3}'):
        identity = json.dumps(["prod", "retry_storm", subject])
        assert alert(subject, rule="retry_storm").fingerprint == hashlib.sha256(identity.encode()).hexdigest()[:16]


def test_equal_problems_are_one_alert() -> None:
    """Findings with one fingerprint become the worst of them, which names the others."""
    one, two = alert(severity="warning", title="one", ids=("inv_1",)), alert(title="two", ids=("inv_2",), cause="x")
    (merged,) = merge_alerts([one, two])
    assert (merged.title, merged.severity, merged.cause) == ("two", "critical", "x. Also: one.")
    assert (merged.ids, merged.causes) == (("inv_2", "inv_1"), 2)


def test_text_of_a_cluster_stays_text() -> None:
    """Control characters and credentials are not part of an alert, and a title is short."""
    hostile = alert("A/\x1b[2J", title=" ".join(["word"] * 40), cause="see http://user:pw@host \x1b]0;x\x07\nsecond")
    clean = hostile.clean()
    assert len(clean.title.split()) == 25
    assert "\x1b" not in clean.to_json()
    assert "pw" not in clean.cause
    assert "\n" not in clean.cause
    assert Alert.from_json(clean.to_json()) == clean


def test_an_alert_is_opened_once_and_resolved_once(store: AlertStore) -> None:
    """Later visits with the same problem report nothing."""
    assert [event for event, _ in store.record(visit(alert()))] == [Event.OPENED]
    assert store.record(visit(alert(title="2 invocations of A/run are paused", ids=("inv_2",)))) == []
    assert [event for event, _ in store.record(visit())] == [Event.RESOLVED]
    assert store.record(visit()) == []
    assert drain(store) == [("A/run", "opened"), ("A/run", "resolved")]


def test_worse_is_reported_once(store: AlertStore) -> None:
    """A higher severity or one more cause is a message; a lower severity, and the same one again, are not."""
    store.record(visit(alert(severity="warning")))
    assert store.record(visit(alert(severity="critical")))[0][0] is Event.WORSE
    assert store.record(visit(alert(severity="warning"))) == []
    assert store.record(visit(alert(severity="critical"))) == []
    assert store.open_alerts()[0].alert.severity == "critical"
    assert store.record(visit(alert(causes=2)))[0][0] is Event.WORSE
    assert store.record(visit(alert(causes=1))) == []
    assert store.record(visit(alert(causes=2))) == []


def test_what_was_not_read_is_not_resolved(store: AlertStore) -> None:
    """A check that could not run, an unreachable cluster and a visit of the archive resolve no other alert."""
    store.record(visit(alert(), alert("B/run", rule="deadlocks")))
    assert store.record(visit(unread=frozenset({"paused", "deadlocks"}))) == []
    down = alert("", rule="unreachable")
    assert store.record(visit(down, only="unreachable", error="refused")) == [(Event.OPENED, down)]
    assert store.record(visit(only="archive")) == []
    assert len(store.open_alerts()) == 3
    changes = store.record(visit(unread=frozenset({"deadlocks"})))
    assert {each.rule for _, each in changes} == {"paused", "unreachable"}


def test_a_problem_at_the_limit_does_not_flap(store: AlertStore) -> None:
    """A finding below the severity of an alert opens none and resolves none; it does not count for the time of for."""
    weaker = frozenset({alert().fingerprint})
    assert store.record(visit(weaker=weaker)) == []
    store.record(visit(alert()))
    assert store.record(visit(weaker=weaker)) == []
    assert store.record(visit(alert())) == []
    assert [event for event, _ in store.record(visit())] == [Event.RESOLVED]
    assert store.record(visit(alert(), hold=MINUTE)) == []
    assert store.record(visit(weaker=weaker, at=START + MINUTE)) == []
    assert store.record(visit(alert(), hold=MINUTE, at=START + 2 * MINUTE)) == []


def test_a_problem_must_persist_for_its_time(store: AlertStore) -> None:
    """With for = 5m, a shorter problem is never reported, and its time begins again."""
    hold = 5 * MINUTE
    assert store.record(visit(alert(), hold=hold)) == []
    assert store.record(visit(at=START + 4 * MINUTE)) == []
    assert store.record(visit(alert(), hold=hold, at=START + 6 * MINUTE)) == []
    assert store.record(visit(alert(), hold=hold, at=START + 10 * MINUTE)) == []
    assert [event for event, _ in store.record(visit(alert(), hold=hold, at=START + 11 * MINUTE))] == [Event.OPENED]


def test_a_restart_keeps_alerts_and_messages(store: AlertStore) -> None:
    """A second process finds the messages of the first; while the first one runs, it is refused."""
    store.record(visit(alert()))
    with pytest.raises(RestateLabError, match="another restate-lab watch uses the state file"):
        AlertStore(store.path)
    store.close()
    again = AlertStore(store.path)
    assert again.record(visit(alert())) == []
    assert drain(again) == [("A/run", "opened")]
    again.close()


def test_a_failed_message_waits_and_delays_no_other(store: AlertStore) -> None:
    """A refused message is tried again later, in the order of its own alert only, and never removed."""
    store.record(visit(alert("A/run")))
    first = store.next_message("one", START)
    assert first is not None
    store.postpone(first, START)
    store.record(visit())
    store.record(visit(alert("B/run")))
    message = store.next_message("one", START)
    assert message is not None
    assert message.alert.subject == "B/run"
    store.remove(message)
    assert store.next_message("one", START) is None
    later = store.next_message("one", START + MINUTE)
    assert later is not None
    assert (later.event, later.attempts) == (Event.OPENED, 1)
    assert drain(store) == [("A/run", "opened"), ("A/run", "resolved")]


def test_receivers_change(store: AlertStore) -> None:
    """A new receiver gets the open alerts; the messages of a receiver that is not used any more are removed."""
    store.record(visit(alert()))
    assert store.set_receivers(["one", "two"], START) == 0
    assert store.count_messages() == {"one": 1, "two": 1}
    assert store.set_receivers(["two"], START) == 1
    assert store.count_messages() == {"two": 1}


def test_a_file_that_is_not_a_state_is_refused(tmp_path: Path) -> None:
    """Another file is not changed, and the message has the option to use."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but longer than the header of one" * 20)
    with pytest.raises(ArgumentError, match=r"is not a state file of restate-lab watch .* --state"):
        AlertStore(path)
    assert path.read_text().startswith("not a database")
    with pytest.raises(OSError, match="cannot be read or written"):
        AlertStore(tmp_path)


@contextmanager
def full_disk(store: AlertStore) -> Iterator[None]:
    """Limit the space of the state by a limit of SQLite, which keeps the present size as the least."""
    store._connection.execute("PRAGMA max_page_count = 1")
    yield
    store._connection.execute("PRAGMA max_page_count = 100000")


@contextmanager
def full_file(store: AlertStore) -> Iterator[None]:
    """Limit the size of the files that this process writes, only while the state is written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


FULL: dict[str, Callable[[AlertStore], AbstractContextManager[None]]] = {
    "the disk is full, and the state of the alerts was not written; free space, and start it again": full_disk,
    "the state file cannot be read or written": full_file,
}
"""The message, and the limit that causes it."""


@pytest.mark.parametrize("message", FULL)
def test_a_full_disk_loses_nothing_that_was_written(store: AlertStore, message: str) -> None:
    """A visit that cannot be written is an error with the file, and the state before it remains."""
    store.record(visit(alert()))
    many = [alert(f"S{number}/run", cause="x" * 400) for number in range(300)]
    with pytest.raises(OSError, match=re.escape(message)) as raised, FULL[message](store):
        store.record(visit(alert(), *many))
    assert raised.value.filename == str(store.path)
    assert len(store.open_alerts()) == 1
    assert drain(store) == [("A/run", "opened")]


SUBJECTS = st.sets(st.sampled_from(["A/run", "B/run", "C/run"]))
STEPS = st.lists(st.tuples(SUBJECTS, st.sampled_from(["whole", "partial", "down"]), st.integers(0, 3)), max_size=12)


@settings(max_examples=60)
@given(STEPS)
def test_each_receiver_gets_each_change_once_in_order(steps: Sequence[tuple[set[str], str, int]]) -> None:
    """Whatever visits see, and however deliveries fail, each alert alternates between opened and resolved."""
    with tempfile.TemporaryDirectory() as folder:
        store = AlertStore(Path(folder) / "watch.sqlite")
        store.set_receivers(["one"], START)
        expected: defaultdict[str, list[str]] = defaultdict(list)
        delivered: defaultdict[str, list[str]] = defaultdict(list)
        is_open: set[str] = set()
        for subjects, kind, deliveries in steps:
            if kind == "down":
                store.record(visit(only="unreachable"))
            else:
                unread = frozenset({"paused"} if kind == "partial" else ())
                store.record(visit(*map(alert, sorted(subjects)), unread=unread))
                for each in subjects - is_open:
                    expected[each].append("opened")
                for each in is_open - subjects if kind == "whole" else ():
                    expected[each].append("resolved")
                is_open = subjects if kind == "whole" else is_open | subjects
            for number in range(deliveries):
                if message := store.next_message("one", START, waits=False):
                    if number == 1:
                        store.postpone(message, START)
                    else:
                        delivered[message.alert.subject].append(message.event.value)
                        store.remove(message)
        for subject, event in drain(store):
            delivered[subject].append(event)
        assert delivered == expected
        assert {each.alert.subject for each in store.open_alerts()} == is_open
        store.close()
