"""The state of alerts: what opens, becomes worse and is resolved, and what survives a restart."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.alerts.alert import Alert, Event, merge_alerts
from restate_lab.alerts.reader import AcknowledgedAlert, ClusterVisit, KnownAlert
from restate_lab.alerts.store import AlertStore
from restate_lab.errors import ArgumentError, RestateLabError
from restate_lab.identity import ClusterIdentity

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
    messages = []
    while message := store.next_message(receiver, START, waits=False):
        messages.append((message.alert.subject, message.event.value))
        store.remove(message)
    return messages


def test_an_open_alert_keeps_what_its_invocations_shared_when_it_opened(store: AlertStore) -> None:
    """Later visits do not compare them again."""
    store.record(visit(alert(shared="All 20 failing were called by Backfill.")))
    message = store.next_message("one", START)
    assert message is not None
    assert "Shared: All 20 failing were called by Backfill.\n" in message.body
    store.record(visit(alert(), at=START + MINUTE))
    (still,) = store.open_alerts()
    assert still.alert.shared == "All 20 failing were called by Backfill."
    assert still.alert.fingerprint == alert().fingerprint


def test_the_known_alerts_are_those_of_the_cluster_with_those_that_have_not_persisted_yet(store: AlertStore) -> None:
    waiting = alert("B/run")
    store.record(visit(alert()))
    store.record(visit(alert(), waiting, at=START + MINUTE, hold=5 * MINUTE))
    known = store.known_alerts("prod", START + 2 * MINUTE)
    assert known == {
        alert().fingerprint: KnownAlert(START, is_open=True),
        waiting.fingerprint: KnownAlert(START + MINUTE, is_open=False),
    }
    assert store.known_alerts("other", START) == {}


def acknowledged(*alerts: Alert, note: str = "1") -> dict[str, AcknowledgedAlert]:
    return {each.fingerprint: AcknowledgedAlert(note, each) for each in alerts}


@pytest.mark.parametrize("was_open", [False, True])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_an_acknowledged_problem_opens_and_resolves_nothing_until_the_acknowledgement_ends(
    store: AlertStore, was_open: bool, is_restarted: bool
) -> None:
    """Each note is reported once, also over a restart; the alert is sent when it ends, also if it had been open."""
    if was_open:
        store.record(visit(alert()))
        assert drain(store) == [("A/run", "opened")]
    known = acknowledged(alert())
    assert store.record(visit(acknowledged=known)) == [(Event.ACKNOWLEDGED, alert())]
    if is_restarted:
        store.close()
        store = AlertStore(store.path)
    with closing(store):
        assert store.record(visit(acknowledged=known, at=START + MINUTE)) == []
        assert (drain(store), len(store.open_alerts())) == ([], int(was_open))
        ended = visit(alert(), at=START + 2 * MINUTE, hold=60 * MINUTE)
        assert store.record(ended) == [(Event.OPENED, alert())]
        assert drain(store) == [("A/run", "opened")]
        assert store.record(visit(alert(), at=START + 3 * MINUTE)) == []
        assert store.record(visit(acknowledged=known, at=START + 4 * MINUTE)) == [], "it has ended"
        assert store.record(visit(alert(), at=START + 5 * MINUTE)) == [], "it ends only once"
        second = acknowledged(alert(), note="2")
        assert store.record(visit(acknowledged=second, at=START + 6 * MINUTE)) == [(Event.ACKNOWLEDGED, alert())]
        assert store.record(visit(at=START + 7 * MINUTE)) == [(Event.RESOLVED, alert())]


def test_an_acknowledged_problem_that_ends_is_resolved_only_if_it_was_reported(store: AlertStore) -> None:
    store.record(visit(acknowledged=acknowledged(alert())))
    assert store.record(visit(at=START + MINUTE)) == []
    assert drain(store) == []


def test_an_acknowledgement_goes_on_after_another_finding_of_its_alert_is_over(store: AlertStore) -> None:
    """The alert is sent when the other finding begins, and again when the acknowledgement itself ends."""
    known = acknowledged(alert())
    at = (START + MINUTE * number for number in range(9))
    assert store.record(visit(acknowledged=known, at=next(at))) == [(Event.ACKNOWLEDGED, alert())]
    assert store.record(visit(alert(), acknowledged=known, at=next(at))) == [(Event.OPENED, alert())]
    assert store.record(visit(alert(), acknowledged=known, at=next(at))) == []
    assert store.record(visit(acknowledged=known, at=next(at))) == []
    assert store.record(visit(alert(), at=next(at))) == [(Event.OPENED, alert())]
    assert store.record(visit(acknowledged=known, at=next(at))) == []
    assert store.record(visit(alert(), at=next(at))) == [], "it ended before"


def cluster(*deployments: int) -> ClusterIdentity:
    return ClusterIdentity(frozenset((f"dp_{each}", START.isoformat()) for each in deployments))


UNREAD, NONE = None, cluster()


@pytest.mark.parametrize(
    ("identities", "sent"),
    [
        ((cluster(1), cluster(1), cluster(1, 2), cluster(2, 3), cluster(3)), "O...."),
        ((cluster(1), cluster(2), cluster(2), cluster(1), cluster(1)), "OO.O."),
        ((cluster(1), UNREAD, UNREAD, cluster(1), cluster(1)), "OO..."),
        ((cluster(1), UNREAD, cluster(2), cluster(2)), "OOO."),
        ((cluster(1), NONE, NONE, cluster(2), cluster(2)), "OO.O."),
        ((NONE, NONE, cluster(1), cluster(1)), "O.O."),
    ],
)
def test_an_open_alert_is_sent_again_unless_the_cluster_is_proven_the_same(
    store: AlertStore, identities: Sequence[ClusterIdentity | None], sent: str
) -> None:
    """While a cluster cannot be recognized, its alerts are sent only once; deployments may be replaced one by one."""
    events = ""
    for number, identity in enumerate(identities):
        changes = store.record(visit(alert(), at=START + number * MINUTE, identity=identity))
        events += "".join("O" for event, _ in changes if event is Event.OPENED) or "."
    assert events == sent


def test_the_alerts_of_a_cluster_end_with_the_cause_when_another_one_has_its_address(store: AlertStore) -> None:
    store.record(visit(alert(), alert("B/run"), identity=cluster(1)))
    (opened, resolved) = store.record(visit(alert(), identity=cluster(2), at=START + MINUTE))
    assert (opened[0], resolved[0]) == (Event.OPENED, Event.RESOLVED)
    assert store.open_alerts()[0].alert.cause.startswith("Sent again: none of its deployments of that time is there")
    assert resolved[1].cause.startswith("it is unknown whether the problem continues: none of its deployments")
    assert store.record(visit(identity=cluster(2), at=START + 2 * MINUTE))[0][0] is Event.RESOLVED


def test_a_problem_that_is_worse_than_its_acknowledgement_is_sent_as_worse(store: AlertStore) -> None:
    store.record(visit(alert(severity="warning")))
    store.record(visit(acknowledged=acknowledged(alert(severity="warning")), at=START + MINUTE))
    worse = alert(note="was known until 03:20 UTC (mara): INC-42; critical now, warning when it was noted")
    assert store.record(visit(worse, at=START + 2 * MINUTE)) == [(Event.WORSE, worse)]
    assert drain(store) == [("A/run", "opened"), ("A/run", "worse")]


def test_a_state_of_an_earlier_version_gets_the_acknowledgements(store: AlertStore) -> None:
    store.record(visit(alert()))
    store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.executescript("DROP TABLE acknowledged; PRAGMA user_version = 2;")
    with closing(AlertStore(store.path)) as again:
        known = acknowledged(alert())
        assert again.record(visit(acknowledged=known, at=START + MINUTE)) == [(Event.ACKNOWLEDGED, alert())]
        assert [each.alert for each in again.open_alerts()] == [alert()]


def test_a_fingerprint_depends_on_cluster_rule_and_subject_alone() -> None:
    same = alert(title="9 invocations", ids=("inv_1",), since=START, severity="warning", causes=3)
    assert same.fingerprint == alert().fingerprint == "23f542bd8e1fc8d9"
    assert len({alert("B/run").fingerprint, alert(rule="deadlocks").fingerprint, alert().fingerprint}) == 3


def test_an_open_alert_of_a_renamed_check_goes_on(store: AlertStore) -> None:
    storm = alert(rule="retry_storm")
    former = hashlib.sha256(json.dumps(["prod", "retry_storms", "A/run"]).encode()).hexdigest()[:16]
    assert storm.fingerprint == former
    store.record(visit(storm))
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE alerts SET rule = 'retry_storms'")
        for table in ("alerts", "messages"):
            connection.execute(f"UPDATE {table} SET alert = replace(alert, 'retry_storm', 'retry_storms')")
        connection.execute("PRAGMA application_id = 0")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    again = AlertStore(store.path)
    assert [each.alert for each in again.open_alerts()] == [storm]
    assert again.record(visit(unread=frozenset({"retry_storm"}))) == []
    assert again.record(visit(storm)) == []
    assert again.record(visit()) == [(Event.RESOLVED, storm)]
    assert drain(again) == [("A/run", "opened"), ("A/run", "resolved")]
    again.close()


def test_a_question_with_the_name_of_a_check_is_another_problem() -> None:
    for subject in ("", '{"limit": 3}'):
        identity = json.dumps(["prod", "retry_storm", subject])
        assert alert(subject, rule="retry_storm").fingerprint == hashlib.sha256(identity.encode()).hexdigest()[:16]


def test_findings_with_one_fingerprint_are_one_alert_that_names_all() -> None:
    one, two = alert(severity="warning", title="one", ids=("inv_1",)), alert(title="two", ids=("inv_2",), cause="x")
    (merged,) = merge_alerts([one, two])
    assert (merged.title, merged.severity, merged.cause) == ("two", "critical", "x. Also: one.")
    assert (merged.ids, merged.causes) == (("inv_2", "inv_1"), 2)


def test_an_alert_has_no_control_characters_and_no_credentials() -> None:
    hostile = alert("A/\x1b[2J", title=" ".join(["word"] * 40), cause="see http://user:pw@host \x1b]0;x\x07\nsecond")
    clean = hostile.clean()
    assert len(clean.title.split()) == 25
    assert "\x1b" not in clean.to_json()
    assert "pw" not in clean.cause
    assert "\n" not in clean.cause
    assert Alert.from_json(clean.to_json()) == clean


def test_an_alert_is_opened_once_and_resolved_once(store: AlertStore) -> None:
    assert [event for event, _ in store.record(visit(alert()))] == [Event.OPENED]
    assert store.record(visit(alert(title="2 invocations of A/run are paused", ids=("inv_2",)))) == []
    assert [event for event, _ in store.record(visit())] == [Event.RESOLVED]
    assert store.record(visit()) == []
    assert drain(store) == [("A/run", "opened"), ("A/run", "resolved")]


def test_a_higher_severity_or_one_more_cause_is_reported_once(store: AlertStore) -> None:
    store.record(visit(alert(severity="warning")))
    assert store.record(visit(alert(severity="critical")))[0][0] is Event.WORSE
    assert store.record(visit(alert(severity="warning"))) == []
    assert store.record(visit(alert(severity="critical"))) == []
    assert store.open_alerts()[0].alert.severity == "critical"
    assert store.record(visit(alert(causes=2)))[0][0] is Event.WORSE
    assert store.record(visit(alert(causes=1))) == []
    assert store.record(visit(alert(causes=2))) == []


def test_a_check_that_could_not_run_and_an_unreachable_cluster_resolve_no_other_alert(store: AlertStore) -> None:
    store.record(visit(alert(), alert("B/run", rule="deadlocks")))
    assert store.record(visit(unread=frozenset({"paused", "deadlocks"}))) == []
    down = alert("", rule="unreachable")
    assert store.record(visit(down, only="unreachable", error="refused")) == [(Event.OPENED, down)]
    assert store.record(visit(only="archive")) == []
    assert len(store.open_alerts()) == 3
    changes = store.record(visit(unread=frozenset({"deadlocks"})))
    assert {each.rule for _, each in changes} == {"paused", "unreachable"}


def test_a_finding_below_the_severity_of_an_alert_opens_none_and_resolves_none(store: AlertStore) -> None:
    weaker = frozenset({alert().fingerprint})
    assert store.record(visit(weaker=weaker)) == []
    store.record(visit(alert()))
    assert store.record(visit(weaker=weaker)) == []
    assert store.record(visit(alert())) == []
    assert [event for event, _ in store.record(visit())] == [Event.RESOLVED]
    assert store.record(visit(alert(), hold=MINUTE)) == []
    assert store.record(visit(weaker=weaker, at=START + MINUTE)) == []
    assert store.record(visit(alert(), hold=MINUTE, at=START + 2 * MINUTE)) == []


def test_a_problem_that_is_shorter_than_its_time_is_never_reported(store: AlertStore) -> None:
    hold = 5 * MINUTE
    assert store.record(visit(alert(), hold=hold)) == []
    assert store.record(visit(at=START + 4 * MINUTE)) == []
    assert store.record(visit(alert(), hold=hold, at=START + 6 * MINUTE)) == []
    assert store.record(visit(alert(), hold=hold, at=START + 10 * MINUTE)) == []
    assert [event for event, _ in store.record(visit(alert(), hold=hold, at=START + 11 * MINUTE))] == [Event.OPENED]


def test_a_second_process_gets_the_messages_of_the_first_and_is_refused_while_it_runs(store: AlertStore) -> None:
    store.record(visit(alert()))
    with pytest.raises(RestateLabError, match="another restate-lab watch uses the state file"):
        AlertStore(store.path)
    store.close()
    again = AlertStore(store.path)
    assert again.record(visit(alert())) == []
    assert drain(again) == [("A/run", "opened")]
    again.close()


def test_a_refused_message_is_tried_later_in_the_order_of_its_own_alert_only(store: AlertStore) -> None:
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


def test_a_changed_address_gets_the_waiting_messages_and_another_scheme_gets_none(store: AlertStore) -> None:
    store.set_receivers(["slack:old", "slack:same", "json:x"], START)
    store.record(visit(alert("A/run"), alert("B/run"), alert("C/run")))
    drain(store, "slack:old")
    store.record(visit(alert("A/run"), alert("B/run", causes=2)))
    assert store.set_receivers(["slack:new", "mail:y", "slack:same"], START) == 5, "those to json:x"
    assert sorted(drain(store, "slack:new")) == [("A/run", "opened"), ("B/run", "worse"), ("C/run", "resolved")]
    assert drain(store, "mail:y") == [("A/run", "opened"), ("B/run", "opened")]
    assert len(drain(store, "slack:same")) == 5
    assert store.count_messages() == {}


def test_a_new_receiver_gets_the_open_alerts_and_messages_of_a_removed_one_go(store: AlertStore) -> None:
    store.record(visit(alert()))
    assert store.set_receivers(["one", "two"], START) == 0
    assert store.count_messages() == {"one": 1, "two": 1}
    assert store.set_receivers(["two"], START) == 1
    assert store.count_messages() == {"two": 1}


def test_a_file_that_is_not_a_state_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but longer than the header of one" * 20)
    with pytest.raises(ArgumentError, match=r"is not a state file of restate-lab watch .* --state"):
        AlertStore(path)
    assert path.read_text().startswith("not a database")
    with pytest.raises(OSError, match="cannot be read or written"):
        AlertStore(tmp_path)


def test_a_clock_that_was_ahead_delays_nothing(store: AlertStore) -> None:
    ahead, hold = START + timedelta(days=30), 5 * MINUTE
    store.record(visit(alert("A/run"), at=ahead))
    first = store.next_message("one", ahead)
    assert first is not None
    store.postpone(first, ahead)
    store.record(visit(alert("A/run"), alert("B/run"), at=ahead, hold=hold))
    store.record(visit(alert("B/run"), hold=hold))
    opened, resolved = (store.next_message("one", START), drain(store)[-1])
    assert opened is not None
    assert (opened.event, opened.opened_at, opened.at) == (Event.OPENED, START, START)
    assert resolved == ("A/run", "resolved")
    assert store.record(visit(alert("B/run"), hold=hold, at=START + 4 * MINUTE)) == []
    assert store.record(visit(alert("B/run"), hold=hold, at=START + 5 * MINUTE))[0][0] is Event.OPENED


def test_alerts_of_other_clusters_are_resolved_with_the_cause(store: AlertStore) -> None:
    store.record(visit(alert("A/run")))
    store.record(visit(alert("A/run"), alert("B/run"), hold=MINUTE))
    assert store.resolve_unwatched({"prod"}, START) == []
    (resolved,) = store.resolve_unwatched({"staging"}, START)
    assert (resolved.subject, "not watched any more" in resolved.cause) == ("A/run", True)
    assert drain(store) == [("A/run", "opened"), ("A/run", "resolved")]
    assert store.open_alerts() == []


NO_NUMBERS = [None, "x", b"x", -1, 1.5, 2**62]
NO_TIMES = ["", "soon", b"x", 5, "2026-11-28T00:00:00", "0001-01-01T00:00:00+23:00"]
NO_TEXTS = [b"x", "other", 5]
NO_ALERTS = [
    *("", "{", "null", "[]", "{}", b"{", 5, "[" * 100_000, "9" * 10_000),
    *(
        alert().to_json().replace(before, after)
        for before, after in [
            ('"A/run"', "7"),
            ('"ids": []', '"ids": 5'),
            ('"ids": []', '"ids": [5]'),
            ('"causes": 1', '"causes": true'),
            ('"critical"', '"worst"'),
            ('"since": null', '"since": "soon"'),
            ('"cause": ""', '"cause": "\\ud800"'),
            ('"title":', '"name":'),
        ]
    ),
]
DAMAGE: dict[tuple[str, str], Sequence[object]] = {
    ("alerts", "fingerprint"): [None, *NO_TEXTS],
    ("alerts", "cluster"): NO_TEXTS,
    ("alerts", "rule"): NO_TEXTS,
    ("alerts", "first_at"): NO_TIMES,
    ("alerts", "opened_at"): NO_TIMES,
    ("alerts", "severity"): NO_TEXTS,
    ("alerts", "causes"): NO_NUMBERS[1:],
    ("alerts", "alert"): NO_ALERTS,
    ("messages", "number"): [-1, 2**62],
    ("messages", "receiver"): [b"x"],
    ("messages", "fingerprint"): NO_TEXTS,
    ("messages", "event"): NO_TEXTS,
    ("messages", "alert"): NO_ALERTS,
    ("messages", "opened_at"): NO_TIMES,
    ("messages", "at"): NO_TIMES,
    ("messages", "previous"): NO_TEXTS,
    ("messages", "attempts"): NO_NUMBERS[1:],
    ("messages", "next_at"): NO_TIMES,
    ("receivers", "receiver"): [None, b"x"],
    ("sqlite_sequence", "seq"): [None, "x", 2**63 - 1],
}
"""Each column of each table, and values that no version of ``watch`` writes."""


@pytest.mark.parametrize(("table", "column"), DAMAGE)
def test_a_row_with_any_damage_is_removed_and_counted_and_the_others_go_on(
    tmp_path: Path, table: str, column: str
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "damaged"
    store = AlertStore(whole)
    store.set_receivers(["one"], START)
    store.record(visit(alert("A/run"), alert("B/run")))
    store.close()
    for value in DAMAGE[table, column]:
        shutil.copy(whole, path)
        with closing(sqlite3.connect(path)) as connection, connection:
            first = f"(SELECT min(rowid) FROM {table})"
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = {first}", (value,))
        with closing(AlertStore(path)) as store:
            assert store.damaged == (table != "sqlite_sequence"), value
            store.set_receivers(["one"], START)
            assert len(store.open_alerts()) == 2 - (table == "alerts")
            store.record(visit(alert("A/run", causes=2), alert("B/run"), alert("C/run"), at=START + MINUTE))
            assert len(store.open_alerts()) == 3
            assert ("C/run", "opened") in drain(store)
        with closing(AlertStore(path)) as store:
            assert not store.damaged


def test_a_row_with_bytes_that_are_not_utf_8_counts_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with closing(AlertStore(path)) as store:
        store.record(visit(alert()))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alerts SET alert = CAST(x'ff' AS TEXT)")
    with closing(AlertStore(path)) as store:
        assert store.damaged == 1


FOREIGN = {
    "tables of another program": "CREATE TABLE notes (text)",
    "with a version": "CREATE TABLE notes (text); PRAGMA user_version = 1",
    "with a mark": "PRAGMA application_id = 7",
    "with a write-ahead log": "PRAGMA journal_mode = WAL; CREATE TABLE notes (text)",
    "tables of these names": "CREATE TABLE alerts (a); CREATE TABLE messages (a); CREATE TABLE receivers (a);"
    "PRAGMA user_version = 1",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_database_of_another_program_is_refused_and_not_changed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FOREIGN[name])
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"is not a state file of restate-lab watch .* was not changed.* --state"):
        AlertStore(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mark", ["", "PRAGMA application_id = 0"])
def test_a_newer_state_is_refused_with_its_version_and_not_changed(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "watch.sqlite"
    AlertStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA user_version = 99; {mark}")
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"a newer restate_lab wrote .* \(version 99; this one reads up to 4\)"):
        AlertStore(path)
    assert path.read_bytes() == before


VERSION_1 = """
CREATE TABLE alerts (
    fingerprint TEXT PRIMARY KEY, cluster TEXT NOT NULL, rule TEXT NOT NULL, first_at TEXT NOT NULL, opened_at TEXT,
    severity TEXT NOT NULL, causes INTEGER NOT NULL, alert TEXT NOT NULL);
