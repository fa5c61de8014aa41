"""Read one invocation for its panel: how it stands, why, its journal, its failures in full, callers and callees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.why import why
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.client.schema import check_columns, translate_errors
from restate_lab.errors import NotFound
from restate_lab.panels.filters import ALL, Filters
from restate_lab.panels.rows import read_rows
from restate_lab.source import Source

__all__ = ["FACTS", "Errors", "InvocationContent", "Related", "read_invocation"]

FACTS = """SELECT s.id, s.target_service_ty, s.created_at, s.modified_at, s.running_at, s.completed_at,
  CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at END AS scheduled_start_at,
  s.invoked_by, s.invoked_by_id, s.invoked_by_target, s.restarted_from, s.idempotency_key, s.pinned_deployment_id,
  CAST(s.pinned_service_protocol_version AS BIGINT) AS protocol, s.completion_failure, s.completion_retention,
  s.journal_retention, r.last_attempt_deployment_id, r.last_attempt_server, r.last_start_at,
  CASE WHEN s.status = 'invoked' THEN r.last_failure END AS last_failure,
  CASE WHEN s.status = 'invoked' THEN r.last_failure_related_command_name END AS failed_step
FROM (SELECT * FROM sys_invocation_status WHERE id = :id) s
LEFT JOIN (SELECT * FROM sys_invocation_state WHERE id = :id) r ON r.id = s.id
ORDER BY s.created_at DESC"""
_EVENTS = """SELECT id, event_type, appended_at, after_journal_entry_index, event_json FROM sys_journal_events
WHERE id = :id AND event_type IN ('TransientError', 'Paused')"""
_MOST_EVENTS = 50
_WITHIN = 8.0  # seconds for the explanation


@dataclass(frozen=True, slots=True)
class Errors:
    """What its events tell of failures: ``frame`` has the newest first (``at, code, message, step, journal_entry``)."""

    frame: pd.DataFrame
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Related:
    """Another invocation, and what it is to this one: "called by", "calls", "waits for", "restarted from"."""

    how: str
    id: str
    target: str


@dataclass(frozen=True, slots=True)
class InvocationContent:
    """What was read of one invocation."""

    row: Mapping[str, Any]
    facts: Mapping[str, Any]
    why: Explanation
    journal: pd.DataFrame
    errors: Errors
    related: tuple[Related, ...] = ()
    has_payloads: bool = False
    picture: bytes | None = field(default=None, repr=False)

    @property
    def failure(self) -> str | None:
        """Return the failure that it has now or ended with, in full; None where there is none."""
        status = self.row["status"]
        if status in {"failed", "cancelled", "killed"}:
            return _text(self.facts["completion_failure"])
        if status in {"backing-off", "paused", "running", "ready"}:
            found = _text(self.facts["last_failure"])
            return found or (self.errors.whole if status in {"backing-off", "paused"} else None)
        return None


@translate_errors
def read_invocation(source: Source, invocation_id: str, *, payloads: bool = False) -> InvocationContent:
    """Read one invocation by its id: point reads alone.

    Raises:
        NotFound: there is no such invocation (any more).
    """
    rows = read_rows(source, Filters(status=(ALL,), id=(invocation_id,), limit=1)).frame.to_dict("records")
    facts = check_columns(source.sql(FACTS, params={"id": invocation_id}), FACTS, source).to_dict("records")
    if not rows or not facts:
        raise NotFound(str(why(source, invocation_id, timeout=_WITHIN)), status=404)
    told = why(source, invocation_id, timeout=_WITHIN)
    journal, _ = read_journal(source, invocation_id, payloads=payloads)
    return InvocationContent(
        row={str(name): value for name, value in rows[0].items()},
        facts={str(name): value for name, value in facts[0].items()},
        why=told,
        journal=journal,
        errors=_read_errors(source, invocation_id),
        related=_related(invocation_id, facts[0], told.chain, journal),
        has_payloads=payloads,
    )


def _read_errors(source: Source, invocation_id: str) -> Errors:
    events = check_columns(source.sql(_EVENTS, params={"id": invocation_id}), _EVENTS, source)
    events = events.sort_values(["appended_at", "after_journal_entry_index"], ascending=False)
    rows, whole = [], None
    for event in events.head(_MOST_EVENTS).to_dict("records"):
        told = _parsed(event["event_json"])
        failure = told.get("last_failure") if event["event_type"] == "Paused" else told
        failure = failure if isinstance(failure, dict) else {}
        message = _text(failure.get("error_message"))
        if message is None and event["event_type"] != "Paused":
            continue
        trace = _text(failure.get("error_stacktrace"))
        whole = whole or (f"{message}\n{trace}" if message and trace else message)
        said = message if event["event_type"] != "Paused" else f"paused{f' after: {message}' if message else ''}"
        rows.append(
            {
                "at": event["appended_at"],
                "code": _text(failure.get("restate_doc_error_code")),
                "message": said,
                "step": _text(failure.get("related_command_name")),
                "journal_entry": event["after_journal_entry_index"],
            }
        )
    frame = pd.DataFrame(rows, columns=["at", "code", "message", "step", "journal_entry"])
    return Errors(frame, whole)


def _related(id_: str, facts: Mapping[Any, Any], chain: pd.DataFrame, journal: pd.DataFrame) -> tuple[Related, ...]:
    found = []
    if caller := _text(facts["invoked_by_id"]):
        found.append(Related("called by", caller, _text(facts["invoked_by_target"]) or "an invocation"))
    if before := _text(facts["restarted_from"]):
        found.append(Related("restarted from", before, before))
    found += [Related("waits for", link["id"], link["target"]) for link in chain.to_dict("records")]
    for entry in journal[journal["callee"].notna()].to_dict("records"):
        how = "calls" if entry["entry_type"] == "Call" else str(entry["entry_type"])
        found.append(Related(how, entry["callee"], _text(entry["callee_target"]) or "an invocation"))
    # Each once, by what was said first; and not this one itself.
    return tuple({each.id: each for each in reversed(found) if each.id != id_}.values())[::-1]


def _parsed(text: object) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
