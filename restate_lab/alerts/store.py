"""The state of ``watch`` in SQLite: the open alerts, and the messages that no receiver has accepted yet.

A visit is one transaction: its alerts and the messages about them are written together. A message is removed after its
receiver accepted it, so a process that is killed repeats at most the message that each receiver was getting.

Only the thread that opened the file may use it. The clock may change between two visits, also by days and in both
directions, so no time of the file is trusted if it is in the future.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from restate_lab._text import sentences
from restate_lab.alerts.alert import Alert, Event, Message, parse_time, rank_of
from restate_lab.alerts.reader import ClusterVisit, KnownAlert
from restate_lab.alerts.tables import (
    CHECKS,
    COLUMNS,
    GREATEST,
    JOURNAL_AT,
    LATER,
    MARK,
    MARK_AT,
    SCHEMA,
    VERSION,
    WRITE_AHEAD,
    parse_identity,
    rename_checks,
)
from restate_lab.errors import ArgumentError, RestateLabError
from restate_lab.identity import why_not_same

# The messages of one alert are delivered in their order; a message that failed does not delay other alerts.
_NEXT = """
SELECT number, receiver, event, alert, opened_at, at, previous, attempts FROM messages AS m
WHERE receiver = :receiver AND (next_at <= :now OR next_at > :latest OR :all) AND number = (
    SELECT min(number) FROM messages WHERE receiver = m.receiver AND fingerprint = m.fingerprint)
AND number NOT IN (SELECT value FROM json_each(:skip))
ORDER BY attempts, number LIMIT 1
"""
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=10)
_HOLDS, _ENDED, _INTERRUPTED = range(3)  # an acknowledgement; the last while another finding of its alert is unknown
_KEPT = timedelta(days=35)  # an acknowledgement after its last visit; the longest one has 31 days
_UNKNOWN = "it is unknown whether the problem continues"
_NOT_WATCHED = "the cluster is not watched any more, so it is unknown whether the problem continues"


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that was reported and is not over, as its last visit saw it; ``opened_at`` is in UTC."""

    alert: Alert
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class _Before:
    """An alert as earlier visits saw it; ``severity`` is "" at the first one."""

    first_at: datetime
    opened_at: datetime | None = None
    severity: str = ""
    causes: int = 0
    additions: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: sqlite3.Row, now: datetime) -> _Before:
        """Return the values of a row of ``alerts``; a time after ``now`` is from a clock that was ahead."""
        opened_at = _past(row["opened_at"], now) if row["opened_at"] else None
        additions = Alert.from_json(row["alert"]).additions
        return cls(_past(row["first_at"], now), opened_at, row["severity"], row["causes"], additions)