CREATE TABLE messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, receiver TEXT NOT NULL, fingerprint TEXT NOT NULL, event TEXT NOT NULL,
    alert TEXT NOT NULL, opened_at TEXT NOT NULL, at TEXT NOT NULL, previous TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_at TEXT NOT NULL);
CREATE INDEX of_receiver ON messages (receiver, fingerprint, number);
CREATE TABLE receivers (receiver TEXT PRIMARY KEY);
INSERT INTO alerts SELECT '23f542bd8e1fc8d9', 'prod', 'paused', '2026-11-28T00:00:00+00:00',
    '2026-11-28T00:00:00+00:00', 'critical', 1, '{"cluster": "prod", "rule": "paused", "subject": "A/run", "severity":
    "critical", "title": "1 invocation of A/run is paused", "cause": "", "blocks": "", "ids": ["inv_1"], "next_step":
    "", "link": "", "since": "2026-11-28T00:00:00+00:00", "causes": 1}';
INSERT INTO messages SELECT 1, '0123456789ab', fingerprint, 'opened', alert, opened_at, opened_at, '', 0, opened_at
    FROM alerts;
INSERT INTO receivers VALUES ('0123456789ab'), ('ffffffffffff');
PRAGMA user_version = 1;
"""
"""A file as the first version wrote it: receivers were hashes of their addresses."""


def test_the_alerts_of_a_state_of_version_1_are_sent_again_once(tmp_path: Path) -> None:
    """It does not have the identity of the cluster, so the alerts may be those of another one."""
    path = tmp_path / "watch.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    for waiting, events in ((1, [Event.OPENED]), (2, [])):
        with closing(AlertStore(path)) as store:
            assert store.damaged == 0
            assert store.set_receivers(["slack:0123456789ab"], START) == 0
            assert store.count_messages() == {"slack:0123456789ab": waiting}
            assert [event for event, _ in store.record(visit(alert(), identity=cluster(1)))] == events
    with closing(AlertStore(path)) as store:
        assert drain(store, "slack:0123456789ab") == [("A/run", "opened")] * 2


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
    with tempfile.TemporaryDirectory() as folder:
        store = AlertStore(Path(folder) / "watch.sqlite")
        store._connection.execute("PRAGMA synchronous = OFF")  # the disk is not what this test is about
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
