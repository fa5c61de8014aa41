"""The SQL of a panel's rows, in constant fragments: right with vqueues and without, on servers and on evidence.

What is joined first is what the server holds in memory, so the small tables stand first. With vqueues a long back-off
shows in sys_vqueue_entry_status alone, and its reason in the journal's events, as does that of a paused one.
"""

from __future__ import annotations

from collections.abc import Sequence

from restate_lab.status import STATUS_SQL

__all__ = ["count_sql", "errors_sql", "selection_sql"]

# Servers give scheduled_start_at only where scheduled_at is read, too.
# All that is filtered stands here, too: servers of 1.6 compare another column otherwise.
_SHOWN = """
  id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status,
  created_at, modified_at, scheduled_start_at, completed_at, retry_count, next_retry_at, error_code,
  substr(split_part(failure, chr(10), 1), 1, 500) AS failure, deployment_id, invoked_by_id, journal_size"""
_WITH_WORDS = f"""
  SELECT id, target, target_service_name, target_handler_name, target_service_key, target_service_ty,
    {STATUS_SQL.replace(chr(10), chr(10) + "    ")} AS status,
    created_at, modified_at, scheduled_start_at, completed_at, retry_count, next_retry_at, error_code,
    failure, deployment_id, invoked_by_id, journal_size"""
_JOINED = """
    SELECT s.id, s.target, s.target_service_name, s.target_handler_name, s.target_service_key, s.target_service_ty,
      CASE
        WHEN s.status = 'inboxed' THEN 'pending'
        WHEN s.status <> 'invoked' THEN s.status
        WHEN r.in_flight THEN 'running'
        WHEN r.retry_count > 0{or_queued} THEN 'backing-off'
        ELSE 'ready' END AS status,
      s.completion_result, s.completion_failure,
      s.created_at, s.modified_at, s.completed_at,
      CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at END AS scheduled_start_at,
      CASE WHEN s.status = 'invoked' THEN {retries} END AS retry_count,
      CASE WHEN s.status = 'invoked' THEN {next_retry} END AS next_retry_at,
      CASE
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure_error_code{event_code} END
        AS error_code,
      CASE
        WHEN s.status = 'completed' THEN s.completion_failure
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure{event_message} END AS failure,
      coalesce(r.last_attempt_deployment_id, s.pinned_deployment_id) AS deployment_id,
      s.invoked_by_id, CAST(s.journal_size AS BIGINT) AS journal_size
    FROM {tables}
    WHERE {where}"""
# Others have gone on since their last event, and it tells nothing about them any more.
_EVENT = """
        WHEN s.status = 'paused'{or_queued} THEN e.{name}"""
_STATE = "sys_invocation_state r RIGHT JOIN sys_invocation_status s ON r.id = s.id"
_QUEUED = """(
        SELECT entry_id, next_at, CAST(retry_attempts AS BIGINT UNSIGNED) AS retry_attempts
        FROM sys_vqueue_entry_status WHERE status = 'backing-off') q
      RIGHT JOIN ({tables}) ON q.entry_id = s.id"""
_ERRORS = """last_errors e
      RIGHT JOIN ({tables}) ON e.id = s.id"""
_EVENTS = """WITH errors AS (
  SELECT id, appended_at, after_journal_entry_index,
    coalesce(json_get_str(event_json, 'error_message'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'error_message')) AS message,
    coalesce(json_get_str(event_json, 'restate_doc_error_code'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'restate_doc_error_code')) AS code
  FROM sys_journal_events
  WHERE event_type IN ('TransientError', 'Paused') AND id IN {ids}),
last_errors AS (
  SELECT id, last_value(message ORDER BY appended_at, after_journal_entry_index) AS message,
    last_value(code ORDER BY appended_at, after_journal_entry_index) AS code
  FROM errors
  WHERE message IS NOT NULL
  GROUP BY id)
"""
_LAST = "SELECT id, code AS error_code, substr(split_part(message, chr(10), 1), 1, 500) AS failure FROM last_errors"
_FAILING = "(SELECT id FROM sys_invocation_status WHERE status IN ('paused', 'invoked'))"
_BEGIN, _END = f"SELECT{_SHOWN}\nFROM (", "\nORDER BY created_at DESC, id\nLIMIT :limit"


def selection_sql(inner: Sequence[str], outer: Sequence[str], *, has_vqueues: bool, events: bool) -> str:
    """Return the statement that finds invocations with all that a list shows of them, newest first.

    ``inner`` are conditions over ``s`` (sys_invocation_status) and ``r`` (sys_invocation_state), ``outer`` over the
    columns that come out. ``events`` takes the failures in that only the journal's events have, which cost a scan of
    these; without it they are null, and ``errors_sql`` gives them for the rows that were found.
    """
    or_queued = " OR q.entry_id IS NOT NULL" if has_vqueues else ""
    joined = _JOINED.format(
        or_queued=or_queued,
        retries="greatest(r.retry_count, q.retry_attempts)" if has_vqueues else "r.retry_count",
        next_retry="coalesce(r.next_retry_at, q.next_at)" if has_vqueues else "r.next_retry_at",
        event_code=_EVENT.format(or_queued=or_queued, name="code") if events else "",
        event_message=_EVENT.format(or_queued=or_queued, name="message") if events else "",
        tables=_tables(has_vqueues=has_vqueues, events=events),
        where="\n      AND ".join(inner),
    )
    where = "\nWHERE " + "\n  AND ".join(outer) if outer else ""
    before = _EVENTS.format(ids=_FAILING) if events else ""
    return f"{before}{_BEGIN}{_WITH_WORDS}\n  FROM ({joined})){where}{_END}"


def count_sql(selection: str) -> str:
    """Return the statement that counts what a selection would find without its limit."""
    return selection.replace(_BEGIN, "SELECT count(*) AS n\nFROM (", 1).removesuffix(_END)


def errors_sql() -> str:
    """Return the statement that gives the last error of each of ``:ids`` that its journal's events have: point reads.

    Columns: ``id, error_code, failure`` (the first line).
    """
    return _EVENTS.format(ids=":ids") + _LAST


def _tables(*, has_vqueues: bool, events: bool) -> str:
    tables = _QUEUED.format(tables=_STATE) if has_vqueues else _STATE
    return _ERRORS.format(tables=tables) if events else tables