class AlertStore:
    """The state file. One process can open it; ``close()`` or the end of the process releases it.

    ``damaged`` is the number of rows that could not be read when the file was opened; they were removed.

    Raises:
        ArgumentError: the file is not a state of ``watch``, or a newer version wrote it; it was not changed.
        RestateLabError: another process uses the file.
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._check_header()
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def set_receivers(self, receivers: Sequence[str], at: datetime) -> int:
        """Set the receivers of later messages, and return how many messages to former receivers were removed.

        A new receiver gets a message for each open alert. A receiver whose address has changed, such as its token, also
        gets the messages that waited: the addresses that are new replace those of the same service that are not there
        any more, in their order.
        """
        with self._transaction() as connection:
            known = [row[0] for row in connection.execute("SELECT receiver FROM receivers ORDER BY rowid")]
            removed = 0
            for former, receiver in _successors(known, receivers).items():
                if receiver is None:
                    removed += connection.execute("DELETE FROM messages WHERE receiver = ?", (former,)).rowcount
                else:
                    connection.execute("UPDATE messages SET receiver = ? WHERE receiver = ?", (receiver, former))
            connection.execute("DELETE FROM receivers")
            same = {_hash_of(each) for each in known}
            for receiver in dict.fromkeys(receivers):
                connection.execute("INSERT INTO receivers VALUES (?)", (receiver,))
                if _hash_of(receiver) not in same:
                    self._introduce(receiver, at)
        return removed

    def _introduce(self, receiver: str, at: datetime) -> None:
        """Write a message for each open alert to a new receiver, unless one about the alert waits for it."""
        statement = "SELECT fingerprint FROM messages WHERE receiver = ? AND event != ?"
        waiting = {row[0] for row in self._read(statement, (receiver, Event.RESOLVED.value))}
        for each in self.open_alerts():
            if each.alert.fingerprint not in waiting:
                self._send(Event.OPENED, each.alert, each.opened_at, at, receivers=[receiver])

    def resolve_unwatched(self, clusters: Collection[str], at: datetime) -> list[Alert]:
        """End the alerts of all other clusters, because no visit can end them; return those that had been reported."""
        rows = self._read("SELECT fingerprint, cluster, alert, opened_at FROM alerts ORDER BY rowid")
        with self._transaction():
            resolved = [self._end(row, at, _NOT_WATCHED) for row in rows if row["cluster"] not in clusters]
        return [alert for alert in resolved if alert]

    def record(self, visit: ClusterVisit) -> list[tuple[Event, Alert]]:
        """Write the alerts of a visit and the messages about their changes; return these changes."""
        changes: list[tuple[Event, Alert]] = []
        with self._transaction():
            changed = self._recognize(visit)
            for alert in visit.alerts:
                event = self._observe(alert, visit, changed)
                changes += [(event, alert)] if event else []
            changes += [(Event.ACKNOWLEDGED, alert) for alert in self._acknowledge(visit)]
            changes += [(Event.RESOLVED, alert) for alert in self._resolve(visit, changed)]
        return changes

    def open_alerts(self) -> list[OpenAlert]:
        """Return the open alerts, the oldest first."""
        rows = self._read("SELECT alert, opened_at FROM alerts WHERE opened_at IS NOT NULL ORDER BY opened_at, rowid")
        return [OpenAlert(Alert.from_json(alert), parse_time(at)) for alert, at in rows]

    def known_alerts(self, cluster: str, now: datetime) -> dict[str, KnownAlert]:
        """Return the alerts of a cluster by fingerprint, with those that wait until they have persisted."""
        rows = self._read("SELECT fingerprint, first_at, opened_at FROM alerts WHERE cluster = ?", (cluster,))
        return {
            row["fingerprint"]: KnownAlert(_past(row["first_at"], now), is_open=row["opened_at"] is not None)
            for row in rows
        }

    def count_alerts(self) -> dict[tuple[str, str], int]:
        """Return the number of open alerts by cluster and severity."""
        statement = "SELECT cluster, severity, count(*) FROM alerts WHERE opened_at IS NOT NULL GROUP BY 1, 2"
        return {(cluster, severity): count for cluster, severity, count in self._read(statement)}

    def next_message(
        self, receiver: str, now: datetime, *, waits: bool = True, skip: Collection[int] = ()
    ) -> Message | None:
        """Return the next message to a receiver; with ``waits``, one whose wait after a failure is over.

        A wait that is longer than any was set by a clock that was ahead, so it is over. ``skip`` has the numbers of
        messages that are not returned.
        """
        values = {
            "receiver": receiver,
            "now": now.isoformat(),
            "latest": (now + _LONGEST_WAIT).isoformat(),
            "all": not waits,
            "skip": json.dumps(list(skip)),
        }
        rows = self._read(_NEXT, values)
        return _message_of(rows[0], now) if rows else None

    def remove(self, message: Message) -> None:
        """Remove a message that its receiver accepted."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM messages WHERE number = ?", (message.number,))

    def postpone(self, message: Message, now: datetime) -> None:
        """Count a failed delivery; the next attempt waits twice as long as the one before, at most 10 minutes."""
        wait = min(_FIRST_WAIT * 2 ** min(message.attempts, 10), _LONGEST_WAIT)
        with self._transaction() as connection:
            statement = "UPDATE messages SET attempts = attempts + 1, next_at = ? WHERE number = ?"
            connection.execute(statement, ((now + wait).isoformat(), message.number))

    def count_messages(self) -> dict[str, int]:
        """Return the number of messages that wait for delivery, by receiver."""
        rows = self._read("SELECT receiver, count(*) FROM messages GROUP BY receiver")
        return {str(receiver): int(count) for receiver, count in rows}

    def _recognize(self, visit: ClusterVisit) -> str:
        """Return why the alerts of earlier visits are sent again: the cluster may be another one; "" if it is the same.

        While it cannot be recognized, they are sent again only once.
        """
        if visit.only:
            return ""
        rows = self._read("SELECT identity, recognized FROM clusters WHERE cluster = ?", (visit.cluster,))
        then = parse_identity(rows[0]["identity"]) if rows else None
        reason, is_readable = why_not_same(then, visit.identity), bool(visit.identity and visit.identity.deployments)
        known = visit.identity if is_readable else then
        values = (visit.cluster, json.dumps(known and known.to_json()), int(is_readable))
        self._connection.execute("INSERT OR REPLACE INTO clusters VALUES (?, ?, ?)", values)
        was_sent = bool(rows) and not rows[0]["recognized"] and not is_readable
        return "" if was_sent else reason

    def _observe(self, alert: Alert, visit: ClusterVisit, changed: str) -> Event | None:
        """Write one alert of a visit, and return its change if it must be reported.

        While an alert is open, its severity and its number of causes do not decrease, and it keeps its additions. If an
        acknowledgement has ended, or the cluster has ``changed`` for a reason, the alert is reported, also if it was
        open before.
        """
        has_ended = self._end_acknowledgement(alert.fingerprint, visit)
        rows = self._read("SELECT * FROM alerts WHERE fingerprint = ?", (alert.fingerprint,))
        before = _Before.of(rows[0], visit.at) if rows else _Before(visit.at)
        if changed and before.opened_at is not None:
            alert, before = replace(alert, cause=sentences(alert.cause, f"Sent again: {changed}")), _Before(visit.at)
            has_ended = True
        rank = rank_of(before.severity)
        worst = replace(alert, severity=before.severity) if rank < alert.rank else alert
        worst = replace(worst, **{name: text for name, text in before.additions.items() if not getattr(worst, name)})
        event, opened_at = None, before.opened_at
        hold = timedelta(0) if has_ended else visit.holds.get(alert.fingerprint, timedelta(0))
        if opened_at is None and visit.at - before.first_at >= hold:
            event, opened_at = Event.OPENED, visit.at
        elif opened_at is not None and (alert.rank < rank or alert.causes > before.causes):
            event = Event.WORSE
        elif has_ended and opened_at is not None:
            event = Event.OPENED
        self._write(worst, before.first_at, opened_at, max(alert.causes, before.causes))
        if event is not None and opened_at is not None:
            self._send(event, worst, opened_at, visit.at, previous=before.severity)
        return event

    def _acknowledge(self, visit: ClusterVisit) -> Iterator[Alert]:
        """Write the acknowledgements of a visit, and yield the alerts of new ones; each note is reported once.

        One that was interrupted, because an unknown finding had the same fingerprint, goes on when this one is over.
        """
        present = {alert.fingerprint for alert in visit.alerts}
        for fingerprint, known in visit.acknowledged.items():
            rows = self._read("SELECT note, ended FROM acknowledged WHERE fingerprint = ?", (fingerprint,))
            is_new = not rows or rows[0]["note"] != known.note
            ended = _HOLDS if is_new or rows[0]["ended"] == _INTERRUPTED else rows[0]["ended"]
            if ended == _HOLDS and fingerprint in present:
                ended = _INTERRUPTED
            values = (fingerprint, known.note, visit.at.isoformat(), ended)
            self._connection.execute("INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?, ?)", values)
            if is_new:
                yield known.alert
        oldest = (visit.at - _KEPT).isoformat()
        self._connection.execute("DELETE FROM acknowledged WHERE seen_at < ?", (oldest,))

    def _end_acknowledgement(self, fingerprint: str, visit: ClusterVisit) -> bool:
        """Return whether the acknowledgement of an alert ends now, which it does only once, or is interrupted now."""
        ended = _INTERRUPTED if fingerprint in visit.acknowledged else _ENDED
        statement = "UPDATE acknowledged SET ended = ? WHERE fingerprint = ? AND ended NOT IN (?, ?)"
        return self._connection.execute(statement, (ended, fingerprint, ended, _ENDED)).rowcount > 0

    def _resolve(self, visit: ClusterVisit, changed: str) -> Iterator[Alert]:
        present = {alert.fingerprint for alert in visit.alerts}
        rows = self._read("SELECT fingerprint, rule, alert, opened_at FROM alerts WHERE cluster = ?", (visit.cluster,))
        for row in rows:
            fingerprint, rule, opened_at = row["fingerprint"], row["rule"], row["opened_at"]
            if fingerprint in present or rule in visit.unread or (visit.only and rule != visit.only):
                continue
            if (fingerprint in visit.weaker or fingerprint in visit.acknowledged) and opened_at is not None:
                continue
            if alert := self._end(row, visit.at, changed and f"{_UNKNOWN}: {changed}"):
                yield alert

    def _end(self, row: sqlite3.Row, at: datetime, cause: str = "") -> Alert | None:
        """Remove an alert, and write the messages about its end if it had been reported; return it then."""
        self._connection.execute("DELETE FROM alerts WHERE fingerprint = ?", (row["fingerprint"],))
        if row["opened_at"] is None:
            return None
        alert = Alert.from_json(row["alert"])
        alert = replace(alert, cause=cause) if cause else alert
        self._send(Event.RESOLVED, alert, _past(row["opened_at"], at), at)
        return alert

    def _write(self, alert: Alert, first_at: datetime, opened_at: datetime | None, causes: int) -> None:
        values = (
            *(alert.fingerprint, alert.cluster, alert.rule, first_at.isoformat()),
            *(opened_at and opened_at.isoformat(), alert.severity, causes, alert.to_json()),
        )
        self._connection.execute("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _send(
        self,
        event: Event,
        alert: Alert,
        opened_at: datetime,
        at: datetime,
        *,
        previous: str = "",
        receivers: Sequence[str] | None = None,
    ) -> None:
        known = [row[0] for row in self._read("SELECT receiver FROM receivers")] if receivers is None else receivers
        statement = """INSERT INTO messages (receiver, fingerprint, event, alert, opened_at, at, previous, next_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
        for receiver in known:
            times = (opened_at.isoformat(), at.isoformat())
            values = (receiver, alert.fingerprint, event.value, alert.to_json(), *times, previous, at.isoformat())
            self._connection.execute(statement, values)

    def _check_header(self) -> None:
        """Refuse another program's file with a write-ahead log: SQLite would write it when it is opened and closed."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            header = file.read(100)
        is_marked = header[MARK_AT : MARK_AT + 4] == MARK.to_bytes(4, "big")
        if header.startswith(b"SQLite format 3") and header[JOURNAL_AT] == WRITE_AHEAD and not is_marked:
            raise self._foreign("it belongs to another program")

    def _open(self) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        # The lock is kept until the end, so that two processes do not send the same messages.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        self._prepare(connection)
        connection.execute("COMMIT")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables, or check those of an earlier process and remove the rows that cannot be read."""
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not mark and not version and not tables:
            for statement in (*SCHEMA.split(";\n"), *LATER.values()):
                connection.execute(statement)
        elif mark != MARK and not (mark == 0 and version and tables >= set(COLUMNS) - set(LATER)):
            raise self._foreign("it belongs to another program")
        elif version > VERSION:
            raise ArgumentError(
                f"a newer restate_lab wrote {self.path} (version {version}; this one reads up to {VERSION}); install "
                "the newer one, or name another file with --state."
            )
        else:
            for table in set(LATER) - tables:
                connection.execute(LATER[table])
        for table, columns in COLUMNS.items():
            present = tuple(row["name"] for row in connection.execute(f"PRAGMA table_info({table})"))
            if present != columns:
                raise self._foreign(f"its table {table} has other columns")
            self.damaged += self._remove_damage(connection, table)
        damaged_sequence = "DELETE FROM sqlite_sequence WHERE typeof(seq) != 'integer' OR NOT seq BETWEEN 0 AND ?"
        connection.execute(damaged_sequence, (GREATEST,))  # the next message sets it again
        if version and version < VERSION:
            rename_checks(connection)
        if (mark, version) != (MARK, VERSION):
            connection.execute(f"PRAGMA application_id = {MARK}")
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def _remove_damage(self, connection: sqlite3.Connection, table: str) -> int:
        count = 0
        rows, check = CHECKS[table]
        for row in connection.execute(rows).fetchall():
            try:
                check(row)
            except (ValueError, RecursionError):
                connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row["row_id"],))  # noqa: S608 - our names
                count += 1
        return count

    def _foreign(self, reason: str) -> ArgumentError:
        return ArgumentError(
            f"{self.path} is not a state file of restate-lab watch ({reason}), and was not changed; name another file "
            "with --state."
        )

    def _read(self, statement: str, values: Sequence[object] | dict[str, object] = ()) -> list[sqlite3.Row]:
        with self._errors():
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._translate(error) from error
        except sqlite3.DatabaseError as error:
            raise self._foreign(str(error)) from error

    def _translate(self, error: sqlite3.OperationalError) -> Exception:
        code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0
        if code == sqlite3.SQLITE_BUSY:
            return RestateLabError(
                f"another restate-lab watch uses the state file {self.path}; stop it, or name another with --state."
            )
        if code == sqlite3.SQLITE_FULL:
            text = "the disk is full, and the state of the alerts was not written; free space, and start it again"
            return OSError(errno.ENOSPC, text, str(self.path))
        return OSError(errno.EIO, f"the state file cannot be read or written ({error})", str(self.path))


def _past(text: str, now: datetime) -> datetime:
    """Return a time of the file, but not after ``now``."""
    return min(parse_time(text), now)


def _message_of(row: sqlite3.Row, now: datetime) -> Message:
    at = _past(row["at"], now)
    alert = Alert.from_json(row["alert"])
    times = _past(row["opened_at"], at), at
    return Message(row["number"], row["receiver"], Event(row["event"]), alert, *times, row["previous"], row["attempts"])


def _hash_of(receiver: str) -> str:
    """Return the hash of a receiver's address; version 1 of the file has nothing else."""
    return receiver.rpartition(":")[2]


def _successors(known: Sequence[str], receivers: Sequence[str]) -> dict[str, str | None]:
    """Return the new identity of each known receiver that has another one now, and None if it has none."""
    by_hash = {_hash_of(each): each for each in receivers}
    added = [each for each in dict.fromkeys(receivers) if _hash_of(each) not in {_hash_of(former) for former in known}]
    result: dict[str, str | None] = {}
    for former in known:
        receiver = by_hash.get(_hash_of(former))
        if receiver is None:
            kind = former.rpartition(":")[0]
            receiver = next((each for each in added if kind and each.rpartition(":")[0] == kind), None)
            if receiver is not None:
                added.remove(receiver)
        if receiver != former:
            result[former] = receiver
    return result
