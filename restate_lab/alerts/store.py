"""The state of ``watch`` in SQLite: the open alerts, and the messages that no receiver has accepted yet.

A visit is one transaction: its alerts and the messages about them are written together. A message is removed after its
receiver accepted it, so a process that is killed repeats at most the message that it was delivering.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from restate_lab.alerts.alert import FORMER_CHECKS, Alert, Event, Message, rank_of
from restate_lab.alerts.reader import ClusterVisit
from restate_lab.errors import ArgumentError, RestateLabError

__all__ = ["AlertStore", "OpenAlert"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE alerts (
    fingerprint TEXT PRIMARY KEY, cluster TEXT NOT NULL, rule TEXT NOT NULL, first_at TEXT NOT NULL, opened_at TEXT,
    severity TEXT NOT NULL, causes INTEGER NOT NULL, alert TEXT NOT NULL);
CREATE TABLE messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, receiver TEXT NOT NULL, fingerprint TEXT NOT NULL, event TEXT NOT NULL,
    alert TEXT NOT NULL, opened_at TEXT NOT NULL, at TEXT NOT NULL, previous TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_at TEXT NOT NULL);
CREATE INDEX of_receiver ON messages (receiver, fingerprint, number);
CREATE TABLE receivers (receiver TEXT PRIMARY KEY);
"""
# The messages of one alert are delivered in their order; a message that failed does not delay other alerts.
_NEXT = """
SELECT number, receiver, event, alert, opened_at, at, previous, attempts FROM messages AS m
WHERE receiver = :receiver AND (next_at <= :now OR :all) AND number = (
    SELECT min(number) FROM messages WHERE receiver = m.receiver AND fingerprint = m.fingerprint)
ORDER BY attempts, number LIMIT 1
"""
_NO_TIME = timedelta(0)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that was reported and is not over, as its last visit saw it; ``opened_at`` is in UTC."""

    alert: Alert
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class _Before:
    """An alert as earlier visits saw it; ``severity`` is "" and ``rank`` the lowest at the first one."""

    first_at: datetime
    opened_at: datetime | None = None
    severity: str = ""
    causes: int = 0

    @classmethod
    def of(cls, row: sqlite3.Row) -> _Before:
        """Return the values of a row of ``alerts``."""
        opened_at = row["opened_at"] and datetime.fromisoformat(row["opened_at"])
        return cls(datetime.fromisoformat(row["first_at"]), opened_at, row["severity"], row["causes"])

    @property
    def rank(self) -> int:
        """Return the position of the severity, 0 for the worst."""
        return rank_of(self.severity)


class AlertStore:
    """The state file. One process can open it; ``close()`` or the end of the process releases it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
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

        A new receiver gets a message for each open alert.
        """
        with self._transaction() as connection:
            known = {row[0] for row in connection.execute("SELECT receiver FROM receivers")}
            removed = 0
            for receiver in known - set(receivers):
                removed += connection.execute("DELETE FROM messages WHERE receiver = ?", (receiver,)).rowcount
                connection.execute("DELETE FROM receivers WHERE receiver = ?", (receiver,))
            for receiver in dict.fromkeys(receivers):
                if receiver not in known:
                    connection.execute("INSERT INTO receivers VALUES (?)", (receiver,))
                    for each in self.open_alerts():
                        self._send(Event.OPENED, each.alert, each.opened_at, at, receivers=[receiver])
        return removed

    def record(self, visit: ClusterVisit) -> list[tuple[Event, Alert]]:
        """Write the alerts of a visit and the messages about their changes; return these changes."""
        changes: list[tuple[Event, Alert]] = []
        with self._transaction():
            for alert in visit.alerts:
                event = self._observe(alert, visit)
                changes += [(event, alert)] if event else []
            changes += [(Event.RESOLVED, alert) for alert in self._resolve(visit)]
        return changes

    def open_alerts(self) -> list[OpenAlert]:
        """Return the open alerts, the oldest first."""
        rows = self._read("SELECT alert, opened_at FROM alerts WHERE opened_at IS NOT NULL ORDER BY opened_at, rowid")
        return [OpenAlert(Alert.from_json(alert), datetime.fromisoformat(at)) for alert, at in rows]

    def next_message(self, receiver: str, now: datetime, *, waits: bool = True) -> Message | None:
        """Return the next message to a receiver; with ``waits``, one whose wait after a failure is over."""
        rows = self._read(_NEXT, {"receiver": receiver, "now": now.isoformat(), "all": not waits})
        for number, name, event, alert, opened_at, at, previous, attempts in rows:
            times = datetime.fromisoformat(opened_at), datetime.fromisoformat(at)
            return Message(number, name, Event(event), Alert.from_json(alert), *times, previous, attempts)
        return None

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

    def _observe(self, alert: Alert, visit: ClusterVisit) -> Event | None:
        """Write one alert of a visit, and return its change if it must be reported.

        While an alert is open, its severity and its number of causes do not decrease.
        """
        row = self._row(alert)
        before = _Before.of(row) if row else _Before(visit.at)
        worst = replace(alert, severity=before.severity) if before.rank < alert.rank else alert
        event, opened_at = None, before.opened_at
        if opened_at is None and visit.at - before.first_at >= visit.holds.get(alert.fingerprint, _NO_TIME):
            event, opened_at = Event.OPENED, visit.at
        elif opened_at is not None and (alert.rank < before.rank or alert.causes > before.causes):
            event = Event.WORSE
        self._write(worst, before.first_at, opened_at, max(alert.causes, before.causes))
        if event is not None and opened_at is not None:
            self._send(event, worst, opened_at, visit.at, previous=before.severity)
        return event

    def _resolve(self, visit: ClusterVisit) -> Iterator[Alert]:
        """Remove the alerts that are over, and yield those that had been reported."""
        present = {alert.fingerprint for alert in visit.alerts}
        rows = self._read("SELECT fingerprint, rule, alert, opened_at FROM alerts WHERE cluster = ?", (visit.cluster,))
        for fingerprint, rule, text, opened_at in rows:
            if fingerprint in present or rule in visit.unread or (visit.only and rule != visit.only):
                continue
            if fingerprint in visit.weaker and opened_at is not None:
                continue
            self._connection.execute("DELETE FROM alerts WHERE fingerprint = ?", (fingerprint,))
            if opened_at is not None:
                alert = Alert.from_json(text)
                self._send(Event.RESOLVED, alert, datetime.fromisoformat(opened_at), visit.at)
                yield alert

    def _row(self, alert: Alert) -> sqlite3.Row | None:
        rows: list[sqlite3.Row] = self._read("SELECT * FROM alerts WHERE fingerprint = ?", (alert.fingerprint,))
        return rows[0] if rows else None

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
        """Write a message about an alert to each receiver."""
        known = [row[0] for row in self._read("SELECT receiver FROM receivers")] if receivers is None else receivers
        statement = """INSERT INTO messages (receiver, fingerprint, event, alert, opened_at, at, previous, next_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
        for receiver in known:
            times = (opened_at.isoformat(), at.isoformat())
            values = (receiver, alert.fingerprint, event.value, alert.to_json(), *times, previous, at.isoformat())
            self._connection.execute(statement, values)

    def _open(self) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        # The lock is kept until the end, so that two processes do not send the same messages.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        else:
            self._rename_checks()
        connection.execute("COMMIT")
        if version > _VERSION:
            raise ArgumentError(f"a newer restate_lab wrote {self.path}; install it, or name another with --state.")

    def _rename_checks(self) -> None:
        """Give alerts with the former name of a check its present name; their fingerprints stay the same."""
        for former, name in FORMER_CHECKS.items():
            self._connection.execute("UPDATE alerts SET rule = ? WHERE rule = ?", (name, former))
            texts = (f'"rule": "{former}"', f'"rule": "{name}"')
            for table in ("alerts", "messages"):
                self._connection.execute(f"UPDATE {table} SET alert = replace(alert, ?, ?)", texts)  # noqa: S608 - constants

    def _read(self, statement: str, values: Sequence[object] | dict[str, object] = ()) -> list[sqlite3.Row]:
        with self._errors():
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: all of its changes are written, or none."""
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
        """Raise errors of SQLite as errors of the system or of the argument."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._translate(error) from error
        except sqlite3.DatabaseError as error:
            raise ArgumentError(
                f"{self.path} is not a state file of restate-lab watch ({error}); name another file with --state."
            ) from error

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
