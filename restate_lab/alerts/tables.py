"""The tables of the state file of ``watch``: their columns, and the checks of their rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from restate_lab.alerts.alert import Alert, Event, parse_time
from restate_lab.analysis.doctor.model import FORMER_CHECKS, Severity
from restate_lab.identity import ClusterIdentity

VERSION = 4  # 1 had no mark of the program, and receivers without their kind; 2 no acknowledgements; 3 no clusters
MARK = 0x524C5754  # the application_id of the file: "RLWT"
MARK_AT, JOURNAL_AT, WRITE_AHEAD = 68, 18, 2  # of the header of a SQLite file
SCHEMA = """
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
# ``recognized`` is 0 after a visit that did not show whether the cluster is still the one with this ``identity``.
LATER = {
    "acknowledged": """CREATE TABLE acknowledged (
    fingerprint TEXT PRIMARY KEY, note TEXT NOT NULL, seen_at TEXT NOT NULL, ended INTEGER NOT NULL)""",
    "clusters": """CREATE TABLE clusters (
    cluster TEXT PRIMARY KEY, identity TEXT NOT NULL, recognized INTEGER NOT NULL)""",
}
"""The tables that states of earlier versions do not have."""
COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "alerts": ("fingerprint", "cluster", "rule", "first_at", "opened_at", "severity", "causes", "alert"),
        "messages": (
            *("number", "receiver", "fingerprint", "event", "alert", "opened_at", "at", "previous", "attempts"),
            "next_at",
        ),
        "receivers": ("receiver",),
        "acknowledged": ("fingerprint", "note", "seen_at", "ended"),
        "clusters": ("cluster", "identity", "recognized"),
    }
)
GREATEST = 2**53  # of the numbers of messages and attempts; SQLite cannot go on after 2**63


def _check_alert(row: sqlite3.Row) -> None:
    alert = Alert.from_json(row["alert"])
    parse_time(row["first_at"])
    if row["opened_at"] is not None:
        parse_time(row["opened_at"])
    expected = [alert.fingerprint, alert.cluster, alert.rule, alert.severity]
    if [row["fingerprint"], row["cluster"], row["rule"], row["severity"]] != expected:
        raise ValueError("the alert and its columns differ")
    _check_number(row["causes"])


def _check_message(row: sqlite3.Row) -> None:
    alert = Alert.from_json(row["alert"])
    Event(row["event"])
    for column in ("opened_at", "at", "next_at"):
        parse_time(row[column])
    if row["fingerprint"] != alert.fingerprint or row["previous"] not in {"", *Severity}:
        raise ValueError("the alert and its columns differ")
    _check_receiver(row)
    _check_number(row["number"])
    _check_number(row["attempts"])


def _check_acknowledged(row: sqlite3.Row) -> None:
    parse_time(row["seen_at"])
    _check_number(row["ended"])


def _check_cluster(row: sqlite3.Row) -> None:
    parse_identity(row["identity"])
    _check_number(row["recognized"])


def parse_identity(text: str) -> ClusterIdentity | None:
    """Return the identity of a cluster in the state; None if no visit has read it.

    Raises:
        ValueError: the text is damaged.
    """
    try:
        return ClusterIdentity.from_json(json.loads(text))
    except TypeError as error:
        raise ValueError(str(error)) from error


def _check_receiver(row: sqlite3.Row) -> None:
    if not isinstance(row["receiver"], str):
        raise ValueError("not the identity of a receiver")  # noqa: TRY004 - one error for all damage


def _check_number(value: Any) -> None:
    if type(value) is not int or not 0 <= value < GREATEST:
        raise ValueError("not a number")


CHECKS: Mapping[str, tuple[str, Callable[[sqlite3.Row], None]]] = MappingProxyType(
    {
        "alerts": ("SELECT rowid AS row_id, * FROM alerts", _check_alert),
        "messages": ("SELECT rowid AS row_id, * FROM messages", _check_message),
        "receivers": ("SELECT rowid AS row_id, * FROM receivers", _check_receiver),
        "acknowledged": ("SELECT rowid AS row_id, * FROM acknowledged", _check_acknowledged),
        "clusters": ("SELECT rowid AS row_id, * FROM clusters", _check_cluster),
    }
)


def rename_checks(connection: sqlite3.Connection) -> None:
    """Give alerts with the former name of a check its present name; their fingerprints stay the same."""
    for former, name in FORMER_CHECKS.items():
        connection.execute("UPDATE alerts SET rule = ? WHERE rule = ?", (name, former))
        texts = (f'"rule": "{former}"', f'"rule": "{name}"')
        for table in ("alerts", "messages"):
            connection.execute(f"UPDATE {table} SET alert = replace(alert, ?, ?)", texts)  # noqa: S608 - constants
